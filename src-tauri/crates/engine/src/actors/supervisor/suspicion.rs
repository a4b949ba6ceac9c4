//! Whether a server that runs also works: suspicion, one token as proof, lost models, and the end of a hang.

use super::{
    actor::{Inner, Supervisor},
    work,
};
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    lifecycle::{Event, ServerState},
    model::{Instance, ModelPurpose},
    notice::Happening,
    runner::RunnerProcess,
    server::Ownership,
    snapshot::ModelView,
};
use std::time::Duration;
use tokio::time::Instant;

/// The least time between two tokens that nobody asked for.
const TOKEN_EVERY: Duration = Duration::from_secs(10);
/// A process tree that uses more of one core than this is at work, however silent it is.
const AT_WORK_PERCENT: f64 = 2.0;

/// What makes a server suspect, and since when it has been silent or mute.
#[derive(Default)]
pub(super) struct Suspicion {
    /// An answer went wrong since the last token.
    aroused: bool,
    asking: bool,
    asked_at: Option<Instant>,
    /// Since when it has given no token.
    mute_since: Option<Instant>,
    /// Since when it has given no answer at all.
    silent_since: Option<Instant>,
}

impl Suspicion {
    pub fn answered(&mut self) {
        // Whoever was silent for a while may have lost more than its speech.
        self.aroused |= self.silent_since.take().is_some_and(|since| since.elapsed() > TOKEN_EVERY);
    }

    pub fn forget_question(&mut self) {
        self.asking = false;
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

    /// Asks for one token when there is a reason to, and never beside an answer under way.
    pub(super) fn look_for_speech(&mut self) {
        let suspicion = &self.suspicion;
        let due = suspicion.asked_at.is_none_or(|at| at.elapsed() >= TOKEN_EVERY);
        let wanted = suspicion.aroused || suspicion.mute_since.is_some();
        if !wanted || !due || suspicion.asking || self.around.leases.busy(&self.adapter.id()) {
            return;
        }
        let Some(connection) = &self.connection else { return };
        let Some(instance) = self.some_instance() else { return self.nothing_to_ask() };
        self.suspicion.asking = true;
        self.suspicion.aroused = false;
        self.suspicion.asked_at = Some(Instant::now());
        let (generation, client) = (self.generation, connection.client.clone());
        let limit = Duration::from_millis(self.around.policy.token_ms);
        self.later(async move {
            Inner::Spoken { generation, result: work::one_token(&*client, &instance, limit).await }
        });
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
    pub(super) fn speaker(&mut self) -> Result<String, String> {
        if self.around.leases.busy(&self.adapter.id()) {
            return Err("not asked for, beside an answer under way".into());
        }
        if self.suspicion.asking {
            return Err("is being asked for already".into());
        }
        let Some(instance) = self.some_instance() else {
            return Err("not asked for: no model that could give one is in memory".into());
        };
        self.suspicion.asking = true;
        self.suspicion.asked_at = Some(Instant::now());
        Ok(instance)
    }

    /// Whoever was mute has left memory: that is no question of the server's health any more.
    fn nothing_to_ask(&mut self) {
        self.suspicion.aroused = false;
        if self.suspicion.mute_since.take().is_some() {
            self.say("the model that gave no token is not in memory any more");
            self.transition(Event::Spoke, true);
        }
    }

    pub(super) fn spoken(&mut self, result: Result<Duration, ApiError>) {
        self.suspicion.asking = false;
        match result {
            Ok(_) => {
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

    /// Ends a process of ours that has been silent or mute for too long and does nothing.
    pub(super) fn look_for_hang(&mut self) {
        let limit = Duration::from_millis(self.around.policy.hang_ms);
        let since = self.suspicion.silent_since.or(self.suspicion.mute_since);
        let (Some(since), Some(Ownership::Ours)) = (since, self.ownership) else {
            return;
        };
        if limit.is_zero() || since.elapsed() < limit || !self.life.state.is_up() || self.at_work() {
            return;
        }
        let what = if self.suspicion.silent_since.is_some() { "did not answer" } else { "gave no token" };
        let reason = format!("It {what} for {} s and did nothing", since.elapsed().as_secs());
        self.say(&format!("{reason}; ending it"));
        self.suspicion = Suspicion::default();
        self.hung = Some(reason.clone());
        self.happened(Happening::Hung {
            server: self.adapter.id(),
            server_title: self.title(),
            reason: reason.clone(),
        });
        self.transition(Event::Hung { reason }, true);
    }

    /// A long prompt keeps a server silent for minutes; then its processes are busy. Not known counts as not at work.
    fn at_work(&self) -> bool {
        let id = self.adapter.id();
        let snapshot = self.around.hub.now();
        let usage = snapshot.gauges.as_ref().and_then(|g| g.servers.iter().find(|usage| usage.id == id));
        usage.and_then(|usage| usage.cpu_percent).is_some_and(|percent| percent > AT_WORK_PERCENT)
    }

    /// Drops the instances whose process has died, and tells of them.
    pub(super) fn really_there(
        &mut self,
        runners: Option<Vec<RunnerProcess>>,
        listed: Vec<Instance>,
    ) -> Vec<Instance> {
        let Some(runners) = runners else { return listed };
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
