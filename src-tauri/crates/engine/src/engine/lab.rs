//! The calls of the benchmark lab.

use super::Inner;
use crate::{
    actors::bencher::BenchRequest,
    api::{BenchSide, CallResult, Reply},
    store::RunFilter,
};
use pilothouse_domain::{
    bench::{
        BenchPlan, RunDetail, RunState,
        comparison::{NoiseFloor, compare},
        plan::{MAX_QUIET_WAIT_S, WhenDisturbed, levels},
    },
    error::{ApiError, ErrorCode},
    server::ServerId,
};

/// What a benchmark shall measure, as a client said it.
pub(super) struct Asked {
    pub model: Option<String>,
    pub server: Option<ServerId>,
    pub plan: Option<String>,
    pub trials: Option<u32>,
    pub up_to: Option<u32>,
    pub when_disturbed: Option<WhenDisturbed>,
    pub quiet_wait_s: Option<u32>,
    pub against: Option<BenchSide>,
    pub slo_ms: Option<u32>,
}

impl Asked {
    /// `slo_ms`: as the settings say. Errors: invalid_call.
    fn plan(&self, slo_ms: u32) -> Result<BenchPlan, ApiError> {
        let usual = if self.against.is_some() { "ab" } else { "quick" };
        let name = self.plan.as_deref().unwrap_or(usual);
        let mut plan = BenchPlan::named(name, self.trials).ok_or_else(|| {
            ApiError::new(ErrorCode::InvalidCall, format!("There is no benchmark plan {name}."))
                .hint("Plans: quick, standard, ab, sweep.")
        })?;
        if self.against.is_some() != (name == "ab") {
            return Err(ApiError::new(ErrorCode::InvalidCall, "The plan ab, and no other, has two sides.")
                .hint("Name the other side: pilothouse bench MODEL --against OTHER"));
        }
        if let Some(up_to) = self.up_to {
            if !plan.is_sweep() {
                return Err(ApiError::new(ErrorCode::InvalidCall, "Only a sweep has levels to go up to.")
                    .hint("pilothouse sweep --up-to N"));
            }
            plan.concurrency = levels(up_to);
        }
        if let Some(asked) = self.slo_ms
            && (!plan.is_sweep() || !(1..=60_000).contains(&asked))
        {
            let text = "Only a sweep counts first tokens that are in time, within 1 to 60000 ms.";
            return Err(ApiError::new(ErrorCode::InvalidCall, text).hint("pilothouse sweep --slo-ms N"));
        }
        plan.slo_ms = plan.is_sweep().then(|| self.slo_ms.unwrap_or(slo_ms));
        plan.when_disturbed = self.when_disturbed.unwrap_or_default();
        if let Some(seconds) = self.quiet_wait_s {
            plan.quiet_wait_s = seconds.min(MAX_QUIET_WAIT_S);
        }
        Ok(plan)
    }
}

impl Inner {
    pub(super) async fn bench(&self, asked: Asked) -> CallResult {
        let plan = asked.plan(self.in_force.borrow().bench.slo_ms)?;
        let against = asked.against.map(|side| (side.model, side.server));
        let request =
            BenchRequest { model: asked.model, server: asked.server, plan, against, resume: vec![] };
        self.measure(request).await
    }

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
            if run.plan.is_sweep() {
                return Err(cannot("the levels of a sweep are measured in one go"));
            }
        }
        let [first, rest @ ..] = &sides[..] else { return Err(ApiError::internal("A run has no side.")) };
        let request = BenchRequest {
            model: Some(first.run.model.clone()),
            server: Some(first.run.server.clone()),
            plan: first.run.plan.clone(),
            against: rest.first().map(|other| (other.run.model.clone(), Some(other.run.server.clone()))),
            resume: sides,
        };
        self.measure(request).await
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
