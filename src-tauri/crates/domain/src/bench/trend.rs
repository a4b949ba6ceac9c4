//! How one figure of a model went over its runs, and whether it grew worse.

use super::{
    change_point::{ChangePoint, change_points},
    regression::{Watch, watch},
    run::Fingerprint,
    series::{Series, SeriesMetric, SeriesPoint, SeriesRun, Spread},
};
use crate::{Timestamp, server::ServerId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use ts_rs::TS;

/// What tells one machine from another in a fingerprint.
const OF_MACHINE: [&str; 5] = ["machine", "chip", "architecture", "memory_bytes", "gpus"];

/// One figure of one model on one server under one plan, oldest run first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Trend {
    pub server: ServerId,
    pub model: String,
    pub plan: String,
    pub metric: SeriesMetric,
    pub points: Vec<TrendPoint>,
    pub watch: Watch,
    pub change_points: Vec<ChangePoint>,
}

/// One run of a trend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct TrendPoint {
    pub run_id: i64,
    #[ts(type = "string")]
    pub at: Timestamp,
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Trend {
    /// Of a series. Only runs count that were measured on the machine of the newest. `accepted`: runs with which a new level
    /// began that is taken for the right one. `None`: no run has this figure.
    pub fn of(series: &Series, metric: SeriesMetric, accepted: &[i64]) -> Option<Self> {
        let newest = &series.runs.first()?.fingerprint;
        let of_machine = |fingerprint: &Arc<Fingerprint>| OF_MACHINE.map(|key| fingerprint.get(key).cloned());
        let machine = of_machine(newest);
        let is_here = |run: &&SeriesRun| {
            Arc::ptr_eq(&run.fingerprint, newest) || of_machine(&run.fingerprint) == machine
        };
        let figures: Vec<(&SeriesRun, Spread)> = series
            .runs
            .iter()
            .rev()
            .filter(is_here)
            .filter_map(|run| Some((run, run.figures.get(metric)?)))
            .collect();
        let points: Vec<SeriesPoint> = figures
            .iter()
            .map(|(run, figure)| SeriesPoint {
                run_id: run.run_id,
                at: run.at,
                median: figure.median,
                fingerprint: Arc::clone(&run.fingerprint),
            })
            .collect();
        if points.is_empty() {
            return None;
        }
        let point = |(run, figure): &(&SeriesRun, Spread)| TrendPoint {
            run_id: run.run_id,
            at: run.at,
            median: figure.median,
            low: figure.low,
            high: figure.high,
        };
        Some(Self {
            server: series.server.clone(),
            model: series.model.clone(),
            plan: series.plan.clone(),
            metric,
            points: figures.iter().map(point).collect(),
            watch: watch(&points, metric, accepted),
            change_points: change_points(&points, metric),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            plan::BenchPlan,
            quiet::{Disturbance, DisturbedBy},
            regression::WatchState,
            run::{Run, RunState},
            stats::summarize,
        },
        *,
    };

    fn run(run_id: i64, decode: f64) -> Run {
        let plan = BenchPlan::named("quick", None).unwrap();
        let at = Timestamp::from_millisecond(run_id * 86_400_000).unwrap();
        let mut run = Run::begun(run_id, at, plan, "a".into(), "m");
        run.state = RunState::Done;
        run.decode_tok_s = summarize(&[decode; 7], "client");
        let version = if run_id <= 20 { "1" } else { "2" };
        run.fingerprint.insert("server_version".into(), version.into());
        run
    }

    fn series(runs: &[Run]) -> Series {
        let runs = runs.iter().filter_map(SeriesRun::of).collect();
        Series { server: "a".into(), model: "m".into(), plan: "quick".into(), runs }
    }

    /// Thirty runs, newest first; the last ten are slower by 10 %.
    fn runs() -> Vec<Run> {
        let wobble = |n: i64| 1.0 + 0.004 * f64::from((n * 7 % 5) as i32 - 2);
        (1..=30).rev().map(|n| run(n, wobble(n) * if n <= 20 { 100.0 } else { 90.0 })).collect()
    }

    #[test]
    fn a_model_that_grew_slower_with_an_update_is_told_with_it() {
        let trend = Trend::of(&series(&runs()), SeriesMetric::DecodeTokS, &[]).unwrap();
        assert_eq!((trend.points.len(), trend.points[0].run_id), (30, 1), "oldest first");
        assert_eq!((trend.watch.state, trend.watch.since_run), (WatchState::Confirmed, Some(21)));
        assert_eq!(trend.change_points.iter().map(|one| one.run_id).collect::<Vec<_>>(), [21]);
        assert_eq!(trend.change_points[0].changed[0].after, "2");
        let accepted = Trend::of(&series(&runs()), SeriesMetric::DecodeTokS, &[21]).unwrap();
        assert_eq!(accepted.watch.state, WatchState::Steady, "{:?}", accepted.watch);
        assert_eq!(Trend::of(&series(&runs()), SeriesMetric::TtftMs, &[]), None, "nobody told that");
        assert_eq!(Trend::of(&series(&[]), SeriesMetric::DecodeTokS, &[]), None);
    }

    #[test]
    fn memory_is_that_of_cards_and_beside_them() {
        let last = |change: fn(&mut Run)| {
            let mut runs = runs();
            change(&mut runs[0]);
            Trend::of(&series(&runs), SeriesMetric::MemoryBytes, &[]).map(|trend| trend.points[0].median)
        };
        assert_eq!(last(|_| {}), None, "absent is not zero");
        assert_eq!(last(|run| run.peak_memory_bytes = Some(3)), Some(3.0));
        assert_eq!(
            last(|run| (run.peak_memory_bytes, run.peak_gpu_memory_bytes) = (Some(3), Some(4))),
            Some(7.0)
        );
    }

    #[test]
    fn runs_that_say_nothing_of_this_machine_s_model_do_not_count() {
        let of = |change: fn(&mut Run)| {
            let mut runs = runs();
            runs[3..].iter_mut().step_by(2).for_each(change);
            Trend::of(&series(&runs), SeriesMetric::DecodeTokS, &[]).unwrap().points.len()
        };
        assert_eq!(of(|run| run.state = RunState::Cancelled), 16);
        assert_eq!(of(|run| run.state = RunState::CutOff), 16);
        assert_eq!(of(|run| run.decode_tok_s = None), 16);
        assert_eq!(of(|run| drop(run.fingerprint.insert("chip".into(), "another".into()))), 16);
        let disturbed = |run: &mut Run| {
            run.disturbed.push(Disturbance {
                what: DisturbedBy::Processor,
                name: "make".into(),
                pid: None,
                percent: None,
                seconds: 1.0,
            });
        };
        assert_eq!(of(disturbed), 16);
    }
}
