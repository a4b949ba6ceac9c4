//! What the hub is told of a server.

use super::actor::Supervisor;
use crate::hub::Report;
use pilothouse_domain::{snapshot::ServerView, standing::ServerStanding};

impl Supervisor {
    pub(super) fn publish(&self) {
        let mut abilities = self.adapter.abilities();
        abilities.take_over = self.adapter.can_take_over() && self.owner.may_be_taken_over();
        abilities.stop = self.owner.may_be_stopped(abilities.stop);
        let connection = self.contact.connection();
        let view = ServerView {
            id: self.adapter.id(),
            kind: self.adapter.kind(),
            title: self.title(),
            ownership: self.owner.ownership(),
            state: self.life.state(),
            reason: self.life.reason().map(str::to_owned),
            hint: self.life.hint().map(str::to_owned).or_else(|| self.suspicion.in_words()),
            endpoint: connection.map(|connection| connection.endpoint.base_url.clone()),
            version: self.program.version().map(str::to_owned),
            pid: self.owner.pid(),
            keeper: self.owner.keeper().map(str::to_owned),
            program: self.program.shown_path(),
            backend: self.program.backend().cloned(),
            restarts: self.life.restarts(),
            abilities,
            since: self.life.since(),
            // The hub says it with each snapshot.
            standing: ServerStanding::default(),
        };
        let openai = connection.filter(|_| self.life.is_up()).map(|connection| connection.client.openai());
        self.around.hub.report(Report::Server { view, openai });
    }

    pub(super) fn publish_memory(&self) {
        let instances = self.memory.instances().to_vec();
        self.around.hub.report(Report::Instances { server: self.adapter.id(), instances });
    }
}
