//! What a server is: its kind, its address, who owns it, what it can do.

use serde::{Deserialize, Serialize};
use std::fmt;
use ts_rs::TS;

/// The programs that Pilothouse knows how to talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, TS)]
#[ts(export)]
pub enum ServerKind {
    #[serde(rename = "llama-server")]
    LlamaServer,
    #[serde(rename = "ollama")]
    Ollama,
    #[serde(rename = "lmstudio")]
    LmStudio,
    /// Any OpenAI-compatible endpoint.
    #[serde(rename = "openai")]
    OpenAi,
}

impl ServerKind {
    /// The name as JSON, SQL and the command line spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LlamaServer => "llama-server",
            Self::Ollama => "ollama",
            Self::LmStudio => "lmstudio",
            Self::OpenAi => "openai",
        }
    }

    /// The name as people read it.
    pub fn title(self) -> &'static str {
        match self {
            Self::LlamaServer => "llama-server",
            Self::Ollama => "Ollama",
            Self::LmStudio => "LM Studio",
            Self::OpenAi => "OpenAI-compatible",
        }
    }
}

impl fmt::Display for ServerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The stable name of one supervised server, as used in calls and settings: "llama-server", "ollama", "lmstudio", or the
/// name of a remote one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, TS)]
#[serde(transparent)]
#[ts(export)]
pub struct ServerId(pub String);

impl ServerId {
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows in `text` behind `<this server>/`.
    pub fn named_in<'a>(&self, text: &'a str) -> Option<&'a str> {
        text.strip_prefix(&self.0)?.strip_prefix('/')
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who is responsible for the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "lowercase")]
#[ts(export)]
pub enum Ownership {
    /// Started by Pilothouse, stopped with it.
    Ours,
    /// Found running: watched and used, never killed on quit.
    Adopted,
    /// Named in the settings, mostly on another machine: watched and used, never started or stopped.
    Remote,
}

/// The program behind a server whose HTTP side can be off while it runs: LM Studio's app or its daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Backend {
    /// Which of the product's programs it is ("llmster", "LM Studio", "Bionic").
    pub title: String,
    pub version: Option<String>,
    pub pid: Option<u32>,
}

/// A server's key or token as somebody gave it. Its `Debug` form hides it, so that no log can show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(transparent)]
#[ts(export)]
pub struct KeyText(pub String);

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(…)")
    }
}

/// Where a server's key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum KeyPlace {
    /// The keyring of the system.
    Keyring,
    /// A file in the data folder that only its owner can read: there is no keyring, or the home is portable.
    File,
}

/// What a server can do or tell. What is false is shown as "not reported" or not offered at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Abilities {
    /// Pilothouse can start it here.
    pub start: bool,
    /// Pilothouse can stop it.
    pub stop: bool,
    pub load: bool,
    pub unload: bool,
    /// Tells the fraction of a load that is done.
    pub load_progress: bool,
    /// Tells the memory that an instance takes.
    pub instance_memory: bool,
    /// Tells the context length of an instance.
    pub instance_context: bool,
    /// Tells when an idle instance will be unloaded.
    pub instance_expiry: bool,
    /// Gives its own timings with an answer.
    pub timings: bool,
    /// Lists the sizes of models on disk.
    pub model_size: bool,
    /// Takes a key or token that a person can give.
    pub key: bool,
    /// One of somebody else runs, and a person may have it ended and replaced by one of Pilothouse's.
    pub take_over: bool,
    /// Whether a client that leaves ends its answer at once, whatever kind of request it was; only a batch of the prompt that is
    /// being read is read to its end. Where that is not so, a slot can stay busy with an answer that nobody waits for.
    pub cancels: bool,
    /// Holds several copies of one model in memory, each with a name of its own.
    #[serde(default)]
    pub copies: bool,
    #[serde(default)]
    pub loads_with: LoadsWith,
}

/// Which settings of its own a model can be given with a load, as the server runs now or would be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct LoadsWith {
    /// Tokens per request.
    pub context: bool,
    /// Requests at a time.
    pub parallel: bool,
    /// How keys and values are kept.
    pub kv_type: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_spelled_the_same_in_json_and_text() {
        for kind in [ServerKind::LlamaServer, ServerKind::Ollama, ServerKind::LmStudio, ServerKind::OpenAi] {
            assert_eq!(serde_json::to_value(kind).unwrap(), serde_json::json!(kind.as_str()));
        }
    }
}
