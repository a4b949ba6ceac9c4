//! Folds what actors report into one [`Snapshot`] and publishes it under one revision number.
//!
//! Actors report, views draw: nobody reads the hub to decide a change. Reports are folded at once and in order, so
//! an actor that has reported knows that routes and snapshot show it.

use pilothouse_domain::{
    Timestamp,
    bench::{BenchProgress, Run},
    container::Containers,
    discovery::Discovered,
    endpoint::Endpoint,
    error::{ApiError, ErrorCode},
    fit::{self, Fit, ModelNeed, Need},
    gauge::Gauges,
    ledger::{Ledger, Resident, ledger},
    machine::Machine,
    model::{Instance, Model, ModelPurpose},
    notice::Notice,
    server::ServerId,
    settings::TraySettings,
    snapshot::{EngineView, ModelView, ServerView, SetupView, Snapshot},
    switch::{Active, SwitchReport, Switching},
};
use pilothouse_leases::{ActiveRoute, Leases, Routes, Target};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

/// The most notices that are kept.
const NOTICES: usize = 50;

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
    /// What is active, and whether it can answer.
    Active {
        active: Option<Active>,
        standing: Standing,
    },
    Switching(Option<Switching>),
    Switched(SwitchReport),
    Gauges(Gauges),
    /// How the tray shall be drawn.
    Tray(TraySettings),
    /// The hardware, read once.
    Machine(Machine),
    /// What models would take, by `<server>/<name>`; why that is not known.
    Needs(BTreeMap<String, Result<ModelNeed, String>>),
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
        web: Option<String>,
    },
    /// Something about Pilothouse itself is wrong; the code says which thing.
    Trouble(ApiError),
    TroubleOver(ErrorCode),
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

struct State {
    snapshot: Snapshot,
    standing: Standing,
    /// By server, in the order in which the servers are shown.
    models: BTreeMap<ServerId, Vec<Model>>,
    instances: BTreeMap<ServerId, Vec<Instance>>,
    endpoints: BTreeMap<ServerId, Endpoint>,
    machine: Option<Machine>,
    needs: BTreeMap<String, Result<ModelNeed, String>>,
}

/// See the module's text.
#[derive(Clone)]
pub struct Hub {
    state: Arc<Mutex<State>>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    /// Gets the routes before `report` returns: whoever has reported knows that no lease is given by the old ones.
    leases: Leases,
}

impl Hub {
    pub fn new(engine: EngineView, leases: Leases) -> Self {
        let snapshot = Snapshot::empty(engine, Timestamp::now());
        let (snapshots, _) = watch::channel(Arc::new(snapshot.clone()));
        let state = State {
            snapshot,
            standing: Standing::Open,
            models: BTreeMap::new(),
            instances: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            machine: None,
            needs: BTreeMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), snapshots, leases }
    }

    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// The present snapshot.
    pub fn now(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// Folds a report and publishes what has changed by it.
    pub fn report(&self, report: Report) {
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
        self.snapshots.send_replace(Arc::new(state.snapshot.clone()));
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
            Report::Switching(switching) => set(&mut self.snapshot.switching, switching),
            Report::Switched(report) => set(&mut self.snapshot.last_switch, Some(report)),
            Report::Gauges(gauges) => {
                self.snapshot.gauges = Some(gauges);
                self.draw_up_ledger();
                true
            }
            Report::Tray(tray) => set(&mut self.snapshot.engine.tray, tray),
            Report::Machine(machine) => {
                self.machine = Some(machine);
                self.draw_up_ledger();
                true
            }
            Report::Needs(needs) => set(&mut self.needs, needs) && self.derive_models(),
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
            Report::Doors { gateway, web } => {
                let (address, absent) = match gateway {
                    Ok(address) => (Some(address), None),
                    Err(reason) => (None, Some(reason)),
                };
                let engine = &mut self.snapshot.engine;
                set(&mut engine.gateway, address)
                    | set(&mut engine.gateway_absent, absent)
                    | set(&mut engine.web, web)
            }
            Report::Trouble(error) => {
                let troubles = &mut self.snapshot.troubles;
                let before = troubles.clone();
                troubles.retain(|trouble| trouble.code != error.code);
                troubles.push(error);
                before != *troubles
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

    /// The ledger of the last sample, and by it what fits.
    fn draw_up_ledger(&mut self) {
        let readings = self.snapshot.readings().zip(self.machine.as_ref());
        self.snapshot.ledger = readings.and_then(|(readings, machine)| ledger(&readings, machine));
        let active = self.active_resident();
        let judged: Vec<(Fit, bool)> = self
            .snapshot
            .models
            .iter()
            .map(|view| (self.judge(&view.model, view.loaded, &active), self.is_off_card(&view.model)))
            .collect();
        for (view, (fit, off_card)) in self.snapshot.models.iter_mut().zip(judged) {
            view.off_card = off_card;
            view.fits = fit.as_option();
            fit.reason().clone_into(&mut view.fits_reason);
        }
    }

    /// What the active model holds; a switch gives it back.
    fn active_resident(&self) -> Option<Resident> {
        self.active_in(self.snapshot.ledger.as_ref()?)
    }

    fn active_in(&self, ledger: &Ledger) -> Option<Resident> {
        let active = self.snapshot.active.as_ref()?.reference();
        ledger.residents().into_iter().find(|resident| resident.model == active)
    }

    fn judge(&self, model: &Model, loaded: bool, active: &Option<Resident>) -> Fit {
        if self.snapshot.is_elsewhere(&model.server) {
            return Fit::Unknown { reason: "it runs on another machine".into() };
        }
        let need = match self.needs.get(&model.reference().id()) {
            _ if loaded => Need::Loaded,
            Some(Ok(need)) => Need::About(need.bytes),
            Some(Err(why)) => Need::AtLeast(model.size_bytes, why),
            None => Need::AtLeast(model.size_bytes, "its memory is not reckoned yet"),
        };
        let beside = self.snapshot.ledger.as_ref().filter(|_| self.is_off_card(model));
        // What the active model holds of the card makes no room for it, what it holds of the memory does.
        let beside = beside.and_then(Ledger::on_processor);
        let there = beside.as_ref().map(|ledger| self.active_in(ledger));
        let (ledger, active) = match &there {
            Some(active) => (beside.as_ref(), active),
            None => (self.snapshot.ledger.as_ref(), active),
        };
        fit::judge(need, ledger, active.as_ref().map(|resident| (resident.title.as_str(), resident.bytes)))
    }

    /// Its need is one of the machine's memory, although models are placed on a card.
    fn is_off_card(&self, model: &Model) -> bool {
        let on_card = self.snapshot.ledger.as_ref().is_some_and(|ledger| ledger.on_processor().is_some());
        let need = self.needs.get(&model.reference().id());
        on_card && need.is_some_and(|need| matches!(need, Ok(need) if !need.place.on_gpu()))
    }

    /// Models and instances of all servers in one list each, in the order of the servers.
    fn derive_models(&mut self) -> bool {
        let held = self.active_resident();
        let order: Vec<ServerId> = self.snapshot.servers.iter().map(|server| server.id.clone()).collect();
        let instances: Vec<Instance> =
            order.iter().filter_map(|id| self.instances.get(id)).flatten().cloned().collect();
        let models = order
            .iter()
            .filter_map(|id| self.models.get(id))
            .flatten()
            .map(|model| {
                let loaded = instances.iter().any(|i| i.server == model.server && i.model == model.name);
                let active =
                    self.snapshot.active.as_ref().is_some_and(|a| a.reference() == model.reference());
                let fit = self.judge(model, loaded, &held);
                ModelView {
                    id: model.reference().id(),
                    model: model.clone(),
                    loaded,
                    active,
                    fits: fit.as_option(),
                    fits_reason: fit.reason().to_owned(),
                    needed_bytes: self
                        .needs
                        .get(&model.reference().id())
                        .and_then(|need| need.as_ref().ok())
                        .map(|need| need.bytes),
                    off_card: self.is_off_card(model),
                }
            })
            .collect();
        self.snapshot.models = models;
        self.snapshot.instances = instances;
        true
    }

    fn routes(&self) -> Routes {
        let target = |server: &ServerId, model: &str, instance: &str| {
            let openai = self.endpoints.get(server)?;
            let listed = |i: &&Instance| i.server == *server && i.id == instance;
            let listed = self.snapshot.instances.iter().find(listed);
            let port = listed.and_then(|listed| listed.port);
            // A slot with an answer that nobody waits for is busy until it is free.
            let free =
                |listed: &Instance| Some(listed.slots?.saturating_sub(listed.orphaned_answers.unwrap_or(0)));
            let slots = listed.and_then(free).map(|slots| slots as usize);
            Some(Target {
                server: server.clone(),
                model: model.to_owned(),
                instance: instance.to_owned(),
                openai: port.map_or_else(|| openai.clone(), |port| openai.at_port(port)),
                slots: slots.unwrap_or_else(|| self.unknown_slots(server)),
            })
        };
        let active = match (&self.standing, &self.snapshot.active) {
            (Standing::Held, _) => ActiveRoute::Held,
            (Standing::Refusing(why), Some(_)) => ActiveRoute::Refusing(why.clone()),
            (_, Some(active)) => target(&active.server, &active.model, &active.instance)
                .map_or_else(|| ActiveRoute::Down(active.server.clone()), ActiveRoute::Open),
            (_, None) => ActiveRoute::None,
        };
        // What a remote server has in memory is its own matter: whatever it lists can be asked for.
        let on_call =
            self.snapshot.models.iter().map(|view| &view.model).filter(|model| {
                model.purpose != ModelPurpose::Other && self.snapshot.is_remote(&model.server)
            });
        Routes {
            active,
            loaded: self
                .snapshot
                .instances
                .iter()
                .filter_map(|i| target(&i.server, &i.model, &i.id))
                .chain(on_call.filter_map(|model| target(&model.server, &model.name, &model.name)))
                .collect(),
            known: self
                .snapshot
                .models
                .iter()
                .filter(|model| model.model.purpose != ModelPurpose::Other)
                .map(|model| model.model.reference())
                .collect(),
        }
    }

    /// How many answers at a time are asked of a server that does not tell. One on another machine has its own queue, made for
    /// many; one on this machine may have no more than this many by default (LM Studio: four).
    fn unknown_slots(&self, server: &ServerId) -> usize {
        if self.snapshot.is_remote(server) { 64 } else { 4 }
    }
}

#[cfg(test)]
mod tests;
