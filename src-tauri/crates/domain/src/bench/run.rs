//! One run: the trials of one model on one server, and what they say together.

use super::{
    conversation::Conversation,
    copies::Copies,
    gaps::{self, GapSpread},
    load::Loads,
    open_loop::OpenLoop,
    plan::BenchPlan,
    quiet::Disturbance,
    replay::Replay,
    stats::{self, Summary},
    sweep::Sweep,
    trace::{self, RunTrace},
    trial::{Trial, TrialPhase},
};
use crate::{Timestamp, gauge::GaugeHistory, server::ServerId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use ts_rs::TS;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum RunState {
    Running,
    Done,
    /// Pilothouse or the server ended before the run did.
    CutOff,
    Cancelled,
}

/// What makes two runs comparable: key and value, both plain text ("server_version": "b10068").
pub type Fingerprint = BTreeMap<String, String>;

/// One run as history shows it. Rates are medians over the measured trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Run {
    pub run_id: i64,
    #[ts(type = "string")]
    pub started_at: Timestamp,
    pub state: RunState,
    pub plan: BenchPlan,
    pub server: ServerId,
    pub model: String,
    pub server_version: Option<String>,
    /// Measured trials that count.
    pub trials: u32,
    /// Warm-up requests that were thrown away.
    pub warmups: u32,
    pub ttft_ms: Option<Summary>,
    pub decode_tok_s: Option<Summary>,
    pub prefill_tok_s: Option<Summary>,
    /// The whole request.
    #[serde(default)]
    pub e2e_ms: Option<Summary>,
    pub server_decode_tok_s: Option<Summary>,
    pub server_prefill_tok_s: Option<Summary>,
    /// The time between the events of its answers. `None`: nobody noted it.
    #[serde(default)]
    pub gaps: Option<GapSpread>,
    /// Highest memory of the process that holds the instance, or of the server's process tree where that is not told apart;
    /// without what it holds on a card of its own memory.
    pub peak_memory_bytes: Option<u64>,
    /// Highest memory of the same on cards.
    #[serde(default)]
    pub peak_gpu_memory_bytes: Option<u64>,
    /// Energy of the cards over the measured requests by output token, in joules, what they take at rest included. `None`: no
    /// card tells its power.
    #[serde(default)]
    pub energy_j_per_token: Option<f64>,
    /// Who disturbed it. Empty: it was quiet.
    #[serde(default)]
    pub disturbed: Vec<Disturbance>,
    /// The server never became steady before it was measured (see `warmup`).
    #[serde(default)]
    pub unsettled: bool,
    /// The other side of a comparison that was measured in turns with this one.
    #[serde(default)]
    pub against: Option<i64>,
    /// Of a sweep: its levels.
    #[serde(default)]
    pub sweep: Option<Sweep>,
    /// Of an open loop: its times, from when each request was due.
    #[serde(default)]
    pub open_loop: Option<OpenLoop>,
    /// Of agent: its turns.
    #[serde(default)]
    pub conversation: Option<Conversation>,
    /// Of a replay: how its answers are spread.
    #[serde(default)]
    pub replay: Option<Replay>,
    /// Of the plan load: its loads.
    #[serde(default)]
    pub loads: Option<Loads>,
    /// Of the plan copies: its levels.
    #[serde(default)]
    pub copies: Option<Copies>,
    /// What its traces and the order of its trials say: "GPU idle 60 % of this run".
    #[serde(default)]
    pub reasons: Vec<String>,
    pub fingerprint: Fingerprint,
    /// Why it was cut off or what makes it doubtful.
    pub note: Option<String>,
}

impl Run {
    /// A run of which nothing is measured yet.
    pub fn begun(
        run_id: i64,
        started_at: Timestamp,
        plan: BenchPlan,
        server: ServerId,
        model: impl Into<String>,
    ) -> Self {
        Self {
            run_id,
            started_at,
            state: RunState::Running,
            plan,
            server,
            model: model.into(),
            server_version: None,
            trials: 0,
            warmups: 0,
            ttft_ms: None,
            decode_tok_s: None,
            prefill_tok_s: None,
            e2e_ms: None,
            server_decode_tok_s: None,
            server_prefill_tok_s: None,
            gaps: None,
            peak_memory_bytes: None,
            peak_gpu_memory_bytes: None,
            energy_j_per_token: None,
            disturbed: vec![],
            unsettled: false,
            against: None,
            sweep: None,
            open_loop: None,
            conversation: None,
            replay: None,
            loads: None,
            copies: None,
            reasons: vec![],
            fingerprint: Fingerprint::default(),
            note: None,
        }
    }

    /// Counts and summarises its requests: measured ones without a flaw; of a sweep those that were alone at the server. Times
    /// begin when a request was due, which only in an open loop is before it was sent.
    pub fn sum_up(&mut self, trials: &[Trial]) {
        let counted: Vec<&Trial> = trials.iter().filter(|trial| trial.counts() && trial.is_alone()).collect();
        let over = |figure: fn(&Trial) -> Option<f64>, source: &str| {
            let values: Vec<f64> = counted.iter().filter_map(|trial| figure(trial)).collect();
            stats::summarize(&values, source)
        };
        self.trials = counted.len() as u32;
        self.warmups = trials.iter().filter(|trial| trial.phase == TrialPhase::Warmup).count() as u32;
        self.ttft_ms = over(|trial| Some(trial.ttft_ms? + trial.late_or_in_time()), "client");
        self.decode_tok_s = over(|trial| trial.decode_tok_s, "client");
        self.prefill_tok_s = over(|trial| trial.prefill_tok_s, "client");
        self.e2e_ms = over(|trial| Some(trial.total_ms + trial.late_or_in_time()), "client");
        self.server_decode_tok_s = over(|trial| trial.server_decode_tok_s, "server");
        self.server_prefill_tok_s = over(|trial| trial.server_prefill_tok_s, "server");
        self.open_loop = self.plan.arrivals.is_some().then(|| OpenLoop::of(&self.plan, trials));
        self.conversation = self.plan.turns.is_some().then(|| Conversation::of(trials));
        self.replay = self.plan.replay.is_some().then(|| Replay::of(trials));
        self.gaps = gaps::spread(counted.iter().filter_map(|trial| trial.gaps_us.as_deref()));
    }

    /// What the cards took for its requests.
    pub fn weigh(&mut self, trials: &[Trial], cards: &RunTrace) {
        let counted = || trials.iter().filter(|trial| trial.counts() && trial.is_alone());
        let tokens: u32 = counted().filter_map(|trial| trial.output_tokens).sum();
        let energy = cards.energy_j(&trace::windows(counted()));
        self.energy_j_per_token = energy.filter(|_| tokens > 0).map(|joules| joules / f64::from(tokens));
    }
}

/// A run with each of its requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct RunDetail {
    pub run: Run,
    pub trials: Vec<Trial>,
    /// What the gauges showed from its begin to its end; `None` for runs of which that was not kept.
    #[serde(default)]
    pub trace: Option<GaugeHistory>,
    /// The same card by card, on the run's own time axis.
    #[serde(default)]
    pub cards: Option<RunTrace>,
}

/// A run under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct BenchProgress {
    pub run_id: i64,
    pub server: ServerId,
    pub model: String,
    pub phase: TrialPhase,
    /// Requests of this phase that are done.
    pub done: u32,
    /// Requests of this phase that are planned; during the warm-up the most there may be.
    pub total: u32,
    /// Decode rate of the last request.
    pub last_decode_tok_s: Option<f64>,
    /// Of a comparison: the block under way, from 1, and how many there are before it is looked whether they do.
    #[serde(default)]
    pub block: Option<(u32, u32)>,
    /// Of a sweep: requests at a time; of copies: how many there are.
    #[serde(default)]
    pub concurrency: Option<u32>,
    /// Of a conversation: its turn, from 1, and how many there are.
    #[serde(default)]
    pub turn: Option<(u32, u32)>,
    /// A comparison of a model with itself that goes before the one that was asked for, to learn how much this machine scatters.
    #[serde(default)]
    pub noise: bool,
    /// Who disturbs, while the run waits for a quiet machine.
    #[serde(default)]
    pub waits_for: Vec<Disturbance>,
    /// Seconds until its end, as the requests so far say.
    #[serde(default)]
    pub left_s: Option<f64>,
}

impl BenchProgress {
    /// A run of which nothing is done yet.
    pub fn of(run_id: i64, server: ServerId, model: impl Into<String>) -> Self {
        Self {
            run_id,
            server,
            model: model.into(),
            phase: TrialPhase::Warmup,
            done: 0,
            total: 0,
            last_decode_tok_s: None,
            block: None,
            concurrency: None,
            turn: None,
            noise: false,
            waits_for: vec![],
            left_s: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::plan::BenchPlan;

    fn trial(phase: TrialPhase, ttft_ms: f64, flaw: Option<&str>) -> Trial {
        Trial {
            phase,
            ttft_ms: Some(ttft_ms),
            total_ms: 1.0,
            server_decode_tok_s: Some(10.0 * ttft_ms),
            flaw: flaw.map(str::to_owned),
            ..Trial::default()
        }
    }

    #[test]
    fn only_measured_trials_without_a_flaw_count() {
        use TrialPhase::{Measured, Warmup};
        let plan = BenchPlan::named("quick", None).unwrap();
        let mut run = Run::begun(1, Timestamp::UNIX_EPOCH, plan, "a".into(), "m");
        let trials = [
            trial(Warmup, 900.0, None),
            trial(Measured, 1.0, None),
            trial(Measured, 800.0, Some("stopped early")),
            trial(Measured, 3.0, None),
        ];
        run.sum_up(&trials);
        assert_eq!((run.trials, run.warmups), (2, 1));
        let median = |summary: &Option<Summary>| summary.as_ref().map(|one| (one.median, one.source.clone()));
        assert_eq!(median(&run.ttft_ms), Some((2.0, "client".into())));
        assert_eq!(median(&run.server_decode_tok_s), Some((20.0, "server".into())));
        assert_eq!(run.decode_tok_s, None, "absent is not zero");
    }
}
