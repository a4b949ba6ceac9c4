//! What the Linux kernel tells of its machine by small files (reference: telemetry, section 4).

use crate::gauges::{AmdMemory, DrmCard, drm_cards, sysfs_text};
use pilothouse_domain::machine::{Cores, Gpu, Sourced, card_bandwidth};
use std::{collections::BTreeSet, path::Path};

/// What firmware writes where nobody filled anything in.
const NOTHING_SAID: &[&str] =
    &["System Product Name", "To Be Filled By O.E.M.", "Default string", "System manufacturer"];

/// Maker and name of the machine ("Framework Desktop").
pub(super) fn model(sys: &Path) -> Option<String> {
    let said = |file: &str| {
        let text = sysfs_text(&sys.join("class/dmi/id").join(file))?;
        (!NOTHING_SAID.iter().any(|nothing| nothing.eq_ignore_ascii_case(&text))).then_some(text)
    };
    let name = said("product_name")?;
    Some(match said("sys_vendor") {
        Some(vendor) if !name.starts_with(&vendor) => format!("{vendor} {name}"),
        _ => name,
    })
}

/// Cores by kind where a processor of Intel has two; `None`: it has one.
pub(super) fn hybrid_cores(sys: &Path) -> Option<Cores> {
    let cores = |kind: &str| {
        let logical = list(&sysfs_text(&sys.join("devices").join(kind).join("cpus"))?)?;
        // Two threads of one core name the same list.
        let core = |cpu: &u32| {
            let file = format!("devices/system/cpu/cpu{cpu}/topology/core_cpus_list");
            sysfs_text(&sys.join(file)).unwrap_or_else(|| cpu.to_string())
        };
        u32::try_from(logical.iter().map(core).collect::<BTreeSet<String>>().len()).ok()
    };
    Some(Cores { performance: Some(cores("cpu_core")?), efficiency: Some(cores("cpu_atom")?) })
}

/// "0-3,8" as numbers.
fn list(text: &str) -> Option<Vec<u32>> {
    /// More processors than any machine has: a range of garbage is not to be written out.
    const MOST: u32 = 8192;
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        (first <= last && last < MOST).then_some(first..=last)
    };
    let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
    Some(ranges?.into_iter().flatten().collect())
}

/// AMD's and Intel's GPUs.
pub(super) fn gpus(sys: &Path) -> Vec<Gpu> {
    drm_cards(sys).iter().filter_map(gpu).collect()
}

/// Read once, so that a card which sleeps may be woken by it once.
fn gpu(card: &DrmCard) -> Option<Gpu> {
    let name = card.name();
    let memory = match (card.is_amd(), card.is_intel()) {
        (true, _) => AmdMemory::of(&card.device),
        (_, true) => AmdMemory { shared: card.is_integrated(), ..AmdMemory::default() },
        _ => return None,
    };
    let listed = card_bandwidth(&name, memory.vram_bytes).filter(|_| !memory.shared);
    Some(Gpu {
        vendor: if card.is_amd() { "amd" } else { "intel" }.into(),
        cores: None,
        memory_bytes: memory.vram_bytes,
        memory_shared: memory.shared,
        reachable_bytes: memory.gtt_bytes.filter(|_| memory.shared),
        bandwidth_gb_s: listed.map(|value| Sourced { value, source: "table of cards".into() }),
        compute_capability: None,
        driver: card.driver.clone(),
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gauges::sysfs_tests::{put, tree};

    #[test]
    fn a_machine_has_the_name_that_its_firmware_tells() {
        let of = |vendor: &str, name: &str| {
            model(tree(&[("class/dmi/id/sys_vendor", vendor), ("class/dmi/id/product_name", name)]).path())
        };
        assert_eq!(
            of("Framework\n", "Desktop (AMD Ryzen AI Max 300 Series)\n").as_deref(),
            Some("Framework Desktop (AMD Ryzen AI Max 300 Series)")
        );
        assert_eq!(of("NVIDIA", "NVIDIA DGX Spark").as_deref(), Some("NVIDIA DGX Spark"));
        assert_eq!(of("ASUS", "System Product Name"), None);
        assert_eq!(model(tree(&[]).path()), None);
    }

    #[test]
    fn threads_of_one_core_count_once() {
        let sys = tree(&[("devices/cpu_core/cpus", "0-3\n"), ("devices/cpu_atom/cpus", "4-5,7\n")]);
        for (cpu, core) in [(0, "0-1"), (1, "0-1"), (2, "2-3"), (3, "2-3"), (4, "4"), (5, "5"), (7, "7")] {
            let file = format!("devices/system/cpu/cpu{cpu}/topology/core_cpus_list");
            crate::gauges::sysfs_tests::add(sys.path(), &[(&file, core)]);
        }
        assert_eq!(hybrid_cores(sys.path()), Some(Cores { performance: Some(2), efficiency: Some(3) }));
        assert_eq!(hybrid_cores(tree(&[]).path()), None);
        for junk in ["", "a", "3-1", "0-4000000000", "1,,2"] {
            assert_eq!(list(junk), None, "{junk:?}");
        }
    }

    #[test]
    fn cards_and_integrated_gpus_are_told_apart() {
        let sys = tree(&[]);
        let card = [
            ("product_name", "AMD Radeon RX 7900 XTX\n"),
            ("mem_info_vram_total", "25753026560\n"),
            ("mem_info_gtt_total", "33624526848\n"),
            ("gpu_metrics", "\u{78}\0\u{1}\u{3}"),
        ];
        put(&sys, 0, "1002:744c", "amdgpu", "0000:03:00.0", &card);
        let apu = [
            ("mem_info_vram_total", "536870912\n"),
            ("mem_info_gtt_total", "103079215104\n"),
            ("gpu_metrics", "\u{8}\u{1}\u{3}\0"),
        ];
        put(&sys, 1, "1002:1586", "amdgpu", "0000:c4:00.0", &apu);
        put(&sys, 2, "8086:46a6", "i915", "0000:00:02.0", &[]);
        put(&sys, 3, "10de:2684", "nvidia", "0000:01:00.0", &[]);
        let gpus = gpus(sys.path());
        let told: Vec<_> = gpus
            .iter()
            .map(|gpu| (gpu.vendor.as_str(), gpu.memory_bytes, gpu.memory_shared, gpu.reachable_bytes))
            .collect();
        assert_eq!(
            told,
            [
                ("amd", Some(25_753_026_560), false, None),
                ("amd", Some(536_870_912), true, Some(103_079_215_104)),
                ("intel", None, true, None),
            ]
        );
        let bandwidth = gpus[0].bandwidth_gb_s.as_ref().unwrap();
        assert_eq!((bandwidth.value, bandwidth.source.as_str()), (960.0, "table of cards"));
        assert_eq!(gpus[1].bandwidth_gb_s, None);
        assert_eq!(gpus[0].driver.as_deref(), Some("amdgpu"));
    }
}
