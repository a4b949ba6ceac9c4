//! The GPUs of all vendors together.

use pilothouse_domain::gauge::GpuReading;
use std::time::Instant;

#[cfg(target_os = "macos")]
#[derive(Default)]
pub(super) struct Gpus(super::apple::Apple);

#[cfg(target_os = "macos")]
impl Gpus {
    pub fn read(&mut self, now: Instant, memory_total: Option<u64>) -> Result<Vec<GpuReading>, String> {
        self.0.read(now, memory_total)
    }
}

#[cfg(not(target_os = "macos"))]
#[derive(Default)]
pub(super) struct Gpus {
    nvidia: super::nvidia::Nvidia,
    #[cfg(target_os = "linux")]
    drm: super::drm::Drm,
}

#[cfg(not(target_os = "macos"))]
impl Gpus {
    /// One reading per GPU. `memory_total`: of the machine. Errors: why there is none.
    pub fn read(&mut self, now: Instant, memory_total: Option<u64>) -> Result<Vec<GpuReading>, String> {
        #[cfg(target_os = "linux")]
        let others = self.drm.read(now, memory_total);
        #[cfg(not(target_os = "linux"))]
        let (others, _) = (Vec::new(), now);
        joined(self.nvidia.read(memory_total), others)
    }
}

/// A driver that is there and does not answer is shown beside the GPUs that do.
#[cfg(not(target_os = "macos"))]
fn joined(
    nvidia: Result<Vec<GpuReading>, super::nvidia::Absence>,
    others: Vec<GpuReading>,
) -> Result<Vec<GpuReading>, String> {
    use super::nvidia::Absence;
    match nvidia {
        Ok(cards) => Ok(cards.into_iter().chain(others).collect()),
        Err(Absence::NotHere(reason)) if others.is_empty() => {
            Err(format!("no GPU found: {reason}{}", also()))
        }
        Err(Absence::NotHere(_)) => Ok(others),
        Err(Absence::Silent(reason)) if others.is_empty() => Err(reason),
        Err(Absence::Silent(reason)) => {
            let silent = GpuReading {
                name: "NVIDIA GPU".into(),
                vendor: "nvidia".into(),
                absent: Some(reason.clone()),
                processes_absent: Some(reason),
                source: "NVML".into(),
                ..GpuReading::default()
            };
            Ok(std::iter::once(silent).chain(others).collect())
        }
    }
}

#[cfg(not(target_os = "macos"))]
fn also() -> &'static str {
    if cfg!(target_os = "linux") { ", and the kernel lists no AMD or Intel GPU" } else { "" }
}

#[cfg(all(test, not(target_os = "macos")))]
mod tests {
    use super::{super::nvidia::Absence, *};

    fn gpu(name: &str) -> GpuReading {
        GpuReading { name: name.into(), ..GpuReading::default() }
    }

    #[test]
    fn a_missing_driver_matters_only_where_there_is_no_other_gpu() {
        let missing = || Err(Absence::NotHere("the NVIDIA driver library is not installed".into()));
        assert_eq!(joined(missing(), vec![gpu("Arc")]), Ok(vec![gpu("Arc")]));
        let none = joined(missing(), vec![]).unwrap_err();
        assert!(none.starts_with("no GPU found: the NVIDIA driver library is not installed"), "{none}");
        assert_eq!(joined(Ok(vec![gpu("H100")]), vec![gpu("Arc")]), Ok(vec![gpu("H100"), gpu("Arc")]));
    }

    #[test]
    fn a_driver_that_does_not_answer_is_seen_beside_the_others() {
        let silent = || Err(Absence::Silent("restart the machine".into()));
        let gpus = joined(silent(), vec![gpu("Arc")]).unwrap();
        assert_eq!((gpus[0].absent.as_deref(), gpus[1].name.as_str()), (Some("restart the machine"), "Arc"));
        assert_eq!(joined(silent(), vec![]), Err("restart the machine".into()));
    }
}
