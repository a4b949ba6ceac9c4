//! What of the history grows less with age, and what a trace becomes then.
//!
//! Runs with their figures and each measured request are kept for ever. The rest is bulky and soon looked at no more: the gaps
//! between the events of an answer, the samples of a trace, warm-ups.

use super::trace::{CardTrace, MinuteRange, RunTrace};
use crate::{
    Timestamp,
    gauge::GaugeHistory,
    gauge_history::{Bucket, Stat, Values, begin_of, history, thin},
    settings::HistorySettings,
};

/// The length of a row of an old trace. Milliseconds.
pub const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// What runs that began before these instants lose, in Unix milliseconds. `None`: it is kept for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cutoffs {
    /// Token gaps; what they were in the middle and at most stays.
    pub gaps_ms: Option<i64>,
    /// Samples of traces, which become minutes.
    pub samples_ms: Option<i64>,
    /// Minutes of traces.
    pub minutes_ms: Option<i64>,
    pub warmups_ms: Option<i64>,
    /// Records of requests: those that came before, and what they add up to.
    pub requests_ms: Option<i64>,
}

impl Cutoffs {
    /// A run is as old as its begin; on the day itself it still has everything.
    pub fn at(now: Timestamp, keep: &HistorySettings) -> Self {
        let before = |days: u32| (days > 0).then(|| now.as_millisecond() - i64::from(days) * DAY_MS);
        Self {
            gaps_ms: before(keep.gaps_days),
            samples_ms: before(keep.traces_days),
            minutes_ms: before(keep.trace_minutes_days),
            warmups_ms: before(keep.warmups_days),
            requests_ms: before(keep.requests_days),
        }
    }
}

/// Samples as least, mean and greatest of each minute since the begin of the run; means by the time that each sample stands for.
pub fn by_minute(samples: &GaugeHistory, started_ms: i64) -> GaugeHistory {
    let offsets: Vec<i64> = samples.at_ms.iter().map(|at| at - started_ms).collect();
    let weights = weights(&offsets.iter().map(|at| *at as f64).collect::<Vec<_>>());
    let one = |(row, offset): (usize, &i64)| {
        let values: Values = samples.columns.row(row);
        // A hole among the samples is a row without values; within a minute it is no hole.
        Bucket::one(*offset, weights[row], false, &values)
    };
    let buckets: Vec<Bucket> = offsets.iter().enumerate().map(one).collect();
    let mut minutes = history(&thin(&buckets, MINUTE_MS), MINUTE_MS.unsigned_abs(), true);
    minutes.at_ms.iter_mut().for_each(|at| *at += started_ms);
    minutes
}

/// The time that each sample stands for: until the next, as far as that is not beyond what is usual. Milliseconds, at least 1.
fn weights(at_ms: &[f64]) -> Vec<u32> {
    let steps: Vec<f64> = at_ms.windows(2).map(|pair| (pair[1] - pair[0]).max(1.0)).collect();
    let usual = super::stats::median(&steps).unwrap_or(1.0);
    let weight = |step: f64| step.min(2.0 * usual).max(1.0) as u32;
    steps.iter().map(|step| weight(*step)).chain([weight(usual)]).take(at_ms.len()).collect()
}

/// The same of a trace that keeps cards apart. What held a clock down within a minute is named for the minute.
pub fn cards_by_minute(samples: &RunTrace) -> RunTrace {
    if samples.by_minute.is_some() || samples.at_ms.is_empty() {
        return samples.clone();
    }
    let weights = weights(&samples.at_ms);
    let mut minutes: Vec<(i64, Vec<usize>)> = vec![];
    for (row, at_ms) in samples.at_ms.iter().enumerate() {
        let begin = begin_of(*at_ms as i64, MINUTE_MS);
        match minutes.last_mut().filter(|(last, _)| *last == begin) {
            Some((_, rows)) => rows.push(row),
            None => minutes.push((begin, vec![row])),
        }
    }
    let fold = |value: &dyn Fn(usize) -> Option<f64>| -> Vec<Stat> {
        let of = |rows: &Vec<usize>| {
            rows.iter().fold(Stat::NONE, |sum, row| sum.fold(Stat::one(value(*row), weights[*row])))
        };
        minutes.iter().map(|(_, rows)| of(rows)).collect()
    };
    let memory = fold(&|row| bytes(&samples.instance_memory_bytes, row));
    let mut range = MinuteRange {
        instance_memory_low: whole(&memory, |stat| stat.low),
        instance_memory_high: whole(&memory, |stat| stat.high),
        ..MinuteRange::default()
    };
    let mut cards = vec![];
    for card in &samples.cards {
        let load = fold(&|row| card.load_percent.get(row).copied().flatten());
        let held = fold(&|row| bytes(&card.memory_used_bytes, row));
        let power = fold(&|row| card.power_w.get(row).copied().flatten());
        let heat = fold(&|row| card.temperature_c.get(row).copied().flatten());
        let clock = fold(&|row| card.clock_mhz.get(row).copied().flatten().map(f64::from));
        let throttle: Vec<Option<Vec<String>>> =
            minutes.iter().map(|(_, rows)| reasons(&card.throttle, rows)).collect();
        let of = |figure: fn(&Stat) -> f32, throttle: Vec<Option<Vec<String>>>| CardTrace {
            name: card.name.clone(),
            load_percent: figures(&load, figure),
            memory_used_bytes: whole(&held, figure),
            power_w: figures(&power, figure),
            temperature_c: figures(&heat, figure),
            clock_mhz: figures(&clock, figure).iter().map(|mhz| mhz.map(|mhz| mhz.round() as u32)).collect(),
            throttle,
        };
        let nothing = vec![None; minutes.len()];
        range.low.push(of(|stat| stat.low, nothing.clone()));
        range.high.push(of(|stat| stat.high, nothing));
        cards.push(of(|stat| stat.mean, throttle));
    }
    RunTrace {
        at_ms: minutes.iter().map(|(begin, _)| *begin as f64).collect(),
        instance_memory_bytes: whole(&memory, |stat| stat.mean),
        cards,
        by_minute: Some(Box::new(range)),
    }
}

fn bytes(column: &[Option<u64>], row: usize) -> Option<f64> {
    column.get(row).copied().flatten().map(|bytes| bytes as f64)
}

fn figures(stats: &[Stat], figure: fn(&Stat) -> f32) -> Vec<Option<f64>> {
    let two_decimals = |stat: &Stat| (f64::from(figure(stat)) * 100.0).round() / 100.0;
    stats.iter().map(|stat| stat.is_known().then(|| two_decimals(stat))).collect()
}

fn whole(stats: &[Stat], figure: fn(&Stat) -> f32) -> Vec<Option<u64>> {
    stats.iter().map(|stat| stat.is_known().then(|| figure(stat).round() as u64)).collect()
}

/// All that was named in these rows, each once; `None`: nothing was told in any of them.
fn reasons(column: &[Option<Vec<String>>], rows: &[usize]) -> Option<Vec<String>> {
    let told: Vec<&Vec<String>> = rows.iter().filter_map(|row| column.get(*row)?.as_ref()).collect();
    let mut all: Vec<String> = vec![];
    for reason in told.iter().copied().flatten() {
        if !all.contains(reason) {
            all.push(reason.clone());
        }
    }
    (!told.is_empty()).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_age_has_its_own_boundary_and_nought_is_for_ever() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let days = |days: i64| Some(now.as_millisecond() - days * 86_400_000);
        let usual = Cutoffs::at(now, &HistorySettings::default());
        assert_eq!(
            usual,
            Cutoffs {
                gaps_ms: days(90),
                samples_ms: days(30),
                minutes_ms: days(365),
                warmups_ms: days(30),
                requests_ms: days(30)
            }
        );
        let ever = HistorySettings {
            gaps_days: 0,
            traces_days: 0,
            trace_minutes_days: 0,
            warmups_days: 0,
            requests_days: 0,
        };
        assert_eq!(Cutoffs::at(now, &ever), Cutoffs::default());
    }

    /// Samples at these seconds since the begin, with these loads of the processor.
    fn samples(of: &[(f64, Option<f64>)]) -> GaugeHistory {
        let mut trace = GaugeHistory { step_ms: 1000, ..GaugeHistory::default() };
        for (second, cpu) in of {
            trace.at_ms.push(5_000_000 + (second * 1000.0) as i64);
            trace.columns.push(&[*cpu, Some(1e9), None, None, None, None, None]);
        }
        trace
    }

    #[test]
    fn minutes_hold_least_mean_and_greatest_since_the_begin_of_the_run() {
        let trace =
            samples(&[(0.0, Some(10.0)), (1.0, Some(30.0)), (2.0, None), (61.0, Some(7.0)), (62.0, None)]);
        let minutes = by_minute(&trace, 5_000_000);
        assert_eq!((minutes.step_ms, &minutes.at_ms[..]), (60_000, &[5_000_000, 5_060_000][..]));
        assert_eq!(minutes.columns.cpu_percent, [Some(20.0), Some(7.0)]);
        let (low, high) = (minutes.low.unwrap(), minutes.high.unwrap());
        assert_eq!(
            (low.cpu_percent, high.cpu_percent),
            (vec![Some(10.0), Some(7.0)], vec![Some(30.0), Some(7.0)])
        );
        assert_eq!(minutes.columns.memory_used_bytes, [Some(1_000_000_000); 2]);
        assert_eq!(minutes.columns.gpu_power_w, [None; 2], "absent is not zero");
    }

    #[test]
    fn a_mean_is_by_time_and_a_pause_weighs_no_more_than_is_usual() {
        // Ten samples in a second, then one for each of two seconds, then a pause of half a minute.
        let mut of: Vec<(f64, Option<f64>)> = (0..10).map(|n| (f64::from(n) * 0.1, Some(0.0))).collect();
        of.extend([(1.0, Some(100.0)), (31.0, Some(0.0))]);
        let mean = by_minute(&samples(&of), 5_000_000).columns.cpu_percent[0].unwrap();
        assert!((13.0..18.0).contains(&mean), "{mean}");
        for few in [&of[..1], &of[..0]] {
            assert_eq!(by_minute(&samples(few), 5_000_000).at_ms.len(), few.len());
        }
    }

    #[test]
    fn where_nothing_was_sampled_for_minutes_no_line_leads_over_it() {
        let minutes = by_minute(&samples(&[(0.0, Some(1.0)), (600.0, Some(2.0))]), 5_000_000);
        assert_eq!(minutes.columns.cpu_percent, [Some(1.0), None, Some(2.0)]);
    }

    #[test]
    fn cards_are_kept_apart_by_the_minute() {
        let card = CardTrace {
            name: "one".into(),
            load_percent: vec![Some(10.0), Some(30.0), None, Some(50.0)],
            memory_used_bytes: vec![Some(100), None, None, Some(300)],
            power_w: vec![None; 4],
            temperature_c: vec![Some(40.0); 4],
            clock_mhz: vec![Some(1000), Some(2000), None, Some(3000)],
            throttle: vec![Some(vec!["heat".into()]), Some(vec!["heat".into(), "power".into()]), None, None],
        };
        let trace = RunTrace {
            at_ms: vec![0.0, 1000.0, 2000.0, 60_000.0],
            instance_memory_bytes: vec![Some(7), Some(9), None, None],
            cards: vec![card],
            by_minute: None,
        };
        let minutes = cards_by_minute(&trace);
        assert_eq!(minutes.at_ms, [0.0, 60_000.0]);
        let (card, range) = (&minutes.cards[0], minutes.by_minute.as_ref().unwrap());
        assert_eq!(card.load_percent, [Some(20.0), Some(50.0)]);
        assert_eq!(
            (&range.low[0].load_percent, &range.high[0].load_percent),
            (&vec![Some(10.0), Some(50.0)], &vec![Some(30.0), Some(50.0)])
        );
        assert_eq!(
            (card.memory_used_bytes[0], card.power_w[0], card.clock_mhz[0]),
            (Some(100), None, Some(1500))
        );
        assert_eq!(card.throttle, [Some(vec!["heat".to_owned(), "power".into()]), None]);
        assert_eq!((range.instance_memory_low[0], range.instance_memory_high[0]), (Some(7), Some(9)));
        assert_eq!(cards_by_minute(&minutes), minutes, "twice is once");
        assert_eq!(cards_by_minute(&RunTrace::default()), RunTrace::default());
    }
}
