use super::{
    Ask, Connection, Surroundings, ended,
    record::Record,
    waiting::Waiting,
    work::{self, Probe, Started},
};
use crate::{
    api::LogSource,
    hub::Report,
    ports::{Endpoint, Exit, Found, Installation, ProcessSpec, ServerAdapter},
    process::{OutputTail, OwnedProcess},
};
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    lifecycle::{Effect, Event, Life, ServerState},
    notice::Happening,
    server::{Ownership, ServerId},
    snapshot::ServerView,
};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

const LOOK_STARTING: Duration = Duration::from_millis(100);
const LOOK_READY: Duration = Duration::from_secs(2);
const LOOK_IDLE: Duration = Duration::from_secs(5);
/// Models change rarely: every so many looks at a ready server.
const MODELS_EVERY: u32 = 15;
/// How long a process of ours may take to end after SIGTERM.
pub(super) const GRACE: Duration = Duration::from_secs(3);

/// How long an adopted server may take to be gone after its product was asked to stop it.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Results of slow work. `generation` tells which process or connection they are about: late ones are dropped.
enum Inner {
    Located(Installation),
    Found(Option<(Found, Option<Vec<ProcessSpec>>)>),
    Readopted(Option<OwnedProcess>, Record),
    Started(Result<(Started, Option<Vec<ProcessSpec>>), ApiError>),
    Ended { generation: u64, exit: Exit },
    Probed { generation: u64, probe: Probe },
    BackoffOver { generation: u64 },
    Asked { generation: u64, result: Result<(), ApiError> },
}

pub(super) struct Supervisor {
    adapter: Arc<dyn ServerAdapter>,
    around: Surroundings,
    inner: mpsc::Sender<Inner>,
    results: Option<mpsc::Receiver<Inner>>,
    life: Life,
    since: Timestamp,
    hint: Option<String>,
    /// The program, once it has been found.
    program: Option<PathBuf>,
    connection: Option<Connection>,
    ownership: Option<Ownership>,
    process: Option<OwnedProcess>,
    /// Files that live as long as our process.
    files: Vec<PathBuf>,
    adopted_pid: Option<u32>,
    /// How an adopted server can be asked to stop.
    stop_commands: Option<Vec<ProcessSpec>>,
    version: Option<String>,
    generation: u64,
    waiting: Waiting,
    probing: bool,
    looks: u32,
    listed: bool,
    clock: Instant,
    starting_since: Instant,
    stopping_since: Instant,
    ready_since: Option<Instant>,
    /// When and why our process was lost, until it is back.
    lost: Option<(Instant, String)>,
    _tail: OutputTail,
}

impl Supervisor {
    pub fn new(adapter: Arc<dyn ServerAdapter>, around: Surroundings) -> Self {
        let (inner, results) = mpsc::channel(64);
        let now = Instant::now();
        let log = around.log.clone();
        let tail = OutputTail::follow(output_path(&around, &adapter.id()), move |line| {
            log.push(LogSource::Server, line);
        });
        Self {
            life: Life::new(ServerState::Stopped),
            adapter,
            around,
            inner,
            results: Some(results),
            since: Timestamp::now(),
            hint: None,
            program: None,
            connection: None,
            ownership: None,
            process: None,
            files: Vec::new(),
            adopted_pid: None,
            stop_commands: None,
            version: None,
            generation: 0,
            waiting: Waiting::default(),
            probing: false,
            looks: 0,
            listed: false,
            clock: now,
            starting_since: now,
            stopping_since: now,
            ready_since: None,
            lost: None,
            _tail: tail,
        }
    }

    pub async fn run(mut self, mut asks: mpsc::Receiver<Ask>, autostart: bool) {
        let Some(mut results) = self.results.take() else { return };
        self.begin(autostart);
        let mut look = Instant::now();
        loop {
            tokio::select! {
                ask = asks.recv() => match ask {
                    Some(Ask::Shutdown(reply)) => return self.shutdown(reply).await,
                    Some(ask) => self.on_ask(ask),
                    None => return,
                },
                Some(result) = results.recv() => self.on_result(result),
                () = tokio::time::sleep_until(look) => {
                    self.look();
                    look = Instant::now() + self.look_interval();
                    continue;
                }
            }
            look = look.min(Instant::now() + self.look_interval());
        }
    }

    fn begin(&mut self, autostart: bool) {
        self.publish();
        let id = self.adapter.id();
        if let Some(record) = Record::read(&self.around.run_dir, &id) {
            let adapter = self.adapter.clone();
            self.transition(Event::StartWanted, false);
            self.later(async move { Inner::Readopted(work::readopt(&*adapter, &record).await, record) });
        } else if autostart {
            self.transition(Event::StartWanted, true);
        } else {
            let adapter = self.adapter.clone();
            self.later(async move { Inner::Located(adapter.locate().await) });
        }
    }

    fn on_ask(&mut self, ask: Ask) {
        match ask {
            Ask::EnsureReady(reply) => self.ensure_ready(reply),
            Ask::Stop(reply) => self.stop(reply),
            Ask::Refresh(reply) if self.connection.is_some() && self.life.state.is_up() => {
                self.waiting.for_list(reply);
                self.probe(true);
            }
            Ask::Refresh(reply) | Ask::Shutdown(reply) => drop(reply.send(())),
            Ask::Policy(policy) => self.around.policy = policy,
        }
    }

    fn ensure_ready(&mut self, reply: oneshot::Sender<Result<Connection, ApiError>>) {
        match (self.life.state, &self.connection) {
            (ServerState::Ready | ServerState::Degraded, Some(connection)) => {
                let _ = reply.send(Ok(connection.clone()));
            }
            (ServerState::Stopping, _) => {
                let text = format!("{} is just being stopped.", self.title());
                let _ = reply.send(Err(ApiError::new(ErrorCode::Busy, text).retryable()));
            }
            (state, _) => {
                self.waiting.for_ready(reply);
                if state == ServerState::NotInstalled {
                    // It may have been installed since; the start looks again.
                    self.transition(Event::ProgramFound, false);
                }
                self.transition(Event::StartWanted, true);
            }
        }
    }

    fn stop(&mut self, reply: oneshot::Sender<Result<(), ApiError>>) {
        let adopted = self.ownership == Some(Ownership::Adopted);
        if adopted && self.life.state.is_up() && self.stop_commands.is_none() {
            let text = format!("{} was not started by Pilothouse, so Pilothouse does not stop it.", self.title());
            let hint = "Stop it where it was started.";
            let _ = reply.send(Err(ApiError::new(ErrorCode::NotOurs, text).hint(hint)));
            return;
        }
        self.waiting.for_stop(reply);
        self.transition(Event::StopWanted, true);
        if matches!(self.life.state, ServerState::Stopped | ServerState::NotInstalled) {
            self.waiting.stopped(&Ok(()));
        }
    }

    async fn shutdown(mut self, reply: oneshot::Sender<()>) {
        if let Some(process) = self.process.take() {
            self.say("stopping, because Pilothouse ends");
            process.stop(GRACE).await;
            Record::remove(&self.around.run_dir, &self.adapter.id(), &self.files);
            let _ = std::fs::remove_file(output_path(&self.around, &self.adapter.id()));
        }
        self.waiting.ready(&Err(ended()));
        let _ = reply.send(());
    }

    fn on_result(&mut self, result: Inner) {
        match result {
            Inner::Located(installation) => self.located(installation),
            Inner::Found(found) => self.found(found),
            Inner::Readopted(process, record) => self.readopted(process, record),
            Inner::Started(Ok((started, stop))) => self.started(started, stop),
            Inner::Started(Err(error)) => self.failed(error),
            Inner::Ended { generation, exit } if generation == self.generation => self.process_ended(&exit),
            Inner::Probed { generation, probe } if generation == self.generation => self.probed(probe),
            Inner::BackoffOver { generation } if generation == self.generation => {
                self.transition(Event::BackoffOver, true);
            }
            Inner::Asked { generation, result } if generation == self.generation => self.asked_to_stop(result),
            _ => {}
        }
    }

    fn located(&mut self, installation: Installation) {
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

    fn found(&mut self, found: Option<(Found, Option<Vec<ProcessSpec>>)>) {
        self.probing = false;
        let idle = matches!(
            self.life.state,
            ServerState::Stopped | ServerState::NotInstalled | ServerState::Failed | ServerState::GaveUp
        );
        if let (Some((found, stop)), true) = (found, idle) {
            self.adopt(found, stop);
        }
    }

    fn readopted(&mut self, process: Option<OwnedProcess>, record: Record) {
        match process {
            Some(process) => {
                self.say("found again: an earlier Pilothouse started it and ended without stopping it");
                let endpoint = record.endpoint();
                self.own(process, endpoint, record.program, record.files);
            }
            None => {
                Record::remove(&self.around.run_dir, &self.adapter.id(), &record.files);
                self.spawn();
            }
        }
    }

    fn started(&mut self, started: Started, stop: Option<Vec<ProcessSpec>>) {
        match started {
            Started::Adopted(found) => self.adopt(found, stop),
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

    fn own(&mut self, process: OwnedProcess, endpoint: Endpoint, program: PathBuf, files: Vec<PathBuf>) {
        self.connect(endpoint.clone());
        let record = Record {
            identity: process.identity(),
            base_url: endpoint.base_url,
            key: endpoint.key.map(|key| key.expose().to_owned()),
            program: program.clone(),
            files: files.clone(),
        };
        record.write(&self.around.run_dir, &self.adapter.id());
        self.files = files;
        self.program = Some(program);
        self.ownership = Some(Ownership::Ours);
        self.adopted_pid = None;
        let (generation, watched) = (self.generation, process.clone());
        self.process = Some(process);
        self.later(async move { Inner::Ended { generation, exit: watched.ended().await } });
        self.starting_since = Instant::now();
        self.publish();
    }

    fn adopt(&mut self, found: Found, stop: Option<Vec<ProcessSpec>>) {
        self.say(&format!("found running at {}", found.endpoint.base_url));
        self.connect(found.endpoint);
        self.ownership = Some(Ownership::Adopted);
        self.adopted_pid = found.pid;
        self.version = found.version.or(self.version.take());
        self.stop_commands = stop;
        self.lost = None;
        self.transition(Event::FoundRunning, true);
        self.publish();
        self.probe(true);
    }

    fn connect(&mut self, endpoint: Endpoint) {
        self.generation += 1;
        self.listed = false;
        self.probing = false;
        self.connection = Some(Connection { client: self.adapter.client(&endpoint), endpoint });
    }

    fn disconnect(&mut self) {
        self.generation += 1;
        self.connection = None;
        self.process = None;
        self.ownership = None;
        self.adopted_pid = None;
        self.ready_since = None;
        self.probing = false;
        self.waiting.listed();
        self.around.hub.report(Report::Instances { server: self.adapter.id(), instances: vec![] });
    }

    fn failed(&mut self, error: ApiError) {
        let missing = error.code == ErrorCode::NotInstalled;
        self.say(&format!("could not be started: {error}"));
        self.disconnect();
        let event = match missing {
            true => Event::ProgramMissing,
            false => Event::StartFailed { reason: error.message.clone() },
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

    fn process_ended(&mut self, exit: &Exit) {
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
        if !wanted && self.lost.is_none() {
            self.lost = Some((Instant::now(), exit.to_string()));
        }
        let now_ms = self.clock.elapsed().as_millis() as u64;
        let jitter = rand::random_range(-1.0..=1.0);
        self.transition(Event::Exited { reason: exit.to_string(), now_ms, jitter }, true);
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

    fn probed(&mut self, probe: Probe) {
        self.probing = false;
        let id = self.adapter.id();
        match probe.health {
            Ok(health) => {
                if health.version.is_some() {
                    self.version = health.version;
                }
                if let Some(models) = probe.models {
                    self.listed = true;
                    self.around.hub.report(Report::Models { server: id.clone(), models });
                }
                if let Some(instances) = probe.instances {
                    self.around.hub.report(Report::Instances { server: id, instances });
                }
                self.transition(Event::Answered, true);
                self.publish();
                self.answered();
            }
            Err(error) => self.unanswered(error),
        }
        self.waiting.listed();
    }

    fn answered(&mut self) {
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

    fn unanswered(&mut self, error: ApiError) {
        let adopted = self.ownership == Some(Ownership::Adopted);
        if adopted && error.code == ErrorCode::Unreachable {
            self.say("is gone");
            let stopping = self.life.state == ServerState::Stopping;
            self.disconnect();
            self.transition(Event::Gone { reason: "It was stopped by somebody else.".into() }, true);
            if stopping {
                self.waiting.stopped(&Ok(()));
            }
        } else {
            self.transition(Event::Silent { reason: error.message }, true);
        }
    }

    fn asked_to_stop(&mut self, result: Result<(), ApiError>) {
        if let Err(error) = result {
            self.say(&format!("could not be stopped: {error}"));
            self.waiting.stopped(&Err(error));
            self.transition(Event::StopFailed, true);
        } else {
            self.probe(false);
        }
    }

    /// Time for a look at the server.
    fn look(&mut self) {
        match self.life.state {
            ServerState::Starting if self.connection.is_some() => {
                if self.starting_since.elapsed() > self.adapter.start_limit() {
                    return self.start_timed_out();
                }
                self.probe(true);
            }
            ServerState::Ready | ServerState::Degraded => {
                self.looks += 1;
                let with_models = !self.listed || self.looks.is_multiple_of(MODELS_EVERY);
                self.probe(with_models);
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
                    let Some(found) = adapter.find_running().await else { return Inner::Found(None) };
                    let stop = adapter.stop_commands(&adapter.locate().await).await;
                    Inner::Found(Some((found, stop)))
                });
            }
            _ => {}
        }
    }

    fn start_timed_out(&mut self) {
        let error = ApiError::new(
            ErrorCode::TimedOut,
            format!("{} did not answer within {} s.", self.title(), self.adapter.start_limit().as_secs()),
        )
        .hint("Look at its log.");
        if let Some(process) = self.process.take() {
            tokio::spawn(async move { process.stop(GRACE).await });
        }
        Record::remove(&self.around.run_dir, &self.adapter.id(), &self.files);
        self.failed(error);
    }

    fn look_interval(&self) -> Duration {
        match self.life.state {
            ServerState::Starting | ServerState::Stopping => LOOK_STARTING,
            ServerState::Ready | ServerState::Degraded => LOOK_READY,
            _ => LOOK_IDLE,
        }
    }

    fn probe(&mut self, with_models: bool) {
        let Some(connection) = &self.connection else { return };
        if std::mem::replace(&mut self.probing, true) && !self.waiting.wants_list() {
            return;
        }
        let (generation, client) = (self.generation, connection.client.clone());
        self.later(async move { Inner::Probed { generation, probe: work::probe(client, with_models).await } });
    }

    fn transition(&mut self, event: Event, carry_out: bool) {
        let (state, reason) = (self.life.state, self.life.reason.clone());
        let effects = self.life.on(event, &self.around.policy);
        if self.life.state != state {
            self.since = Timestamp::now();
            self.hint = None;
            tracing::info!(server = %self.adapter.id(), from = ?state, to = ?self.life.state, "server state");
        }
        if self.life.state == ServerState::Starting && state != ServerState::Starting {
            self.starting_since = Instant::now();
        }
        if self.life.state == ServerState::Stopping && state != ServerState::Stopping {
            self.stopping_since = Instant::now();
        }
        if self.life.state == ServerState::Stopped && state != ServerState::Stopped {
            self.waiting.stopped(&Ok(()));
            self.waiting.ready(&Err(ApiError::cancelled(format!("{} was stopped.", self.title()))));
        }
        if (self.life.state, &self.life.reason) != (state, &reason) {
            self.publish();
        }
        if carry_out {
            for effect in effects {
                self.carry_out(effect);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Spawn => self.spawn(),
            Effect::RestartAfter { ms } => {
                self.say(&format!("starting it again in {ms} ms"));
                self.generation += 1;
                let generation = self.generation;
                self.later(async move {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    Inner::BackoffOver { generation }
                });
            }
            // A backoff that is over too late carries an old generation and is dropped.
            Effect::CancelRestart if self.connection.is_none() => self.generation += 1,
            Effect::CancelRestart => {}
            Effect::Stop => match (self.process.clone(), self.stop_commands.clone()) {
                (Some(process), _) => drop(tokio::spawn(async move { process.stop(GRACE).await })),
                (None, Some(commands)) if self.connection.is_some() => {
                    let generation = self.generation;
                    self.later(async move {
                        Inner::Asked { generation, result: work::ask_to_stop(&commands).await }
                    });
                }
                // Between two starts there is nothing to end. A launch under way is stopped when it arrives.
                (None, _) => self.transition(Event::Gone { reason: String::new() }, false),
            },
        }
    }

    fn spawn(&mut self) {
        self.starting_since = Instant::now();
        let (adapter, output) = (self.adapter.clone(), output_path(&self.around, &self.adapter.id()));
        self.later(async move {
            Inner::Started(match work::start(&*adapter, &output).await {
                Ok(started @ Started::Adopted(_)) => {
                    let stop = adapter.stop_commands(&adapter.locate().await).await;
                    Ok((started, stop))
                }
                Ok(started) => Ok((started, None)),
                Err(error) => Err(error),
            })
        });
    }

    fn later(&self, work: impl Future<Output = Inner> + Send + 'static) {
        let inner = self.inner.clone();
        tokio::spawn(async move { drop(inner.send(work.await).await) });
    }

    fn publish(&self) {
        let mut abilities = self.adapter.abilities();
        abilities.stop = match self.ownership {
            Some(Ownership::Ours) => abilities.stop,
            Some(Ownership::Adopted) => self.stop_commands.is_some(),
            _ => false,
        };
        let view = ServerView {
            id: self.adapter.id(),
            kind: self.adapter.kind(),
            title: self.title(),
            ownership: self.ownership,
            state: self.life.state,
            reason: self.life.reason.clone().filter(|reason| !reason.is_empty()),
            hint: self.hint.clone(),
            endpoint: self.connection.as_ref().map(|connection| connection.endpoint.base_url.clone()),
            version: self.version.clone(),
            pid: self.process.as_ref().map(OwnedProcess::pid).or(self.adopted_pid),
            program: self.program.as_ref().map(|program| program.display().to_string()),
            restarts: self.life.restarts,
            abilities,
            since: self.since,
        };
        let openai = self
            .connection
            .as_ref()
            .filter(|_| self.life.state.is_up())
            .map(|connection| connection.client.openai());
        self.around.hub.report(Report::Server { view, openai });
    }

    fn title(&self) -> String {
        self.adapter.kind().title().to_owned()
    }

    fn say(&self, text: &str) {
        tracing::info!(server = %self.adapter.id(), "{text}");
        self.around.log.push(LogSource::Pilothouse, text);
    }

    fn happened(&self, happening: Happening) {
        self.around.notifier.tell(happening);
    }
}

fn output_path(around: &Surroundings, server: &ServerId) -> PathBuf {
    around.run_dir.join(format!("{server}.output"))
}
