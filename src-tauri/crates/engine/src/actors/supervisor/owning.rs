//! How a server becomes ours or adopted, and how that ends.

use super::{
    Connection,
    actor::{GRACE, Inner, Launched, Supervisor, output_path},
    ended,
    record::Record,
    suspicion::Suspicion,
    work::{self, Started},
};
use crate::{hub::Report, server_log::foreign};
use pilothouse_domain::{
    Timestamp,
    endpoint::Endpoint,
    error::{ApiError, ErrorCode},
    lifecycle::{Effect, Event, ServerState},
    notice::Happening,
    runner::Runners,
    server::Ownership,
};
use pilothouse_servers::{Found, Installation};
use pilothouse_system::process::{Exit, Identity, OwnedProcess, ProcessSpec};
use std::{path::PathBuf, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// So many looks at a server that starts, one each 100 ms, lie between two looks at what its processes do.
const EVIDENCE_EVERY: u32 = 20;
/// Its processes must have done nothing for so long before it is ended.
const STILL_FOR: Duration = Duration::from_secs(10);

impl Supervisor {
    pub(super) async fn shutdown(mut self, reply: oneshot::Sender<()>, results: mpsc::Receiver<Inner>) {
        self.end_start(results).await;
        if let Some(process) = self.process.take() {
            self.say("stopping, because Pilothouse ends");
            process.stop(GRACE).await;
            Record::remove(&self.around.run_dir, &self.adapter.id(), &self.files);
        }
        if let Some(ending) = self.ending.take() {
            let _ = ending.await;
        }
        let _ = std::fs::remove_file(output_path(&self.around, &self.adapter.id()));
        self.waiting.ready(&Err(ended()));
        let _ = reply.send(());
    }

    /// A start under way ends before it has a process, or its process is ours to stop.
    async fn end_start(&mut self, mut results: mpsc::Receiver<Inner>) {
        self.start_cancel.cancel();
        let Some(mut starting) = self.starting.take() else { return };
        let mut told = Vec::new();
        while !starting.is_finished() {
            tokio::select! {
                Some(result) = results.recv() => told.push(result),
                _ = &mut starting => break,
            }
        }
        told.extend(std::iter::from_fn(|| results.try_recv().ok()));
        for result in told {
            match result {
                Inner::Started { launch, result: Some(Ok((Started::Own { process, files, .. }, _))) }
                    if launch == self.launch =>
                {
                    self.files = files;
                    self.process = Some(process);
                }
                Inner::Started { result, .. } => self.came_too_late(result),
                Inner::Readopted(Some(process), record) => {
                    self.files = record.files;
                    self.process = Some(process);
                }
                _ => {}
            }
        }
    }

    /// A launch ended after somebody had asked it to stop.
    pub(super) fn called_off(&mut self) {
        if self.life.state == ServerState::Stopping {
            self.transition(Event::Gone { reason: String::new() }, true);
        }
    }

    /// The process of an earlier launch: another one is under way, or has taken its place.
    pub(super) fn came_too_late(&mut self, result: Option<Launched>) {
        let Some(Ok((Started::Own { process, files, .. }, _))) = result else { return };
        self.say(&format!("process {} was started too late; ending it", process.pid()));
        let before = self.ending.take();
        self.ending = Some(tokio::spawn(async move {
            process.stop(GRACE).await;
            for file in files {
                let _ = std::fs::remove_file(file);
            }
            if let Some(before) = before {
                let _ = before.await;
            }
        }));
    }

    pub(super) fn located(&mut self, installation: Installation) {
        match installation {
            Installation::Installed { program, version } => {
                self.program = Some(program);
                if self.version.is_none() {
                    self.version = version;
                }
                self.hint = None;
                self.transition(Event::ProgramFound, true);
                self.publish();
            }
            // The launch under way looks by itself, and tells those who wait.
            Installation::NotInstalled { .. } if self.launching => {}
            Installation::NotInstalled { reason, hint } => {
                self.transition(Event::ProgramMissing, true);
                if self.life.state == ServerState::NotInstalled {
                    self.life.reason = Some(reason);
                    self.hint = Some(hint);
                    self.publish();
                }
            }
        }
    }

    pub(super) fn readopted(&mut self, process: Option<OwnedProcess>, record: Record) {
        self.launching = false;
        let wanted = self.life.state == ServerState::Starting;
        match process {
            Some(process) => {
                self.say("found again: an earlier Pilothouse started it and ended without stopping it");
                let (endpoint, at) = (record.endpoint(), record.at);
                self.own_since(process, endpoint, record.program, record.files, at);
                self.unheard = Some(at);
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

    pub(super) fn started(&mut self, started: Started, stop: Option<Vec<ProcessSpec>>) {
        match started {
            Started::Adopted(found) if self.life.state == ServerState::Starting => self.adopt(found, stop),
            Started::Adopted(found) => self.adopted_too_late(found, stop),
            Started::Own { process, endpoint, program, files } => {
                if self.life.state != ServerState::Starting {
                    // Somebody asked it to stop while it was being launched.
                    self.own(process, endpoint, program, files);
                    self.carry_out(Effect::Stop);
                    return;
                }
                self.say(&format!("started {} as process {}", program.display(), process.pid()));
                self.own(process, endpoint, program, files);
                self.transition(Event::Spawned, true);
            }
        }
    }

    /// A product has started itself, or ran already, and meanwhile somebody wants it to stop.
    fn adopted_too_late(&mut self, found: Found, stop: Option<Vec<ProcessSpec>>) {
        if self.life.state != ServerState::Stopping || stop.is_none() {
            // The next look finds it.
            return self.called_off();
        }
        self.connect(found.endpoint);
        self.ownership = Some(Ownership::Adopted);
        self.adopted_pid = found.pid;
        self.adopted = found.pid.and_then(Identity::of);
        self.stop_commands = stop;
        self.carry_out(Effect::Stop);
    }

    pub(super) fn own(
        &mut self,
        process: OwnedProcess,
        endpoint: Endpoint,
        program: PathBuf,
        files: Vec<PathBuf>,
    ) {
        self.own_since(process, endpoint, program, files, Timestamp::now());
    }

    /// `at`: when it was started.
    fn own_since(
        &mut self,
        process: OwnedProcess,
        endpoint: Endpoint,
        program: PathBuf,
        files: Vec<PathBuf>,
        at: Timestamp,
    ) {
        self.connect(endpoint.clone());
        let record = Record {
            identity: process.identity(),
            base_url: endpoint.base_url,
            key: endpoint.key.map(|key| key.expose().to_owned()),
            program: program.clone(),
            files: files.clone(),
            at,
        };
        record.write(&self.around.run_dir, &self.adapter.id());
        self.files = files;
        self.program = Some(program);
        self.ownership = Some(Ownership::Ours);
        self.adopted_pid = None;
        self.adopted = None;
        let (generation, watched) = (self.generation, process.clone());
        self.process = Some(process);
        self.later(async move { Inner::Ended { generation, exit: watched.ended().await } });
        self.starting_since = Instant::now();
        self.publish();
    }

    pub(super) fn adopt(&mut self, found: Found, stop: Option<Vec<ProcessSpec>>) {
        let found_as = self.adapter.found_as();
        if found_as == Ownership::Adopted {
            // First what it wrote before, so that its log and ours stand in the order of time.
            self.foreign_tail = found.log.as_ref().and_then(|place| foreign::follow(place, &self.around.log));
            self.say(&format!("found running at {}", found.endpoint.base_url));
            if let Some(place) = &found.log {
                self.say(&format!("its own log: {place}"));
            }
        }
        self.connect(found.endpoint);
        self.ownership = Some(found_as);
        self.adopted_pid = found.pid;
        self.adopted = found.pid.and_then(Identity::of);
        self.keeper = found.keeper;
        self.left_to_owner = found.left_to_owner;
        self.version = found.version.or(self.version.take());
        self.stop_commands = stop;
        self.lost = None;
        if found_as == Ownership::Adopted {
            self.transition(Event::FoundRunning, true);
            self.publish();
        }
        self.probe(true);
    }

    /// A remote server answers that it is not yet ready.
    pub(super) fn loading(&mut self, error: ApiError) {
        if self.life.state != ServerState::Starting {
            self.transition(Event::StartWanted, false);
        }
        if self.life.reason.as_ref() != Some(&error.message) {
            self.say(&format!("is not ready yet: {error}"));
            self.life.reason = Some(error.message);
            self.hint = None;
            self.publish();
        }
    }

    /// A remote server did not answer the first probe of a connection; the next look tries again.
    pub(super) fn unreached(&mut self, error: ApiError) {
        if self.life.state == ServerState::Starting || self.life.reason.as_ref() != Some(&error.message) {
            self.say(&format!("cannot be used: {error}"));
        }
        self.transition(Event::StartFailed { reason: error.message.clone() }, true);
        self.life.reason = Some(error.message.clone());
        self.hint.clone_from(&error.hint);
        self.publish();
        self.waiting.ready(&Err(error));
    }

    /// Another key is kept now: whoever is not ours is connected to anew.
    pub(super) fn key_changed(&mut self) {
        if self.ownership == Some(Ownership::Ours) {
            return;
        }
        self.say("its key was changed");
        self.disconnect();
        self.transition(Event::Gone { reason: "Its key was changed.".into() }, true);
        match self.adapter.found_as() {
            Ownership::Remote => self.transition(Event::StartWanted, true),
            _ => self.look(),
        }
    }

    pub(super) fn connect(&mut self, endpoint: Endpoint) {
        self.generation += 1;
        self.listed = false;
        self.probing = false;
        // An answer of the connection before is not heard any more.
        self.suspicion.forget_questions();
        self.connection = Some(Connection { client: self.adapter.client(&endpoint), endpoint });
    }

    pub(super) fn disconnect(&mut self) {
        self.generation += 1;
        self.connection = None;
        self.process = None;
        self.unheard = None;
        self.foreign_tail = None;
        self.ownership = None;
        self.adopted_pid = None;
        self.adopted = None;
        self.keeper = None;
        self.left_to_owner = false;
        self.ready_since = None;
        self.probing = false;
        self.suspicion = Suspicion::default();
        self.runners = Runners::default();
        self.watched.clear();
        self.waiting.listed(self.probes_begun);
        self.instances.clear();
        self.ports.clear();
        self.around.hub.report(Report::Instances { server: self.adapter.id(), instances: vec![] });
    }

    pub(super) fn failed(&mut self, error: ApiError) {
        let missing = error.code == ErrorCode::NotInstalled;
        self.say(&format!("could not be started: {error}"));
        self.disconnect();
        let event = match error.code {
            ErrorCode::NotInstalled => Event::ProgramMissing,
            ErrorCode::PortTaken => Event::PortHeld { reason: error.message.clone() },
            _ => Event::StartFailed { reason: error.message.clone() },
        };
        self.transition(event, true);
        self.life.reason = Some(error.message.clone());
        self.hint.clone_from(&error.hint);
        self.publish();
        if !missing {
            self.happened(Happening::CannotStart {
                server: self.adapter.id(),
                server_title: self.title(),
                error: error.clone(),
            });
        }
        self.waiting.ready(&Err(error));
    }

    pub(super) fn process_ended(&mut self, exit: &Exit) {
        let lines: Vec<String> = self.around.log.last(20).into_iter().map(|line| line.line).collect();
        let error = self.adapter.explain_exit(exit, &lines);
        let wanted = matches!(self.life.state, ServerState::Stopping | ServerState::Stopped);
        self.say(&if wanted { "stopped".to_owned() } else { format!("{exit}: {error}") });
        Record::remove(&self.around.run_dir, &self.adapter.id(), &self.files);
        self.disconnect();
        // A binary for another processor or a taken port will not get better by trying again.
        let hopeless = matches!(error.code, ErrorCode::CpuTooOld | ErrorCode::PortTaken);
        if hopeless && self.life.state == ServerState::Starting {
            return self.failed(error);
        }
        let reason = self.hung.take().unwrap_or_else(|| exit.to_string());
        if !wanted && self.lost.is_none() {
            self.lost = Some((Instant::now(), reason.clone()));
        }
        let now_ms = self.clock.elapsed().as_millis() as u64;
        let jitter = rand::random_range(-1.0..=1.0);
        self.transition(Event::Exited { reason, now_ms, jitter }, true);
        if self.life.state == ServerState::GaveUp {
            let reason = self.life.reason.clone().unwrap_or_default();
            self.lost = None;
            self.hint = Some("Look at its log, then start it again.".into());
            self.publish();
            self.happened(Happening::GaveUp {
                server: self.adapter.id(),
                server_title: self.title(),
                reason: reason.clone(),
            });
            self.waiting.ready(&Err(error));
        }
    }

    pub(super) fn asked_to_stop(&mut self, result: Result<(), ApiError>) {
        if let Err(error) = result {
            self.say(&format!("could not be stopped: {error}"));
            self.waiting.stopped(&Err(error));
            self.transition(Event::StopFailed, true);
        } else {
            self.probe(false);
        }
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
        if let Some(process) = self.process.take() {
            self.ending = Some(tokio::spawn(async move {
                process.stop(GRACE).await;
            }));
        }
        Record::remove(&self.around.run_dir, &self.adapter.id(), &self.files);
        self.failed(error);
    }

    /// What an earlier life of ours left behind is silent and does nothing: a fresh one takes its place. It has worked before, so
    /// silence alone proves nothing: beside busy neighbours a server is silent for a minute.
    pub(super) fn look_for_the_unheard(&mut self, started: Timestamp) {
        self.looks += 1;
        if self.looks.is_multiple_of(EVIDENCE_EVERY) {
            self.look_for_work();
        }
        let age = Timestamp::now().duration_since(started).unsigned_abs();
        if age < self.start_limit() || self.suspicion.still_for() < STILL_FOR {
            return self.probe(true);
        }
        self.say("does not answer and does nothing; ending it and starting another");
        if let Some(process) = self.process.take() {
            self.ending = Some(tokio::spawn(async move {
                process.stop(GRACE).await;
            }));
        }
        Record::remove(&self.around.run_dir, &self.adapter.id(), &self.files);
        self.disconnect();
        self.spawn();
    }

    pub(super) fn spawn(&mut self) {
        self.starting_since = Instant::now();
        let (adapter, output) = (self.adapter.clone(), output_path(&self.around, &self.adapter.id()));
        self.start_cancel.cancel();
        self.start_cancel = CancellationToken::new();
        self.launch += 1;
        self.launching = true;
        let (inner, cancel, launch) = (self.inner.clone(), self.start_cancel.clone(), self.launch);
        let before = [self.starting.take(), self.ending.take()];
        self.starting = Some(tokio::spawn(async move {
            // What is still on its way out would hold the port.
            for one in before.into_iter().flatten() {
                let _ = one.await;
            }
            let start = async {
                match work::start(&*adapter, &output, &cancel).await {
                    Ok(Some(started @ Started::Adopted(_))) => {
                        let stop = adapter.stop_commands(&adapter.locate().await).await;
                        Ok(Some((started, stop)))
                    }
                    Ok(started) => Ok(started.map(|started| (started, None))),
                    Err(error) => Err(error),
                }
            };
            // What was called off in time has no result; what has begun is told in any case: somebody must stop it.
            let result = start.await.transpose();
            drop(inner.send(Inner::Started { launch, result }).await);
        }));
    }
}
