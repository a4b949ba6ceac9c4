//! Memory and processor time of whole process trees.

use crate::process::Identity;
#[cfg(target_os = "linux")]
use crate::process::stat;
use pilothouse_domain::gauge::MemoryMeasure;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// The memory of a process is read this often at most.
const MEMORY_EVERY: Duration = Duration::from_secs(2);
/// Reading the proportional share walks all mappings in the kernel, about 5 ms for each gigabyte of mapped weights. A
/// process whose resident size stays the same is walked again after so many times that duration only, 0.01 % of a core;
/// beyond 3 ms [`MEMORY_OLDEST`] comes first, so that 20 GB cost 0.3 %.
const WALK_REST: u32 = 10_000;
/// However long a walk took, its result is not older than this: others may have begun to share the pages.
const MEMORY_OLDEST: Duration = Duration::from_secs(30);
/// A resident size that differs by no more than this share is the same.
const SAME_SIZE: f64 = 0.01;

/// One process as it stands now.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Process {
    parent: u32,
    /// Processor time since its start, in seconds.
    cpu_s: f64,
}

/// All processes of the machine at one moment.
#[derive(Debug)]
pub(super) struct ProcessTable {
    at: Instant,
    processes: HashMap<u32, Process>,
}

impl ProcessTable {
    /// A process and all its descendants, as far as they are alive.
    pub fn tree(&self, root: u32) -> Vec<u32> {
        if !self.processes.contains_key(&root) {
            return Vec::new();
        }
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for (pid, process) in &self.processes {
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

    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.processes.keys().copied()
    }

    /// `None`: there is no such process.
    pub fn parent(&self, pid: u32) -> Option<u32> {
        self.processes.get(&pid).map(|process| process.parent)
    }

    /// Empty where the system does not list its processes.
    pub fn read() -> Self {
        Self { at: Instant::now(), processes: read_processes().unwrap_or_default() }
    }
}

#[cfg(target_os = "linux")]
fn read_processes() -> Option<HashMap<u32, Process>> {
    let folder = std::fs::read_dir("/proc").ok()?;
    // One open, read and close per process: hundreds of them are the greater part of a sample's cost.
    let mut line = [0; 1024];
    let mut process = |pid: u32| {
        let mut file = std::fs::File::open(format!("/proc/{pid}/stat")).ok()?;
        let length = std::io::Read::read(&mut file, &mut line).ok()?;
        Some((pid, process_of(line.get(..length)?)?))
    };
    let pids = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    Some(pids.filter_map(&mut process).collect())
}

#[cfg(not(target_os = "linux"))]
fn read_processes() -> Option<HashMap<u32, Process>> {
    use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};
    let mut system = System::new().ok()?;
    let what = ProcessRefreshKind::nothing().with_cpu();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
    let process = |process: &sysinfo::Process| Process {
        parent: process.parent().map_or(0, sysinfo::Pid::as_u32),
        cpu_s: process.accumulated_cpu_time() as f64 / 1000.0,
    };
    Some(system.processes().iter().map(|(pid, it)| (pid.as_u32(), process(it))).collect())
}

/// What a tree uses. The memory is absent with a reason.
pub(super) struct TreeUsage {
    pub memory_bytes: Result<u64, String>,
    /// The part of it that is mapped files; `None`: not told apart for one of them.
    pub mapped_bytes: Option<u64>,
    pub measure: Option<MemoryMeasure>,
    pub cpu_percent: Option<f64>,
}

/// What one process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProcessMemory {
    pub bytes: u64,
    /// The part of it that is mapped files.
    pub mapped_bytes: Option<u64>,
    /// In memory besides, and counted at others that map the same pages.
    pub shared_bytes: Option<u64>,
    pub measure: MemoryMeasure,
}

/// Remembers what rates and rare readings need.
#[derive(Default)]
pub(super) struct TreeReader {
    /// Processor time per process at the last sample of its tree.
    cpu: HashMap<String, (Instant, HashMap<u32, f64>)>,
    memory: HashMap<u32, Remembered>,
}

/// An earlier reading of a process's memory.
struct Remembered {
    at: Instant,
    /// How long the reading took.
    took: Duration,
    /// The resident size at that time, where it is told cheaply.
    resident: Option<u64>,
    memory: ProcessMemory,
}

impl Remembered {
    fn read(pid: u32) -> Result<Self, String> {
        let (at, resident) = (Instant::now(), resident_pages(pid));
        let memory = read_memory(pid)?;
        Ok(Self { at, took: at.elapsed(), resident, memory })
    }

    /// Whether it may stand for a reading made now. `resident`: the size at this moment.
    fn stands(&self, age: Duration, resident: impl FnOnce() -> Option<u64>) -> bool {
        if age < MEMORY_EVERY {
            return true;
        }
        if age >= (self.took * WALK_REST).min(MEMORY_OLDEST) {
            return false;
        }
        let sizes = self.resident.zip(resident());
        sizes.is_some_and(|(then, now)| now.abs_diff(then) as f64 <= then as f64 * SAME_SIZE)
    }
}

impl TreeReader {
    /// Forgets processes that have ended.
    pub fn begin(&mut self, table: &ProcessTable) {
        self.memory.retain(|pid, _| table.processes.contains_key(pid));
    }

    pub fn read(&mut self, table: &ProcessTable, name: &str, members: &[u32]) -> TreeUsage {
        let cpu_percent = self.cpu_percent(table, name, members);
        if members.is_empty() {
            let memory_bytes = Err("its process is gone".into());
            return TreeUsage { memory_bytes, mapped_bytes: None, measure: None, cpu_percent: None };
        }
        let (mut total, mut mapped) = (0, Some(0));
        let mut measure = None;
        for pid in members {
            match self.memory_of(*pid) {
                Ok(memory) => {
                    total += memory.bytes;
                    mapped = mapped.zip(memory.mapped_bytes).map(|(sum, bytes)| sum + bytes);
                    // A sum is as good as its worst part: with one resident size in it, it counts shared pages twice.
                    measure =
                        if measure == Some(MemoryMeasure::Rss) { measure } else { Some(memory.measure) };
                }
                // A child that ended between two looks takes nothing any more.
                Err(_) if *pid != members[0] && is_gone(*pid) => {}
                Err(reason) => {
                    let memory_bytes = Err(reason);
                    return TreeUsage { memory_bytes, mapped_bytes: None, measure: None, cpu_percent };
                }
            }
        }
        TreeUsage { memory_bytes: Ok(total), mapped_bytes: mapped, measure, cpu_percent }
    }

    pub fn memory_of(&mut self, pid: u32) -> Result<ProcessMemory, String> {
        let earlier = self.memory.get(&pid);
        if let Some(earlier) = earlier.filter(|it| it.stands(it.at.elapsed(), || resident_pages(pid))) {
            return Ok(earlier.memory);
        }
        let reading = Remembered::read(pid)?;
        let memory = reading.memory;
        self.memory.insert(pid, reading);
        Ok(memory)
    }

    /// 100 = one core fully used. A process that was not there at the last sample counts from the next one on.
    fn cpu_percent(&mut self, table: &ProcessTable, name: &str, members: &[u32]) -> Option<f64> {
        let now: HashMap<u32, f64> =
            members.iter().filter_map(|pid| Some((*pid, table.processes.get(pid)?.cpu_s))).collect();
        let before = self.cpu.insert(name.to_owned(), (table.at, now.clone()));
        let (at, before) = before?;
        let seconds = table.at.saturating_duration_since(at).as_secs_f64();
        let known: Vec<f64> =
            now.iter().filter_map(|(pid, cpu)| Some((cpu - before.get(pid)?).max(0.0))).collect();
        (seconds > 0.0 && !known.is_empty()).then(|| known.iter().sum::<f64>() / seconds * 100.0)
    }
}

#[cfg(target_os = "linux")]
fn read_proc(pid: u32, file: &str) -> std::io::Result<String> {
    std::fs::read_to_string(format!("/proc/{pid}/{file}"))
}

/// `None`: a dead one that nobody has reaped yet.
#[cfg(target_os = "linux")]
fn process_of(line: &[u8]) -> Option<Process> {
    let stat = stat::parse(line).filter(|stat| !matches!(stat.state, 'Z' | 'X'))?;
    Some(Process { parent: u32::try_from(stat.ppid).ok()?, cpu_s: stat::cpu_s(&stat) })
}

/// The proportional share, or the resident size where the kernel does not tell it.
#[cfg(target_os = "linux")]
fn read_memory(pid: u32) -> Result<ProcessMemory, String> {
    let kilobytes = |text: &str, key: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    if let Ok(text) = read_proc(pid, "smaps_rollup")
        && let Some(kb) = kilobytes(&text, "Pss:")
    {
        // Kernels before 5.3 do not tell the parts.
        let mapped_bytes = kilobytes(&text, "Pss_File:").map(|kb| kb * 1024);
        let shared_bytes = kilobytes(&text, "Rss:").map(|resident| resident.saturating_sub(kb) * 1024);
        return Ok(ProcessMemory {
            bytes: kb * 1024,
            mapped_bytes,
            shared_bytes,
            measure: MemoryMeasure::Pss,
        });
    }
    match read_proc(pid, "status") {
        Ok(text) => kilobytes(&text, "VmRSS:")
            .map(|kb| ProcessMemory {
                bytes: kb * 1024,
                mapped_bytes: kilobytes(&text, "RssFile:").map(|kb| kb * 1024),
                // The resident size leaves nothing to others.
                shared_bytes: Some(0),
                measure: MemoryMeasure::Rss,
            })
            .ok_or_else(|| format!("the kernel does not tell the memory of process {pid}")),
        Err(error) => Err(no_reading(pid, &error)),
    }
}

/// Pages in memory, without a walk.
#[cfg(target_os = "linux")]
fn resident_pages(pid: u32) -> Option<u64> {
    read_proc(pid, "statm").ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Elsewhere a reading costs no walk.
#[cfg(not(target_os = "linux"))]
fn resident_pages(_pid: u32) -> Option<u64> {
    None
}

/// Why a process's memory is not known.
#[cfg(unix)]
fn no_reading(pid: u32, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => format!("permission denied reading process {pid}"),
        std::io::ErrorKind::NotFound => format!("process {pid} has ended"),
        _ => format!("process {pid} cannot be read: {error}"),
    }
}

/// Whether a process has ended for sure, reaped or not.
fn is_gone(pid: u32) -> bool {
    Identity::look(pid).is_ok_and(|there| there.is_none())
}

/// The physical footprint, which Activity Monitor shows; the resident size counts freed and shared pages too.
#[cfg(target_os = "macos")]
#[expect(unsafe_code, reason = "proc_pid_rusage has no safe wrapper in std")]
fn read_memory(pid: u32) -> Result<ProcessMemory, String> {
    let number = libc::c_int::try_from(pid).map_err(|_| format!("{pid} is no process number"))?;
    // SAFETY: the struct holds integers only, for which zeros are a value.
    let mut usage: libc::rusage_info_v4 = unsafe { std::mem::zeroed() };
    let place = (&raw mut usage).cast::<libc::rusage_info_t>();
    // SAFETY: the place is a whole rusage_info_v4, as the flavour says, and lives through the call.
    let answer = unsafe { libc::proc_pid_rusage(number, libc::RUSAGE_INFO_V4, place) };
    if answer == 0 {
        // A footprint holds no clean file pages.
        return Ok(ProcessMemory {
            bytes: usage.ri_phys_footprint,
            mapped_bytes: Some(0),
            shared_bytes: None,
            measure: MemoryMeasure::Footprint,
        });
    }
    Err(no_reading(pid, &std::io::Error::last_os_error()))
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn read_memory(pid: u32) -> Result<ProcessMemory, String> {
    use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
    let pid = Pid::from_u32(pid);
    let mut system = System::new().map_err(|error| format!("processes cannot be read: {error}"))?;
    let what = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, what);
    let process = system.process(pid).ok_or_else(|| format!("process {pid} cannot be read"))?;
    let bytes = process.memory();
    Ok(ProcessMemory { bytes, mapped_bytes: None, shared_bytes: Some(0), measure: MemoryMeasure::Rss })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(u32, u32)]) -> ProcessTable {
        let process = |(pid, parent): &(u32, u32)| (*pid, Process { parent: *parent, cpu_s: 0.0 });
        ProcessTable { at: Instant::now(), processes: rows.iter().map(process).collect() }
    }

    #[test]
    fn processor_time_is_a_rate_over_the_time_between_two_tables() {
        let mut reader = TreeReader::default();
        let mut table = table(&[(7, 1), (8, 7)]);
        assert_eq!(reader.cpu_percent(&table, "a", &[7, 8]), None, "one reading has no rate");
        table.at += Duration::from_secs(2);
        for process in table.processes.values_mut() {
            process.cpu_s += 1.0;
        }
        assert_eq!(reader.cpu_percent(&table, "a", &[7, 8]), Some(100.0));
        // A newcomer with much time behind it is no peak; it counts from now on.
        table.at += Duration::from_secs(1);
        table.processes.insert(9, Process { parent: 7, cpu_s: 500.0 });
        assert_eq!(reader.cpu_percent(&table, "a", &[7, 8, 9]), Some(0.0));
    }

    #[test]
    fn a_sum_with_a_resident_size_in_it_is_called_that() {
        let mut reader = TreeReader::default();
        let now = Instant::now();
        for (pid, measure) in [(7, MemoryMeasure::Pss), (8, MemoryMeasure::Rss), (9, MemoryMeasure::Pss)] {
            let mapped_bytes = (pid != 8).then_some(40);
            let memory = ProcessMemory { bytes: 100, mapped_bytes, shared_bytes: None, measure };
            reader.memory.insert(pid, Remembered { at: now, took: Duration::ZERO, resident: None, memory });
        }
        let table = table(&[(7, 1), (8, 7), (9, 7)]);
        let usage = reader.read(&table, "a", &[7, 8, 9]);
        assert_eq!((usage.memory_bytes, usage.measure), (Ok(300), Some(MemoryMeasure::Rss)));
        assert_eq!(usage.mapped_bytes, None, "of one it is not known");
        let usage = reader.read(&table, "a", &[7, 9]);
        assert_eq!((usage.memory_bytes, usage.measure), (Ok(200), Some(MemoryMeasure::Pss)));
        assert_eq!(usage.mapped_bytes, Some(80));
    }

    #[test]
    fn a_large_process_is_walked_again_when_it_has_changed_or_after_a_rest() {
        let memory =
            ProcessMemory { bytes: 1, mapped_bytes: None, shared_bytes: None, measure: MemoryMeasure::Pss };
        let stands = |took_ms, age_ms, then, now| {
            let took = Duration::from_millis(took_ms);
            let reading = Remembered { at: Instant::now(), took, resident: then, memory };
            reading.stands(Duration::from_millis(age_ms), || now)
        };
        let (size, same, other) = (Some(1000), Some(1005), Some(1200));
        assert!(stands(100, 1900, size, other), "not more often than every two seconds");
        assert!(stands(1, 9000, size, same));
        assert!(!stands(1, 2100, size, other), "it has grown");
        assert!(!stands(1, 2100, size, Some(800)), "it has shrunk");
        assert!(!stands(1, 11_000, size, same), "it has rested");
        assert!(stands(100, 29_000, size, same), "a large one rests longer");
        assert!(!stands(100, 31_000, size, same), "others may share its pages by now");
        assert!(!stands(1, 2100, None, None), "where no size is told, nothing is supposed");
    }

    #[cfg(unix)]
    #[test]
    fn a_refused_reading_says_so() {
        let reason = |kind| no_reading(7, &std::io::Error::from(kind));
        assert_eq!(reason(std::io::ErrorKind::PermissionDenied), "permission denied reading process 7");
        assert_eq!(reason(std::io::ErrorKind::NotFound), "process 7 has ended");
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
}
