//! From what a client says to the plan that is meant.

use super::{
    arrivals::{ArrivalPattern, Arrivals},
    limits::{beyond, needs},
    plan::{
        BUDGET_S, BenchPlan, MAX_CONCURRENCY, MAX_COPIES, MAX_QUIET_WAIT_S, SLO_MS, TURNS, WhenDisturbed,
        copies_to, levels,
    },
    replay::ReplayPrompt,
};
use crate::error::ApiError;

/// What a client says of a plan; `None`: as the plan has it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PlanAsked<'a> {
    pub name: Option<&'a str>,
    /// Whether there is another side.
    pub against: bool,
    pub trials: Option<u32>,
    pub up_to: Option<u32>,
    pub rate_per_s: Option<f64>,
    pub seconds: Option<u32>,
    pub pattern: Option<ArrivalPattern>,
    pub turns: Option<u32>,
    /// The prompts of a file and its digest.
    pub replay: Option<(&'a [ReplayPrompt], &'a str)>,
    pub when_disturbed: Option<WhenDisturbed>,
    pub quiet_wait_s: Option<u32>,
    pub budget_s: Option<u32>,
    pub slo_ms: Option<u32>,
}

impl PlanAsked<'_> {
    /// The plan that is meant. `seed`: for the arrivals of an open loop; `slo_ms`: of sweeps that do not say it. Errors: invalid_call, with the limit that was passed or
    /// what does not belong together.
    pub fn plan(&self, seed: u32, slo_ms: u32) -> Result<BenchPlan, ApiError> {
        let usual = match () {
            () if self.against => "ab",
            () if self.replay.is_some() => "replay",
            () if self.rate_per_s.is_some() => "open",
            () if self.turns.is_some() => "agent",
            () => "quick",
        };
        let name = self.name.unwrap_or(usual);
        self.wants_nothing_foreign(name)?;
        let mut plan = match (name, self.rate_per_s, self.replay) {
            ("open", Some(rate), _) => {
                let pattern = self.pattern.unwrap_or_default();
                BenchPlan::open(Arrivals::new(rate, self.seconds, pattern, seed)?)
            }
            ("replay", _, Some((prompts, digest))) => BenchPlan::replay(prompts, digest.to_owned()),
            _ => BenchPlan::named(name, self.trials)?,
        };
        if let Some(up_to) = self.up_to {
            let (whose, what, most) = match plan.is_copies() {
                true => ("The plan copies", "copies", MAX_COPIES),
                false => ("A sweep", "requests at a time", MAX_CONCURRENCY),
            };
            if !(1..=most).contains(&up_to) {
                return Err(beyond(whose, 1, most, what, up_to));
            }
            plan.concurrency = if plan.is_copies() { copies_to(up_to) } else { levels(up_to) };
        }
        if let Some(turns) = self.turns {
            let (least, most) = TURNS;
            if !(least..=most).contains(&turns) {
                return Err(beyond("The plan agent", least, most, "turns", turns));
            }
            plan.turns = Some(turns);
        }
        if let Some(asked) = self.slo_ms {
            let (least, most) = SLO_MS;
            if !(least..=most).contains(&asked) {
                return Err(beyond("A sweep", least, most, "milliseconds to the first token", asked));
            }
        }
        plan.slo_ms = plan.is_sweep().then(|| self.slo_ms.unwrap_or(slo_ms));
        plan.when_disturbed = self.when_disturbed.unwrap_or_default();
        if let Some(seconds) = self.quiet_wait_s {
            if seconds > MAX_QUIET_WAIT_S {
                return Err(beyond("A quiet machine", 0, MAX_QUIET_WAIT_S, "seconds of waiting", seconds));
            }
            plan.quiet_wait_s = seconds;
        }
        if let Some(seconds) = self.budget_s {
            let (least, most) = BUDGET_S;
            if !(least..=most).contains(&seconds) {
                return Err(beyond("A run", least, most, "seconds of measuring", seconds));
            }
            plan.budget_s = Some(seconds);
        }
        Ok(plan)
    }

    fn wants_nothing_foreign(&self, name: &str) -> Result<(), ApiError> {
        if self.up_to.is_some() && !matches!(name, "sweep" | "copies") {
            return Err(needs(
                "Only sweep and copies have levels to go up to.",
                "pilothouse sweep --up-to N, or pilothouse bench MODEL --plan copies --up-to N",
            ));
        }
        if self.slo_ms.is_some() && name != "sweep" {
            return Err(needs(
                "Only a sweep counts first tokens that are in time.",
                "pilothouse sweep --slo-ms N",
            ));
        }
        if self.budget_s.is_some() && matches!(name, "load" | "copies" | "open" | "agent" | "replay") {
            return Err(needs(
                &format!("The plan {name} says itself how long it takes, and has no budget."),
                "Seconds of an open loop: --seconds S. Turns of a conversation: --turns N.",
            ));
        }
        for (is_said, of, text, hint) in [
            (
                self.against,
                "ab",
                "The plan ab, and no other, has two sides.",
                "Name the other side: pilothouse bench MODEL --against OTHER",
            ),
            (
                self.rate_per_s.is_some() || self.seconds.is_some() || self.pattern.is_some(),
                "open",
                "Rate, seconds and arrivals are of an open loop only.",
                "pilothouse bench MODEL --rate R --seconds S",
            ),
            (
                self.turns.is_some(),
                "agent",
                "Only the plan agent has turns.",
                "pilothouse bench MODEL --plan agent --turns N",
            ),
            (
                self.replay.is_some(),
                "replay",
                "Prompts of a file are of a replay only.",
                "pilothouse bench MODEL --replay FILE",
            ),
        ] {
            // A comparison without its other side is as wrong as another side without a comparison.
            if is_said && name != of || of == "ab" && name == of && !is_said {
                return Err(needs(text, hint));
            }
        }
        match (name, self.trials) {
            ("open", Some(_)) => Err(needs(
                "The rate and the seconds of an open loop say how many requests it has.",
                "Leave --trials out.",
            )),
            ("replay", Some(_)) => {
                Err(needs("A replay asks each prompt of its file once.", "Leave --trials out."))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn what_is_beyond_a_limit_is_refused_with_the_limit() {
        let prompts = [ReplayPrompt { text: "Why?".into(), max_tokens: 8 }];
        let base = PlanAsked::default();
        for (asked, words) in [
            (
                PlanAsked { trials: Some(1000), ..base.clone() },
                "The plan quick takes 5 to 100 trials, not 1000.",
            ),
            (
                PlanAsked { name: Some("standard"), trials: Some(101), ..base.clone() },
                "5 to 100 trials, not 101",
            ),
            (
                PlanAsked { against: true, trials: Some(100), ..base.clone() },
                "The plan ab takes 6 to 60 blocks, not 100.",
            ),
            (
                PlanAsked { budget_s: Some(9), ..base.clone() },
                "A run takes 10 to 7200 seconds of measuring, not 9.",
            ),
            (PlanAsked { budget_s: Some(7201), ..base.clone() }, "10 to 7200 seconds of measuring, not 7201"),
            (PlanAsked { rate_per_s: Some(1.0), budget_s: Some(60), ..base.clone() }, "has no budget"),
            (PlanAsked { turns: Some(3), budget_s: Some(60), ..base.clone() }, "has no budget"),
            (
                PlanAsked { replay: Some((&prompts, "d")), budget_s: Some(60), ..base.clone() },
                "has no budget",
            ),
            (
                PlanAsked { name: Some("sweep"), up_to: Some(65), ..base.clone() },
                "1 to 64 requests at a time, not 65",
            ),
            (
                PlanAsked { name: Some("sweep"), up_to: Some(0), ..base.clone() },
                "1 to 64 requests at a time, not 0",
            ),
            (
                PlanAsked { name: Some("agent"), trials: Some(100), ..base.clone() },
                "3 to 20 conversations, not 100",
            ),
            (PlanAsked { turns: Some(1), ..base.clone() }, "2 to 12 turns, not 1"),
            (PlanAsked { turns: Some(13), ..base.clone() }, "2 to 12 turns, not 13"),
            (
                PlanAsked { rate_per_s: Some(1e3), ..base.clone() },
                "0.01 to 100 requests by the second, not 1000",
            ),
            (PlanAsked { quiet_wait_s: Some(601), ..base.clone() }, "0 to 600 seconds of waiting, not 601"),
            (PlanAsked { name: Some("marathon"), ..base.clone() }, "There is no benchmark plan marathon."),
            (PlanAsked { name: Some("open"), ..base.clone() }, "needs a rate"),
            (PlanAsked { name: Some("replay"), ..base.clone() }, "needs a file"),
            (PlanAsked { name: Some("ab"), ..base.clone() }, "two sides"),
            (PlanAsked { name: Some("quick"), against: true, ..base.clone() }, "two sides"),
            (PlanAsked { up_to: Some(4), ..base.clone() }, "Only sweep and copies"),
            (PlanAsked { name: Some("copies"), up_to: Some(65), ..base.clone() }, "1 to 64 copies, not 65"),
            (PlanAsked { name: Some("load"), trials: Some(21), ..base.clone() }, "5 to 20 loads, not 21"),
            (PlanAsked { name: Some("load"), budget_s: Some(60), ..base.clone() }, "has no budget"),
            (PlanAsked { seconds: Some(30), ..base.clone() }, "of an open loop only"),
            (PlanAsked { name: Some("quick"), turns: Some(3), ..base.clone() }, "Only the plan agent"),
            (PlanAsked { rate_per_s: Some(1.0), trials: Some(9), ..base.clone() }, "say how many requests"),
            (
                PlanAsked { replay: Some((&prompts, "d")), trials: Some(9), ..base.clone() },
                "each prompt of its file once",
            ),
            (
                PlanAsked { replay: Some((&prompts, "d")), turns: Some(3), ..base.clone() },
                "Only the plan agent",
            ),
        ] {
            let error = asked.plan(1, 300).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidCall, "{asked:?}");
            assert!(error.message.contains(words) && error.hint.is_some(), "{asked:?}: {error}");
        }
    }

    #[test]
    fn fewer_trials_than_say_anything_become_the_fewest_that_do() {
        let base = PlanAsked::default();
        for (asked, trials) in [
            (PlanAsked { trials: Some(1), ..base.clone() }, 5),
            (PlanAsked { trials: Some(0), name: Some("standard"), ..base.clone() }, 5),
            (PlanAsked { trials: Some(5), against: true, ..base.clone() }, 6),
            (PlanAsked { trials: Some(2), name: Some("sweep"), ..base.clone() }, 5),
            (PlanAsked { trials: Some(1), name: Some("agent"), ..base.clone() }, 3),
            (PlanAsked { trials: Some(7), ..base.clone() }, 7),
            (PlanAsked { trials: Some(100), ..base.clone() }, 100),
        ] {
            assert_eq!(asked.plan(1, 300).unwrap().trials, trials, "{asked:?}");
        }
    }

    #[test]
    fn what_is_said_names_the_plan() {
        let prompts = [
            ReplayPrompt { text: "Why is it so?".into(), max_tokens: 8 },
            ReplayPrompt { text: "Why?".into(), max_tokens: 16 },
        ];
        let base = PlanAsked::default();
        for (asked, name, trials, requests) in [
            (base.clone(), "quick", 10, 10),
            (PlanAsked { trials: Some(5), ..base.clone() }, "quick", 5, 5),
            (PlanAsked { against: true, ..base.clone() }, "ab", 10, 10),
            (PlanAsked { rate_per_s: Some(2.5), seconds: Some(20), ..base.clone() }, "open", 50, 50),
            (PlanAsked { name: Some("agent"), ..base.clone() }, "agent", 3, 36),
            (PlanAsked { turns: Some(2), trials: Some(5), ..base.clone() }, "agent", 5, 20),
            (PlanAsked { replay: Some((&prompts, "d")), ..base.clone() }, "replay", 2, 2),
        ] {
            let plan = asked.plan(1, 300).unwrap();
            assert_eq!((plan.name.as_str(), plan.trials, plan.requests()), (name, trials, requests));
            assert_eq!(plan.repeats(), ["quick", "ab"].contains(&name));
            assert_eq!(plan.cannot_resume().is_none(), plan.repeats());
        }
        let replay = PlanAsked { replay: Some((&prompts, "d")), ..base }.plan(1, 300).unwrap();
        assert_eq!((replay.prompt_words, replay.max_tokens), (2, 16));
    }
}
