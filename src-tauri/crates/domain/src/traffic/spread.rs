//! How figures are spread, in little room and so that two of them add up.

use serde::{Deserialize, Serialize};

/// Steps in which a figure doubles. With 16 a figure that is read back is at most 2.2 % off (half a step: 2^(1/32)).
const STEPS: f64 = 16.0;
/// Figures beyond are counted as these.
const LEAST: f64 = 1.0 / 256.0;
const GREATEST: f64 = 16_777_216.0;

/// Counts of figures by geometric steps, in the manner of HdrHistogram and DDSketch (Masson, Rim and Lee 2019, "DDSketch: a fast and
/// fully-mergeable quantile sketch with relative-error guarantees"). In JSON pairs of step and count.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Spread(
    /// By step, ascending.
    Vec<(i16, u32)>,
);

impl Spread {
    /// Counts a figure. One that is no number is left out.
    pub fn add(&mut self, figure: f64) {
        if !figure.is_nan() {
            let step = (figure.clamp(LEAST, GREATEST).log2() * STEPS).floor();
            // Within -128 to 384.
            self.add_at(step as i16, 1);
        }
    }

    fn add_at(&mut self, step: i16, count: u32) {
        match self.0.binary_search_by_key(&step, |(at, _)| *at) {
            Ok(index) => self.0[index].1 = self.0[index].1.saturating_add(count),
            Err(index) => self.0.insert(index, (step, count)),
        }
    }

    /// Counts what another one has counted.
    pub fn merge(&mut self, other: &Self) {
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
            return;
        }
        other.0.iter().for_each(|(step, count)| self.add_at(*step, *count));
    }

    /// How many figures were counted.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// The figure that `share` (0 to 1) of all do not exceed, by nearest rank (Hyndman and Fan 1996, definition 1), within 2.2 %.
    /// `None`: nothing was counted.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = (share.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let (step, _) = self.0.iter().find(|(_, count)| {
            seen += u64::from(*count);
            seen >= rank
        })?;
        Some(((f64::from(*step) + 0.5) / STEPS).exp2())
    }
}
