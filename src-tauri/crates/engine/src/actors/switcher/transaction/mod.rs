//! One switch from its resolving to its report: the journal, the plan, and which step comes next.

mod put_back;
mod steps;

use super::{Cause, Surroundings, Wanted};
use crate::{
    actors::supervisor::{Connection, SupervisorHandle},
    hub::Report,
};
use futures_util::future::join_all;
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    model::{Instance, Model, ModelPurpose, ModelRef, find_models},
    server::ServerId,
    switch::{
        Active, Situation, Step, StepTiming, SwitchOutcome, SwitchPhase, SwitchReport, Switching, make_room,
        plan,
    },
};
use std::collections::VecDeque;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How a transaction ended, and what is active now.
pub(super) struct Finished {
    pub result: Result<SwitchReport, ApiError>,
    pub active: Option<Active>,
}

pub(super) struct Transaction {
    around: Surroundings,
    wanted: Wanted,
    cause: Cause,
    previous: Option<Active>,
    cancel: CancellationToken,
    began: Instant,
    /// What views see; `None` until the target is known.
    shown: Option<Switching>,
    done: Vec<Step>,
    timings: Vec<StepTiming>,
    load_ms: Option<u64>,
    first_token_ms: Option<u64>,
    /// The target's copy in memory.
    instance: Option<Instance>,
    connection: Option<Connection>,
    target_was_loaded: bool,
    reason: Option<String>,
}

impl Transaction {
    pub fn new(
        around: Surroundings,
        wanted: Wanted,
        cause: Cause,
        previous: Option<Active>,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            around,
            wanted,
            cause,
            previous,
            cancel,
            began: Instant::now(),
            shown: None,
            done: Vec::new(),
            timings: Vec::new(),
            load_ms: None,
            first_token_ms: None,
            instance: None,
            connection: None,
            target_was_loaded: false,
            reason: None,
        }
    }

    pub async fn run(mut self) -> Finished {
        let model = match self.resolve().await {
            Ok(model) => model,
            Err(error) => {
                return Finished { result: Err(error), active: self.previous };
            }
        };
        let to = model.reference();
        if self.wanted.dry_run {
            return self.rehearse(&model);
        }
        let switch_id = self.open_journal(&to).await;
        self.show(switch_id, &to).await;
        let outcome = self.forward(&model).await;
        let report = match outcome {
            Ok(()) => self.report(switch_id, &to, SwitchOutcome::Committed, None),
            Err(error) => {
                tracing::warn!(%to, %error, "the switch failed, putting back");
                self.put_back(&to).await;
                let outcome = match error.code {
                    ErrorCode::Cancelled => SwitchOutcome::Cancelled,
                    _ => SwitchOutcome::RolledBack,
                };
                self.report(switch_id, &to, outcome, Some(error))
            }
        };
        if self.cause == Cause::Asked
            && let Some(store) = &self.around.store
            && let Err(error) = store.end_switch(&report).await
        {
            tracing::warn!(%error, "the switch was not kept");
        }
        Finished { result: Ok(report), active: self.previous }
    }

    /// The model that is meant. Servers are asked again before a name counts as unknown.
    async fn resolve(&self) -> Result<Model, ApiError> {
        let server = self.wanted.server.as_ref();
        if let Some(server) = server {
            self.supervisor(server)?;
        }
        let mut models = self.listed();
        if find_models(&models, &self.wanted.model, server).is_empty() {
            if let (Some(server), Cause::Restore { .. }) = (server, &self.cause) {
                // After a start the server may still be on its way up.
                self.until_cancelled(self.supervisor(server)?.ensure_ready()).await?;
            }
            let supervisors = self.around.supervisors.all();
            join_all(supervisors.iter().map(SupervisorHandle::refresh)).await;
            models = self.listed();
        }
        let hits = find_models(&models, &self.wanted.model, server);
        match hits[..] {
            [] => Err(ApiError::not_found(format!("No server has a model named {}.", self.wanted.model))
                .hint("`pilothouse models` lists the models; a stopped server must be started first.")),
            [model] if model.purpose == ModelPurpose::Llm => Ok(model.clone()),
            [model] => Err(ApiError::new(
                ErrorCode::Unsupported,
                format!("{} cannot answer prompts, so it cannot become the active model.", model.title),
            )),
            _ => {
                let names: Vec<String> = hits.iter().take(6).map(|model| model.reference().id()).collect();
                let text = format!("{} fits {} models: {}.", self.wanted.model, hits.len(), names.join(", "));
                Err(ApiError::new(ErrorCode::Ambiguous, text).hint("Name one of them, or add --server."))
            }
        }
    }

    fn listed(&self) -> Vec<Model> {
        self.around.hub.now().models.iter().map(|view| view.model.clone()).collect()
    }

    fn supervisor(&self, id: &ServerId) -> Result<SupervisorHandle, ApiError> {
        self.around.supervisors.get(id)
    }

    fn situation(&self, model: &Model) -> Situation {
        let snapshot = self.around.hub.now();
        let target = model.reference();
        let view = snapshot.models.iter().find(|view| view.model.reference() == target);
        // Until its build has been read, the weights and a quarter for context and buffers.
        let weights_and_more = model.size_bytes.map(|bytes| bytes.saturating_add(bytes / 4));
        let needed = view.and_then(|view| view.needed_bytes).or(weights_and_more);
        Situation {
            same_model: self.previous.as_ref().is_some_and(|active| active.reference() == target),
            previous: self.previous.clone(),
            target_loaded: self.instance.is_some()
                || snapshot.instances.iter().any(|i| i.server == target.server && i.model == target.model),
            // Weights on another machine need none of this one's memory.
            needed_bytes: needed.filter(|_| !snapshot.is_remote(&model.server)),
            free_bytes: snapshot.ledger.as_ref().map(|ledger| {
                let beside = view.is_some_and(|view| view.off_card).then(|| ledger.on_processor()).flatten();
                beside.as_ref().unwrap_or(ledger).headroom_bytes
            }),
        }
    }

    fn rehearse(mut self, model: &Model) -> Finished {
        let steps = plan(&self.situation(model));
        let timings = steps.iter().map(|step| StepTiming { name: step.name().into(), ms: 0 }).collect();
        let report = SwitchReport {
            steps: timings,
            dry_run: true,
            ..self.report(0, &model.reference(), SwitchOutcome::Committed, None)
        };
        Finished { result: Ok(report), active: self.previous }
    }

    async fn open_journal(&mut self, to: &ModelRef) -> i64 {
        let fallback = Timestamp::now().as_millisecond();
        let (Some(store), Cause::Asked) = (&self.around.store, &self.cause) else {
            return fallback;
        };
        match store.begin_switch(self.previous.as_ref(), to, Timestamp::now()).await {
            Ok(id) => id,
            Err(error) => {
                tracing::warn!(%error, "this switch is not journalled");
                fallback
            }
        }
    }

    async fn show(&mut self, switch_id: i64, to: &ModelRef) {
        let times = match &self.around.store {
            Some(store) => store.load_times(&to.server, &to.model).await.unwrap_or_default(),
            None => Vec::new(),
        };
        let loads: Vec<f64> = times.iter().map(|ms| *ms as f64 / 1000.0).collect();
        self.shown = Some(Switching {
            switch_id,
            from: self.previous.as_ref().map(Active::reference),
            to: to.clone(),
            phase: SwitchPhase::Preparing,
            progress: None,
            eta_s: pilothouse_domain::bench::stats::median(&loads),
            started_at: Timestamp::now(),
        });
        self.enter(SwitchPhase::Preparing).await;
    }

    async fn enter(&mut self, phase: SwitchPhase) {
        let Some(shown) = &mut self.shown else { return };
        shown.phase = phase;
        shown.progress = None;
        self.around.hub.report(Report::Switching(Some(shown.clone())));
        if let (Some(store), Cause::Asked) = (&self.around.store, &self.cause)
            && let Err(error) = store.mark_switch(shown.switch_id, phase).await
        {
            tracing::warn!(%error, "the journal was not written");
        }
    }

    /// All steps in order; the plan is made once the server is up and says what is loaded.
    async fn forward(&mut self, model: &Model) -> Result<(), ApiError> {
        self.timed(Step::EnsureServer, model).await?;
        // On this server they hold the memory that the load needs; the others can wait.
        self.clear_leftovers(&model.server, true).await;
        let mut steps: VecDeque<Step> = plan(&self.situation(model)).into_iter().skip(1).collect();
        while let Some(step) = steps.pop_front() {
            if let Err(error) = self.timed(step, model).await {
                steps = self.way_on(model, error).await?.into();
            }
        }
        self.clear_leftovers(&model.server, false).await;
        Ok(())
    }

    /// What to do instead after a step that failed. Errors: the one of that step, when there is nothing.
    async fn way_on(&self, model: &Model, error: ApiError) -> Result<Vec<Step>, ApiError> {
        let in_the_way = error.code == ErrorCode::DoesNotFit && self.previous_is_beside(model).await;
        let Some(steps) = make_room(&self.done, in_the_way) else {
            return Err(error);
        };
        tracing::info!(%error, "the previous model may be in the way, unloading it first");
        Ok(steps)
    }

    async fn timed(&mut self, step: Step, model: &Model) -> Result<(), ApiError> {
        let begun = Instant::now();
        self.done.push(step.clone());
        self.enter(step.phase()).await;
        let result = match step {
            Step::EnsureServer => self.ensure_server(model).await,
            Step::Hold => {
                self.hold(true);
                Ok(())
            }
            Step::UnloadPrevious => self.unload_previous().await,
            Step::Load => self.load(model).await,
            Step::Prove => self.prove(model).await,
            Step::Commit => self.commit(model),
        };
        let ms = begun.elapsed().as_millis() as u64;
        self.timings.push(StepTiming { name: step.name().into(), ms });
        result
    }

    /// Runs a step's work unless the switch is cancelled first.
    async fn until_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        tokio::select! {
            result = work => result,
            () = self.cancel.cancelled() => Err(ApiError::cancelled("The switch was cancelled.")),
        }
    }

    fn report(
        &mut self,
        switch_id: i64,
        to: &ModelRef,
        outcome: SwitchOutcome,
        error: Option<ApiError>,
    ) -> SwitchReport {
        let from = self
            .shown
            .as_ref()
            .map_or_else(|| self.previous.as_ref().map(Active::reference), |shown| shown.from.clone());
        if outcome == SwitchOutcome::Committed && !self.wanted.dry_run {
            let instance = self.instance.as_ref().map_or_else(|| to.model.clone(), |i| i.id.clone());
            self.previous = Some(Active { server: to.server.clone(), model: to.model.clone(), instance });
        }
        let reason = match (&error, self.reason.take()) {
            (Some(error), Some(more)) => Some(format!("{} {more}", error.message)),
            (Some(error), None) => Some(error.message.clone()),
            (None, more) => more,
        };
        SwitchReport {
            switch_id,
            from,
            to: to.clone(),
            outcome,
            dry_run: self.wanted.dry_run,
            took_ms: self.began.elapsed().as_millis() as u64,
            load_ms: self.load_ms,
            first_token_ms: self.first_token_ms,
            steps: std::mem::take(&mut self.timings),
            reason,
            error,
        }
    }
}
