//! What a run asks for, as data.

use super::{
    arrivals::Arrivals,
    limits::{beyond, needs},
    replay::{ReplayPrompt, ReplaySource, USUAL_ANSWER},
};
use crate::error::ApiError;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// The fewest trials that give a median worth showing.
pub const MIN_TRIALS: u32 = 5;
/// The most trials of one run.
pub const MAX_TRIALS: u32 = 100;
/// Blocks of a comparison before it is looked whether its intervals are narrow enough.
pub const MIN_BLOCKS: u32 = 10;
/// The most blocks of a comparison.
pub const MAX_BLOCKS: u32 = 60;
/// The most requests at a time of a sweep.
pub const MAX_CONCURRENCY: u32 = 64;
/// The most copies of one model at a time.
pub const MAX_COPIES: u32 = 64;
/// The most loads of one run from each place.
pub const MAX_LOADS: u32 = 20;
/// The longest that a run waits for a quiet machine. Seconds.
pub const MAX_QUIET_WAIT_S: u32 = 600;
/// Requests of each worker at one level of a sweep.
pub const ROUNDS: u32 = 4;
/// Conversations of the plan agent, least and most: each is held twice.
pub const CONVERSATIONS: (u32, u32) = (3, 20);
/// Turns of a conversation, least and most: of one turn nothing is kept.
pub const TURNS: (u32, u32) = (2, 12);
/// Turns unless said otherwise.
pub const USUAL_TURNS: u32 = 6;

/// Seconds that a run may be given, least and most.
pub const BUDGET_S: (u32, u32) = (10, 7200);

/// Milliseconds within which a first token may be in time, least and most.
pub const SLO_MS: (u32, u32) = (1, 60_000);

/// What a run does when the machine is not quiet after it was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum WhenDisturbed {
    /// It goes on, and says who disturbed it.
    #[default]
    Mark,
    /// It ends before it measures anything.
    Stop,
}

/// What the requests of a run ask for, how many there are and in which order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct BenchPlan {
    /// "quick", "standard", "ab", "sweep", "load", "copies", "open", "agent" or "replay".
    pub name: String,
    /// Words in the prompt; about one token each. Of a conversation those that each turn adds, of a replay their mean.
    pub prompt_words: u32,
    /// Output tokens asked for; of a replay the most of any prompt.
    pub max_tokens: u32,
    /// Measured requests of each side; of a sweep, at its first level; of agent, conversations.
    pub trials: u32,
    /// Requests at a time, one level after the other; of copies, models in memory. `[1]` for all others.
    #[serde(default = "one_at_a_time")]
    pub concurrency: Vec<u32>,
    #[serde(default)]
    pub when_disturbed: WhenDisturbed,
    /// How long it is waited altogether for a quiet machine. Seconds.
    #[serde(default)]
    pub quiet_wait_s: u32,
    /// The most seconds of measuring, from the first request that counts: the trial, block or level under way then is the last.
    /// `None`: as long as it takes.
    #[serde(default)]
    pub budget_s: Option<u32>,
    /// Of an open loop: when its requests are due.
    #[serde(default)]
    pub arrivals: Option<Arrivals>,
    /// Of agent: turns of each conversation.
    #[serde(default)]
    pub turns: Option<u32>,
    /// Of a replay: the file of its prompts, which are not kept.
    #[serde(default)]
    pub replay: Option<ReplaySource>,
    /// Of a sweep: a first token within so many milliseconds is in time. `None`: of no sweep, or of one of before.
    #[serde(default)]
    pub slo_ms: Option<u32>,
}

fn one_at_a_time() -> Vec<u32> {
    vec![1]
}

/// How many trials a plan may have.
struct Bounds {
    least: u32,
    usual: u32,
    most: u32,
    /// What they are called.
    what: &'static str,
}

const TRIALS: Bounds = Bounds { least: MIN_TRIALS, usual: 10, most: MAX_TRIALS, what: "trials" };

impl BenchPlan {
    /// A plan by its name. quick: 64 words in, 64 tokens out; standard: 384 in, 128 out (the usual pp512/tg128 cell of
    /// llama-bench, llama.cpp: tools/llama-bench/README.md, in words rather than tokens); ab: as quick, in blocks of one trial
    /// of each side; sweep: as quick, at 1, 2, 4, 8 requests at a time; load: loads with a first and a second request of 16 tokens
    /// after each; copies: as quick, one request at a time of each of 1, 2, 4 copies of the model; agent: conversations of six
    /// turns, 200 words in and 32 tokens out at each. Errors: invalid_call (no such plan, or one that needs more than a name;
    /// trials beyond its limits, which are named).
    pub fn named(name: &str, trials: Option<u32>) -> Result<Self, ApiError> {
        let (prompt_words, max_tokens, bounds) = match name {
            // More than six, so that the usual run has an interval and not only a range.
            "quick" => (64, 64, TRIALS),
            "standard" => (384, 128, TRIALS),
            // Fewer pairs have no interval, and so no verdict.
            "ab" => {
                let least = super::stats::MIN_FOR_INTERVAL as u32;
                (64, 64, Bounds { least, usual: MIN_BLOCKS, most: MAX_BLOCKS, what: "blocks" })
            }
            "sweep" => (64, 64, Bounds { usual: 6, ..TRIALS }),
            // Its answers are there for their first tokens.
            "load" => (64, 16, Bounds { usual: MIN_TRIALS, most: MAX_LOADS, what: "loads", ..TRIALS }),
            "copies" => (64, 64, Bounds { usual: MIN_TRIALS, ..TRIALS }),
            "agent" => {
                let (least, most) = CONVERSATIONS;
                (200, 32, Bounds { least, usual: least, most, what: "conversations" })
            }
            "open" => return Err(needs("The plan open needs a rate.", "pilothouse bench MODEL --rate R")),
            "replay" => {
                return Err(needs(
                    "A replay needs a file of prompts.",
                    "pilothouse bench MODEL --replay FILE",
                ));
            }
            _ => {
                return Err(needs(
                    &format!("There is no benchmark plan {name}."),
                    "Plans: quick, standard, ab, sweep, load, copies, open, agent, replay.",
                ));
            }
        };
        // Fewer would say nothing, so that there are more.
        let trials = trials.unwrap_or(bounds.usual).max(bounds.least);
        if trials > bounds.most {
            return Err(beyond(&format!("The plan {name}"), bounds.least, bounds.most, bounds.what, trials));
        }
        Ok(Self {
            concurrency: match name {
                "sweep" => levels(8),
                "copies" => copies_to(4),
                _ => one_at_a_time(),
            },
            quiet_wait_s: if name == "quick" { 10 } else { 60 },
            turns: (name == "agent").then_some(USUAL_TURNS),
            ..Self::bare(name, prompt_words, max_tokens, trials)
        })
    }

    /// Requests as of quick that come by plan.
    pub fn open(arrivals: Arrivals) -> Self {
        let requests = arrivals.requests();
        Self { arrivals: Some(arrivals), ..Self::bare("open", 64, 64, requests) }
    }

    /// Each prompt of a file once, in its order. `digest`: SHA-256 of the file.
    pub fn replay(prompts: &[ReplayPrompt], digest: String) -> Self {
        let count = prompts.len() as u32;
        let words: usize = prompts.iter().map(|prompt| prompt.text.split_whitespace().count()).sum();
        let words = words / prompts.len().max(1);
        let longest = prompts.iter().map(|prompt| prompt.max_tokens).max().unwrap_or(USUAL_ANSWER);
        let replay = Some(ReplaySource { prompts: count, digest });
        Self { replay, ..Self::bare("replay", words as u32, longest, count) }
    }

    fn bare(name: &str, prompt_words: u32, max_tokens: u32, trials: u32) -> Self {
        Self {
            name: name.into(),
            prompt_words,
            max_tokens,
            trials,
            concurrency: one_at_a_time(),
            when_disturbed: WhenDisturbed::default(),
            quiet_wait_s: 60,
            budget_s: None,
            arrivals: None,
            turns: None,
            replay: None,
            slo_ms: None,
        }
    }

    /// Whether its requests are counted by how many were under way; also where one at a time is its only level.
    pub fn is_sweep(&self) -> bool {
        self.name == "sweep"
    }

    /// Whether loads are measured.
    pub fn is_load(&self) -> bool {
        self.name == "load"
    }

    /// Whether its levels are copies of the model in memory, each with one request at a time.
    pub fn is_copies(&self) -> bool {
        self.name == "copies"
    }

    /// Whether its runs ask for the same each time, with one request under way at a time, so that they make a series that is
    /// watched and a forecast of rates. Rates of arrival, lengths of conversations and files differ from run to run, and loads and
    /// copies are of other things.
    pub fn repeats(&self) -> bool {
        let of_loads = self.is_load() || self.is_copies();
        self.arrivals.is_none() && self.turns.is_none() && self.replay.is_none() && !of_loads
    }

    /// Why a run of it that was cut off cannot go on, in words. `None`: it can.
    pub fn cannot_resume(&self) -> Option<&'static str> {
        match () {
            () if self.is_sweep() => Some("the levels of a sweep are measured in one go"),
            () if self.is_load() || self.is_copies() => Some("what it loaded is measured in one go"),
            () if self.arrivals.is_some() => Some("the requests of an open loop come in one go"),
            () if self.turns.is_some() => Some("a conversation is held in one go"),
            () if self.replay.is_some() => Some("its prompts were not kept"),
            () => None,
        }
    }

    /// Measured requests of one side in all.
    pub fn requests(&self) -> u32 {
        match self.turns {
            Some(turns) => self.trials.saturating_mul(turns).saturating_mul(2),
            None => self.trials,
        }
    }

    /// Measured requests at one level: enough for each worker to take several.
    pub fn requests_at(&self, concurrency: u32) -> u32 {
        if self.is_sweep() { self.trials.max(concurrency.saturating_mul(ROUNDS)) } else { self.trials }
    }
}

/// The levels of a sweep up to a number of requests at a time: doublings, with steps between them from 4 on, and the last.
pub fn levels(up_to: u32) -> Vec<u32> {
    let up_to = up_to.clamp(1, MAX_CONCURRENCY);
    let mut levels: Vec<u32> =
        [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64].into_iter().filter(|level| *level < up_to).collect();
    levels.push(up_to);
    levels
}

/// The levels of copies up to a number of them: doublings, and the last.
pub fn copies_to(up_to: u32) -> Vec<u32> {
    let up_to = up_to.clamp(1, MAX_COPIES);
    let mut levels: Vec<u32> = [1, 2, 4, 8, 16, 32, 64].into_iter().filter(|level| *level < up_to).collect();
    levels.push(up_to);
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_climbs_to_its_last_level() {
        assert_eq!(levels(1), [1]);
        assert_eq!(levels(5), [1, 2, 3, 4, 5]);
        assert_eq!(levels(8), [1, 2, 3, 4, 6, 8]);
        assert_eq!(levels(1000).last(), Some(&MAX_CONCURRENCY));
        let sweep = BenchPlan::named("sweep", None).unwrap();
        assert_eq!((sweep.requests_at(1), sweep.requests_at(8)), (6, 32));
        assert_eq!(BenchPlan::named("quick", None).unwrap().requests_at(1), 10);
    }

    #[test]
    fn copies_double_up_to_the_last() {
        for (up_to, wanted) in [
            (0, vec![1]),
            (1, vec![1]),
            (2, vec![1, 2]),
            (3, vec![1, 2, 3]),
            (4, vec![1, 2, 4]),
            (50, vec![1, 2, 4, 8, 16, 32, 50]),
        ] {
            assert_eq!(copies_to(up_to), wanted, "{up_to}");
        }
        let load = BenchPlan::named("load", None).unwrap();
        assert_eq!((load.trials, load.is_load(), load.is_copies(), load.is_sweep()), (5, true, false, false));
        let copies = BenchPlan::named("copies", None).unwrap();
        assert_eq!((copies.concurrency.as_slice(), copies.is_copies()), ([1, 2, 4].as_slice(), true));
    }

    #[test]
    fn plans_of_earlier_rows_are_read() {
        let old = r#"{"name":"quick","prompt_words":64,"max_tokens":64,"trials":5}"#;
        let plan: BenchPlan = serde_json::from_str(old).unwrap();
        assert_eq!((&plan.concurrency, plan.when_disturbed), (&vec![1], WhenDisturbed::Mark));
        assert!(plan.repeats());
    }
}
