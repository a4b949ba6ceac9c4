//! The machine that models run on: read once by `engine::hardware`, or given as a profile of another machine.

mod apple;

pub use apple::{AppleChip, apple_chip, apple_working_set};

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// A figure with where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Sourced<T> {
    pub value: T,
    /// "table of chips", "bus width and clock", "measured".
    pub source: String,
}

/// Cores by kind; where a machine has one kind only, all are performance cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Cores {
    pub performance: Option<u32>,
    pub efficiency: Option<u32>,
}

/// How GPU and processor share memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum MemoryKind {
    /// GPU and processor use the same memory.
    Unified,
    /// The GPU has memory of its own, or there is no GPU.
    Separate,
}

/// A GPU as it is built.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Gpu {
    pub name: String,
    /// "apple", "nvidia", "amd", "intel".
    pub vendor: String,
    pub cores: Option<u32>,
    /// Memory of its own; `None`: it has none, or it was not told.
    pub memory_bytes: Option<u64>,
    pub bandwidth_gb_s: Option<Sourced<f64>>,
    /// "8.9" (NVIDIA).
    pub compute_capability: Option<String>,
    pub driver: Option<String>,
}

/// The hardware profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Machine {
    /// "Mac Studio", "Ubuntu workstation"; `None`: not told.
    pub model: Option<String>,
    /// "Apple M4 Max", "AMD Ryzen 9 7950X".
    pub chip: String,
    pub cores: Cores,
    pub memory_bytes: u64,
    pub memory_kind: MemoryKind,
    /// GB/s (10^9 bytes) between the memory and what computes.
    pub bandwidth_gb_s: Option<Sourced<f64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_gb_s_absent: Option<String>,
    pub gpus: Vec<Gpu>,
    /// "16 cores, 38 TOPS"; neither server uses it.
    pub neural_engine: Option<String>,
    /// "4" (macOS).
    pub metal: Option<String>,
    pub os: Option<String>,
    pub driver: Option<String>,
    /// `iogpu.wired_limit_mb` in bytes, where somebody has set it (macOS).
    pub gpu_limit_override_bytes: Option<u64>,
}

/// The most that models may take, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Ceiling {
    pub bytes: u64,
    pub source: String,
    /// On a GPU, or in the processor's memory.
    pub on_gpu: bool,
}

impl Machine {
    /// GPU working set on Apple with its override, memory of the largest GPU, or RAM.
    pub fn ceiling(&self) -> Ceiling {
        let ceiling = |bytes, source: &str, on_gpu| Ceiling { bytes, source: source.into(), on_gpu };
        if self.memory_kind == MemoryKind::Unified && self.gpus.iter().any(|gpu| gpu.vendor == "apple") {
            return match self.gpu_limit_override_bytes {
                Some(bytes) => ceiling(bytes, "set by iogpu.wired_limit_mb", true),
                None => {
                    let (bytes, source) = apple_working_set(self.memory_bytes);
                    ceiling(bytes, source, true)
                }
            };
        }
        match self.gpus.iter().filter_map(|gpu| gpu.memory_bytes).max() {
            Some(bytes) => ceiling(bytes, "memory of the GPU", true),
            None => ceiling(self.memory_bytes, "memory of the machine: no GPU", false),
        }
    }

    /// The bandwidth of what will compute: the GPU's own, else the machine's.
    pub fn bandwidth(&self) -> Option<&Sourced<f64>> {
        let own =
            self.gpus.iter().max_by_key(|gpu| gpu.memory_bytes).and_then(|gpu| gpu.bandwidth_gb_s.as_ref());
        own.or(self.bandwidth_gb_s.as_ref())
    }

    /// The Apple chip, if it is one that is known.
    pub fn apple(&self) -> Option<&'static AppleChip> {
        apple_chip(&self.chip, self.gpus.first().and_then(|gpu| gpu.cores))
    }
}
