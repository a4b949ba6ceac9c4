//! How long a plan takes, said before it is begun, from what the last run of the model showed.

use super::{plan::BenchPlan, run::Run, warmup::MIN_WARMUPS};

/// A line that a tool has found has so many tokens where plain words have one: signs are tokens of their own.
const TOKENS_OF_A_TOOL_S_WORD: f64 = 1.6;

/// Seconds from and to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    pub low_s: f64,
    pub high_s: f64,
}

/// How fast a model reads and answers, as a run has shown.
struct Pace {
    /// Seconds for a word of the prompt.
    word_s: f64,
    /// Seconds for a token of the answer.
    token_s: f64,
    warmups: f64,
}

impl Pace {
    /// `None`: the run has no rates, or is of a plan whose times are of other things.
    fn of(run: &Run) -> Option<Self> {
        let decode = run.decode_tok_s.as_ref().map(|decode| decode.median).filter(|rate| *rate > 0.0)?;
        let ttft_ms = run.ttft_ms.as_ref().filter(|_| run.plan.repeats() && !run.plan.is_sweep())?.median;
        Some(Self {
            word_s: ttft_ms / 1000.0 / f64::from(run.plan.prompt_words.max(1)),
            token_s: 1.0 / decode,
            warmups: f64::from(run.warmups.max(MIN_WARMUPS)),
        })
    }

    fn request_s(&self, words: f64, tokens: u32) -> f64 {
        self.word_s * words + self.token_s * f64::from(tokens)
    }
}

/// How long a plan takes without waiting for a quiet machine or loading. `last`: a run of each side, as far as there is one.
/// `None`: nothing is known. Of an open loop its time is known in any case.
pub fn expected(plan: &BenchPlan, last: &[&Run]) -> Option<Expected> {
    let paces: Option<Vec<Pace>> = last.iter().map(|run| Pace::of(run)).collect();
    let paces = paces.filter(|paces| !paces.is_empty());
    if let Some(arrivals) = &plan.arrivals {
        let warm = paces.as_deref().map_or(0.0, |paces| warmups_s(plan, paces));
        let all = f64::from(arrivals.seconds) + warm;
        return Some(Expected { low_s: all, high_s: all });
    }
    if plan.is_load() {
        return of_loads(plan, last.first()?);
    }
    let paces = paces?;
    let (words, tokens) = (f64::from(plan.prompt_words), plan.max_tokens);
    let of_all =
        |seconds: &dyn Fn(&Pace) -> f64| warmups_s(plan, &paces) + paces.iter().map(seconds).sum::<f64>();
    let n = f64::from(plan.trials);
    let (low_s, high_s) = match (plan.turns, &plan.replay) {
        (Some(turns), _) => {
            let whole = |turn: u32| words * TOKENS_OF_A_TOOL_S_WORD * f64::from(turn);
            // Kept, a turn is read alone; else all of them are.
            let cold = |pace: &Pace| (1..=turns).map(|turn| pace.request_s(whole(turn), tokens)).sum::<f64>();
            let kept = |pace: &Pace| f64::from(turns) * pace.request_s(whole(1), tokens);
            (of_all(&|pace| n * (cold(pace) + kept(pace))), of_all(&|pace| 2.0 * n * cold(pace)))
        }
        // Nobody knows where the model ends its answers.
        (_, Some(_)) => {
            let reading = of_all(&|pace| n * pace.request_s(words, 1));
            (reading, of_all(&|pace| n * pace.request_s(words, tokens)))
        }
        _ if plan.is_copies() => {
            // Each copy has the machine to itself, or all share it; what loading them takes is not in it.
            let rounds = |share: &dyn Fn(u32) -> f64| {
                let requests = plan.concurrency.iter().map(|level| (n + 1.0) * share(*level)).sum::<f64>();
                of_all(&|pace| requests * pace.request_s(words, tokens))
            };
            (rounds(&|_| 1.0), rounds(&f64::from))
        }
        _ if plan.is_sweep() => {
            // Answers under way at a time share the machine (then all take as long as one after the other) or do not.
            let rounds = |share: &dyn Fn(u32) -> f64| {
                let levels = plan.concurrency.iter().map(|level| share(*level)).sum::<f64>() + n;
                of_all(&|pace| levels * pace.request_s(words, tokens))
            };
            let at = |level: u32| f64::from(plan.requests_at(level));
            (rounds(&|level| at(level) / f64::from(level.max(1))), rounds(&at))
        }
        _ => {
            let all = of_all(&|pace| n * pace.request_s(words, tokens));
            (all, all)
        }
    };
    Some(Expected { low_s, high_s })
}

/// As the loads of an earlier run of the same plan took. `None`: there is none.
fn of_loads(plan: &BenchPlan, last: &Run) -> Option<Expected> {
    let kinds = last.loads.as_ref()?.kinds.iter().filter_map(|kind| {
        let requests_ms = kind.ttft_cold_ms.as_ref()?.median + kind.ttft_warm_ms.as_ref()?.median;
        Some(kind.load_s.as_ref()?.median + requests_ms / 1000.0)
    });
    let all = kinds.sum::<f64>() * f64::from(plan.trials);
    (all > 0.0).then_some(Expected { low_s: all, high_s: all })
}

fn warmups_s(plan: &BenchPlan, paces: &[Pace]) -> f64 {
    let words = f64::from(plan.prompt_words);
    paces.iter().map(|pace| pace.warmups * pace.request_s(words, plan.max_tokens)).sum()
}

impl Expected {
    /// "about 40 s", "about 2 min", "40 s to 3 min".
    pub fn in_words(&self) -> String {
        let coarse = |seconds: f64| match seconds {
            short if short < 52.0 => format!("{:.0} s", (short / 5.0).round().max(1.0) * 5.0),
            long => format!("{:.0} min", (long / 60.0).round().max(1.0)),
        };
        let (low, high) = (coarse(self.low_s), coarse(self.high_s));
        if low == high { format!("about {high}") } else { format!("{low} to {high}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Timestamp,
        bench::{
            PlanAsked,
            load::{LoadFrom, LoadTrial, Loads},
            stats,
            trial::Trial,
        },
    };

    /// Ten quick requests with a first token after 64 ms, a millisecond for each word, and 100 tokens by the second.
    fn last(name: &str) -> Run {
        let plan = BenchPlan::named(name, None).unwrap();
        let mut run = Run::begun(1, Timestamp::UNIX_EPOCH, plan, "a".into(), "m");
        run.ttft_ms = stats::summarize(&[64.0; 10], "client");
        run.decode_tok_s = stats::summarize(&[100.0; 10], "client");
        run.warmups = 3;
        run
    }

    #[test]
    fn the_time_of_each_plan_follows_from_what_the_last_run_showed() {
        let base = PlanAsked::default();
        let quick = last("quick");
        let one = 0.064 + 0.64;
        let agent_turn = |turn: f64| 0.001 * 200.0 * 1.6 * turn + 0.32;
        for (asked, low, high) in [
            (base.clone(), 13.0 * one, 13.0 * one),
            (PlanAsked { trials: Some(20), ..base.clone() }, 23.0 * one, 23.0 * one),
            (
                PlanAsked { name: Some("standard"), ..base.clone() },
                13.0 * (0.384 + 1.28),
                13.0 * (0.384 + 1.28),
            ),
            // Two levels of 6 and 8 requests, and 6 alone again.
            (
                PlanAsked { name: Some("sweep"), up_to: Some(2), ..base.clone() },
                (3.0 + 6.0 + 4.0 + 6.0) * one,
                23.0 * one,
            ),
            // Six requests of each copy: all at once, or one after the other.
            (PlanAsked { name: Some("copies"), up_to: Some(2), ..base.clone() }, 15.0 * one, 21.0 * one),
            (
                PlanAsked { rate_per_s: Some(2.0), seconds: Some(30), ..base.clone() },
                30.0 + 3.0 * one,
                30.0 + 3.0 * one,
            ),
            (
                PlanAsked { turns: Some(2), ..base.clone() },
                3.0 * 0.52 + 3.0 * (3.0 * agent_turn(1.0) + agent_turn(2.0)),
                3.0 * 0.52 + 6.0 * (agent_turn(1.0) + agent_turn(2.0)),
            ),
        ] {
            let found = expected(&asked.plan(1, 300).unwrap(), &[&quick]).unwrap();
            assert!(
                (found.low_s - low).abs() < 1e-9 && (found.high_s - high).abs() < 1e-9,
                "{asked:?}: {found:?}"
            );
        }
        let ab = PlanAsked { against: true, ..base }.plan(1, 300).unwrap();
        assert!((expected(&ab, &[&quick, &quick]).unwrap().low_s - 26.0 * one).abs() < 1e-9);
    }

    #[test]
    fn only_a_run_of_loads_tells_how_long_loads_take() {
        let plan = BenchPlan::named("load", None).unwrap();
        let load = |from: LoadFrom, load_s: f64| LoadTrial {
            from,
            cached_share: None,
            load_s,
            ttft_cold_ms: Some(700.0),
            ttft_warm_ms: Some(300.0),
            flaw: None,
        };
        let trials = vec![load(LoadFrom::PageCache, 2.0), load(LoadFrom::Disk, 6.0)];
        let known = Run { loads: Some(Loads::of(trials, None, None)), ..last("load") };
        // Five loads from each place, each with a second for its two first tokens.
        assert_eq!(expected(&plan, &[&known]), Some(Expected { low_s: 50.0, high_s: 50.0 }));
        assert_eq!(expected(&plan, &[&last("quick")]), None);
        assert_eq!(expected(&BenchPlan::named("quick", None).unwrap(), &[&known]), None);
    }

    #[test]
    fn nothing_is_made_up() {
        let plan = BenchPlan::named("quick", None).unwrap();
        let bare = Run { decode_tok_s: None, ..last("quick") };
        assert_eq!(expected(&plan, &[]), None);
        assert_eq!(expected(&plan, &[&bare]), None);
        assert_eq!(expected(&plan, &[&last("sweep")]), None);
        let ab = BenchPlan::named("ab", None).unwrap();
        assert_eq!(expected(&ab, &[&last("quick"), &bare]), None);
        // The time of an open loop is what was asked for.
        let open = PlanAsked { rate_per_s: Some(1.0), ..PlanAsked::default() }.plan(1, 300).unwrap();
        assert_eq!(expected(&open, &[]), Some(Expected { low_s: 60.0, high_s: 60.0 }));
        let mut replayed = last("quick");
        replayed.sum_up(&[Trial { ttft_ms: Some(1.0), ..Trial::default() }]);
        assert_eq!(expected(&plan, &[&replayed]), None, "one without rates");
    }

    #[test]
    fn times_are_said_coarsely() {
        for (low_s, high_s, words) in [
            (2.0, 2.0, "about 5 s"),
            (31.0, 33.0, "30 s to 35 s"),
            (55.0, 58.0, "about 1 min"),
            (40.0, 200.0, "40 s to 3 min"),
            (61.0, 290.0, "1 min to 5 min"),
        ] {
            assert_eq!(Expected { low_s, high_s }.in_words(), words);
        }
    }
}
