//! Small traits between the actors and the outside world, so that actors can be tested with fakes.

use crate::{model_files::ModelFiles, process::Child};
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use pilothouse_domain::{
    Timestamp,
    error::ApiError,
    gauge::Gauges,
    hang::{ProcessWork, Slot},
    model::{Instance, Model, ModelRef},
    notice::Notice,
    residency::CutOffSwitch,
    server::{Abilities, Backend, Ownership, ServerId, ServerKind},
    switch::{Active, SwitchPhase, SwitchReport},
};
use std::{ffi::OsString, fmt, path::PathBuf, sync::Arc, time::Instant};

/// A key or token. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Scheme, host and port without a trailing slash: `http://127.0.0.1:11434`.
    pub base_url: String,
    /// Sent as `Authorization: Bearer …` when there is one.
    pub key: Option<Secret>,
}

impl Endpoint {
    /// The same, at another port of the same host. An address without a host stays as it is.
    #[must_use]
    pub fn at_port(&self, port: u16) -> Self {
        let (scheme, rest) = self.base_url.split_once("://").unwrap_or(("http", &self.base_url));
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        // A colon inside brackets belongs to the address.
        let after_brackets = authority.rfind(']').map_or(0, |end| end + 1);
        let host = match authority[after_brackets..].find(':') {
            Some(colon) => &authority[..after_brackets + colon],
            None => authority,
        };
        if host.is_empty() {
            return self.clone();
        }
        Self { base_url: format!("{scheme}://{host}:{port}{path}"), key: self.key.clone() }
    }
}

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
            Self::Command(command) => write!(f, "`{command}`"),
        }
    }
}

/// A program to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSpec {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// Added to the cleaned environment (see `engine::process`).
    pub env: Vec<(OsString, OsString)>,
    /// Names (or beginnings, with a trailing `*`) that the child must not inherit.
    pub env_remove: Vec<String>,
    pub cwd: Option<PathBuf>,
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

/// Answer to a health probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    pub version: Option<String>,
}

/// What to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadRequest {
    /// The model's name on that server.
    pub model: String,
    /// Context length in tokens; `None`: the server's default.
    pub context: Option<u64>,
}

/// Gets the fraction of a load that is done, 0–1.
pub type LoadProgress = Arc<dyn Fn(f64) + Send + Sync>;

/// A prompt for one answer. Greedy and without a system text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerateRequest {
    /// The instance (or model) that shall answer.
    pub instance: String,
    pub prompt: String,
    pub max_tokens: u32,
    /// `true`: the prompt goes to the model as it is and prompt caching is off where the server allows it, as a
    /// benchmark wants; `false`: as one user message through the model's chat template.
    pub raw: bool,
}

/// A piece of an answer. `at` is the instant in which the bytes were read.
#[derive(Debug, Clone)]
pub struct GenerateEvent {
    pub at: Instant,
    /// New text, may be empty.
    pub text: String,
    /// Set on the last event.
    pub end: Option<GenerateEnd>,
}

/// What a server says at the end of an answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GenerateEnd {
    /// "stop", "length", or the server's own word.
    pub finish: Option<String>,
    pub output_tokens: Option<u32>,
    /// Prompt tokens, cached ones included.
    pub prompt_tokens: Option<u32>,
    pub cached_tokens: Option<u32>,
    /// The server's own rates.
    pub decode_tok_s: Option<f64>,
    pub prefill_tok_s: Option<f64>,
}

/// The answer of `ServerClient::generate`. Ends after the event that carries `end`; a stream that ends without it
/// was cut off. Dropping it cancels the request.
pub type GenerateStream = BoxStream<'static, Result<GenerateEvent, ApiError>>;

/// Talks to one running server. Every call has its own time limit, except `load` and `generate`: drop those futures
/// to cancel.
#[async_trait]
pub trait ServerClient: Send + Sync {
    /// Cheap; never wakes or loads anything. `Err(Unreachable)` when nothing answers, `Err(BadAnswer)` when it is
    /// another program.
    async fn health(&self) -> Result<Health, ApiError>;
    /// Models on disk.
    async fn models(&self) -> Result<Vec<Model>, ApiError>;
    /// Models in memory.
    async fn instances(&self) -> Result<Vec<Instance>, ApiError>;
    /// Loads a model, or gives the instance that is there already (never a twin). Returns when it is in memory.
    async fn load(&self, request: &LoadRequest, progress: LoadProgress) -> Result<Instance, ApiError>;
    /// Takes an instance out of memory; returns when it is gone. Not loaded is no error.
    async fn unload(&self, instance: &str) -> Result<(), ApiError>;
    async fn generate(&self, request: &GenerateRequest) -> Result<GenerateStream, ApiError>;
    /// Base of the OpenAI-compatible API (`…/v1`) and the key for it.
    fn openai(&self) -> Endpoint;
    /// The slots of the process at this port, one of the server's own that holds a model. Waits for two seconds at most.
    /// `None`: it does not tell them, or not now.
    async fn slots(&self, _port: u16) -> Option<Vec<Slot>> {
        None
    }
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

/// One server's process tree, as the sampler must look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    pub id: ServerId,
    /// The root of the tree; `None`: no process known (not running, or remote).
    pub pid: Option<u32>,
    /// Processes of the tree that hold an instance, with the instance's id.
    pub runners: Vec<(u32, String)>,
}

/// What the system tells of processes. Blocking.
pub trait Processes: Send + Sync {
    /// The direct children that are alive. `None`: not told.
    fn children(&self, parent: u32) -> Option<Vec<Child>>;
    /// What a process and all its descendants have done since their start, read at this moment. `None`: not told, or the process
    /// is gone.
    fn work(&self, root: u32) -> Option<ProcessWork>;
}

/// Takes samples. Blocking: lives on the sampler's own thread.
pub trait GaugeSource: Send {
    fn sample(&mut self, servers: &[Watched]) -> Gauges;
}

/// What residency writes down before it acts, so that the next start knows what our own death has left behind. Errors:
/// store_unavailable.
#[async_trait]
pub trait Journal: Send + Sync {
    /// A switch begins; returns its number.
    async fn begin(&self, from: Option<&Active>, to: &ModelRef, at: Timestamp) -> Result<i64, ApiError>;
    /// It enters a phase. `to_was_loaded`: whether its target was in memory before, once that is known.
    async fn mark(&self, id: i64, phase: SwitchPhase, to_was_loaded: Option<bool>) -> Result<(), ApiError>;
    /// Outcome and active model in one transaction. `clearing`: the previous model is still in memory and shall leave.
    async fn commit(&self, id: i64, active: &Active, clearing: bool) -> Result<(), ApiError>;
    /// It is over, with everything that belongs to it. An outcome that was written stays.
    async fn end(&self, report: &SwitchReport) -> Result<(), ApiError>;
    /// What a dead engine left under way, oldest first.
    async fn cut_off(&self) -> Result<Vec<CutOffSwitch>, ApiError>;
    /// Those are dealt with.
    async fn close_cut_off(&self, reason: &str) -> Result<(), ApiError>;
    /// Which model is active, for the next start.
    async fn set_active(&self, active: Option<&Active>) -> Result<(), ApiError>;
    async fn active(&self) -> Result<Option<Active>, ApiError>;
    /// Whether any switch was ever begun.
    async fn has_switches(&self) -> Result<bool, ApiError>;
    /// How long the last committed loads of a model took, in milliseconds.
    async fn load_times(&self, to: &ModelRef) -> Result<Vec<u64>, ApiError>;
    /// A model that only we have loaded must leave memory (after a measurement, or because it could not be taken out); or it
    /// has left.
    async fn set_stray(&self, model: &ModelRef, stray: bool) -> Result<(), ApiError>;
    async fn strays(&self) -> Result<Vec<ModelRef>, ApiError>;
}

/// Shows desktop notifications.
#[async_trait]
pub trait NotifyDesktop: Send + Sync {
    /// Errors when no notification server answers; the caller says so once and goes on.
    async fn show(&self, notice: &Notice) -> Result<(), String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_port_of_the_same_host_keeps_path_and_key() {
        let at =
            |base_url: &str| Endpoint { base_url: base_url.into(), key: Some(Secret::new("k")) }.at_port(9);
        for (from, to) in [
            ("http://127.0.0.1:11434", "http://127.0.0.1:9"),
            ("http://127.0.0.1:8080/v1", "http://127.0.0.1:9/v1"),
            ("http://localhost", "http://localhost:9"),
            ("https://a.b/x/v1", "https://a.b:9/x/v1"),
            ("http://[::1]:80/v1", "http://[::1]:9/v1"),
            ("http://[::1]/v1", "http://[::1]:9/v1"),
            ("http:///v1", "http:///v1"),
        ] {
            assert_eq!(at(from), Endpoint { base_url: to.into(), key: Some(Secret::new("k")) }, "{from}");
        }
    }
}
