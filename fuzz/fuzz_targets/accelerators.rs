//! What `ioreg` prints of the GPUs of a Mac.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pilothouse_fuzz::accelerators::parse_accelerators;

fuzz_target!(|bytes: &[u8]| {
    for gpu in parse_accelerators(bytes).unwrap_or_default() {
        assert!(gpu.busy_percent.is_none_or(|percent| (0.0..=100.0).contains(&percent)));
        assert!(gpu.temperature_c.is_none_or(f64::is_finite));
    }
});
