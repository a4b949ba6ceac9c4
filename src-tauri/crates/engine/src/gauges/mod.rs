//! Readings of the machine. Each source may answer "not here" with a reason; nothing is ever guessed.

mod nvidia;
mod process_tree;
mod ring;

pub use ring::GaugeRing;

use crate::ports::{GaugeSource, Watched};
use nvidia::Nvidia;
use pilothouse_domain::{
    Timestamp,
    gauge::{Gauges, OwnUsage, ServerUsage},
};
use process_tree::{ProcessTable, TreeReader};
use sysinfo::{MemoryRefreshKind, System};

/// Reads host, process trees and GPUs. Blocking; made for the sampler's thread.
pub struct MachineGauges {
    /// `None`: the system library refused; then host readings are absent.
    system: Option<System>,
    trees: TreeReader,
    nvidia: Nvidia,
    cores: u32,
    /// The first processor reading has nothing to compare with.
    cpu_seen: bool,
}

impl Default for MachineGauges {
    fn default() -> Self {
        Self::new()
    }
}

impl MachineGauges {
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        let system = System::new().ok();
        Self { system, trees: TreeReader::default(), nvidia: Nvidia::default(), cores, cpu_seen: false }
    }

    fn own(&mut self, table: &ProcessTable) -> OwnUsage {
        let usage = self.trees.read(table, "pilothouse", &[std::process::id()]);
        OwnUsage { cpu_percent: usage.cpu_percent, memory_bytes: usage.memory_bytes.ok(), measure: usage.measure }
    }

    fn server(&mut self, table: &ProcessTable, watched: &Watched) -> ServerUsage {
        let Some(root) = watched.pid else {
            return ServerUsage {
                id: watched.id.clone(),
                memory_bytes: None,
                memory_bytes_absent: Some("no process of it is known".into()),
                cpu_percent: None,
                measure: None,
                processes: 0,
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
            cpu_percent: usage.cpu_percent,
            measure: usage.measure,
            processes: members.len() as u32,
        }
    }
}

impl GaugeSource for MachineGauges {
    fn sample(&mut self, servers: &[Watched]) -> Gauges {
        let cpu_seen = std::mem::replace(&mut self.cpu_seen, true);
        if let Some(system) = &mut self.system {
            system.refresh_memory_specifics(MemoryRefreshKind::everything());
            system.refresh_cpu_usage();
        }
        let host = self.system.as_ref();
        let cpu_percent = host
            .filter(|_| cpu_seen)
            .map(|system| f64::from(system.global_cpu_usage()))
            .filter(|percent| percent.is_finite());
        // A machine without memory does not exist: 0 means that the reading failed.
        let memory = host.filter(|system| system.total_memory() > 0);
        let (used, total) = (memory.map(System::used_memory), memory.map(System::total_memory));
        let (swap_used, swap_total) = (memory.map(System::used_swap), memory.map(System::total_swap));
        let table = ProcessTable::read();
        self.trees.begin();
        let usages = servers.iter().map(|watched| self.server(&table, watched)).collect();
        let own = self.own(&table);
        let (gpus, gpus_absent) = match self.nvidia.read() {
            Ok(gpus) => (gpus, None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        Gauges {
            at: Timestamp::now(),
            cpu_percent,
            cpu_cores: self.cores,
            memory_used_bytes: used,
            memory_total_bytes: total,
            swap_used_bytes: swap_used,
            swap_total_bytes: swap_total,
            gpus,
            gpus_absent,
            servers: usages,
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
        let mut gauges = MachineGauges::new();
        let me = Watched { id: ServerId::new("me"), pid: Some(std::process::id()) };
        let nobody = Watched { id: ServerId::new("nobody"), pid: None };
        let first = gauges.sample(&[me.clone(), nobody.clone()]);
        assert_eq!(first.cpu_percent, None, "one reading has no rate");
        let second = gauges.sample(&[me, nobody]);
        let (used, total) = (second.memory_used_bytes.unwrap(), second.memory_total_bytes.unwrap());
        assert!(0 < used && used < total);
        assert!(second.cpu_percent.is_some_and(|percent| (0.0..=100.0).contains(&percent)));
        assert!(second.servers[0].memory_bytes.is_some_and(|bytes| bytes > 1_000_000), "{:?}", second.servers[0]);
        assert_eq!(second.servers[1].memory_bytes, None);
        assert!(second.servers[1].memory_bytes_absent.is_some());
        assert_eq!(second.gpus.is_empty(), second.gpus_absent.is_some(), "no GPU has a reason");
    }
}
