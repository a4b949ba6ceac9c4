//! Rings of fixed size: the samples of 15 minutes, ten seconds for an hour, minutes for a day.

use super::{Bucket, SERIES, Values, begin_of, columns, thin};
use crate::gauge::GaugeHistory;
use std::collections::VecDeque;

/// How far back the samples themselves reach.
const RAW_MS: i64 = 15 * 60 * 1000;
/// Room for them at the fastest pace, 5 per second.
const RAW_SLOTS: usize = 4500;
/// The most points that are kept of a run.
const TRACE_POINTS: usize = 1500;

/// When a sample was taken, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Unix milliseconds: what people read. May jump.
    pub at_ms: i64,
    /// Milliseconds of a monotonic clock. May stand still while the machine sleeps.
    pub clock_ms: u64,
    /// The wait that was planned since the sample before.
    pub interval_ms: u64,
}

impl Moment {
    /// Whether too much time has passed since a sample for a line between the two. Either
    /// clock may tell: one stands still in sleep, the other is set.
    fn is_gap_since(&self, last: &Self) -> bool {
        let limit = (3 * self.interval_ms).max(self.interval_ms + 2000);
        let wall = self.at_ms - last.at_ms;
        self.clock_ms.saturating_sub(last.clock_ms) > limit || wall.unsigned_abs() > limit
    }
}

/// Which ring is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    TenSeconds,
    Minutes,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at_ms: i64,
    covered_ms: u32,
    after_gap: bool,
    values: [f32; SERIES.len()],
}

impl Sample {
    fn bucket(&self) -> Bucket {
        let values = self.values.map(|value| Some(f64::from(value)));
        Bucket::one(self.at_ms, self.covered_ms, self.after_gap, &values)
    }
}

#[derive(Debug)]
struct Ring {
    step_ms: i64,
    slots: usize,
    closed: VecDeque<Bucket>,
    open: Option<Bucket>,
}

impl Ring {
    fn new(step_ms: i64, slots: usize) -> Self {
        Self { step_ms, slots, closed: VecDeque::with_capacity(slots), open: None }
    }

    /// Folds a piece in; the bucket before it comes back when this one belongs to the next.
    fn take(&mut self, piece: &Bucket) -> Option<Bucket> {
        let at_ms = begin_of(piece.at_ms, self.step_ms);
        if let Some(open) = self.open.as_mut().filter(|open| open.at_ms == at_ms) {
            open.fold(piece);
            return None;
        }
        let closed = self.close();
        self.open = Some(Bucket { at_ms, ..*piece });
        closed
    }

    fn close(&mut self) -> Option<Bucket> {
        let closed = self.open.take()?;
        if self.closed.len() == self.slots {
            self.closed.pop_front();
        }
        self.closed.push_back(closed);
        Some(closed)
    }

    /// The clock was set back to here: what lies at or after it is no past any more.
    fn forget_from(&mut self, at_ms: i64) {
        let begin = begin_of(at_ms, self.step_ms);
        self.closed.retain(|bucket| bucket.at_ms < begin);
    }
}

/// The gauges' past in memory.
#[derive(Debug)]
pub struct GaugeTiers {
    raw: VecDeque<Sample>,
    tens: Ring,
    minutes: Ring,
    last: Option<Moment>,
}

impl Default for GaugeTiers {
    fn default() -> Self {
        Self {
            raw: VecDeque::with_capacity(RAW_SLOTS),
            tens: Ring::new(10_000, 360),
            minutes: Ring::new(60_000, 1440),
            last: None,
        }
    }
}

impl GaugeTiers {
    /// Takes a sample in. Returns the minutes that were closed by it, mostly none.
    pub fn push(&mut self, moment: Moment, values: &Values) -> Vec<Bucket> {
        let after_gap = self.last.is_none_or(|last| moment.is_gap_since(&last));
        let elapsed = self.last.map(|last| moment.clock_ms.saturating_sub(last.clock_ms));
        let covered = elapsed.filter(|_| !after_gap).unwrap_or(moment.interval_ms);
        let mut closed = self.set_back(moment.at_ms);
        let sample = Sample {
            at_ms: moment.at_ms,
            covered_ms: u32::try_from(covered).unwrap_or(u32::MAX),
            after_gap,
            values: values.map(|value| value.map_or(f32::NAN, |value| value as f32)),
        };
        let old = moment.at_ms - RAW_MS;
        while self.raw.front().is_some_and(|first| first.at_ms < old || self.raw.len() >= RAW_SLOTS) {
            self.raw.pop_front();
        }
        self.raw.push_back(sample);
        if let Some(tens) = self.tens.take(&sample.bucket()) {
            closed.extend(self.minutes.take(&tens));
        }
        self.last = Some(moment);
        closed
    }

    /// Closes what is open and returns the minutes among it: nothing comes after, or the clock was set.
    pub fn flush(&mut self) -> Vec<Bucket> {
        let tens = self.tens.close();
        let before = tens.and_then(|tens| self.minutes.take(&tens));
        before.into_iter().chain(self.minutes.close()).collect()
    }

    fn set_back(&mut self, at_ms: i64) -> Vec<Bucket> {
        self.raw.retain(|sample| sample.at_ms < at_ms);
        if self.tens.open.is_none_or(|open| open.at_ms <= at_ms) {
            return Vec::new();
        }
        let closed = self.flush();
        self.tens.forget_from(at_ms);
        self.minutes.forget_from(at_ms);
        closed
    }

    /// The samples themselves: of a span back from the newest, and with `since_ms` only newer ones.
    pub fn samples(&self, span_ms: i64, since_ms: Option<i64>) -> GaugeHistory {
        let Some(last) = self.last else { return GaugeHistory::default() };
        let oldest = last.at_ms.saturating_sub(span_ms);
        let is_old =
            |sample: &Sample| sample.at_ms < oldest || since_ms.is_some_and(|since| sample.at_ms <= since);
        let from = self.raw.partition_point(is_old);
        let before = from.checked_sub(1).and_then(|before| self.raw.get(before)).map(|sample| sample.at_ms);
        let buckets: Vec<Bucket> = self.raw.iter().skip(from).map(Sample::bucket).collect();
        columns::history_after(before, &buckets, last.interval_ms, false)
    }

    /// The buckets that begin at or after a moment, the open one included.
    pub fn buckets(&self, resolution: Resolution, from_ms: i64) -> Vec<Bucket> {
        let mut buckets: Vec<Bucket> = match resolution {
            Resolution::TenSeconds => self.tens.closed.iter().chain(&self.tens.open).copied().collect(),
            Resolution::Minutes => {
                // The newest ten seconds are not in any minute yet.
                let all = self.minutes.closed.iter().chain(&self.minutes.open).chain(&self.tens.open);
                thin(&all.copied().collect::<Vec<_>>(), self.minutes.step_ms)
            }
        };
        buckets.retain(|bucket| bucket.at_ms >= from_ms);
        buckets
    }

    /// What the gauges showed during a run: the samples, or means where these would be too many or are gone.
    pub fn trace(&self, from_ms: i64, to_ms: i64) -> GaugeHistory {
        let within = |at_ms: i64| (from_ms..=to_ms).contains(&at_ms);
        let raw: Vec<Bucket> =
            self.raw.iter().map(Sample::bucket).filter(|bucket| within(bucket.at_ms)).collect();
        let gone = self.last.is_some_and(|last| from_ms < last.at_ms - RAW_MS);
        let (mut buckets, mut step) = match (gone, self.last) {
            (false, last) => (raw, last.map_or(0, |last| last.interval_ms as i64)),
            (true, _) => (self.buckets(Resolution::TenSeconds, from_ms), self.tens.step_ms),
        };
        buckets.retain(|bucket| within(bucket.at_ms));
        if buckets.len() > TRACE_POINTS {
            // Whole seconds.
            step = ((to_ms - from_ms) / TRACE_POINTS as i64 / 1000 + 1) * 1000;
            buckets = thin(&buckets, step);
        }
        columns::history(&buckets, step.unsigned_abs(), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cpu(value: Option<f64>) -> Values {
        let mut values = Values::default();
        values[0] = value;
        values
    }

    /// Samples at these seconds, one second apart as planned; both clocks go alike.
    fn filled(seconds: impl IntoIterator<Item = i64>) -> (GaugeTiers, Vec<Bucket>) {
        let mut tiers = GaugeTiers::default();
        let mut closed = Vec::new();
        for second in seconds {
            let moment = Moment { at_ms: second * 1000, clock_ms: second as u64 * 1000, interval_ms: 1000 };
            closed.extend(tiers.push(moment, &cpu((second % 2 == 0).then_some(second as f64))));
        }
        (tiers, closed)
    }

    #[test]
    fn the_samples_reach_back_fifteen_minutes_and_holes_stay_holes() {
        let (tiers, _) = filled(0..2000);
        let history = tiers.samples(RAW_MS, None);
        assert_eq!((history.at_ms.len(), history.at_ms[0], history.step_ms), (901, 1_099_000, 1000));
        assert_eq!(history.columns.cpu_percent[900], None);
        assert_eq!(history.columns.servers_memory_bytes[0], None, "absent is not zero");
        assert_eq!(tiers.samples(RAW_MS, Some(1_998_000)).at_ms, [1_999_000]);
        assert_eq!(tiers.samples(2000, None).at_ms, [1_997_000, 1_998_000, 1_999_000]);
        assert!(tiers.samples(RAW_MS, Some(1_999_000)).at_ms.is_empty());
    }

    #[test]
    fn tiers_close_in_turn_and_the_open_ones_are_shown() {
        let (tiers, closed) = filled(0..185);
        let told: Vec<(i64, u32)> = closed.iter().map(|minute| (minute.at_ms, minute.count)).collect();
        assert_eq!(told, [(0, 60), (60_000, 60)]);
        assert_eq!(
            (closed[0].stats[0].low, closed[0].stats[0].mean, closed[0].stats[0].high),
            (0.0, 29.0, 58.0)
        );
        let tens = tiers.buckets(Resolution::TenSeconds, 150_000);
        assert_eq!(tens.iter().map(|b| b.count).collect::<Vec<_>>(), [10, 10, 10, 5]);
        let minutes = tiers.buckets(Resolution::Minutes, 60_000);
        let told: Vec<(i64, u32)> = minutes.iter().map(|minute| (minute.at_ms, minute.count)).collect();
        assert_eq!(told, [(60_000, 60), (120_000, 60), (180_000, 5)]);
    }

    #[test]
    fn rings_have_a_fixed_size() {
        let (tiers, _) = filled(0..90_000);
        assert_eq!(tiers.tens.closed.len(), 360);
        assert_eq!(tiers.minutes.closed.len(), 1440);
        assert!(tiers.raw.len() <= RAW_SLOTS);
        let mut fast = GaugeTiers::default();
        for n in 0..10_000 {
            let moment = Moment { at_ms: n * 10, clock_ms: n as u64 * 10, interval_ms: 10 };
            fast.push(moment, &cpu(None));
        }
        assert_eq!(fast.raw.len(), RAW_SLOTS);
    }

    #[test]
    fn time_without_samples_is_a_gap_by_either_clock() {
        // wall clock, monotonic clock, planned wait, gap
        let cases = [
            (1000, 1000, 1000, false),
            (3000, 3000, 1000, false),
            (3001, 3001, 1000, true),
            (15_000, 15_000, 5000, false),
            (15_001, 15_001, 5000, true),
            (3_600_000, 900, 1000, true),
            (-3_600_000, 1000, 1000, true),
            (-20, 1000, 1000, false),
            (2200, 2200, 200, false),
            (2201, 2201, 200, true),
        ];
        for (wall, clock, interval_ms, gap) in cases {
            let first = Moment { at_ms: 1_000_000, clock_ms: 500, interval_ms };
            let next = Moment { at_ms: 1_000_000 + wall, clock_ms: 500 + clock, interval_ms };
            assert_eq!(next.is_gap_since(&first), gap, "{wall} {clock} {interval_ms}");
        }
    }

    #[test]
    fn a_gap_breaks_the_line_and_weighs_nothing() {
        let (tiers, _) = filled([0, 2, 40, 42]);
        let history = tiers.samples(RAW_MS, None);
        assert_eq!(history.at_ms, [0, 2000, 2001, 40_000, 42_000]);
        assert_eq!(history.columns.cpu_percent, [Some(0.0), Some(2.0), None, Some(40.0), Some(42.0)]);
        assert_eq!(tiers.samples(RAW_MS, Some(2000)).at_ms, [2001, 40_000, 42_000], "also in a part");
        let minute = tiers.buckets(Resolution::Minutes, 0)[0];
        assert_eq!((minute.count, minute.covered_ms), (4, 1000 + 2000 + 1000 + 2000));
    }

    #[test]
    fn a_clock_that_is_set_back_leaves_no_future_behind() {
        let (mut tiers, _) = filled(600..800);
        let moment = Moment { at_ms: 650_500, clock_ms: 800_000, interval_ms: 1000 };
        let closed = tiers.push(moment, &cpu(Some(1.0)));
        assert_eq!(closed.iter().map(|minute| minute.at_ms).collect::<Vec<_>>(), [780_000], "it is not lost");
        assert_eq!(tiers.samples(RAW_MS, None).at_ms.last_chunk::<3>(), Some(&[650_000, 650_001, 650_500]));
        for resolution in [Resolution::TenSeconds, Resolution::Minutes] {
            let at: Vec<i64> = tiers.buckets(resolution, 0).iter().map(|bucket| bucket.at_ms).collect();
            assert!(at.is_sorted_by(|a, b| a < b), "{at:?}");
            assert_eq!(at.last(), Some(&begin_of(650_500, if at.len() > 3 { 10_000 } else { 60_000 })));
        }
    }

    #[test]
    fn the_last_minute_is_closed_when_nothing_comes_after() {
        let (mut tiers, _) = filled(0..62);
        let told: Vec<(i64, u32)> = tiers.flush().iter().map(|minute| (minute.at_ms, minute.count)).collect();
        assert_eq!(told, [(0, 60), (60_000, 2)], "the minute before was waiting for its last ten seconds");
        assert!(tiers.flush().is_empty());
    }

    #[test]
    fn a_trace_is_what_lies_in_a_run() {
        let (tiers, _) = filled(0..2000);
        let trace = tiers.trace(1_500_000, 1_503_000);
        assert_eq!((trace.at_ms.len(), trace.step_ms), (4, 1000));
        let long = tiers.trace(100_000, 1_990_000);
        assert_eq!((long.at_ms[0], long.step_ms), (100_000, 10_000), "the samples of its begin are gone");
        assert!(GaugeTiers::default().trace(0, 1000).at_ms.is_empty());
    }

    proptest! {
        #[test]
        fn columns_stay_in_order_and_every_sample_is_counted_once(
            waits in proptest::collection::vec((100..20_000i64, any::<bool>()), 1..200)
        ) {
            let mut tiers = GaugeTiers::default();
            let (mut at_ms, mut closed) = (0, Vec::new());
            for (wait, known) in &waits {
                at_ms += wait;
                let moment = Moment { at_ms, clock_ms: at_ms as u64, interval_ms: 1000 };
                closed.extend(tiers.push(moment, &cpu(known.then_some(5.0))));
            }
            let history = tiers.samples(i64::MAX, None);
            prop_assert!(history.at_ms.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(history.at_ms.len(), history.columns.cpu_percent.len());
            closed.extend(tiers.flush());
            prop_assert_eq!(closed.iter().map(|minute| minute.count as usize).sum::<usize>(), waits.len());
        }
    }
}
