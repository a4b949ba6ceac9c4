//! The graphics cards that the Linux kernel lists, and the gauges of those that it reads itself (AMD, Intel).

use super::{
    amd::AmdCard,
    drm_clients::{Client, Clients},
    intel::IntelCard,
    pci_ids,
    slow::Slow,
    sysfs,
};
use pilothouse_domain::gauge::GpuReading;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Cards come and go: an external one, a driver that is loaded later.
const LIST_EVERY: Duration = Duration::from_secs(60);
/// Why a list of processes is not whole.
pub(super) const OWN_PROCESSES: &str = "only processes of this user can be seen";

/// A graphics card as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DrmCard {
    /// `…/class/drm/card0`.
    pub card: PathBuf,
    /// `…/class/drm/card0/device`.
    pub device: PathBuf,
    /// "amdgpu", "i915", "xe"; `None`: no driver.
    pub driver: Option<String>,
    /// Place on the PCI bus ("0000:03:00.0"); `None`: on no such bus.
    pub slot: Option<String>,
    /// `None`: no PCI device.
    vendor: Option<String>,
}

/// All cards, by number. Reading this wakes none of them.
pub(crate) fn cards(sys: &Path) -> Vec<DrmCard> {
    let number = |path: &Path| -> Option<u32> {
        // Connectors are listed beside the cards ("card0-DP-1").
        path.file_name()?.to_str()?.strip_prefix("card")?.parse().ok()
    };
    let listed = sysfs::entries(&sys.join("class/drm"));
    let mut numbered: Vec<(u32, PathBuf)> = listed.filter_map(|path| Some((number(&path)?, path))).collect();
    numbered.sort();
    numbered.into_iter().map(|(_, card)| DrmCard::of(card)).collect()
}

impl DrmCard {
    fn of(card: PathBuf) -> Self {
        let device = card.join("device");
        let events = sysfs::text(&device.join("uevent")).unwrap_or_default();
        let told = |key: &str| {
            let line = events.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.map(str::to_owned)
        };
        let vendor = sysfs::text(&device.join("vendor"));
        Self { driver: told("DRIVER"), slot: told("PCI_SLOT_NAME"), vendor, card, device }
    }

    pub fn is_amd(&self) -> bool {
        self.vendor.as_deref() == Some("0x1002") && self.driver.as_deref() == Some("amdgpu")
    }

    pub fn is_intel(&self) -> bool {
        self.vendor.as_deref() == Some("0x8086") && matches!(self.driver.as_deref(), Some("i915" | "xe"))
    }

    /// `None`: nobody whose cards are read here.
    fn maker(&self) -> Option<Maker> {
        match () {
            () if self.is_amd() => Some(Maker::Amd),
            () if self.is_intel() => Some(Maker::Intel),
            () if self.is_asahi() => Some(Maker::Apple),
            () => None,
        }
    }

    /// Apple's GPU under Linux (Asahi): the driver tells that it is there and no more.
    fn is_asahi(&self) -> bool {
        self.driver.as_deref() == Some("asahi")
    }

    /// A part of an Intel processor: those are on the first bus, while a card has a bus of its own behind a bridge.
    pub fn is_integrated(&self) -> bool {
        self.is_intel() && self.slot.as_deref().is_some_and(|slot| slot.contains(":00:"))
    }

    pub fn name(&self) -> String {
        let vendor = if self.is_amd() { "AMD" } else { "Intel" };
        // `card` is `/sys/class/drm/card0`; what the distribution installs stands beside `/sys`.
        let share = self.card.ancestors().nth(3).map(|sys| sys.join("../usr/share"));
        sysfs::text(&self.device.join("product_name"))
            .or_else(|| pci_ids::name(&share?, &self.device))
            .unwrap_or_else(|| sysfs::pci_name(&self.device, vendor))
    }

    /// The folder of its sensors.
    pub fn sensors(&self) -> Option<PathBuf> {
        sysfs::entries(&self.device.join("hwmon")).min()
    }
}

/// Whose cards are read: each maker's driver may hang for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    Amd,
    Intel,
    Apple,
}

enum Reader {
    Amd(AmdCard),
    Intel(IntelCard),
    Asahi,
}

/// Gauges of the cards that the kernel reads itself.
pub(super) struct Drm {
    /// `/sys`.
    sys: PathBuf,
    listed: Slow<Vec<DrmCard>>,
    /// `None`: of all.
    maker: Option<Maker>,
    /// One per listed card that can be read.
    readers: Vec<(DrmCard, Reader)>,
    clients: Clients,
}

impl Drm {
    /// The cards of one maker in this machine.
    pub fn of(maker: Maker) -> Self {
        Self::at(Some(maker), "/sys".into(), "/proc".into())
    }

    pub fn at(maker: Option<Maker>, sys: PathBuf, proc: PathBuf) -> Self {
        let (listed, clients) = (Slow::every(LIST_EVERY), Clients::new(proc));
        Self { sys, listed, maker, readers: Vec::new(), clients }
    }

    /// One reading per AMD, Intel or Asahi GPU; none where there is no such card. `memory_total`: of the machine.
    pub fn read(&mut self, now: Instant, memory_total: Option<u64>) -> Vec<GpuReading> {
        let sys = &self.sys;
        let listed = self.listed.get(now, || cards(sys));
        let wanted = |maker: Option<Maker>| maker.is_some() && (self.maker.is_none() || maker == self.maker);
        let readable = listed.iter().filter(|card| wanted(card.maker()));
        if !readable.clone().eq(self.readers.iter().map(|(card, _)| card)) {
            self.readers = readable.map(|card| (card.clone(), Reader::of(card))).collect();
        }
        if self.readers.is_empty() {
            return Vec::new();
        }
        let clients = self.clients.read(now);
        let read = |(card, reader): &mut (DrmCard, Reader)| reader.read(card, now, &clients, memory_total);
        self.readers.iter_mut().map(read).collect()
    }
}

impl Reader {
    fn of(card: &DrmCard) -> Self {
        if card.is_amd() {
            Self::Amd(AmdCard::new(card))
        } else if card.is_intel() {
            Self::Intel(IntelCard::new(card))
        } else {
            Self::Asahi
        }
    }

    fn read(
        &mut self,
        card: &DrmCard,
        now: Instant,
        clients: &[Client],
        memory_total: Option<u64>,
    ) -> GpuReading {
        let mut reading = match self {
            // A device that sleeps is not asked anything, not even for what its files would tell without it.
            _ if sysfs::is_asleep(&card.device) => return self.asleep(),
            Self::Amd(amd) => amd.read(card, now),
            Self::Intel(intel) => intel.read(card, now, clients, memory_total),
            Self::Asahi => return asahi(memory_total),
        };
        reading.processes =
            super::drm_clients::processes(clients, card.slot.as_deref(), reading.memory_shared);
        reading.processes_absent = Some(OWN_PROCESSES.into());
        reading
    }

    fn asleep(&self) -> GpuReading {
        let (name, vendor) = match self {
            Self::Amd(amd) => (amd.name(), "amd"),
            Self::Intel(intel) => (intel.name(), "intel"),
            Self::Asahi => ("Apple GPU", "apple"),
        };
        GpuReading {
            name: name.into(),
            vendor: vendor.into(),
            absent: Some(sysfs::ASLEEP.into()),
            processes_absent: Some(sysfs::ASLEEP.into()),
            source: "sysfs".into(),
            ..GpuReading::default()
        }
    }
}

fn asahi(memory_total: Option<u64>) -> GpuReading {
    const NOTHING: &str = "Asahi: the driver tells neither load nor power nor temperature";
    GpuReading {
        name: "Apple GPU".into(),
        vendor: "apple".into(),
        memory_total_bytes: memory_total,
        memory_shared: true,
        absent: Some(NOTHING.into()),
        processes_absent: Some(NOTHING.into()),
        source: "sysfs (asahi)".into(),
        ..GpuReading::default()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::gauges::sysfs::tests::{add, tree};
    use tempfile::TempDir;

    /// A card of the PCI bus with files of its own below `device`.
    pub(crate) fn put(sys: &TempDir, card: u32, ids: &str, driver: &str, slot: &str, files: &[(&str, &str)]) {
        let at = |name: &str| format!("class/drm/card{card}/device/{name}");
        let (vendor, device) = ids.split_once(':').unwrap();
        let uevent = format!("DRIVER={driver}\nPCI_CLASS=30000\nPCI_SLOT_NAME={slot}\nMODALIAS=pci:v0\n");
        for (name, content) in [
            ("vendor", format!("0x{vendor}\n")),
            ("device", format!("0x{device}\n")),
            ("uevent", uevent),
            ("power/runtime_status", "active\n".into()),
        ] {
            add(sys.path(), &[(&at(name), &content)]);
        }
        for (name, content) in files {
            add(sys.path(), &[(&at(name), content)]);
        }
    }

    pub(crate) fn read(sys: &TempDir) -> Vec<GpuReading> {
        let mut drm = Drm::at(None, sys.path().into(), sys.path().join("proc"));
        drm.read(Instant::now(), Some(64 << 30))
    }

    #[test]
    fn cards_are_listed_by_number_without_connectors_and_strangers() {
        let sys = tree(&[("class/drm/card0-DP-1/status", "connected"), ("class/drm/version", "drm 1.1.0")]);
        put(&sys, 10, "8086:e20b", "xe", "0000:0a:00.0", &[]);
        put(&sys, 2, "1002:744c", "amdgpu", "0000:03:00.0", &[]);
        put(&sys, 3, "10de:2684", "nvidia", "0000:04:00.0", &[]);
        put(&sys, 4, "1002:6810", "radeon", "0000:05:00.0", &[]);
        let names: Vec<String> = read(&sys).into_iter().map(|reading| reading.name).collect();
        assert_eq!(names, ["AMD GPU 1002:744c", "Intel GPU 8086:e20b"]);
        assert!(read(&tree(&[])).is_empty(), "no graphics card at all");
    }

    #[test]
    fn a_name_that_is_told_is_used() {
        let sys = tree(&[]);
        put(&sys, 0, "1002:744c", "amdgpu", "0000:03:00.0", &[("product_name", "AMD Radeon RX 7900 XTX\n")]);
        put(&sys, 1, "1002:744c", "amdgpu", "0000:04:00.0", &[("product_name", "\n")]);
        let names: Vec<String> = read(&sys).into_iter().map(|reading| reading.name).collect();
        assert_eq!(names, ["AMD Radeon RX 7900 XTX", "AMD GPU 1002:744c"]);
    }

    #[test]
    fn a_list_of_the_distribution_tells_the_name() {
        let root = tree(&[("usr/share/libdrm/amdgpu.ids", "744C,\tC8,\tAMD Radeon RX 7900 XTX\n")]);
        let at = |name: &str| format!("sys/class/drm/card0/device/{name}");
        let files = [
            ("vendor", "0x1002\n"),
            ("device", "0x744c\n"),
            ("revision", "0xc8\n"),
            ("uevent", "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:03:00.0\n"),
        ];
        for (name, content) in files {
            add(root.path(), &[(&at(name), content)]);
        }
        let names: Vec<String> = cards(&root.path().join("sys")).iter().map(DrmCard::name).collect();
        assert_eq!(names, ["AMD Radeon RX 7900 XTX"]);
    }

    #[test]
    fn a_sleeping_card_is_not_read() {
        let sys = tree(&[]);
        let files = [("gpu_busy_percent", "5\n"), ("power/runtime_status", "suspended\n")];
        put(&sys, 0, "1002:744c", "amdgpu", "0000:03:00.0", &files);
        let reading = &read(&sys)[0];
        assert_eq!(reading.load_percent, None);
        assert_eq!(reading.absent.as_deref(), Some(sysfs::ASLEEP));
        assert_eq!((reading.vendor.as_str(), reading.name.as_str()), ("amd", "AMD GPU 1002:744c"));
    }

    #[test]
    fn asahi_says_that_it_tells_nothing() {
        let sys = tree(&[("class/drm/card0/device/uevent", "DRIVER=asahi\nOF_NAME=gpu\n")]);
        let reading = &read(&sys)[0];
        assert_eq!((reading.vendor.as_str(), reading.memory_shared), ("apple", true));
        assert!(reading.absent.as_ref().is_some_and(|reason| reason.starts_with("Asahi")));
    }

    #[test]
    fn a_card_that_comes_later_is_found() {
        let sys = tree(&[]);
        let mut drm = Drm::at(None, sys.path().into(), sys.path().join("proc"));
        let start = Instant::now();
        let mut count = |s| drm.read(start + Duration::from_secs(s), None).len();
        assert_eq!(count(0), 0);
        put(&sys, 0, "1002:744c", "amdgpu", "0000:03:00.0", &[]);
        assert_eq!(count(30), 0);
        assert_eq!(count(61), 1);
    }
}
