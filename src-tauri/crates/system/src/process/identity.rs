use serde::{Deserialize, Serialize};
use std::io;

/// A process beyond doubt: a pid alone can be handed out again, a pid with its start time cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: u32,
    /// Clock ticks since boot on Linux, seconds since 1970 elsewhere; only ever compared for equality.
    pub started: u64,
}

impl Identity {
    /// The process that has this pid now; `None` when there is none, only a dead one that nobody has reaped yet, or none
    /// that can be looked at.
    pub fn of(pid: u32) -> Option<Self> {
        Self::look(pid).ok().flatten()
    }

    /// As `of`, but not being able to look (no file descriptor left) is an error and no end.
    pub fn look(pid: u32) -> io::Result<Option<Self>> {
        Ok(start_time(pid)?.map(|started| Self { pid, started }))
    }

    /// For sure: before it is signalled.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    /// For sure: before its end has consequences. Not the opposite of `is_alive`: some things cannot be known.
    pub fn has_ended(&self) -> bool {
        Self::look(self.pid).is_ok_and(|now| now != Some(*self))
    }
}

/// `None`: there is none, or only a dead one. Errors: it could not be looked at.
#[cfg(target_os = "linux")]
fn start_time(pid: u32) -> io::Result<Option<u64>> {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => Ok(started(&stat)),
        // No such file, or it ended while it was read.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(target_os = "linux")]
fn started(stat: &str) -> Option<u64> {
    // The program's name stands in brackets and may hold anything, so count fields from the last bracket:
    // state is the first after it, starttime the twentieth (proc_pid_stat(5), fields 3 and 22).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    (*fields.first()? != "Z").then_some(())?;
    fields.get(19)?.parse().ok()
}

#[cfg(not(target_os = "linux"))]
fn start_time(pid: u32) -> io::Result<Option<u64>> {
    use sysinfo::{Pid, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System};
    let pid = Pid::from_u32(pid);
    let mut system = System::new().map_err(io::Error::other)?;
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, ProcessRefreshKind::nothing());
    let process = system.process(pid).filter(|process| process.status() != ProcessStatus::Zombie);
    Ok(process.map(sysinfo::Process::start_time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_alive_and_our_pid_with_another_start_is_somebody_else() {
        let me = Identity::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        let other = Identity { started: me.started + 1, ..me };
        assert!(!other.is_alive() && other.has_ended());
        assert!(!me.has_ended());
    }
}
