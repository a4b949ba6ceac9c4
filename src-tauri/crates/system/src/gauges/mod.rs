//! Readings of the machine. Each source may answer "not here" with a reason; nothing is ever guessed.

#[cfg(target_os = "linux")]
mod amd;
mod apple;
#[cfg(any(test, target_os = "macos"))]
mod background;
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
#[cfg(not(target_os = "macos"))]
mod nvidia;
mod orphans;
mod past;
#[cfg(target_os = "linux")]
mod pci_ids;
mod process_tree;
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
pub(crate) use nvidia::open as open_nvml;
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

use gpus::Gpus;
use host::Host;
use orphans::Orphans;
use pilothouse_domain::{
    Timestamp,
    gauge::{Gauges, GpuReading, OrphanedRunner, OwnUsage, RunnerUsage, ServerUsage},
};
use process_tree::{ProcessTable, TreeReader};
pub use source::{GaugeSource, Watched};
use std::time::{Duration, Instant};

/// Reads host, process trees and GPUs. Blocking; made for the sampler's thread.
pub struct MachineGauges {
    host: Host,
    trees: TreeReader,
    orphans: Orphans,
    gpus: Gpus,
    cores: u32,
    last: Option<Processes>,
}

/// Processes are read at most once a second, also at the pace of a benchmark: hundreds of them are the greater part of a
/// sample's cost. A little less, because no timer is exact.
const PROCESSES_EVERY: Duration = Duration::from_millis(900);

/// What a reading of all processes gave.
#[derive(Clone)]
struct Processes {
    at: Instant,
    watched: Vec<Watched>,
    servers: Vec<ServerUsage>,
    orphans: Vec<OrphanedRunner>,
    own: OwnUsage,
}

/// No containers on this system yet.
#[cfg(not(unix))]
pub struct Docker;

#[cfg(not(unix))]
impl Docker {
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
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        Self {
            host: Host::new(),
            trees: TreeReader::default(),
            orphans: Orphans::new(runners),
            gpus: Gpus::default(),
            cores,
            last: None,
        }
    }

    /// The GPUs, or none and why.
    fn gpus(&mut self, memory_total: Option<u64>) -> (Vec<GpuReading>, Option<String>) {
        match self.gpus.read(Instant::now(), memory_total) {
            Ok(gpus) => (gpus, None),
            Err(reason) => (Vec::new(), Some(reason)),
        }
    }

    /// The processes that are watched, as they are or were a moment ago.
    fn processes(&mut self, watched: &[Watched]) -> Processes {
        let is_recent = |last: &&Processes| last.at.elapsed() < PROCESSES_EVERY && last.watched == watched;
        if let Some(last) = self.last.as_ref().filter(is_recent) {
            return last.clone();
        }
        let at = Instant::now();
        let table = ProcessTable::read();
        self.trees.begin(&table);
        let servers = watched.iter().map(|watched| self.server(&table, watched)).collect();
        let (orphans, own) = (self.orphans(&table), self.own(&table));
        let processes = Processes { at, watched: watched.to_vec(), servers, orphans, own };
        self.last = Some(processes.clone());
        processes
    }

    fn orphans(&mut self, table: &ProcessTable) -> Vec<OrphanedRunner> {
        let pids = self.orphans.find(table);
        let read = |pid| {
            let usage = self.trees.read(table, &format!("orphan {pid}"), &table.tree(pid));
            let (memory_bytes, memory_bytes_absent) = match usage.memory_bytes {
                Ok(bytes) => (Some(bytes), None),
                Err(reason) => (None, Some(reason)),
            };
            OrphanedRunner { pid, memory_bytes, memory_bytes_absent, measure: usage.measure }
        };
        pids.into_iter().map(read).collect()
    }

    fn own(&mut self, table: &ProcessTable) -> OwnUsage {
        let usage = self.trees.read(table, "pilothouse", &[std::process::id()]);
        OwnUsage {
            cpu_percent: usage.cpu_percent,
            memory_bytes: usage.memory_bytes.ok(),
            measure: usage.measure,
        }
    }

    fn server(&mut self, table: &ProcessTable, watched: &Watched) -> ServerUsage {
        let Some(root) = watched.pid else {
            return ServerUsage {
                id: watched.id.clone(),
                memory_bytes: None,
                memory_bytes_absent: Some(
                    "no process of it is known here (not running, or on another machine)".into(),
                ),
                mapped_bytes: None,
                cpu_percent: None,
                measure: None,
                processes: 0,
                pids: Vec::new(),
                runners: Vec::new(),
            };
        };
        let members = table.tree(root);
        let usage = self.trees.read(table, watched.id.as_str(), &members);
        let (memory_bytes, memory_bytes_absent) = match usage.memory_bytes {
            Ok(bytes) => (Some(bytes), None),
            Err(reason) => (None, Some(reason)),
        };
        ServerUsage {
            id: watched.id.clone(),
            memory_bytes,
            memory_bytes_absent,
            mapped_bytes: usage.mapped_bytes,
            cpu_percent: usage.cpu_percent,
            measure: usage.measure,
            processes: members.len() as u32,
            runners: self.runners(&members, &watched.runners),
            pids: members,
        }
    }

    /// Their memory was read a moment ago as part of the tree and is remembered.
    fn runners(&mut self, members: &[u32], runners: &[(u32, String)]) -> Vec<RunnerUsage> {
        let mut usages = Vec::new();
        for (pid, instance) in runners.iter().filter(|(pid, _)| members.contains(pid)) {
            let memory = self.trees.memory_of(*pid).ok();
            usages.push(RunnerUsage {
                instance: instance.clone(),
                pid: *pid,
                memory_bytes: memory.map(|memory| memory.bytes),
                mapped_bytes: memory.and_then(|memory| memory.mapped_bytes),
                measure: memory.map(|memory| memory.measure),
            });
        }
        usages
    }
}

impl GaugeSource for MachineGauges {
    fn sample(&mut self, servers: &[Watched]) -> Gauges {
        let cpu_percent = self.host.cpu_percent();
        let memory = self.host.memory();
        let Processes { servers, orphans, own, .. } = self.processes(servers);
        let (gpus, gpus_absent) = self.gpus(memory.total_bytes);
        Gauges {
            at: Timestamp::now(),
            interval_ms: None,
            cpu_percent,
            cpu_cores: self.cores,
            memory_used_bytes: memory.used_bytes,
            memory_total_bytes: memory.total_bytes,
            memory_pressure: host::memory_pressure(),
            swap_used_bytes: memory.swap_used_bytes,
            swap_total_bytes: memory.swap_total_bytes,
            gpus,
            gpus_absent,
            servers,
            orphans,
            own,
        }
    }
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
        assert_eq!(second.servers[0].processes, first.servers[0].processes);
        let [runner] = &second.servers[0].runners[..] else { panic!("{:?}", second.servers[0].runners) };
        assert_eq!((runner.instance.as_str(), runner.memory_bytes), ("one", second.servers[0].memory_bytes));
        assert_eq!(second.servers[1].memory_bytes, None);
        assert!(second.servers[1].memory_bytes_absent.is_some());
        let other = Watched { id: ServerId::new("other"), pid: Some(std::process::id()), runners: vec![] };
        let third = gauges.sample(&[other]);
        assert_eq!(third.servers.len(), 1, "another list is read at once");
        assert_eq!(third.servers[0].id.as_str(), "other");
        assert_eq!(second.gpus.is_empty(), second.gpus_absent.is_some(), "no GPU has a reason");
    }
}
