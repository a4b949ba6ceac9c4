use super::Child;
use pilothouse_domain::hang::ProcessWork;
use std::{ffi::OsString, fmt, path::PathBuf};

/// A program to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSpec {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// Added to the cleaned environment (see `process::environment`).
    pub env: Vec<(OsString, OsString)>,
    /// Names (or beginnings, with a trailing `*`) that the child must not inherit.
    pub env_remove: Vec<String>,
    pub cwd: Option<PathBuf>,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.signal, self.code) {
            (Some(signal), _) => write!(f, "ended by signal {signal}"),
            (None, Some(code)) => write!(f, "ended with code {code}"),
            (None, None) => f.write_str("ended"),
        }
    }
}

/// What the system tells of processes and of those who listen. Blocking.
pub trait Processes: Send + Sync {
    /// The direct children that are alive. `None`: not told.
    fn children(&self, parent: u32) -> Option<Vec<Child>>;
    /// What a process and all its descendants have done since their start, read at this moment. `None`: not told, or the process
    /// is gone.
    fn work(&self, root: u32) -> Option<ProcessWork>;
    /// Whether the system refuses connections to an address, because nobody listens there. `false` when that cannot be told.
    fn refuses(&self, base_url: &str) -> bool;
}
