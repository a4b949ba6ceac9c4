//! What a run asks for, as data.

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
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct BenchPlan {
    /// "quick", "standard", "ab", "sweep", "load" or "copies".
    pub name: String,
    /// Words in the prompt; about one token each.
    pub prompt_words: u32,
    /// Output tokens asked for.
    pub max_tokens: u32,
    /// Measured requests of each side; of a sweep, at its first level.
    pub trials: u32,
    /// Requests at a time, one level after the other; of copies, models in memory. `[1]` for all others.
    #[serde(default = "one_at_a_time")]
    pub concurrency: Vec<u32>,
    #[serde(default)]
    pub when_disturbed: WhenDisturbed,
    /// How long it is waited altogether for a quiet machine. Seconds.
    #[serde(default)]
    pub quiet_wait_s: u32,
}

fn one_at_a_time() -> Vec<u32> {
    vec![1]
}

impl BenchPlan {
    /// A plan by its name. quick: 64 words in, 64 tokens out; standard: 384 in, 128 out (the usual pp512/tg128 cell of
    /// llama-bench, llama.cpp: tools/llama-bench/README.md, in words rather than tokens); ab: as quick, in blocks of one trial
    /// of each side; sweep: as quick, at 1, 2, 4, 8 requests at a time; load: loads with a first and a second request of 16 tokens after
    /// each; copies: as quick, one request at a time of each of 1, 2, 4 copies of the model.
    pub fn named(name: &str, trials: Option<u32>) -> Option<Self> {
        let (prompt_words, max_tokens, fewest, usual, most) = match name {
            // More than six, so that the usual run has an interval and not only a range.
            "quick" => (64, 64, MIN_TRIALS, 10, MAX_TRIALS),
            "standard" => (384, 128, MIN_TRIALS, 10, MAX_TRIALS),
            // Fewer pairs have no interval, and so no verdict.
            "ab" => (64, 64, super::stats::MIN_FOR_INTERVAL as u32, MIN_BLOCKS, MAX_BLOCKS),
            "sweep" => (64, 64, MIN_TRIALS, 6, MAX_TRIALS),
            // Its answers are there for their first tokens.
            "load" => (64, 16, MIN_TRIALS, MIN_TRIALS, MAX_LOADS),
            "copies" => (64, 64, MIN_TRIALS, MIN_TRIALS, MAX_TRIALS),
            _ => return None,
        };
        let concurrency = match name {
            "sweep" => levels(8),
            "copies" => copies_to(4),
            _ => one_at_a_time(),
        };
        Some(Self {
            name: name.into(),
            prompt_words,
            max_tokens,
            trials: trials.unwrap_or(usual).clamp(fewest, most),
            concurrency,
            when_disturbed: WhenDisturbed::default(),
            quiet_wait_s: if name == "quick" { 10 } else { 60 },
        })
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
    fn trials_are_never_fewer_than_five() {
        assert_eq!(BenchPlan::named("quick", Some(1)).unwrap().trials, 5);
        assert_eq!(BenchPlan::named("quick", Some(1000)).unwrap().trials, 100);
        assert_eq!(BenchPlan::named("ab", Some(1)).unwrap().trials, 6);
        assert!(BenchPlan::named("marathon", None).is_none());
    }

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
        assert_eq!((plan.concurrency, plan.when_disturbed), (vec![1], WhenDisturbed::Mark));
    }
}
