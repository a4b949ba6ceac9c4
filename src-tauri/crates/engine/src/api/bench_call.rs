//! What is asked of a benchmark.

use pilothouse_domain::{
    bench::{PlanAsked, arrivals::ArrivalPattern, plan::WhenDisturbed, replay::ReplayPrompt},
    server::ServerId,
};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(export)]
pub struct BenchSide {
    pub model: String,
    #[serde(default)]
    #[ts(optional)]
    pub server: Option<ServerId>,
}

/// A benchmark; whatever is not said is as its plan has it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct BenchCall {
    #[ts(optional)]
    pub model: Option<String>,
    #[ts(optional)]
    pub server: Option<ServerId>,
    /// "quick" (default), "standard", "ab" (default with `against`), "sweep", "load", "copies", "open" (default with
    /// `rate_per_s`), "agent" (default with `turns`) or "replay" (default with `replay`).
    #[ts(optional)]
    pub plan: Option<String>,
    /// 5 to 100; of a comparison the blocks to begin with, 6 to 60; of load the loads from each place, 5 to 20; of copies the
    /// requests of each; of agent conversations, 3 to 20. More: invalid_call. Fewer say nothing: there are as many as do.
    #[ts(optional)]
    pub trials: Option<u32>,
    /// The most requests at a time of a sweep, 1 to 64, default 8; the most copies of the plan copies, 1 to 64, default 4.
    #[ts(optional)]
    pub up_to: Option<u32>,
    /// What shall be done when the machine does not become quiet; by default the run is marked.
    #[ts(optional)]
    pub when_disturbed: Option<WhenDisturbed>,
    /// How long it is waited altogether for a quiet machine, 0 to 600 s; by default as the plan says.
    #[ts(optional)]
    pub quiet_wait_s: Option<u32>,
    /// Of an open loop: requests by the second, 0.01 to 100.
    #[ts(optional)]
    pub rate_per_s: Option<f64>,
    /// Of an open loop: the time in which requests are due, 5 to 600; default 60. With the rate at most 2000 requests.
    #[ts(optional)]
    pub seconds: Option<u32>,
    /// Of an open loop: how its requests follow each other; by default as from many people.
    #[ts(optional)]
    pub arrivals: Option<ArrivalPattern>,
    /// Of agent: turns of a conversation, 2 to 12; default 6.
    #[ts(optional)]
    pub turns: Option<u32>,
    /// Of a replay: the text of a file of prompts, as JSON Lines or one prompt a line; at most 200 prompts and 500,000 bytes.
    /// Only their number and a digest are kept.
    #[ts(optional)]
    pub replay: Option<String>,
    /// The other side of a comparison; may be the same model.
    #[ts(optional)]
    pub against: Option<BenchSide>,
    /// The most seconds of measuring, 10 to 7200: the trial, block or level under way then is the last. By default as long as
    /// it takes.
    #[ts(optional)]
    pub budget_s: Option<u32>,
    /// Of a comparison: where nobody knows yet how much this machine scatters, the first side is compared with itself before.
    /// True leaves that out, and what is assumed is said.
    #[ts(optional)]
    pub assume_noise: Option<bool>,
    /// Of a sweep: a first token within so many milliseconds is in time, 1 to 60000; by default as the settings say.
    #[ts(optional)]
    pub slo_ms: Option<u32>,
    /// A run that was cut off or cancelled goes on where it was, with its counterpart if it has one; everything else then
    /// follows from it. Errors: invalid_call where what would be measured is not what it was.
    #[ts(optional)]
    pub resume: Option<i64>,
}

impl BenchCall {
    /// What it says of its plan. `prompts`: those of `replay`, with a digest of their file.
    pub fn asked<'a>(&'a self, prompts: Option<(&'a [ReplayPrompt], &'a str)>) -> PlanAsked<'a> {
        PlanAsked {
            name: self.plan.as_deref(),
            against: self.against.is_some(),
            trials: self.trials,
            up_to: self.up_to,
            rate_per_s: self.rate_per_s,
            seconds: self.seconds,
            pattern: self.arrivals,
            turns: self.turns,
            replay: prompts,
            when_disturbed: self.when_disturbed,
            quiet_wait_s: self.quiet_wait_s,
            budget_s: self.budget_s,
            slo_ms: self.slo_ms,
        }
    }
}
