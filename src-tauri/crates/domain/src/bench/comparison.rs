//! Two runs held against each other: what differs besides what was meant to, and what may be concluded.

use super::{
    matching::{self, Matching},
    metrics,
    quiet::Disturbance,
    run::{Run, RunDetail, RunState},
    verdict_words,
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

/// Holds two runs against each other; paired by block where they were measured in turns.
///
/// A side is called better only where three things agree: the corrected p is below 0.05, the 95 % interval leaves out one, and
/// the difference is larger than the noise floor. Which test: see `paired` and `unpaired` in this room.
pub fn compare(a: &RunDetail, b: &RunDetail, noise_floor: NoiseFloor) -> Comparison {
    let paired = a.run.against == Some(b.run.run_id) || b.run.against == Some(a.run.run_id);
    let mut metrics = metrics::timed(a, b, paired, &noise_floor);
    metrics.extend(metrics::single(&a.run, &b.run, &noise_floor));
    let decode = metrics.iter().find(|metric| metric.name == DECODE).and_then(|metric| metric.ratio);
    let mut matching = matching::matching(a, b, decode.map(|ratio| ratio.median));
    unfinished(&mut matching, &a.run, &b.run);
    refuse(&mut metrics, &matching);
    let disturbed = disturbed(&a.run, &b.run);
    let sentence = verdict_words::sentence(&a.run, &b.run, &metrics, &matching, &disturbed);
    Comparison {
        a: a.run.clone(),
        b: b.run.clone(),
        paired,
        metrics,
        unmatched: matching.unmatched,
        disturbed,
        noise_floor,
        sentence,
    }
}

/// Takes back what was concluded where the runs do not allow it. Memory may be judged between any two runs of one length.
fn refuse(metrics: &mut [ComparedMetric], matching: &Matching) {
    for metric in metrics {
        let of_all = matching.refusal.as_ref().filter(|_| metric.name != metrics::MEMORY);
        let reason = of_all.or(matching.e2e_refusal.as_ref().filter(|_| metric.name == metrics::E2E));
        if let Some(reason) = reason {
            metric.verdict = Verdict::NotComparable;
            metric.reason = Some(verdict_words::upper_first(reason));
        }
    }
}

/// A run that did not come to its end is named.
fn unfinished(matching: &mut Matching, a: &Run, b: &Run) {
    let words = |state: RunState| match state {
        RunState::Running => "under way",
        RunState::Done => "done",
        RunState::CutOff => "cut off",
        RunState::Cancelled => "cancelled",
    };
    if a.state != RunState::Done || b.state != RunState::Done {
        matching.unmatched.push(Unmatched {
            what: "end of the run".into(),
            a: words(a.state).into(),
            b: words(b.state).into(),
            meaning: "a run that did not come to its end has fewer trials".into(),
        });
    }
}

/// Who disturbed either run, each once: the highest share, and the longer of both times, since runs in turns saw the same.
fn disturbed(a: &Run, b: &Run) -> Vec<Disturbance> {
    let mut all: Vec<Disturbance> = Vec::new();
    for one in a.disturbed.iter().chain(&b.disturbed) {
        let same =
            |known: &&mut Disturbance| (known.what, &known.name, known.pid) == (one.what, &one.name, one.pid);
        match all.iter_mut().find(same) {
            Some(known) => {
                known.percent = known.percent.into_iter().chain(one.percent).reduce(f64::max);
                known.seconds = known.seconds.max(one.seconds);
            }
            None => all.push(one.clone()),
        }
    }
    all
}

#[cfg(test)]
pub(super) mod tests;
