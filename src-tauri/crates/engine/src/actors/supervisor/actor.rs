//! The actor: its state, its loop, events in and effects out.

use super::{
    ask::Ask,
    asleep::LastRound,
    connection::{Connection, Contact},
    launch::Launches,
    life::TimedLife,
    memory::Memory,
    outcome::Outcome,
    output::Output,
    ownership::{Owner, WayDown},
    program::Program,
    suspicion::Suspicion,
    waiting::Waiting,
    wiring::SupervisorWiring,
    work,
};
use crate::api::LogSource;
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    lifecycle::{Effect, Event, Reason, ServerState},
    notice::Happening,
};
use pilothouse_servers::ServerAdapter;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{broadcast::error::RecvError, mpsc, oneshot},
    time::Instant,
};

/// How long a process of ours may take to end after SIGTERM.
pub(super) const GRACE: Duration = Duration::from_secs(3);

pub(super) struct Supervisor {
    pub(super) adapter: Arc<dyn ServerAdapter>,
    pub(super) around: SupervisorWiring,
    pub(super) outcomes: mpsc::Sender<Outcome>,
    results: Option<mpsc::Receiver<Outcome>>,
    pub(super) life: TimedLife,
    pub(super) contact: Contact,
    pub(super) owner: Owner,
    pub(super) launches: Launches,
    pub(super) program: Program,
    pub(super) memory: Memory,
    pub(super) suspicion: Suspicion,
    pub(super) waiting: Waiting,
    pub(super) output: Output,
    pub(super) last_round: LastRound,
    /// It is to run as long as Pilothouse does.
    pub(super) autostart: bool,
}

impl Supervisor {
    pub fn new(adapter: Arc<dyn ServerAdapter>, around: SupervisorWiring) -> Self {
        let (outcomes, results) = mpsc::channel(64);
        Self {
            output: Output::follow(&adapter, &around),
            adapter,
            around,
            outcomes,
            results: Some(results),
            life: TimedLife::new(),
            contact: Contact::default(),
            owner: Owner::default(),
            launches: Launches::default(),
            program: Program::unknown(),
            memory: Memory::default(),
            suspicion: Suspicion::default(),
            waiting: Waiting::default(),
            last_round: LastRound::now(),
            autostart: false,
        }
    }

    pub async fn run(mut self, mut asks: mpsc::Receiver<Ask>, autostart: bool) {
        let Some(mut results) = self.results.take() else {
            return;
        };
        self.begin(autostart);
        let mut tick = Instant::now();
        let mut troubles = self.around.leases.troubles();
        loop {
            tokio::select! {
                ask = asks.recv() => match ask {
                    Some(Ask::Shutdown(reply)) => return self.shutdown(reply, results).await,
                    Some(ask) => self.on_ask(ask),
                    None => return,
                },
                Some(outcome) = results.recv() => self.on_outcome(outcome),
                trouble = troubles.recv() => match trouble {
                    Ok(server) if server != self.adapter.id() => continue,
                    // Some were missed: one of them may have been ours.
                    Ok(_) | Err(RecvError::Lagged(_)) => self.arouse(),
                    Err(RecvError::Closed) => return,
                },
                () = tokio::time::sleep_until(tick) => {
                    self.on_tick();
                    tick = Instant::now() + self.tick_interval();
                    continue;
                }
            }
            tick = tick.min(Instant::now() + self.tick_interval());
        }
    }

    fn on_ask(&mut self, ask: Ask) {
        match ask {
            Ask::EnsureReady(reply) => self.ensure_ready(reply),
            Ask::Stop(reply) => self.stop(reply),
            Ask::Refresh(reply) if self.contact.is_open() && self.life.is_up() => {
                let number = self.begin_probe(true);
                self.waiting.for_list(reply, number);
            }
            Ask::Locate(reply) if self.life.state() == ServerState::NotInstalled => {
                self.waiting.for_located(reply);
                self.locate();
            }
            Ask::Refresh(reply) | Ask::Locate(reply) | Ask::Shutdown(reply) => drop(reply.send(())),
            Ask::Policy(policy) => self.around.policy = policy,
            Ask::KeyChanged => self.key_changed(),
            Ask::TakeOver(reply) => self.take_over(reply),
            Ask::Check(reply) => self.check(reply),
            Ask::Leaving(instance, reply) => {
                self.memory.leaving(&instance);
                let _ = reply.send(());
            }
            Ask::Staying(instance, reply) => {
                self.memory.staying(&instance);
                let _ = reply.send(());
            }
        }
    }

    fn ensure_ready(&mut self, reply: oneshot::Sender<Result<Connection, ApiError>>) {
        match (self.life.state(), self.contact.connection()) {
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

    fn on_outcome(&mut self, outcome: Outcome) {
        if outcome.generation().is_some_and(|generation| !self.contact.is_current(generation)) {
            return;
        }
        match outcome {
            Outcome::Located(installation) => self.located(installation),
            Outcome::Found(found, stop) => self.found(found, stop),
            Outcome::Alone(stranger, backend) => self.alone(stranger, backend),
            Outcome::Readopted { launch, process, record } => self.readopted(launch, process, record),
            Outcome::Started { launch, result } => self.launch_ended(launch, result),
            Outcome::Ended { exit, .. } => self.process_ended(&exit),
            Outcome::Probed { number, probe, .. } => self.probed(number, probe),
            Outcome::Read { reading, awaited, .. } => self.read(reading, &awaited),
            Outcome::BackoffOver { .. } => self.transition(Event::BackoffOver, true),
            Outcome::StopCommanded { result, .. } => self.stop_commanded(result),
            Outcome::Spoken { result, .. } => self.spoken(result),
            Outcome::Checked { generation, checks, spoken, reply } => {
                self.checked(generation, checks, spoken, reply);
            }
            Outcome::TakenOver(result, reply) => self.taken_over(result, reply),
            Outcome::HolderEnded { .. } => self.holder_ended(),
        }
    }

    pub(super) fn transition(&mut self, event: Event, carry_out: bool) {
        let turn = self.life.take(event, &self.around.policy);
        if turn.from != turn.to {
            tracing::info!(server = %self.adapter.id(), from = ?turn.from, to = ?turn.to, "server state");
        }
        if turn.enters(ServerState::Stopped) {
            self.waiting.stopped(&Ok(()));
            self.waiting.ready(&Err(ApiError::cancelled(format!("{} was stopped.", self.title()))));
        }
        if turn.changed {
            self.publish();
        }
        if carry_out {
            for effect in turn.effects {
                self.carry_out(effect);
            }
        }
    }

    pub(super) fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Spawn => self.spawn(),
            Effect::RestartAfter { ms } => {
                self.say(&format!("starting it again in {ms} ms"));
                let generation = self.contact.renew();
                self.later(async move {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    Outcome::BackoffOver { generation }
                });
            }
            // A backoff that is over too late carries an old generation and is dropped.
            Effect::CancelRestart => {
                if !self.contact.is_open() {
                    self.contact.renew();
                }
            }
            Effect::Kill => {
                if let Some(process) = self.owner.process() {
                    process.kill();
                }
            }
            Effect::Stop => self.bring_down(),
        }
    }

    fn bring_down(&mut self) {
        match self.owner.way_down() {
            WayDown::Process(process) => drop(tokio::spawn(async move { process.stop(GRACE).await })),
            WayDown::Commands(commands) if self.contact.is_open() => {
                let generation = self.contact.generation();
                self.later(async move {
                    let result = work::run_stop_commands(&commands).await;
                    Outcome::StopCommanded { generation, result }
                });
            }
            // Its end comes back, with a process that must be stopped or without one.
            _ if self.launches.is_under_way() => self.launches.call_off(),
            // Between two starts there is nothing to end.
            _ => self.transition(Event::Gone { reason: Reason::default() }, false),
        }
    }

    pub(super) fn later(&self, work: impl Future<Output = Outcome> + Send + 'static) {
        let outcomes = self.outcomes.clone();
        tokio::spawn(async move { drop(outcomes.send(work.await).await) });
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
