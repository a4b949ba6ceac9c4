use super::{
    Ask, Connection, Surroundings,
    record::Record,
    suspicion::Suspicion,
    waiting::Waiting,
    work::{self, Probe, Speech, Started},
};
use crate::{
    api::{Check, LogSource},
    hub::Report,
};
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    hang::Reading,
    lifecycle::{Effect, Event, Life, ServerState},
    model::Instance,
    notice::Happening,
    runner::Runners,
    server::{Backend, Ownership, ServerId},
    snapshot::ServerView,
};
use pilothouse_servers::{Found, Installation, ServerAdapter};
use pilothouse_system::process::{Exit, Identity, OutputTail, OwnedProcess, ProcessSpec};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{broadcast::error::RecvError, mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// How long a process of ours may take to end after SIGTERM.
pub(super) const GRACE: Duration = Duration::from_secs(3);

/// What a launch led to, and what stops it where that is no process of ours.
pub(super) type Launched = Result<(Started, Option<Vec<ProcessSpec>>), ApiError>;

/// Results of slow work. `generation` tells which process or connection they are about: late ones are dropped.
pub(super) enum Inner {
    Located(Installation),
    Found(Option<(Found, Option<Vec<ProcessSpec>>)>),
    /// Nobody of the kind answers: a stranger at its address, if there is one, and the program that may run behind it.
    Alone(Option<ApiError>, Option<Backend>),
    Readopted(Option<OwnedProcess>, Record),
    /// How launch number `launch` ended; `None`: it was called off before there was a process.
    Started {
        launch: u64,
        result: Option<Launched>,
    },
    Ended {
        generation: u64,
        exit: Exit,
    },
    /// `number`: the how manieth look that was.
    Probed {
        generation: u64,
        number: u64,
        probe: Probe,
    },
    /// What could be seen of its work.
    Read {
        generation: u64,
        reading: Reading,
        /// The answers that were waited for when it began, by instance.
        awaited: BTreeMap<String, usize>,
    },
    BackoffOver {
        generation: u64,
    },
    Asked {
        generation: u64,
        result: Result<(), ApiError>,
    },
    Spoken {
        generation: u64,
        result: Result<Speech, ApiError>,
    },
    RunnerEnded {
        generation: u64,
    },
    /// What somebody asked to be looked at; `spoken`: whether it gave a token, if it was asked for one.
    Checked {
        generation: u64,
        checks: Vec<Check>,
        spoken: Option<Result<Speech, ApiError>>,
        reply: oneshot::Sender<Vec<Check>>,
    },
    /// Somebody else's server was ended for ours, or not.
    TakenOver(Result<(), ApiError>, oneshot::Sender<Result<Connection, ApiError>>),
}

pub(super) struct Supervisor {
    pub(super) adapter: Arc<dyn ServerAdapter>,
    pub(super) around: Surroundings,
    pub(super) inner: mpsc::Sender<Inner>,
    pub(super) results: Option<mpsc::Receiver<Inner>>,
    pub(super) life: Life,
    pub(super) since: Timestamp,
    pub(super) hint: Option<String>,
    /// The program, once it has been found.
    pub(super) program: Option<PathBuf>,
    pub(super) connection: Option<Connection>,
    pub(super) ownership: Option<Ownership>,
    pub(super) process: Option<OwnedProcess>,
    /// Files that live as long as our process.
    pub(super) files: Vec<PathBuf>,
    pub(super) adopted_pid: Option<u32>,
    /// The same process for sure, where the system shows it.
    pub(super) adopted: Option<Identity>,
    /// How an adopted server can be asked to stop.
    pub(super) stop_commands: Option<Vec<ProcessSpec>>,
    pub(super) version: Option<String>,
    pub(super) generation: u64,
    pub(super) waiting: Waiting,
    pub(super) probing: bool,
    /// Looks that were begun, and the newest of those that have ended: what an older one brings after that is not wanted.
    pub(super) probes_begun: u64,
    pub(super) probe_seen: u64,
    /// Something happened while a probe was under way: look once more after it.
    pub(super) probe_again: bool,
    pub(super) looks: u32,
    pub(super) listed: bool,
    pub(super) clock: Instant,
    /// The last look, by both clocks.
    pub(super) looked_at: (Instant, Timestamp),
    pub(super) starting_since: Instant,
    pub(super) stopping_since: Instant,
    pub(super) ready_since: Option<Instant>,
    /// When and why our process was lost, until it is back.
    pub(super) lost: Option<(Instant, String)>,
    /// Somebody wants it to run, whatever holds it up.
    pub(super) wanted: bool,
    pub(super) keeper: Option<String>,
    /// Only the owner of the adopted server can end it.
    pub(super) left_to_owner: bool,
    pub(super) backend: Option<Backend>,
    pub(super) suspicion: Suspicion,
    /// What is in its memory, as the hub shows it.
    pub(super) instances: Vec<Instance>,
    /// Where the processes that hold models listen themselves, with the ids of their instances as far as those are known.
    pub(super) ports: Vec<(Option<String>, u16)>,
    /// Lines of its output that tell of work.
    pub(super) lines: Arc<AtomicU64>,
    /// Why we killed it, until its end is seen.
    pub(super) hung: Option<String>,
    /// The launch under way, or the last one, and what calls it off.
    pub(super) starting: Option<JoinHandle<()>>,
    pub(super) start_cancel: CancellationToken,
    /// Its number: what an earlier one brings is not wanted any more.
    pub(super) launch: u64,
    /// Its result is still to come.
    pub(super) launching: bool,
    /// An earlier life of ours started it at this time, and it has not answered this one yet.
    pub(super) unheard: Option<Timestamp>,
    pub(super) runners: Runners,
    /// Processes with models whose end is waited for.
    pub(super) watched: BTreeSet<u32>,
    /// The end of a process that never answered, until it is over.
    pub(super) ending: Option<JoinHandle<()>>,
    _tail: OutputTail,
    /// The log of somebody else's server, while it is used.
    pub(super) foreign_tail: Option<OutputTail>,
}

impl Supervisor {
    pub fn new(adapter: Arc<dyn ServerAdapter>, around: Surroundings) -> Self {
        let (inner, results) = mpsc::channel(64);
        let now = Instant::now();
        let log = around.log.clone();
        let lines = Arc::new(AtomicU64::new(0));
        let (counter, kind) = (lines.clone(), adapter.clone());
        let tail = OutputTail::follow(output_path(&around, &adapter.id()), move |line| {
            if kind.tells_of_work(line) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
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
            adopted: None,
            stop_commands: None,
            version: None,
            generation: 0,
            waiting: Waiting::default(),
            probing: false,
            probes_begun: 0,
            probe_seen: 0,
            probe_again: false,
            looks: 0,
            listed: false,
            clock: now,
            looked_at: (now, Timestamp::now()),
            starting_since: now,
            stopping_since: now,
            ready_since: None,
            lost: None,
            wanted: false,
            keeper: None,
            left_to_owner: false,
            backend: None,
            suspicion: Suspicion::default(),
            instances: Vec::new(),
            ports: Vec::new(),
            lines,
            hung: None,
            starting: None,
            start_cancel: CancellationToken::new(),
            launch: 0,
            launching: false,
            unheard: None,
            runners: Runners::default(),
            watched: BTreeSet::new(),
            ending: None,
            _tail: tail,
            foreign_tail: None,
        }
    }

    pub async fn run(mut self, mut asks: mpsc::Receiver<Ask>, autostart: bool) {
        let Some(mut results) = self.results.take() else {
            return;
        };
        self.begin(autostart);
        let mut look = Instant::now();
        let mut troubles = self.around.leases.troubles();
        loop {
            tokio::select! {
                ask = asks.recv() => match ask {
                    Some(Ask::Shutdown(reply)) => return self.shutdown(reply, results).await,
                    Some(ask) => self.on_ask(ask),
                    None => return,
                },
                Some(result) = results.recv() => self.on_result(result),
                trouble = troubles.recv() => match trouble {
                    Ok(server) if server != self.adapter.id() => continue,
                    // Some were missed: one of them may have been ours.
                    Ok(_) | Err(RecvError::Lagged(_)) => self.arouse(),
                    Err(RecvError::Closed) => return,
                },
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
            self.transition(Event::StartWanted, false);
            let inner = self.inner.clone();
            self.launching = true;
            self.starting = Some(tokio::spawn(async move {
                let process = OwnedProcess::readopt(record.identity);
                drop(inner.send(Inner::Readopted(process, record)).await);
            }));
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
                let number = self.begin_probe(true);
                self.waiting.for_list(reply, number);
            }
            Ask::Refresh(reply) | Ask::Shutdown(reply) => drop(reply.send(())),
            Ask::Policy(policy) => self.around.policy = policy,
            Ask::KeyChanged => self.key_changed(),
            Ask::TakeOver(reply) => self.take_over(reply),
            Ask::Check(reply) => self.check(reply),
            Ask::Leaving(instance, reply) => {
                self.runners.leaving(&instance);
                let _ = reply.send(());
            }
            Ask::Staying(instance, reply) => {
                self.runners.staying(&instance);
                let _ = reply.send(());
            }
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
                if state == ServerState::NotInstalled {
                    // It may have been installed since; the start looks again.
                    self.transition(Event::ProgramFound, false);
                }
                self.waiting.for_ready(reply);
                self.transition(Event::StartWanted, true);
            }
        }
    }

    fn stop(&mut self, reply: oneshot::Sender<Result<(), ApiError>>) {
        let foreign = match self.ownership {
            Some(Ownership::Remote) => Some("belongs to somebody else"),
            Some(Ownership::Adopted) if self.life.state.is_up() && self.stop_commands.is_none() => {
                Some("was not started by Pilothouse")
            }
            _ => None,
        };
        if let Some(why) = foreign {
            let text = format!("{} {why}, so Pilothouse does not stop it.", self.title());
            let hint = "Stop it where it was started.";
            let _ = reply.send(Err(ApiError::new(ErrorCode::NotOurs, text).hint(hint)));
            return;
        }
        self.waiting.for_stop(reply);
        self.transition(Event::StopWanted, true);
        if matches!(self.life.state, ServerState::Stopped | ServerState::NotInstalled | ServerState::NotOurs)
        {
            self.waiting.stopped(&Ok(()));
        }
    }

    fn on_result(&mut self, result: Inner) {
        match result {
            Inner::Located(installation) => self.located(installation),
            Inner::Found(found) => self.found(found),
            Inner::Alone(stranger, backend) => self.alone(stranger, backend),
            Inner::Readopted(process, record) => self.readopted(process, record),
            Inner::Started { launch, result } if launch == self.launch => {
                self.launching = false;
                match result {
                    Some(Ok((started, stop))) => self.started(started, stop),
                    Some(Err(error)) if self.life.state == ServerState::Starting => self.failed(error),
                    Some(Err(error)) => {
                        self.waiting.ready(&Err(error));
                        self.called_off();
                    }
                    None => self.called_off(),
                }
            }
            Inner::Started { result, .. } => self.came_too_late(result),
            Inner::Ended { generation, exit } if generation == self.generation => self.process_ended(&exit),
            Inner::Probed { generation, number, probe } if generation == self.generation => {
                self.probed(number, probe);
            }
            Inner::Read { generation, reading, awaited } if generation == self.generation => {
                self.read(reading, &awaited);
            }
            Inner::BackoffOver { generation } if generation == self.generation => {
                self.transition(Event::BackoffOver, true);
            }
            Inner::Asked { generation, result } if generation == self.generation => {
                self.asked_to_stop(result)
            }
            Inner::Spoken { generation, result } if generation == self.generation => self.spoken(result),
            Inner::Checked { generation, checks, spoken, reply } => {
                self.checked(generation, checks, spoken, reply);
            }
            Inner::TakenOver(result, reply) => self.taken_over(result, reply),
            Inner::RunnerEnded { generation } if generation == self.generation => self.runner_ended(),
            _ => {}
        }
    }

    pub(super) fn transition(&mut self, event: Event, carry_out: bool) {
        let (state, reason) = (self.life.state, self.life.reason.clone());
        match event {
            Event::StartWanted => self.wanted = true,
            Event::StopWanted => self.wanted = false,
            _ => {}
        }
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

    pub(super) fn carry_out(&mut self, effect: Effect) {
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
            Effect::Kill => {
                if let Some(process) = &self.process {
                    process.kill();
                }
            }
            Effect::Stop => match (self.process.clone(), self.stop_commands.clone()) {
                (Some(process), _) => drop(tokio::spawn(async move { process.stop(GRACE).await })),
                (None, Some(commands)) if self.connection.is_some() => {
                    let generation = self.generation;
                    self.later(async move {
                        Inner::Asked { generation, result: work::ask_to_stop(&commands).await }
                    });
                }
                // Its end comes back, with a process that must be stopped or without one.
                (None, _) if self.launching => self.start_cancel.cancel(),
                // Between two starts there is nothing to end.
                (None, _) => self.transition(Event::Gone { reason: String::new() }, false),
            },
        }
    }

    pub(super) fn later(&self, work: impl Future<Output = Inner> + Send + 'static) {
        let inner = self.inner.clone();
        tokio::spawn(async move { drop(inner.send(work.await).await) });
    }

    pub(super) fn publish(&self) {
        let mut abilities = self.adapter.abilities();
        abilities.take_over = self.may_take_over();
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
            hint: self.hint.clone().or_else(|| self.finding_in_words()),
            endpoint: self.connection.as_ref().map(|connection| connection.endpoint.base_url.clone()),
            version: self.version.clone(),
            pid: self.process.as_ref().map(OwnedProcess::pid).or(self.adopted_pid),
            keeper: self.keeper.clone(),
            program: self.program.as_ref().map(|program| program.display().to_string()),
            backend: self.backend.clone(),
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

    pub(super) fn title(&self) -> String {
        self.adapter.title()
    }

    pub(super) fn say(&self, text: &str) {
        tracing::info!(server = %self.adapter.id(), "{text}");
        self.around.log.push(LogSource::Pilothouse, text);
    }

    pub(super) fn happened(&self, happening: Happening) {
        self.around.notifier.tell(happening);
    }
}

pub(super) fn output_path(around: &Surroundings, server: &ServerId) -> PathBuf {
    around.run_dir.join(format!("{server}.output"))
}
