//! The graphics part of the I/O registry, without the sampler that asks for it.

/// What the sampler takes for a temperature; the parser leaves out others.
const TEMPERATURES: std::ops::RangeInclusive<f64> = 10.0..=120.0;

#[path = "../../src-tauri/crates/system/src/gauges/apple/ioreg.rs"]
mod ioreg;

pub use ioreg::parse_accelerators;
