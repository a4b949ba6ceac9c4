//! What is known of machines: how much of the nominal bandwidth arrives, what a layer costs beside it, and how fast they
//! compute.

use crate::machine::{AppleChip, Machine, is_strix_halo};

/// How a kind of machine decodes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pace {
    /// What arrives of the nominal bandwidth.
    pub share: f64,
    /// Overhead of one layer in milliseconds.
    pub ms_per_layer: f64,
    /// Mean error where it could be checked, in per cent.
    pub error_percent: f64,
    pub source: &'static str,
}

const APPLE_SOURCE: &str = "bandwidth; fitted on Apple chips with a 7B model, other sizes unchecked";
/// Mean error over that table, each chip left out of its own fit: 4.8 %; the largest was 21.5 %. Other sizes than 7B were
/// not there to be checked.
pub(super) const APPLE_ERROR: f64 = 5.0;
/// Fitted over the Apple table of llama.cpp discussion 4167 (7B, 32 layers); see the test.
pub(super) const APPLE: Pace =
    Pace { share: 0.924, ms_per_layer: 0.170, error_percent: APPLE_ERROR, source: APPLE_SOURCE };
pub(super) const APPLE_ULTRA: Pace = Pace { share: 0.861, ms_per_layer: 0.182, ..APPLE };
/// From M4 on launches cost less (reference: telemetry, section 6.4).
pub(super) const APPLE_FROM_M4: Pace = Pace { share: 0.887, ms_per_layer: 0.121, ..APPLE };
/// NVIDIA under CUDA: what is left of the time per token at four bits beyond nine tenths of the bandwidth; see the test. Only
/// one size was there to go by.
const CUDA: Pace = Pace {
    share: 0.9,
    ms_per_layer: 0.042,
    error_percent: 20.0,
    source: "bandwidth; after other NVIDIA cards with a 7B model under CUDA, other sizes unchecked",
};
/// Cards for data centres have more bandwidth than they can use with a single request. Checked on an H100 from 0.1 to 7
/// billion parameters too, under Vulkan.
const DATA_CENTRE: Pace = Pace {
    ms_per_layer: 0.080,
    source: "bandwidth; after an A100 and an H100 with models of 0.1 to 7 billion parameters",
    ..CUDA
};
const DATA_CENTRE_CARDS: [&str; 6] = ["A100", "H100", "H200", "GH200", "B200", "V100"];
/// AMD cards under Vulkan: two cards, one size (reference: telemetry, section 6.4).
const AMD: Pace = Pace {
    share: 0.9,
    ms_per_layer: 0.026,
    error_percent: 25.0,
    source: "bandwidth; after two AMD cards with a 7B model under Vulkan, other sizes unchecked",
};
/// One machine, one size (same source).
const STRIX_HALO: Pace = Pace {
    ms_per_layer: 0.079,
    source: "bandwidth; after one machine of this kind with a 7B model under Vulkan, other sizes unchecked",
    ..AMD
};
/// One card, one size (same source).
const INTEL: Pace = Pace {
    ms_per_layer: 0.153,
    error_percent: 30.0,
    source: "bandwidth; after one Intel card with a 7B model under Vulkan, other sizes unchecked",
    ..AMD
};

impl Pace {
    /// `None`: no measurements of comparable machines.
    pub fn of(machine: &Machine) -> Option<Self> {
        if let Some(chip) = machine.apple() {
            return Some(match chip.generation() {
                _ if chip.is_ultra() => APPLE_ULTRA,
                "M1" | "M2" | "M3" => APPLE,
                _ => APPLE_FROM_M4,
            });
        }
        let gpu = machine.computing_gpu()?;
        Some(match gpu.vendor.as_str() {
            "nvidia" if DATA_CENTRE_CARDS.iter().any(|card| gpu.name.contains(card)) => DATA_CENTRE,
            "nvidia" => CUDA,
            "amd" if is_strix_halo(&machine.chip) => STRIX_HALO,
            "amd" if !gpu.memory_shared => AMD,
            "intel" if !gpu.memory_shared => INTEL,
            _ => return None,
        })
    }

    /// Milliseconds of one token. `bandwidth` in GB/s (10^9).
    pub fn ms_per_token(&self, bytes: f64, bandwidth: f64, layers: usize) -> f64 {
        bytes / (self.share * bandwidth * 1e9) * 1e3 + self.ms_per_layer * layers as f64
    }
}

/// Computing speed in prefill, TFLOP/s (reference: telemetry, section 6.5). Longer names first.
const CARDS_TFLOPS: &[(&str, f64)] = &[
    ("RTX 5090", 190.0),
    ("RTX 5080", 112.0),
    ("RTX 4090", 162.0),
    ("RTX 3090", 70.0),
    ("H100", 134.0),
    ("A100", 65.0),
    ("GB10", 41.0),
];

/// TFLOP/s in prefill. `None`: no figure for this machine.
pub(super) fn prefill_tflops(machine: &Machine) -> Option<f64> {
    let gpu = machine.computing_gpu()?;
    if let Some(chip) = machine.apple() {
        return Some(apple_core_tflops(chip)? * f64::from(gpu.cores?));
    }
    let mobile = ["Laptop", "Mobile", "Max-Q", " Ti", "PCIe", "NVL"];
    let (_, tera) = CARDS_TFLOPS.iter().find(|(card, _)| gpu.name.contains(card))?;
    (gpu.vendor == "nvidia" && !mobile.iter().any(|other| gpu.name.contains(other))).then_some(*tera)
}

/// Per GPU core (same source).
fn apple_core_tflops(chip: &AppleChip) -> Option<f64> {
    Some(match chip.generation() {
        "M1" => 0.22,
        "M2" => 0.24,
        "M3" => 0.26,
        "M4" => 0.30,
        "M5" => 1.09,
        _ => return None,
    })
}
