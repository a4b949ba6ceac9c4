//! Median and its interval.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Resamples of the percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).
const RESAMPLES: usize = 10_000;
/// Fixed, so that the same trials give the same interval.
pub(super) const SEED: u64 = 0x5049_4c4f_5448_4f55;

/// What `low` and `high` of a summary are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub enum Interval {
    /// In 95 of 100 such samples it holds the true median.
    #[serde(rename = "95 %")]
    Confidence95,
    /// The smallest and the largest value, of too few for an interval.
    #[default]
    #[serde(rename = "range")]
    Range,
}

/// Fewer values than these have a range and no interval: of five the bootstrap's holds the true median too seldom.
pub const MIN_FOR_INTERVAL: usize = 6;

/// A figure over several trials: the median with its 95 % percentile-bootstrap interval, or the range of too few values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Summary {
    pub median: f64,
    pub low: f64,
    pub high: f64,
    pub n: u32,
    /// What `low` and `high` are.
    #[serde(default)]
    pub interval: Interval,
    /// "client" (our clock) or "server" (its own figures).
    pub source: String,
}

/// The median; `None` without values. Values that are not finite are left out.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    median_of_sorted(&sorted)
}

fn median_of_sorted(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// Summarises one figure over trials.
pub fn summarize(values: &[f64], source: &str) -> Option<Summary> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let median = median_of_sorted(&sorted)?;
    let (interval, (low, high)) = match sorted.len() < MIN_FOR_INTERVAL {
        true => (Interval::Range, (sorted[0], sorted[sorted.len() - 1])),
        false => (Interval::Confidence95, bootstrap_interval(&sorted)),
    };
    Some(Summary { median, low, high, n: sorted.len() as u32, interval, source: source.into() })
}

fn bootstrap_interval(sorted: &[f64]) -> (f64, f64) {
    let mut random = SplitMix64(SEED);
    let mut sample = vec![0.0; sorted.len()];
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            for value in &mut sample {
                *value = sorted[random.below(sorted.len())];
            }
            sample.sort_by(f64::total_cmp);
            median_of_sorted(&sample).unwrap_or_default()
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    (medians[RESAMPLES * 25 / 1000], medians[RESAMPLES * 975 / 1000])
}

/// Steele, Lea and Flood's SplitMix64: small, and good enough to draw indices.
pub(super) struct SplitMix64(pub(super) u64);

impl SplitMix64 {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[f64::NAN, 7.0]), Some(7.0));
    }

    #[test]
    fn few_values_show_their_whole_range() {
        let s = summarize(&[10.0, 12.0, 11.0, 9.0, 13.0], "client").unwrap();
        assert_eq!((s.median, s.low, s.high, s.n), (11.0, 9.0, 13.0, 5));
    }

    #[test]
    fn the_interval_of_a_known_sample_is_stable() {
        let values: Vec<f64> = (1..=21).map(f64::from).collect();
        let s = summarize(&values, "client").unwrap();
        assert_eq!(s.median, 11.0);
        assert!((6.0..=8.0).contains(&s.low) && (14.0..=16.0).contains(&s.high), "{s:?}");
        assert_eq!(summarize(&values, "client").unwrap(), s);
    }

    proptest::proptest! {
        #[test]
        fn the_interval_holds_the_median_and_stays_within_the_values(
            values in proptest::collection::vec(0.1f64..1e6, 1..40)
        ) {
            let s = summarize(&values, "client").unwrap();
            let min = values.iter().copied().fold(f64::INFINITY, f64::min);
            let max = values.iter().copied().fold(0.0, f64::max);
            proptest::prop_assert!(min <= s.low && s.low <= s.median && s.median <= s.high && s.high <= max);
        }
    }
}
