//! What a comparison is made of: metrics of both sides, their ratios and verdicts, what is unmatched, and the noise floor.

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
    /// The best estimate. Of pairs it is the geometric mean of their ratios, those far off drawn in, and so need not be exactly
    /// the ratio of both medians.
    pub median: f64,
    pub low: f64,
    pub high: f64,
    /// Confidence of the interval, 0–1. 0: `low` and `high` are no interval but the least and the greatest ratio of too few
    /// pairs, or the ratio itself where each side has one value.
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

    /// Of the ratios (1.01) that comparisons of a model with itself gave on this machine: 95 of 100 are no further from one; of
    /// fewer than 20 none is. At least [`LEAST_NOISE`]. Without any it is assumed.
    pub fn measured(ratios: &[f64]) -> Self {
        let mut away: Vec<f64> =
            ratios.iter().map(|ratio| (ratio - 1.0).abs()).filter(|x| x.is_finite()).collect();
        away.sort_by(f64::total_cmp);
        let at = if away.len() < 20 { away.len() } else { (away.len() * 95).div_ceil(100) };
        match at.checked_sub(1).and_then(|at| away.get(at)) {
            Some(ratio) => Self { ratio: ratio.max(LEAST_NOISE), source: "measured".into() },
            None => Self::assumed(),
        }
    }
}

/// No machine is quieter: the least spread of repeats of llama-bench (0.1 %), for both sides of a comparison.
pub const LEAST_NOISE: f64 = 0.002;

/// The name of the metric whose verdict leads.
pub(super) const DECODE: &str = "decode_tok_s";
