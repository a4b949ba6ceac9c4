//! Intel GPUs by the files of the kernel's drivers `i915` and `xe` (reference: telemetry, section 4.2).

use super::{
    drm_card::DrmCard,
    drm_clients::{BusyMeter, Client},
    slow::Slow,
    sysfs,
};
use pilothouse_domain::gauge::GpuReading;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const TEMPERATURE_EVERY: Duration = Duration::from_secs(5);
const LIMIT_EVERY: Duration = Duration::from_secs(60);
/// Degrees Celsius that a sensor can mean; others are nonsense.
const TEMPERATURES: std::ops::RangeInclusive<f64> = 1.0..=150.0;
const NO_LOAD: &str =
    "the driver tells the load of single processes only, and none of this user's was at work";
const NO_MEMORY: &str = "the driver tells the memory of single processes only";

pub(super) struct IntelCard {
    name: String,
    sensors: Option<PathBuf>,
    clock_file: PathBuf,
    temperature_file: Option<PathBuf>,
    energy: EnergyMeter,
    busy: BusyMeter,
    temperature: Slow<Option<f64>>,
    power_limit: Slow<Option<f64>>,
    /// A part of the processor: its memory is the machine's.
    integrated: bool,
    source: String,
}

impl IntelCard {
    pub fn new(card: &DrmCard) -> Self {
        let sensors = card.sensors();
        let driver = card.driver.as_deref().unwrap_or("no driver");
        let (clock_file, package) = match driver {
            "xe" => (card.device.join("tile0/gt0/freq0/cur_freq"), "temp2_input"),
            _ => (card.card.join("gt_cur_freq_mhz"), "temp1_input"),
        };
        Self {
            name: card.name(),
            temperature_file: sensors.as_ref().map(|folder| folder.join(package)),
            sensors,
            clock_file,
            energy: EnergyMeter::default(),
            busy: BusyMeter::default(),
            temperature: Slow::every(TEMPERATURE_EVERY),
            power_limit: Slow::every(LIMIT_EVERY),
            integrated: card.is_integrated(),
            source: format!("sysfs ({driver}); load: the processes of this user"),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The card is awake.
    pub fn read(
        &mut self,
        card: &DrmCard,
        now: Instant,
        clients: &[Client],
        machine_memory: Option<u64>,
    ) -> GpuReading {
        let load_percent = self.busy.percent(now, clients, card.slot.as_deref());
        let positive = |value: &f64| *value > 0.0;
        let sensors = self.sensors.as_deref();
        let energy = sensors.and_then(energy).and_then(|energy| self.energy.watts(now, energy));
        let limit = || {
            let microwatts = sysfs::number::<f64>(&sensors?.join("power1_max"))?;
            Some(microwatts / 1e6).filter(positive)
        };
        let file = self.temperature_file.as_deref();
        let temperature = || {
            let thousandths = sysfs::number::<f64>(file?)?;
            Some(thousandths / 1000.0).filter(|degrees| TEMPERATURES.contains(degrees))
        };
        GpuReading {
            name: self.name.clone(),
            vendor: "intel".into(),
            load_percent,
            load_percent_absent: load_percent.is_none().then(|| NO_LOAD.into()),
            memory_used_bytes_absent: Some(NO_MEMORY.into()),
            memory_total_bytes: machine_memory.filter(|_| self.integrated),
            memory_shared: self.integrated,
            power_w: energy.filter(positive),
            power_limit_w: *self.power_limit.get(now, limit),
            temperature_c: *self.temperature.get(now, temperature),
            clock_mhz: sysfs::number(&self.clock_file).filter(|clock| *clock > 0),
            source: self.source.clone(),
            ..GpuReading::default()
        }
    }
}

/// Energy since the driver was loaded, in µJ: of the card, else of its package.
fn energy(sensors: &Path) -> Option<u64> {
    ["energy1_input", "energy2_input"].iter().find_map(|file| sysfs::number(&sensors.join(file)))
}

/// Power from a counter of energy.
#[derive(Debug, Default)]
struct EnergyMeter {
    last: Option<(Instant, u64)>,
}

impl EnergyMeter {
    /// `None`: the first reading, no time went by, or the counter fell.
    fn watts(&mut self, now: Instant, microjoules: u64) -> Option<f64> {
        let (at, before) = self.last.replace((now, microjoules))?;
        let seconds = now.saturating_duration_since(at).as_secs_f64();
        let spent = microjoules.checked_sub(before)?;
        (seconds > 0.0).then(|| spent as f64 / 1e6 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gauges::{
        drm::{
            Drm,
            tests::{put, read},
        },
        sysfs::tests::{add, tree},
    };

    #[test]
    fn a_card_under_xe_is_read_in_its_units() {
        let sys = tree(&[]);
        let files = [
            ("tile0/gt0/freq0/cur_freq", "2850\n"),
            ("hwmon/hwmon3/energy1_input", "1000000000\n"),
            ("hwmon/hwmon3/energy2_input", "5\n"),
            ("hwmon/hwmon3/power1_max", "190000000\n"),
            ("hwmon/hwmon3/temp2_input", "58000\n"),
            ("hwmon/hwmon3/temp3_input", "66000\n"),
        ];
        put(&sys, 0, "8086:e20b", "xe", "0000:03:00.0", &files);
        let mut drm = Drm::at(None, sys.path().into(), sys.path().join("proc"));
        let start = Instant::now();
        let mut at = |s| drm.read(start + Duration::from_secs(s), Some(64 << 30)).remove(0);
        let first = at(0);
        assert_eq!(
            (first.clock_mhz, first.temperature_c, first.power_limit_w),
            (Some(2850), Some(58.0), Some(190.0))
        );
        assert_eq!(first.power_w, None, "one reading has no rate");
        assert_eq!((first.load_percent, first.load_percent_absent.as_deref()), (None, Some(NO_LOAD)));
        assert_eq!(
            (first.memory_shared, first.memory_total_bytes, first.memory_used_bytes),
            (false, None, None)
        );
        let counter = "class/drm/card0/device/hwmon/hwmon3/energy1_input";
        add(sys.path(), &[(counter, "1290000000\n")]);
        assert_eq!(at(2).power_w, Some(145.0));
        add(sys.path(), &[(counter, "7\n")]);
        assert_eq!(at(4).power_w, None, "the counter fell");
        add(sys.path(), &[(counter, "60000007\n")]);
        assert_eq!(at(5).power_w, Some(60.0));
    }

    #[test]
    fn a_gpu_in_the_processor_under_i915_shares_its_memory() {
        let sys = tree(&[("class/drm/card1/gt_cur_freq_mhz", "1150\n")]);
        put(&sys, 1, "8086:46a6", "i915", "0000:00:02.0", &[]);
        let reading = &read(&sys)[0];
        assert_eq!(reading.name, "Intel GPU 8086:46a6");
        assert_eq!((reading.clock_mhz, reading.memory_shared), (Some(1150), true));
        assert_eq!(reading.memory_total_bytes, Some(64 << 30));
        assert_eq!((reading.power_w, reading.temperature_c), (None, None));
        assert!(reading.source.starts_with("sysfs (i915)"));
    }

    #[test]
    fn missing_and_odd_files_stay_unknown() {
        let sys = tree(&[]);
        let files = [
            ("tile0/gt0/freq0/cur_freq", "0\n"),
            ("hwmon/hwmon3/energy1_input", "much\n"),
            ("hwmon/hwmon3/power1_max", "0\n"),
            ("hwmon/hwmon3/temp2_input", "4000000\n"),
        ];
        put(&sys, 0, "8086:e20b", "xe", "0000:03:00.0", &files);
        let reading = &read(&sys)[0];
        assert_eq!((reading.clock_mhz, reading.power_w), (None, None));
        assert_eq!((reading.temperature_c, reading.power_limit_w), (None, None));
    }
}
