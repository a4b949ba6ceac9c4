//! The gauges' past: samples are folded into buckets of ten seconds and of a minute, and both into columns to draw.
//!
//! Figures are `f32`: of 36 GB that leaves steps of 2 KiB. NaN stands for what is not known, and stays it.

mod columns;
mod tiers;

pub use columns::{history, thin};
pub use tiers::{GaugeTiers, Moment, Resolution};

use crate::gauge::Gauges;

/// The series that are kept, in the order of a bucket's figures; also their names as columns.
pub const SERIES: [&str; 7] = [
    "cpu_percent",
    "memory_used_bytes",
    "swap_used_bytes",
    "gpu_load_percent",
    "gpu_memory_used_bytes",
    "gpu_power_w",
    "servers_memory_bytes",
];

/// One value per series; `None`: not known.
pub type Values = [Option<f64>; SERIES.len()];

/// What of a sample is kept, in the order of [`SERIES`].
pub fn values_of(gauges: &Gauges) -> Values {
    let bytes = |value: Option<u64>| value.map(|bytes| bytes as f64);
    [
        gauges.cpu_percent,
        bytes(gauges.memory_used_bytes),
        bytes(gauges.swap_used_bytes),
        gauges.gpus.iter().filter_map(|gpu| gpu.load_percent).reduce(f64::max),
        sum(gauges.gpus.iter().map(|gpu| bytes(gpu.memory_used_bytes))),
        sum(gauges.gpus.iter().map(|gpu| gpu.power_w)),
        sum(gauges.servers.iter().map(|server| bytes(server.memory_bytes))),
    ]
}

/// The sum of what is known; `None` when nothing is.
fn sum(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    values.flatten().reduce(|sum, value| sum + value)
}

/// What one series did within a bucket. With nothing known the weight is 0 and the figures are NaN.
#[derive(Debug, Clone, Copy)]
pub struct Stat {
    /// The time that the known values stand for; the weight of the mean.
    pub weight_ms: u32,
    pub low: f32,
    pub mean: f32,
    pub high: f32,
}

impl Stat {
    /// Nothing is known.
    pub const NONE: Self = Self { weight_ms: 0, low: f32::NAN, mean: f32::NAN, high: f32::NAN };

    /// One value that stands for a time. A value that is no number is not known.
    pub fn one(value: Option<f64>, weight_ms: u32) -> Self {
        match value.map(|value| value as f32).filter(|value| value.is_finite()) {
            Some(value) => Self { weight_ms: weight_ms.max(1), low: value, mean: value, high: value },
            None => Self::NONE,
        }
    }

    pub fn is_known(&self) -> bool {
        self.weight_ms > 0
    }

    /// Both together: the least, the greatest, and the mean by the time that each stands for.
    #[must_use]
    pub fn fold(self, other: Self) -> Self {
        match (self.is_known(), other.is_known()) {
            (_, false) => self,
            (false, true) => other,
            (true, true) => {
                let (a, b) = (f64::from(self.weight_ms), f64::from(other.weight_ms));
                let mean = (f64::from(self.mean) * a + f64::from(other.mean) * b) / (a + b);
                let (low, high) = (self.low.min(other.low), self.high.max(other.high));
                let weight_ms = self.weight_ms.saturating_add(other.weight_ms);
                Self { weight_ms, low, mean: (mean as f32).clamp(low, high), high }
            }
        }
    }
}

/// All samples of a stretch of time.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    /// Its begin, Unix milliseconds.
    pub at_ms: i64,
    /// Samples in it.
    pub count: u32,
    /// The time that its samples stand for; less than its length where there was a gap.
    pub covered_ms: u32,
    /// Nothing was sampled before its first sample: sleep, or Pilothouse did not run. No line leads over that.
    pub after_gap: bool,
    /// In the order of [`SERIES`].
    pub stats: [Stat; SERIES.len()],
}

impl Bucket {
    /// One sample.
    pub fn one(at_ms: i64, covered_ms: u32, after_gap: bool, values: &Values) -> Self {
        let stats = values.map(|value| Stat::one(value, covered_ms));
        Self { at_ms, count: 1, covered_ms, after_gap, stats }
    }

    /// Takes a later one in.
    pub fn fold(&mut self, later: &Self) {
        self.count = self.count.saturating_add(later.count);
        self.covered_ms = self.covered_ms.saturating_add(later.covered_ms);
        for (stat, more) in self.stats.iter_mut().zip(later.stats) {
            *stat = stat.fold(more);
        }
    }
}

/// The begin of the bucket of this length that holds a moment.
pub fn begin_of(at_ms: i64, step_ms: i64) -> i64 {
    at_ms.div_euclid(step_ms) * step_ms
}

/// The spans that can be asked for reach back 30 days, as the store does.
pub const LONGEST_S: u64 = 30 * 86_400;

/// The most points of one answer beyond the last 15 minutes.
const MOST_POINTS: u64 = 1500;

/// Length of the buckets that a span is shown in; `None`: the samples themselves.
pub fn step_ms(span_s: u64) -> Option<i64> {
    match span_s {
        0..=900 => None,
        901..=3600 => Some(10_000),
        3601..=86_400 => Some(60_000),
        // Whole minutes, because the store keeps nothing finer.
        _ => {
            let minutes = span_s.min(LONGEST_S).div_ceil(MOST_POINTS * 60).next_multiple_of(5);
            Some(i64::try_from(minutes).unwrap_or(i64::MAX / 60_000) * 60_000)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, option, prelude::*};

    #[test]
    fn a_mean_is_weighted_by_the_time_that_a_value_stands_for() {
        let slow = Stat::one(Some(10.0), 5000);
        let fast = Stat::one(Some(70.0), 1000);
        let both = slow.fold(fast);
        assert_eq!((both.weight_ms, both.low, both.mean, both.high), (6000, 10.0, 20.0, 70.0));
        assert!(!Stat::one(Some(f64::NAN), 1).is_known(), "no number is not known");
        assert!(!Stat::NONE.fold(Stat::NONE).is_known());
    }

    #[test]
    fn spans_are_shown_in_buckets_that_are_few_enough() {
        let cases = [
            (60, None),
            (900, None),
            (3600, Some(10_000)),
            (86_400, Some(60_000)),
            (7 * 86_400, Some(600_000)),
            (LONGEST_S, Some(1_800_000)),
            (u64::MAX, Some(1_800_000)),
        ];
        for (span_s, step) in cases {
            assert_eq!(step_ms(span_s), step, "{span_s}");
            if let Some(step) = step {
                assert!(span_s.min(LONGEST_S) * 1000 / step as u64 <= MOST_POINTS);
            }
        }
    }

    fn fold_all(stats: &[Stat]) -> Stat {
        stats.iter().fold(Stat::NONE, |sum, stat| sum.fold(*stat))
    }

    proptest! {
        #[test]
        fn folding_in_two_steps_equals_folding_at_once(
            values in vec((option::of(0.0..1e11f64), 1..60_000u32), 1..80), size in 1..20usize
        ) {
            let stats: Vec<Stat> = values.iter().map(|(value, weight)| Stat::one(*value, *weight)).collect();
            let at_once = fold_all(&stats);
            let parts: Vec<Stat> = stats.chunks(size).map(fold_all).collect();
            let in_two = fold_all(&parts);
            prop_assert_eq!(at_once.weight_ms, in_two.weight_ms);
            prop_assert_eq!(at_once.is_known(), values.iter().any(|(value, _)| value.is_some()));
            if at_once.is_known() {
                prop_assert_eq!((at_once.low, at_once.high), (in_two.low, in_two.high));
                prop_assert!(at_once.low <= at_once.mean && at_once.mean <= at_once.high);
                prop_assert!((at_once.mean - in_two.mean).abs() <= at_once.high * 1e-4);
                let (sum, weight) = values.iter().filter_map(|(value, weight)| Some(((*value)?, *weight)))
                    .fold((0.0, 0.0), |(s, w), (value, weight)| (s + value * f64::from(weight), w + f64::from(weight)));
                prop_assert!((f64::from(at_once.mean) - sum / weight).abs() <= f64::from(at_once.high) * 1e-4);
            } else {
                prop_assert!(in_two.mean.is_nan(), "a hole stays a hole");
            }
        }
    }
}
