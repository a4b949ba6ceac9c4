//! AMD GPUs by the files of the kernel's `amdgpu` driver (reference: telemetry, section 4.1).

use super::{drm_card::DrmCard, slow::Slow, sysfs};
use pilothouse_domain::gauge::GpuReading;
use std::{
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The driver asks the card's firmware for it.
const TEMPERATURE_EVERY: Duration = Duration::from_secs(5);
const LIMIT_EVERY: Duration = Duration::from_secs(60);
/// Degrees Celsius that a sensor can mean; others are nonsense.
const TEMPERATURES: std::ops::RangeInclusive<f64> = 1.0..=150.0;

/// Memory that an AMD GPU can use; each part `None` where the driver does not tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct AmdMemory {
    /// The card's own; of an APU: what the firmware has carved out of the machine's memory.
    pub vram_bytes: Option<u64>,
    /// The machine's memory that it can reach beside that.
    pub gtt_bytes: Option<u64>,
    /// An APU: both parts are the machine's memory.
    pub shared: bool,
}

impl AmdMemory {
    /// `None`: the device sleeps, or has just gone to sleep, and reading it would wake it. Whether its memory is the machine's
    /// is known only once it is awake.
    pub fn of(device: &Path) -> Option<Self> {
        if sysfs::is_asleep(device) {
            return None;
        }
        let total = |file: &str| sysfs::number(&device.join(file)).filter(|bytes| *bytes > 0);
        Some(Self {
            vram_bytes: total("mem_info_vram_total"),
            gtt_bytes: total("mem_info_gtt_total"),
            shared: is_apu(device)?,
        })
    }

    /// What the GPU can use for models.
    fn usable(self) -> Option<u64> {
        match self.shared {
            true => Some(self.vram_bytes?.saturating_add(self.gtt_bytes?)),
            false => self.vram_bytes,
        }
    }
}

/// The head of the table of metrics is its size in two bytes and its format: 1 for cards, 2 and 3 for APUs. A card of a kind
/// that has no such table is no APU. `None`: the table is there and is not told.
fn is_apu(device: &Path) -> Option<bool> {
    let mut head = [0; 4];
    let read =
        std::fs::File::open(device.join("gpu_metrics")).and_then(|mut file| file.read_exact(&mut head));
    match read {
        Ok(()) => Some(matches!(head[2], 2 | 3)),
        // An empty table is what a driver without metrics for this chip tells.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) => Some(false),
        Err(_) => None,
    }
}

pub(super) struct AmdCard {
    name: String,
    /// `None`: it slept when it was looked at.
    built: Option<Built>,
    temperature: Slow<Option<f64>>,
    power_limit: Slow<Option<f64>>,
}

/// What does not change.
struct Built {
    /// `None`: it fell asleep before that was told.
    memory: Option<AmdMemory>,
    sensors: Option<PathBuf>,
    temperature_file: Option<PathBuf>,
}

impl AmdCard {
    pub fn new(card: &DrmCard) -> Self {
        Self {
            name: card.name(),
            built: None,
            temperature: Slow::every(TEMPERATURE_EVERY),
            power_limit: Slow::every(LIMIT_EVERY),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The card is awake.
    pub fn read(&mut self, card: &DrmCard, now: Instant) -> GpuReading {
        let known = self.built.take().filter(|built| built.memory.is_some());
        let built = self.built.insert(known.unwrap_or_else(|| Built::of(card)));
        let memory = built.memory.unwrap_or_default();
        let sensor = |file: &str| sysfs::number::<f64>(&built.sensors.as_ref()?.join(file));
        let positive = |value: &f64| *value > 0.0;
        let megahertz = |file: &str| {
            let clock = sensor(file).filter(positive).map(|hertz| (hertz / 1e6).round() as u32);
            clock.filter(|clock| *clock > 0)
        };
        let busy = sysfs::number::<f64>(&card.device.join("gpu_busy_percent"));
        let temperature = || {
            let thousandths = sysfs::number::<f64>(built.temperature_file.as_ref()?)?;
            Some(thousandths / 1000.0).filter(|degrees| TEMPERATURES.contains(degrees))
        };
        let watts = |file: &str| sensor(file).filter(positive).map(|microwatts| microwatts / 1e6);
        let power_limit_w = *self.power_limit.get(now, || watts("power1_cap"));
        let memory_total_bytes = memory.usable();
        let memory_used_bytes = used(&card.device, memory.shared)
            .filter(|used| memory_total_bytes.is_none_or(|total| *used <= total));
        GpuReading {
            name: self.name.clone(),
            vendor: "amd".into(),
            load_percent: busy.filter(|busy| *busy >= 0.0).map(|busy| busy.min(100.0)),
            load_percent_absent: busy.is_none().then(|| "the amdgpu driver tells no load of this GPU".into()),
            memory_used_bytes,
            memory_total_bytes,
            memory_shared: memory.shared,
            power_w: watts("power1_average").or_else(|| watts("power1_input")),
            power_limit_w,
            temperature_c: *self.temperature.get(now, temperature),
            clock_mhz: megahertz("freq1_input"),
            memory_clock_mhz: megahertz("freq2_input"),
            source: "sysfs (amdgpu)".into(),
            ..GpuReading::default()
        }
    }
}

impl Built {
    fn of(card: &DrmCard) -> Self {
        let sensors = card.sensors();
        let temperature_file = sensors.as_ref().map(|folder| edge_temperature(folder));
        Self { memory: AmdMemory::of(&card.device), sensors, temperature_file }
    }
}

/// The file of the sensor at the chip's edge; the first where none is named so.
fn edge_temperature(sensors: &Path) -> PathBuf {
    let is_edge = |number: &u32| {
        sysfs::text(&sensors.join(format!("temp{number}_label"))).is_some_and(|label| label == "edge")
    };
    let number = (1..=8).find(is_edge).unwrap_or(1);
    sensors.join(format!("temp{number}_input"))
}

fn used(device: &Path, shared: bool) -> Option<u64> {
    let own: u64 = sysfs::number(&device.join("mem_info_vram_used"))?;
    match shared {
        true => own.checked_add(sysfs::number(&device.join("mem_info_gtt_used"))?),
        false => Some(own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gauges::{
        drm::tests::{put, read},
        sysfs::tests::{add, tree},
    };

    const CARD: [(&str, &str); 15] = [
        ("gpu_busy_percent", "87\n"),
        ("mem_info_vram_total", "25753026560\n"),
        ("mem_info_vram_used", "8589934592\n"),
        ("mem_info_gtt_total", "33624526848\n"),
        ("mem_info_gtt_used", "52428800\n"),
        ("hwmon/hwmon4/name", "amdgpu\n"),
        ("hwmon/hwmon4/power1_average", "291000000\n"),
        ("hwmon/hwmon4/power1_cap", "339000000\n"),
        ("hwmon/hwmon4/temp1_label", "junction\n"),
        ("hwmon/hwmon4/temp1_input", "81000\n"),
        ("hwmon/hwmon4/temp2_label", "edge\n"),
        ("hwmon/hwmon4/temp2_input", "63000\n"),
        ("hwmon/hwmon4/freq1_input", "2482000000\n"),
        ("hwmon/hwmon4/freq2_input", "1249000000\n"),
        // Version 1.3 of the table: a card.
        ("gpu_metrics", "\u{78}\0\u{1}\u{3}\0\0"),
    ];

    #[test]
    fn the_files_of_a_card_are_read_in_their_units() {
        let sys = tree(&[]);
        put(&sys, 0, "1002:744c", "amdgpu", "0000:03:00.0", &CARD);
        let expected = GpuReading {
            name: "AMD GPU 1002:744c".into(),
            vendor: "amd".into(),
            load_percent: Some(87.0),
            memory_used_bytes: Some(8 << 30),
            memory_total_bytes: Some(25_753_026_560),
            power_w: Some(291.0),
            power_limit_w: Some(339.0),
            temperature_c: Some(63.0),
            clock_mhz: Some(2482),
            memory_clock_mhz: Some(1249),
            processes_absent: Some(crate::gauges::drm::OWN_PROCESSES.into()),
            source: "sysfs (amdgpu)".into(),
            ..GpuReading::default()
        };
        assert_eq!(read(&sys), [expected]);
    }

    /// Strix Halo: a small part is carved out for the GPU, and it can reach 96 GiB beside it.
    #[test]
    fn an_apu_uses_what_is_carved_out_and_what_it_can_reach() {
        let sys = tree(&[]);
        let files = [
            ("mem_info_vram_total", "536870912\n"),
            ("mem_info_vram_used", "104857600\n"),
            ("mem_info_gtt_total", "103079215104\n"),
            ("mem_info_gtt_used", "21474836480\n"),
            ("gpu_metrics", "\u{8}\u{1}\u{3}\0"),
            ("hwmon/hwmon1/power1_input", "54000000\n"),
            ("hwmon/hwmon1/temp1_input", "41000\n"),
        ];
        put(&sys, 1, "1002:1586", "amdgpu", "0000:c4:00.0", &files);
        let reading = &read(&sys)[0];
        assert!(reading.memory_shared);
        assert_eq!(reading.memory_total_bytes, Some(536_870_912 + 103_079_215_104));
        assert_eq!(reading.memory_used_bytes, Some(104_857_600 + 21_474_836_480));
        assert_eq!((reading.power_w, reading.temperature_c), (Some(54.0), Some(41.0)));
        assert_eq!(reading.load_percent, None, "some APUs tell none");
        assert!(reading.load_percent_absent.is_some());
    }

    #[test]
    fn what_is_missing_or_garbage_stays_unknown() {
        let sys = tree(&[]);
        put(&sys, 0, "1002:744c", "amdgpu", "0000:03:00.0", &[]);
        let garbage = [
            ("gpu_busy_percent", "busy\n"),
            ("mem_info_vram_total", "0\n"),
            ("mem_info_vram_used", "-1\n"),
            ("hwmon/hwmon2/power1_average", "0\n"),
            ("hwmon/hwmon2/power1_cap", "\n"),
            ("hwmon/hwmon2/temp1_input", "-273000\n"),
            ("hwmon/hwmon2/freq1_input", "0\n"),
        ];
        put(&sys, 1, "1002:744c", "amdgpu", "0000:04:00.0", &garbage);
        let bare = |name: &str| GpuReading {
            name: name.into(),
            vendor: "amd".into(),
            load_percent_absent: Some("the amdgpu driver tells no load of this GPU".into()),
            processes_absent: Some(crate::gauges::drm::OWN_PROCESSES.into()),
            source: "sysfs (amdgpu)".into(),
            ..GpuReading::default()
        };
        assert_eq!(read(&sys), [bare("AMD GPU 1002:744c"), bare("AMD GPU 1002:744c")]);
        add(sys.path(), &[("class/drm/card1/device/gpu_busy_percent", "137\n")]);
        assert_eq!(read(&sys)[1].load_percent, Some(100.0));
    }
}
