//! The read model: everything that a view may draw, under one revision number.

use crate::{
    Timestamp,
    bench::{BenchProgress, Run},
    container::Containers,
    discovery::Discovered,
    error::ApiError,
    gauge::{Gauges, GpuReading},
    ledger::{KnownServer, Ledger, Readings},
    lifecycle::ServerState,
    model::{Instance, Model, ModelRef},
    notice::Notice,
    scene::{Arranging, OnRequest, RoleView, SceneView, UndoView},
    server::{Abilities, Backend, Ownership, ServerId, ServerKind},
    settings::TraySettings,
    standing::{ActiveStanding, ServerStanding, Standing},
    switch::{Active, SwitchReport, Switching},
    traffic::TrafficNow,
};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// One supervised server as views see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ServerView {
    pub id: ServerId,
    pub kind: ServerKind,
    /// The name as people read it.
    pub title: String,
    /// `None` while it does not run.
    pub ownership: Option<Ownership>,
    pub state: ServerState,
    /// Why it stands there, when that needs saying.
    pub reason: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    pub endpoint: Option<String>,
    pub version: Option<String>,
    pub pid: Option<u32>,
    /// Who keeps a process that is not ours, in words ("kept by systemd, unit ollama.service"), if it can be told.
    pub keeper: Option<String>,
    /// The program that is started, or that was found running.
    pub program: Option<String>,
    /// The program behind it, for a product whose HTTP server can be off while that runs.
    pub backend: Option<Backend>,
    /// Restarts after a crash since Pilothouse started.
    pub restarts: u32,
    pub abilities: Abilities,
    /// When the state was entered.
    #[ts(type = "string")]
    pub since: Timestamp,
    /// What that means, as every view says it.
    #[serde(default)]
    pub standing: ServerStanding,
}

/// A model with what views need beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ModelView {
    /// `<server>/<name>`.
    pub id: String,
    #[serde(flatten)]
    pub model: Model,
    pub loaded: bool,
    pub active: bool,
    /// `None`: not known.
    pub fits: Option<bool>,
    pub fits_reason: String,
    /// Memory that it would take with the settings in force, reckoned or learned from earlier loads.
    pub needed_bytes: Option<u64>,
    /// That is in the machine's memory, although there is a GPU with memory of its own.
    #[serde(default)]
    pub off_card: bool,
    /// What holds for it, and what a click on it does.
    #[serde(default)]
    pub standing: Standing,
}

/// The first start's question: is there anything that can answer?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SetupView {
    /// The embedded server's program is there.
    pub server_present: bool,
    /// At least one model for it is there.
    pub model_present: bool,
    /// A fetch under way.
    pub progress: Option<SetupProgress>,
    pub error: Option<ApiError>,
}

/// A fetch under way. Bytes over all files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SetupProgress {
    /// What is being done ("Fetching llama-server", "Building llama-server").
    pub what: String,
    pub done_bytes: u64,
    /// `None` when it is not known (a build).
    pub total_bytes: Option<u64>,
}

/// Where this engine is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct EngineView {
    pub version: String,
    pub pid: u32,
    #[ts(type = "string")]
    pub started_at: Timestamp,
    /// The address for client programs (`http://127.0.0.1:<port>/v1`).
    pub gateway: Option<String>,
    /// Why there is none.
    pub gateway_absent: Option<String>,
    /// Where programs that only know Ollama are answered, without a path (`http://127.0.0.1:<port>`).
    pub gateway_ollama: Option<String>,
    /// Why they are nowhere.
    pub gateway_ollama_absent: Option<String>,
    /// `gateway` on bridges of containers (`gateway.container_bridges`), where every program needs a key.
    #[serde(default)]
    pub gateway_bridges: Vec<String>,
    /// `gateway_ollama` on them, with a key as well.
    #[serde(default)]
    pub gateway_ollama_bridges: Vec<String>,
    /// The address of the web UI, without its token.
    pub web: Option<String>,
    pub data_dir: String,
    pub settings_file: String,
    /// How the tray draws its gauge; in the snapshot, so that a change of the settings is drawn at once.
    pub tray: TraySettings,
}

/// The state of everything at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Snapshot {
    pub schema: u32,
    /// Grows by one with each change.
    pub revision: u64,
    #[ts(type = "string")]
    pub at: Timestamp,
    pub engine: EngineView,
    pub active: Option<Active>,
    /// Why the active model cannot answer although no switch is under way; requests are refused with these words.
    #[serde(default)]
    pub active_absent: Option<String>,
    /// What holds for the active model, as every view says it.
    #[serde(default)]
    pub standing: ActiveStanding,
    pub switching: Option<Switching>,
    /// A scene on its way, or a single model beside the active one.
    #[serde(default)]
    pub arranging: Option<Arranging>,
    /// The roles in force, by name.
    #[serde(default)]
    pub roles: Vec<RoleView>,
    /// Those of the settings, in their order.
    #[serde(default)]
    pub scenes: Vec<SceneView>,
    /// When the built-in scene “Restore” brings memory back to; `None`: there is nothing to bring back.
    #[serde(default)]
    #[ts(type = "string | null")]
    pub restore_at: Option<Timestamp>,
    /// Models that were active, the newest first, the present one included; a few.
    #[serde(default)]
    pub recent: Vec<ModelRef>,
    /// Models that no other takes the memory of.
    #[serde(default)]
    pub pins: Vec<ModelRef>,
    /// What was loaded because programs asked for it.
    #[serde(default)]
    pub on_request: Vec<OnRequest>,
    /// What can be taken back now.
    #[serde(default)]
    pub undo: Option<UndoView>,
    /// The last switch that ended.
    pub last_switch: Option<SwitchReport>,
    pub servers: Vec<ServerView>,
    /// What the last look found on this machine, known or not; the first one is taken soon after the start.
    pub discovered: Vec<Discovered>,
    pub models: Vec<ModelView>,
    pub instances: Vec<Instance>,
    pub gauges: Option<Gauges>,
    /// Who holds how much memory; drawn up from each sample of the gauges.
    pub ledger: Option<Ledger>,
    pub containers: Option<Containers>,
    /// Why there are none: no Docker, no right to ask it, no answer. Both are `None` until it was looked for.
    pub containers_absent: Option<String>,
    /// Requests through the one address that are under way.
    #[serde(default)]
    pub traffic: TrafficNow,
    pub bench: Option<BenchProgress>,
    pub last_run: Option<Run>,
    /// Newest first.
    pub notices: Vec<Notice>,
    pub setup: SetupView,
    /// What is wrong with Pilothouse itself right now (settings file, database, gateway port).
    pub troubles: Vec<ApiError>,
}

impl Snapshot {
    /// Whether an instance computes on the processor although there is a card: it holds nothing of any. `None`: that cannot
    /// be told (no card, a list of processes with gaps, no process known).
    pub fn is_off_card(&self, instance: &Instance) -> Option<bool> {
        let gauges = self.gauges.as_ref()?;
        let mut cards = gauges.gpus.iter().filter(|gpu| gpu.own_memory_bytes().is_some()).peekable();
        cards.peek()?;
        if let Some(bytes) = instance.gpu_memory_bytes {
            return Some(bytes == 0);
        }
        let pid = instance.pid?;
        let cards: Vec<_> = cards.collect();
        // Listed is enough: a driver may keep to itself how much it is.
        if cards.iter().any(|card| card.processes.iter().any(|process| process.pid == pid)) {
            return Some(false);
        }
        let told = |card: &&GpuReading| card.processes_absent.is_none() && card.absent.is_none();
        cards.iter().all(told).then_some(true)
    }

    /// Copies in memory that nobody needs beside another one of the same model.
    pub fn extra_copies(&self) -> Vec<&Instance> {
        let active = self.active.iter().map(|active| (active.server.clone(), active.instance.clone()));
        let roles = self
            .roles
            .iter()
            .filter_map(|role| Some((role.held.model.server.clone(), role.held.instance.clone()?)));
        let asked = self.on_request.iter().map(|one| (one.model.server.clone(), one.instance.clone()));
        crate::residency::extra_copies(&self.instances, &active.chain(roles).chain(asked).collect())
    }

    /// Whether a server is a remote one: what it has in memory is not told.
    pub fn is_remote(&self, id: &ServerId) -> bool {
        self.server(id).is_some_and(|server| server.ownership == Some(Ownership::Remote))
    }

    /// Whether a server runs on another machine. A remote one with a process here uses this machine's memory all the same.
    pub fn is_elsewhere(&self, id: &ServerId) -> bool {
        self.is_remote(id) && self.server(id).is_some_and(|server| server.pid.is_none())
    }

    /// What a ledger is drawn up from. `None`: nothing has been sampled yet.
    pub fn readings(&self) -> Option<Readings<'_>> {
        Some(Readings {
            gauges: self.gauges.as_ref()?,
            servers: self.servers.iter().map(|server| self.known(server)).collect(),
            models: self.models.iter().map(|view| &view.model).collect(),
            instances: &self.instances,
            containers: self.containers.as_ref(),
        })
    }

    fn known<'a>(&self, server: &'a ServerView) -> KnownServer<'a> {
        KnownServer {
            id: &server.id,
            title: &server.title,
            keeper: server.keeper.as_deref(),
            elsewhere: self.is_elsewhere(&server.id),
        }
    }

    /// A snapshot of an engine that knows nothing yet.
    pub fn empty(engine: EngineView, at: Timestamp) -> Self {
        Self {
            schema: 1,
            revision: 0,
            at,
            engine,
            active: None,
            active_absent: None,
            standing: ActiveStanding::default(),
            switching: None,
            arranging: None,
            roles: vec![],
            scenes: vec![],
            restore_at: None,
            recent: vec![],
            pins: vec![],
            on_request: vec![],
            undo: None,
            last_switch: None,
            servers: vec![],
            discovered: vec![],
            models: vec![],
            instances: vec![],
            gauges: None,
            ledger: None,
            containers: None,
            containers_absent: None,
            traffic: TrafficNow::default(),
            bench: None,
            last_run: None,
            notices: vec![],
            setup: SetupView { server_present: false, model_present: false, progress: None, error: None },
            troubles: vec![],
        }
    }

    pub fn server(&self, id: &ServerId) -> Option<&ServerView> {
        self.servers.iter().find(|s| &s.id == id)
    }

    /// The title of a model, or its name when it is not listed.
    pub fn model_title(&self, server: &ServerId, name: &str) -> String {
        let hit = self.models.iter().find(|m| &m.model.server == server && m.model.name == name);
        hit.map_or_else(|| name.to_owned(), |m| m.model.title.clone())
    }

    /// The title of a server, or its id when it is not listed.
    pub fn server_title(&self, id: &ServerId) -> String {
        self.server(id).map_or_else(|| id.to_string(), |s| s.title.clone())
    }
}
