//! What the hub is told of a server.

use super::actor::Supervisor;
use crate::hub::Report;
use pilothouse_domain::{
    anatomy::KvType,
    model::LoadSettings,
    server::{Abilities, LoadsWith},
    snapshot::ServerView,
    standing::ServerStanding,
};

impl Supervisor {
    pub(super) fn publish(&self) {
        let mut abilities = self.adapter.abilities();
        abilities.take_over = self.adapter.can_take_over() && self.owner.may_be_taken_over();
        abilities.stop = self.owner.may_be_stopped(abilities.stop);
        let connection = self.contact.connection();
        // A server that takes only what its own settings say takes one of two.
        let takes = |each: [LoadSettings; 2]| {
            let cannot = |with: &LoadSettings| match connection {
                Some(connection) => connection.client.cannot_load_with(with),
                None => self.adapter.cannot_load_with_once_started(with),
            };
            abilities.load && each.iter().all(|with| cannot(with).is_none())
        };
        let usual = LoadSettings::default();
        let kv_type = |kv| LoadSettings { kv_type: Some(kv), ..usual };
        let parallel = |number| LoadSettings { parallel: Some(number), ..usual };
        let loads_with = LoadsWith {
            context: takes([1024, 2048].map(|tokens| LoadSettings::context(Some(tokens)))),
            parallel: takes([1, 2].map(parallel)),
            kv_type: takes([KvType::F16, KvType::Q8_0].map(kv_type)),
        };
        let abilities = Abilities { loads_with, ..abilities };
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
