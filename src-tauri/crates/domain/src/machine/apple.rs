//! Apple's chips. Sources of every figure: reference, telemetry, sections 2.2 and 2.3.

/// A chip in one of its variants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AppleChip {
    /// Without "Apple": "M4 Max".
    pub name: &'static str,
    /// Core counts of the GPU that share the other figures.
    pub gpu_cores: &'static [u32],
    pub bandwidth_gb_s: f64,
    /// `None`: not published.
    pub neural_engine_tops: Option<f64>,
}

const fn chip(
    name: &'static str,
    gpu_cores: &'static [u32],
    bandwidth_gb_s: f64,
    neural_engine_tops: Option<f64>,
) -> AppleChip {
    AppleChip { name, gpu_cores, bandwidth_gb_s, neural_engine_tops }
}

const CHIPS: &[AppleChip] = &[
    chip("M1", &[7, 8], 68.0, Some(11.0)),
    chip("M1 Pro", &[14, 16], 200.0, Some(11.0)),
    chip("M1 Max", &[24, 32], 400.0, Some(11.0)),
    chip("M1 Ultra", &[48, 64], 800.0, Some(22.0)),
    chip("M2", &[8, 10], 100.0, Some(15.8)),
    chip("M2 Pro", &[16, 19], 200.0, Some(15.8)),
    chip("M2 Max", &[30, 38], 400.0, Some(15.8)),
    chip("M2 Ultra", &[60, 76], 800.0, Some(31.6)),
    chip("M3", &[8, 10], 100.0, Some(18.0)),
    chip("M3 Pro", &[14, 18], 150.0, Some(18.0)),
    chip("M3 Max", &[30], 300.0, Some(18.0)),
    chip("M3 Max", &[40], 400.0, Some(18.0)),
    chip("M3 Ultra", &[60, 80], 819.0, Some(36.0)),
    chip("M4", &[8, 10], 120.0, Some(38.0)),
    chip("M4 Pro", &[16, 20], 273.0, Some(38.0)),
    chip("M4 Max", &[32], 410.0, Some(38.0)),
    chip("M4 Max", &[40], 546.0, Some(38.0)),
    chip("M5", &[8, 10], 153.0, None),
    chip("M5 Pro", &[16, 20], 307.0, None),
    chip("M5 Max", &[32], 460.0, None),
    chip("M5 Max", &[40], 614.0, None),
];

/// Finds a chip by its name ("Apple M4 Max", also in a virtual machine) and the cores of its GPU. Where variants differ and
/// the cores are not known, the answer is `None`: a guess would be off by a third.
pub fn apple_chip(name: &str, gpu_cores: Option<u32>) -> Option<&'static AppleChip> {
    let bare = name.strip_prefix("Apple ")?.trim_end_matches(" (Virtual)");
    let mut named = CHIPS.iter().filter(|chip| chip.name == bare);
    match gpu_cores {
        Some(cores) => named.find(|chip| chip.gpu_cores.contains(&cores)),
        None => named.next().filter(|_| named.next().is_none()),
    }
}

impl AppleChip {
    /// Each die has 16; an Ultra is made of two.
    pub fn neural_engine_cores(&self) -> u32 {
        if self.is_ultra() { 32 } else { 16 }
    }

    /// "M4" of "M4 Max".
    pub fn generation(&self) -> &'static str {
        self.name.split(' ').next().unwrap_or(self.name)
    }

    /// Two dies in one: a smaller share of the bandwidth arrives.
    pub fn is_ultra(&self) -> bool {
        self.name.ends_with("Ultra")
    }
}

const GIB: f64 = (1u64 << 30) as f64;

/// Memory in GiB and the limit in MB (10^6) as llama.cpp printed it on such machines.
const LIMITS: &[(u64, f64)] = &[
    (16, 12_713.12),
    (24, 19_069.67),
    (32, 26_800.60),
    (36, 30_150.67),
    (48, 40_200.90),
    (64, 55_662.79),
    (128, 115_448.73),
];

/// What the GPU may use of this much memory (`recommendedMaxWorkingSetSize`), and how that is known.
pub fn apple_working_set(memory_bytes: u64) -> (u64, &'static str) {
    let gib = memory_bytes as f64 / GIB;
    let exact = LIMITS.iter().find(|(size, _)| (*size as f64 - gib).abs() < 0.5);
    if let Some((_, megabytes)) = exact {
        return ((megabytes * 1e6) as u64, "GPU working set, as logged on Macs with this much memory");
    }
    let share = match gib {
        ..=24.0 => 0.74,
        ..=48.0 => 0.78,
        ..=96.0 => 0.82,
        ..=192.0 => 0.85,
        _ => 0.87,
    };
    ((memory_bytes as f64 * share) as u64, "GPU working set, guessed: no log of a Mac with this much memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_are_told_apart_by_their_gpu() {
        assert_eq!(apple_chip("Apple M4 Max", Some(32)).unwrap().bandwidth_gb_s, 410.0);
        assert_eq!(apple_chip("Apple M4 Max", Some(40)).unwrap().bandwidth_gb_s, 546.0);
        assert_eq!(apple_chip("Apple M4 Max", None), None, "410 or 546");
        assert_eq!(apple_chip("Apple M4 Max (Virtual)", Some(32)).unwrap().generation(), "M4");
        assert_eq!(apple_chip("Apple M2", None).unwrap().bandwidth_gb_s, 100.0);
        assert_eq!(apple_chip("Apple M4 Ultra", Some(80)), None, "there is none");
        assert_eq!(apple_chip("AMD Ryzen 9", None), None);
    }

    #[test]
    fn the_working_set_is_the_logged_one_or_marked_as_a_guess() {
        let of = |gib: u64| apple_working_set(gib << 30);
        assert_eq!(of(36).0, 30_150_670_000);
        assert!(!of(36).1.contains("guess") && of(96).1.contains("guess"));
        for gib in 9..512 {
            assert!(of(gib).0 < gib << 30, "{gib}");
        }
    }
}
