//! NVIDIA GPUs through NVML, which the driver brings along and which is loaded at run time.

mod raw;

use super::{slow::Slow, sysfs};
use nvml_wrapper::{Device, Nvml, error::NvmlError};
use pilothouse_domain::gauge::{GpuProcess, GpuReading};
use raw::{RawReading, merge};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A driver may be loaded later (a boot race, a resume); look again so often.
const RETRY: Duration = Duration::from_secs(60);
/// Limits are set by hand, now and then.
const LIMIT_EVERY: Duration = Duration::from_secs(60);
/// Two lists from the driver; the dearest reading of all.
const PROCESSES_EVERY: Duration = Duration::from_secs(5);
/// The vendor's number on the PCI bus.
const VENDOR: &str = "0x10de";

/// Only one thread at a time is in the driver: where a call hangs, none is added.
static IN_THE_DRIVER: Mutex<()> = Mutex::new(());

/// Held while the driver is asked.
pub(crate) fn in_the_driver() -> MutexGuard<'static, ()> {
    IN_THE_DRIVER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why there are no readings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Absence {
    /// No driver or no card: nothing is amiss.
    NotHere(String),
    /// There is a driver and it does not answer.
    Silent(String),
}

pub(super) struct Nvidia {
    /// `/sys`.
    sys: PathBuf,
    /// Where the cards are on the bus.
    listed: Slow<Vec<(PathBuf, String)>>,
    nvml: Option<Nvml>,
    /// By the driver's index; `None`: it did not answer yet.
    cards: Vec<Option<Card>>,
    /// Why there is none, and when that was found.
    absent: Option<(Instant, Absence)>,
}

/// What is asked once of a card, and its rare readings.
struct Card {
    name: String,
    /// Its place on the PCI bus as sysfs writes it ("0000:01:00.0").
    slot: Option<String>,
    /// Divided into instances (MIG): it tells no load as a whole.
    divided: bool,
    power_limit_mw: Slow<Option<u32>>,
    processes: Slow<(Vec<GpuProcess>, Option<String>)>,
}

impl Card {
    /// Errors: the GPU is gone.
    fn of(device: &Device<'_>) -> Result<Self, NvmlError> {
        let slot = device.pci_info().ok();
        Ok(Self {
            name: device.name()?,
            slot: slot.map(|pci| format!("{:04x}:{:02x}:{:02x}.0", pci.domain, pci.bus, pci.device)),
            divided: device.mig_mode().is_ok_and(|mode| mode.current == 1),
            power_limit_mw: Slow::every(LIMIT_EVERY),
            processes: Slow::every(PROCESSES_EVERY),
        })
    }

    fn read(&mut self, device: &Device<'_>, memory_total: Option<u64>) -> Result<GpuReading, NvmlError> {
        let now = Instant::now();
        let mut raw = RawReading::of(device, &self.name)?;
        raw.divided = self.divided;
        raw.power_limit_mw = *self.power_limit_mw.get(now, || device.enforced_power_limit().ok());
        let (processes, absent) = self.processes.get(now, || processes(device)).clone();
        raw.processes = processes;
        raw.processes_absent = absent;
        Ok(raw.into_reading(memory_total))
    }
}

fn processes(device: &Device<'_>) -> (Vec<GpuProcess>, Option<String>) {
    merge(
        device.running_compute_processes().map_err(|error| reason(&error).into_words()),
        device.running_graphics_processes().map_err(|error| reason(&error).into_words()),
    )
}

impl Default for Nvidia {
    fn default() -> Self {
        Self { sys: "/sys".into(), listed: Slow::every(RETRY), nvml: None, cards: Vec::new(), absent: None }
    }
}

impl Nvidia {
    /// One reading per GPU. `memory_total`: of the machine, for a GPU without memory of its own.
    /// Errors: why there is none.
    pub fn read(&mut self, memory_total: Option<u64>) -> Result<Vec<GpuReading>, Absence> {
        if let Some((at, reason)) = &self.absent
            && at.elapsed() < RETRY
        {
            return Err(reason.clone());
        }
        // Loading the driver's library would wake them.
        let listed = self.listed.get(Instant::now(), || listed(&self.sys));
        if self.nvml.is_none()
            && !listed.is_empty()
            && listed.iter().all(|(device, _)| sysfs::is_asleep(device))
        {
            return Ok(listed.iter().map(|(_, name)| asleep(name.clone())).collect());
        }
        let _alone = in_the_driver();
        let result = self.read_now(memory_total).map_err(|error| reason(&error));
        match &result {
            Ok(_) => self.absent = None,
            Err(reason) => {
                self.nvml = None;
                self.cards.clear();
                self.absent = Some((Instant::now(), reason.clone()));
            }
        }
        result
    }

    fn read_now(&mut self, memory_total: Option<u64>) -> Result<Vec<GpuReading>, NvmlError> {
        let nvml = match self.nvml.take() {
            Some(nvml) => nvml,
            None => open()?,
        };
        let nvml = self.nvml.insert(nvml);
        let count = nvml.device_count()?;
        if self.cards.len() != count as usize {
            self.cards.clear();
            self.cards.resize_with(count as usize, || None);
        }
        let mut gpus = Vec::new();
        let mut lost = None;
        for (index, card) in (0..count).zip(&mut self.cards) {
            // One GPU that fell off its bus takes only its own readings away.
            match read_card(nvml, index, card, &self.sys, memory_total) {
                Ok(reading) => gpus.push(reading),
                Err(error) => lost = Some(error),
            }
        }
        match (gpus.is_empty(), lost) {
            (true, Some(error)) => Err(error),
            (true, None) => Err(NvmlError::NotFound),
            (false, _) => Ok(gpus),
        }
    }
}

fn read_card(
    nvml: &Nvml,
    index: u32,
    card: &mut Option<Card>,
    sys: &Path,
    memory_total: Option<u64>,
) -> Result<GpuReading, NvmlError> {
    let slot = card.as_ref().and_then(|card| card.slot.as_deref());
    if let (Some(slot), Some(card)) = (slot, &card)
        && sysfs::is_asleep(&sysfs::pci(sys, slot))
    {
        return Ok(asleep(card.name.clone()));
    }
    let device = nvml.device_by_index(index)?;
    let known = match card.take() {
        Some(card) => card,
        None => Card::of(&device)?,
    };
    card.insert(known).read(&device, memory_total)
}

/// NVIDIA's GPUs as the system lists them, with names of their own making.
fn listed(sys: &Path) -> Vec<(PathBuf, String)> {
    let named = |device: PathBuf| {
        let name = sysfs::pci_name(&device, "NVIDIA");
        (device, name)
    };
    sysfs::displays(sys, VENDOR).into_iter().map(named).collect()
}

fn asleep(name: String) -> GpuReading {
    GpuReading {
        name,
        vendor: "nvidia".into(),
        absent: Some(sysfs::ASLEEP.into()),
        processes_absent: Some(sysfs::ASLEEP.into()),
        source: "sysfs".into(),
        ..GpuReading::default()
    }
}

/// The library is named with its version on machines without development files.
pub(crate) fn open() -> Result<Nvml, NvmlError> {
    match Nvml::init() {
        Err(NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound) => {
            Nvml::builder().lib_path(OsStr::new("libnvidia-ml.so.1")).init()
        }
        answer => answer,
    }
}

impl Absence {
    pub fn into_words(self) -> String {
        match self {
            Self::NotHere(reason) | Self::Silent(reason) => reason,
        }
    }
}

fn reason(error: &NvmlError) -> Absence {
    match error {
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => {
            Absence::NotHere("the NVIDIA driver library is not installed".into())
        }
        NvmlError::DriverNotLoaded => Absence::NotHere("the NVIDIA driver is not loaded".into()),
        NvmlError::NotFound => Absence::NotHere("the NVIDIA driver reports none".into()),
        NvmlError::LibRmVersionMismatch => {
            Absence::Silent("the NVIDIA driver was updated: restart the machine to read the GPU again".into())
        }
        NvmlError::NoPermission => {
            Absence::Silent("the NVIDIA driver refuses the readings: no permission".into())
        }
        NvmlError::NotSupported => Absence::Silent("the NVIDIA driver does not tell it on this GPU".into()),
        other => Absence::Silent(format!("the NVIDIA driver does not answer: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gauges::sysfs::tests::{add, tree};

    #[test]
    fn each_refusal_has_its_own_words() {
        let words = |error: NvmlError| reason(&error).into_words();
        assert!(words(NvmlError::LibraryNotFound).contains("not installed"));
        assert!(words(NvmlError::DriverNotLoaded).contains("not loaded"));
        assert!(words(NvmlError::LibRmVersionMismatch).contains("restart"));
        assert!(matches!(reason(&NvmlError::GpuLost), Absence::Silent(_)));
    }

    #[test]
    fn a_refusal_is_kept_for_a_while() {
        let before = Absence::Silent("as before".into());
        let absent = Some((Instant::now(), before.clone()));
        let mut nvidia = Nvidia { absent, ..Nvidia::default() };
        assert_eq!(nvidia.read(None), Err(before));
    }

    /// A laptop: the library is not even loaded while its GPU sleeps.
    #[test]
    fn a_sleeping_gpu_is_named_and_not_woken() {
        let sys = tree(&[
            ("bus/pci/devices/0000:01:00.0/vendor", "0x10de\n"),
            ("bus/pci/devices/0000:01:00.0/device", "0x2820\n"),
            ("bus/pci/devices/0000:01:00.0/class", "0x030000\n"),
            ("bus/pci/devices/0000:01:00.0/power/runtime_status", "suspended\n"),
            // The card's sound device sleeps or not: it is no GPU.
            ("bus/pci/devices/0000:01:00.1/vendor", "0x10de\n"),
            ("bus/pci/devices/0000:01:00.1/class", "0x040300\n"),
        ]);
        let mut nvidia = Nvidia { sys: sys.path().into(), ..Nvidia::default() };
        let gpus = nvidia.read(None).unwrap();
        assert_eq!(gpus.len(), 1);
        assert_eq!(gpus[0].name, "NVIDIA GPU 10de:2820");
        assert!(gpus[0].absent.as_ref().is_some_and(|reason| reason.contains("asleep")));
        assert_eq!((gpus[0].load_percent, gpus[0].power_w), (None, None));
        // Once it is awake, the driver is asked; here there may be none.
        add(sys.path(), &[("bus/pci/devices/0000:01:00.0/power/runtime_status", "active")]);
        let awake = nvidia.read(None).unwrap_or_default();
        assert!(awake.iter().all(|gpu| gpu.absent.as_deref() != Some(sysfs::ASLEEP)), "{awake:?}");
    }
}
