//! The one error that crosses a door: a closed code, a sentence, and what to do next.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// What went wrong, as a closed list. Views choose words and exit codes by it, never by the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum ErrorCode {
    /// The call itself makes no sense (wrong shape, empty name, number out of range).
    InvalidCall,
    /// No such model, server, run or answer.
    NotFound,
    /// The name fits several things; the message lists them.
    Ambiguous,
    /// Something else is under way that must end first.
    Busy,
    /// Other programs use the machine, so that nothing can be measured.
    NotQuiet,
    /// The server belongs to somebody else and Pilothouse may not do this to it.
    NotOurs,
    /// The server's program is not on this machine.
    NotInstalled,
    /// The memory would not suffice.
    DoesNotFit,
    /// It is pinned: it leaves memory only once a person has let go of it.
    Pinned,
    /// The server cannot do this at all.
    Unsupported,
    /// Somebody cancelled it.
    Cancelled,
    /// It took longer than its bound.
    TimedOut,
    /// Nothing answers at the server's address.
    Unreachable,
    /// The server answered with an error of its own.
    ServerError,
    /// The server answered something that is not its protocol.
    BadAnswer,
    /// The server refused the key or token.
    Unauthorized,
    /// A model could not be loaded.
    LoadFailed,
    /// A loaded model gave no token.
    ProofFailed,
    /// The port is held by another program.
    PortTaken,
    /// The server's process ended.
    ServerCrashed,
    /// The program was built for a newer processor than this one.
    CpuTooOld,
    /// A download failed; it can be resumed.
    DownloadFailed,
    /// A file is not the one that was expected.
    HashMismatch,
    /// The settings file has a mistake; the last good settings stay in force.
    SettingsInvalid,
    /// Changed settings are in force only after a restart of Pilothouse.
    RestartNeeded,
    /// A folder that the settings name is not there.
    FolderMissing,
    /// The database cannot be used; everything else goes on.
    StoreUnavailable,
    /// Switches cannot be written down for the time being; they go on without.
    NotJournalled,
    /// A source of readings (a driver, the Docker engine) does not answer; its readings are missing.
    SourceSilent,
    /// The OpenTelemetry collector of the settings is not told of requests; they are in the history all the same.
    SpansLost,
    /// The keys of a shortcut cannot be heard: another program has them, or the desktop gives them to nobody.
    ShortcutNotHeard,
    /// No model is active.
    NoActiveModel,
    /// No engine runs.
    NotRunning,
    /// Another engine runs on the same data directory.
    AlreadyRunning,
    /// The operating system refused (file, permission, disk).
    System,
    /// A mistake of Pilothouse itself.
    Internal,
}

impl ErrorCode {
    /// The exit code of the command line for this error (cli.md: 1 failed, 2 usage, 3 no engine, 4 not found,
    /// 5 refused, 130 cancelled).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::InvalidCall => 2,
            Self::NotRunning => 3,
            Self::NotFound | Self::Ambiguous => 4,
            Self::Busy
            | Self::NotQuiet
            | Self::NotOurs
            | Self::DoesNotFit
            | Self::Pinned
            | Self::Unsupported => 5,
            Self::Cancelled => 130,
            _ => 1,
        }
    }
}

/// An error as every view gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS, thiserror::Error)]
#[error("{message}")]
#[ts(export)]
pub struct ApiError {
    pub code: ErrorCode,
    /// What happened and what still holds, one or two plain sentences.
    pub message: String,
    /// What to do next, when something can be done.
    pub hint: Option<String>,
    /// Whether the same call may succeed later without any change.
    pub retry: bool,
}

impl ApiError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, retry: false }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what the server itself said last; what stands there already is not said twice.
    #[must_use]
    pub fn quoting(mut self, said: Option<&str>) -> Self {
        if let Some(said) = said.filter(|said| !self.message.contains(said)) {
            self.message = format!("{} It says: “{said}”.", self.message.trim_end());
        }
        self
    }

    /// Marks the error as one that may pass by itself.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retry = true;
        self
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }

    pub fn cancelled(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Cancelled, message)
    }
}

/// A text that says what it is about; where it names that itself, the name is not said twice.
pub fn about(head: &str, names: &[&str], text: &str) -> String {
    let named = names.iter().any(|name| !name.is_empty() && text.contains(name));
    if named { text.to_owned() } else { format!("{head}: {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_said_once() {
        for (text, wanted) in [
            ("Ollama could not load it: out of memory.", "Gemma 3: Ollama could not load it: out of memory."),
            ("Gemma 3 gave no token.", "Gemma 3 gave no token."),
            ("Ollama loaded gemma3 and dropped it again.", "Ollama loaded gemma3 and dropped it again."),
            ("", "Gemma 3: "),
        ] {
            assert_eq!(about("Gemma 3", &["Gemma 3", "gemma3", ""], text), wanted);
        }
    }

    #[test]
    fn the_servers_own_words_are_quoted_once() {
        let error = || ApiError::new(ErrorCode::LoadFailed, "llama-server ended while loading x (code 1).");
        let said = "model is corrupted or incomplete";
        let quoting = error().quoting(Some(said));
        let wanted =
            "llama-server ended while loading x (code 1). It says: “model is corrupted or incomplete”.";
        assert_eq!(quoting.message, wanted);
        assert_eq!(quoting.quoting(Some(said)).message, wanted);
        assert_eq!(error().quoting(None), error());
    }
}
