//! Two runs held against each other: what differs besides what was meant to, and what may be concluded.

pub use super::compared::{
    ASSUMED_NOISE, ComparedMetric, LEAST_NOISE, NoiseFloor, Ratio, Unmatched, Verdict,
};

use super::{
    compared::DECODE,
    matching::{self, Matching},
    metrics,
    quiet::Disturbance,
    run::{Run, RunDetail, RunState},
    verdict_words,
    words::upper_first,
};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

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
            metric.reason = Some(upper_first(reason));
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
