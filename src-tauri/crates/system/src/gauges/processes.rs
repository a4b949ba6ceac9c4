//! The process trees that are watched, what was left behind of such trees, and ourselves.

use super::{
    CommandLines, Watched,
    orphans::Orphans,
    process_tree::{ProcessTable, TreeReader},
};
use pilothouse_domain::gauge::{OrphanedRunner, OwnUsage, RunnerUsage, ServerUsage};
use std::time::{Duration, Instant};

/// Processes are read at most once a second, also at the pace of a benchmark: hundreds of them are the greater part of a
/// sample's cost. A little less, because no timer is exact.
const PROCESSES_EVERY: Duration = Duration::from_millis(900);

/// What a reading of all processes gave.
#[derive(Debug, Clone)]
pub(super) struct Processes {
    at: Instant,
    watched: Vec<Watched>,
    servers: Vec<ServerUsage>,
    pub orphans: Vec<OrphanedRunner>,
    pub own: OwnUsage,
}

impl Processes {
    /// One usage for each that is watched now; an answer that comes late may be one to an older question.
    pub fn of(&self, watched: &[Watched]) -> Vec<ServerUsage> {
        let of = |one: &Watched| {
            let asked = self.watched.iter().any(|before| before == one);
            let known = self.servers.iter().find(|usage| usage.id == one.id && asked);
            known.cloned().unwrap_or_else(|| absent(one, "its processes are being read"))
        };
        watched.iter().map(of).collect()
    }
}

/// The usage of a server of which nothing is known.
pub(super) fn absent(watched: &Watched, reason: &str) -> ServerUsage {
    ServerUsage {
        id: watched.id.clone(),
        memory_bytes: None,
        memory_bytes_absent: Some(reason.into()),
        mapped_bytes: None,
        cpu_percent: None,
        measure: None,
        processes: 0,
        pids: Vec::new(),
        runners: Vec::new(),
    }
}

/// Remembers what rates and rare readings need.
pub(super) struct ProcessReader {
    trees: TreeReader,
    orphans: Orphans,
    last: Option<Processes>,
}

impl ProcessReader {
    pub fn new(runners: CommandLines) -> Self {
        Self { trees: TreeReader::default(), orphans: Orphans::new(runners), last: None }
    }

    /// The processes that are watched, as they are or were a moment ago.
    pub fn read(&mut self, watched: &[Watched]) -> Processes {
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
            return absent(watched, "no process of it is known here (not running, or on another machine)");
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
                shared_bytes: memory.and_then(|memory| memory.shared_bytes),
                measure: memory.map(|memory| memory.measure),
            });
        }
        usages
    }
}
