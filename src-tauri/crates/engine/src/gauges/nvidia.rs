//! NVIDIA GPUs through NVML, which the driver brings along and which is loaded at run time.

use nvml_wrapper::{Nvml, enum_wrappers::device::TemperatureSensor, error::NvmlError};
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
        if count == 0 {
            return Err("no GPU found: the NVIDIA driver reports none".into());
        }
        (0..count).map(|index| reading(nvml, index).map_err(|error| reason(&error))).collect()
    }
}

/// The library is named with its version on machines without development files.
fn open() -> Result<Nvml, NvmlError> {
    Nvml::init().or_else(|_| Nvml::builder().lib_path(OsStr::new("libnvidia-ml.so.1")).init())
}

fn reason(error: &NvmlError) -> String {
    match error {
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => {
            "no GPU found: the NVIDIA driver's library is not installed".into()
        }
        NvmlError::DriverNotLoaded => "no GPU found: the NVIDIA driver is not loaded".into(),
        other => format!("the NVIDIA driver does not answer: {other}"),
    }
}

fn reading(nvml: &Nvml, index: u32) -> Result<GpuReading, NvmlError> {
    let device = nvml.device_by_index(index)?;
    let memory = device.memory_info().ok();
    Ok(GpuReading {
        name: device.name()?,
        vendor: "nvidia".into(),
        load_percent: device.utilization_rates().ok().map(|rates| f64::from(rates.gpu)),
        memory_used_bytes: memory.as_ref().map(|memory| memory.used),
        memory_total_bytes: memory.as_ref().map(|memory| memory.total),
        // NVML speaks in milliwatts.
        power_w: device.power_usage().ok().map(|milliwatts| f64::from(milliwatts) / 1000.0),
        temperature_c: device.temperature(TemperatureSensor::Gpu).ok().map(f64::from),
        source: "NVML".into(),
    })
}
