//! What NVML tells of one GPU, and what it means.

use nvml_wrapper::{
    Device,
    bitmasks::device::ThrottleReasons,
    enum_wrappers::device::{Clock, TemperatureSensor},
    enums::device::UsedGpuMemory,
    error::NvmlError,
    struct_wrappers::device::ProcessInfo,
};
use pilothouse_domain::gauge::{GpuProcess, GpuReading};
use std::collections::BTreeMap;

/// What NVML tells of one GPU, in its own units; `None`: this GPU or this driver does not tell it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct RawReading {
    pub name: String,
    /// Share of time in which a kernel ran, percent.
    pub utilization: Option<u32>,
    /// Divided into instances (MIG).
    pub divided: bool,
    /// Used and total, bytes.
    pub memory: Option<(u64, u64)>,
    /// Of the total, what is neither used nor free.
    pub reserved: Option<u64>,
    /// It has no memory of its own: an integrated GPU (GB10, Jetson) answers "not supported".
    pub memory_shared: bool,
    pub power_mw: Option<u32>,
    pub power_limit_mw: Option<u32>,
    /// Degrees Celsius.
    pub temperature: Option<u32>,
    pub clock_mhz: Option<u32>,
    pub memory_clock_mhz: Option<u32>,
    pub throttle: Option<ThrottleReasons>,
    pub processes: Vec<GpuProcess>,
    pub processes_absent: Option<String>,
}

impl RawReading {
    /// What is read with every sample.
    /// Errors: the GPU is gone. A single metric that it lacks is no error.
    pub fn of(device: &Device<'_>, name: &str) -> Result<Self, NvmlError> {
        let memory = device.memory_info();
        if let Err(NvmlError::GpuLost | NvmlError::Uninitialized) = memory {
            return Err(NvmlError::GpuLost);
        }
        Ok(Self {
            name: name.into(),
            utilization: device.utilization_rates().ok().map(|rates| rates.gpu),
            memory_shared: matches!(memory, Err(NvmlError::NotSupported)),
            reserved: memory.as_ref().ok().map(|memory| memory.reserved),
            memory: memory.ok().map(|memory| (memory.used, memory.total)),
            power_mw: device.power_usage().ok(),
            temperature: device.temperature(TemperatureSensor::Gpu).ok(),
            clock_mhz: device.clock_info(Clock::SM).or_else(|_| device.clock_info(Clock::Graphics)).ok(),
            memory_clock_mhz: device.clock_info(Clock::Memory).ok(),
            throttle: device.current_throttle_reasons().ok(),
            ..Self::default()
        })
    }

    /// `machine_memory`: bytes of the whole machine, for a GPU that has none of its own.
    pub fn into_reading(self, machine_memory: Option<u64>) -> GpuReading {
        // There is no GPU without memory: a total of 0 is a missing answer.
        let memory = self.memory.filter(|(_, total)| *total > 0);
        let held = self.memory_shared.then(|| held(&self.processes, self.processes_absent.as_deref()));
        let watts = |milliwatts| f64::from(milliwatts) / 1000.0;
        let not_told = |value: Option<u32>, reason: &str| value.is_none().then(|| reason.to_owned());
        GpuReading {
            name: self.name,
            vendor: "nvidia".into(),
            load_percent: self.utilization.map(|percent| f64::from(percent.min(100))),
            load_percent_absent: self
                .divided
                .then(|| {
                    not_told(self.utilization, "divided into instances (MIG): no load is told as a whole")
                })
                .flatten(),
            active_percent: None,
            memory_used_bytes: held.clone().map_or(memory.map(|(used, _)| used), Result::ok),
            memory_used_bytes_absent: held.and_then(Result::err),
            memory_total_bytes: match self.memory_shared {
                true => machine_memory,
                false => memory.map(|(_, total)| total),
            },
            memory_reserved_bytes: self.reserved.filter(|_| memory.is_some() && !self.memory_shared),
            memory_shared: self.memory_shared,
            power_w: self.power_mw.map(watts),
            power_limit_w: self.power_limit_mw.filter(|limit| *limit > 0).map(watts),
            temperature_c: self.temperature.map(f64::from),
            clock_mhz: self.clock_mhz.filter(|clock| *clock > 0),
            memory_clock_mhz: self.memory_clock_mhz.filter(|clock| *clock > 0),
            throttle: self.throttle.map(in_words),
            processes: self.processes,
            processes_absent: self.processes_absent,
            absent: None,
            source: "NVML".into(),
        }
    }
}

/// What all processes together hold. Errors: why that is not known.
fn held(processes: &[GpuProcess], absent: Option<&str>) -> Result<u64, String> {
    if let Some(reason) = absent {
        return Err(reason.into());
    }
    let sum = processes.iter().map(|process| process.memory_bytes).sum::<Option<u64>>();
    sum.ok_or_else(|| "the driver does not tell what its processes hold".into())
}

/// The processes of both lists by pid. One that is in both (it computes and draws) has the same memory in both; one that
/// is twice in a list uses two instances of a divided card.
pub(super) fn merge(
    compute: Result<Vec<ProcessInfo>, String>,
    graphics: Result<Vec<ProcessInfo>, String>,
) -> (Vec<GpuProcess>, Option<String>) {
    let absent = compute.as_ref().err().filter(|_| graphics.is_err()).cloned();
    let mut all: BTreeMap<u32, Option<u64>> = BTreeMap::new();
    for list in [compute, graphics].into_iter().flatten() {
        let mut here: BTreeMap<u32, Option<u64>> = BTreeMap::new();
        for process in list {
            let bytes = match process.used_gpu_memory {
                UsedGpuMemory::Used(bytes) => Some(bytes),
                UsedGpuMemory::Unavailable => None,
            };
            let sum = here.entry(process.pid).or_default();
            *sum = sum.map_or(bytes, |before| Some(before + bytes.unwrap_or_default()));
        }
        for (pid, bytes) in here {
            let known = all.entry(pid).or_default();
            *known = (*known).max(bytes);
        }
    }
    let process = |(pid, memory_bytes)| GpuProcess { pid, memory_bytes };
    (all.into_iter().map(process).collect(), absent)
}

/// What holds the clock down. An idle card and a clock that somebody has chosen are no slowdown.
fn in_words(reasons: ThrottleReasons) -> Vec<String> {
    const HEAT: ThrottleReasons =
        ThrottleReasons::SW_THERMAL_SLOWDOWN.union(ThrottleReasons::HW_THERMAL_SLOWDOWN);
    const KNOWN_HARDWARE: ThrottleReasons =
        ThrottleReasons::HW_THERMAL_SLOWDOWN.union(ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN);
    let mut words = Vec::new();
    let mut say = |so: bool, text: &str| words.extend(so.then(|| text.to_owned()));
    say(reasons.intersects(HEAT), "too hot");
    say(reasons.contains(ThrottleReasons::SW_POWER_CAP), "power limit");
    say(reasons.contains(ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN), "power supply at its limit");
    // The general flag goes with the two that say more.
    let general = reasons.contains(ThrottleReasons::HW_SLOWDOWN) && !reasons.intersects(KNOWN_HARDWARE);
    say(general, "heat or power, says the hardware");
    say(reasons.contains(ThrottleReasons::SYNC_BOOST), "kept in step with another GPU");
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: &str =
        include_str!("../../../../../../tests/fixtures/nvidia/h100-580.159.04/nvidia-smi-q.txt");
    const TRACE: &str = include_str!("../../../../../../tests/fixtures/nvidia/h100-580.159.04/trace.csv");
    const MIB: u64 = 1 << 20;

    /// The recorded text in NVML's own units, as the library gave them to nvidia-smi.
    fn idle() -> RawReading {
        let section = |name: &str| IDLE.split_once(&format!("    {name}\n")).unwrap().1;
        let value = |name: &str, key: &str| -> String {
            let line = section(name).lines().find(|line| line.trim_start().starts_with(key)).unwrap();
            line.split_once(':').unwrap().1.trim().to_owned()
        };
        let number = |text: String| text.split(' ').next().unwrap().parse::<f64>().unwrap();
        let mib = |key| number(value("FB Memory Usage", key)) as u64 * MIB;
        let milliwatts = |key| (number(value("GPU Power Readings", key)) * 1000.0) as u32;
        let name = IDLE.lines().find(|line| line.contains("Product Name")).unwrap();
        let mut throttle = ThrottleReasons::empty();
        for (key, flag) in [
            ("Idle", ThrottleReasons::GPU_IDLE),
            ("Applications Clocks Setting", ThrottleReasons::APPLICATIONS_CLOCKS_SETTING),
            ("SW Power Cap", ThrottleReasons::SW_POWER_CAP),
            ("HW Slowdown", ThrottleReasons::HW_SLOWDOWN),
            ("HW Thermal Slowdown", ThrottleReasons::HW_THERMAL_SLOWDOWN),
            ("HW Power Brake Slowdown", ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN),
            ("Sync Boost", ThrottleReasons::SYNC_BOOST),
            ("SW Thermal Slowdown", ThrottleReasons::SW_THERMAL_SLOWDOWN),
            ("Display Clock Setting", ThrottleReasons::DISPLAY_CLOCK_SETTING),
        ] {
            throttle.set(flag, value("Clocks Event Reasons", key) == "Active");
        }
        assert_eq!(throttle, ThrottleReasons::GPU_IDLE);
        RawReading {
            name: name.split_once(':').unwrap().1.trim().to_owned(),
            utilization: Some(number(value("Utilization", "GPU ")) as u32),
            memory: Some((mib("Used"), mib("Total"))),
            reserved: Some(mib("Reserved")),
            power_mw: Some(milliwatts("Average Power Draw")),
            power_limit_mw: Some(milliwatts("Current Power Limit")),
            temperature: Some(number(value("Temperature", "GPU Current Temp")) as u32),
            clock_mhz: Some(number(value("Clocks", "SM")) as u32),
            memory_clock_mhz: Some(number(value("Clocks", "Memory")) as u32),
            throttle: Some(throttle),
            ..RawReading::default()
        }
    }

    #[test]
    fn the_recorded_idle_card_is_mapped_to_our_units() {
        let expected = GpuReading {
            name: "NVIDIA H100 80GB HBM3".into(),
            vendor: "nvidia".into(),
            load_percent: Some(0.0),
            memory_used_bytes: Some(0),
            memory_total_bytes: Some(81_559 * MIB),
            memory_reserved_bytes: Some(480 * MIB),
            power_w: Some(71.87),
            power_limit_w: Some(700.0),
            temperature_c: Some(32.0),
            clock_mhz: Some(345),
            memory_clock_mhz: Some(2619),
            throttle: Some(vec![]),
            source: "NVML".into(),
            ..GpuReading::default()
        };
        assert_eq!(idle().into_reading(Some(1)), expected);
    }

    #[test]
    fn the_recorded_trace_keeps_its_values() {
        let readings: Vec<GpuReading> = TRACE
            .lines()
            .map(|line| {
                let fields: Vec<f64> = line
                    .split(", ")
                    .skip(1)
                    .map(|field| field.split(' ').next().unwrap().parse().unwrap())
                    .collect();
                let raw = RawReading {
                    name: "H100".into(),
                    utilization: Some(fields[0] as u32),
                    memory: Some((fields[2] as u64 * MIB, 81_559 * MIB)),
                    power_mw: Some((fields[3] * 1000.0).round() as u32),
                    temperature: Some(fields[4] as u32),
                    clock_mhz: Some(fields[5] as u32),
                    ..RawReading::default()
                };
                raw.into_reading(None)
            })
            .collect();
        assert_eq!(readings.len(), 33);
        let busiest = readings.iter().filter_map(|reading| reading.load_percent).fold(0.0, f64::max);
        assert_eq!(busiest, 89.0);
        let hungriest = readings.iter().filter_map(|reading| reading.power_w).fold(0.0, f64::max);
        assert_eq!(hungriest, 146.15);
        assert_eq!(readings[9].memory_used_bytes, Some(250 * MIB));
        let fast = readings.iter().filter(|reading| reading.clock_mhz == Some(1980)).count();
        assert_eq!(fast, 29, "and four times slower, between two requests");
        assert!(readings.iter().all(|reading| reading.throttle.is_none()), "the trace does not tell it");
    }

    #[test]
    fn what_a_gpu_does_not_tell_stays_unknown() {
        let reading = RawReading { name: "Orin".into(), memory: Some((0, 0)), ..RawReading::default() };
        let reading = reading.into_reading(None);
        assert_eq!((reading.load_percent, reading.power_w, reading.temperature_c), (None, None, None));
        assert_eq!((reading.memory_used_bytes, reading.memory_total_bytes), (None, None));
        assert_eq!((reading.clock_mhz, reading.throttle, reading.power_limit_w), (None, None, None));
        let odd = RawReading { utilization: Some(137), clock_mhz: Some(0), ..RawReading::default() };
        let odd = odd.into_reading(None);
        assert_eq!((odd.load_percent, odd.clock_mhz), (Some(100.0), None));
        let divided = RawReading { divided: true, ..RawReading::default() }.into_reading(None);
        assert!(divided.load_percent_absent.is_some_and(|reason| reason.contains("MIG")));
    }

    fn process(pid: u32, bytes: Option<u64>) -> ProcessInfo {
        let used_gpu_memory = bytes.map_or(UsedGpuMemory::Unavailable, UsedGpuMemory::Used);
        ProcessInfo { pid, used_gpu_memory, gpu_instance_id: None, compute_instance_id: None }
    }

    fn listed(pairs: &[(u32, Option<u64>)]) -> Vec<GpuProcess> {
        pairs
            .iter()
            .map(|(pid, memory_bytes)| GpuProcess { pid: *pid, memory_bytes: *memory_bytes })
            .collect()
    }

    #[test]
    fn a_process_counts_once_whatever_it_does() {
        let compute =
            vec![process(40, Some(217 * MIB)), process(7, None), process(9, Some(5)), process(9, Some(6))];
        let graphics = vec![process(40, Some(217 * MIB)), process(7, Some(3)), process(8, None)];
        let (processes, absent) = merge(Ok(compute.clone()), Ok(graphics));
        assert_eq!(processes, listed(&[(7, Some(3)), (8, None), (9, Some(11)), (40, Some(217 * MIB))]));
        assert_eq!(absent, None);
        let (processes, absent) = merge(Ok(compute), Err("no graphics".into()));
        assert_eq!((processes.len(), absent), (3, None));
        let (processes, absent) = merge(Err("why".into()), Err("graphics".into()));
        assert_eq!((processes, absent), (vec![], Some("why".into())));
    }

    /// DGX Spark: no memory of its own; its part is what its processes hold.
    #[test]
    fn an_integrated_gpu_shares_the_memory_of_the_machine() {
        let total = 130_660_000_000;
        let spark = |processes| RawReading {
            name: "NVIDIA GB10".into(),
            memory_shared: true,
            processes,
            ..RawReading::default()
        };
        let reading = spark(listed(&[(7, Some(3)), (9, Some(4))])).into_reading(Some(total));
        assert!(reading.memory_shared);
        assert_eq!((reading.memory_used_bytes, reading.memory_total_bytes), (Some(7), Some(total)));
        let reading = spark(listed(&[(7, Some(3)), (9, None)])).into_reading(Some(total));
        assert_eq!(reading.memory_used_bytes, None);
        assert!(reading.memory_used_bytes_absent.is_some());
    }

    #[test]
    fn slowdowns_are_named_and_idleness_is_none() {
        use ThrottleReasons as R;
        for (reasons, words) in [
            (R::empty(), vec![]),
            (R::GPU_IDLE | R::APPLICATIONS_CLOCKS_SETTING | R::DISPLAY_CLOCK_SETTING, vec![]),
            (R::SW_POWER_CAP, vec!["power limit"]),
            (R::SW_THERMAL_SLOWDOWN | R::SW_POWER_CAP, vec!["too hot", "power limit"]),
            (R::HW_SLOWDOWN | R::HW_THERMAL_SLOWDOWN, vec!["too hot"]),
            (R::HW_SLOWDOWN | R::HW_POWER_BRAKE_SLOWDOWN, vec!["power supply at its limit"]),
            (R::HW_SLOWDOWN, vec!["heat or power, says the hardware"]),
            (R::SYNC_BOOST, vec!["kept in step with another GPU"]),
        ] {
            assert_eq!(in_words(reasons), words, "{reasons:?}");
        }
    }
}
