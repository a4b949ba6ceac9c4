//! How a server becomes ours or adopted, and how it is let go.

use super::{
    actor::Supervisor,
    connection::Connection,
    memory::Memory,
    outcome::Outcome,
    ownership::{Own, Owner, Theirs},
    record::Record,
    suspicion::Suspicion,
};
use crate::server_log::foreign;
use pilothouse_domain::{
    Timestamp,
    endpoint::Endpoint,
    lifecycle::{Effect, Event, ServerState},
    server::Ownership,
};
use pilothouse_servers::Found;
use pilothouse_system::process::{OwnedProcess, ProcessSpec};
use std::path::PathBuf;

impl Supervisor {
    /// `earlier`: when an earlier life of ours started it.
    pub(super) fn own(
        &mut self,
        process: OwnedProcess,
        endpoint: Endpoint,
        program: PathBuf,
        files: Vec<PathBuf>,
        earlier: Option<Timestamp>,
    ) {
        self.connect(endpoint.clone());
        let record = Record {
            identity: process.identity(),
            base_url: endpoint.base_url,
            key: endpoint.key.map(|key| key.expose().to_owned()),
            program: program.clone(),
            files: files.clone(),
            at: earlier.unwrap_or_else(Timestamp::now),
        };
        record.write(&self.around.run_dir, &self.adapter.id());
        self.program.started(program);
        let (generation, watched) = (self.contact.generation(), process.clone());
        self.owner = Owner::Ours(Own { process, files, unheard: earlier });
        self.later(async move { Outcome::Ended { generation, exit: watched.ended().await } });
        self.life.begin_start();
        self.publish();
    }

    pub(super) fn adopt(&mut self, found: Found, stop: Option<Vec<ProcessSpec>>) {
        let found_as = self.adapter.found_as();
        let mut log = None;
        if found_as == Ownership::Adopted {
            // First what it wrote before, so that its log and ours stand in the order of time.
            log = found.log.as_ref().and_then(|place| foreign::follow(place, &self.around.log));
            self.say(&format!("found running at {}", found.endpoint.base_url));
            if let Some(place) = &found.log {
                self.say(&format!("its own log: {place}"));
            }
        }
        self.owner = Owner::Somebody(Theirs::new(found_as, &found, stop, log));
        self.program.told_version(found.version);
        self.connect(found.endpoint);
        self.life.replaced();
        if found_as == Ownership::Adopted {
            self.transition(Event::FoundRunning, true);
            self.publish();
        }
        self.probe(true);
    }

    /// A product has started itself, or ran already, and meanwhile somebody wants it to stop.
    pub(super) fn adopted_too_late(&mut self, found: Found, stop: Option<Vec<ProcessSpec>>) {
        if self.life.state() != ServerState::Stopping || stop.is_none() {
            // The next round finds it.
            return self.called_off();
        }
        self.owner = Owner::Somebody(Theirs::new(Ownership::Adopted, &found, stop, None));
        self.connect(found.endpoint);
        self.carry_out(Effect::Stop);
    }

    /// Another key is kept now: whoever is not ours is connected to anew.
    pub(super) fn key_changed(&mut self) {
        if self.owner.is(Ownership::Ours) {
            return;
        }
        self.say("its key was changed");
        self.disconnect();
        self.transition(Event::Gone { reason: "Its key was changed.".into() }, true);
        match self.adapter.found_as() {
            Ownership::Remote => self.transition(Event::StartWanted, true),
            _ => self.on_tick(),
        }
    }

    fn connect(&mut self, endpoint: Endpoint) {
        self.suspicion.forget_pending();
        self.contact.open(Connection { client: self.adapter.client(&endpoint), endpoint });
    }

    pub(super) fn disconnect(&mut self) {
        self.contact.close();
        self.owner = Owner::Nobody;
        self.life.disconnected();
        self.suspicion = Suspicion::default();
        self.memory = Memory::default();
        self.waiting.listed(self.contact.newest());
        self.publish_memory();
    }
}
