//! Processes of a test, each the leader of a group of its own, so that all it starts can be stopped with it.

use std::{
    ffi::OsStr,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

/// A command whose process will lead its own group.
#[expect(clippy::disallowed_methods, reason = "the tests start a desktop, which is no work of the engine")]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.process_group(0);
    command
}

/// A running process with its group; stopped when dropped.
pub struct Group {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Group {
    pub fn spawn(command: &mut Command) -> Self {
        let child = command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
        Self { child, ended: None }
    }

    pub fn pid(&self) -> i32 {
        self.number()
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// How it ended, or `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended
    }

    pub fn terminate(&self) {
        signal(-self.number(), libc::SIGTERM);
    }

    /// SIGKILL to the leader alone: what it started goes on.
    pub fn kill_leader(&mut self) {
        signal(self.number(), libc::SIGKILL);
        self.ended = self.child.wait().ok();
    }

    fn number(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// SIGTERM, and SIGKILL after ten seconds. Waits until the leader is gone.
    pub fn stop(&mut self) {
        if self.ended().is_none() {
            self.terminate();
            let deadline = Instant::now() + Duration::from_secs(10);
            while self.ended().is_none() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if self.ended().is_none() {
            signal(-self.number(), libc::SIGKILL);
            self.ended = self.child.wait().ok();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Sends a signal; a process (or, negative, a group) that is gone is no mistake.
#[expect(unsafe_code, reason = "the standard library sends no signal but SIGKILL")]
pub fn signal(pid: i32, signal: i32) {
    // SAFETY: kill takes plain numbers; the pid is that of a process started by this test.
    unsafe { libc::kill(pid, signal) };
}

/// All processes that were started with `name=value` in their environment, whoever their parent is now: pid and name.
pub fn marked(name: &str, value: &str) -> Vec<(i32, String)> {
    let wanted = format!("{name}={value}");
    let mut hits = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes()) {
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            hits.push((pid, name.trim().to_owned()));
        }
    }
    hits
}

/// The parent of a process; `None` when it is gone.
pub fn parent(pid: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Sets how many descriptors a running process may have open; the hard limit stays as it is.
#[expect(unsafe_code, reason = "the standard library has no limits")]
pub fn limit_descriptors(pid: i32, most: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read and write the struct beside them and nothing else; the pid is that of a test's process.
    unsafe {
        assert_eq!(libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &mut limit), 0);
        limit.rlim_cur = most.min(limit.rlim_max);
        assert_eq!(libc::prlimit(pid, libc::RLIMIT_NOFILE, &limit, std::ptr::null_mut()), 0);
    }
}
