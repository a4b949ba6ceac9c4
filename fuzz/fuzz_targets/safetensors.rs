//! The head of a safetensors file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pilothouse_fuzz::model_files::SafetensorsHead;

fuzz_target!(|bytes: &[u8]| {
    let _ = SafetensorsHead::read(bytes);
});
