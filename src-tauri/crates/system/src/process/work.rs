//! What a process and all its descendants have done since their start. Read anew for each question: nothing is kept that
//! could be old.

#[cfg(target_os = "linux")]
use super::stat::{cpu_s, stat, stat_at};
#[cfg(target_os = "linux")]
use pilothouse_domain::hang::ProcessTime;
use pilothouse_domain::hang::ProcessWork;

/// Processor time of a whole process tree. `None`: the system does not tell it, or the process is gone.
#[cfg(target_os = "linux")]
pub fn work_of_tree(root: u32) -> Option<ProcessWork> {
    let mut work = ProcessWork::new();
    let mut next = vec![root];
    while let Some(pid) = next.pop() {
        let Some(time) = time_of(pid) else {
            // A descendant that has just ended is none any more; without the root nothing is known.
            if pid == root {
                return None;
            }
            continue;
        };
        if work.insert(pid, time).is_none() {
            next.extend(super::children(pid)?.iter().map(|child| child.pid));
        }
    }
    Some(work)
}

#[cfg(target_os = "linux")]
fn time_of(pid: u32) -> Option<ProcessTime> {
    let stat = stat(pid).ok()??;
    Some(ProcessTime { cpu_s: cpu_s(&stat), waited_pages: stat.majflt, wants: wants(pid) })
}

/// Whether any thread runs, would run if it got a processor, or waits for a disk or a driver.
#[cfg(target_os = "linux")]
fn wants(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().any(|thread| {
        let stat = stat_at(&thread.path().join("stat")).ok().flatten();
        stat.is_some_and(|stat| matches!(stat.state, 'R' | 'D'))
    })
}

/// Processor time of a whole process tree. `None`: the system does not tell it, or the process is gone.
#[cfg(not(target_os = "linux"))]
pub fn work_of_tree(root: u32) -> Option<ProcessWork> {
    use pilothouse_domain::hang::ProcessTime;
    use sysinfo::{Pid, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System};
    let mut system = System::new().ok()?;
    let what = ProcessRefreshKind::nothing().with_cpu();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
    system.process(Pid::from_u32(root))?;
    let (mut work, mut next) = (ProcessWork::new(), vec![Pid::from_u32(root)]);
    while let Some(pid) = next.pop() {
        let Some(process) = system.process(pid) else { continue };
        let time = ProcessTime {
            cpu_s: process.accumulated_cpu_time() as f64 / 1000.0,
            waited_pages: 0,
            wants: process.status() == ProcessStatus::UninterruptibleDiskSleep,
        };
        if work.insert(pid.as_u32(), time).is_none() {
            let of_it = system.processes().iter().filter(|(_, other)| other.parent() == Some(pid));
            next.extend(of_it.map(|(child, _)| *child));
        }
    }
    Some(work)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::process::{OwnedProcess, ProcessSpec};
    use std::time::{Duration, Instant};

    /// A shell with a child that computes: what the child does is the tree's work, and a stopped one does none.
    #[tokio::test]
    async fn the_work_of_a_child_counts_and_a_stopped_tree_does_none() {
        let folder = tempfile::tempdir().unwrap();
        let spec = ProcessSpec {
            program: "/bin/sh".into(),
            args: ["-c", "sh -c 'while :; do :; done' & wait"].map(Into::into).to_vec(),
            env: vec![],
            env_remove: vec![],
            cwd: None,
        };
        let process = OwnedProcess::spawn(&spec, &folder.path().join("out")).unwrap();
        let cpu = || work_of_tree(process.pid()).map_or(0.0, |work| work.values().map(|one| one.cpu_s).sum());
        let deadline = Instant::now() + Duration::from_secs(60);
        while cpu() < 0.1 {
            assert!(Instant::now() < deadline, "the child's time is not seen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let work = work_of_tree(process.pid()).unwrap();
        assert_eq!(work.len(), 2, "{work:?}");
        process.kill();
        process.ended().await;
        assert_eq!(work_of_tree(process.pid()), None, "it is gone");
    }
}
