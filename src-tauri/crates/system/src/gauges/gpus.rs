//! The GPUs of all vendors together. Each vendor's are read on a thread of their own.

#[cfg(not(target_os = "macos"))]
use super::bounded::BoundedSource;
#[cfg(target_os = "linux")]
use super::drm::{Drm, Maker};
#[cfg(not(target_os = "macos"))]
use pilothouse_domain::Timestamp;
use pilothouse_domain::gauge::{GpuReading, SilentSource};
use std::time::Instant;

#[cfg(target_os = "macos")]
#[derive(Default)]
pub(super) struct Gpus(super::apple::Apple);

#[cfg(target_os = "macos")]
impl Gpus {
    /// Its readers ask by themselves.
    pub fn ask(&mut self, _memory_total: Option<u64>) {}

    pub fn answer(
        &mut self,
        _deadline: Instant,
        memory_total: Option<u64>,
        silent: &mut Vec<SilentSource>,
    ) -> Result<Vec<GpuReading>, String> {
        let now = Instant::now();
        silent.extend(self.0.silent(now));
        self.0.read(now, memory_total)
    }
}

#[cfg(not(target_os = "macos"))]
pub(super) struct Gpus {
    nvidia: BoundedSource<Option<u64>, Result<Vec<GpuReading>, super::nvidia::Absence>>,
    #[cfg(target_os = "linux")]
    others: Vec<BoundedSource<Option<u64>, Vec<GpuReading>>>,
}

#[cfg(not(target_os = "macos"))]
impl Default for Gpus {
    fn default() -> Self {
        let nvidia = || {
            let mut nvidia = super::nvidia::Nvidia::default();
            move |memory_total| nvidia.read(memory_total)
        };
        #[cfg(target_os = "linux")]
        let of = |id, what, maker| {
            BoundedSource::start(id, what, move || {
                let mut drm = Drm::of(maker);
                move |memory_total| drm.read(Instant::now(), memory_total)
            })
        };
        Self {
            nvidia: BoundedSource::start("nvidia", "the NVIDIA driver", nvidia),
            #[cfg(target_os = "linux")]
            others: vec![
                of("amd", "the AMD driver", Maker::Amd),
                of("intel", "the Intel graphics driver", Maker::Intel),
                of("apple", "the Apple graphics driver", Maker::Apple),
            ],
        }
    }
}

#[cfg(not(target_os = "macos"))]
impl Gpus {
    /// `memory_total`: of the machine.
    pub fn ask(&mut self, memory_total: Option<u64>) {
        self.nvidia.ask(memory_total);
        #[cfg(target_os = "linux")]
        self.others.iter_mut().for_each(|other| other.ask(memory_total));
    }

    /// One reading per GPU; those of a source that is silent are absent, with the reason. Errors: why there is none.
    pub fn answer(
        &mut self,
        deadline: Instant,
        _memory_total: Option<u64>,
        silent: &mut Vec<SilentSource>,
    ) -> Result<Vec<GpuReading>, String> {
        let mut others = Vec::new();
        #[cfg(target_os = "linux")]
        for other in &mut self.others {
            match other.answer(deadline) {
                Ok(readings) => others.extend(readings),
                Err(silence) => {
                    let reason = silence.reason(Timestamp::now());
                    others.extend(other.last().into_iter().flatten().map(|before| without(before, &reason)));
                    silent.push(silence);
                }
            }
        }
        let nvidia = self.nvidia.answer(deadline).unwrap_or_else(|silence| {
            let reason = silence.reason(Timestamp::now());
            silent.push(silence);
            match self.nvidia.last() {
                Some(Ok(before)) => Ok(before.iter().map(|before| without(before, &reason)).collect()),
                _ => Err(super::nvidia::Absence::Silent(reason)),
            }
        });
        joined(nvidia, others)
    }
}

/// The GPU is there, its readings are not.
#[cfg(not(target_os = "macos"))]
fn without(before: &GpuReading, reason: &str) -> GpuReading {
    GpuReading {
        name: before.name.clone(),
        vendor: before.vendor.clone(),
        source: before.source.clone(),
        // What it is built with does not change.
        memory_shared: before.memory_shared,
        absent: Some(reason.into()),
        processes_absent: Some(reason.into()),
        ..GpuReading::default()
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
