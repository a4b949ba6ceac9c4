//! What the traces of a run say of it: sentences that are computed, and only where what they say was measured.

use super::{
    run::RunDetail,
    trace::{self, CardTrace, RunTrace, Window},
};
use crate::{gauge::GaugeHistory, units::gigabytes};

/// A card below this does nothing, in percent. Drivers tell the load in whole percent of a short time, and a desktop takes some.
const IDLE_PERCENT: f64 = 5.0;
/// Of the time of the requests; less idling is what lies between two samples.
const LEAST_IDLE: f64 = 0.1;
/// A load that is as much as a card does.
const FULL_PERCENT: f64 = 90.0;
/// Samples that are so far apart say nothing of the time between them. Milliseconds.
const LONGEST_STEP_MS: f64 = 3000.0;
/// The share of the requests' time that must be known.
const LEAST_KNOWN: f64 = 0.5;
/// Less swap is what any system moves about.
const LEAST_SWAP: u64 = 100_000_000;
/// Shorter is a single sample.
const LEAST_THROTTLED_S: f64 = 1.0;

/// What the traces say, the weightiest first. Empty: nothing stands out, or nothing was measured.
pub fn reasons(detail: &RunDetail) -> Vec<String> {
    let windows = trace::windows(detail.trials.iter().filter(|trial| trial.counts()));
    let of_cards = detail.cards.as_ref().map(|cards| of_cards(cards, &windows)).unwrap_or_default();
    of_cards.into_iter().chain(detail.trace.as_ref().and_then(swapped)).collect()
}

fn of_cards(cards: &RunTrace, windows: &[Window]) -> Vec<String> {
    let mut said: Vec<String> = cards.cards.iter().flat_map(|card| throttled(cards, card)).collect();
    said.extend(loads(cards, windows));
    said
}

/// The seconds between samples for which something holds at the begin of the step, and those in which it is known.
fn seconds(at_ms: &[f64], windows: Option<&[Window]>, holds: impl Fn(usize) -> Option<bool>) -> (f64, f64) {
    let (mut held, mut known) = (0.0, 0.0);
    for (row, step) in at_ms.windows(2).enumerate() {
        let (from, to) = (step[0], step[1]);
        let within = match windows {
            Some(windows) => {
                windows.iter().map(|(begin, end)| (to.min(*end) - from.max(*begin)).max(0.0)).sum()
            }
            None => to - from,
        };
        let is_near = (0.0..=LONGEST_STEP_MS).contains(&(to - from));
        if let Some(holds) = holds(row).filter(|_| is_near) {
            known += within / 1e3;
            held += if holds { within / 1e3 } else { 0.0 };
        }
    }
    (held, known)
}

/// How much of the requests' time no card worked, or whether one worked as much as it can.
fn loads(cards: &RunTrace, windows: &[Window]) -> Option<String> {
    let busiest = |row: usize| {
        cards.cards.iter().filter_map(|card| card.load_percent.get(row).copied().flatten()).reduce(f64::max)
    };
    let (idle, known) = seconds(&cards.at_ms, Some(windows), |row| Some(busiest(row)? < IDLE_PERCENT));
    let whole: f64 = windows.iter().map(|(from, to)| (to - from) / 1e3).sum();
    if known <= 0.0 || known < LEAST_KNOWN * whole {
        return None;
    }
    let share = idle / known;
    if share >= LEAST_IDLE {
        let who = if cards.cards.len() == 1 { "The GPU" } else { "All GPUs" };
        let why = if share > 0.9 { ": the processor does the work" } else { "" };
        let verb = if cards.cards.len() == 1 { "was" } else { "were" };
        return Some(format!(
            "{who} {verb} idle for {:.0} % of the time in which requests were under way{why}.",
            share * 100.0
        ));
    }
    let mean = cards.gpu_load_percent(windows)?;
    (mean >= FULL_PERCENT)
        .then(|| format!("The GPU was busy all the time ({mean:.0} % on average): it sets the pace."))
}

/// How long something held the clock of a card down, by what.
fn throttled(cards: &RunTrace, card: &CardTrace) -> Vec<String> {
    let words = |row: usize| card.throttle.get(row).and_then(Option::as_ref);
    let mut all: Vec<&String> = (0..card.throttle.len()).filter_map(words).flatten().collect();
    all.sort_unstable();
    all.dedup();
    let of_one = |what: &String| {
        let (held, _) = seconds(&cards.at_ms, None, |row| Some(words(row)?.contains(what)));
        let name = if cards.cards.len() == 1 { "the GPU" } else { card.name.as_str() };
        (held >= LEAST_THROTTLED_S)
            .then(|| format!("The clock of {name} was held down for {held:.0} s: {what}."))
    };
    all.into_iter().filter_map(of_one).collect()
}

/// How much memory went out to the disk while the run measured: the greatest rise over the least before it.
fn swapped(trace: &GaugeHistory) -> Option<String> {
    let means = trace.columns.swap_used_bytes.iter().flatten();
    let (mut least, mut rise) = (u64::MAX, 0);
    for bytes in means {
        least = least.min(*bytes);
        rise = rise.max(bytes - least);
    }
    (rise >= LEAST_SWAP)
        .then(|| format!("{} of memory went out to the disk (swap): memory was short.", gigabytes(rise)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Timestamp,
        bench::{plan::BenchPlan, run::Run, trial::Trial},
        gauge::GaugeColumns,
    };

    /// Ten seconds of requests out of twelve, a sample each half second.
    fn detail(load: impl Fn(f64) -> Option<f64>, throttle: impl Fn(f64) -> Option<Vec<String>>) -> RunDetail {
        let plan = BenchPlan::named("quick", None).unwrap();
        let run = Run::begun(1, Timestamp::UNIX_EPOCH, plan, "a".into(), "m");
        let at_ms: Vec<f64> = (0..=24).map(|row| f64::from(row) * 500.0).collect();
        let card = CardTrace {
            name: "H100".into(),
            load_percent: at_ms.iter().map(|at| load(*at)).collect(),
            throttle: at_ms.iter().map(|at| throttle(*at)).collect(),
            ..CardTrace::default()
        };
        let cards = Some(RunTrace { at_ms, cards: vec![card], ..RunTrace::default() });
        let trials = vec![Trial { begun_ms: Some(1000.0), total_ms: 10_000.0, ..Trial::default() }];
        RunDetail { run, trials, trace: None, cards }
    }

    #[test]
    fn what_is_said_was_measured() {
        let none = |_| None;
        let idle = "The GPU was idle for 60 % of the time in which requests were under way.";
        let processor = "The GPU was idle for 100 % of the time in which requests were under way: the processor does the work.";
        let full = "The GPU was busy all the time (97 % on average): it sets the pace.";
        let cases: [(&str, RunDetail, &[&str]); 6] = [
            ("idle", detail(|at| Some(if at < 7000.0 { 0.0 } else { 80.0 }), none), &[idle]),
            ("the processor's work", detail(|_| Some(1.0), none), &[processor]),
            ("full", detail(|_| Some(97.0), none), &[full]),
            ("neither", detail(|_| Some(60.0), none), &[]),
            ("not told", detail(|_| None, none), &[]),
            ("mostly not told", detail(|at| (at < 4000.0).then_some(0.0), none), &[]),
        ];
        for (what, detail, wanted) in cases {
            assert_eq!(reasons(&detail), wanted, "{what}");
        }
    }

    #[test]
    fn throttling_is_told_with_its_cause_and_its_time() {
        let hot = |at: f64| Some(if at < 4000.0 { vec!["too hot".to_owned()] } else { vec![] });
        assert_eq!(reasons(&detail(|_| None, hot)), ["The clock of the GPU was held down for 4 s: too hot."]);
        let once = |at: f64| Some(if at < 400.0 { vec!["too hot".to_owned()] } else { vec![] });
        assert_eq!(reasons(&detail(|_| None, once)), [""; 0], "a single sample");
    }

    #[test]
    fn swap_that_rises_is_told() {
        let with = |swap: &[Option<u64>]| {
            let columns = GaugeColumns { swap_used_bytes: swap.to_vec(), ..GaugeColumns::default() };
            let trace = GaugeHistory { columns, ..GaugeHistory::default() };
            reasons(&RunDetail { trace: Some(trace), cards: None, ..detail(|_| None, |_| None) })
        };
        let mb = |megabytes: u64| Some(megabytes * 1_000_000);
        assert_eq!(
            with(&[mb(500), None, mb(700), mb(900), mb(600)]),
            ["0.40 GB of memory went out to the disk (swap): memory was short."]
        );
        assert_eq!(with(&[mb(900), mb(500)]), [""; 0], "what comes back is no swapping");
        assert_eq!(with(&[mb(500), mb(550)]), [""; 0]);
        assert_eq!(with(&[None, None]), [""; 0]);
    }
}
