//! The gauges of the graphics cards that the Linux kernel reads itself (AMD, Intel).

use super::{
    amd::AmdCard,
    drm_card::{DrmCard, cards},
    drm_clients::{Client, Clients},
    intel::IntelCard,
    slow::Slow,
    sysfs,
};
use pilothouse_domain::gauge::GpuReading;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// Cards come and go: an external one, a driver that is loaded later.
const LIST_EVERY: Duration = Duration::from_secs(60);
/// Why a list of processes is not whole.
pub(super) const OWN_PROCESSES: &str = "only processes of this user can be seen";

/// Whose cards are read: each maker's driver may hang for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    Amd,
    Intel,
    Apple,
}

impl Maker {
    /// `None`: nobody whose cards are read here.
    fn of(card: &DrmCard) -> Option<Self> {
        match () {
            () if card.is_amd() => Some(Self::Amd),
            () if card.is_intel() => Some(Self::Intel),
            () if card.is_asahi() => Some(Self::Apple),
            () => None,
        }
    }
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
        let readable = listed.iter().filter(|card| wanted(Maker::of(card)));
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
