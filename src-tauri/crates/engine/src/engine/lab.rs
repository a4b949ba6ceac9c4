//! The calls of the benchmark lab.

use super::Inner;
use crate::{
    actors::bencher::BenchRequest,
    api::{BenchCall, CallResult, Reply},
    store::RunFilter,
};
use jiff::SignedDuration;
use pilothouse_domain::{
    Timestamp,
    bench::{
        BenchPlan, RunDetail, RunState,
        comparison::{NoiseFloor, compare},
        plan::MIN_BLOCKS,
        replay::{ReplayPrompt, prompts_of},
    },
    error::{ApiError, ErrorCode},
    model::{Model, ModelRef, find_model},
};
use sha2::{Digest, Sha256};

/// The prompts of a file.
struct Prompts {
    list: Vec<ReplayPrompt>,
    digest: String,
}

impl Prompts {
    /// Errors: invalid_call, with the line.
    fn read(text: &str) -> Result<Self, ApiError> {
        let digest = Sha256::digest(text.as_bytes());
        let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { list: prompts_of(text)?, digest })
    }

    fn asked(&self) -> (&[ReplayPrompt], &str) {
        (&self.list, &self.digest)
    }
}

/// How long a comparison of a model with itself that a busy machine spoiled stands for one that was not made.
const ASKED_AGAIN: SignedDuration = SignedDuration::from_hours(24);

impl Inner {
    /// Goes on with a run that was cut off, and with its counterpart if it has one.
    pub(super) async fn resume_bench(&self, run_id: i64) -> CallResult {
        let store = self.store()?;
        let asked = store.run(run_id).await?;
        let mut sides = vec![asked];
        if let Some(other) = sides[0].run.against {
            sides.push(store.run(other).await?);
            sides.sort_by_key(|detail| detail.run.run_id);
        }
        for RunDetail { run, .. } in &sides {
            let cannot = |why: &str| {
                ApiError::new(ErrorCode::InvalidCall, format!("Run {} cannot go on: {why}.", run.run_id))
                    .hint("Begin a new one: pilothouse bench")
            };
            match run.state {
                RunState::CutOff | RunState::Cancelled => {}
                RunState::Running => return Err(cannot("it is under way")),
                RunState::Done => return Err(cannot("it is done")),
            }
            if let Some(why) = run.plan.cannot_resume() {
                return Err(cannot(why));
            }
        }
        let [first, rest @ ..] = &sides[..] else { return Err(ApiError::internal("A run has no side.")) };
        let request = BenchRequest {
            model: Some(first.run.model.clone()),
            server: Some(first.run.server.clone()),
            plan: first.run.plan.clone(),
            against: rest.first().map(|other| (other.run.model.clone(), Some(other.run.server.clone()))),
            replay: vec![],
            resume: sides,
            noise: false,
        };
        self.measure(request).await
    }

    /// Measures what is asked for.
    pub(super) async fn bench(&self, call: BenchCall) -> CallResult {
        let prompts = call.replay.as_deref().map(Prompts::read).transpose()?;
        let asked = call.asked(prompts.as_ref().map(Prompts::asked));
        let plan = asked.plan(rand::random(), self.latest.borrow().bench.slo_ms)?;
        let BenchCall { model, server, against, assume_noise, .. } = call;
        let request = BenchRequest {
            model,
            server,
            plan,
            against: against.map(|side| (side.model, side.server)),
            replay: prompts.map(|prompts| prompts.list).unwrap_or_default(),
            resume: vec![],
            noise: false,
        };
        match assume_noise.unwrap_or(false) {
            true => self.measure(request).await,
            false => self.measure_knowing_noise(request).await,
        }
    }

    /// Measures, after a comparison of the first side with itself where nobody knows yet how much this machine scatters.
    async fn measure_knowing_noise(&self, request: BenchRequest) -> CallResult {
        if let Some(noise) = self.noise_first(&request).await? {
            self.bencher.bench(noise).await?;
        }
        self.measure(request).await
    }

    /// What has to be measured before a comparison says anything of small differences. What is learnt must be kept, or it would be
    /// measured each time. Errors: not_found, ambiguous, no_active_model.
    async fn noise_first(&self, request: &BenchRequest) -> Result<Option<BenchRequest>, ApiError> {
        let Some((other, other_server)) = &request.against else { return Ok(None) };
        let Ok(store) = self.store() else { return Ok(None) };
        // A machine that was too busy to tell is not asked again and again.
        let lately = Timestamp::now() - ASKED_AGAIN;
        if store.noise_floor().await?.is_some() || store.scattering_was_measured(lately).await? {
            return Ok(None);
        }
        let snapshot = self.hub.now();
        let models: Vec<Model> = snapshot.models.iter().map(|view| view.model.clone()).collect();
        let first = match (&request.model, &snapshot.active) {
            (Some(name), _) => find_model(&models, name, request.server.as_ref())?.reference(),
            (None, Some(active)) => ModelRef { server: active.server.clone(), model: active.model.clone() },
            // The bencher says so.
            (None, None) => return Ok(None),
        };
        let second = find_model(&models, other, other_server.as_ref())?.reference();
        if first == second {
            return Ok(None);
        }
        let plan = BenchPlan { trials: MIN_BLOCKS, ..request.plan.clone() };
        let against = Some((first.model.clone(), Some(first.server.clone())));
        let (model, server) = (Some(first.model), Some(first.server));
        Ok(Some(BenchRequest { model, server, plan, against, replay: vec![], resume: vec![], noise: true }))
    }

    async fn measure(&self, request: BenchRequest) -> CallResult {
        let mut runs = self.bencher.bench(request).await?.into_iter();
        match (runs.next(), runs.next()) {
            (Some(a), Some(b)) => {
                let comparison = compare(&a, &b, self.noise_floor().await);
                Ok(Reply::Comparison { comparison })
            }
            (Some(detail), None) => Ok(Reply::Run { detail }),
            (None, _) => Err(ApiError::internal("The benchmark gave no run.")),
        }
    }

    pub(super) async fn compare(&self, a: i64, b: i64) -> CallResult {
        let store = self.store()?;
        let (a, b) = (store.run_without_trace(a).await?, store.run_without_trace(b).await?);
        Ok(Reply::Comparison { comparison: compare(&a, &b, self.noise_floor().await) })
    }

    async fn noise_floor(&self) -> NoiseFloor {
        let measured = match self.store() {
            Ok(store) => store.noise_floor().await.unwrap_or_default(),
            Err(_) => None,
        };
        measured.unwrap_or_else(NoiseFloor::assumed)
    }

    pub(super) async fn past_runs(&self, filter: RunFilter) -> CallResult {
        let page = self.store()?.runs(&filter).await?;
        if page.total == 0 {
            self.want_known(&filter)?;
        }
        Ok(Reply::Runs { runs: page.runs, total: page.total })
    }

    /// An empty list would say that nothing was measured yet. Errors: not_found.
    pub(super) fn want_known(&self, filter: &RunFilter) -> Result<(), ApiError> {
        let snapshot = self.hub.now();
        if let Some(server) = &filter.server
            && snapshot.server(server).is_none()
        {
            return Err(ApiError::not_found(format!("There is no server {server}, and no run on one."))
                .hint("`pilothouse servers` lists the servers."));
        }
        let lower = filter.model.as_ref().map(|model| model.to_lowercase());
        let is_known = |part: &String| {
            let names = snapshot.models.iter().map(|view| view.model.name.to_lowercase());
            names.into_iter().any(|name| name.contains(part))
        };
        match lower.filter(|part| !is_known(part)) {
            Some(part) => {
                Err(ApiError::not_found(format!("No model is named {part}, and no run is of one."))
                    .hint("`pilothouse models` lists the models, `pilothouse history` all runs."))
            }
            None => Ok(()),
        }
    }
}
