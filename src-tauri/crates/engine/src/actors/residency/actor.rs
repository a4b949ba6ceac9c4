use super::{
    Ask, Done, Surroundings, SwitchReply, Wanted, borrow, ended,
    transaction::{Cause, Finished, Transaction},
};
use crate::hub::{Report, Standing};
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    model::{Model, ModelPurpose, ModelRef},
    notice::Happening,
    residency::{Arrival, UnderWay, arrive},
    server::{Ownership, ServerId, ServerKind},
    snapshot::Snapshot,
    switch::{Active, SwitchOutcome, SwitchReport},
};
use std::{cmp::Reverse, collections::VecDeque, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// The whole shutdown must end within five seconds; what is left is put back at the next start.
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(1500);
/// How often it is looked around although nothing was reported.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Results of work that was done beside the actor.
pub(super) enum Event {
    /// The model of request number `number` is known, or not.
    Resolved {
        number: u64,
        wanted: Wanted,
        result: Result<Model, ApiError>,
        reply: SwitchReply,
    },
    /// A stray was taken out of memory, or not yet.
    Cleared(ModelRef, Result<(), ApiError>),
    Borrow(borrow::Event),
}

/// The transaction under way.
pub(super) struct Running {
    to: ModelRef,
    cause: Cause,
    cancel: CancellationToken,
    /// Cuts the answers that a drain waits for.
    now: CancellationToken,
    task: JoinHandle<Finished>,
    replies: Vec<SwitchReply>,
}

/// A request that waits for the transaction under way to be put back.
struct Next {
    model: Model,
    now: bool,
    replies: Vec<SwitchReply>,
}

pub(super) struct Residency {
    pub(super) around: Surroundings,
    pub(super) events: mpsc::Sender<Event>,
    results: Option<mpsc::Receiver<Event>>,
    /// The choice: it stays until another model is active.
    pub(super) active: Option<Active>,
    pub(super) standing: Standing,
    pub(super) ever_used: bool,
    pub(super) running: Option<Running>,
    next: Option<Next>,
    /// Requests are numbered as they come; one that is known later than a younger one is too late.
    numbers: u64,
    latest: u64,
    /// What a first start tries when the model before fails, the next one last.
    first_choices: Vec<ModelRef>,
    /// When the active model was last tried to be brought back in vain.
    pub(super) tried_at: Option<Timestamp>,
    /// How often in a row that was in vain, and when it is tried again by itself.
    pub(super) vain: usize,
    pub(super) retry_at: Option<Instant>,
    /// When it was brought back lately, so that a model that keeps dying is given up.
    pub(super) restores: VecDeque<Instant>,
    /// Whoever waits for the active model to answer.
    available: Vec<Done>,
    /// What only a transaction of ours can have left in memory.
    pub(super) strays: Vec<ModelRef>,
    /// Takes a stray out of memory.
    pub(super) clearing: Option<JoinHandle<()>>,
    pub(super) cleared_at: Option<Instant>,
    pub(super) lent: Option<borrow::Lent>,
    /// Our own end: it cuts short whatever waits.
    pub(super) ending: CancellationToken,
}

impl Residency {
    pub fn new(around: Surroundings) -> Self {
        let (events, results) = mpsc::channel(64);
        Self {
            around,
            events,
            results: Some(results),
            active: None,
            standing: Standing::Open,
            ever_used: true,
            running: None,
            next: None,
            numbers: 0,
            latest: 0,
            first_choices: Vec::new(),
            tried_at: None,
            vain: 0,
            retry_at: None,
            restores: VecDeque::new(),
            available: Vec::new(),
            strays: Vec::new(),
            clearing: None,
            cleared_at: None,
            lent: None,
            ending: CancellationToken::new(),
        }
    }

    pub async fn run(mut self, mut mailbox: mpsc::Receiver<Ask>) {
        let Some(mut results) = self.results.take() else { return };
        let mut snapshots = self.around.hub.snapshots();
        self.resume().await;
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let retry = self.retry_at;
            tokio::select! {
                () = at(retry) => {
                    self.retry_at = None;
                    self.retry();
                }
                ask = mailbox.recv() => match ask {
                    Some(Ask::Shutdown(reply)) => return self.shutdown(reply).await,
                    Some(ask) => self.on_ask(ask),
                    None => return,
                },
                Some(event) = results.recv() => self.on_event(event),
                finished = end_of(&mut self.running) => self.on_finished(finished).await,
                _ = look.tick() => self.on_snapshot(&self.around.hub.now()),
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
            Ask::Cancel(reply) => {
                let under_way = self.running.as_ref().map(|running| running.cancel.cancel());
                let none = || ApiError::not_found("No switch is under way.");
                let _ = reply.send(under_way.ok_or_else(none));
            }
            Ask::ActivateFirst if self.running.is_none() && self.active.is_none() => self.activate_first(),
            Ask::ActivateFirst => {}
            Ask::WasEverUsed(reply) => drop(reply.send(self.ever_used)),
            Ask::Available(reply) => self.make_available(reply),
            Ask::Borrow(request) => self.lend(request),
            Ask::Shutdown(reply) => drop(reply.send(())),
        }
    }

    fn on_event(&mut self, event: Event) {
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
            Event::Borrow(event) => {
                self.on_borrow(event);
                if self.lent.is_none() {
                    self.on_snapshot(&self.around.hub.now());
                }
            }
        }
    }

    /// The name is looked up beside everything that runs: a typo disturbs nothing.
    fn resolve(&mut self, wanted: Wanted, reply: SwitchReply) {
        self.numbers += 1;
        let (number, around, events) = (self.numbers, self.around.clone(), self.events.clone());
        tokio::spawn(async move {
            let result = around.resolve(&wanted).await;
            drop(events.send(Event::Resolved { number, wanted, result, reply }).await);
        });
    }

    fn resolved(
        &mut self,
        number: u64,
        wanted: &Wanted,
        result: Result<Model, ApiError>,
        reply: SwitchReply,
    ) {
        let model = match result {
            Ok(model) => model,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let to = model.reference();
        if wanted.dry_run {
            let transaction = self.transaction(Cause::Asked(model), CancellationToken::new());
            return drop(reply.send(Ok(transaction.rehearse())));
        }
        if number < self.latest {
            return drop(reply.send(Err(took_over())));
        }
        self.latest = number;
        let answering = self.active.as_ref().filter(|_| self.answers()).map(Active::reference);
        let under_way = self
            .running
            .as_ref()
            .map(|running| UnderWay { to: running.to.clone(), cancelled: running.cancel.is_cancelled() });
        match (arrive(&to, answering.as_ref(), under_way.as_ref()), &mut self.running) {
            (Arrival::AlreadyActive, _) => drop(reply.send(Ok(already_active(&model)))),
            (_, None) if self.lent.is_some() => drop(reply.send(Err(self.busy()))),
            (Arrival::Join, Some(running)) => {
                if wanted.now {
                    running.now.cancel();
                }
                running.replies.push(reply);
                self.replace_next(None);
            }
            (Arrival::Begin | Arrival::Join, _) => self.begin(Cause::Asked(model), wanted.now, vec![reply]),
            (Arrival::Supersede, running) => {
                if let Some(running) = running {
                    running.cancel.cancel();
                }
                match &mut self.next {
                    Some(next) if next.model.reference() == to => {
                        next.now |= wanted.now;
                        next.replies.push(reply);
                    }
                    _ => self.replace_next(Some(Next { model, now: wanted.now, replies: vec![reply] })),
                }
            }
        }
    }

    fn replace_next(&mut self, next: Option<Next>) {
        let before = std::mem::replace(&mut self.next, next);
        for reply in before.into_iter().flat_map(|next| next.replies) {
            let _ = reply.send(Err(took_over()));
        }
    }

    fn transaction(&self, cause: Cause, cancel: CancellationToken) -> Transaction {
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

    fn begin(&mut self, cause: Cause, now: bool, replies: Vec<SwitchReply>) {
        self.ever_used = true;
        let cancel = CancellationToken::new();
        let to = cause.to();
        let mut transaction = self.transaction(cause.clone(), cancel.clone());
        transaction.clear_first(self.clearing.take(), &mut self.strays);
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

    fn activate_first(&mut self) {
        let snapshot = self.around.hub.now();
        let embedded = |id: &ServerId| {
            snapshot.server(id).is_some_and(|server| {
                server.kind == ServerKind::LlamaServer && server.ownership == Some(Ownership::Ours)
            })
        };
        let mut choices: Vec<_> = snapshot
            .models
            .iter()
            .filter(|view| view.model.purpose == ModelPurpose::Llm && embedded(&view.model.server))
            .collect();
        choices.sort_by_key(|view| Reverse(view.model.size_bytes.unwrap_or(u64::MAX)));
        self.first_choices = choices.into_iter().map(|view| view.model.reference()).collect();
        self.try_first_choice();
    }

    fn try_first_choice(&mut self) {
        if let Some(model) = self.first_choices.pop() {
            self.begin(Cause::First(model), false, Vec::new());
        }
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

    fn make_available(&mut self, reply: Done) {
        if self.running.is_some() || self.next.is_some() {
            self.available.push(reply);
            return;
        }
        let Some(active) = &self.active else {
            let error = ApiError::new(ErrorCode::NoActiveModel, "No model is active.");
            return drop(reply.send(Err(error.hint("Switch to a model first."))));
        };
        if self.answers() {
            return drop(reply.send(Ok(())));
        }
        if self.lent.is_some() {
            return drop(reply.send(Err(self.busy())));
        }
        let to = active.reference();
        self.available.push(reply);
        self.restore(to);
    }

    async fn on_finished(&mut self, finished: Option<Finished>) {
        let Some(running) = self.running.take() else { return };
        let Finished { result, active, standing, strays } = finished.unwrap_or_else(|| {
            let error = ApiError::internal("The switch ended unexpectedly.");
            Finished {
                result: Err(error.hint("Look at Pilothouse's log.")),
                active: self.active.clone(),
                standing: Standing::Open,
                strays: Vec::new(),
            }
        });
        if let (Some(active), Standing::Open) = (&active, &standing) {
            // However the transaction ended, nobody is sent away from what is active.
            self.around.leases.reopen(&active.server, &active.instance);
        }
        let changed = self.active != active;
        self.active.clone_from(&active);
        self.standing.clone_from(&standing);
        self.strays.extend(strays);
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
        self.tell(&running.cause, &result);
        for reply in running.replies {
            let _ = reply.send(result.clone());
        }
        if self.ending.is_cancelled() {
            return;
        }
        if let Some(Next { model, now, replies }) = self.next.take() {
            return self.follow_up(model, now, replies);
        }
        self.tell_available(&result);
        self.try_first_choice();
    }

    /// What waited for the transaction before it to be put back. By now it may be what is active.
    fn follow_up(&mut self, model: Model, now: bool, replies: Vec<SwitchReply>) {
        let active = self.active.as_ref().is_some_and(|active| active.reference() == model.reference());
        if active && self.answers() {
            for reply in replies {
                let _ = reply.send(Ok(already_active(&model)));
            }
            return self.tell_available(&Ok(already_active(&model)));
        }
        self.begin(Cause::Asked(model), now, replies);
    }

    fn tell_available(&mut self, result: &Result<SwitchReport, ApiError>) {
        let failed = match (&self.standing, result) {
            (Standing::Open, _) if self.active.is_some() => None,
            (_, Err(error)) => Some(error.clone()),
            (_, Ok(SwitchReport { error: Some(error), .. })) => Some(error.clone()),
            _ => Some(ApiError::new(ErrorCode::NoActiveModel, "No model is active.")),
        };
        for reply in self.available.drain(..) {
            let _ = reply.send(failed.clone().map_or(Ok(()), Err));
        }
    }

    fn tell(&self, cause: &Cause, result: &Result<SwitchReport, ApiError>) {
        let Ok(report) = result else { return };
        let asked = matches!(cause, Cause::Asked(_));
        if asked {
            self.around.hub.report(Report::Switched(report.clone()));
        }
        let snapshot = self.around.hub.now();
        let title = snapshot.model_title(&report.to.server, &report.to.model);
        match &report.error {
            None if asked => self.around.notifier.tell(Happening::Switched {
                to: report.to.clone(),
                title,
                server_title: snapshot.server_title(&report.to.server),
                took_ms: report.took_ms,
                first_token_ms: report.first_token_ms,
            }),
            Some(error) if error.code != ErrorCode::Cancelled => {
                let kept = self.active.as_ref().filter(|_| self.standing == Standing::Open);
                self.around.notifier.tell(Happening::PutBack {
                    to: report.to.clone(),
                    title,
                    kept: kept.map(|active| snapshot.model_title(&active.server, &active.model)),
                    error: error.clone(),
                });
            }
            _ => {}
        }
    }

    pub(super) fn is_switching(&self) -> bool {
        self.running.is_some() || self.next.is_some()
    }

    fn busy(&self) -> ApiError {
        let why = self.lent.as_ref().map_or("A measurement", |lent| lent.why.as_str());
        ApiError::new(
            ErrorCode::Busy,
            format!("{why} is under way; a load beside it would spoil its figures."),
        )
        .hint("Wait for its end, or cancel it.")
        .retryable()
    }

    async fn shutdown(mut self, reply: oneshot::Sender<()>) {
        self.ending.cancel();
        for reply in self.next.take().into_iter().flat_map(|next| next.replies) {
            let _ = reply.send(Err(ended()));
        }
        for reply in self.available.drain(..) {
            let _ = reply.send(Err(ended()));
        }
        if self.running.is_some() {
            let finished = tokio::time::timeout(SHUTDOWN_LIMIT, end_of(&mut self.running)).await;
            if let Ok(finished) = finished {
                self.on_finished(finished).await;
            }
        }
        let _ = reply.send(());
    }
}

async fn end_of(running: &mut Option<Running>) -> Option<Finished> {
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

fn took_over() -> ApiError {
    ApiError::cancelled("Another switch took over.")
}

fn already_active(model: &Model) -> SwitchReport {
    SwitchReport {
        switch_id: 0,
        from: Some(model.reference()),
        to: model.reference(),
        outcome: SwitchOutcome::Committed,
        dry_run: false,
        took_ms: 0,
        load_ms: None,
        first_token_ms: None,
        steps: Vec::new(),
        answers_cut: 0,
        journalled: true,
        reason: Some(format!("{} is already active.", model.title)),
        error: None,
    }
}
