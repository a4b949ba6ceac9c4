//! What is known of a kind of server: where its program is, how it is started, how to talk to it.

use crate::ServerClient;
use async_trait::async_trait;
use pilothouse_domain::{
    endpoint::Endpoint,
    error::ApiError,
    model::LoadSettings,
    server::{Abilities, Backend, Ownership, ServerId, ServerKind},
    settings::ServersSettings,
};
use pilothouse_system::{
    model_files::ModelFiles,
    process::{Exit, ProcessSpec},
};
use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

/// Whether a server's program is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installation {
    Installed {
        program: PathBuf,
        /// As far as it can be told without starting anything.
        version: Option<String>,
    },
    NotInstalled {
        reason: String,
        hint: String,
    },
}

/// A running server that answered at its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub endpoint: Endpoint,
    pub version: Option<String>,
    /// The process that listens there, if it can be told.
    pub pid: Option<u32>,
    /// Who keeps that process, in words ("kept by systemd, unit ollama.service"), if it can be told.
    pub keeper: Option<String>,
    /// Only its owner can end it.
    pub left_to_owner: bool,
    pub log: Option<ForeignLog>,
}

/// Where a server that somebody else started writes what it has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForeignLog {
    File(PathBuf),
    /// The newest file in the folders of this one. Only lines with a time are shown: the others may hold prompts.
    NewestHeads(PathBuf),
    /// This command of its owner shows it ("journalctl -u ollama.service").
    Command(String),
}

impl fmt::Display for ForeignLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::NewestHeads(folder) => write!(f, "the folder {}", folder.display()),
            Self::Command(command) => write!(f, "“{command}”"),
        }
    }
}

/// How a server is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launch {
    /// Our own child process; it serves at `endpoint` until it is stopped.
    Own {
        process: ProcessSpec,
        endpoint: Endpoint,
        /// Files that live as long as the process (a key file).
        files: Vec<PathBuf>,
    },
    /// The product's own command makes the product start itself; the result is an adopted server.
    Ask { commands: Vec<ProcessSpec> },
}

/// Knows one kind of server: where its program is, how to start it, how to talk to it.
#[async_trait]
pub trait ServerAdapter: Send + Sync {
    fn id(&self) -> ServerId;
    fn kind(&self) -> ServerKind;
    /// The name as people read it.
    fn title(&self) -> String {
        self.kind().title().to_owned()
    }
    fn abilities(&self) -> Abilities;
    /// What one is that `find_running` finds: `Adopted`, or `Remote`. A remote one is found always, whether it answers or
    /// not.
    fn found_as(&self) -> Ownership {
        Ownership::Adopted
    }
    /// Looks for the program. Never starts anything that serves.
    async fn locate(&self) -> Installation;
    /// Looks for a server that runs already and that nobody here started. Never wakes one up.
    async fn find_running(&self) -> Option<Found>;
    /// The program behind a server that can be off while that runs. Never wakes it up.
    async fn backend(&self) -> Option<Backend> {
        None
    }
    /// The port of the settings and the key that sets it, when it is a fixed one: there a stranger may sit.
    fn fixed_port(&self) -> Option<(u16, &'static str)> {
        None
    }
    /// Whether one of somebody else at that port can be ended and replaced by one of ours, when a person wants it.
    fn can_take_over(&self) -> bool {
        false
    }
    /// Whether a child of the server's process holds a model: its death is the loss of that model, also where the
    /// server goes on listing it.
    fn is_runner(&self, _command_line: &[String]) -> bool {
        false
    }
    /// Whether the command line of such a child names this model.
    async fn is_runner_of(&self, _command_line: &[String], _model: &str) -> bool {
        false
    }
    /// Whether a line of its output tells that it works. What it writes for every question that is asked tells nothing: health
    /// checks ask all the time.
    fn tells_of_work(&self, _line: &str) -> bool {
        true
    }
    /// Where the weights of a model lie, as far as this user may know. `None`: on another machine, or in a folder of somebody
    /// else's.
    async fn model_files(&self, _model: &str) -> Option<ModelFiles> {
        None
    }
    /// How one of ours loads a model, as the settings say: "kv_type", "flash_attention", "gpu_layers", "batch", "parallel",
    /// "draft_model". What is left to the server is left out.
    fn loads_with(&self, _model: &str) -> BTreeMap<&'static str, String> {
        BTreeMap::new()
    }
    /// What of this one that has yet to be started could not be given with a load, as its client would say then and as far as that is
    /// known before. Errors: unsupported.
    fn cannot_load_with_once_started(&self, _with: &LoadSettings) -> Option<ApiError> {
        None
    }
    /// Takes over the settings by which it starts and loads from now on; what runs already goes on as it is.
    fn take_settings(&self, _servers: &ServersSettings) {}
    /// What to run to start it. May write the files it names. Errors: not_installed, port_taken, unsupported,
    /// cpu_too_old, system.
    async fn launch(&self, installation: &Installation) -> Result<Launch, ApiError>;
    /// Commands that make an adopted server stop, when its product has some.
    async fn stop_commands(&self, installation: &Installation) -> Option<Vec<ProcessSpec>>;
    fn client(&self, endpoint: &Endpoint) -> Arc<dyn ServerClient>;
    /// Longest time from start to the first answered probe.
    fn start_limit(&self) -> std::time::Duration;
    /// Turns the end of a process into words a person understands (`signal` 4 = built for a newer CPU).
    fn explain_exit(&self, exit: &Exit, last_lines: &[String]) -> ApiError;
}
