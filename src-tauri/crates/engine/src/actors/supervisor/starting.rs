//! How a server is started, or found again, and what comes of it.

use super::{
    actor::{GRACE, Supervisor},
    outcome::{Launched, Outcome},
    output::output_path,
    record::Record,
    work::{self, Started},
};
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    lifecycle::{Effect, Event, Reason, ServerState},
    notice::Happening,
};
use pilothouse_servers::{Installation, ServerAdapter};
use pilothouse_system::process::{OwnedProcess, ProcessSpec};
use std::{path::Path, time::Duration};
use tokio_util::sync::CancellationToken;

/// So many rounds at a server that starts, one each 100 ms, lie between two readings of what its processes do.
const EVIDENCE_EVERY: u32 = 20;
/// Its processes must have done nothing for so long before it is ended.
const STILL_FOR: Duration = Duration::from_secs(10);

impl Supervisor {
    pub(super) fn begin(&mut self, autostart: bool) {
        self.publish();
        self.autostart = autostart;
        let id = self.adapter.id();
        if let Some(record) = Record::read(&self.around.run_dir, &id) {
            self.transition(Event::StartWanted, false);
            let outcomes = self.outcomes.clone();
            self.launches.begin(|launch, _| async move {
                let process = OwnedProcess::readopt(record.identity);
                drop(outcomes.send(Outcome::Readopted { launch, process, record }).await);
            });
        } else if autostart {
            self.transition(Event::StartWanted, true);
        } else {
            self.locate();
        }
    }

    /// Looks for its program.
    pub(super) fn locate(&mut self) {
        self.program.is_looked_for();
        let adapter = self.adapter.clone();
        self.later(async move { Outcome::Located(adapter.locate().await) });
    }

    pub(super) fn spawn(&mut self) {
        self.life.begin_start();
        let (adapter, output) = (self.adapter.clone(), output_path(&self.around, &self.adapter.id()));
        let (outcomes, run_dir) = (self.outcomes.clone(), self.around.run_dir.clone());
        self.launches.begin(|launch, cancel| async move {
            let result = launched(&*adapter, &run_dir, &output, &cancel).await;
            drop(outcomes.send(Outcome::Started { launch, result }).await);
        });
    }

    pub(super) fn located(&mut self, installation: Installation) {
        match installation {
            Installation::Installed { program, version } => {
                self.program.located(program, version);
                let missed = self.life.state() == ServerState::NotInstalled;
                self.transition(Event::ProgramFound, true);
                self.publish();
                if missed && self.autostart {
                    self.say("its program is there now");
                    self.transition(Event::StartWanted, true);
                }
            }
            // The launch under way looks by itself, and tells those who wait.
            Installation::NotInstalled { .. } if self.launches.is_under_way() => {}
            Installation::NotInstalled { reason, hint } => {
                let reason = Reason { text: reason, hint: Some(hint) };
                self.transition(Event::ProgramMissing { reason }, true);
            }
        }
        self.waiting.located();
    }

    pub(super) fn readopted(&mut self, launch: u64, process: Option<OwnedProcess>, record: Record) {
        self.launches.ended(launch);
        let wanted = self.life.state() == ServerState::Starting;
        match process {
            Some(process) => {
                self.say("found again: an earlier Pilothouse started it and ended without stopping it");
                let (endpoint, at) = (record.endpoint(), record.at);
                self.own(process, endpoint, record.program, record.files, Some(at));
                if !wanted {
                    self.carry_out(Effect::Stop);
                }
            }
            None => {
                Record::remove(&self.around.run_dir, &self.adapter.id(), &record.files);
                if wanted { self.spawn() } else { self.called_off() }
            }
        }
    }

    pub(super) fn launch_ended(&mut self, launch: u64, result: Option<Launched>) {
        if !self.launches.ended(launch) {
            return self.came_too_late(result);
        }
        match result {
            Some(Ok((started, stop))) => self.started(started, stop),
            Some(Err(error)) if self.life.state() == ServerState::Starting => self.failed(error),
            Some(Err(error)) => {
                self.waiting.ready(&Err(error));
                self.called_off();
            }
            None => self.called_off(),
        }
    }

    fn started(&mut self, started: Started, stop: Option<Vec<ProcessSpec>>) {
        let wanted = self.life.state() == ServerState::Starting;
        match started {
            Started::Adopted(found) if wanted => self.adopt(found, stop),
            Started::Adopted(found) => self.adopted_too_late(found, stop),
            Started::Own { process, endpoint, program, files } => {
                if !wanted {
                    // Somebody asked it to stop while it was being launched.
                    self.own(process, endpoint, program, files, None);
                    self.carry_out(Effect::Stop);
                    return;
                }
                self.say(&format!("started {} as process {}", program.display(), process.pid()));
                self.own(process, endpoint, program, files, None);
                self.transition(Event::Spawned, true);
            }
        }
    }

    /// A launch ended after somebody had asked it to stop.
    pub(super) fn called_off(&mut self) {
        if self.life.state() == ServerState::Stopping {
            self.transition(Event::Gone { reason: Reason::default() }, true);
        }
    }

    /// The process of an earlier launch: another one is under way, or has taken its place. What was made for it has the names of
    /// what is made for that one, and stays.
    pub(super) fn came_too_late(&mut self, result: Option<Launched>) {
        let Some(Ok((Started::Own { process, .. }, _))) = result else { return };
        self.say(&format!("process {} was started too late; ending it", process.pid()));
        self.launches.end_first(async move {
            process.stop(GRACE).await;
        });
    }

    pub(super) fn failed(&mut self, error: ApiError) {
        let missing = error.code == ErrorCode::NotInstalled;
        self.say(&format!("could not be started: {error}"));
        self.disconnect();
        let reason = Reason::from(&error);
        let event = match error.code {
            ErrorCode::NotInstalled => Event::ProgramMissing { reason },
            ErrorCode::PortTaken => Event::PortHeld { reason },
            _ => Event::StartFailed { reason },
        };
        self.transition(event, true);
        if !missing {
            self.happened(Happening::CannotStart {
                server: self.adapter.id(),
                server_title: self.title(),
                error: error.clone(),
            });
        }
        self.waiting.ready(&Err(error));
    }

    /// A remote server answers that it is not yet ready.
    pub(super) fn loading(&mut self, error: ApiError) {
        if self.life.state() != ServerState::Starting || !self.life.says(&error) {
            self.say(&format!("is not ready yet: {error}"));
        }
        self.transition(Event::Loading { reason: error.message.into() }, true);
    }

    /// A remote server did not answer the first probe of a connection; the next round tries again.
    pub(super) fn unreached(&mut self, error: ApiError) {
        if self.life.state() == ServerState::Starting || !self.life.says(&error) {
            self.say(&format!("cannot be used: {error}"));
        }
        self.transition(Event::StartFailed { reason: (&error).into() }, true);
        self.waiting.ready(&Err(error));
    }

    pub(super) fn start_limit(&self) -> Duration {
        match self.around.policy.start_ms {
            0 => self.adapter.start_limit(),
            ms => Duration::from_millis(ms),
        }
    }

    pub(super) fn start_timed_out(&mut self) {
        let error = ApiError::new(
            ErrorCode::TimedOut,
            format!("{} did not answer within {} s.", self.title(), self.start_limit().as_secs()),
        )
        .hint("Look at its log.");
        self.end_own();
        self.failed(error);
    }

    /// What an earlier life of ours left behind is silent and does nothing: a fresh one takes its place. It has worked before, so
    /// silence alone proves nothing: beside busy neighbours a server is silent for a minute.
    pub(super) fn judge_unheard(&mut self, started: Timestamp) {
        if self.contact.next_round().is_multiple_of(EVIDENCE_EVERY) {
            self.read_work_if_suspect();
        }
        let age = Timestamp::now().duration_since(started).unsigned_abs();
        if age < self.start_limit() || self.suspicion.still_for() < STILL_FOR {
            return self.probe(true);
        }
        self.say("does not answer and does nothing; ending it and starting another");
        self.end_own();
        self.disconnect();
        self.spawn();
    }

    /// Ends a process of ours that never answered, before anything else is started.
    fn end_own(&mut self) {
        let Some(own) = self.owner.take_own() else { return };
        self.launches.end_first(async move {
            own.process.stop(GRACE).await;
        });
        Record::remove(&self.around.run_dir, &self.adapter.id(), &own.files);
    }
}

/// What was called off in time has no result; what has begun is told in any case: somebody must stop it.
async fn launched(
    adapter: &dyn ServerAdapter,
    run_dir: &Path,
    output: &Path,
    cancel: &CancellationToken,
) -> Option<Launched> {
    match work::start(adapter, run_dir, output, cancel).await {
        Ok(Some(started @ Started::Adopted(_))) => {
            let stop = adapter.stop_commands(&adapter.locate().await).await;
            Some(Ok((started, stop)))
        }
        Ok(started) => started.map(|started| Ok((started, None))),
        Err(error) => Some(Err(error)),
    }
}
