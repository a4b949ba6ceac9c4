//! What the Linux kernel tells of its machine by small files (reference: telemetry, section 4).

use crate::gauges::{AmdMemory, DrmCard, MemoryLimit, drm_cards, sysfs_text};
use pilothouse_domain::machine::{Cores, Gpu, Machine, MemoryKind, Sourced, card_bandwidth};
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

/// AMD's and Intel's GPUs. One that sleeps is named and not read.
pub(super) fn gpus(sys: &Path) -> Vec<Gpu> {
    drm_cards(sys).iter().filter_map(gpu).collect()
}

/// The limit of memory, and the cards that slept when they were read and are awake now. Wakes nothing.
pub(super) fn told_again(known: Machine, sys: &Path) -> Machine {
    let memory_limit = MemoryLimit::of_this_process().below(known.memory_bytes);
    let is_told = |gpu: &Gpu| gpu.vendor != "amd" || gpu.memory_bytes.is_some();
    let mut gpus = known.gpus.clone();
    if !gpus.iter().all(is_told) {
        let mut awake: Vec<Gpu> = self::gpus(sys);
        awake.retain(|gpu| gpu.vendor == "amd" && is_told(gpu));
        for gpu in gpus.iter_mut().filter(|gpu| !is_told(gpu)) {
            if let Some(place) = awake.iter().position(|awake| awake.name == gpu.name) {
                *gpu = awake.remove(place);
            }
        }
    }
    let unified = !gpus.is_empty() && gpus.iter().all(|gpu| gpu.memory_shared);
    let memory_kind = if unified { MemoryKind::Unified } else { MemoryKind::Separate };
    Machine { memory_limit, gpus, memory_kind, ..known }
}

fn gpu(card: &DrmCard) -> Option<Gpu> {
    let name = card.name();
    let memory = match (card.is_amd(), card.is_intel()) {
        (true, _) => AmdMemory::of(&card.device).unwrap_or_default(),
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

    fn machine(gpus: Vec<Gpu>) -> Machine {
        let profile = include_str!("profiles/m4-max-36.json");
        let told: Machine = serde_json::from_str(profile).unwrap();
        let chip = "AMD RYZEN AI MAX+ 395 w/ Radeon 8060S".into();
        Machine { gpus, chip, memory_kind: MemoryKind::Separate, gpu_limit_override_bytes: None, ..told }
    }

    #[test]
    fn a_sleeping_card_is_not_opened_and_read_once_it_is_awake() {
        let sys = tree(&[]);
        // Nothing of it is used: reading it would wake the card.
        let asleep = [
            ("gpu_metrics", "\u{8}\u{1}\u{3}\0"),
            ("mem_info_vram_total", "536870912\n"),
            ("mem_info_gtt_total", "34359738368\n"),
            ("power/runtime_status", "suspended\n"),
        ];
        put(&sys, 1, "1002:1586", "amdgpu", "0000:c4:00.0", &asleep);
        let known = machine(gpus(sys.path()));
        assert_eq!(known.gpus.len(), 1, "it is there");
        assert_eq!((known.gpus[0].memory_bytes, known.gpus[0].memory_shared), (None, false));
        assert_eq!(known.ceiling().bytes, known.memory_bytes, "no ceiling is made of what was not read");
        let still = told_again(known.clone(), sys.path());
        assert_eq!(still.gpus, known.gpus, "it sleeps on");
        let awake = [("power/runtime_status", "active\n")];
        put(&sys, 1, "1002:1586", "amdgpu", "0000:c4:00.0", &awake);
        let now = told_again(known, sys.path());
        assert_eq!(now.gpus[0].memory_bytes, Some(536_870_912));
        assert_eq!(
            (now.gpus[0].reachable_bytes, now.memory_kind),
            (Some(34_359_738_368), MemoryKind::Unified)
        );
        assert_eq!(now.ceiling().bytes, 536_870_912 + 34_359_738_368, "the card's and what it reaches");
    }
}
