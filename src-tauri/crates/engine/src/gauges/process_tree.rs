//! Memory and processor time of whole process trees.

use pilothouse_domain::gauge::MemoryMeasure;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Reading the proportional share of a large process walks all its mappings in the kernel; every so often is enough.
const MEMORY_EVERY: Duration = Duration::from_secs(2);

/// One process as it stands now.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Process {
    parent: u32,
    /// Processor time since its start, in seconds.
    cpu_s: f64,
}

/// All processes of the machine at one moment.
#[derive(Debug, Default)]
pub(super) struct ProcessTable(HashMap<u32, Process>);

impl ProcessTable {
    /// A process and all its descendants, as far as they are alive.
    pub fn tree(&self, root: u32) -> Vec<u32> {
        if !self.0.contains_key(&root) {
            return Vec::new();
        }
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for (pid, process) in &self.0 {
            children.entry(process.parent).or_default().push(*pid);
        }
        let mut members = vec![root];
        let mut next = 0;
        while let Some(pid) = members.get(next).copied() {
            next += 1;
            for child in children.get(&pid).into_iter().flatten() {
                if !members.contains(child) {
                    members.push(*child);
                }
            }
        }
        members
    }

    #[cfg(target_os = "linux")]
    pub fn read() -> Self {
        let Ok(folder) = std::fs::read_dir("/proc") else { return Self::default() };
        let ticks = clock_ticks();
        let pids = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        Self(pids.filter_map(|pid| Some((pid, parse_stat(&read_proc(pid, "stat").ok()?, ticks)?))).collect())
    }

    #[cfg(not(target_os = "linux"))]
    pub fn read() -> Self {
        use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};
        let Ok(mut system) = System::new() else { return Self::default() };
        let what = ProcessRefreshKind::nothing().with_cpu();
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
        let process = |process: &sysinfo::Process| Process {
            parent: process.parent().map_or(0, sysinfo::Pid::as_u32),
            cpu_s: process.accumulated_cpu_time() as f64 / 1000.0,
        };
        Self(system.processes().iter().map(|(pid, it)| (pid.as_u32(), process(it))).collect())
    }
}

/// What a tree uses. The memory is absent with a reason.
pub(super) struct TreeUsage {
    pub memory_bytes: Result<u64, String>,
    pub measure: Option<MemoryMeasure>,
    pub cpu_percent: Option<f64>,
}

/// Remembers what rates and rare readings need.
#[derive(Default)]
pub(super) struct TreeReader {
    /// Processor time per process at the last sample of its tree.
    cpu: HashMap<String, (Instant, HashMap<u32, f64>)>,
    memory: HashMap<u32, (Instant, u64, MemoryMeasure)>,
}

impl TreeReader {
    /// Forgets processes that nobody has asked for lately.
    pub fn begin(&mut self) {
        self.memory.retain(|_, (at, ..)| at.elapsed() < MEMORY_EVERY * 2);
    }

    pub fn read(&mut self, table: &ProcessTable, name: &str, members: &[u32]) -> TreeUsage {
        let cpu_percent = self.cpu_percent(table, name, members);
        if members.is_empty() {
            let memory_bytes = Err("its process is gone".into());
            return TreeUsage { memory_bytes, measure: None, cpu_percent: None };
        }
        let mut total = 0;
        let mut measure = None;
        for pid in members {
            match self.memory_of(*pid) {
                Ok((bytes, how)) => {
                    total += bytes;
                    measure = measure.or(Some(how));
                }
                // A child that ended between two looks takes nothing any more.
                Err(_) if *pid != members[0] => {}
                Err(reason) => return TreeUsage { memory_bytes: Err(reason), measure: None, cpu_percent },
            }
        }
        TreeUsage { memory_bytes: Ok(total), measure, cpu_percent }
    }

    fn memory_of(&mut self, pid: u32) -> Result<(u64, MemoryMeasure), String> {
        if let Some((at, bytes, measure)) = self.memory.get(&pid)
            && at.elapsed() < MEMORY_EVERY
        {
            return Ok((*bytes, *measure));
        }
        let (bytes, measure) = read_memory(pid)?;
        self.memory.insert(pid, (Instant::now(), bytes, measure));
        Ok((bytes, measure))
    }

    /// 100 = one core fully used. A process that was not there at the last sample counts from the next one on.
    fn cpu_percent(&mut self, table: &ProcessTable, name: &str, members: &[u32]) -> Option<f64> {
        let now: HashMap<u32, f64> =
            members.iter().filter_map(|pid| Some((*pid, table.0.get(pid)?.cpu_s))).collect();
        let before = self.cpu.insert(name.to_owned(), (Instant::now(), now.clone()));
        let (at, before) = before?;
        let seconds = at.elapsed().as_secs_f64();
        let known: Vec<f64> =
            now.iter().filter_map(|(pid, cpu)| Some((cpu - before.get(pid)?).max(0.0))).collect();
        (seconds > 0.0 && !known.is_empty()).then(|| known.iter().sum::<f64>() / seconds * 100.0)
    }
}

#[cfg(target_os = "linux")]
fn read_proc(pid: u32, file: &str) -> std::io::Result<String> {
    std::fs::read_to_string(format!("/proc/{pid}/{file}"))
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "sysconf has no safe wrapper in std")]
fn clock_ticks() -> f64 {
    // SAFETY: sysconf takes an integer and touches no memory of ours.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if ticks > 0 { ticks as f64 } else { 100.0 }
}

/// Parent and processor time of a line of `/proc/<pid>/stat` (proc_pid_stat(5): fields 4, 14 and 15).
#[cfg(target_os = "linux")]
fn parse_stat(line: &str, ticks_per_s: f64) -> Option<Process> {
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    (*fields.first()? != "Z").then_some(())?;
    Some(Process {
        parent: u32::try_from(number(1)?).ok()?,
        cpu_s: (number(11)? + number(12)?) as f64 / ticks_per_s,
    })
}

/// The proportional share, or the resident size where the kernel does not tell it.
#[cfg(target_os = "linux")]
fn read_memory(pid: u32) -> Result<(u64, MemoryMeasure), String> {
    let kilobytes = |text: &str, key: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    if let Ok(text) = read_proc(pid, "smaps_rollup")
        && let Some(kb) = kilobytes(&text, "Pss:")
    {
        return Ok((kb * 1024, MemoryMeasure::Pss));
    }
    match read_proc(pid, "status") {
        Ok(text) => kilobytes(&text, "VmRSS:")
            .map(|kb| (kb * 1024, MemoryMeasure::Rss))
            .ok_or_else(|| format!("the kernel does not tell the memory of process {pid}")),
        Err(error) => Err(format!("process {pid} cannot be read: {error}")),
    }
}

#[cfg(not(target_os = "linux"))]
fn read_memory(pid: u32) -> Result<(u64, MemoryMeasure), String> {
    use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
    let pid = Pid::from_u32(pid);
    let mut system = System::new().map_err(|error| format!("processes cannot be read: {error}"))?;
    let what = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, what);
    let process = system.process(pid).ok_or_else(|| format!("process {pid} cannot be read"))?;
    Ok((process.memory(), MemoryMeasure::Rss))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(u32, u32)]) -> ProcessTable {
        ProcessTable(rows.iter().map(|(pid, parent)| (*pid, Process { parent: *parent, cpu_s: 0.0 })).collect())
    }

    #[test]
    fn a_tree_holds_all_descendants_and_survives_a_circle() {
        let table = table(&[(1, 0), (2, 1), (3, 2), (4, 2), (9, 1), (20, 21), (21, 20)]);
        let mut members = table.tree(2);
        members.sort_unstable();
        assert_eq!(members, [2, 3, 4]);
        assert!(table.tree(77).is_empty());
        assert_eq!(table.tree(20).len(), 2);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_program_name_with_brackets_and_spaces_does_not_confuse() {
        let line = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 1234 0 0";
        assert_eq!(parse_stat(line, 100.0), Some(Process { parent: 7, cpu_s: 2.0 }));
        assert_eq!(parse_stat("43 (dead) Z 7 0 0 0 0 0 0 0 0 0 1 1", 100.0), None);
        assert_eq!(parse_stat("junk", 100.0), None);
    }
}
