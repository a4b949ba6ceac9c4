//! Two runs held against each other: what differs besides what was meant to, and what may be concluded.

use super::{
    quiet::Disturbance,
    run::{Run, RunDetail},
};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// What is concluded of one metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum Verdict {
    /// Side A is better: it gives more, comes sooner or takes less.
    AFaster,
    BFaster,
    /// None was found; the interval says how large one might still be.
    NoDifference,
    /// The figures say nothing of each other, or there are too few.
    NotComparable,
}

/// Side B's figure divided by side A's, with the interval in which it lies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Ratio {
    pub median: f64,
    pub low: f64,
    pub high: f64,
    /// Confidence of the interval, 0–1.
    pub level: f64,
}

/// One metric of both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ComparedMetric {
    /// "decode_tok_s", "prefill_tok_s", "ttft_ms", "e2e_ms", "memory_bytes", "energy_j_per_token".
    pub name: String,
    /// Medians.
    pub a: Option<f64>,
    pub b: Option<f64>,
    pub ratio: Option<Ratio>,
    /// Probability of a ratio as far from one, were there no difference.
    pub p: Option<f64>,
    /// Pairs of trials, or the trials of the smaller side where they are not paired.
    pub n: u32,
    pub verdict: Verdict,
    /// What the verdict rests on, or why there is none.
    pub reason: Option<String>,
}

/// Something in which both sides differ besides what is compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Unmatched {
    /// In words: "context", "quantization".
    pub what: String,
    pub a: String,
    pub b: String,
    /// What it means: "the one with the larger context keeps more memory".
    pub meaning: String,
}

/// Two runs held against each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Comparison {
    pub a: Run,
    pub b: Run,
    /// Whether each trial of one side has its counterpart right beside it, so that drift and load hit both.
    pub paired: bool,
    pub metrics: Vec<ComparedMetric>,
    pub unmatched: Vec<Unmatched>,
    pub disturbed: Vec<Disturbance>,
    /// Differences below this are noise on this machine, as a ratio less one, and how that is known.
    pub noise_floor: NoiseFloor,
    /// The verdict in one sentence.
    pub sentence: String,
}

/// What a comparison of a model with itself shows on this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct NoiseFloor {
    /// A ratio less one, at least 0: 0.01 is 1 %.
    pub ratio: f64,
    /// "measured" (comparisons of a model with itself here) or "assumed".
    pub source: String,
}

/// What is taken for noise while no comparison of a model with itself is known here: twice the spread of repeats of llama-bench
/// on a quiet machine (0.1-0.9 % for decode).
pub const ASSUMED_NOISE: f64 = 0.01;

impl NoiseFloor {
    pub fn assumed() -> Self {
        Self { ratio: ASSUMED_NOISE, source: "assumed".into() }
    }
}

/// Holds two runs against each other; paired by block where they were measured in turns.
pub fn compare(a: &RunDetail, b: &RunDetail, noise_floor: NoiseFloor) -> Comparison {
    let paired = a.run.against == Some(b.run.run_id) || b.run.against == Some(a.run.run_id);
    Comparison {
        a: a.run.clone(),
        b: b.run.clone(),
        paired,
        metrics: vec![],
        unmatched: vec![],
        disturbed: vec![],
        noise_floor,
        sentence: String::new(),
    }
}
