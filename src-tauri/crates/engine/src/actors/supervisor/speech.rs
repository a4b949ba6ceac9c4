//! One token as proof that a server works: when it is asked for, of whom, and what its coming means.

use super::{
    actor::Supervisor,
    connection::Connection,
    outcome::Outcome,
    work::{self, Speech},
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    lifecycle::Event,
    model::{Instance, ModelPurpose},
    server::Ownership,
    snapshot::ModelView,
};
use pilothouse_leases::Lease;
use std::time::Duration;

impl Supervisor {
    /// An answer through the gateway went wrong: look at once.
    pub(super) fn arouse(&mut self) {
        if self.life.is_up() {
            self.suspicion.arouse();
            self.probe(false);
        }
    }

    /// Asks for one token when there is a reason to, and never beside an answer that gets on.
    pub(super) fn request_token_if_suspect(&mut self) {
        let busy = self.around.leases.busy(&self.adapter.id());
        if !self.suspicion.wants_token(busy, self.around.policy.hang_ms) {
            return;
        }
        let Some(connection) = self.contact.connection() else { return };
        let Some(instance) = self.some_instance() else { return self.nothing_to_ask() };
        let Some(lease) = self.lease_on(connection, &instance) else { return };
        let (generation, client) = (self.contact.generation(), connection.client.clone());
        self.suspicion.await_proof();
        let limit = Duration::from_millis(self.around.policy.token_ms);
        let port = self.memory.port_of(&instance);
        self.later(async move {
            Outcome::Spoken { generation, result: work::speak(&*client, port, &lease, limit).await }
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
        if self.owner.is(Ownership::Remote) {
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
        if self.suspicion.awaits_token() {
            return Err("is being asked for already".into());
        }
        let Some(instance) = self.some_instance() else {
            return Err("not asked for: no model that could give one is in memory".into());
        };
        let Some(lease) = self.lease_on(connection, &instance) else {
            return Err("not asked for: its model is being taken out of memory".into());
        };
        self.suspicion.await_token();
        Ok(lease)
    }

    /// A token of health is an answer like others: a switch waits for it, or cuts it.
    fn lease_on(&self, connection: &Connection, instance: &str) -> Option<Lease> {
        self.around.leases.try_enter(&connection.target(&self.adapter.id(), instance, instance))
    }

    /// Whoever was mute has left memory: that is no question of the server's health any more.
    fn nothing_to_ask(&mut self) {
        if self.suspicion.cleared() {
            self.say("the model that gave no token is not in memory any more");
            self.transition(Event::Spoke, true);
        }
    }

    pub(super) fn spoken(&mut self, result: Result<Speech, ApiError>) {
        self.suspicion.token_ended();
        match result {
            // It is asked again when there is a place.
            Ok(Speech::Full) => self.suspicion.arouse(),
            Ok(Speech::Token(_)) => {
                self.suspicion.spoke();
                self.transition(Event::Spoke, true);
            }
            // Nothing is in memory (any more): that is no question of health.
            Err(error) if !self.life.is_up() || self.some_instance().is_none() => {
                tracing::debug!(%error, "no token, and nothing in memory");
                self.nothing_to_ask();
            }
            Err(error) if error.code == ErrorCode::System => self.suspicion.unproven(),
            Err(error) => {
                self.suspicion.mute();
                let reason = format!("It answers, but gave no token: {error}");
                self.say(&reason);
                self.transition(Event::Mute { reason: reason.into() }, true);
            }
        }
    }
}
