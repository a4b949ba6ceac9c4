//! What one model gives when more and more requests are under way at a time, and from where on more of them gain nothing.

pub use super::knee::Knee;

use super::{
    knee,
    stats::{self, Interval, Summary},
    trial::Trial,
};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// A first token within this counts as in time where nobody says otherwise: the owner's queries of 200 to 300 ms. Milliseconds.
pub const QUERY_MS: u32 = 300;

/// One level of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SweepPoint {
    /// Requests at a time.
    pub concurrency: u32,
    /// Requests that count.
    pub requests: u32,
    pub failed: u32,
    /// Output tokens of all answers together, by the second; client clock.
    pub out_tok_s: Option<f64>,
    /// Median decode rate of one answer.
    pub decode_tok_s: Option<f64>,
    /// The same with its interval or range. `None` also of sweeps that were kept before it was.
    #[serde(default)]
    pub decode: Option<Summary>,
    /// Time to the first token, from the moment in which the request was due.
    pub ttft_ms: Option<TtftSpread>,
    /// Highest memory of the instance.
    pub memory_bytes: Option<u64>,
    /// Means over the level.
    pub gpu_load_percent: Option<f64>,
    pub power_w: Option<f64>,
    /// Share of requests with their first token within the sweep's `slo_ms`, 0–1. What failed was not in time.
    pub goodput: Option<f64>,
}

/// How first tokens are spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct TtftSpread {
    pub median: f64,
    /// 95 of 100 come sooner. Of fewer than 59 it is the greatest: to bound a quantile from above with 95 % confidence by the
    /// greatest of n values wants 0.95^n <= 0.05.
    pub p95: f64,
    /// The interval of the median, or the range of too few. `None` of sweeps that were kept before it was.
    #[serde(default)]
    pub low: Option<f64>,
    #[serde(default)]
    pub high: Option<f64>,
    #[serde(default)]
    pub n: Option<u32>,
    #[serde(default)]
    pub interval: Option<Interval>,
}

/// A sweep as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Sweep {
    pub points: Vec<SweepPoint>,
    pub knee: Option<Knee>,
    /// Why there is none.
    pub knee_absent: Option<String>,
    /// The fewest requests at a time that give 90 % of the most tokens with first tokens in time; `None`: no level does.
    pub best: Option<u32>,
    /// One request at a time once more, after the last level: how far its rate was from that of the first, as a ratio less
    /// one. Far from zero: the machine grew slower (or quieter) meanwhile.
    pub again: Option<f64>,
    /// A first token within so many milliseconds was in time.
    #[serde(default = "query_ms")]
    pub slo_ms: u32,
}

fn query_ms() -> u32 {
    QUERY_MS
}

/// What the gauges showed while a level was measured.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LevelGauges {
    /// Highest memory of the instance.
    pub memory_bytes: Option<u64>,
    /// Mean of the busiest card, 0–100.
    pub gpu_load_percent: Option<f64>,
    /// Mean of all cards.
    pub power_w: Option<f64>,
}

/// 95 of 100 are bounded with confidence by the greatest of so many values: 0.95^59 < 0.05.
const MIN_FOR_P95: usize = 59;
/// Less of the time than this with all workers at work says too little, and the whole time is taken.
const LEAST_STEADY: f64 = 0.5;

impl Sweep {
    /// From the requests of a run, level by level. One request at a time that comes after a higher level is not another level
    /// but the check whether the machine is still what it was. `beside`: what the gauges showed between two instants, in
    /// milliseconds since the begin of the run. `slo_ms`: within which a first token is in time.
    pub fn of(trials: &[Trial], slo_ms: u32, beside: impl Fn(f64, f64) -> LevelGauges) -> Self {
        let (levels, repeated) = levels(trials);
        let points: Vec<SweepPoint> =
            levels.iter().map(|(n, trials)| point(*n, trials, slo_ms, &beside)).collect();
        let rates: Vec<(u32, f64)> =
            points.iter().filter_map(|point| Some((point.concurrency, point.out_tok_s?))).collect();
        let (knee, knee_absent) = match knee::knee(&rates) {
            Ok(knee) => (Some(knee), None),
            Err(reason) => (None, Some(reason)),
        };
        let decode = |trials: &[&Trial]| middle(trials, |trial| trial.decode_tok_s);
        let first = levels.first().and_then(|(_, trials)| decode(trials)).filter(|rate| *rate > 0.0);
        let again = decode(&repeated).zip(first).map(|(again, first)| again / first - 1.0);
        Self { best: best(&points), points, knee, knee_absent, again, slo_ms }
    }
}

/// Measured trials of each level in ascending order, and those that repeat the first level after others.
fn levels(trials: &[Trial]) -> (Vec<(u32, Vec<&Trial>)>, Vec<&Trial>) {
    let mut measured: Vec<&Trial> = trials.iter().filter(|trial| trial.is_measured()).collect();
    measured.sort_by_key(|trial| trial.seq);
    let of = |trial: &Trial| trial.concurrency.unwrap_or(1);
    let first = measured.first().map(|trial| of(trial));
    let climbed = measured.iter().position(|trial| Some(of(trial)) != first).unwrap_or(measured.len());
    let (mut levels, mut repeated): (Vec<(u32, Vec<&Trial>)>, Vec<&Trial>) = (vec![], vec![]);
    for (at, trial) in measured.into_iter().enumerate() {
        let level = of(trial);
        match levels.iter_mut().find(|(known, _)| *known == level) {
            _ if at > climbed && Some(level) == first => repeated.push(trial),
            Some((_, trials)) => trials.push(trial),
            None => levels.push((level, vec![trial])),
        }
    }
    levels.sort_by_key(|(level, _)| *level);
    (levels, repeated)
}

fn middle(trials: &[&Trial], figure: fn(&Trial) -> Option<f64>) -> Option<f64> {
    let counted = trials.iter().filter(|trial| trial.counts());
    stats::median(&counted.filter_map(|trial| figure(trial)).collect::<Vec<f64>>())
}

/// The time from the moment in which a request was due to its first token.
fn from_due(trial: &Trial) -> Option<f64> {
    Some(trial.ttft_ms? + trial.late_or_in_time())
}

fn point(
    concurrency: u32,
    trials: &[&Trial],
    slo_ms: u32,
    beside: &impl Fn(f64, f64) -> LevelGauges,
) -> SweepPoint {
    let counted: Vec<&Trial> = trials.iter().copied().filter(|trial| trial.counts()).collect();
    let first_tokens: Vec<f64> = counted.iter().filter_map(|trial| from_due(trial)).collect();
    let in_time = first_tokens.iter().filter(|ms| **ms <= f64::from(slo_ms)).count();
    let rates: Vec<f64> = counted.iter().filter_map(|trial| trial.decode_tok_s).collect();
    let gauges = whole_time(trials).map(|(from, to)| beside(from, to)).unwrap_or_default();
    SweepPoint {
        concurrency,
        requests: counted.len() as u32,
        failed: (trials.len() - counted.len()) as u32,
        out_tok_s: out_tok_s(trials),
        decode_tok_s: middle(trials, |trial| trial.decode_tok_s),
        decode: stats::summarize(&rates, "client"),
        ttft_ms: spread(first_tokens),
        memory_bytes: gauges.memory_bytes,
        gpu_load_percent: gauges.gpu_load_percent,
        power_w: gauges.power_w,
        goodput: (!trials.is_empty()).then(|| in_time as f64 / trials.len() as f64),
    }
}

/// Median and 95th percentile, the latter between neighbours in proportion (Hyndman and Fan 1996, Sample Quantiles, type 7).
fn spread(mut values: Vec<f64>) -> Option<TtftSpread> {
    values.sort_by(f64::total_cmp);
    let greatest = *values.last()?;
    let summary = stats::summarize(&values, "client")?;
    let of = |p95: f64| TtftSpread {
        median: summary.median,
        p95,
        low: Some(summary.low),
        high: Some(summary.high),
        n: Some(summary.n),
        interval: Some(summary.interval),
    };
    if values.len() < MIN_FOR_P95 {
        return Some(of(greatest));
    }
    let at = 0.95 * (values.len() - 1) as f64;
    let (below, above) = (values[at as usize], values[(at as usize + 1).min(values.len() - 1)]);
    Some(of(below + (above - below) * at.fract()))
}

/// Begin and end of one request, since the begin of the run.
fn span(trial: &Trial) -> Option<(f64, f64)> {
    let begun = trial.begun_ms?;
    Some((begun, begun + trial.total_ms))
}

/// From the first begin to the last end; `None` where one of the instants is not known.
fn whole_time(trials: &[&Trial]) -> Option<(f64, f64)> {
    let spans: Option<Vec<(f64, f64)>> = trials.iter().map(|trial| span(trial)).collect();
    spans?.into_iter().reduce(|(from, to), (begun, ended)| (from.min(begun), to.max(ended)))
}

/// Output tokens by the second while all workers were at work. After the last request was sent, each that ends leaves a worker
/// without work, and the server is no longer asked for as much as the level says; so the time ends with the first end after the
/// last begin (GuideLLM leaves its cool-down out for the same reason). Of an answer that goes on beyond, the share of its tokens
/// counts that had come by then, as if they came evenly between its first and its end. Where that leaves less than half of the
/// time, as with one request for each worker, the whole is taken. `None` where an instant or a count is missing: a sum of some
/// would be too low. What failed takes its time and brings no tokens.
fn out_tok_s(trials: &[&Trial]) -> Option<f64> {
    let (from, end) = whole_time(trials)?;
    let spans: Vec<(f64, f64)> = trials.iter().filter_map(|trial| span(trial)).collect();
    let last_begin = spans.iter().map(|(begun, _)| *begun).fold(f64::NEG_INFINITY, f64::max);
    let first_end =
        spans.iter().map(|(_, ended)| *ended).filter(|ended| *ended >= last_begin).fold(end, f64::min);
    let to = if first_end - from >= LEAST_STEADY * (end - from) { first_end } else { end };
    let mut tokens = 0.0;
    for trial in trials.iter().filter(|trial| trial.counts()) {
        let (begun, ended) = span(trial)?;
        let first = begun + trial.ttft_ms.unwrap_or(0.0);
        let share = if ended > first { ((to - first) / (ended - first)).clamp(0.0, 1.0) } else { 1.0 };
        tokens += f64::from(trial.output_tokens?) * share;
    }
    (to > from && tokens > 0.0).then(|| tokens / ((to - from) / 1e3))
}

/// The fewest requests at a time with 90 % of the most tokens whose first came in time.
fn best(points: &[SweepPoint]) -> Option<u32> {
    let in_time: Vec<(u32, f64)> = points
        .iter()
        .filter_map(|point| Some((point.concurrency, point.out_tok_s? * point.goodput?)))
        .collect();
    let most = in_time.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    in_time.into_iter().find(|(_, rate)| most > 0.0 && *rate >= 0.9 * most).map(|(n, _)| n)
}

#[cfg(test)]
mod tests;
