use serde::{Deserialize, Serialize};
use std::{io, time::Duration};

/// How often the end of a process is looked for where the kernel does not tell it.
const END_POLL: Duration = Duration::from_millis(200);

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

    /// Waits for the end of the process, also of one that is no child of ours.
    pub async fn end(self) {
        #[cfg(target_os = "linux")]
        self.end_by_descriptor().await;
        while !self.has_ended() {
            tokio::time::sleep(END_POLL).await;
        }
    }

    /// The kernel says when it ends. Returns early where it cannot be asked (before Linux 5.3, no descriptor left).
    #[cfg(target_os = "linux")]
    #[expect(deprecated, reason = "it asks for any raw descriptor; an owned one stays what it is")]
    async fn end_by_descriptor(self) {
        use tokio::io::{Interest, unix::AsyncFd};
        let Some(process) = self.descriptor() else { return };
        let Ok(process) = AsyncFd::with_interest(process, Interest::READABLE) else { return };
        // It stays readable once the process has ended.
        drop(process.readable().await);
    }

    /// A descriptor that means this process for as long as it is open, whoever gets its pid. `None`: it has ended, or it cannot
    /// be had.
    #[cfg(target_os = "linux")]
    pub(super) fn descriptor(self) -> Option<std::os::fd::OwnedFd> {
        use rustix::process::{Pid, PidfdFlags, pidfd_open};
        let pid = Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        let descriptor = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // The pid may have passed to another one before it was opened.
        self.is_alive().then_some(descriptor)
    }
}

/// `None`: there is none, or only a dead one. Errors: it could not be looked at.
#[cfg(target_os = "linux")]
fn start_time(pid: u32) -> io::Result<Option<u64>> {
    Ok(super::stat::stat(pid)?.map(|stat| stat.starttime))
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

    #[cfg(unix)]
    #[tokio::test]
    async fn the_end_of_a_process_is_noticed_whoever_its_parent_is() {
        use crate::process::{ProcessSpec, Signal, run_to_end, signal_process};
        // The shell ends at once: the sleeper is nobody's child here.
        let spec = ProcessSpec {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), "setsid sleep 600 >/dev/null 2>&1 & echo $!".into()],
            env: vec![],
            env_remove: vec![],
            cwd: None,
        };
        let said = run_to_end(&spec, Duration::from_secs(60)).await.unwrap().stdout;
        let sleeper = Identity::of(said.trim().parse().unwrap()).unwrap();
        let end = tokio::spawn(sleeper.end());
        tokio::task::yield_now().await;
        assert!(!end.is_finished() && sleeper.is_alive());
        // A pid with another start is somebody else, who is not signalled.
        signal_process(Identity { started: sleeper.started + 1, ..sleeper }, Signal::Kill);
        assert!(sleeper.is_alive());
        signal_process(sleeper, Signal::Terminate);
        tokio::time::timeout(Duration::from_secs(60), end).await.unwrap().unwrap();
        assert!(sleeper.has_ended());
        // One that has ended already is not waited for.
        sleeper.end().await;
    }
}
