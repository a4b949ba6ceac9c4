//! The graphics cards that the Linux kernel lists.

use super::{pci_ids, sysfs};
use std::path::{Path, PathBuf};

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

    /// Apple's GPU under Linux (Asahi): the driver tells that it is there and no more.
    pub fn is_asahi(&self) -> bool {
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
