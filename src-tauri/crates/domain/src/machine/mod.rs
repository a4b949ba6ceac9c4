//! The machine that models run on: read once by `engine::hardware`, or given as a profile of another machine.

mod apple;
mod cards;

pub use apple::{AppleChip, apple_chip, apple_working_set};
pub use cards::{STRIX_HALO_GB_S, card_bandwidth, is_strix_halo};

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

/// Vector instructions of the processor, as far as llama.cpp keeps weights in another order for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[serde(default)]
#[ts(export)]
pub struct CpuFeatures {
    /// x86.
    pub avx2: bool,
    /// x86, AVX-512F.
    pub avx512: bool,
    /// Arm.
    pub neon: bool,
    /// Arm, products of four bytes at a time.
    pub dotprod: bool,
}

impl CpuFeatures {
    /// What is taken where it is not told: nearly every x86 processor since 2013 has it.
    pub const USUAL: Self = Self { avx2: true, avx512: false, neon: false, dotprod: false };
}

/// How GPU and processor share memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum MemoryKind {
    /// GPU and processor use the same memory.
    Unified,
    /// A GPU has memory of its own, or there is no GPU.
    Separate,
}

/// A GPU as it is built.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Gpu {
    pub name: String,
    /// "apple", "nvidia", "amd", "intel".
    pub vendor: String,
    pub cores: Option<u32>,
    /// Memory of its own; where `memory_shared`, what is set aside for it of the machine's. `None`: none, or not told.
    pub memory_bytes: Option<u64>,
    /// It uses the machine's memory.
    #[serde(default)]
    pub memory_shared: bool,
    /// What it can use of the machine's memory beside `memory_bytes` (AMD: GTT).
    #[serde(default)]
    pub reachable_bytes: Option<u64>,
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
    /// `None`: a profile that does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_features: Option<CpuFeatures>,
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
    /// GPU working set on Apple with its override, memory of the largest GPU, what a GPU without memory of its own can use
    /// of the machine's where models run on it, or RAM.
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
        let own = self.gpus.iter().filter(|gpu| !gpu.memory_shared).filter_map(|gpu| gpu.memory_bytes).max();
        match (own, self.shared_limit()) {
            (Some(bytes), _) if self.gpus.iter().filter(|gpu| !gpu.memory_shared).count() > 1 => {
                ceiling(bytes, "memory of the largest GPU; models over several are not reckoned", true)
            }
            (Some(bytes), _) => ceiling(bytes, "memory of the GPU", true),
            (None, Some((bytes, source))) => ceiling(bytes, source, true),
            (None, None) if self.gpus.is_empty() => {
                ceiling(self.memory_bytes, "memory of the machine: no GPU", false)
            }
            (None, None) => {
                ceiling(self.memory_bytes, "memory of the machine: no GPU tells memory of its own", false)
            }
        }
    }

    /// What a GPU without memory of its own can use, on machines that are built to run models so (DGX Spark, Strix Halo).
    /// The small GPU of an ordinary processor is none of these: there models run on the processor.
    fn shared_limit(&self) -> Option<(u64, &'static str)> {
        let shared = |vendor: &'static str| {
            self.gpus.iter().find(move |gpu| gpu.memory_shared && gpu.vendor == vendor)
        };
        if shared("nvidia").is_some() {
            return Some((self.memory_bytes, "memory of the machine, which the GPU shares"));
        }
        let gpu = shared("amd").filter(|_| is_strix_halo(&self.chip))?;
        let reachable = gpu.reachable_bytes?.min(self.memory_bytes);
        let bytes = gpu.memory_bytes.unwrap_or_default().saturating_add(reachable);
        Some((bytes, "set aside for the GPU, and what it can reach of the machine's memory (GTT)"))
    }

    /// The bandwidth of what will compute: the GPU's own, else the machine's.
    pub fn bandwidth(&self) -> Option<&Sourced<f64>> {
        let own = self.computing_gpu().and_then(|gpu| gpu.bandwidth_gb_s.as_ref());
        own.or(self.bandwidth_gb_s.as_ref())
    }

    /// The GPU that models run on where there are several: the one with the most memory of its own.
    pub fn computing_gpu(&self) -> Option<&Gpu> {
        self.gpus.iter().max_by_key(|gpu| (!gpu.memory_shared, gpu.memory_bytes))
    }

    /// The Apple chip, if it is one that is known.
    pub fn apple(&self) -> Option<&'static AppleChip> {
        apple_chip(&self.chip, self.gpus.first().and_then(|gpu| gpu.cores))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn machine(chip: &str, gpus: Vec<Gpu>) -> Machine {
        let unified = !gpus.is_empty() && gpus.iter().all(|gpu| gpu.memory_shared);
        Machine {
            model: None,
            chip: chip.into(),
            cores: Cores::default(),
            cpu_features: None,
            memory_bytes: 120 * GIB,
            memory_kind: if unified { MemoryKind::Unified } else { MemoryKind::Separate },
            bandwidth_gb_s: None,
            bandwidth_gb_s_absent: None,
            gpus,
            neural_engine: None,
            metal: None,
            os: None,
            driver: None,
            gpu_limit_override_bytes: None,
        }
    }

    fn gpu(vendor: &str, memory: Option<u64>, shared: bool, reachable: Option<u64>) -> Gpu {
        Gpu {
            vendor: vendor.into(),
            memory_bytes: memory,
            memory_shared: shared,
            reachable_bytes: reachable,
            ..Gpu::default()
        }
    }

    #[test]
    fn the_ceiling_is_what_the_gpu_can_use() {
        let strix = "AMD RYZEN AI MAX+ 395 w/ Radeon 8060S";
        let small = gpu("amd", Some(GIB / 2), true, Some(60 * GIB));
        for (chip, gpus, bytes, on_gpu) in [
            ("Ryzen", vec![], 120 * GIB, false),
            ("Ryzen", vec![gpu("nvidia", Some(24 * GIB), false, None)], 24 * GIB, true),
            ("Grace", vec![gpu("nvidia", None, true, None)], 120 * GIB, true),
            (strix, vec![gpu("amd", Some(GIB / 2), true, Some(96 * GIB))], 96 * GIB + GIB / 2, true),
            // The limit may be set higher than there is memory.
            (strix, vec![gpu("amd", Some(GIB), true, Some(500 * GIB))], 121 * GIB, true),
            (strix, vec![gpu("amd", Some(GIB), true, None)], 120 * GIB, false),
            ("Ryzen 7840U w/ Radeon 780M", vec![small.clone()], 120 * GIB, false),
            ("Core", vec![gpu("intel", None, true, None)], 120 * GIB, false),
            // The card decides, not the small GPU beside it.
            ("Ryzen", vec![small, gpu("amd", Some(16 * GIB), false, Some(60 * GIB))], 16 * GIB, true),
        ] {
            let ceiling = machine(chip, gpus.clone()).ceiling();
            assert_eq!(
                (ceiling.bytes, ceiling.on_gpu),
                (bytes, on_gpu),
                "{chip} {gpus:?}: {}",
                ceiling.source
            );
        }
    }
}
