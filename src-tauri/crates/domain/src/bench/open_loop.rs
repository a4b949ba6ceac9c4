//! What requests that come by plan wait for, whatever the server does. A client that waits for each answer before it asks again
//! asks once while a server stands still, and so hardly sees it: that is coordinated omission (Gil Tene, How NOT to Measure
//! Latency, 2015; his wrk2 counts from the planned instant as is done here).

use super::{percentiles::Percentiles, plan::BenchPlan, trial::Trial};
use crate::units::milliseconds;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// The most requests under way at a time. What is due beyond them is sent late, and counted from when it was due.
pub const MOST_UNDER_WAY: usize = 64;
/// A request that is sent later than this after it was due is late. Milliseconds.
pub const LATE_MS: f64 = 5.0;
/// With a greater share of late requests the loop was not open: the client held requests back.
const LATE_SHARE: f64 = 0.01;
/// Less than this is hidden from nobody, in milliseconds and as a share of what is seen.
const LEAST_HIDDEN_MS: f64 = 10.0;
const LEAST_HIDDEN_SHARE: f64 = 0.1;

/// Times of requests, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Latency {
    /// To the first token.
    pub ttft_ms: Option<Percentiles>,
    /// To the end of the answer.
    pub e2e_ms: Option<Percentiles>,
}

/// An open loop as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct OpenLoop {
    /// Requests that were to be sent.
    pub planned: u32,
    /// Requests that were sent.
    pub sent: u32,
    pub failed: u32,
    /// Sent more than 5 ms after they were due.
    pub late: u32,
    pub most_late_ms: Option<f64>,
    /// More than 1 % were late: the most requests were under way already, or this machine was too busy to send.
    pub capped: bool,
    /// From the instant in which each request was due.
    pub from_due: Latency,
    /// From the instant in which each was sent.
    pub from_sent: Latency,
    /// As one client that waits for each answer would have seen of the same time: only those requests that began when the one
    /// before them had ended, from their sending.
    pub waiting: Latency,
    /// How many those are.
    pub waiting_requests: u32,
    /// What such a client does not see of the 99th percentile of first tokens, in milliseconds; 0: nothing.
    pub hidden_ms: Option<f64>,
    /// The same in a sentence.
    pub words: String,
}

impl OpenLoop {
    /// From the requests of a run. What failed has no times; it is counted.
    pub fn of(plan: &BenchPlan, trials: &[Trial]) -> Self {
        let mut measured: Vec<&Trial> = trials.iter().filter(|trial| trial.is_measured()).collect();
        measured.sort_by(|a, b| due_ms(a).total_cmp(&due_ms(b)));
        let waiting = waiting(&measured);
        let lateness = || measured.iter().filter_map(|trial| trial.late_ms);
        let late = lateness().filter(|late| *late > LATE_MS).count();
        let mut found = Self {
            planned: plan.trials,
            sent: measured.len() as u32,
            failed: measured.iter().filter(|trial| trial.flaw.is_some()).count() as u32,
            late: late as u32,
            most_late_ms: lateness().reduce(f64::max),
            capped: late as f64 > LATE_SHARE * measured.len() as f64,
            from_due: Latency::of(&measured, Trial::late_or_in_time),
            from_sent: Latency::of(&measured, |_| 0.0),
            waiting: Latency::of(&waiting, |_| 0.0),
            waiting_requests: waiting.len() as u32,
            hidden_ms: None,
            words: String::new(),
        };
        let p99 = |latency: &Latency| latency.ttft_ms.map(|ttft| ttft.p99);
        let seen = p99(&found.from_due).zip(p99(&found.waiting));
        found.hidden_ms = seen.map(|(due, waiting)| (due - waiting).max(0.0));
        found.words = match seen {
            Some((due, waiting)) => found.said(due, waiting),
            None => "No answer counts, so there are no times.".into(),
        };
        found
    }

    fn said(&self, due: f64, waiting: f64) -> String {
        let hidden = due - waiting;
        if hidden < LEAST_HIDDEN_MS || hidden < LEAST_HIDDEN_SHARE * due {
            return format!(
                "99 of 100 first tokens came within {}, and a client that waits for each answer would have \
                 seen no less: nothing is hidden from it.",
                milliseconds(due)
            );
        }
        format!(
            "99 of 100 first tokens came within {} of the planned moment. A client that waits for each answer would have \
             sent {} of these {} requests and seen {}: {} are hidden from it.",
            milliseconds(due),
            self.waiting_requests,
            self.sent,
            milliseconds(waiting),
            milliseconds(hidden)
        )
    }
}

impl Latency {
    fn of(trials: &[&Trial], more: impl Fn(&Trial) -> f64) -> Self {
        let counted = || trials.iter().filter(|trial| trial.counts());
        Self {
            ttft_ms: Percentiles::of(counted().filter_map(|trial| Some(trial.ttft_ms? + more(trial)))),
            e2e_ms: Percentiles::of(counted().map(|trial| trial.total_ms + more(trial))),
        }
    }
}

fn due_ms(trial: &Trial) -> f64 {
    trial.begun_ms.unwrap_or(0.0) - trial.late_or_in_time()
}

/// Those that one client would have sent that waits for each answer: the next is the first that begins when the last has ended.
fn waiting<'a>(in_order: &[&'a Trial]) -> Vec<&'a Trial> {
    let mut free_at = f64::NEG_INFINITY;
    let mut taken = vec![];
    for trial in in_order {
        let Some(begun) = trial.begun_ms.filter(|begun| *begun >= free_at) else { continue };
        free_at = begun + trial.total_ms;
        taken.push(*trial);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::arrivals::{ArrivalPattern, Arrivals};

    /// A server that gives its first token after 20 ms and ends after 40, whatever comes beside it, and that stands still from one
    /// instant to another.
    fn served(rate: f64, seconds: u32, still: (f64, f64), places: usize) -> (BenchPlan, Vec<Trial>) {
        let arrivals = Arrivals::new(rate, Some(seconds), ArrivalPattern::Constant, 1).unwrap();
        let mut under_way: Vec<f64> = vec![];
        let trials = (0..).zip(arrivals.due_ms()).map(|(seq, due)| {
            under_way.retain(|ends| *ends > due);
            under_way.sort_by(f64::total_cmp);
            // With all places taken it is sent when the first of them is free.
            let sent = if under_way.len() < places { due } else { under_way[under_way.len() - places] };
            let (from, to) = still;
            let begins = if (from..to).contains(&sent) { to } else { sent };
            under_way.push(begins + 40.0);
            Trial {
                seq,
                begun_ms: Some(sent),
                late_ms: Some(sent - due),
                ttft_ms: Some(begins + 20.0 - sent),
                total_ms: begins + 40.0 - sent,
                output_tokens: Some(8),
                ..Trial::default()
            }
        });
        let trials = trials.collect();
        (BenchPlan::open(arrivals), trials)
    }

    #[test]
    fn a_second_in_which_the_server_stands_still_is_hidden_from_a_client_that_waits() {
        for (what, rate, still, hidden) in [
            ("a second at 20/s", 20.0, (5000.0, 6000.0), 600.0..1000.0),
            ("a second at 10/s", 10.0, (5000.0, 6000.0), 600.0..1000.0),
            ("two seconds at 10/s", 10.0, (9000.0, 11_000.0), 1500.0..2000.0),
            ("no stall", 20.0, (0.0, 0.0), 0.0..0.1),
            ("a tenth of a second", 20.0, (5000.0, 5100.0), 0.0..0.1),
        ] {
            let (plan, trials) = served(rate, 30, still, 64);
            let found = OpenLoop::of(&plan, &trials);
            assert!(hidden.contains(&found.hidden_ms.unwrap()), "{what}: {found:#?}");
            assert_eq!((found.planned, found.sent, found.late), (plan.trials, plan.trials, 0), "{what}");
            assert_eq!(found.words.contains("are hidden"), hidden.end > 1.0, "{what}: {}", found.words);
            let waiting = found.waiting.ttft_ms.unwrap();
            assert!(waiting.p99 < 25.0, "{what}: without the correction it does not show: {waiting:?}");
            assert!(found.waiting_requests < found.sent || still.0 == still.1);
        }
    }

    #[test]
    fn what_could_not_be_sent_in_time_counts_from_its_planned_moment() {
        // Four at a time: in a second that the server stands still, sixteen of twenty are sent late.
        let (plan, trials) = served(20.0, 30, (5000.0, 6000.0), 4);
        let found = OpenLoop::of(&plan, &trials);
        assert!(found.capped && found.late > 10, "{found:#?}");
        let p99 = |latency: &Latency| latency.ttft_ms.unwrap().p99;
        assert!(p99(&found.from_due) > 600.0 && p99(&found.from_sent) < p99(&found.from_due), "{found:#?}");
        assert!(found.most_late_ms.unwrap() > 600.0);
    }

    #[test]
    fn failures_are_counted_and_have_no_times() {
        let (plan, mut trials) = served(10.0, 5, (0.0, 0.0), 64);
        for trial in &mut trials {
            trial.flaw = Some("failed: no".into());
        }
        let found = OpenLoop::of(&plan, &trials);
        assert_eq!((found.failed, found.from_due.ttft_ms, found.hidden_ms), (50, None, None));
        assert!(found.words.contains("No answer counts"));
        let nothing = OpenLoop::of(&plan, &[]);
        assert_eq!((nothing.planned, nothing.sent, nothing.capped), (50, 0, false));
    }
}
