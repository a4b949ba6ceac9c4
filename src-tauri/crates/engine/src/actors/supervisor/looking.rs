//! Rounds at the server: probes, lists, and what their answers mean.

use super::{
    actor::Supervisor,
    outcome::Outcome,
    work::{self, Absence, Probe, Probed},
};
use crate::hub::Report;
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    lifecycle::{Event, ServerState},
    notice::Happening,
    server::{Backend, Ownership},
};
use pilothouse_servers::Found;
use pilothouse_system::process::ProcessSpec;
use std::time::Duration;

const ROUND_STARTING: Duration = Duration::from_millis(100);
const ROUND_READY: Duration = Duration::from_secs(2);
const ROUND_IDLE: Duration = Duration::from_secs(5);
/// A server of somebody else, over a network: often enough for a person, rare enough for its owner.
const ROUND_REMOTE: Duration = Duration::from_secs(10);
/// How long an adopted server may take to be gone after its product was asked to stop it.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The longest time in which a remote server may say that it is loading, for those who wait for it.
const LOADING_LIMIT: Duration = Duration::from_secs(600);

/// HTTP 503: llama-server says so to every question until its model is in memory (reference/llama-server.md section 1), and
/// so do vLLM and proxies. That is no failure.
fn is_loading(error: &ApiError) -> bool {
    error.code == ErrorCode::ServerError && error.retry
}

impl Supervisor {
    /// Time for a round at the server.
    pub(super) fn on_tick(&mut self) {
        if self.last_round.slept_since() && self.life.is_up() {
            self.say("the machine was asleep, or its clock was set; looking whether it still works");
            self.arouse();
        }
        if self.life.state() == ServerState::NotInstalled && self.program.is_to_be_looked_for() {
            self.locate();
        }
        match self.life.state() {
            ServerState::Starting if self.contact.is_open() => {
                if let Some(started) = self.owner.unheard() {
                    return self.judge_unheard(started);
                }
                // How long a remote one may take is its owner's matter; only the askers are told some day.
                let theirs = self.owner.is(Ownership::Remote);
                if !theirs && self.life.starting_for() > self.start_limit() {
                    return self.start_timed_out();
                }
                self.probe(true);
            }
            ServerState::Ready | ServerState::Degraded => {
                let with_models = self.contact.next_round_lists();
                self.probe(with_models);
                self.request_token_if_suspect();
                self.read_work_if_suspect();
            }
            ServerState::Stopping if self.owner.is(Ownership::Adopted) => {
                if self.life.stopping_for() > STOP_LIMIT {
                    let text = format!("{} was asked to stop but goes on.", self.title());
                    return self.stop_failed(ApiError::new(ErrorCode::TimedOut, text));
                }
                self.probe(false);
            }
            ServerState::Starting | ServerState::Stopping => {}
            _ => self.search(),
        }
    }

    pub(super) fn tick_interval(&self) -> Duration {
        let remote = self.owner.is(Ownership::Remote);
        match self.life.state() {
            ServerState::Starting if remote => ROUND_READY,
            ServerState::Starting | ServerState::Stopping => ROUND_STARTING,
            ServerState::Ready | ServerState::Degraded if remote => ROUND_REMOTE,
            ServerState::Ready | ServerState::Degraded => ROUND_READY,
            _ => ROUND_IDLE,
        }
    }

    /// Searches for one that runs at its address.
    fn search(&mut self) {
        if !self.contact.begin_search() {
            return;
        }
        let adapter = self.adapter.clone();
        self.later(async move {
            let Some(found) = adapter.find_running().await else {
                return Outcome::Alone(work::stranger(&*adapter).await, adapter.backend().await);
            };
            let stop = adapter.stop_commands(&adapter.locate().await).await;
            Outcome::Found(found, stop)
        });
    }

    pub(super) fn found(&mut self, found: Found, stop: Option<Vec<ProcessSpec>>) {
        self.contact.end_search();
        if self.life.is_idle() {
            self.adopt(found, stop);
        }
    }

    /// Nobody of its kind runs. A stranger at its address is said before somebody tries to start it there.
    pub(super) fn alone(&mut self, stranger: Option<ApiError>, backend: Option<Backend>) {
        self.contact.end_search();
        if self.program.replace_backend(backend) {
            self.publish();
        }
        match (stranger, self.life.state()) {
            (Some(error), ServerState::Stopped | ServerState::NotOurs) => {
                self.transition(Event::PortHeld { reason: (&error).into() }, true);
            }
            (None, ServerState::NotOurs) => {
                self.say("its address is free again");
                self.transition(Event::PortFree, true);
                if self.life.is_wanted() {
                    self.transition(Event::StartWanted, true);
                }
            }
            _ => {}
        }
    }

    pub(super) fn probe(&mut self, with_models: bool) {
        if !self.contact.is_probing() {
            self.begin_probe(with_models);
        }
    }

    /// Probes at once, also beside a probe under way: that one may have been answered already. Gives the number of the newest
    /// probe.
    pub(super) fn begin_probe(&mut self, with_models: bool) -> u64 {
        let Some(ticket) = self.contact.begin_probe() else { return self.contact.newest() };
        let (generation, number) = (ticket.generation, ticket.number);
        let (adapter, processes) = (self.adapter.clone(), self.around.processes.clone());
        let probed = Probed {
            connection: ticket.connection,
            pid: self.owner.pid(),
            found: self.owner.foreign_process(),
            may_be_gone: self.owner.is(Ownership::Adopted),
        };
        self.later(async move {
            let probe = work::probe(&probed, &*adapter, &processes, with_models).await;
            Outcome::Probed { generation, number, probe }
        });
        number
    }

    pub(super) fn probed(&mut self, number: u64, probe: Probe) {
        if !self.contact.end_probe(number) {
            return;
        }
        match probe.health {
            Ok(health) => {
                self.program.told_backend(probe.backend);
                for odd in &probe.odd {
                    self.say(odd);
                }
                self.program.told_version(health.version);
                if let Some(models) = probe.models {
                    self.contact.listed();
                    self.around.hub.report(Report::Models { server: self.adapter.id(), models });
                }
                if let Some(instances) = probe.instances {
                    self.remember(probe.runners, instances);
                }
                match self.owner.is(Ownership::Remote) && !self.life.is_up() {
                    true => {
                        self.say("answers");
                        self.transition(Event::FoundRunning, true);
                    }
                    false => self.transition(Event::Answered, true),
                }
                self.publish();
                self.answered();
            }
            Err(error) => self.unanswered(error, probe.absence),
        }
        self.waiting.listed(number);
        if self.contact.takes_again() {
            self.probe(false);
        }
    }

    fn answered(&mut self) {
        self.owner.heard();
        self.suspicion.answered();
        if let Some(back) = self.life.answered(&self.around.policy) {
            self.happened(Happening::CrashedAndBack {
                server: self.adapter.id(),
                server_title: self.title(),
                reason: back.reason,
                away_ms: back.away.as_millis() as u64,
            });
        }
        if let Some(connection) = self.contact.connection() {
            self.waiting.ready(&Ok(connection.clone()));
        }
    }

    pub(super) fn unanswered(&mut self, error: ApiError, absence: Absence) {
        // We could not even ask (no file descriptor left): that is no silence, and what was silence before is unproven.
        if error.code == ErrorCode::System {
            tracing::warn!(server = %self.adapter.id(), %error, "could not be asked");
            return self.suspicion.unproven();
        }
        if self.owner.is(Ownership::Remote) && !self.life.is_up() {
            return match is_loading(&error) && self.life.starting_for() < LOADING_LIMIT {
                true => self.loading(error),
                false => self.unreached(error),
            };
        }
        // A connection that breaks off, or that nobody takes for a while, is no end. Where its process has ended another one may
        // have taken its place already: that one gets a second look.
        let gone = absence.refused || (absence.ended && self.suspicion.is_silent());
        if gone {
            self.say("is gone");
            let stopping = self.life.state() == ServerState::Stopping;
            self.disconnect();
            self.transition(Event::Gone { reason: "It was stopped by somebody else.".into() }, true);
            if stopping {
                self.waiting.stopped(&Ok(()));
            }
        } else {
            self.suspicion.silent();
            self.transition(Event::Silent { reason: (&error).into() }, true);
        }
    }
}
