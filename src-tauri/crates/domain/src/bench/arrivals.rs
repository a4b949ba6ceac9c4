//! When the requests of an open loop are due: all instants are known before the first is sent, whatever the server does.

use super::{limits::beyond, stats::SplitMix64};
use crate::error::{ApiError, ErrorCode};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Requests by the second, least and most.
pub const RATES_PER_S: (f64, f64) = (0.01, 100.0);
/// Seconds in which requests are due, least and most.
pub const OPEN_SECONDS: (u32, u32) = (5, 600);
/// Seconds unless said otherwise.
pub const USUAL_SECONDS: u32 = 60;
/// Requests of one open loop, least and most.
pub const ARRIVALS: (u32, u32) = (5, 2000);

/// How the requests of an open loop follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum ArrivalPattern {
    /// As from many people who know nothing of each other: the pauses are exponentially distributed.
    #[default]
    Poisson,
    /// Evenly.
    Constant,
}

/// The plan by which an open loop sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Arrivals {
    /// Requests by the second, on average.
    pub rate_per_s: f64,
    /// Time in which they are due.
    pub seconds: u32,
    pub pattern: ArrivalPattern,
    /// From which the pauses are drawn: the same seed, the same instants.
    pub seed: u32,
}

impl Arrivals {
    /// Errors: invalid_call, with the limit that was passed.
    pub fn new(
        rate_per_s: f64,
        seconds: Option<u32>,
        pattern: ArrivalPattern,
        seed: u32,
    ) -> Result<Self, ApiError> {
        let seconds = seconds.unwrap_or(USUAL_SECONDS);
        let (slowest, fastest) = RATES_PER_S;
        if !(slowest..=fastest).contains(&rate_per_s) {
            let text = format!(
                "An open loop takes {slowest} to {fastest:.0} requests by the second, not {rate_per_s}."
            );
            return Err(ApiError::new(ErrorCode::InvalidCall, text).hint("Name a rate within these limits."));
        }
        let (shortest, longest) = OPEN_SECONDS;
        if !(shortest..=longest).contains(&seconds) {
            return Err(beyond("The plan open", shortest, longest, "seconds", seconds));
        }
        let arrivals = Self { rate_per_s, seconds, pattern, seed };
        let requests = arrivals.requests();
        let (fewest, most) = ARRIVALS;
        if !(fewest..=most).contains(&requests) {
            return Err(beyond("The plan open", fewest, most, "requests", requests)
                .hint("Change --rate or --seconds: their product is the number of requests."));
        }
        Ok(arrivals)
    }

    /// How many there are.
    pub fn requests(&self) -> u32 {
        (self.rate_per_s * f64::from(self.seconds)).round() as u32
    }

    /// When each is due, in milliseconds since the first could have been. A sum of random pauses misses the time that was asked
    /// for; all are stretched alike, so that the mean rate is met (vLLM does the same: benchmarks/serve.py, get_request).
    pub fn due_ms(&self) -> Vec<f64> {
        let (requests, whole_ms) = (self.requests(), 1000.0 * f64::from(self.seconds));
        match self.pattern {
            ArrivalPattern::Constant => {
                let pause = whole_ms / f64::from(requests.max(1));
                (0..requests).map(|index| f64::from(index) * pause).collect()
            }
            ArrivalPattern::Poisson => {
                let mut random = SplitMix64(u64::from(self.seed));
                let mut at = 0.0;
                let sums: Vec<f64> = (0..=requests)
                    .map(|_| {
                        at += pause_of_mean_one(&mut random);
                        at
                    })
                    .collect();
                // The last stands for the end of the time, so that none is due at the very end for sure.
                let whole = sums.last().copied().unwrap_or(1.0);
                sums.iter().take(requests as usize).map(|sum| sum / whole * whole_ms).collect()
            }
        }
    }
}

/// An exponentially distributed pause, by inversion.
fn pause_of_mean_one(random: &mut SplitMix64) -> f64 {
    // Of 53 bits, as a double has them; below one, so that the logarithm is finite.
    let below_one = (random.next() >> 11) as f64 / (1u64 << 53) as f64;
    -(1.0 - below_one).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(rate: f64, seconds: u32, pattern: ArrivalPattern, seed: u32) -> Arrivals {
        Arrivals::new(rate, Some(seconds), pattern, seed).unwrap()
    }

    #[test]
    fn requests_are_due_within_their_time_in_order_and_the_same_for_a_seed() {
        for (rate, seconds, pattern, requests) in [
            (10.0, 30, ArrivalPattern::Poisson, 300),
            (10.0, 30, ArrivalPattern::Constant, 300),
            (0.5, 10, ArrivalPattern::Poisson, 5),
            (2.5, 60, ArrivalPattern::Constant, 150),
            (100.0, 20, ArrivalPattern::Poisson, 2000),
        ] {
            let due = arrivals(rate, seconds, pattern, 7).due_ms();
            assert_eq!(due.len(), requests, "{rate}, {seconds}");
            assert!(due.is_sorted() && due.iter().all(|at| (0.0..f64::from(seconds) * 1e3).contains(at)));
            assert_eq!(due, arrivals(rate, seconds, pattern, 7).due_ms());
        }
        let with = |seed| arrivals(10.0, 30, ArrivalPattern::Poisson, seed).due_ms();
        assert_ne!(with(1), with(2));
    }

    /// Exponential pauses have a coefficient of variation of one and 1 - 1/e of them are shorter than the mean; even pauses
    /// have none.
    #[test]
    fn pauses_are_spread_as_their_pattern_says() {
        let pauses = |pattern| {
            let due = arrivals(100.0, 20, pattern, 11).due_ms();
            due.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<f64>>()
        };
        let spread = |pauses: &[f64]| {
            let mean = pauses.iter().sum::<f64>() / pauses.len() as f64;
            let variance = pauses.iter().map(|p| (p - mean).powi(2)).sum::<f64>() / pauses.len() as f64;
            let short = pauses.iter().filter(|pause| **pause < mean).count() as f64 / pauses.len() as f64;
            (variance.sqrt() / mean, short)
        };
        let (variation, short) = spread(&pauses(ArrivalPattern::Poisson));
        assert!((0.93..1.07).contains(&variation) && (0.60..0.66).contains(&short), "{variation}, {short}");
        assert!(spread(&pauses(ArrivalPattern::Constant)).0 < 1e-9);
    }

    #[test]
    fn beyond_a_limit_is_refused_with_the_limit() {
        for (rate, seconds, words) in [
            (0.0, Some(60), "0.01 to 100 requests by the second, not 0"),
            (f64::NAN, Some(60), "0.01 to 100 requests"),
            (101.0, Some(10), "0.01 to 100 requests by the second, not 101"),
            (1.0, Some(4), "takes 5 to 600 seconds, not 4"),
            (1.0, Some(601), "takes 5 to 600 seconds, not 601"),
            (0.01, Some(60), "takes 5 to 2000 requests, not 1"),
            (100.0, Some(60), "takes 5 to 2000 requests, not 6000"),
        ] {
            let error = Arrivals::new(rate, seconds, ArrivalPattern::Poisson, 1).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidCall);
            assert!(error.message.contains(words), "{error}");
        }
        assert_eq!(Arrivals::new(1.0, None, ArrivalPattern::Poisson, 1).unwrap().requests(), 60);
    }
}
