//! Folds what actors report into one [`Snapshot`] and publishes it under one revision number.
//!
//! Actors report, views draw: nobody reads the hub to decide a change. Reports are folded at once and in order, so
//! an actor that has reported knows that routes and snapshot show it.

mod fits;
mod parts;
mod report;
mod routes;

use fits::{Drawn, Known};
use parts::Parts;
use pilothouse_domain::{
    Timestamp,
    endpoint::Endpoint,
    fit::{ModelNeed, NoNeed},
    model::{Instance, Model, ModelRef},
    scene::Priority,
    server::ServerId,
    snapshot::{EngineView, ModelView, ServerView, Snapshot},
    standing::{self, Circumstances},
    switch::SwitchOutcome,
};
use pilothouse_leases::Leases;
pub use report::{ArrangementView, Names, Report, Standing};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// The most notices that are kept.
const NOTICES: usize = 50;

struct State {
    snapshot: Snapshot,
    standing: Standing,
    /// Answers under way and requests that wait, as they were told last.
    traffic: (u32, u32),
    /// What the settings say that programs may ask by.
    names: Names,
    /// Of the role that `active` follows.
    lead_priority: Priority,
    /// By server, in the order in which the servers are shown.
    models: BTreeMap<ServerId, Vec<Model>>,
    instances: BTreeMap<ServerId, Vec<Instance>>,
    endpoints: BTreeMap<ServerId, Endpoint>,
    known: Known,
    /// Switches that ended since the start: committed, put back, cancelled.
    switches: [u64; 3],
}

/// See the module's text.
#[derive(Clone)]
pub struct Hub {
    state: Arc<Mutex<State>>,
    drawn: Arc<Mutex<Drawn>>,
    /// Of what is published or about to be.
    parts: Arc<Mutex<Parts>>,
    first_revision: u64,
    snapshots: watch::Sender<Arc<Snapshot>>,
    /// Gets the routes before `report` returns: whoever has reported knows that no lease is given by the old ones.
    leases: Leases,
}

impl Hub {
    pub fn new(engine: EngineView, leases: Leases) -> Self {
        let now = Timestamp::now();
        let mut snapshot = Snapshot::empty(engine, now);
        // Beyond the last one of every engine before: what a page knows of that is never taken for something of this one. A
        // thousand changes a second would have to be kept up for that to fail.
        let first_revision = now.as_millisecond().unsigned_abs();
        snapshot.revision = first_revision;
        let (snapshots, _) = watch::channel(Arc::new(snapshot.clone()));
        let state = State {
            snapshot,
            standing: Standing::Open,
            traffic: (0, 0),
            names: Names::default(),
            lead_priority: Priority::default(),
            models: BTreeMap::new(),
            instances: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            known: Known::default(),
            switches: [0; 3],
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            drawn: Arc::default(),
            parts: Arc::default(),
            first_revision,
            snapshots,
            leases,
        }
    }

    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// The present snapshot.
    pub fn now(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// The present snapshot, and the parts of it that are other ones than in the revision that is known. `None`: that is none
    /// of this engine's.
    pub fn since(&self, known: u64) -> (Arc<Snapshot>, Option<Map<String, Value>>) {
        // Before the parts: they may know of a younger one, and then say too much, never too little.
        let snapshot = self.now();
        let is_ours = (self.first_revision..=snapshot.revision).contains(&known);
        let parts = is_ours.then(|| self.parts().since(known, &snapshot));
        (snapshot, parts)
    }

    /// What a model takes when its server loads it as the settings say; `None`: that is not reckoned yet.
    pub fn need(&self, model: &ModelRef) -> Option<Result<ModelNeed, NoNeed>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.known.needs.get(&model.id()).cloned()
    }

    /// Seconds that the last loads of a model took.
    pub fn load_time(&self, model: &ModelRef) -> Option<f64> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.known.load_s.get(&model.id()).copied()
    }

    /// How many switches have ended since the start: committed, put back, cancelled.
    pub fn switches(&self) -> [u64; 3] {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).switches
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Folds a report and publishes what has changed by it. Routes are in force, and a snapshot that shows the report is
    /// published, when this returns.
    pub fn report(&self, report: Report) {
        let (mut snapshot, known, traffic, held) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if !state.fold(report) {
                return;
            }
            state.snapshot.revision += 1;
            state.snapshot.at = Timestamp::now();
            let routes = state.routes();
            if *self.leases.routes() != routes {
                self.leases.set_routes(Arc::new(routes));
            }
            let held = state.standing == Standing::Held;
            (state.snapshot.clone(), state.known.clone(), state.traffic, held)
        };
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner).put_into(&mut snapshot, &known);
        let (answering, waiting) = traffic;
        let load_s = Some(&*known.load_s);
        standing::fill(&mut snapshot, &Circumstances { answering, waiting, held, load_s });
        // A younger one that is out already shows this report too.
        self.snapshots.send_if_modified(|published| {
            let is_newer = snapshot.revision > published.revision;
            if is_newer {
                self.parts().note(published, &snapshot);
                *published = Arc::new(snapshot);
            }
            is_newer
        });
    }
}

/// Sets a place and tells whether that changed anything.
fn set<T: PartialEq>(place: &mut T, value: T) -> bool {
    let differs = *place != value;
    *place = value;
    differs
}

impl State {
    fn fold(&mut self, report: Report) -> bool {
        match report {
            Report::Server { view, openai } => self.fold_server(view, openai),
            Report::Discovered(found) => set(&mut self.snapshot.discovered, found),
            Report::ServerGone(id) => {
                self.snapshot.servers.retain(|server| server.id != id);
                self.endpoints.remove(&id);
                self.models.remove(&id);
                self.instances.remove(&id);
                self.derive_models()
            }
            Report::Models { server, models } => {
                set(self.models.entry(server).or_default(), models) && self.derive_models()
            }
            Report::Instances { server, instances } => {
                set(self.instances.entry(server).or_default(), instances) && self.derive_models()
            }
            Report::Traffic { answering, waiting } => set(&mut self.traffic, (answering, waiting)),
            Report::Requests(now) => set(&mut self.snapshot.traffic, now),
            Report::LoadTime { model, seconds } => {
                let id = model.id();
                let differs = self.known.load_s.get(&id) != Some(&seconds);
                if differs {
                    Arc::make_mut(&mut self.known.load_s).insert(id, seconds);
                }
                differs
            }
            Report::Active { active, standing } => {
                let absent = match &standing {
                    Standing::Refusing(why) => Some(why.clone()),
                    Standing::Open | Standing::Held => None,
                };
                let differs = set(&mut self.snapshot.active, active)
                    | set(&mut self.standing, standing)
                    | set(&mut self.snapshot.active_absent, absent);
                differs && self.derive_models()
            }
            Report::Arrangement(arrangement) => {
                let ArrangementView { scene, lead_priority, roles, restore_at, recent } = arrangement;
                let differs = set(&mut self.known.scene_in_force, scene)
                    | set(&mut self.lead_priority, lead_priority)
                    | set(&mut self.snapshot.roles, roles)
                    | set(&mut self.snapshot.restore_at, restore_at)
                    | set(&mut self.snapshot.recent, recent);
                self.known.fits_number += u64::from(differs);
                differs
            }
            Report::Pins(pins) => set(&mut self.snapshot.pins, pins),
            Report::OnRequest(models) => set(&mut self.snapshot.on_request, models),
            Report::Arranging(arranging) => set(&mut self.snapshot.arranging, arranging),
            Report::Undo(undo) => set(&mut self.snapshot.undo, undo),
            Report::Names(names) => {
                let differs = self.names != names;
                if differs {
                    self.known.scenes = Arc::new(names.scenes.clone());
                    self.known.fits_number += 1;
                    self.names = names;
                }
                differs
            }
            Report::Switching(switching) => set(&mut self.snapshot.switching, switching),
            Report::Switched(report) => {
                let count = match report.outcome {
                    SwitchOutcome::Committed => 0,
                    SwitchOutcome::RolledBack => 1,
                    SwitchOutcome::Cancelled => 2,
                };
                self.switches[count] += 1;
                set(&mut self.snapshot.last_switch, Some(report))
            }
            Report::Gauges(gauges) => {
                self.snapshot.gauges = Some(gauges);
                self.known.ledger_number += 1;
                true
            }
            Report::Tray(tray) => set(&mut self.snapshot.engine.tray, tray),
            Report::Machine(machine) => {
                self.known.machine = Some(Arc::new(machine));
                self.known.ledger_number += 1;
                true
            }
            Report::Needs(needs) => {
                let differs = *self.known.needs != needs;
                if differs {
                    self.known.needs = Arc::new(needs);
                }
                // Whether a model is damaged is found when its need is reckoned.
                differs && self.derive_models()
            }
            Report::Containers(containers) => {
                let (containers, absent) = match containers {
                    Ok(containers) => (Some(containers), None),
                    Err(reason) => (None, Some(reason)),
                };
                set(&mut self.snapshot.containers, containers)
                    | set(&mut self.snapshot.containers_absent, absent)
            }
            Report::Bench(progress) => set(&mut self.snapshot.bench, progress),
            Report::LastRun(run) => set(&mut self.snapshot.last_run, Some(run)),
            Report::Notice(notice) => {
                self.snapshot.notices.insert(0, notice);
                self.snapshot.notices.truncate(NOTICES);
                true
            }
            Report::Dismiss(id) => {
                let before = self.snapshot.notices.len();
                self.snapshot.notices.retain(|notice| id.is_some_and(|id| id != notice.id));
                before != self.snapshot.notices.len()
            }
            Report::Setup(setup) => set(&mut self.snapshot.setup, setup),
            Report::Doors { gateway, ollama, bridges, ollama_bridges, web } => {
                let engine = &mut self.snapshot.engine;
                set(&mut engine.gateway_absent, gateway.as_ref().err().cloned())
                    | set(&mut engine.gateway, gateway.ok())
                    | set(&mut engine.gateway_ollama_absent, ollama.as_ref().err().cloned())
                    | set(&mut engine.gateway_ollama, ollama.ok())
                    | set(&mut engine.gateway_bridges, bridges)
                    | set(&mut engine.gateway_ollama_bridges, ollama_bridges)
                    | set(&mut engine.web, web)
            }
            Report::Trouble(error) => {
                let troubles = &mut self.snapshot.troubles;
                let before = troubles.clone();
                troubles.retain(|trouble| trouble.code != error.code);
                troubles.push(error);
                before != *troubles
            }
            Report::TroubleSolved(error) => {
                let before = self.snapshot.troubles.len();
                self.snapshot.troubles.retain(|trouble| *trouble != error);
                before != self.snapshot.troubles.len()
            }
            Report::TroubleOver(code) => {
                let before = self.snapshot.troubles.len();
                self.snapshot.troubles.retain(|trouble| trouble.code != code);
                before != self.snapshot.troubles.len()
            }
        }
    }

    fn fold_server(&mut self, view: ServerView, openai: Option<Endpoint>) -> bool {
        let id = view.id.clone();
        let moved = match openai {
            Some(endpoint) => self.endpoints.insert(id.clone(), endpoint.clone()).as_ref() != Some(&endpoint),
            None => self.endpoints.remove(&id).is_some(),
        };
        let changed = match self.snapshot.servers.iter_mut().find(|server| server.id == id) {
            Some(server) => set(server, view),
            None => {
                self.snapshot.servers.push(view);
                // Not in the order in which they happened to report first.
                self.snapshot.servers.sort_by(|a, b| (a.kind, &a.id).cmp(&(b.kind, &b.id)));
                true
            }
        };
        changed | moved
    }

    /// Models and instances of all servers in one list each, in the order of the servers.
    fn derive_models(&mut self) -> bool {
        let order: Vec<ServerId> = self.snapshot.servers.iter().map(|server| server.id.clone()).collect();
        let instances: Vec<Instance> =
            order.iter().filter_map(|id| self.instances.get(id)).flatten().cloned().collect();
        let models = order
            .iter()
            .filter_map(|id| self.models.get(id))
            .flatten()
            .map(|model| self.told_damaged(model))
            .map(|model| {
                let loaded = instances.iter().any(|i| i.server == model.server && i.model == model.name);
                let active =
                    self.snapshot.active.as_ref().is_some_and(|a| a.reference() == model.reference());
                ModelView {
                    id: model.reference().id(),
                    model,
                    loaded,
                    active,
                    // What fits is drawn up beside the lock.
                    fits: None,
                    fits_reason: String::new(),
                    needed_bytes: None,
                    off_card: false,
                    standing: Default::default(),
                }
            })
            .collect();
        self.snapshot.models = models;
        self.snapshot.instances = instances;
        self.known.fits_number += 1;
        true
    }

    /// A model whose files turned out to be damaged when they were read for its need.
    fn told_damaged(&self, model: &Model) -> Model {
        match self.known.needs.get(&model.reference().id()) {
            Some(Err(NoNeed { why, damaged: true })) if model.damaged.is_none() => model.clone().damaged(why),
            _ => model.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
