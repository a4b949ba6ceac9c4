//! The only place that spawns. Every child stands in a process group of its own, gets a cleaned environment and a
//! closed stdin, and is known by pid and start time.

mod callers;
mod child;
mod children;
mod descriptors;
mod environment;
mod identity;
mod listener;
mod login_path;
mod output;
mod program;
mod run;
mod spawn;
mod spec;
#[cfg(target_os = "linux")]
pub(crate) mod stat;
mod times;
mod work;

pub use callers::callers;
pub use child::OwnedProcess;
pub use children::{Child, children, command_line};
pub use descriptors::{descriptor_limit, raise_descriptor_limit};
pub use identity::Identity;
pub use listener::{Holder, Keeper, listener, listeners};
pub use login_path::login_path;
pub use output::{OutputTail, output_file};
pub use program::Caller;
pub use run::{Finished, let_go, run_blocking, run_to_end, run_until};
pub use spec::{Exit, ProcessSpec, Processes};
pub use times::cpu_times;
pub use work::work_of_tree;

use pilothouse_domain::hang::ProcessWork;
use std::process::ExitStatus;

/// What this system tells of its processes.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThisSystem;

impl Processes for ThisSystem {
    fn children(&self, parent: u32) -> Option<Vec<Child>> {
        children(parent)
    }

    fn work(&self, root: u32) -> Option<ProcessWork> {
        work_of_tree(root)
    }

    fn refuses(&self, base_url: &str) -> bool {
        crate::connect::is_refused(base_url)
    }
}

/// What a process can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Please end.
    Terminate,
    Kill,
}

/// The command for a spec: own process group, cleaned environment.
#[expect(clippy::disallowed_methods, reason = "this is the place that the lint points to")]
fn command(spec: &ProcessSpec) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(&spec.program);
    command.args(&spec.args).env_clear().envs(environment::build(spec));
    if let Some(cwd) = &spec.cwd {
        command.current_dir(cwd);
    }
    #[cfg(unix)]
    command.process_group(0);
    command
}

fn exit_of(status: ExitStatus) -> Exit {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal = None;
    Exit { code: status.code(), signal }
}

#[cfg(unix)]
impl Signal {
    fn number(self) -> rustix::process::Signal {
        match self {
            Self::Terminate => rustix::process::Signal::TERM,
            Self::Kill => rustix::process::Signal::KILL,
        }
    }
}

/// The number of a process or group that may be signalled: never 0 (our own group) or 1.
#[cfg(unix)]
fn number(pid: u32) -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(i32::try_from(pid).ok().filter(|pid| *pid > 1)?)
}

/// Signals a whole process group; that it is gone already is no error.
#[cfg(unix)]
pub(crate) fn signal_group(group: u32, signal: Signal) {
    if let Some(group) = number(group) {
        let _ = rustix::process::kill_process_group(group, signal.number());
    }
}

/// Signals one process, unless its pid has passed to another one.
#[cfg(unix)]
pub fn signal_process(identity: Identity, signal: Signal) {
    #[cfg(target_os = "linux")]
    if let Some(process) = identity.descriptor() {
        let _ = rustix::process::pidfd_send_signal(&process, signal.number());
        return;
    }
    if let Some(pid) = number(identity.pid).filter(|_| identity.is_alive()) {
        let _ = rustix::process::kill_process(pid, signal.number());
    }
}

#[cfg(not(unix))]
pub fn signal_process(_identity: Identity, _signal: Signal) {}

#[cfg(not(unix))]
pub(crate) fn signal_group(_group: u32, _signal: Signal) {}
