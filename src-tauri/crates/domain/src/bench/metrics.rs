//! The metrics of a comparison, each with its figures, its test and what is concluded.

use super::{
    compared::{ComparedMetric, DECODE, NoiseFloor, Ratio, Verdict},
    paired::{self, Chance, Pairs, SubsetMeans},
    run::{Run, RunDetail},
    stats,
    trial::Trial,
    unpaired,
    words::{percent, whole_range},
};
use std::collections::BTreeMap;

pub(super) const E2E: &str = "e2e_ms";
pub(super) const MEMORY: &str = "memory_bytes";

/// The error that may be made over all timed metrics of a comparison together.
const ALPHA: f64 = 0.05;
/// The same where pairs scatter by more than [`NOISY`]: such a machine is not quiet, its noise is seldom of one kind, and a false
/// verdict costs more than a small difference that is missed.
const ALPHA_NOISY: f64 = 0.025;
/// Standard deviation of log ratios. Servers on a quiet machine, with 1 % of noise each, stay below it in 99 of 100 comparisons.
const NOISY: f64 = 0.025;
/// A ratio that certainly lies within this of one is called equal.
const EQUIVALENT: f64 = 0.03;
/// Of figures with one value a side, differences below are not told apart.
const SINGLE_FLOOR: f64 = 0.03;
/// The least difference between runs of different times: those differ by more than their own trials do.
const UNPAIRED_FLOOR: f64 = 0.02;

/// A metric that each trial has.
struct Timed {
    name: &'static str,
    higher_is_better: bool,
    /// Its share of the error. Decode is what the comparison is asked for and has most of it: with equal shares a decode
    /// difference of 2 % at 1 % noise is found in 91 of 100 simulated comparisons of ten blocks, with these in 97. The shares of
    /// the others still let ten blocks that all point one way be enough. The whole request has the least: it is made of the rest.
    weight: f64,
    figure: fn(&Trial) -> Option<f64>,
}

const TIMED: [Timed; 4] = [
    Timed { name: DECODE, higher_is_better: true, weight: 0.9, figure: |trial| trial.decode_tok_s },
    Timed { name: "prefill_tok_s", higher_is_better: true, weight: 0.1, figure: |trial| trial.prefill_tok_s },
    Timed { name: "ttft_ms", higher_is_better: false, weight: 0.1, figure: |trial| trial.ttft_ms },
    Timed { name: E2E, higher_is_better: false, weight: 0.03, figure: |trial| Some(trial.total_ms) },
];

pub(super) fn higher_is_better(name: &str) -> bool {
    TIMED.iter().any(|timed| timed.name == name && timed.higher_is_better)
}

pub(super) fn is_timed(name: &str) -> bool {
    TIMED.iter().any(|timed| timed.name == name)
}

/// What is known of one metric before it is judged.
struct Figures {
    a: Vec<f64>,
    b: Vec<f64>,
    /// By block; empty where the runs are not paired.
    log_ratios: Vec<Option<f64>>,
}

impl Figures {
    fn pairs(&self) -> Vec<f64> {
        self.log_ratios.iter().flatten().copied().collect()
    }
}

/// Trials that count and were alone, with a figure that is one.
fn counted(run: &RunDetail, figure: fn(&Trial) -> Option<f64>) -> impl Iterator<Item = (Option<u32>, f64)> {
    let trials = run.trials.iter().filter(|trial| trial.counts() && trial.is_alone());
    trials.filter_map(move |trial| Some((trial.block, figure(trial).filter(|x| x.is_finite() && *x > 0.0)?)))
}

/// The median of each block of a side.
fn by_block(run: &RunDetail, figure: fn(&Trial) -> Option<f64>) -> BTreeMap<u32, f64> {
    let mut blocks: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for (block, value) in counted(run, figure) {
        if let Some(block) = block {
            blocks.entry(block).or_default().push(value);
        }
    }
    blocks.into_iter().filter_map(|(block, values)| Some((block, stats::median(&values)?))).collect()
}

fn figures(a: &RunDetail, b: &RunDetail, paired: bool, figure: fn(&Trial) -> Option<f64>) -> Figures {
    let all = |run| counted(run, figure).map(|(_, value)| value).collect();
    let mut figures = Figures { a: all(a), b: all(b), log_ratios: vec![] };
    if paired {
        let (of_a, of_b) = (by_block(a, figure), by_block(b, figure));
        let last = a.trials.iter().chain(&b.trials).filter_map(|trial| trial.block).max().unwrap_or(0);
        let ratio = |block: u32| Some((of_b.get(&block)? / of_a.get(&block)?).ln());
        // Blocks are numbered from 1, so that a stray number cannot ask for much: a plan has at most 60.
        figures.log_ratios = (1..=last.min(super::plan::MAX_BLOCKS)).map(ratio).collect();
    }
    figures
}

/// The metrics that each trial has.
pub(super) fn timed(a: &RunDetail, b: &RunDetail, paired: bool, floor: &NoiseFloor) -> Vec<ComparedMetric> {
    let all: Vec<Figures> = TIMED.iter().map(|timed| figures(a, b, paired, timed.figure)).collect();
    let estimates = if paired { of_pairs(&all) } else { of_groups(&all) };
    let least = if paired { floor.ratio } else { floor.ratio.max(UNPAIRED_FLOOR) };
    let judge = |((timed, figures), estimate): ((&Timed, &Figures), Option<Estimate>)| {
        let (a, b) = (stats::median(&figures.a), stats::median(&figures.b));
        let smaller = figures.a.len().min(figures.b.len());
        let n = if paired { figures.pairs().len() } else { smaller };
        let mut metric = ComparedMetric {
            name: timed.name.into(),
            a,
            b,
            ratio: estimate.map(|estimate| estimate.ratio(0.95)).or_else(|| range(figures, a, b)),
            p: estimate.map(|estimate| estimate.chance.p),
            n: n as u32,
            verdict: Verdict::NotComparable,
            reason: None,
        };
        let (verdict, reason) = match estimate {
            Some(estimate) => estimate.verdict(timed, n, least, paired, floor),
            None => (Verdict::NotComparable, too_few(a, b, n, paired)),
        };
        (metric.verdict, metric.reason) = (verdict, Some(reason));
        metric
    };
    TIMED.iter().zip(&all).zip(estimates).map(judge).collect()
}

/// The ratio of too few figures for an interval.
fn range(figures: &Figures, a: Option<f64>, b: Option<f64>) -> Option<Ratio> {
    let mut logs = figures.pairs();
    logs.sort_by(f64::total_cmp);
    let middle = stats::median(&logs).or_else(|| Some((b? / a?).ln()))?;
    let end = |log: Option<&f64>| log.map_or(middle, |log| *log).exp();
    Some(Ratio { median: middle.exp(), low: end(logs.first()), high: end(logs.last()), level: 0.0 })
}

fn too_few(a: Option<f64>, b: Option<f64>, n: usize, paired: bool) -> String {
    let unit = if paired { "pairs" } else { "trials a side" };
    match (a, b) {
        (None, None) => "Neither side tells it".into(),
        (None, _) => "The first side does not tell it".into(),
        (_, None) => "The second side does not tell it".into(),
        _ => format!("Too few for an interval: {n} {unit}, and it wants {}", paired::MIN_PAIRS),
    }
}

/// What the test of one metric gave. Intervals are of the log ratio.
#[derive(Clone, Copy)]
struct Estimate {
    middle: f64,
    /// 95 %.
    interval: (f64, f64),
    /// 90 %: for equivalence (Schuirmann 1987, two one-sided tests).
    narrow: (f64, f64),
    /// Standard deviation of the log ratio of two single figures.
    scatter: f64,
    chance: Chance,
}

fn of_pairs(all: &[Figures]) -> Vec<Option<Estimate>> {
    let means: Vec<Option<SubsetMeans>> =
        all.iter().map(|figures| SubsetMeans::of(&figures.pairs())).collect();
    let tested: Vec<Pairs> = (TIMED.iter().zip(all).zip(&means))
        .filter(|(_, means)| means.is_some())
        .map(|((timed, figures), _)| Pairs { log_ratios: figures.log_ratios.clone(), weight: timed.weight })
        .collect();
    let mut chances = paired::test(&tested).into_iter();
    let estimate = |means: Option<SubsetMeans>| {
        let means = means?;
        let (interval, narrow) = (means.interval(0.95), means.interval(0.9));
        Some(Estimate {
            middle: means.mean,
            interval,
            narrow,
            scatter: means.scatter,
            chance: chances.next()?,
        })
    };
    means.into_iter().map(estimate).collect()
}

fn of_groups(all: &[Figures]) -> Vec<Option<Estimate>> {
    let enough = |figures: &&Figures| figures.a.len().min(figures.b.len()) >= paired::MIN_PAIRS;
    let p = |figures: &Figures| {
        Some(figures).filter(enough).and_then(|one| unpaired::mann_whitney(&one.a, &one.b))
    };
    let ps: Vec<Option<f64>> = all.iter().map(p).collect();
    let weighted: Vec<(f64, f64)> =
        TIMED.iter().zip(&ps).filter_map(|(timed, p)| Some(((*p)?, timed.weight))).collect();
    let mut chances = unpaired::holm(&weighted).into_iter();
    let estimate = |(figures, p): (&Figures, Option<f64>)| {
        p?;
        let chance = chances.next()?;
        let ratios = unpaired::ratios_of_medians(&figures.a, &figures.b);
        let share = |level| unpaired::middle_share(&ratios, level).map(|(low, high)| (low.ln(), high.ln()));
        let middle = (stats::median(&figures.b)? / stats::median(&figures.a)?).ln();
        let scatter = scatter(&figures.a)?.hypot(scatter(&figures.b)?);
        Some(Estimate { middle, interval: share(0.95)?, narrow: share(0.9)?, scatter, chance })
    };
    all.iter().zip(ps).map(estimate).collect()
}

/// Standard deviation of the logarithms, as their median absolute deviation tells it.
fn scatter(values: &[f64]) -> Option<f64> {
    let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
    let middle = stats::median(&logs)?;
    stats::median(&logs.iter().map(|log| (log - middle).abs()).collect::<Vec<f64>>()).map(|mad| 1.4826 * mad)
}

impl Estimate {
    fn ratio(&self, level: f64) -> Ratio {
        let (low, high) = self.interval;
        Ratio { median: self.middle.exp(), low: low.exp(), high: high.exp(), level }
    }

    /// How large a difference may still be there, either way.
    fn hidden(&self) -> f64 {
        let (low, high) = self.interval;
        (low.exp() - 1.0).abs().max((high.exp() - 1.0).abs())
    }

    fn is_equivalent(&self) -> bool {
        let (low, high) = self.narrow;
        low.exp() > 1.0 - EQUIVALENT && high.exp() < 1.0 + EQUIVALENT
    }

    fn verdict(
        &self,
        timed: &Timed,
        n: usize,
        least: f64,
        paired: bool,
        floor: &NoiseFloor,
    ) -> (Verdict, String) {
        let ratio = self.ratio(0.95);
        let unit = if paired { "pairs" } else { "trials a side" };
        let leaves_one_out = ratio.low > 1.0 || ratio.high < 1.0;
        let is_noisy = self.scatter > NOISY;
        let is_certain = self.chance.corrected < if is_noisy { ALPHA_NOISY } else { ALPHA };
        let hidden = percent(self.hidden());
        // Of the greater by the less, so that it is the same whichever side is called A.
        let difference = self.middle.abs().exp() - 1.0;
        if leaves_one_out && is_certain && difference > least {
            let b_is_better = (ratio.median > 1.0) == timed.higher_is_better;
            let verdict = if b_is_better { Verdict::BFaster } else { Verdict::AFaster };
            let p = probability(self.chance.corrected);
            let apart =
                if paired { "" } else { "; measured at different times, so it may also be the machine" };
            return (verdict, format!("95 % interval {}, {p} over {n} {unit}{apart}", whole_range(&ratio)));
        }
        let reason = if leaves_one_out && is_certain {
            let known =
                if floor.ratio < least { "of different times".to_owned() } else { floor.source.clone() };
            format!("{} is within what chance does here ({}, {known})", percent(difference), percent(least))
        } else if self.is_equivalent() {
            format!("Equal within {}; at most {hidden} could hide", percent(EQUIVALENT))
        } else if leaves_one_out {
            let why = if is_noisy { "the figures scatter widely" } else { "several figures were looked at" };
            format!("{} may be chance, since {why}; up to {hidden} could hide", percent(difference))
        } else {
            format!("None found over {n} {unit}; up to {hidden} could hide")
        };
        (Verdict::NoDifference, reason)
    }
}

fn probability(p: f64) -> String {
    if p < 0.001 { "p < 0.001".into() } else { format!("p {p:.3}") }
}

/// The metrics with one value a side.
pub(super) fn single(a: &Run, b: &Run, floor: &NoiseFloor) -> [ComparedMetric; 2] {
    let memory = |run: &Run| {
        let parts = [run.peak_memory_bytes, run.peak_gpu_memory_bytes];
        parts.into_iter().flatten().reduce(u64::saturating_add).map(|bytes| bytes as f64)
    };
    [
        one_value(MEMORY, memory(a), memory(b), floor),
        one_value("energy_j_per_token", a.energy_j_per_token, b.energy_j_per_token, floor),
    ]
}

fn one_value(name: &str, a: Option<f64>, b: Option<f64>, floor: &NoiseFloor) -> ComparedMetric {
    let least = floor.ratio.max(SINGLE_FLOOR);
    let usable = |value: Option<f64>| value.filter(|x| x.is_finite() && *x > 0.0);
    let ratio = usable(a).zip(usable(b)).map(|(a, b)| b / a);
    let (verdict, reason) = match ratio {
        None => (Verdict::NotComparable, too_few(usable(a), usable(b), 1, false)),
        Some(ratio) if (ratio - 1.0).abs() <= least => (
            Verdict::NoDifference,
            format!("Less than {} apart; one value a side, so no interval", percent(least)),
        ),
        Some(ratio) => {
            let verdict = if ratio < 1.0 { Verdict::BFaster } else { Verdict::AFaster };
            (verdict, "One value a side, so no interval".to_owned())
        }
    };
    let ratio = ratio.map(|ratio| Ratio { median: ratio, low: ratio, high: ratio, level: 0.0 });
    let n = u32::from(ratio.is_some());
    ComparedMetric { name: name.into(), a, b, ratio, p: None, n, verdict, reason: Some(reason) }
}
