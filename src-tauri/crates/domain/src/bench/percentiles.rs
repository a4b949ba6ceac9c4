//! How the values of many requests are spread.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// From so many values on the greatest bounds the 99th percentile with 95 % confidence: 0.99^299 < 0.05. Of fewer it is a rough
/// estimate, and the greatest value should be read beside it.
pub const MIN_FOR_P99: u32 = 299;

/// Percentiles between neighbours in proportion (Hyndman and Fan 1996, Sample Quantiles in Statistical Packages, type 7).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Percentiles {
    /// Values that they are of.
    pub n: u32,
    pub p5: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub greatest: f64,
}

impl Percentiles {
    /// `None` without values. Values that are not finite are left out.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let greatest = *sorted.last()?;
        let at = |share: f64| {
            let place = share * (sorted.len() - 1) as f64;
            let (below, above) = (sorted[place as usize], sorted[(place as usize + 1).min(sorted.len() - 1)]);
            below + (above - below) * place.fract()
        };
        let n = sorted.len() as u32;
        Some(Self { n, p5: at(0.05), p50: at(0.5), p95: at(0.95), p99: at(0.99), greatest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_their_neighbours() {
        let hundred = Percentiles::of((0..=100).map(f64::from)).unwrap();
        assert_eq!((hundred.p5, hundred.p50, hundred.p95, hundred.p99), (5.0, 50.0, 95.0, 99.0));
        assert_eq!((hundred.n, hundred.greatest), (101, 100.0));
        let two = Percentiles::of([10.0, 20.0]).unwrap();
        assert_eq!((two.p5, two.p50, two.p95, two.greatest), (10.5, 15.0, 19.5, 20.0));
        let one = Percentiles::of([7.0, f64::NAN]).unwrap();
        assert_eq!((one.n, one.p5, one.p99), (1, 7.0, 7.0));
        assert_eq!(Percentiles::of([]), None);
        assert_eq!(Percentiles::of([f64::INFINITY]), None);
    }
}
