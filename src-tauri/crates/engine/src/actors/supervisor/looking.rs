//! Looks at the server: probes, lists, and what their answers mean.

use super::{
    actor::{Inner, Supervisor},
    work::{self, Absence, Looked, Probe},
};
use crate::hub::Report;
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    lifecycle::{Event, ServerState},
    notice::Happening,
    server::{Backend, Ownership},
};
use pilothouse_servers::Found;
use pilothouse_system::process::{OwnedProcess, ProcessSpec};
use std::time::Duration;
use tokio::time::Instant;

const LOOK_STARTING: Duration = Duration::from_millis(100);
const LOOK_READY: Duration = Duration::from_secs(2);
const LOOK_IDLE: Duration = Duration::from_secs(5);
/// How often the program of a server that is not installed is looked for.
const LOCATE_EVERY: Duration = Duration::from_secs(60);
/// A server of somebody else, over a network: often enough for a person, rare enough for its owner.
const LOOK_REMOTE: Duration = Duration::from_secs(10);
/// Models change rarely: every so many looks at a ready server.
const MODELS_EVERY: u32 = 15;
/// How long an adopted server may take to be gone after its product was asked to stop it.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// By so much the wall clock runs ahead only when the machine slept.
const SLEPT: Duration = Duration::from_secs(30);

/// The longest time in which a remote server may say that it is loading, for those who wait for it.
const LOADING_LIMIT: Duration = Duration::from_secs(600);

/// HTTP 503: llama-server says so to every question until its model is in memory (reference/llama-server.md section 1), and
/// so do vLLM and proxies. That is no failure.
fn is_loading(error: &ApiError) -> bool {
    error.code == ErrorCode::ServerError && error.retry
}

impl Supervisor {
    /// After a sleep of the machine a server may have lost its GPU or its network: it is asked for a token at once. The
    /// monotonic clock stands still meanwhile, the wall clock does not; a clock that somebody sets looks the same and does no
    /// harm.
    fn look_for_sleep(&mut self) {
        let (instant, wall) = std::mem::replace(&mut self.looked_at, (Instant::now(), Timestamp::now()));
        let away = i64::try_from(instant.elapsed().as_millis()).unwrap_or(i64::MAX);
        let slept = self.looked_at.1.duration_since(wall).as_millis().saturating_sub(away.into());
        if slept > SLEPT.as_millis() as i128 && self.life.state.is_up() {
            self.say("the machine was asleep, or its clock was set; looking whether it still works");
            self.arouse();
        }
    }

    /// Time for a look at the server.
    pub(super) fn look(&mut self) {
        self.look_for_sleep();
        if self.life.state == ServerState::NotInstalled && self.located_at.elapsed() >= LOCATE_EVERY {
            self.locate();
        }
        match self.life.state {
            ServerState::Starting if self.connection.is_some() => {
                if let Some(started) = self.unheard {
                    return self.look_for_the_unheard(started);
                }
                // How long a remote one may take is its owner's matter; only the askers are told some day.
                let theirs = self.ownership == Some(Ownership::Remote);
                if !theirs && self.starting_since.elapsed() > self.start_limit() {
                    return self.start_timed_out();
                }
                self.probe(true);
            }
            ServerState::Ready | ServerState::Degraded => {
                self.looks += 1;
                let with_models = !self.listed || self.looks.is_multiple_of(MODELS_EVERY);
                self.probe(with_models);
                self.look_for_speech();
                self.look_for_work();
            }
            ServerState::Stopping if self.ownership == Some(Ownership::Adopted) => {
                if self.stopping_since.elapsed() > STOP_LIMIT {
                    let text = format!("{} was asked to stop but goes on.", self.title());
                    return self.asked_to_stop(Err(ApiError::new(ErrorCode::TimedOut, text)));
                }
                self.probe(false);
            }
            ServerState::Starting | ServerState::Stopping => {}
            _ if !self.probing => {
                self.probing = true;
                let adapter = self.adapter.clone();
                self.later(async move {
                    let Some(found) = adapter.find_running().await else {
                        return Inner::Alone(work::stranger(&*adapter).await, adapter.backend().await);
                    };
                    let stop = adapter.stop_commands(&adapter.locate().await).await;
                    Inner::Found(Some((found, stop)))
                });
            }
            _ => {}
        }
    }

    pub(super) fn look_interval(&self) -> Duration {
        match self.life.state {
            ServerState::Starting if self.ownership == Some(Ownership::Remote) => LOOK_READY,
            ServerState::Starting | ServerState::Stopping => LOOK_STARTING,
            ServerState::Ready | ServerState::Degraded if self.ownership == Some(Ownership::Remote) => {
                LOOK_REMOTE
            }
            ServerState::Ready | ServerState::Degraded => LOOK_READY,
            _ => LOOK_IDLE,
        }
    }

    pub(super) fn probe(&mut self, with_models: bool) {
        if !self.probing {
            self.begin_probe(with_models);
        }
    }

    /// Looks at once, also beside a look under way: that one may have been answered already. Gives the number of the look.
    pub(super) fn begin_probe(&mut self, with_models: bool) -> u64 {
        let Some(connection) = &self.connection else { return self.probes_begun };
        self.probing = true;
        self.probes_begun += 1;
        let number = self.probes_begun;
        let looked = Looked {
            connection: connection.clone(),
            pid: self.process.as_ref().map(OwnedProcess::pid).or(self.adopted_pid),
            found: self.adopted,
            may_be_gone: self.ownership == Some(Ownership::Adopted),
        };
        let (generation, adapter) = (self.generation, self.adapter.clone());
        let processes = self.around.processes.clone();
        self.later(async move {
            let probe = work::probe(&looked, &*adapter, &processes, with_models).await;
            Inner::Probed { generation, number, probe }
        });
        number
    }

    pub(super) fn found(&mut self, found: Option<(Found, Option<Vec<ProcessSpec>>)>) {
        self.probing = false;
        let idle = matches!(
            self.life.state,
            ServerState::Stopped
                | ServerState::NotInstalled
                | ServerState::Failed
                | ServerState::GaveUp
                | ServerState::NotOurs
        );
        if let (Some((found, stop)), true) = (found, idle) {
            self.adopt(found, stop);
        }
    }

    /// Nobody of its kind runs. A stranger at its address is said before somebody tries to start it there.
    pub(super) fn alone(&mut self, stranger: Option<ApiError>, backend: Option<Backend>) {
        self.probing = false;
        if self.backend != backend {
            self.backend = backend;
            self.publish();
        }
        match stranger {
            Some(error) if matches!(self.life.state, ServerState::Stopped | ServerState::NotOurs) => {
                self.transition(Event::PortHeld { reason: error.message.clone() }, true);
                self.hint = error.hint;
                self.publish();
            }
            None if self.life.state == ServerState::NotOurs => {
                self.say("its address is free again");
                self.transition(Event::PortFree, true);
                if self.wanted {
                    self.transition(Event::StartWanted, true);
                }
            }
            _ => {}
        }
    }

    pub(super) fn probed(&mut self, number: u64, probe: Probe) {
        self.probing = number < self.probes_begun;
        if number < self.probe_seen {
            return;
        }
        self.probe_seen = number;
        let id = self.adapter.id();
        match probe.health {
            Ok(health) => {
                if let Some(backend) = probe.backend {
                    self.version = backend.version.clone().or(self.version.take());
                    self.backend = Some(backend);
                }
                for odd in &probe.odd {
                    self.say(odd);
                }
                if health.version.is_some() {
                    self.version = health.version;
                }
                if let Some(models) = probe.models {
                    self.listed = true;
                    self.around.hub.report(Report::Models { server: id.clone(), models });
                }
                if let Some(instances) = probe.instances {
                    let mut instances = self.really_there(probe.runners, instances);
                    for instance in &mut instances {
                        let before = self.instances.iter().find(|before| before.id == instance.id);
                        instance.orphaned_answers = before.and_then(|before| before.orphaned_answers);
                    }
                    self.note_ports(&instances);
                    self.instances.clone_from(&instances);
                    self.around.hub.report(Report::Instances { server: id, instances });
                }
                match self.ownership {
                    Some(Ownership::Remote) if !self.life.state.is_up() => {
                        self.say("answers");
                        self.transition(Event::FoundRunning, true);
                    }
                    _ => self.transition(Event::Answered, true),
                }
                self.publish();
                self.answered();
            }
            Err(error) => self.unanswered(error, probe.absence),
        }
        self.waiting.listed(number);
        if std::mem::take(&mut self.probe_again) {
            self.probe(false);
        }
    }

    pub(super) fn answered(&mut self) {
        self.unheard = None;
        self.suspicion.answered();
        let ready_for = self.ready_since.get_or_insert_with(Instant::now).elapsed();
        self.life.healthy_for(ready_for.as_millis() as u64, &self.around.policy);
        if let Some((at, reason)) = self.lost.take() {
            self.happened(Happening::CrashedAndBack {
                server: self.adapter.id(),
                server_title: self.title(),
                reason,
                away_ms: at.elapsed().as_millis() as u64,
            });
        }
        if let Some(connection) = self.connection.clone() {
            self.waiting.ready(&Ok(connection));
        }
    }

    pub(super) fn unanswered(&mut self, error: ApiError, absence: Absence) {
        // We could not even ask (no file descriptor left): that is no silence, and what was silence before is unproven.
        if error.code == ErrorCode::System {
            tracing::warn!(server = %self.adapter.id(), %error, "could not be asked");
            return self.suspicion.not_asked();
        }
        if self.ownership == Some(Ownership::Remote) && !self.life.state.is_up() {
            return match is_loading(&error) && self.starting_since.elapsed() < LOADING_LIMIT {
                true => self.loading(error),
                false => self.unreached(error),
            };
        }
        // A connection that breaks off, or that nobody takes for a while, is no end. Where its process has ended another one may
        // have taken its place already: that one gets a second look.
        let gone = absence.refused || (absence.ended && self.suspicion.silent_since.is_some());
        if gone {
            self.say("is gone");
            let stopping = self.life.state == ServerState::Stopping;
            self.disconnect();
            self.transition(Event::Gone { reason: "It was stopped by somebody else.".into() }, true);
            if stopping {
                self.waiting.stopped(&Ok(()));
            }
        } else {
            self.suspicion.silent();
            self.transition(Event::Silent { reason: error.message }, true);
            if self.life.state == ServerState::Degraded && self.hint != error.hint {
                self.hint = error.hint;
                self.publish();
            }
        }
    }
}
