//! What is asked of the system's keyring, and why it may not answer.

use futures_util::future::BoxFuture;
use std::fmt;

/// The name of Pilothouse in the keyring.
pub(super) const SERVICE: &str = "pilothouse";

pub(super) type Answer<T> = BoxFuture<'static, Result<T, Fault>>;

/// Secrets by the name of their user, which is a server's id. Nobody but `unlock` asks a person for anything, where the
/// system lets us say so. No answer comes in a bounded time by itself.
pub(super) trait Keyring: Send + Sync {
    /// `None`: there is no such entry.
    fn read(&self, user: String) -> Answer<Option<String>>;
    fn write(&self, user: String, key: String) -> Answer<()>;
    /// Whether there was one.
    fn remove(&self, user: String) -> Answer<bool>;
    /// Lets the system ask its owner for the password, if it has to.
    fn unlock(&self, user: String) -> Answer<()>;
}

/// Why a keyring gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// None runs, or there is no session in which it would.
    Absent,
    /// `holds`: it is known to hold what was asked for.
    Locked {
        holds: bool,
    },
    Silent,
    /// In the system's words.
    Broken(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("no keyring runs in this session"),
            Self::Locked { .. } => f.write_str("the keyring is locked"),
            Self::Silent => f.write_str("the keyring does not answer"),
            Self::Broken(words) => f.write_str(words),
        }
    }
}

impl Fault {
    pub fn way_out(&self) -> &'static str {
        match self {
            Self::Absent => "Start the session's keyring, then try again.",
            Self::Locked { .. } => "Unlock the keyring, then try again.",
            Self::Silent | Self::Broken(_) => {
                "Look at the keyring with your desktop's program for passwords, then try again."
            }
        }
    }
}
