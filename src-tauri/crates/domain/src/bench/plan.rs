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
    /// "quick", "standard", "ab" or "sweep".
    pub name: String,
    /// Words in the prompt; about one token each.
    pub prompt_words: u32,
    /// Output tokens asked for.
    pub max_tokens: u32,
    /// Measured requests of each side; of a sweep, at its first level.
    pub trials: u32,
    /// Requests at a time, one level after the other. `[1]` for all but sweeps.
    #[serde(default = "one_at_a_time")]
    pub concurrency: Vec<u32>,
    #[serde(default)]
    pub when_disturbed: WhenDisturbed,
    /// How long it is waited altogether for a quiet machine. Seconds.
    #[serde(default)]
    pub quiet_wait_s: u32,
    /// Of a sweep: a first token within so many milliseconds is in time. `None`: of no sweep, or of one of before.
    #[serde(default)]
    pub slo_ms: Option<u32>,
}

fn one_at_a_time() -> Vec<u32> {
    vec![1]
}

impl BenchPlan {
    /// A plan by its name. quick: 64 words in, 64 tokens out; standard: 384 in, 128 out (the usual pp512/tg128 cell of
    /// llama-bench, llama.cpp: tools/llama-bench/README.md, in words rather than tokens); ab: as quick, in blocks of one trial
    /// of each side; sweep: as quick, at 1, 2, 4, 8 requests at a time.
    pub fn named(name: &str, trials: Option<u32>) -> Option<Self> {
        let (prompt_words, max_tokens, fewest, usual, most) = match name {
            // More than six, so that the usual run has an interval and not only a range.
            "quick" => (64, 64, MIN_TRIALS, 10, MAX_TRIALS),
            "standard" => (384, 128, MIN_TRIALS, 10, MAX_TRIALS),
            // Fewer pairs have no interval, and so no verdict.
            "ab" => (64, 64, super::stats::MIN_FOR_INTERVAL as u32, MIN_BLOCKS, MAX_BLOCKS),
            "sweep" => (64, 64, MIN_TRIALS, 6, MAX_TRIALS),
            _ => return None,
        };
        let concurrency = if name == "sweep" { levels(8) } else { one_at_a_time() };
        Some(Self {
            name: name.into(),
            prompt_words,
            max_tokens,
            trials: trials.unwrap_or(usual).clamp(fewest, most),
            concurrency,
            when_disturbed: WhenDisturbed::default(),
            quiet_wait_s: if name == "quick" { 10 } else { 60 },
            slo_ms: None,
        })
    }

    /// Whether its requests are counted by how many were under way; also where one at a time is its only level.
    pub fn is_sweep(&self) -> bool {
        self.name == "sweep"
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
    fn plans_of_earlier_rows_are_read() {
        let old = r#"{"name":"quick","prompt_words":64,"max_tokens":64,"trials":5}"#;
        let plan: BenchPlan = serde_json::from_str(old).unwrap();
        assert_eq!((plan.concurrency, plan.when_disturbed), (vec![1], WhenDisturbed::Mark));
    }
}
