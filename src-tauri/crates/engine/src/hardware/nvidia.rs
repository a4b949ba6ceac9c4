//! How NVIDIA GPUs are built, by NVML (reference: telemetry, section 3).

use crate::gauges::open_nvml;
use nvml_wrapper::{Device, enum_wrappers::device::Clock};
use pilothouse_domain::machine::{Gpu, Sourced};

/// The GPUs; none where there is no driver.
pub(super) fn built() -> Vec<Gpu> {
    let Ok(nvml) = open_nvml() else {
        return Vec::new();
    };
    let driver = nvml.sys_driver_version().ok();
    let count = nvml.device_count().unwrap_or_default();
    let devices = (0..count).filter_map(|index| nvml.device_by_index(index).ok());
    devices.map(|device| gpu(&device, driver.clone())).collect()
}

fn gpu(device: &Device<'_>, driver: Option<String>) -> Gpu {
    let clock = device.max_clock_info(Clock::Memory).ok();
    let bandwidth = device.memory_bus_width().ok().zip(clock).and_then(|(bits, mhz)| bandwidth(bits, mhz));
    let capability = device.cuda_compute_capability().ok();
    Gpu {
        name: device.name().unwrap_or_else(|_| "NVIDIA GPU".into()),
        vendor: "nvidia".into(),
        cores: device.num_cores().ok(),
        memory_bytes: device.memory_info().ok().map(|memory| memory.total).filter(|total| *total > 0),
        bandwidth_gb_s: bandwidth
            .map(|value| Sourced { value, source: "width of the memory bus and its clock".into() }),
        compute_capability: capability.map(|version| format!("{}.{}", version.major, version.minor)),
        driver,
    }
}

/// Two transfers per clock. `None`: a width or clock of 0.
fn bandwidth(bits: u32, mhz: u32) -> Option<f64> {
    let value = f64::from(bits) / 8.0 * f64::from(mhz) * 2.0 / 1000.0;
    (value > 0.0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checks of the reference.
    #[test]
    fn the_bandwidth_of_known_cards_comes_out() {
        for (bits, mhz, known) in [
            (384, 10_501, 1008.0),
            (512, 14_001, 1792.0),
            (192, 6251, 300.0),
            (5120, 1593, 2039.0),
            (5120, 2619, 3352.0),
        ] {
            let reckoned = bandwidth(bits, mhz).unwrap();
            assert!((reckoned / known - 1.0).abs() < 0.005, "{reckoned} of {known}");
        }
        assert_eq!(bandwidth(0, 5), None);
    }
}
