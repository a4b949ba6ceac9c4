//! How NVIDIA GPUs are built, by NVML (reference: telemetry, section 3).

use crate::gauges::{in_the_driver, open_nvml};
use nvml_wrapper::{Device, enum_wrappers::device::Clock, error::NvmlError};
use pilothouse_domain::machine::{Gpu, Sourced, card_bandwidth};

/// A difference between two figures of one card that is worth a word.
const APART: f64 = 0.1;

/// The GPUs; none where there is no driver.
pub(super) fn built() -> Vec<Gpu> {
    let _alone = in_the_driver();
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
    let reckoned = device.memory_bus_width().ok().zip(clock).and_then(|(bits, mhz)| bandwidth(bits, mhz));
    let capability = device.cuda_compute_capability().ok();
    let memory = device.memory_info();
    // An integrated GPU (GB10, Jetson) has no memory of its own to tell of.
    let memory_shared = matches!(memory, Err(NvmlError::NotSupported));
    let name = device.name().unwrap_or_else(|_| "NVIDIA GPU".into());
    let memory_bytes = memory.ok().map(|memory| memory.total).filter(|total| *total > 0);
    Gpu {
        vendor: "nvidia".into(),
        cores: device.num_cores().ok(),
        bandwidth_gb_s: sourced(reckoned, card_bandwidth(&name, memory_bytes)),
        compute_capability: capability.map(|version| format!("{}.{}", version.major, version.minor)),
        driver,
        memory_bytes,
        memory_shared,
        reachable_bytes: None,
        name,
    }
}

/// What is reckoned from the card's own answers goes before the table, and says so where they are far apart.
fn sourced(reckoned: Option<f64>, listed: Option<f64>) -> Option<Sourced<f64>> {
    let by_bus = "width of the memory bus and its clock";
    match (reckoned, listed) {
        (Some(value), Some(table)) if (value / table - 1.0).abs() > APART => {
            Some(Sourced { value, source: format!("{by_bus}; the table of cards says {table:.0}") })
        }
        (Some(value), _) => Some(Sourced { value, source: by_bus.into() }),
        (None, Some(value)) => Some(Sourced { value, source: "table of cards".into() }),
        (None, None) => None,
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

    #[test]
    fn the_table_stands_in_and_a_difference_is_said() {
        let told = |reckoned, listed| sourced(reckoned, listed).map(|it| (it.value, it.source));
        assert_eq!(told(Some(1008.0), Some(1000.0)).unwrap().1, "width of the memory bus and its clock");
        let apart = told(Some(504.0), Some(1008.0)).unwrap();
        assert!(apart.0 == 504.0 && apart.1.ends_with("the table of cards says 1008"), "{apart:?}");
        assert_eq!(told(None, Some(273.0)), Some((273.0, "table of cards".into())));
        assert_eq!(told(None, None), None);
    }
}
