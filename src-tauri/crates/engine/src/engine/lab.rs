//! The calls of the benchmark lab.

use super::Inner;
use crate::{
    actors::bencher::BenchRequest,
    api::{BenchSide, CallResult, Reply},
};
use pilothouse_domain::{
    bench::{
        BenchPlan,
        comparison::{NoiseFloor, compare},
        plan::{WhenDisturbed, levels},
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
    pub against: Option<BenchSide>,
}

impl Asked {
    /// Errors: invalid_call.
    fn plan(&self) -> Result<BenchPlan, ApiError> {
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
            plan.concurrency = levels(up_to);
        }
        plan.when_disturbed = self.when_disturbed.unwrap_or_default();
        Ok(plan)
    }
}

impl Inner {
    pub(super) async fn bench(&self, asked: Asked) -> CallResult {
        let plan = asked.plan()?;
        let against = asked.against.map(|side| (side.model, side.server));
        let request = BenchRequest { model: asked.model, server: asked.server, plan, against };
        let mut runs = self.bencher.bench(request).await?.into_iter();
        match (runs.next(), runs.next()) {
            (Some(a), Some(b)) => {
                Ok(Reply::Comparison { comparison: compare(&a, &b, NoiseFloor::assumed()) })
            }
            (Some(detail), None) => Ok(Reply::Run { detail }),
            (None, _) => Err(ApiError::internal("The benchmark gave no run.")),
        }
    }

    pub(super) async fn compare(&self, a: i64, b: i64) -> CallResult {
        let store = self.store()?;
        let (a, b) = (store.run(a).await?, store.run(b).await?);
        Ok(Reply::Comparison { comparison: compare(&a, &b, NoiseFloor::assumed()) })
    }
}
