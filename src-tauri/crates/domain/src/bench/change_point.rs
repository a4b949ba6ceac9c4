//! Where the level of a series changed, found from all of it.
//!
//! Candidates are the splits that the energy statistic of E-divisive finds (Matteson and James 2014, A Nonparametric Approach
//! for Multiple Change Point Analysis), in windows that overlap; each is held against Student's t of the logarithms rather than
//! against permutations, so that the same series always gives the same points, and the weakest are merged from below until all
//! that are left stand (Fleming and others 2023, Hunter: Using Change Point Detection to Hunt for Performance Regressions).

use super::{
    series::{self, FingerprintChange, SeriesMetric, SeriesPoint},
    stats,
    student::two_sided,
    words::{percent, upper_first},
};
use crate::Timestamp;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Runs of one window, and the distance from one to the next.
const WINDOW: usize = 50;
const STEP: usize = 25;
/// Runs on either side: a single odd run, or a few, are no level.
const MIN_RUNS: usize = 5;
/// The chance that a split of noise is taken for a change.
const MOST_P: f64 = 0.001;
/// Changes below this are not worth a word.
const LEAST_CHANGE: f64 = 0.03;
/// No series is quieter, as a standard deviation of the logarithm: of equal figures any difference would be certain.
const LEAST_SPREAD: f64 = 0.002;

/// A change of level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ChangePoint {
    /// The first run of the new level.
    pub run_id: i64,
    #[ts(type = "string")]
    pub at: Timestamp,
    /// Medians of both levels.
    pub before: f64,
    pub after: f64,
    /// After by before, less one.
    pub change: f64,
    pub is_better: bool,
    pub p: f64,
    /// What differs between the runs right before and right after.
    pub changed: Vec<FingerprintChange>,
    pub words: String,
}

/// The changes of level of a series, oldest first.
pub fn change_points(points: &[SeriesPoint], metric: SeriesMetric) -> Vec<ChangePoint> {
    let valid: Vec<&SeriesPoint> = points.iter().filter(|point| point.is_valid()).collect();
    let logs: Vec<f64> = valid.iter().map(|point| point.median.ln()).collect();
    let splits = merged(&logs, candidates(&logs));
    let ends: Vec<usize> = std::iter::once(0).chain(splits).chain([logs.len()]).collect();
    ends.windows(3).map(|ends| described(&valid, &logs, ends[0], ends[1], ends[2], metric)).collect()
}

fn described(
    points: &[&SeriesPoint],
    logs: &[f64],
    from: usize,
    split: usize,
    to: usize,
    metric: SeriesMetric,
) -> ChangePoint {
    let level = |from: usize, to: usize| stats::median(&logs[from..to]).map_or(f64::NAN, f64::exp);
    let (before, after) = (level(from, split), level(split, to));
    let (last, first) = (points[split - 1], points[split]);
    let changed = series::changed(&last.fingerprint, &first.fingerprint);
    let change = after / before - 1.0;
    let is_better = (change > 0.0) == metric.higher_is_better();
    let how = if is_better { "better" } else { "worse" };
    let words = format!(
        "{} grew {} {how}; {}",
        metric.words(),
        percent(change.abs()),
        series::changes_in_words(&changed)
    );
    let p = tested(&logs[from..split], &logs[split..to]).0;
    ChangePoint {
        run_id: first.run_id,
        at: first.at,
        before,
        after,
        change,
        is_better,
        p,
        changed,
        words: upper_first(&words),
    }
}

/// Splits of overlapping windows that look like changes, ascending, each once.
fn candidates(logs: &[f64]) -> Vec<usize> {
    let mut splits = vec![];
    let mut from = 0;
    loop {
        let to = (from + WINDOW).min(logs.len());
        split(logs, from, to, &mut splits);
        if to == logs.len() {
            break;
        }
        from += STEP;
    }
    splits.sort_unstable();
    splits.dedup();
    splits
}

/// Splits a stretch where it is furthest apart, then both parts, for as long as it is a change.
fn split(logs: &[f64], from: usize, to: usize, splits: &mut Vec<usize>) {
    if let Some(at) = furthest_apart(&logs[from..to]).map(|at| from + at)
        && is_change(&logs[from..at], &logs[at..to])
    {
        splits.push(at);
        split(logs, from, at, splits);
        split(logs, at, to, splits);
    }
}

/// The split with the largest energy statistic: n m / (n + m) times twice the mean distance between both parts, less the mean
/// distances within each.
fn furthest_apart(values: &[f64]) -> Option<usize> {
    let n = values.len();
    if n < 2 * MIN_RUNS {
        return None;
    }
    let distances =
        |of: usize, among: &[f64]| among.iter().map(|value| (value - values[of]).abs()).sum::<f64>();
    // Sums of the distances of all pairs before and from each split on.
    let (mut before, mut after) = (vec![0.0; n + 1], vec![0.0; n + 1]);
    for at in 0..n {
        before[at + 1] = before[at] + distances(at, &values[..at]);
    }
    for at in (0..n).rev() {
        after[at] = after[at + 1] + distances(at, &values[at + 1..]);
    }
    let energy = |at: usize| {
        let (x, y) = (at as f64, (n - at) as f64);
        let between = before[n] - before[at] - after[at];
        let within = before[at] / (x * (x - 1.0) / 2.0) + after[at] / (y * (y - 1.0) / 2.0);
        x * y / (x + y) * (2.0 * between / (x * y) - within)
    };
    (MIN_RUNS..=n - MIN_RUNS).max_by(|x, y| energy(*x).total_cmp(&energy(*y)))
}

/// p of Student's t of the means, and how far apart the medians are, as a share. Both: an odd run moves the mean of few, and not
/// their median.
fn tested(x: &[f64], y: &[f64]) -> (f64, f64) {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let squares = |values: &[f64], mean: f64| values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    let (of_x, of_y) = (mean(x), mean(y));
    let free = (x.len() + y.len()).saturating_sub(2);
    let variance = (squares(x, of_x) + squares(y, of_y)) / free.max(1) as f64;
    let spread = variance.sqrt().max(LEAST_SPREAD);
    let t = (of_y - of_x) / (spread * (1.0 / x.len() as f64 + 1.0 / y.len() as f64).sqrt());
    let medians = stats::median(x).zip(stats::median(y));
    let apart = medians.map_or(0.0, |(x, y)| (y - x).abs().exp() - 1.0);
    (two_sided(t, free), apart)
}

fn is_change(x: &[f64], y: &[f64]) -> bool {
    let (p, apart) = tested(x, y);
    x.len() >= MIN_RUNS && y.len() >= MIN_RUNS && p <= MOST_P && apart >= LEAST_CHANGE
}

/// Takes the weakest split away for as long as one does not stand between its neighbours.
fn merged(logs: &[f64], mut splits: Vec<usize>) -> Vec<usize> {
    loop {
        let ends: Vec<usize> = std::iter::once(0).chain(splits.iter().copied()).chain([logs.len()]).collect();
        let parts = |ends: &[usize]| (&logs[ends[0]..ends[1]], &logs[ends[1]..ends[2]]);
        let weakness = |ends: &[usize]| {
            let (x, y) = parts(ends);
            let (p, apart) = tested(x, y);
            // Splits that stand are none to take away, whatever their p.
            (!is_change(x, y))
                .then(|| if x.len().min(y.len()) < MIN_RUNS || apart < LEAST_CHANGE { 1.0 + p } else { p })
        };
        let weak =
            ends.windows(3).map(weakness).enumerate().filter_map(|(at, weakness)| Some((at, weakness?)));
        match weak.max_by(|x, y| x.1.total_cmp(&y.1)) {
            Some((at, _)) => splits.remove(at),
            None => return splits,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{comparison::tests::Noise, series::tests::series};

    fn found(level: impl Fn(usize) -> f64, runs: usize, cv: f64, seed: u64) -> Vec<ChangePoint> {
        let noise = &mut Noise::seeded(seed);
        let medians: Vec<f64> = (0..runs).map(|at| level(at) * (1.0 + cv * noise.normal())).collect();
        change_points(&series(&medians, Some(150)), SeriesMetric::DecodeTokS)
    }

    fn runs(points: &[ChangePoint]) -> Vec<i64> {
        points.iter().map(|point| point.run_id).collect()
    }

    #[test]
    fn one_drop_in_400_runs_is_the_only_change() {
        for seed in 0..20 {
            for drop in [150, 171, 333] {
                let points = found(|at| if at < drop { 50.0 } else { 45.0 }, 400, 0.02, seed);
                let [point] = &points[..] else { panic!("{seed}: {:?}", runs(&points)) };
                assert!((point.run_id - drop as i64).abs() <= 2, "{seed}: {} {drop}", point.run_id);
                assert!((point.change + 0.1).abs() < 0.01 && !point.is_better && point.p < 1e-6, "{point:?}");
            }
        }
    }

    #[test]
    fn what_changed_with_it_is_named() {
        let points = found(|at| if at < 150 { 50.0 } else { 45.0 }, 400, 0.005, 1);
        assert_eq!(runs(&points), [150]);
        assert_eq!(points[0].words, "Decode grew 10 % worse; with it came server version 0.2 instead of 0.1");
        let points = found(|at| if at < 100 { 50.0 } else { 60.0 }, 400, 0.005, 1);
        assert_eq!(
            points[0].words,
            "Decode grew 20 % better; nothing that Pilothouse knows of changed with it"
        );
    }

    #[test]
    fn noise_has_no_changes() {
        for (seed, cv) in [(1, 0.02), (2, 0.02), (3, 0.01), (4, 0.03)] {
            assert_eq!(runs(&found(|_| 50.0, 2000, cv, seed)), [0i64; 0], "{seed}");
        }
    }

    #[test]
    fn odd_runs_are_no_level() {
        for odd in [vec![100], vec![100, 101], vec![5], vec![195], vec![60, 61, 62], vec![20, 90, 160]] {
            let points = found(|at| if odd.contains(&at) { 25.0 } else { 50.0 }, 200, 0.01, 3);
            assert_eq!(runs(&points), [0i64; 0], "{odd:?}");
        }
    }

    #[test]
    fn several_changes_are_told_apart() {
        let level = |at: usize| match at {
            0..60 => 50.0,
            60..75 => 40.0,
            75..200 => 50.0,
            200..260 => 55.0,
            _ => 52.0,
        };
        let points = found(level, 320, 0.01, 2);
        let wanted = [60, 75, 200, 260];
        assert_eq!(points.len(), wanted.len(), "{:?}", runs(&points));
        assert!(
            points.iter().zip(wanted).all(|(point, at)| (point.run_id - at).abs() <= 1),
            "{:?}",
            runs(&points)
        );
    }

    #[test]
    fn equal_and_few_figures_have_none() {
        assert_eq!(change_points(&series(&[50.0; 100], None), SeriesMetric::TtftMs), []);
        assert_eq!(change_points(&series(&[50.0, 10.0, 50.0], None), SeriesMetric::TtftMs), []);
        assert_eq!(change_points(&[], SeriesMetric::TtftMs), []);
        let step: Vec<f64> = (0..20).map(|at| if at < 10 { 50.0 } else { 60.0 }).collect();
        let points = change_points(&series(&step, None), SeriesMetric::TtftMs);
        assert_eq!((runs(&points), points[0].is_better), (vec![10], false), "more milliseconds are worse");
    }
}
