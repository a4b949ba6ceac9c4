//! What actors tell the hub.

use pilothouse_domain::{
    Timestamp,
    bench::{BenchProgress, Run},
    container::Containers,
    discovery::Discovered,
    endpoint::Endpoint,
    error::{ApiError, ErrorCode},
    fit::{ModelNeed, NoNeed},
    gauge::Gauges,
    machine::Machine,
    model::{Instance, Model, ModelRef},
    notice::Notice,
    scene::{Arranging, OnRequest, Priority, RoleView, SceneSettings, UndoView},
    server::ServerId,
    settings::TraySettings,
    snapshot::{ServerView, SetupView},
    switch::{Active, SwitchReport, Switching},
    traffic::TrafficNow,
};
use std::collections::BTreeMap;

/// What an actor tells.
#[derive(Debug, Clone)]
pub enum Report {
    Server {
        view: ServerView,
        openai: Option<Endpoint>,
    },
    /// What runs on this machine.
    Discovered(Vec<Discovered>),
    /// It is no longer in the settings.
    ServerGone(ServerId),
    Models {
        server: ServerId,
        models: Vec<Model>,
    },
    Instances {
        server: ServerId,
        instances: Vec<Instance>,
    },
    /// How many answers of the active model are under way, and how many requests wait.
    Traffic {
        answering: u32,
        waiting: u32,
    },
    /// Requests through the one address that are under way.
    Requests(TrafficNow),
    /// How long loads of a model take, in seconds.
    LoadTime {
        model: ModelRef,
        seconds: f64,
    },
    /// What is active, and whether it can answer.
    Active {
        active: Option<Active>,
        standing: Standing,
    },
    Switching(Option<Switching>),
    /// What is held in memory beside the active model.
    Arrangement(ArrangementView),
    Pins(Vec<ModelRef>),
    OnRequest(Vec<OnRequest>),
    Arranging(Option<Arranging>),
    Undo(Option<UndoView>),
    /// Scenes and names of the settings.
    Names(Names),
    Switched(SwitchReport),
    Gauges(Gauges),
    /// How the tray shall be drawn.
    Tray(TraySettings),
    /// The hardware, read once.
    Machine(Machine),
    /// What models would take, by `<server>/<name>`; why that is not known.
    Needs(BTreeMap<String, Result<ModelNeed, NoNeed>>),
    /// Or why there are none.
    Containers(Result<Containers, String>),
    Bench(Option<BenchProgress>),
    LastRun(Run),
    Notice(Notice),
    /// Without an id: all of them.
    Dismiss(Option<u64>),
    Setup(SetupView),
    Doors {
        gateway: Result<String, String>,
        /// Where Ollama's own API is spoken.
        ollama: Result<String, String>,
        /// Where containers reach it.
        bridges: Vec<String>,
        /// Where containers reach it in Ollama's words.
        ollama_bridges: Vec<String>,
        web: Option<String>,
    },
    /// Something about Pilothouse itself is wrong; the code says which thing.
    Trouble(ApiError),
    TroubleOver(ErrorCode),
    /// Just this one, whatever else has its code.
    TroubleSolved(ApiError),
}

/// The roles that residency holds models for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ArrangementView {
    /// The scene in force.
    pub scene: Option<String>,
    /// Of the role that `active` follows.
    pub lead_priority: Priority,
    pub roles: Vec<RoleView>,
    pub restore_at: Option<Timestamp>,
    /// Models that were active, the newest first.
    pub recent: Vec<ModelRef>,
}

/// What the settings say that programs may ask by.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Names {
    pub scenes: BTreeMap<String, SceneSettings>,
    pub aliases: BTreeMap<String, String>,
    pub loads_on_request: bool,
}

/// Whether requests may go to the active model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Open,
    /// Not until a switch or a restoration has ended: they wait.
    Held,
    /// It is active and cannot answer, in words.
    Refusing(String),
}
