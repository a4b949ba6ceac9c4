//! NVIDIA GPUs through NVML, which the driver brings along and which is loaded at run time.

use nvml_wrapper::{Device, Nvml, enum_wrappers::device::TemperatureSensor, error::NvmlError};
use pilothouse_domain::gauge::GpuReading;
use std::{
    ffi::OsStr,
    time::{Duration, Instant},
};

/// A driver may be loaded later (a boot race, a resume); look again so often.
const RETRY: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Nvidia {
    nvml: Option<Nvml>,
    /// Why there is none, and when that was found.
    absent: Option<(Instant, String)>,
}

impl Nvidia {
    /// One reading per GPU. Errors: why there is none.
    pub fn read(&mut self) -> Result<Vec<GpuReading>, String> {
        if let Some((at, reason)) = &self.absent
            && at.elapsed() < RETRY
        {
            return Err(reason.clone());
        }
        let result = self.read_now();
        match &result {
            Ok(_) => self.absent = None,
            Err(reason) => {
                self.nvml = None;
                self.absent = Some((Instant::now(), reason.clone()));
            }
        }
        result
    }

    fn read_now(&mut self) -> Result<Vec<GpuReading>, String> {
        let nvml = match self.nvml.take() {
            Some(nvml) => nvml,
            None => open().map_err(|error| reason(&error))?,
        };
        let nvml = self.nvml.insert(nvml);
        let count = nvml.device_count().map_err(|error| reason(&error))?;
        let mut gpus = Vec::new();
        let mut lost = None;
        for index in 0..count {
            // One GPU that fell off its bus takes only its own readings away.
            match nvml.device_by_index(index).and_then(|device| RawReading::of(&device)) {
                Ok(raw) => gpus.push(raw.into_reading()),
                Err(error) => lost = Some(error),
            }
        }
        match (gpus.is_empty(), lost) {
            (false, _) => Ok(gpus),
            (true, Some(error)) => Err(reason(&error)),
            (true, None) => Err("no GPU found: the NVIDIA driver reports none".into()),
        }
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

fn reason(error: &NvmlError) -> String {
    match error {
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => {
            "no GPU found: the NVIDIA driver library is not installed".into()
        }
        NvmlError::DriverNotLoaded => "no GPU found: the NVIDIA driver is not loaded".into(),
        NvmlError::LibRmVersionMismatch => {
            "the NVIDIA driver was updated: restart the machine to read the GPU again".into()
        }
        NvmlError::NoPermission => "the NVIDIA driver refuses the readings: no permission".into(),
        other => format!("the NVIDIA driver does not answer: {other}"),
    }
}

/// What NVML tells of one GPU, in its own units; `None`: this GPU or this driver does not tell it.
#[derive(Debug, Clone, PartialEq, Default)]
struct RawReading {
    name: String,
    /// Share of time in which a kernel ran, percent.
    utilization: Option<u32>,
    /// Used and total, bytes.
    memory: Option<(u64, u64)>,
    power_mw: Option<u32>,
    /// Degrees Celsius.
    temperature: Option<u32>,
}

impl RawReading {
    /// Errors: the GPU is gone. A single metric that it lacks is no error.
    fn of(device: &Device<'_>) -> Result<Self, NvmlError> {
        Ok(Self {
            name: device.name()?,
            utilization: device.utilization_rates().ok().map(|rates| rates.gpu),
            memory: device.memory_info().ok().map(|memory| (memory.used, memory.total)),
            power_mw: device.power_usage().ok(),
            temperature: device.temperature(TemperatureSensor::Gpu).ok(),
        })
    }

    fn into_reading(self) -> GpuReading {
        // There is no GPU without memory: a total of 0 is a missing answer.
        let memory = self.memory.filter(|(_, total)| *total > 0);
        GpuReading {
            name: self.name,
            vendor: "nvidia".into(),
            load_percent: self.utilization.map(|percent| f64::from(percent.min(100))),
            memory_used_bytes: memory.map(|(used, _)| used),
            memory_total_bytes: memory.map(|(_, total)| total),
            power_w: self.power_mw.map(|milliwatts| f64::from(milliwatts) / 1000.0),
            temperature_c: self.temperature.map(f64::from),
            source: "NVML".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: &str = include_str!("../../../../../tests/fixtures/nvidia/h100-580.159.04/nvidia-smi-q.txt");
    const TRACE: &str = include_str!("../../../../../tests/fixtures/nvidia/h100-580.159.04/trace.csv");
    const MIB: u64 = 1 << 20;

    /// The recorded text in NVML's own units, as the library gave them to nvidia-smi.
    fn idle() -> RawReading {
        let value = |section: &str, key: &str| -> String {
            let section = IDLE.split_once(&format!("    {section}\n")).unwrap().1;
            let line = section.lines().find(|line| line.trim_start().starts_with(key)).unwrap();
            line.split_once(':').unwrap().1.trim().to_owned()
        };
        let number = |text: String| text.split(' ').next().unwrap().parse::<f64>().unwrap();
        let mib = |key| number(value("FB Memory Usage", key)) as u64 * MIB;
        let name = IDLE.lines().find(|line| line.contains("Product Name")).unwrap();
        RawReading {
            name: name.split_once(':').unwrap().1.trim().to_owned(),
            utilization: Some(number(value("Utilization", "GPU ")) as u32),
            memory: Some((mib("Used"), mib("Total"))),
            power_mw: Some((number(value("GPU Power Readings", "Average Power Draw")) * 1000.0) as u32),
            temperature: Some(number(value("Temperature", "GPU Current Temp")) as u32),
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
            power_w: Some(71.87),
            temperature_c: Some(32.0),
            source: "NVML".into(),
        };
        assert_eq!(idle().into_reading(), expected);
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
                };
                raw.into_reading()
            })
            .collect();
        assert_eq!(readings.len(), 33);
        let busiest = readings.iter().filter_map(|reading| reading.load_percent).fold(0.0, f64::max);
        assert_eq!(busiest, 89.0);
        let hungriest = readings.iter().filter_map(|reading| reading.power_w).fold(0.0, f64::max);
        assert_eq!(hungriest, 146.15);
        assert_eq!(readings[9].memory_used_bytes, Some(250 * MIB));
    }

    #[test]
    fn what_a_gpu_does_not_tell_stays_unknown() {
        let reading = RawReading { name: "Orin".into(), memory: Some((0, 0)), ..RawReading::default() };
        let reading = reading.into_reading();
        assert_eq!((reading.load_percent, reading.power_w, reading.temperature_c), (None, None, None));
        assert_eq!((reading.memory_used_bytes, reading.memory_total_bytes), (None, None));
        let odd = RawReading { utilization: Some(137), ..RawReading::default() };
        assert_eq!(odd.into_reading().load_percent, Some(100.0));
    }

    #[test]
    fn each_refusal_has_its_own_words() {
        assert!(reason(&NvmlError::LibraryNotFound).contains("not installed"));
        assert!(reason(&NvmlError::DriverNotLoaded).contains("not loaded"));
        assert!(reason(&NvmlError::LibRmVersionMismatch).contains("restart"));
    }

    #[test]
    fn a_refusal_is_kept_for_a_while() {
        let mut nvidia = Nvidia { nvml: None, absent: Some((Instant::now(), "as before".into())) };
        assert_eq!(nvidia.read(), Err("as before".into()));
    }
}
