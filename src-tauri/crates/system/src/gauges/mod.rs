//! Readings of the machine. Each source may answer "not here" with a reason; nothing is ever guessed.

#[cfg(target_os = "linux")]
mod amd;
mod apple;
#[cfg(any(test, target_os = "macos"))]
mod background;
mod bounded;
#[cfg(unix)]
mod docker;
#[cfg(target_os = "linux")]
mod drm;
#[cfg(target_os = "linux")]
mod drm_card;
#[cfg(target_os = "linux")]
mod drm_clients;
mod gpus;
mod host;
#[cfg(target_os = "linux")]
mod intel;
#[cfg(target_os = "linux")]
mod memory_group;
#[cfg(not(target_os = "macos"))]
mod nvidia;
mod orphans;
mod past;
#[cfg(target_os = "linux")]
mod pci_ids;
mod process_tree;
mod processes;
#[cfg(not(target_os = "macos"))]
mod slow;
mod source;
#[cfg(not(target_os = "macos"))]
mod sysfs;

#[cfg(target_os = "linux")]
pub(crate) use amd::AmdMemory;
pub use apple::{Accelerator, parse_accelerators};
#[cfg(unix)]
pub use docker::Docker;
#[cfg(target_os = "linux")]
pub(crate) use drm_card::{DrmCard, cards as drm_cards};
#[cfg(not(target_os = "macos"))]
pub(crate) use nvidia::{in_the_driver, open as open_nvml};
pub use orphans::CommandLines;
pub use past::GaugePast;
#[cfg(target_os = "linux")]
pub(crate) use sysfs::text as sysfs_text;
#[cfg(all(test, target_os = "linux"))]
pub(crate) mod sysfs_tests {
    pub(crate) use super::{
        drm::tests::put,
        sysfs::tests::{add, tree},
    };
}

use bounded::BoundedSource;
use gpus::Gpus;
use host::{Host, HostReading};
#[cfg(target_os = "linux")]
pub(crate) use memory_group::MemoryLimit;
use pilothouse_domain::{
    Timestamp,
    gauge::{Gauges, OwnUsage, SilentSource},
};
use processes::{ProcessReader, Processes};
pub use source::{GaugeSource, Watched};
use std::time::{Duration, Instant};

/// A sample waits so long for all of its sources together; what comes later is in a later one.
const WAIT: Duration = Duration::from_secs(1);
/// A source that is silent for so long is told of: before, it may only be slow (a driver that wakes up its cards).
const TOLD_AFTER_S: i64 = 10;

/// Reads host, process trees and GPUs, each on a thread of its own: one that hangs takes only its own readings away.
pub struct MachineGauges {
    host: BoundedSource<(), HostReading>,
    processes: BoundedSource<Vec<Watched>, Processes>,
    gpus: Gpus,
    cores: u32,
}

/// No containers on this system yet.
#[cfg(not(unix))]
pub struct Docker;

#[cfg(not(unix))]
impl Docker {
    pub const SILENT: &str = "Docker does not answer";

    pub fn from_env(_user_home: &std::path::Path) -> Self {
        Self
    }

    #[expect(clippy::unused_async, reason = "as on the other systems")]
    pub async fn read(&mut self) -> Result<pilothouse_domain::container::Containers, String> {
        Err("Docker is read on Linux and macOS only".into())
    }
}

impl MachineGauges {
    /// `runners`: what may be left behind when its server has died.
    pub fn new(runners: CommandLines) -> Self {
        let host = || {
            let mut host = Host::new();
            move |()| host.read()
        };
        let processes = move || {
            let mut reader = ProcessReader::new(runners);
            move |watched: Vec<Watched>| reader.read(&watched)
        };
        Self {
            host: BoundedSource::start("host", "the kernel", host),
            processes: BoundedSource::start("processes", "the list of processes", processes),
            gpus: Gpus::default(),
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
        }
    }
}

impl GaugeSource for MachineGauges {
    fn sample(&mut self, watched: &[Watched]) -> Gauges {
        let deadline = Instant::now() + WAIT;
        self.processes.ask(watched.to_vec());
        self.host.ask(());
        let mut silent = Vec::new();
        let host = heard(self.host.answer(deadline), &mut silent).unwrap_or_default();
        let memory_total = host.memory.total_bytes;
        self.gpus.ask(memory_total);
        let (servers, orphans, own) = match self.processes.answer(deadline) {
            Ok(processes) => (processes.of(watched), processes.orphans, processes.own),
            Err(silence) => {
                let reason = silence.reason(Timestamp::now());
                silent.push(silence);
                let absent = |watched: &Watched| processes::absent(watched, &reason);
                (watched.iter().map(absent).collect(), Vec::new(), OwnUsage::default())
            }
        };
        let (gpus, gpus_absent) = match self.gpus.answer(deadline, memory_total, &mut silent) {
            Ok(gpus) => (gpus, None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        let at = Timestamp::now();
        silent.retain(|one| at.duration_since(one.since).as_secs() >= TOLD_AFTER_S);
        Gauges {
            at,
            interval_ms: None,
            cpu_percent: host.cpu_percent,
            cpu_cores: self.cores,
            memory_used_bytes: host.memory.used_bytes,
            memory_total_bytes: memory_total,
            memory_limit: host.memory.limit,
            memory_pressure: host.pressure,
            swap_used_bytes: host.memory.swap_used_bytes,
            swap_total_bytes: host.memory.swap_total_bytes,
            gpus,
            gpus_absent,
            servers,
            orphans,
            own,
            silent,
        }
    }
}

/// The answer, or none and who is silent.
fn heard<T>(answer: Result<T, SilentSource>, silent: &mut Vec<SilentSource>) -> Option<T> {
    answer.map_err(|silence| silent.push(silence)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::server::ServerId;

    #[test]
    fn a_sample_of_this_machine_is_plausible() {
        let mut gauges = MachineGauges::new(CommandLines { is_runner: |_| false, is_server: |_| false });
        let me = Watched {
            id: ServerId::new("me"),
            pid: Some(std::process::id()),
            runners: vec![(std::process::id(), "one".into()), (1, "not of it".into())],
        };
        let nobody = Watched { id: ServerId::new("nobody"), pid: None, runners: vec![] };
        let first = gauges.sample(&[me.clone(), nobody.clone()]);
        assert_eq!(first.cpu_percent, None, "one reading has no rate");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let second = loop {
            let sample = gauges.sample(&[me.clone(), nobody.clone()]);
            // The kernel counts in hundredths of a second.
            if sample.cpu_percent.is_some() || std::time::Instant::now() > deadline {
                break sample;
            }
            std::thread::yield_now();
        };
        let (used, total) = (second.memory_used_bytes.unwrap(), second.memory_total_bytes.unwrap());
        assert!(0 < used && used < total);
        assert!(second.cpu_percent.is_some_and(|percent| (0.0..=100.0).contains(&percent)));
        assert!(
            second.servers[0].memory_bytes.is_some_and(|bytes| bytes > 1_000_000),
            "{:?}",
            second.servers[0]
        );
        let [runner] = &second.servers[0].runners[..] else { panic!("{:?}", second.servers[0].runners) };
        assert_eq!(runner.instance, "one");
        // The tree also holds what tests beside this one have started.
        assert!(runner.memory_bytes.is_some() && runner.memory_bytes <= second.servers[0].memory_bytes);
        assert_eq!(second.servers[1].memory_bytes, None);
        assert!(second.servers[1].memory_bytes_absent.is_some());
        let other = Watched { id: ServerId::new("other"), pid: Some(std::process::id()), runners: vec![] };
        let third = gauges.sample(&[other]);
        assert_eq!(third.servers.len(), 1, "another list is read at once");
        assert_eq!(third.servers[0].id.as_str(), "other");
        assert_eq!(second.gpus.is_empty(), second.gpus_absent.is_some(), "no GPU has a reason");
    }
}
