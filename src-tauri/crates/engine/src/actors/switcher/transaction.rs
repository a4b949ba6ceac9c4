use super::{Cause, Surroundings, Wanted};
use crate::{
    actors::supervisor::{Connection, SupervisorHandle},
    hub::Report,
    ports::{GenerateRequest, LoadRequest},
};
use futures_util::{StreamExt, future::join_all};
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    model::{Instance, Model, ModelPurpose, ModelRef, find_models},
    server::ServerId,
    switch::{
        Active, Situation, Step, StepTiming, SwitchOutcome, SwitchPhase, SwitchReport, Switching, Undo, plan,
        undo,
    },
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long answers under way may go on before their model leaves memory all the same.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// How long the first token of the proof may take.
const PROOF_LIMIT: Duration = Duration::from_secs(120);

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
            join_all(self.around.supervisors.iter().map(SupervisorHandle::refresh)).await;
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

    fn supervisor(&self, id: &ServerId) -> Result<&SupervisorHandle, ApiError> {
        self.around.supervisors.iter().find(|supervisor| &supervisor.id == id).ok_or_else(|| {
            let ids: Vec<&str> = self.around.supervisors.iter().map(|s| s.id.as_str()).collect();
            ApiError::not_found(format!("There is no server {id}."))
                .hint(format!("Servers: {}.", ids.join(", ")))
        })
    }

    fn situation(&self, model: &Model) -> Situation {
        let snapshot = self.around.hub.now();
        let gauges = snapshot.gauges.as_ref();
        let free = gauges.and_then(|g| Some(g.memory_total_bytes?.saturating_sub(g.memory_used_bytes?)));
        let target = model.reference();
        Situation {
            same_model: self.previous.as_ref().is_some_and(|active| active.reference() == target),
            previous: self.previous.clone(),
            target_loaded: self.instance.is_some()
                || snapshot.instances.iter().any(|i| i.server == target.server && i.model == target.model),
            target_bytes: model.size_bytes,
            free_bytes: free,
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
        let steps = plan(&self.situation(model));
        for step in steps.into_iter().skip(1) {
            self.timed(step, model).await?;
        }
        self.clear_leftovers().await;
        Ok(())
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

    async fn ensure_server(&mut self, model: &Model) -> Result<(), ApiError> {
        let supervisor = self.supervisor(&model.server)?.clone();
        let connection = self.until_cancelled(supervisor.ensure_ready()).await?;
        let instances = self.until_cancelled(connection.client.instances()).await?;
        self.instance = instances.into_iter().find(|instance| instance.model == model.name);
        self.target_was_loaded = self.instance.is_some();
        self.connection = Some(connection);
        Ok(())
    }

    fn hold(&self, held: bool) {
        self.around.hub.report(Report::Active { active: self.previous.clone(), held });
    }

    async fn load(&mut self, model: &Model) -> Result<(), ApiError> {
        let begun = Instant::now();
        let connection = self.connection()?;
        let (hub, shown) = (self.around.hub.clone(), self.shown.clone());
        let progress = Arc::new(move |fraction: f64| {
            if let Some(mut shown) = shown.clone() {
                shown.phase = SwitchPhase::Loading;
                shown.progress = Some(fraction.clamp(0.0, 1.0));
                hub.report(Report::Switching(Some(shown)));
            }
        });
        let request = LoadRequest { model: model.name.clone(), context: None };
        let instance = self.until_cancelled(connection.client.load(&request, progress)).await?;
        self.load_ms = Some(begun.elapsed().as_millis() as u64);
        self.instance = Some(instance);
        Ok(())
    }

    /// One real token, or the model does not become active.
    async fn prove(&mut self, model: &Model) -> Result<(), ApiError> {
        let begun = Instant::now();
        let connection = self.connection()?;
        let instance = self.instance.as_ref().map_or_else(|| model.name.clone(), |i| i.id.clone());
        let request = GenerateRequest { instance, prompt: "Hello".into(), max_tokens: 4, raw: true };
        let token = self.until_cancelled(async {
            let mut answer = connection.client.generate(&request).await?;
            while let Some(event) = answer.next().await {
                let event = event?;
                let counted = event.end.as_ref().is_some_and(|end| end.output_tokens > Some(0));
                if !event.text.is_empty() || counted {
                    return Ok(());
                }
            }
            Err(ApiError::new(ErrorCode::ProofFailed, format!("{} gave no token.", model.title)))
        });
        let result = tokio::time::timeout(PROOF_LIMIT, token).await.unwrap_or_else(|_| {
            let text = format!("{} gave no token within {} s.", model.title, PROOF_LIMIT.as_secs());
            Err(ApiError::new(ErrorCode::ProofFailed, text).hint("Look at the server's log."))
        });
        self.first_token_ms = result.is_ok().then(|| begun.elapsed().as_millis() as u64);
        result
    }

    /// From here on the new model is the active one; `previous` keeps the old one only for `UnloadPrevious`.
    fn commit(&mut self, model: &Model) -> Result<(), ApiError> {
        let active = self.active(model);
        if let Some(instance) = &self.instance {
            // The supervisor's next look comes later than the first request may.
            self.note_instance(instance.clone());
        }
        self.around.hub.report(Report::Active { active: Some(active), held: false });
        Ok(())
    }

    fn active(&self, model: &Model) -> Active {
        Active {
            server: model.server.clone(),
            model: model.name.clone(),
            instance: self
                .instance
                .as_ref()
                .map_or_else(|| model.name.clone(), |instance| instance.id.clone()),
        }
    }

    fn note_instance(&self, instance: Instance) {
        let server = instance.server.clone();
        let mut instances: Vec<Instance> =
            self.around.hub.now().instances.iter().filter(|i| i.server == server).cloned().collect();
        if !instances.iter().any(|i| i.id == instance.id) {
            instances.push(instance);
            self.around.hub.report(Report::Instances { server, instances });
        }
    }

    /// Before the commit a failure ends the switch; after it the old model merely stays in memory, and that is said.
    async fn unload_previous(&mut self) -> Result<(), ApiError> {
        let Some(previous) = self.previous.clone() else {
            return Ok(());
        };
        let committed = self.done.contains(&Step::Commit);
        self.enter(SwitchPhase::Draining).await;
        let drained = self.around.in_flight.drained(&previous.server, &previous.instance, DRAIN_LIMIT);
        let work = async {
            if !drained.await {
                tracing::warn!("answers of the previous model were cut off after {DRAIN_LIMIT:?}");
            }
            // Its server may be down or gone by now: then there is nothing in memory.
            let up =
                self.around.hub.now().server(&previous.server).is_some_and(|server| server.state.is_up());
            if !up {
                return Ok(());
            }
            let connection = self.supervisor(&previous.server)?.ensure_ready().await?;
            connection.client.unload(&previous.instance).await
        };
        let result = match committed {
            true => work.await,
            false => self.until_cancelled(work).await,
        };
        if let Ok(supervisor) = self.supervisor(&previous.server) {
            supervisor.refresh().await;
        }
        match result {
            Err(error) if committed => {
                self.reason = Some(format!("{} is still in memory: {error}", previous.model));
                Ok(())
            }
            result => result,
        }
    }

    /// Takes models out of memory that a switch cut off by our own end had loaded.
    async fn clear_leftovers(&self) {
        let Cause::Restore { leftovers } = &self.cause else {
            return;
        };
        for leftover in leftovers {
            let Ok(supervisor) = self.supervisor(&leftover.server) else {
                continue;
            };
            let Ok(connection) = supervisor.ensure_ready().await else {
                continue;
            };
            let Ok(instances) = connection.client.instances().await else {
                continue;
            };
            for instance in instances.iter().filter(|instance| instance.model == leftover.model) {
                if let Err(error) = connection.client.unload(&instance.id).await {
                    tracing::warn!(%error, model = %leftover, "is still in memory after a cut-off switch");
                }
            }
            supervisor.refresh().await;
        }
    }

    /// Undoes what was begun. Cannot be cancelled.
    async fn put_back(&mut self, to: &ModelRef) {
        self.enter(SwitchPhase::PuttingBack).await;
        let Undo { unload_target, reload_previous } = undo(&self.done);
        if unload_target && !self.target_was_loaded {
            self.unload_target(to).await;
        }
        let Some(previous) = self.previous.clone() else {
            self.hold(false);
            return;
        };
        match self.previous_again(&previous, reload_previous).await {
            Ok(active) => self.previous = Some(active),
            Err(error) => {
                self.reason = Some(format!("{} could not be put back either: {error}", previous.model));
                self.previous = None;
            }
        }
        self.hold(false);
    }

    async fn unload_target(&self, to: &ModelRef) {
        let Some(connection) = &self.connection else {
            return;
        };
        let id = self.instance.as_ref().map_or(&to.model, |instance| &instance.id);
        if let Err(error) = connection.client.unload(id).await {
            tracing::warn!(%error, model = %to, "is still in memory after a failed switch");
        }
        if let Ok(supervisor) = self.supervisor(&to.server) {
            supervisor.refresh().await;
        }
    }

    /// The previous model, loaded again if it is not in memory any more (we unloaded it, or its server evicted it).
    async fn previous_again(&self, previous: &Active, unloaded: bool) -> Result<Active, ApiError> {
        let supervisor = self.supervisor(&previous.server)?;
        let up = self.around.hub.now().server(&previous.server).is_some_and(|server| server.state.is_up());
        if !up && !unloaded {
            // Down for reasons of its own: it stays the active model, and its supervisor deals with it.
            return Ok(previous.clone());
        }
        let connection = supervisor.ensure_ready().await?;
        let instances = connection.client.instances().await?;
        if instances.iter().any(|instance| instance.id == previous.instance) {
            return Ok(previous.clone());
        }
        let request = LoadRequest { model: previous.model.clone(), context: None };
        let instance = connection.client.load(&request, Arc::new(|_| {})).await?;
        let active = Active { instance: instance.id.clone(), ..previous.clone() };
        self.note_instance(instance);
        Ok(active)
    }

    fn connection(&self) -> Result<Connection, ApiError> {
        self.connection.clone().ok_or_else(|| ApiError::internal("A step came before its server was up."))
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
