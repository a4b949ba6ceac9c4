//! One switch from its plan to its report: the journal, the steps, and which comes next.

mod drain;
mod put_back;
mod steps;

use super::{Connection, ResidencyWiring, clearing::Clearing, holding::Holding, late::LateLoad};
use crate::actors::bounds::until_cancelled;
use crate::{
    actors::supervisor::SupervisorHandle,
    hub::{Report, Standing},
};
use futures_util::FutureExt;
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    model::{Instance, LoadSettings, Model, ModelRef},
    residency::{Arrangement, Situation, Step, make_room, plan},
    server::ServerId,
    switch::{Active, StepTiming, SwitchOutcome, SwitchPhase, SwitchReport, Switching},
};
use std::collections::VecDeque;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Why a transaction runs.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cause {
    /// Somebody asked: journalled, told.
    Asked(Model),
    /// The active model must come back (a restart of ours or of its server).
    Restore(ModelRef),
    /// Nothing was ever active: a first start tries what it has.
    First(ModelRef),
}

impl Cause {
    pub fn to(&self) -> ModelRef {
        match self {
            Self::Asked(model) => model.reference(),
            Self::Restore(to) | Self::First(to) => to.clone(),
        }
    }
}

/// What is in memory besides, as far as it concerns a switch.
#[derive(Default)]
pub(super) struct Beside {
    /// The previous model stays in memory.
    pub previous_stays: bool,
    /// Idle models whose memory is needed as well, and with what they were loaded.
    pub evict: Vec<(Active, LoadSettings)>,
    /// With what the target is loaded, and with what the previous one was.
    pub with: LoadSettings,
    pub previous_with: LoadSettings,
    /// What is held, for views: the role that leads stands for the target from the commit on.
    pub held: Arrangement,
    pub holding: Holding,
}

/// How a transaction ended, what is active now, and what it had to leave in memory.
pub(super) struct Finished {
    pub result: Result<SwitchReport, ApiError>,
    pub active: Option<Active>,
    pub standing: Standing,
    pub strays: Vec<ModelRef>,
    /// The load of the target, which goes on.
    pub late: Option<LateLoad>,
    /// What was taken out for it and is not back.
    pub evicted: Vec<ModelRef>,
}

pub(super) struct Transaction {
    around: ResidencyWiring,
    cause: Cause,
    to: ModelRef,
    /// What was active, and whether it answered, when this began.
    previous: Option<Active>,
    answered: bool,
    cancel: CancellationToken,
    /// Our own end.
    ending: CancellationToken,
    /// Cuts the answers that a drain waits for.
    pub now: CancellationToken,
    began: Instant,
    /// What views see; `None` until it has a number.
    shown: Option<Switching>,
    done: Vec<Step>,
    timings: Vec<StepTiming>,
    load_ms: Option<u64>,
    first_token_ms: Option<u64>,
    /// The target's copy in memory.
    instance: Option<Instance>,
    connection: Option<Connection>,
    target_was_loaded: bool,
    /// It is in memory only because an earlier transaction had to leave it there.
    target_is_stray: bool,
    /// A load of it that goes on without us.
    late: Option<LateLoad>,
    answers_cut: u32,
    /// It stands in the journal; marks and the end of one that does not are not written.
    in_journal: bool,
    /// All of it was written in time.
    journalled: bool,
    reasons: Vec<String>,
    /// What is active now, and whether it answers.
    active: Option<Active>,
    standing: Standing,
    strays: Vec<ModelRef>,
    clearing: Option<Clearing>,
    beside: Beside,
    evicted: Vec<(Active, LoadSettings)>,
}

impl Transaction {
    pub fn new(
        around: ResidencyWiring,
        cause: Cause,
        previous: Option<Active>,
        answered: bool,
        cancel: CancellationToken,
        ending: CancellationToken,
    ) -> Self {
        Self {
            to: cause.to(),
            around,
            cause,
            active: previous.clone(),
            previous,
            answered,
            cancel,
            ending,
            now: CancellationToken::new(),
            began: Instant::now(),
            shown: None,
            done: Vec::new(),
            timings: Vec::new(),
            load_ms: None,
            first_token_ms: None,
            instance: None,
            connection: None,
            target_was_loaded: false,
            target_is_stray: false,
            late: None,
            answers_cut: 0,
            in_journal: false,
            journalled: true,
            reasons: Vec::new(),
            standing: Standing::Open,
            strays: Vec::new(),
            clearing: None,
            beside: Beside::default(),
            evicted: Vec::new(),
        }
    }

    pub fn beside(&mut self, beside: Beside) {
        self.beside = beside;
    }

    /// What must leave memory before anything is loaded: what somebody else takes out already, and what is left.
    pub fn clear_first(&mut self, clearing: Option<Clearing>, strays: &mut Vec<ModelRef>) {
        self.clearing = clearing;
        self.strays = std::mem::take(strays);
        self.target_is_stray = self.strays.contains(&self.to);
        self.strays.retain(|stray| *stray != self.to);
    }

    /// An earlier transaction began to load the target, and its server goes on with that.
    pub fn join(&mut self, late: Option<LateLoad>) {
        self.target_is_stray |= late.is_some();
        self.late = late;
    }

    /// Whether the target is still on its way into memory.
    fn is_arriving(&self) -> bool {
        self.late.as_ref().is_some_and(|late| !late.is_over())
    }

    pub async fn run(mut self) -> Finished {
        let switch_id = self.open_journal().await;
        self.show(switch_id).await;
        let mut report = match self.forward().await {
            Ok(()) => self.report(switch_id, SwitchOutcome::Committed, None),
            Err(error) => {
                tracing::warn!(to = %self.to, %error, "the switch failed, putting back");
                self.put_back(&error).await;
                let outcome = match error.code {
                    ErrorCode::Cancelled => SwitchOutcome::Cancelled,
                    _ => SwitchOutcome::RolledBack,
                };
                self.report(switch_id, outcome, Some(error))
            }
        };
        // What our own end cut short stays open in the journal, so that the next start finishes it.
        let whole =
            !self.ending.is_cancelled() || (self.strays.is_empty() && self.standing == Standing::Open);
        if self.in_journal
            && whole
            && let Some(journal) = &self.around.journal
            && let Err(error) = journal.end(&report).await
        {
            tracing::warn!(%error, "the switch was not kept");
            report.journalled = false;
        }
        let Self { active, standing, strays, late, evicted, .. } = self;
        let late = late.filter(|late| !late.is_over());
        let evicted = evicted.iter().map(|(evicted, _)| evicted.reference()).collect();
        Finished { result: Ok(report), active, standing, strays, late, evicted }
    }

    fn supervisor(&self, id: &ServerId) -> Result<SupervisorHandle, ApiError> {
        self.around.supervisor(id)
    }

    /// The target as its server lists it. Errors: not_found.
    fn model(&self) -> Result<Model, ApiError> {
        if let Cause::Asked(model) = &self.cause {
            return Ok(model.clone());
        }
        self.around.listed().into_iter().find(|model| model.reference() == self.to).ok_or_else(|| {
            ApiError::not_found(format!("{} has no model {} any more.", self.to.server, self.to.model))
                .hint("Switch to another model: “pilothouse models” lists them.")
        })
    }

    fn situation(&self, model: &Model) -> Situation {
        let snapshot = self.around.hub.now();
        let (needed_bytes, free_bytes) = self.around.needed_and_free(model);
        Situation {
            same_model: self.previous.as_ref().is_some_and(|active| active.reference() == self.to),
            previous: self.previous.clone(),
            previous_stays: self.beside.previous_stays,
            evicts: !self.beside.evict.is_empty(),
            answers: self.answered,
            target_loaded: self.instance.is_some()
                || snapshot.instances.iter().any(|i| i.server == self.to.server && i.model == self.to.model),
            needed_bytes,
            free_bytes,
        }
    }

    /// The plan as a report; nothing is done.
    pub fn rehearse(mut self) -> SwitchReport {
        let Ok(model) = self.model() else { return self.report(0, SwitchOutcome::Cancelled, None) };
        let steps = plan(&self.situation(&model));
        let timings = steps.iter().map(|step| StepTiming { name: step.name().into(), ms: 0 }).collect();
        SwitchReport { steps: timings, dry_run: true, ..self.report(0, SwitchOutcome::Committed, None) }
    }

    async fn open_journal(&mut self) -> i64 {
        let fallback = Timestamp::now().as_millisecond();
        let journal = self.around.journal.clone().filter(|_| matches!(self.cause, Cause::Asked(_)));
        let Some(journal) = journal else {
            self.journalled = !matches!(self.cause, Cause::Asked(_));
            return fallback;
        };
        match journal.begin(self.previous.as_ref(), &self.to, Timestamp::now()).await {
            Ok(id) => {
                self.in_journal = true;
                id
            }
            Err(error) => {
                tracing::warn!(%error, "this switch is not journalled");
                self.not_journalled(&error);
                fallback
            }
        }
    }

    async fn show(&mut self, switch_id: i64) {
        let (_, times) = self.around.load_limit(&self.to).await;
        let loads: Vec<f64> = times.iter().map(|ms| *ms as f64 / 1000.0).collect();
        let eta_s = pilothouse_domain::bench::stats::median(&loads);
        if let Some(seconds) = eta_s {
            self.around.hub.report(Report::LoadTime { model: self.to.clone(), seconds });
        }
        self.shown = Some(Switching {
            switch_id,
            from: self.previous.as_ref().map(Active::reference),
            to: self.to.clone(),
            phase: SwitchPhase::Preparing,
            progress: None,
            eta_s,
            started_at: Timestamp::now(),
        });
        self.enter(SwitchPhase::Preparing).await;
    }

    async fn enter(&mut self, phase: SwitchPhase) {
        let looked = self.done.contains(&Step::EnsureServer) && self.connection.is_some();
        let to_was_loaded = looked.then_some(self.target_was_loaded);
        let Some(shown) = &mut self.shown else { return };
        shown.phase = phase;
        shown.progress = None;
        self.around.hub.report(Report::Switching(Some(shown.clone())));
        // Nobody waits for a journal that has just failed: the commit tries it again.
        if let Some(journal) = self.around.journal.clone().filter(|_| self.in_journal && self.journalled)
            && let Err(error) = journal.mark(shown.switch_id, phase, to_was_loaded).await
        {
            tracing::warn!(%error, "the journal was not written");
            self.not_journalled(&error);
        }
    }

    /// All steps in order; the plan is made once the server is up and says what is loaded.
    async fn forward(&mut self) -> Result<(), ApiError> {
        if let Some(clearing) = self.clearing.take() {
            self.until_cancelled(clearing.map(Ok)).await?;
        }
        if !self.answered {
            self.timed(Step::Hold).await?;
        }
        self.timed(Step::EnsureServer).await?;
        let model = self.model()?;
        let server = self.to.server.clone();
        // On this server they hold the memory that the load needs; the others can wait.
        self.clear_strays(|stray| stray.server == server).await;
        let steps = plan(&self.situation(&model));
        let begun = steps.iter().position(|step| *step == Step::EnsureServer).map_or(0, |place| place + 1);
        let mut steps: VecDeque<Step> = steps.into_iter().skip(begun).collect();
        while let Some(step) = steps.pop_front() {
            if let Err(error) = self.timed(step).await {
                steps = self.way_on(error).await?.into();
            }
        }
        self.clear_strays(|_| true).await;
        Ok(())
    }

    /// What to do instead after a step that failed. Errors: the one of that step, when there is nothing.
    async fn way_on(&self, error: ApiError) -> Result<Vec<Step>, ApiError> {
        let in_the_way = error.code == ErrorCode::DoesNotFit
            && !self.beside.previous_stays
            && self.previous_is_beside().await;
        let Some(steps) = make_room(&self.done, in_the_way) else {
            return Err(error);
        };
        tracing::info!(%error, "the previous model may be in the way, unloading it first");
        Ok(steps)
    }

    async fn timed(&mut self, step: Step) -> Result<(), ApiError> {
        let begun = Instant::now();
        self.done.push(step.clone());
        self.enter(step.phase()).await;
        let result = match step {
            Step::EnsureServer => self.ensure_server().await,
            Step::Hold => {
                self.stand(Standing::Held);
                Ok(())
            }
            Step::UnloadPrevious => self.unload_previous().await,
            Step::Evict => self.evict().await,
            Step::Load => self.load().await,
            Step::Prove => self.prove().await,
            Step::Commit => self.commit().await,
        };
        let ms = begun.elapsed().as_millis() as u64;
        self.timings.push(StepTiming { name: step.name().into(), ms });
        result
    }

    /// Tells whether requests may go to what is active.
    fn stand(&mut self, standing: Standing) {
        self.standing = standing.clone();
        self.around.hub.report(Report::Active { active: self.active.clone(), standing });
    }

    /// A model had to be left in memory: it is taken out later, if need be after our next start.
    async fn leave(&mut self, stray: ModelRef) {
        self.around.note_stray(&stray, true).await;
        self.strays.push(stray);
    }

    fn not_journalled(&mut self, error: &ApiError) {
        if std::mem::replace(&mut self.journalled, false) {
            self.reasons.push(format!("Not journalled: {}", error.message));
        }
    }

    fn is_committed(&self) -> bool {
        self.done.contains(&Step::Commit)
    }

    /// Runs a step's work unless the switch is cancelled first, by a person or by our own end.
    async fn until_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        // Boxed: each bound around it would hold it twice over.
        let by_a_person = until_cancelled(&self.cancel, "The switch was cancelled.", Box::pin(work));
        until_cancelled(&self.ending, "Pilothouse ended.", by_a_person).await
    }

    fn report(&mut self, switch_id: i64, outcome: SwitchOutcome, error: Option<ApiError>) -> SwitchReport {
        let mut reasons = std::mem::take(&mut self.reasons);
        if let Some(error) = &error {
            reasons.insert(0, error.message.clone());
        }
        SwitchReport {
            switch_id,
            from: self.previous.as_ref().map(Active::reference),
            to: self.to.clone(),
            outcome,
            dry_run: false,
            took_ms: self.began.elapsed().as_millis() as u64,
            load_ms: self.load_ms,
            first_token_ms: self.first_token_ms,
            steps: std::mem::take(&mut self.timings),
            answers_cut: self.answers_cut,
            journalled: self.journalled,
            reason: (!reasons.is_empty()).then(|| reasons.join(" ")),
            error,
        }
    }
}
