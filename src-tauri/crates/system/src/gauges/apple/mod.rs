//! Apple's GPUs. What Macs tell is read on threads of its own (`sampler`); what it means is decided here, on any system.

#![cfg_attr(
    not(target_os = "macos"),
    allow(dead_code, reason = "read on Macs only; what the readings mean is tested everywhere")
)]

mod ioreg;
#[cfg(target_os = "macos")]
mod sampler;

pub use ioreg::{Accelerator, parse_accelerators};
#[cfg(target_os = "macos")]
pub(super) use sampler::{Apple, memory_pressure};

use pilothouse_domain::gauge::{GpuReading, MemoryPressure};
use std::time::{Duration, Instant};

/// Degrees Celsius that a sensor can mean; some read 0 or nonsense.
const TEMPERATURES: std::ops::RangeInclusive<f64> = 10.0..=120.0;
/// What a new value counts for in an average, at one value per second.
const WEIGHT: f64 = 0.3;
const NO_PROCESSES: &str = "macOS does not tell what single processes hold of the GPU";

/// What IOReport and the sensors tell of the chip's GPU, without what cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Measured {
    /// Share of time at work scaled by the clock, percent.
    scaled_percent: Option<f64>,
    /// Share of time at work, percent.
    active_percent: Option<f64>,
    power_w: Option<f64>,
    temperature_c: Option<f64>,
    clock_mhz: Option<u32>,
}

impl Measured {
    /// Ratios 0–1, watts, degrees Celsius and MHz as macmon gives them. Zero watts or megahertz mean that the counter
    /// stands still (macOS 27, virtual machines); without a clock the scaled share says nothing either.
    fn of(scaled: f32, active: f32, power: f32, temperature: Option<f32>, clock: u32) -> Self {
        let percent = |ratio: f32| {
            let percent = f64::from(ratio) * 100.0;
            percent.is_finite().then(|| percent.clamp(0.0, 100.0))
        };
        Self {
            scaled_percent: percent(scaled).filter(|_| clock > 0),
            active_percent: percent(active).filter(|_| clock > 0),
            power_w: Some(f64::from(power)).filter(|watts| watts.is_finite() && *watts > 0.0),
            temperature_c: temperature.map(f64::from).filter(|degrees| TEMPERATURES.contains(degrees)),
            clock_mhz: Some(clock).filter(|clock| *clock > 0),
        }
    }
}

/// An average in which older values count less and less.
#[derive(Debug, Default)]
struct Average {
    value: Option<(Instant, f64)>,
}

impl Average {
    /// The average with this value in it; one that was taken into account already changes nothing.
    fn with(&mut self, at: Instant, new: f64) -> f64 {
        let Some((before, average)) = self.value else {
            self.value = Some((at, new));
            return new;
        };
        let seconds = at.saturating_duration_since(before).as_secs_f64();
        let weight = 1.0 - (1.0 - WEIGHT).powf(seconds);
        let value = average + weight * (new - average);
        self.value = Some((before.max(at), value));
        value
    }
}

/// What is known of the GPUs of a Mac at one moment.
struct Known<'a> {
    accelerators: Result<&'a [Accelerator], &'a str>,
    /// When they were read.
    read_at: Instant,
    measured: Result<Measured, &'a str>,
    /// Name of the chip.
    chip: Option<&'a str>,
    /// Bytes of the machine.
    memory_total: Option<u64>,
}

/// One reading per GPU. `average`: of the busy share, used where nothing better is known.
fn readings(known: &Known<'_>, average: &mut Average) -> Result<Vec<GpuReading>, String> {
    let (accelerators, registry_absent) = match known.accelerators {
        Ok(list) => (list, None),
        Err(reason) => (&[][..], Some(reason)),
    };
    let mut gpus: Vec<GpuReading> = accelerators.iter().map(|one| card(one, known)).collect();
    let own = accelerators.iter().position(Accelerator::is_apple);
    let index = match (own, known.measured.is_ok()) {
        (Some(index), _) => index,
        // The counters are the chip's: with an answer from them there is a GPU, whatever the registry says.
        (None, true) => {
            gpus.insert(0, card(&Accelerator { class: Some("AGX".into()), ..Accelerator::default() }, known));
            0
        }
        (None, false) if gpus.is_empty() => {
            return Err(registry_absent.map_or_else(|| "no GPU found".into(), str::to_owned));
        }
        (None, false) => return Ok(gpus),
    };
    let gpu = &mut gpus[index];
    let snapshot = own.and_then(|index| accelerators[index].busy_percent);
    fill(gpu, known, snapshot.map(|busy| average.with(known.read_at, busy)));
    if gpu.memory_used_bytes.is_none() {
        let reason = registry_absent.unwrap_or("the GPU's driver does not tell it");
        gpu.memory_used_bytes_absent = Some(reason.to_owned());
    }
    Ok(gpus)
}

/// What the registry alone tells of a GPU.
fn card(told: &Accelerator, known: &Known<'_>) -> GpuReading {
    let apple = told.is_apple();
    let shared = told.memory_total_bytes.is_none();
    let name = told.model.as_deref().or(known.chip.filter(|_| apple)).unwrap_or("GPU");
    GpuReading {
        name: name.into(),
        vendor: vendor(told).into(),
        load_percent: told.busy_percent.filter(|_| !apple),
        memory_used_bytes: told.memory_used_bytes,
        memory_total_bytes: told.memory_total_bytes.or(known.memory_total.filter(|_| shared)),
        memory_shared: shared,
        temperature_c: told.temperature_c,
        processes_absent: Some(NO_PROCESSES.into()),
        source: "ioreg".into(),
        ..GpuReading::default()
    }
}

fn vendor(told: &Accelerator) -> &'static str {
    let class = told.class.as_deref().unwrap_or_default();
    match class {
        _ if told.is_apple() => "apple",
        _ if class.contains("AMD") || class.contains("ATI") => "amd",
        _ if class.contains("Intel") => "intel",
        _ if class.contains("NV") || class.contains("GeForce") => "nvidia",
        _ => "unknown",
    }
}

/// Adds what the counters tell, or the averaged snapshots of the registry in their place.
fn fill(gpu: &mut GpuReading, known: &Known<'_>, averaged: Option<f64>) {
    let measured = known.measured.unwrap_or_default();
    gpu.power_w = measured.power_w;
    gpu.temperature_c = measured.temperature_c.or(gpu.temperature_c);
    gpu.clock_mhz = measured.clock_mhz;
    gpu.active_percent = measured.active_percent.or(averaged);
    gpu.load_percent = measured.scaled_percent;
    gpu.source = "IOReport and ioreg".into();
    if gpu.load_percent.is_some() {
        return;
    }
    gpu.absent = known.measured.err().map(str::to_owned);
    match averaged {
        // Not scaled, but as NVIDIA and AMD count: better than nothing, and it says so.
        Some(_) => {
            gpu.load_percent = averaged;
            gpu.source = "ioreg, averaged; load not scaled by the clock".into();
        }
        None => {
            let silent = known.measured.err().unwrap_or("the GPU's counters stand still");
            gpu.load_percent_absent = Some(silent.into());
        }
    }
}

/// Levels of `kern.memorystatus_vm_pressure_level`.
fn pressure(level: u32) -> Option<MemoryPressure> {
    match level {
        1 => Some(MemoryPressure::Normal),
        2 => Some(MemoryPressure::Warning),
        4 => Some(MemoryPressure::Critical),
        _ => None,
    }
}

/// Readings of the registry are wanted this often.
const REGISTRY_EVERY: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: u64 = 38_654_705_664;

    fn known<'a>(list: &'a [Accelerator], measured: Result<Measured, &'a str>) -> Known<'a> {
        Known {
            accelerators: Ok(list),
            read_at: Instant::now(),
            measured,
            chip: Some("Apple M4 Max"),
            memory_total: Some(TOTAL),
        }
    }

    fn m4_max() -> Vec<Accelerator> {
        parse_accelerators(include_bytes!("../../../../../../tests/fixtures/apple/ioreg-m4-max.plist"))
            .unwrap()
    }

    fn busy() -> Measured {
        Measured::of(0.42, 0.9, 21.5, Some(61.5), 1578)
    }

    #[test]
    fn scaled_and_active_load_are_told_apart() {
        let list = m4_max();
        let expected = GpuReading {
            name: "Apple M4 Max".into(),
            vendor: "apple".into(),
            load_percent: Some(f64::from(0.42_f32) * 100.0),
            active_percent: Some(f64::from(0.9_f32) * 100.0),
            memory_used_bytes: Some(2_914_402_304),
            memory_total_bytes: Some(TOTAL),
            memory_shared: true,
            power_w: Some(21.5),
            temperature_c: Some(61.5),
            clock_mhz: Some(1578),
            processes_absent: Some(NO_PROCESSES.into()),
            source: "IOReport and ioreg".into(),
            ..GpuReading::default()
        };
        assert_eq!(readings(&known(&list, Ok(busy())), &mut Average::default()), Ok(vec![expected]));
    }

    #[test]
    fn zero_that_means_unknown_is_unknown() {
        let none = Measured::of(0.0, 0.0, 0.0, Some(0.0), 0);
        assert_eq!(none, Measured::default());
        assert_eq!(Measured::of(f32::NAN, 2.0, f32::INFINITY, Some(500.0), 900).active_percent, Some(100.0));
        assert_eq!(Measured::of(f32::NAN, 2.0, f32::INFINITY, Some(500.0), 900).scaled_percent, None);
        assert_eq!(Measured::of(0.0, 0.0, 0.1, Some(35.0), 338).scaled_percent, Some(0.0), "idle is known");
        let list = m4_max();
        let reading = readings(&known(&list, Ok(none)), &mut Average::default()).unwrap().remove(0);
        assert_eq!((reading.power_w, reading.temperature_c, reading.clock_mhz), (None, None, None));
        assert_eq!(reading.load_percent, Some(16.0), "from the registry");
        assert!(reading.source.contains("not scaled"));
    }

    #[test]
    fn without_counters_the_snapshots_are_averaged() {
        let mut list = m4_max();
        let mut average = Average::default();
        let start = Instant::now();
        let shown: Vec<f64> = [62.0, 94.0, 100.0, 26.0, 46.0, 99.0]
            .iter()
            .zip(0..)
            .map(|(busy, second)| {
                list[0].busy_percent = Some(*busy);
                let mut known = known(&list, Err("no counters in a virtual machine"));
                known.read_at = start + Duration::from_secs(second);
                let reading = readings(&known, &mut average).unwrap().remove(0);
                // Looked at twice, a snapshot counts once.
                assert_eq!(readings(&known, &mut average).unwrap()[0].load_percent, reading.load_percent);
                assert_eq!(reading.absent.as_deref(), Some("no counters in a virtual machine"));
                reading.load_percent.unwrap()
            })
            .collect();
        let expected = [62.0, 71.6, 80.12, 63.884, 58.519, 70.663];
        for (shown, expected) in shown.iter().zip(expected) {
            assert!((shown - expected).abs() < 0.001, "{shown} of {expected}");
        }
    }

    #[test]
    fn counters_alone_are_a_gpu_and_nothing_is_none() {
        let mut known = known(&[], Ok(busy()));
        known.accelerators = Err("ioreg did not end within 2 s");
        let reading = readings(&known, &mut Average::default()).unwrap().remove(0);
        assert_eq!((reading.name.as_str(), reading.vendor.as_str()), ("Apple M4 Max", "apple"));
        assert_eq!(reading.memory_used_bytes, None);
        assert_eq!(reading.memory_used_bytes_absent.as_deref(), Some("ioreg did not end within 2 s"));
        known.measured = Ok(Measured::default());
        let still = readings(&known, &mut Average::default()).unwrap().remove(0);
        assert_eq!(still.load_percent, None);
        assert_eq!(still.load_percent_absent.as_deref(), Some("the GPU's counters stand still"));
        known.measured = Err("no counters");
        let none = readings(&known, &mut Average::default());
        assert_eq!(none, Err("ioreg did not end within 2 s".into()));
    }

    #[test]
    fn the_card_of_an_older_mac_keeps_its_own_readings() {
        let card = Accelerator {
            class: Some("AMDRadeonX6000_AmdNavi23".into()),
            busy_percent: Some(7.0),
            memory_used_bytes: Some(3),
            memory_total_bytes: Some(8),
            ..Accelerator::default()
        };
        let list = [card];
        let gpus = readings(&known(&list, Err("no counters")), &mut Average::default()).unwrap();
        assert_eq!((gpus[0].vendor.as_str(), gpus[0].memory_shared), ("amd", false));
        assert_eq!((gpus[0].load_percent, gpus[0].memory_total_bytes), (Some(7.0), Some(8)));
    }

    #[test]
    fn levels_of_pressure_are_named() {
        let named = [1, 2, 4, 0, 3].map(pressure);
        let [normal, warning, critical] =
            [MemoryPressure::Normal, MemoryPressure::Warning, MemoryPressure::Critical];
        assert_eq!(named, [Some(normal), Some(warning), Some(critical), None, None]);
    }
}
