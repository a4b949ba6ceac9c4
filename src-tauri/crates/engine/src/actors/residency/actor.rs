use super::{
    Ask, Done, ResidencyWiring, SwitchReply,
    borrow::Lent,
    clearing::Clearing,
    event::Event,
    holding::Holding,
    late::LateLoad,
    rearranging::Rearranged,
    requests::{Aim, Rearranging, Undo, Waiter},
    transaction::{Cause, Finished, Transaction},
};
use crate::hub::{Report, Standing};
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    model::{Model, ModelRef},
    residency::Arrangement,
    server::ServerId,
    snapshot::Snapshot,
    switch::Active,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

/// How often it is looked around although nothing was reported.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The transaction under way.
pub(super) struct Running {
    pub(super) to: ModelRef,
    pub(super) cause: Cause,
    pub(super) cancel: CancellationToken,
    /// Cuts the answers that a drain waits for.
    pub(super) now: CancellationToken,
    pub(super) task: JoinHandle<Finished>,
    pub(super) replies: Vec<SwitchReply>,
}

/// A request that waits for the transaction under way to be put back.
pub(super) enum Next {
    Switch { model: Model, now: bool, replies: Vec<SwitchReply> },
    Arrange { aim: Aim, now: bool, waiter: Waiter },
}

pub(super) struct Residency {
    pub(super) around: ResidencyWiring,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) results: Option<mpsc::Receiver<Event>>,
    /// The choice: it stays until another model is active.
    pub(super) active: Option<Active>,
    pub(super) standing: Standing,
    pub(super) ever_used: bool,
    pub(super) running: Option<Running>,
    /// The roles in force; which model is active stands above.
    pub(super) arrangement: Arrangement,
    pub(super) holding: Holding,
    pub(super) rearranging: Option<Rearranging>,
    /// Models that programs wait for, the first one first.
    pub(super) wishes: VecDeque<ModelRef>,
    /// How the last change is taken back.
    pub(super) undo: Option<Undo>,
    /// What begins now takes something back.
    pub(super) undoing: bool,
    /// What is held has changed and is not written down yet.
    pub(super) to_keep: bool,
    /// When each role was last used, as far as it was looked at.
    pub(super) role_used: BTreeMap<String, Instant>,
    pub(super) begun: Instant,
    /// Pinned models that have been in memory.
    pub(super) pinned_there: BTreeSet<ModelRef>,
    /// What our last life has taken out and not brought back.
    pub(super) owed: BTreeSet<ModelRef>,
    /// Since when what is held is not listed.
    pub(super) missing_since: BTreeMap<(ModelRef, String), Instant>,
    /// When somebody gave way for want of memory; whether that was told.
    pub(super) gave_way_at: Option<Instant>,
    pub(super) told_short: bool,
    /// When servers were told that a model stays.
    pub(super) held_on: BTreeMap<ModelRef, Instant>,
    /// What was brought back lately.
    pub(super) agains: Vec<(ModelRef, Instant)>,
    pub(super) next: Option<Next>,
    /// Requests are numbered as they come; one that is known later than a younger one is too late.
    pub(super) numbers: u64,
    pub(super) latest: u64,
    /// What a first start tries when the model before fails, the next one last.
    pub(super) first_choices: Vec<ModelRef>,
    /// When the active model was last tried to be brought back in vain.
    pub(super) tried_at: Option<Timestamp>,
    /// How often in a row that was in vain, and when it is tried again by itself.
    pub(super) vain: usize,
    pub(super) retry_at: Option<Instant>,
    /// When it was brought back lately, so that a model that keeps dying is given up.
    pub(super) restores: VecDeque<Instant>,
    /// Whoever waits for the active model to answer.
    pub(super) available: Vec<Done>,
    /// The servers of the settings, once they have been told.
    pub(super) servers: Option<BTreeSet<ServerId>>,
    /// What only a transaction of ours can have left in memory.
    pub(super) strays: Vec<ModelRef>,
    /// Loads that go on although nobody waits for them.
    pub(super) late: Vec<LateLoad>,
    /// Takes a stray out of memory.
    pub(super) clearing: Option<Clearing>,
    pub(super) cleared_at: Option<Instant>,
    pub(super) lent: Option<Lent>,
    /// Our own end: it cuts short whatever waits.
    pub(super) ending: CancellationToken,
}

impl Residency {
    pub fn new(around: ResidencyWiring) -> Self {
        let (events, results) = mpsc::channel(64);
        Self {
            around,
            events,
            results: Some(results),
            active: None,
            standing: Standing::Open,
            ever_used: true,
            running: None,
            arrangement: Arrangement::default(),
            holding: Holding::default(),
            rearranging: None,
            wishes: VecDeque::new(),
            undo: None,
            undoing: false,
            to_keep: false,
            role_used: BTreeMap::new(),
            begun: Instant::now(),
            pinned_there: BTreeSet::new(),
            owed: BTreeSet::new(),
            missing_since: BTreeMap::new(),
            gave_way_at: None,
            told_short: false,
            held_on: BTreeMap::new(),
            agains: Vec::new(),
            next: None,
            numbers: 0,
            latest: 0,
            first_choices: Vec::new(),
            tried_at: None,
            vain: 0,
            retry_at: None,
            restores: VecDeque::new(),
            available: Vec::new(),
            servers: None,
            strays: Vec::new(),
            late: Vec::new(),
            clearing: None,
            cleared_at: None,
            lent: None,
            ending: CancellationToken::new(),
        }
    }

    pub async fn run(mut self, mut mailbox: mpsc::Receiver<Ask>) {
        let Some(mut results) = self.results.take() else { return };
        let mut snapshots = self.around.hub.snapshots();
        let mut wishes = self.around.leases.wishes();
        self.resume().await;
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if std::mem::take(&mut self.to_keep) {
                self.keep().await;
            }
            let (retry, undo) = (self.retry_at, self.undo.as_ref().map(|undo| undo.until));
            tokio::select! {
                () = at(undo) => self.forget_undo(),
                Some(wish) = wishes.recv() => self.wish(wish.model),
                ended = end_of_rearranging(&mut self.rearranging) => self.on_rearranged(ended).await,
                () = at(retry) => {
                    self.retry_at = None;
                    self.retry();
                }
                ask = mailbox.recv() => match ask {
                    Some(Ask::Shutdown(reply)) => return self.shutdown(reply).await,
                    Some(Ask::Servers(servers)) => {
                        self.servers = Some(servers);
                        self.forget_active_without_server().await;
                    }
                    Some(ask) => self.on_ask(ask),
                    None => return,
                },
                Some(event) = results.recv() => self.on_event(event),
                finished = end_of(&mut self.running) => self.on_finished(finished).await,
                _ = look.tick() => {
                    self.on_snapshot(&self.around.hub.now());
                    self.idle_round();
                    self.give_way();
                    self.hold_on();
                }
                Ok(()) = snapshots.changed() => {
                    let snapshot = snapshots.borrow_and_update().clone();
                    self.on_snapshot(&snapshot);
                }
            }
        }
    }

    fn on_ask(&mut self, ask: Ask) {
        match ask {
            Ask::Switch(wanted, reply) => self.resolve(wanted, reply),
            Ask::Memory(request) => self.on_request(*request),
            Ask::Cancel(reply) => {
                let none = || ApiError::not_found("No switch is under way.");
                let _ = reply.send(if self.cancel_all() { Ok(()) } else { Err(none()) });
            }
            Ask::ActivateFirst if !self.is_changing() && self.active.is_none() => self.activate_first(),
            Ask::ActivateFirst => {}
            Ask::WasEverUsed(reply) => drop(reply.send(self.ever_used)),
            Ask::Available(reply) => self.make_available(reply),
            Ask::Borrow(request) => self.lend(request),
            Ask::BorrowServer(request) => self.lend_server(request),
            Ask::Servers(servers) => self.servers = Some(servers),
            Ask::Shutdown(reply) => drop(reply.send(())),
        }
    }

    fn on_event(&mut self, event: Event) {
        let was_lent = self.lent.is_some();
        match event {
            Event::Resolved { number, wanted, result, reply } => {
                self.resolved(number, &wanted, result, reply)
            }
            Event::Cleared(model, result) => {
                self.clearing = None;
                match result {
                    Ok(()) => self.strays.retain(|stray| *stray != model),
                    Err(error) => {
                        tracing::warn!(%error, %model, "is still in memory");
                        self.cleared_at = Some(Instant::now());
                    }
                }
            }
            Event::Arrived { load, arrived, error } => self.arrived(&load, arrived, error.as_ref()),
            Event::Lent(ready, reply) => self.lent(ready, reply),
            Event::Returned(loaded, waits) => self.returned(loaded, waits),
            Event::LoanOver(strays, waits) => {
                self.loan_over(strays);
                if let Some(waits) = waits {
                    let _ = waits.send(());
                }
            }
            Event::Hold(held) => {
                self.hold();
                let _ = held.send(());
            }
            Event::ServerReturned(borrowed, waits) => self.server_returned(*borrowed, waits),
            Event::ServerLoanOver(right, waits) => self.server_loan_over(*right, waits),
        }
        if was_lent && self.lent.is_none() {
            self.on_snapshot(&self.around.hub.now());
        }
    }

    pub(super) fn transaction(&self, cause: Cause, cancel: CancellationToken) -> Transaction {
        let answers = self.answers();
        Transaction::new(
            self.around.clone(),
            cause,
            self.active.clone(),
            answers,
            cancel,
            self.ending.clone(),
        )
    }

    pub(super) fn begin(&mut self, cause: Cause, now: bool, replies: Vec<SwitchReply>) {
        self.ever_used = true;
        let cancel = CancellationToken::new();
        let to = cause.to();
        let mut transaction = self.transaction(cause.clone(), cancel.clone());
        transaction.beside(self.beside(&to));
        transaction.clear_first(self.clearing.clone(), &mut self.strays);
        transaction.join(self.late_load(&to));
        let hurry = transaction.now.clone();
        if now {
            hurry.cancel();
        }
        let task = tokio::spawn(transaction.run());
        self.running = Some(Running { to, cause, cancel, now: hurry, task, replies });
    }

    /// Loads the active model again, after our own restart or that of its server.
    pub(super) fn restore(&mut self, to: ModelRef) {
        self.tried_at = Some(Timestamp::now());
        self.begin(Cause::Restore(to), false, Vec::new());
    }

    /// Whether requests for the active model are answered now, as far as its server tells.
    pub(super) fn answers(&self) -> bool {
        let Some(active) = &self.active else { return false };
        let snapshot = self.around.hub.now();
        let up = snapshot.server(&active.server).is_some_and(|server| server.state.is_up());
        up && self.standing == Standing::Open && self.is_there(active, &snapshot) != Some(false)
    }

    /// Whether an instance is in memory. `None`: that is not told (a server of another machine).
    pub(super) fn is_there(&self, active: &Active, snapshot: &Snapshot) -> Option<bool> {
        if snapshot.is_remote(&active.server) {
            return None;
        }
        Some(snapshot.instances.iter().any(|i| i.server == active.server && i.id == active.instance))
    }

    pub(super) async fn on_finished(&mut self, finished: Option<Finished>) {
        let Some(running) = self.running.take() else { return };
        let before = self.arrangement();
        let Finished { result, active, standing, strays, late, evicted } = finished.unwrap_or_else(|| {
            let error = ApiError::internal("The switch ended unexpectedly.");
            Finished {
                result: Err(error.hint("Look at Pilothouse's log.")),
                active: self.active.clone(),
                standing: Standing::Open,
                strays: Vec::new(),
                late: None,
                evicted: Vec::new(),
            }
        });
        if let (Some(active), Standing::Open) = (&active, &standing) {
            // However the transaction ended, nobody is sent away from what is active.
            self.around.leases.reopen(&active.server, &active.instance);
        }
        for model in &evicted {
            self.holding.gone(model);
        }
        let changed = self.active != active || !evicted.is_empty();
        self.active.clone_from(&active);
        self.note_recent();
        self.standing.clone_from(&standing);
        self.strays.extend(strays);
        if let Some(late) = late {
            self.follow_late(late);
        }
        if active.is_some() {
            self.first_choices.clear();
        }
        // One that cannot answer is tried again when its server comes back, is there by itself, or is asked for.
        self.tried_at = (standing != Standing::Open).then(Timestamp::now);
        self.plan_retry(&running.cause, &result);
        self.around.hub.report(Report::Switching(None));
        self.around.hub.report(Report::Active { active: active.clone(), standing });
        if changed
            && let Some(journal) = &self.around.journal
            && let Err(error) = journal.set_active(active.as_ref()).await
        {
            tracing::warn!(%error, "the active model was not kept");
        }
        self.forget_active_without_server().await;
        let undo = self.after_switch(&running.cause, &result, &before);
        if changed {
            self.keep().await;
        }
        if let Ok(report) = &result {
            let asked = matches!(running.cause, Cause::Asked(_));
            let again = matches!(running.cause, Cause::Restore(_));
            self.tell(asked, again, report, undo);
        }
        for reply in running.replies {
            let _ = reply.send(result.clone());
        }
        if self.ending.is_cancelled() {
            return;
        }
        if self.next.is_some() {
            return self.go_on();
        }
        self.tell_available(&result);
        self.try_first_choice();
        self.next_wish();
    }

    pub(super) fn is_switching(&self) -> bool {
        self.is_changing()
    }

    pub(super) fn busy(&self) -> ApiError {
        let why = self.lent.as_ref().map_or("A measurement", |lent| lent.why.as_str());
        ApiError::new(
            ErrorCode::Busy,
            format!("{why} is under way; a load beside it would spoil its figures."),
        )
        .hint("Wait for its end, or cancel it.")
        .retryable()
    }
}

pub(super) async fn end_of_rearranging(running: &mut Option<Rearranging>) -> Option<(Rearranged, Holding)> {
    match running {
        Some(running) => (&mut running.task).await.ok(),
        None => std::future::pending().await,
    }
}

pub(super) async fn end_of(running: &mut Option<Running>) -> Option<Finished> {
    match running {
        Some(running) => (&mut running.task).await.ok(),
        None => std::future::pending().await,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
