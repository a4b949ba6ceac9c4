//! What the machine showed while a run measured, card by card, and what that says of its requests.

use super::trial::Trial;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// A row is kept for each sample up to so many: an hour at five a second.
pub const MOST_ROWS: usize = 18_000;
/// Between samples that lie further apart nothing is known. Milliseconds.
const LONGEST_STEP_MS: f64 = 3000.0;

/// Samples on the run's own time axis; columns of equal length, `None` where nothing was told.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct RunTrace {
    /// Milliseconds since the begin of the run.
    pub at_ms: Vec<f64>,
    /// Of the process that holds the instance, or of its server's process tree.
    pub instance_memory_bytes: Vec<Option<u64>>,
    pub cards: Vec<CardTrace>,
    /// Of an old run, whose rows are the means of minutes: their least and greatest samples.
    #[serde(default)]
    pub by_minute: Option<Box<MinuteRange>>,
}

/// Least and greatest samples of the minutes of a trace, row by row.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct MinuteRange {
    pub instance_memory_low: Vec<Option<u64>>,
    pub instance_memory_high: Vec<Option<u64>>,
    /// Without what held their clocks down.
    pub low: Vec<CardTrace>,
    pub high: Vec<CardTrace>,
}

/// One card of a trace.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct CardTrace {
    pub name: String,
    pub load_percent: Vec<Option<f64>>,
    pub memory_used_bytes: Vec<Option<u64>>,
    pub power_w: Vec<Option<f64>>,
    pub temperature_c: Vec<Option<f64>>,
    pub clock_mhz: Vec<Option<u32>>,
    /// What held its clock down, in words.
    pub throttle: Vec<Option<Vec<String>>>,
}

/// A stretch of a run's time, in milliseconds since its begin.
pub type Window = (f64, f64);

/// The time in which any of these requests was under way, as windows that do not overlap.
pub fn windows<'a>(trials: impl Iterator<Item = &'a Trial>) -> Vec<Window> {
    let window = |trial: &Trial| trial.begun_ms.map(|begun| (begun, begun + trial.total_ms));
    let mut windows: Vec<Window> = trials.filter_map(window).collect();
    windows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut apart: Vec<Window> = vec![];
    for (from, to) in windows {
        match apart.last_mut().filter(|last| from <= last.1) {
            Some(last) => last.1 = last.1.max(to),
            None => apart.push((from, to)),
        }
    }
    apart
}

impl RunTrace {
    /// Energy of all cards within windows, in joules: the trapezoids between samples. `None`: no card tells its power, or no
    /// two samples lie in reach.
    pub fn energy_j(&self, windows: &[Window]) -> Option<f64> {
        let power = |row: usize| sum(self.cards.iter().map(|card| *card.power_w.get(row)?));
        self.integral(windows, power).map(|(sum, _)| sum)
    }

    /// Mean load of the busiest card within windows, 0-100.
    pub fn gpu_load_percent(&self, windows: &[Window]) -> Option<f64> {
        let load = |row: usize| {
            let loads = self.cards.iter().filter_map(|card| *card.load_percent.get(row)?);
            loads.reduce(f64::max)
        };
        self.mean(windows, load)
    }

    /// Mean power of all cards together within windows, in watts.
    pub fn power_w(&self, windows: &[Window]) -> Option<f64> {
        self.mean(windows, |row| sum(self.cards.iter().map(|card| *card.power_w.get(row)?)))
    }

    /// Highest memory of the instance within windows.
    pub fn memory_bytes(&self, windows: &[Window]) -> Option<u64> {
        let within = |at: f64| windows.iter().any(|(from, to)| (*from..=*to).contains(&at));
        let rows = self.at_ms.iter().zip(&self.instance_memory_bytes);
        rows.filter(|(at, _)| within(**at)).filter_map(|(_, bytes)| *bytes).max()
    }

    fn mean(&self, windows: &[Window], value: impl Fn(usize) -> Option<f64>) -> Option<f64> {
        self.integral(windows, value).filter(|(_, seconds)| *seconds > 0.0).map(|(sum, s)| sum / s)
    }

    /// The integral of a value over windows and the seconds in which it is known.
    fn integral(&self, windows: &[Window], value: impl Fn(usize) -> Option<f64>) -> Option<(f64, f64)> {
        let (mut sum, mut known_s) = (0.0, 0.0);
        for row in 1..self.at_ms.len() {
            let (begin, end) = (self.at_ms[row - 1], self.at_ms[row]);
            let Some((first, last)) = value(row - 1).zip(value(row)) else { continue };
            if !(0.0..=LONGEST_STEP_MS).contains(&(end - begin)) || end <= begin {
                continue;
            }
            let at = |ms: f64| first + (last - first) * (ms - begin) / (end - begin);
            for (from, to) in windows {
                let (from, to) = (from.max(begin), to.min(end));
                if to > from {
                    sum += (at(from) + at(to)) / 2.0 * (to - from) / 1000.0;
                    known_s += (to - from) / 1000.0;
                }
            }
        }
        (known_s > 0.0).then_some((sum, known_s))
    }
}

fn sum(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    values.flatten().reduce(|sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(power: &[Option<f64>]) -> RunTrace {
        RunTrace {
            at_ms: (0..power.len()).map(|n| n as f64 * 1000.0).collect(),
            instance_memory_bytes: (0..power.len()).map(|n| Some(n as u64 * 10)).collect(),
            cards: vec![CardTrace {
                power_w: power.to_vec(),
                load_percent: power.iter().map(|p| p.map(|p| p / 2.0)).collect(),
                ..CardTrace::default()
            }],
            by_minute: None,
        }
    }

    #[test]
    fn energy_is_power_by_time_where_both_are_known() {
        let steady = trace(&[Some(100.0); 11]);
        assert_eq!(steady.energy_j(&[(0.0, 10_000.0)]), Some(1000.0));
        assert_eq!(steady.energy_j(&[(500.0, 1500.0), (3000.0, 3500.0)]), Some(150.0));
        assert_eq!(steady.energy_j(&[]), None);
        let rising = trace(&[Some(0.0), Some(100.0)]);
        assert_eq!(rising.energy_j(&[(0.0, 1000.0)]), Some(50.0));
        assert_eq!(rising.energy_j(&[(500.0, 1000.0)]), Some(37.5));
        let holes = trace(&[Some(100.0), None, Some(100.0), Some(100.0)]);
        assert_eq!(holes.energy_j(&[(0.0, 3000.0)]), Some(100.0));
        assert_eq!(holes.power_w(&[(0.0, 3000.0)]), Some(100.0), "a hole is no zero");
        assert_eq!(trace(&[None, None]).energy_j(&[(0.0, 1000.0)]), None);
        assert_eq!(steady.gpu_load_percent(&[(0.0, 9000.0)]), Some(50.0));
        assert_eq!(steady.memory_bytes(&[(2500.0, 4500.0)]), Some(40));
        let mut asleep = trace(&[Some(100.0); 2]);
        asleep.at_ms[1] = 60_000.0;
        assert_eq!(asleep.energy_j(&[(0.0, 60_000.0)]), None, "nothing is known of a minute without samples");
    }

    #[test]
    fn requests_at_a_time_are_one_stretch() {
        let trial =
            |begun: f64, total: f64| Trial { begun_ms: Some(begun), total_ms: total, ..Trial::default() };
        let trials = [trial(5.0, 5.0), trial(0.0, 3.0), trial(2.0, 2.0), trial(20.0, 1.0)];
        assert_eq!(windows(trials.iter()), [(0.0, 4.0), (5.0, 10.0), (20.0, 21.0)]);
        assert_eq!(windows([Trial::default()].iter()), []);
    }
}
