//! Memory bandwidth of graphics cards by name. Sources of every figure: reference, telemetry, sections 3 and 4.

/// Words of the name, memory in GiB where cards of one name differ, GB/s (10^9).
const CARDS: &[(&str, Option<u64>, f64)] = &[
    ("RTX 2080 Ti", None, 616.0),
    ("RTX 3060", Some(12), 360.0),
    ("RTX 3060 Ti", None, 448.0),
    ("RTX 3070", None, 448.0),
    ("RTX 3070 Ti", None, 608.0),
    ("RTX 3080", Some(10), 760.0),
    ("RTX 3080", Some(12), 912.0),
    ("RTX 3080 Ti", None, 912.0),
    ("RTX 3090", None, 936.0),
    ("RTX 3090 Ti", None, 1008.0),
    ("RTX 4060", None, 272.0),
    ("RTX 4060 Ti", None, 288.0),
    ("RTX 4070", None, 504.0),
    ("RTX 4070 SUPER", None, 504.0),
    ("RTX 4070 Ti", None, 504.0),
    ("RTX 4070 Ti SUPER", None, 672.0),
    ("RTX 4080", None, 717.0),
    ("RTX 4080 SUPER", None, 736.0),
    ("RTX 4090", None, 1008.0),
    ("RTX 5060", None, 448.0),
    ("RTX 5060 Ti", None, 448.0),
    ("RTX 5070", None, 672.0),
    ("RTX 5070 Ti", None, 896.0),
    ("RTX 5080", None, 960.0),
    ("RTX 5090", None, 1792.0),
    ("RTX PRO 6000 Blackwell", None, 1792.0),
    ("RTX A6000", None, 768.0),
    ("RTX 6000 Ada", None, 960.0),
    ("A10", None, 600.0),
    ("A10G", None, 600.0),
    ("L4", None, 300.0),
    ("L40", None, 864.0),
    ("L40S", None, 864.0),
    ("T4", None, 320.0),
    ("V100 SXM2", None, 900.0),
    ("A100", Some(40), 1555.0),
    ("A100 80GB PCIe", None, 1935.0),
    ("A100 SXM4 80GB", None, 2039.0),
    ("H100 PCIe", None, 2039.0),
    ("H100 80GB HBM3", None, 3350.0),
    ("H100 NVL", None, 3900.0),
    ("H200", None, 4800.0),
    ("GB10", None, 273.0),
    ("RX 6800 XT", None, 512.0),
    ("RX 7800 XT", None, 624.0),
    ("RX 7900 XT", None, 800.0),
    ("RX 7900 XTX", None, 960.0),
    ("RX 9070", None, 640.0),
    ("RX 9070 XT", None, 640.0),
    ("R9700", None, 640.0),
    ("MI210", None, 1638.0),
    ("MI300X", None, 5300.0),
    ("A770", None, 560.0),
    ("B580", None, 456.0),
    ("B60", None, 456.0),
];

/// Words that make another card of a name: the figures of the table are not theirs.
const VARIANTS: &[&str] = &["Ti", "SUPER", "XT", "XTX", "GRE", "D", "Laptop", "Mobile", "Max"];

/// GB/s of a card whose name the driver tells ("NVIDIA GeForce RTX 4090"). `None`: not in the table, or several cards are
/// called so and the memory does not tell which.
pub fn card_bandwidth(name: &str, memory_bytes: Option<u64>) -> Option<f64> {
    let words: Vec<&str> =
        name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let gib = memory_bytes.map(|bytes| (bytes as f64 / (1u64 << 30) as f64).round() as u64);
    let fits = |(card, memory, _): &&(&str, Option<u64>, f64)| {
        let wanted: Vec<&str> = card.split(' ').collect();
        let at = words.windows(wanted.len()).position(|part| part == wanted);
        let rest = at.map(|at| &words[at + wanted.len()..]);
        rest.is_some_and(|rest| !rest.iter().any(|word| VARIANTS.contains(word)))
            && memory.is_none_or(|memory| gib == Some(memory))
    };
    CARDS.iter().filter(fits).max_by_key(|(card, ..)| card.len()).map(|(.., gb_s)| *gb_s)
}

/// AMD's large processors with one memory for all, whose GPU runs models (Radeon 8050S and 8060S).
pub fn is_strix_halo(chip: &str) -> bool {
    ["8050S", "8060S"].iter().any(|gpu| chip.contains(gpu))
}

/// Nominal GB/s of such a processor; about 212 were measured.
pub const STRIX_HALO_GB_S: f64 = 256.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_drivers_are_found_and_other_cards_of_a_name_are_not() {
        const GIB: u64 = 1 << 30;
        for (name, memory, wanted) in [
            ("NVIDIA GeForce RTX 4090", None, Some(1008.0)),
            ("NVIDIA GeForce RTX 4070 Ti SUPER", None, Some(672.0)),
            ("NVIDIA GeForce RTX 4070 Ti", None, Some(504.0)),
            ("NVIDIA GeForce RTX 4090 Laptop GPU", None, None),
            ("NVIDIA GeForce RTX 3080", Some(10 * GIB), Some(760.0)),
            ("NVIDIA GeForce RTX 3080", Some(12 * GIB - 300_000_000), Some(912.0)),
            ("NVIDIA GeForce RTX 3080", None, None),
            ("NVIDIA GeForce RTX 3060", Some(8 * GIB), None),
            ("NVIDIA H100 80GB HBM3", None, Some(3350.0)),
            ("NVIDIA H100 PCIe", None, Some(2039.0)),
            ("NVIDIA H200", None, Some(4800.0)),
            ("NVIDIA A100-SXM4-80GB", Some(80 * GIB), Some(2039.0)),
            ("NVIDIA A100-SXM4-40GB", Some(40 * GIB), Some(1555.0)),
            ("NVIDIA GB10", None, Some(273.0)),
            ("AMD Radeon RX 7900 XTX", None, Some(960.0)),
            ("AMD Radeon RX 7900 XT", None, Some(800.0)),
            ("AMD Radeon RX 7900 GRE", None, None),
            ("Intel Arc B580 Graphics", None, Some(456.0)),
            ("AMD GPU 1002:744c", None, None),
            ("", None, None),
        ] {
            assert_eq!(card_bandwidth(name, memory), wanted, "{name}");
        }
    }

    #[test]
    fn a_strix_halo_is_known_by_its_gpu() {
        assert!(is_strix_halo("AMD RYZEN AI MAX+ 395 w/ Radeon 8060S"));
        assert!(!is_strix_halo("AMD Ryzen 7 7840U w/ Radeon 780M Graphics"));
    }
}
