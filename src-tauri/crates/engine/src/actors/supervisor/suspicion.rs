//! Whether a server that runs also works: suspicion, one token as proof, lost models, and the end of a hang.

use super::{
    Connection,
    actor::{Inner, Supervisor},
    work::{self, Speech},
};
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    hang::{Evidence, Finding, Slot},
    lifecycle::{Event, ServerState},
    model::{Instance, ModelPurpose},
    notice::Happening,
    runner::RunnerProcess,
    server::Ownership,
    snapshot::ModelView,
};
use pilothouse_leases::Lease;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// The least time between two tokens that nobody asked for.
const TOKEN_EVERY: Duration = Duration::from_secs(10);

/// What makes a server suspect, and since when it has been silent or mute.
#[derive(Default)]
pub(super) struct Suspicion {
    /// An answer went wrong since the last token.
    aroused: bool,
    pub(super) asking: bool,
    asked_at: Option<Instant>,
    /// Since when it has given no token.
    pub(super) mute_since: Option<Instant>,
    /// Since when it has given no answer at all.
    pub(super) silent_since: Option<Instant>,
    /// What was seen of its work since there was a reason to look.
    pub(super) evidence: Evidence,
    /// The slots as the last look saw them, by the port that told them.
    pub(super) slots: BTreeMap<u16, Vec<Slot>>,
    /// A look at its work is under way.
    pub(super) reading: bool,
    /// What followed from the last one.
    pub(super) finding: Finding,
}

impl Suspicion {
    pub fn answered(&mut self) {
        // Whoever was silent for a while may have lost more than its speech.
        self.aroused |= self.silent_since.take().is_some_and(|since| since.elapsed() > TOKEN_EVERY);
    }

    /// Answers of the connection before are not heard any more.
    pub fn forget_questions(&mut self) {
        self.asking = false;
        self.reading = false;
    }

    /// For how long nothing has moved in its processes; zero when that cannot be told.
    pub fn still_for(&self) -> Duration {
        Duration::from_millis(self.evidence.still_ms())
    }

    pub fn forget_readings(&mut self) {
        self.evidence = Evidence::default();
        self.slots.clear();
        self.finding = Finding::Fine;
    }

    /// Whether there is a reason to look at the server's work: somebody waits for it, or a slot was busy.
    pub fn is_aroused(&self) -> bool {
        let waits = self.silent_since.is_some() || self.mute_since.is_some();
        waits || self.aroused || self.asking || self.evidence.has_busy_slot()
    }

    /// A question was not even put: time that passed so far proves nothing.
    pub fn not_asked(&mut self) {
        self.silent_since = None;
        self.mute_since = None;
    }

    pub fn silent(&mut self) {
        self.silent_since.get_or_insert_with(Instant::now);
    }
}

impl Supervisor {
    /// An answer through the gateway went wrong: look at once.
    pub(super) fn arouse(&mut self) {
        if self.life.state.is_up() {
            self.suspicion.aroused = true;
            self.probe(false);
        }
    }

    /// Asks for one token when there is a reason to, and never beside an answer that gets on.
    pub(super) fn look_for_speech(&mut self) {
        let suspicion = &self.suspicion;
        let due = suspicion.asked_at.is_none_or(|at| at.elapsed() >= TOKEN_EVERY);
        let wanted = suspicion.aroused || suspicion.mute_since.is_some();
        // Beside an answer in which nothing has moved for so long, a token disturbs nobody and tells who is at fault.
        let stuck = suspicion.evidence.still_ms() >= self.around.policy.hang_ms.max(1);
        let busy = self.around.leases.busy(&self.adapter.id());
        let reason = if busy { stuck } else { wanted };
        if !reason || !due || suspicion.asking {
            return;
        }
        let Some(connection) = &self.connection else { return };
        let Some(instance) = self.some_instance() else { return self.nothing_to_ask() };
        let Some(lease) = self.lease_on(connection, &instance) else { return };
        self.suspicion.asking = true;
        self.suspicion.aroused = false;
        self.suspicion.asked_at = Some(Instant::now());
        let (generation, client) = (self.generation, connection.client.clone());
        let limit = Duration::from_millis(self.around.policy.token_ms);
        let port = self.port_of(&instance);
        self.later(async move {
            Inner::Spoken { generation, result: work::speak(&*client, port, &lease, limit).await }
        });
    }

    /// Where the process that holds an instance tells its slots.
    pub(super) fn port_of(&self, instance: &str) -> Option<u16> {
        let named = self.ports.iter().find(|(id, _)| id.as_deref() == Some(instance));
        match (named, &self.ports[..]) {
            (Some((_, port)), _) | (None, [(None, port)]) => Some(*port),
            _ => None,
        }
    }

    pub(super) fn note_ports(&mut self, instances: &[Instance]) {
        let told = instances.iter().filter_map(|one| Some((Some(one.id.clone()), one.port?)));
        let told: Vec<(Option<String>, u16)> = told.collect();
        self.ports.retain(|(_, port)| !told.iter().any(|(_, known)| known == port));
        self.ports.extend(told);
    }

    /// An instance that can speak, the active one first: an embedding model has no tokens to give, and one that is not in
    /// memory would be loaded by the question.
    fn some_instance(&self) -> Option<String> {
        let id = self.adapter.id();
        let snapshot = self.around.hub.now();
        let active = snapshot.active.as_ref().filter(|active| active.server == id);
        let silent = |instance: &Instance| {
            let of_instance =
                |view: &&ModelView| view.model.server == id && view.model.name == instance.model;
            let view = snapshot.models.iter().find(of_instance);
            view.is_some_and(|view| view.model.purpose != ModelPurpose::Llm)
        };
        let here: Vec<&Instance> =
            snapshot.instances.iter().filter(|one| one.server == id && !silent(one)).collect();
        if self.ownership == Some(Ownership::Remote) {
            // What a remote server has in memory is not told; whoever is active there was asked before.
            return active.map(|active| active.instance.clone());
        }
        let preferred = here.iter().find(|one| active.is_some_and(|active| active.instance == one.id));
        preferred.or(here.first()).map(|one| one.id.clone())
    }

    /// Who can be asked for a token now, because somebody wants to know. Errors: why nobody is.
    pub(super) fn speaker(&mut self, connection: &Connection) -> Result<Lease, String> {
        if self.around.leases.busy(&self.adapter.id()) {
            return Err("not asked for, beside an answer under way".into());
        }
        if self.suspicion.asking {
            return Err("is being asked for already".into());
        }
        let Some(instance) = self.some_instance() else {
            return Err("not asked for: no model that could give one is in memory".into());
        };
        let Some(lease) = self.lease_on(connection, &instance) else {
            return Err("not asked for: its model is being taken out of memory".into());
        };
        self.suspicion.asking = true;
        self.suspicion.asked_at = Some(Instant::now());
        Ok(lease)
    }

    /// A token of health is an answer like others: a switch waits for it, or cuts it.
    fn lease_on(&self, connection: &Connection, instance: &str) -> Option<Lease> {
        self.around.leases.try_enter(&connection.target(&self.adapter.id(), instance, instance))
    }

    /// Whoever was mute has left memory: that is no question of the server's health any more.
    fn nothing_to_ask(&mut self) {
        self.suspicion.aroused = false;
        if self.suspicion.mute_since.take().is_some() {
            self.say("the model that gave no token is not in memory any more");
            self.transition(Event::Spoke, true);
        }
    }

    pub(super) fn spoken(&mut self, result: Result<Speech, ApiError>) {
        self.suspicion.asking = false;
        match result {
            // It is asked again when there is a place.
            Ok(Speech::Full) => self.suspicion.aroused = true,
            Ok(Speech::Token(_)) => {
                self.suspicion.mute_since = None;
                self.transition(Event::Spoke, true);
            }
            // Nothing is in memory (any more): that is no question of health.
            Err(error) if !self.life.state.is_up() || self.some_instance().is_none() => {
                tracing::debug!(%error, "no token, and nothing in memory");
                self.nothing_to_ask();
            }
            Err(error) if error.code == ErrorCode::System => self.suspicion.not_asked(),
            Err(error) => {
                self.suspicion.mute_since.get_or_insert_with(Instant::now);
                let reason = format!("It answers, but gave no token: {error}");
                self.say(&reason);
                self.transition(Event::Mute { reason }, true);
            }
        }
    }

    /// Drops the instances whose process has died, and tells of them.
    pub(super) fn really_there(
        &mut self,
        runners: Option<Vec<RunnerProcess>>,
        listed: Vec<Instance>,
    ) -> Vec<Instance> {
        let Some(runners) = runners else {
            self.ports.clear();
            return listed;
        };
        self.ports = runners.iter().filter_map(|one| Some((one.names.clone(), one.port?))).collect();
        for runner in &runners {
            self.watch_runner(runner.pid);
        }
        self.watched.retain(|pid| runners.iter().any(|runner| runner.pid == *pid));
        let titles: Vec<(String, String)> =
            listed.iter().map(|one| (one.id.clone(), one.model.clone())).collect();
        let seen = self.runners.see(&runners, listed, Timestamp::now());
        for id in seen.newly_lost {
            let model =
                titles.iter().find(|(one, _)| *one == id).map_or(id.clone(), |(_, model)| model.clone());
            self.say(&format!("the process of {model} has ended"));
            let title = self.around.hub.now().model_title(&self.adapter.id(), &model);
            self.happened(Happening::LostModel {
                server: self.adapter.id(),
                server_title: self.title(),
                title,
            });
        }
        seen.there
    }

    /// The end of a process that holds a model is a reason to look at once.
    fn watch_runner(&mut self, pid: u32) {
        if !self.watched.insert(pid) {
            return;
        }
        let generation = self.generation;
        self.later(async move {
            work::end_of(pid).await;
            Inner::RunnerEnded { generation }
        });
    }

    pub(super) fn runner_ended(&mut self) {
        if matches!(self.life.state, ServerState::Ready | ServerState::Degraded) {
            self.probe_again = true;
            self.probe(false);
        }
    }
}
