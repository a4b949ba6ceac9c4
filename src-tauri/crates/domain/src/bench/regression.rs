//! Whether a run is worse than those before it, told after each run.
//!
//! The baseline is the median of the last 20 runs, and the noise what one run differs from the next over the last 100: 20 alone
//! tell a spread that is off by a quarter, which makes false alarms. A run that is worse than the baseline by enough to be worth
//! a word is under suspicion and kept out of it; the third in a row confirms, where all of them together are further off than
//! noise is. So a single bad run is never an alarm, and a drop of 10 % at 2 % of noise is one with its third run.

use super::{
    series::{self, FingerprintChange, SeriesMetric, SeriesPoint},
    stats,
    words::{percent, upper_first},
};
use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use ts_rs::TS;

/// Runs of the baseline.
const BASELINE: usize = 20;
/// Fewer are no baseline.
const MIN_BASELINE: usize = 6;
/// Runs in a row that make an alarm: one, and two that confirm it.
const CONFIRMING: usize = 3;
/// Runs whose differences tell the noise.
const NOISE_RUNS: usize = 100;
/// Spreads that the median of the first three runs must be off by. In normal noise, two of three runs in a row are so, and the
/// third is worse by 3 % as well, about once in 500,000 runs at 2 % of noise.
const SPREADS: f64 = 2.75;
/// The least spread that is believed, as a share of the median: few runs are sometimes alike by chance.
const LEAST_SPREAD: f64 = 0.01;

/// Where a series stands after its last run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum WatchState {
    /// Fewer runs than a baseline wants.
    TooFew,
    Steady,
    /// Worse, and not confirmed.
    Suspected,
    /// Worse three times in a row.
    Confirmed,
}

/// What the watch says after a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Watch {
    pub state: WatchState,
    /// Median of the runs before.
    pub baseline: Option<f64>,
    /// Median of the runs since it grew worse.
    pub now: Option<f64>,
    /// By how much that is worse, as a share of the baseline.
    pub worse_by: Option<f64>,
    /// The first run that was worse; the same for as long as it lasts, so that it is told once.
    pub since_run: Option<i64>,
    #[ts(type = "string | null")]
    pub since: Option<Timestamp>,
    /// The runs that say so.
    pub runs: Vec<i64>,
    /// What differs between the last run before and the first that was worse.
    pub changed: Vec<FingerprintChange>,
    pub words: String,
}

/// Follows one series, run after run.
#[derive(Debug, Clone)]
pub struct Watcher {
    metric: SeriesMetric,
    /// The last runs that were not worse, up to [`NOISE_RUNS`].
    baseline: VecDeque<SeriesPoint>,
    /// Runs in a row that are.
    worse: Vec<SeriesPoint>,
}

/// Runs of a streak that are kept: more say nothing new.
const LONGEST_STREAK: usize = 100;

impl Watcher {
    pub fn of(metric: SeriesMetric) -> Self {
        Self { metric, baseline: VecDeque::new(), worse: vec![] }
    }

    /// The level that the next run begins is taken for the new one: what was before is no baseline any more.
    pub fn accept(&mut self) {
        self.baseline.clear();
        self.worse.clear();
    }

    /// Takes the next run, and says where the series stands after it.
    pub fn take(&mut self, point: &SeriesPoint) -> Watch {
        if point.is_valid() {
            match self.middle().filter(|_| self.baseline.len() >= MIN_BASELINE) {
                Some(middle) if self.metric.worse_by(point.median, middle) > self.metric.least_change() => {
                    if self.worse.len() < LONGEST_STREAK {
                        self.worse.push(point.clone());
                    }
                }
                _ => {
                    // What did not last was noise, and noise belongs to the baseline.
                    for noise in std::mem::take(&mut self.worse) {
                        self.extend(noise);
                    }
                    self.extend(point.clone());
                }
            }
        }
        self.watch()
    }

    fn extend(&mut self, point: SeriesPoint) {
        self.baseline.push_back(point);
        if self.baseline.len() > NOISE_RUNS {
            self.baseline.pop_front();
        }
    }

    fn middle(&self) -> Option<f64> {
        stats::median(
            &self.baseline.iter().rev().take(BASELINE).map(|point| point.median).collect::<Vec<f64>>(),
        )
    }

    /// Standard deviation of the runs as a share, from the differences of each to the next (von Neumann and others 1941, The Mean
    /// Square Successive Difference), their median so that an odd run or a new level hardly moves it. Greater by 2/n for few.
    fn spread(&self) -> f64 {
        let runs = self.baseline.len();
        let steps = self.baseline.iter().zip(self.baseline.iter().skip(1));
        let away: Vec<f64> = steps.map(|(one, next)| (next.median / one.median).ln().abs()).collect();
        let spread = stats::median(&away).map_or(0.0, |step| 1.4826 * step / std::f64::consts::SQRT_2);
        spread.max(LEAST_SPREAD) * (1.0 + 2.0 / runs.max(1) as f64)
    }

    fn watch(&self) -> Watch {
        let middle = self.middle().filter(|_| self.baseline.len() >= MIN_BASELINE);
        let state = match middle {
            None => WatchState::TooFew,
            Some(_) if self.worse.is_empty() => WatchState::Steady,
            Some(middle) if self.is_confirmed(middle) => WatchState::Confirmed,
            Some(_) => WatchState::Suspected,
        };
        let now = stats::median(&self.worse.iter().map(|point| point.median).collect::<Vec<f64>>());
        let worse_by = now.zip(middle).map(|(now, middle)| self.metric.worse_by(now, middle));
        let first = self.worse.first();
        let changed = first.zip(self.baseline.back());
        let changed = changed.map(|(first, last)| series::changed(&last.fingerprint, &first.fingerprint));
        let changed = changed.unwrap_or_default();
        Watch {
            state,
            baseline: middle,
            now,
            worse_by,
            since_run: first.map(|point| point.run_id),
            since: first.map(|point| point.at),
            runs: self.worse.iter().map(|point| point.run_id).collect(),
            words: self.words(state, worse_by, &changed),
            changed,
        }
    }

    /// Three in a row, and together further off than noise. The longer it lasts, the less it need be.
    fn is_confirmed(&self, middle: f64) -> bool {
        let figures: Vec<f64> = self.worse.iter().map(|point| point.median).collect();
        let worse_by = stats::median(&figures).map(|now| self.metric.worse_by(now, middle));
        let noise = SPREADS * self.spread() * (CONFIRMING as f64 / figures.len().max(1) as f64).sqrt();
        figures.len() >= CONFIRMING && worse_by.is_some_and(|worse_by| worse_by > noise)
    }

    fn words(&self, state: WatchState, worse_by: Option<f64>, changed: &[FingerprintChange]) -> String {
        let what = self.metric.words();
        let worse = worse_by.map(|share| format!("{what} is {} worse than before", percent(share)));
        match (state, worse) {
            (WatchState::TooFew, _) => {
                let have = self.baseline.len();
                format!("{have} of the {MIN_BASELINE} runs that a baseline of {what} wants")
            }
            (WatchState::Suspected, Some(worse)) => upper_first(&format!(
                "{worse}, in {} runs; a third in a row would confirm it",
                self.worse.len()
            ))
            .replace("in 1 runs", "in one run"),
            (WatchState::Confirmed, Some(worse)) => {
                let runs = self.worse.len();
                upper_first(&format!(
                    "{worse}, in {runs} runs in a row; {}",
                    series::changes_in_words(changed)
                ))
            }
            _ => upper_first(&format!("{what} is as before")),
        }
    }
}

/// Where a series stands after its last run. `accepted`: runs with which a new level began that was accepted as such.
pub fn watch(points: &[SeriesPoint], metric: SeriesMetric, accepted: &[i64]) -> Watch {
    let mut watcher = Watcher::of(metric);
    for point in points {
        if accepted.contains(&point.run_id) {
            watcher.accept();
        }
        watcher.take(point);
    }
    watcher.watch()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{comparison::tests::Noise, series::tests::series};

    fn noisy(runs: usize, cv: f64, seed: u64, level: impl Fn(usize) -> f64) -> Vec<f64> {
        let noise = &mut Noise::seeded(seed);
        (0..runs).map(|at| level(at) * (1.0 + cv * noise.normal())).collect()
    }

    /// The run with which each alarm was confirmed, and the run since which it lasts.
    fn alarms(points: &[SeriesPoint], metric: SeriesMetric) -> Vec<(i64, i64)> {
        let mut watcher = Watcher::of(metric);
        let mut alarms: Vec<(i64, i64)> = vec![];
        for point in points {
            let watch = watcher.take(point);
            if watch.state == WatchState::Confirmed {
                let since = watch.since_run.unwrap();
                if alarms.last().is_none_or(|(_, known)| *known != since) {
                    alarms.push((point.run_id, since));
                }
            }
        }
        alarms
    }

    #[test]
    fn a_drop_of_ten_percent_is_confirmed_with_its_third_run() {
        for seed in 0..50 {
            let drop = 40 + 7 * seed as usize;
            let medians = noisy(400, 0.02, seed, |at| if at < drop { 50.0 } else { 45.0 });
            let points = series(&medians, Some(drop));
            let alarms = alarms(&points, SeriesMetric::DecodeTokS);
            let [(confirmed, since)] = alarms[..] else { panic!("{seed}: {alarms:?}") };
            // Bad runs of noise may stand right before it.
            assert!((drop as i64 - 2..=drop as i64).contains(&since), "{seed}: {since} {drop}");
            assert!(confirmed <= drop as i64 + 2, "{seed}: {confirmed} {drop}");
        }
    }

    #[test]
    fn noise_is_never_an_alarm() {
        for (seed, cv) in [(1, 0.02), (2, 0.02), (3, 0.02), (4, 0.01), (5, 0.03)] {
            let medians = noisy(2000, cv, seed, |_| 50.0);
            for metric in [SeriesMetric::DecodeTokS, SeriesMetric::TtftMs, SeriesMetric::MemoryBytes] {
                assert_eq!(alarms(&series(&medians, None), metric), [], "{seed} {metric:?}");
            }
        }
    }

    #[test]
    fn a_single_bad_run_is_suspected_and_forgotten() {
        let mut medians = noisy(40, 0.01, 1, |_| 50.0);
        medians[30] = 20.0;
        let points = series(&medians, None);
        let after = |runs: usize| watch(&points[..runs], SeriesMetric::DecodeTokS, &[]);
        assert_eq!(after(5).state, WatchState::TooFew);
        assert_eq!(after(30).state, WatchState::Steady);
        let suspected = after(31);
        assert_eq!((suspected.state, suspected.since_run), (WatchState::Suspected, Some(30)));
        assert_eq!(
            suspected.words,
            "Decode is 60 % worse than before, in one run; a third in a row would confirm it"
        );
        assert_eq!(after(32).state, WatchState::Steady);
        assert_eq!(alarms(&points, SeriesMetric::DecodeTokS), []);
    }

    #[test]
    fn an_alarm_says_what_changed_and_lasts_until_it_is_accepted() {
        let medians = noisy(60, 0.005, 1, |at| if at < 30 { 50.0 } else { 45.0 });
        let points = series(&medians, Some(30));
        let watched = watch(&points, SeriesMetric::DecodeTokS, &[]);
        assert_eq!((watched.state, watched.since_run), (WatchState::Confirmed, Some(30)));
        assert_eq!(
            watched.words,
            "Decode is 10 % worse than before, in 30 runs in a row; with it came server version 0.2 instead of 0.1"
        );
        assert_eq!(watched.changed.len(), 1);
        assert_eq!(watch(&points, SeriesMetric::DecodeTokS, &[30]).state, WatchState::Steady);
        assert_eq!(watch(&points[..33], SeriesMetric::DecodeTokS, &[30]).state, WatchState::TooFew);
    }

    #[test]
    fn each_metric_has_its_direction_and_its_least_change() {
        let cases = [
            (SeriesMetric::DecodeTokS, 0.9, true),
            (SeriesMetric::DecodeTokS, 1.1, false),
            (SeriesMetric::DecodeTokS, 0.98, false),
            (SeriesMetric::TtftMs, 1.2, true),
            (SeriesMetric::TtftMs, 1.05, false),
            (SeriesMetric::TtftMs, 0.8, false),
            (SeriesMetric::MemoryBytes, 1.07, true),
            (SeriesMetric::PrefillTokS, 0.93, true),
            (SeriesMetric::EnergyJPerToken, 1.07, false),
        ];
        for (metric, factor, is_alarm) in cases {
            let medians = noisy(40, 0.003, 1, |at| if at < 30 { 50.0 } else { 50.0 * factor });
            assert_eq!(!alarms(&series(&medians, None), metric).is_empty(), is_alarm, "{metric:?} {factor}");
        }
    }
}
