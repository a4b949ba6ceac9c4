//! Whether a run's figures moved while it measured, and which trials stand far off.

use super::{stats, student::two_sided, trial::Trial, words::percent};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// The chance that noise is taken for drift.
const MOST_P: f64 = 0.05;
/// A change over the run that is worth a word.
const LEAST_CHANGE: f64 = 0.05;
/// Of fewer trials no order says anything at this chance.
const MIN_TRIALS: usize = 6;
/// Distances from the median, in standard deviations, beyond which a trial is marked (Iglewicz and Hoaglin 1993, How to Detect
/// and Handle Outliers).
const FAR: f64 = 3.5;
/// 1.4826 times the median absolute deviation is the standard deviation of normal noise.
const SIGMA: f64 = 1.4826;

/// Decode that grew slower or faster in the course of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Drift {
    /// From the begin to the end, as a share of the begin; below 0: it grew slower.
    pub change: f64,
    /// Spearman's rank correlation with the order of the trials.
    pub correlation: f64,
    pub p: f64,
    pub words: String,
}

/// The trials that count and were alone, in the order in which they were sent.
fn in_order(trials: &[Trial]) -> Vec<&Trial> {
    let mut counted: Vec<&Trial> = trials.iter().filter(|trial| trial.counts() && trial.is_alone()).collect();
    counted.sort_by_key(|trial| trial.seq);
    counted
}

/// Drift of the decode rate: ranks that go with the order (Spearman 1904, The Proof and Measurement of Association between Two
/// Things; p by t with n - 2 degrees of freedom) and a change of at least 5 % along the median slope (Theil 1950 and Sen 1968).
/// `None`: neither, or too few trials.
pub fn drift(trials: &[Trial]) -> Option<Drift> {
    let rates: Vec<f64> = in_order(trials).iter().filter_map(|trial| trial.decode_tok_s).collect();
    if rates.len() < MIN_TRIALS {
        return None;
    }
    let order: Vec<f64> = (0..rates.len()).map(|at| at as f64).collect();
    let correlation = correlation(&ranks(&order), &ranks(&rates))?;
    let free = rates.len() - 2;
    let p = two_sided(correlation * (free as f64 / (1.0 - correlation * correlation)).sqrt(), free);
    let change = slope(&rates)? * (rates.len() - 1) as f64 / begin(&rates)?;
    if p >= MOST_P || change.abs() < LEAST_CHANGE {
        return None;
    }
    let (how, hint) = match change < 0.0 {
        true => ("slower", "the machine grew hot or busy, or its clock was held down"),
        false => ("faster", "it was not warm yet, or something else ended"),
    };
    let words =
        format!("Decode grew {} {how} from the first trial to the last: {hint}.", percent(change.abs()));
    Some(Drift { change, correlation, p, words })
}

/// The median of the slopes between all pairs, by trial.
fn slope(values: &[f64]) -> Option<f64> {
    let pairs = values
        .iter()
        .enumerate()
        .flat_map(|(i, x)| values.iter().enumerate().skip(i + 1).map(move |(j, y)| (y - x) / (j - i) as f64));
    stats::median(&pairs.collect::<Vec<f64>>())
}

/// Where the line of that slope begins.
fn begin(values: &[f64]) -> Option<f64> {
    let slope = slope(values)?;
    let begins: Vec<f64> = values.iter().enumerate().map(|(at, value)| value - slope * at as f64).collect();
    stats::median(&begins).filter(|begin| *begin > 0.0)
}

/// Ranks from 1; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let below = |value: f64| values.iter().filter(|other| **other < value).count() as f64;
    let equal = |value: f64| values.iter().filter(|other| **other == value).count() as f64;
    values.iter().map(|value| below(*value) + (equal(*value) + 1.0) / 2.0).collect()
}

/// Pearson's; `None` where one side does not vary.
fn correlation(x: &[f64], y: &[f64]) -> Option<f64> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (of_x, of_y) = (mean(x), mean(y));
    let product = |a: &[f64], am: f64, b: &[f64], bm: f64| -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - am) * (b - bm)).sum()
    };
    let variances = product(x, of_x, x, of_x) * product(y, of_y, y, of_y);
    (variances > 0.0).then(|| (product(x, of_x, y, of_y) / variances.sqrt()).clamp(-1.0, 1.0))
}

/// The `seq` of trials whose decode rate, time to the first token or time as a whole stands far off the others'. They are
/// marked and stay: what is odd and has no known cause is part of what the server does.
pub fn outliers(trials: &[Trial]) -> Vec<u32> {
    let counted = in_order(trials);
    let figures: [fn(&Trial) -> Option<f64>; 3] =
        [|trial| trial.decode_tok_s, |trial| trial.ttft_ms, |trial| Some(trial.total_ms)];
    let far: Vec<Vec<u32>> = figures.into_iter().map(|figure| far_off(&counted, figure)).collect();
    counted.iter().map(|trial| trial.seq).filter(|seq| far.iter().any(|far| far.contains(seq))).collect()
}

fn far_off(trials: &[&Trial], figure: fn(&Trial) -> Option<f64>) -> Vec<u32> {
    let known: Vec<(u32, f64)> =
        trials.iter().filter_map(|trial| Some((trial.seq, figure(trial)?))).collect();
    let middle = stats::median(&known.iter().map(|(_, value)| *value).collect::<Vec<f64>>());
    let Some(middle) = middle.filter(|_| known.len() >= MIN_TRIALS) else { return vec![] };
    let away = |value: f64| (value - middle).abs();
    let spread = stats::median(&known.iter().map(|(_, value)| away(*value)).collect::<Vec<f64>>());
    // Where more than half are equal nothing tells how far the others may be.
    let Some(spread) = spread.filter(|mad| *mad > 0.0).map(|mad| SIGMA * mad) else { return vec![] };
    known.into_iter().filter(|(_, value)| away(*value) > FAR * spread).map(|(seq, _)| seq).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::comparison::tests::Noise;

    fn trials(rates: &[f64]) -> Vec<Trial> {
        let one = |(seq, rate): (usize, &f64)| Trial {
            seq: seq as u32,
            decode_tok_s: Some(*rate),
            total_ms: 64_000.0 / rate,
            ..Trial::default()
        };
        rates.iter().enumerate().map(one).collect()
    }

    fn noisy(runs: usize, cv: f64, seed: u64, level: impl Fn(f64) -> f64) -> Vec<f64> {
        let noise = &mut Noise::seeded(seed);
        (0..runs).map(|at| level(at as f64 / (runs - 1) as f64) * (1.0 + cv * noise.normal())).collect()
    }

    #[test]
    fn drift_wants_both_an_order_and_a_size() {
        let of = |rates: &[f64]| drift(&trials(rates));
        let slower = of(&noisy(20, 0.01, 1, |at| 50.0 * (1.0 - 0.1 * at))).unwrap();
        assert!((slower.change + 0.1).abs() < 0.015 && slower.p < 0.001, "{slower:?}");
        assert!(
            slower.words.starts_with("Decode grew 10 % slower from the first trial to the last: "),
            "{}",
            slower.words
        );
        assert!(of(&noisy(20, 0.01, 1, |at| 50.0 * (1.0 + 0.1 * at))).unwrap().change > 0.0);
        assert_eq!(of(&noisy(20, 0.001, 1, |at| 50.0 * (1.0 - 0.03 * at))), None, "too small");
        assert_eq!(of(&noisy(5, 0.0, 1, |at| 50.0 * (1.0 - 0.5 * at))), None, "too few");
        assert_eq!(of(&[50.0; 20]), None, "no order");
        assert!(
            of(&noisy(8, 0.0, 1, |at| 50.0 * (1.0 - 0.5 * at))).is_some_and(|drift| drift.p == 0.0),
            "a line"
        );
        let odd: Vec<f64> = (0..20).map(|at| if at == 19 { 10.0 } else { 50.0 }).collect();
        assert_eq!(of(&odd), None, "one slow trial at the end is no drift");
    }

    #[test]
    fn noise_is_seldom_drift() {
        for cv in [0.01, 0.05] {
            let found =
                (0..200).filter(|seed| drift(&trials(&noisy(10, cv, *seed, |_| 50.0))).is_some()).count();
            assert!(found <= 16, "{cv}: {found} of 200");
        }
    }

    #[test]
    fn far_trials_are_marked_and_kept() {
        let mut all = trials(&noisy(20, 0.01, 3, |_| 50.0));
        assert_eq!(outliers(&all), [0u32; 0]);
        all[7].decode_tok_s = Some(30.0);
        all[9].total_ms *= 2.0;
        all[11] = Trial { seq: 11, flaw: Some("short".into()), total_ms: 1.0, ..Trial::default() };
        assert_eq!(outliers(&all), [7, 9]);
        assert_eq!(outliers(&all[..5]), [0u32; 0], "too few");
        assert_eq!(outliers(&trials(&[50.0; 10])), [0u32; 0]);
    }

    #[test]
    fn ranks_of_equals_are_shared() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        assert_eq!(correlation(&[1.0, 2.0], &[5.0, 5.0]), None);
    }
}
