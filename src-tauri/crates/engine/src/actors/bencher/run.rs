use super::{
    BenchRequest, BencherWiring, Runs, conversation,
    course::{Course, Spent},
    quiet_gate::QuietGate,
    request::Asked,
    side::{Begin, Measured},
};
use crate::{
    actors::{bounds::apart, residency::Borrowed},
    hub::Report,
};
use pilothouse_domain::{
    bench::{Run, RunDetail, regression::WatchState, series::SeriesMetric, trend::Trend},
    error::{ApiError, ErrorCode},
    model::{Model, find_model},
    notice::Happening,
    server::ServerId,
};
use pilothouse_system::hardware::{Power, this_machine};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Small files of the kernel, or a short program.
const POWER_LIMIT: Duration = Duration::from_secs(3);
/// The baseline, the runs that tell its noise, and those that may be worse.
const WATCHED_RUNS: u32 = 200;
/// Requests that are thrown away of a model that was loaded again for its block.
const REWARM: u32 = 2;

/// A run or a comparison from its request to its rows.
pub(super) struct BenchRun {
    pub(super) around: BencherWiring,
    pub(super) request: BenchRequest,
    pub(super) cancel: CancellationToken,
}

impl BenchRun {
    pub fn new(around: BencherWiring, request: BenchRequest, cancel: CancellationToken) -> Self {
        Self { around, request, cancel }
    }

    pub async fn run(self) -> Result<Runs, ApiError> {
        let models = self.models()?;
        let mut course = self.course(&models).await;
        match &models[..] {
            [model] if self.request.plan.is_load() => Box::pin(self.loads(model, &mut course)).await,
            [model] if self.request.plan.is_copies() => Box::pin(self.copies(model, &mut course)).await,
            [model] => Box::pin(self.alone(model, &mut course)).await,
            [a, b] => Box::pin(self.compared([a, b], &mut course)).await,
            _ => Err(ApiError::internal("A benchmark has one side or two.")),
        }
    }

    /// The models to be measured, one or two. Errors: no_active_model, not_found, ambiguous.
    fn models(&self) -> Result<Vec<Model>, ApiError> {
        let snapshot = self.around.hub.now();
        let models: Vec<Model> = snapshot.models.iter().map(|view| view.model.clone()).collect();
        let (name, server) = match (&self.request.model, &snapshot.active) {
            (Some(name), _) => (name.clone(), self.request.server.clone()),
            (None, Some(active)) => (active.model.clone(), Some(active.server.clone())),
            (None, None) => {
                return Err(ApiError::new(ErrorCode::NoActiveModel, "No model is active.")
                    .hint("Switch to a model first, or name one."));
            }
        };
        let mut sides = vec![find_model(&models, &name, server.as_ref())?.clone()];
        if let Some((name, server)) = &self.request.against {
            sides.push(find_model(&models, name, server.as_ref())?.clone());
        }
        Ok(sides)
    }

    async fn course(&self, models: &[Model]) -> Course {
        let (around, plan) = (self.around.clone(), self.request.plan.clone());
        let servers: BTreeSet<ServerId> = models.iter().map(|model| model.server.clone()).collect();
        let power = self.power().await;
        let gate = QuietGate::new(&around, servers, &plan, power.on_battery);
        Course {
            around,
            plan,
            cancel: self.cancel.clone(),
            gate,
            spent: Spent::default(),
            power,
            noise: self.request.noise,
            measuring_since: None,
        }
    }

    async fn power(&self) -> Power {
        let neighbours = Arc::clone(&self.around.neighbours);
        let asked = apart("the power supply", POWER_LIMIT, move || Some(neighbours.power()));
        asked.await.unwrap_or_default()
    }

    async fn borrow(&self, models: &[&Model]) -> Result<Borrowed, ApiError> {
        let titles: Vec<&str> = models.iter().map(|model| model.title.as_str()).collect();
        let why = format!("A benchmark of {}", titles.join(" and "));
        let models = models.iter().map(|model| (*model).clone()).collect();
        self.around.residency.borrow(models, why, self.cancel.clone()).await
    }

    /// One model by itself.
    async fn alone(&self, model: &Model, course: &mut Course) -> Result<Runs, ApiError> {
        let borrowed = self.borrow(&[model]).await?;
        let Some(side) = borrowed.sides.first() else { return Err(nothing_lent()) };
        if let Err(error) = conversation::fits(&self.request.plan, &side.instance) {
            borrowed.give_back().await;
            return Err(error);
        }
        let machine = this_machine().await;
        let begin = Begin {
            plan: &self.request.plan,
            machine: &machine,
            power: &course.power,
            against: None,
            resume: &self.request.resume,
        };
        let mut measured = match Measured::begin(&self.around, model, side, &begin).await {
            Ok(measured) => measured,
            Err(error) => {
                borrowed.give_back().await;
                return Err(error);
            }
        };
        let result = async {
            course.quiet_before(&measured).await?;
            course.warm_up(&mut measured).await?;
            self.measure(&mut measured, course).await
        };
        let result = result.await;
        measured.run.disturbed = course.gate.end().await;
        let detail = measured.close(&self.around, result.as_ref().err()).await;
        borrowed.give_back().await;
        if result.is_ok() && self.request.plan.repeats() {
            self.watch(&detail.run).await;
        }
        self.tell(vec![detail], result)
    }

    /// The measured requests of one model, as its plan has them.
    async fn measure(&self, measured: &mut Measured, course: &mut Course) -> Result<(), ApiError> {
        let plan = &self.request.plan;
        match (&plan.arrivals, plan.turns, &plan.replay) {
            (Some(arrivals), ..) => course.open_loop(measured, arrivals).await,
            (_, Some(turns), _) => course.conversations(measured, turns).await,
            (.., Some(_)) => course.replay(measured, &self.request.replay).await,
            _ if plan.is_sweep() => course.sweep(measured).await,
            _ => course.trials(measured).await,
        }
    }

    /// Tells of a model that grew worse, with the run that confirms it.
    async fn watch(&self, run: &Run) {
        let Some(store) = &self.around.store else { return };
        let series = store.series(&run.server, &run.model, &run.plan.name, WATCHED_RUNS).await;
        let (Ok(series), Ok(accepted)) = (series, store.accepted_levels().await) else { return };
        for metric in [SeriesMetric::DecodeTokS, SeriesMetric::TtftMs] {
            let Some(watch) = Trend::of(&series, metric, &accepted).map(|trend| trend.watch) else {
                continue;
            };
            let Some(since_run) = watch.since_run.filter(|_| watch.state == WatchState::Confirmed) else {
                continue;
            };
            let snapshot = self.around.hub.now();
            self.around.notifier.tell(Happening::GrewWorse {
                title: snapshot.model_title(&run.server, &run.model),
                server_title: snapshot.server_title(&run.server),
                words: watch.words,
                since_run,
            });
        }
    }

    /// Two models in turns, block by block; both in memory where they fit, else each for its trial.
    async fn compared(&self, models: [&Model; 2], course: &mut Course) -> Result<Runs, ApiError> {
        let same = models[0].reference() == models[1].reference();
        let distinct = if same { &models[..1] } else { &models[..] };
        match self.borrow(distinct).await {
            Ok(borrowed) => {
                let result = Box::pin(self.together(models, &borrowed, course)).await;
                borrowed.give_back().await;
                result
            }
            Err(error) if error.code == ErrorCode::DoesNotFit && !same => {
                Box::pin(self.in_turns(models, course)).await
            }
            Err(error) => Err(error),
        }
    }

    async fn together(
        &self,
        models: [&Model; 2],
        borrowed: &Borrowed,
        course: &mut Course,
    ) -> Result<Runs, ApiError> {
        let Some((first, last)) = borrowed.sides.first().zip(borrowed.sides.last()) else {
            return Err(nothing_lent());
        };
        let machine = this_machine().await;
        let mut begin = Begin {
            plan: &self.request.plan,
            machine: &machine,
            power: &course.power,
            against: None,
            resume: &self.request.resume,
        };
        let mut a = Measured::begin(&self.around, models[0], first, &begin).await?;
        begin.against = Some(a.run.run_id);
        let mut b = match Measured::begin(&self.around, models[1], last, &begin).await {
            Ok(b) => b,
            Err(error) => return self.without_the_other(a, course, error).await,
        };
        let result = async {
            course.quiet_before(&a).await?;
            course.warm_up(&mut a).await?;
            course.warm_up(&mut b).await?;
            let mut block = last_block(&a, &b);
            while !course.is_enough(block, &mut a, &mut b) {
                block += 1;
                course.ready_for_block(&a).await?;
                // The same words for both, and nobody knows who is first.
                let (text, a_first): (u64, bool) = (rand::random(), rand::random());
                let (first, second) = if a_first { (&mut a, &mut b) } else { (&mut b, &mut a) };
                course.block_trial(first, block, text).await?;
                course.block_trial(second, block, text).await?;
            }
            Ok(())
        };
        let result = result.await;
        Box::pin(self.close_both(a, b, course, result)).await
    }

    /// Each model is borrowed for its trial, so that one is in memory at a time beside what was there.
    async fn in_turns(&self, models: [&Model; 2], course: &mut Course) -> Result<Runs, ApiError> {
        let machine = this_machine().await;
        let mut begin = Begin {
            plan: &self.request.plan,
            machine: &machine,
            power: &course.power,
            against: None,
            resume: &self.request.resume,
        };
        let mut a = self.begun_alone(models[0], &begin).await?;
        begin.against = Some(a.run.run_id);
        let b = self.begun_alone(models[1], &begin).await;
        let mut b = match b {
            Ok(b) => b,
            Err(error) => return self.without_the_other(a, course, error).await,
        };
        let result = async {
            let mut block = last_block(&a, &b);
            while !course.is_enough(block, &mut a, &mut b) {
                block += 1;
                let (text, a_first): (u64, bool) = (rand::random(), rand::random());
                let order = if a_first { [0, 1] } else { [1, 0] };
                for which in order {
                    let side = if which == 0 { &mut a } else { &mut b };
                    let borrowed = self.borrow(&[models[which]]).await?;
                    let turn = async {
                        let Some(lent) = borrowed.sides.first() else { return Err(nothing_lent()) };
                        side.asked = Asked::of(&side.target, lent);
                        course.ready_for_block(side).await?;
                        course.rewarm(side, REWARM).await?;
                        course.block_trial(side, block, text).await
                    };
                    let turn = turn.await;
                    borrowed.give_back().await;
                    turn?;
                }
            }
            Ok(())
        };
        let result = result.await;
        Box::pin(self.close_both(a, b, course, result)).await
    }

    async fn begun_alone(&self, model: &Model, begin: &Begin<'_>) -> Result<Measured, ApiError> {
        let borrowed = self.borrow(&[model]).await?;
        let begun = match borrowed.sides.first() {
            Some(side) => Measured::begin(&self.around, model, side, begin).await,
            None => Err(nothing_lent()),
        };
        borrowed.give_back().await;
        begun
    }

    /// The second side could not begin, so that the first is of no use.
    async fn without_the_other(
        &self,
        mut a: Measured,
        course: &mut Course,
        error: ApiError,
    ) -> Result<Runs, ApiError> {
        a.run.disturbed = course.gate.end().await;
        let detail = a.close(&self.around, Some(&error)).await;
        self.tell(vec![detail], Err(error))
    }

    async fn close_both(
        &self,
        mut a: Measured,
        mut b: Measured,
        course: &mut Course,
        result: Result<(), ApiError>,
    ) -> Result<Runs, ApiError> {
        let disturbed = course.gate.end().await;
        a.run.disturbed.clone_from(&disturbed);
        b.run.disturbed = disturbed;
        // Each knows the other.
        a.run.against = Some(b.run.run_id);
        let error = result.as_ref().err();
        let a = a.close(&self.around, error).await;
        let b = b.close(&self.around, error).await;
        self.tell(vec![a, b], result)
    }

    /// Tells everybody how it ended.
    pub(super) fn tell(&self, runs: Runs, result: Result<(), ApiError>) -> Result<Runs, ApiError> {
        let Some(RunDetail { run, .. }) = runs.first() else { return Err(nothing_lent()) };
        let snapshot = self.around.hub.now();
        let title = snapshot.model_title(&run.server, &run.model);
        match result {
            Ok(()) => {
                self.around.hub.report(Report::LastRun(run.clone()));
                self.around.notifier.tell(Happening::BenchDone {
                    run_id: run.run_id,
                    title,
                    server_title: snapshot.server_title(&run.server),
                    decode_tok_s: run.decode_tok_s.as_ref().map(|summary| summary.median),
                    ttft_ms: run.ttft_ms.as_ref().map(|summary| summary.median),
                    mark: run.mark(),
                });
                Ok(runs)
            }
            Err(error) => {
                if error.code != ErrorCode::Cancelled {
                    self.around.notifier.tell(Happening::BenchFailed { title, error: error.clone() });
                }
                Err(error)
            }
        }
    }
}

/// The last block that either side has begun; what only one side has measured of it has no counterpart and pairs with nothing.
fn last_block(a: &Measured, b: &Measured) -> u32 {
    a.measured().chain(b.measured()).filter_map(|trial| trial.block).max().unwrap_or(0)
}

fn nothing_lent() -> ApiError {
    ApiError::internal("Nothing was lent for the benchmark.")
}
