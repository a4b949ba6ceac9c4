//! A conversation that grows turn by turn, and what the server saves by keeping its beginning.
//!
//! Each conversation is held twice with the same words: once with the same first letters at every turn, so that all but the new
//! turn may come from the server's prefix cache, and once with other first letters at every turn, so that nothing can. A whole
//! conversation is held at a time: one request between two turns would take the cache away of a server with one slot. Which
//! of the two comes first is a coin's choice, so that a machine that grows slower hits both alike.

use super::{
    stats::{self, Summary},
    trial::{PrefixUse, Trial},
};
use crate::units::milliseconds;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use ts_rs::TS;

/// One turn over all conversations of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ConversationTurn {
    /// From 1.
    pub turn: u32,
    /// Tokens of the whole conversation up to here; median.
    pub prompt_tokens: Option<u32>,
    /// Tokens of them that came from the server's cache, where the server says so; median.
    pub cached_tokens: Option<u32>,
    /// First token where the beginning may come from the cache.
    pub ttft_cached_ms: Option<Summary>,
    /// First token where nothing can.
    pub ttft_cold_ms: Option<Summary>,
    /// What was saved of the time to the first token, as a share of the cold one: one less the median ratio of the two within
    /// each conversation. Below zero: it took longer.
    pub saved: Option<f64>,
}

/// How much of the beginning the server keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum PrefixReuse {
    /// All of it, or nearly.
    Kept,
    Partly,
    /// It reads the whole conversation anew at each turn.
    No,
    /// Too little was measured to tell.
    Unknown,
}

/// Conversations as they are shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Conversation {
    pub turns: Vec<ConversationTurn>,
    pub reuse: PrefixReuse,
    /// The same in a sentence, and from what it is known.
    pub words: String,
}

/// Shares of the previous prompt from which on it was kept, by the server's own count, and from which on partly.
const KEPT: f64 = 0.8;
const PARTLY: f64 = 0.1;
/// The same of the time that could be saved: a request has fixed costs too, and times are noisy.
const KEPT_BY_TIME: f64 = 0.6;
const PARTLY_BY_TIME: f64 = 0.2;

impl Conversation {
    pub fn of(trials: &[Trial]) -> Self {
        let mut by_turn: BTreeMap<u32, Vec<&Trial>> = BTreeMap::new();
        for trial in trials.iter().filter(|trial| trial.is_measured() && trial.flaw.is_none()) {
            if let Some(turn) = trial.turn {
                by_turn.entry(turn).or_default().push(trial);
            }
        }
        let turns: Vec<ConversationTurn> =
            by_turn.into_iter().map(|(turn, all)| turn_of(turn, &all)).collect();
        let (reuse, told) = reuse(&turns);
        let words = words(&turns, reuse, told);
        Self { turns, reuse, words }
    }
}

fn turn_of(turn: u32, trials: &[&Trial]) -> ConversationTurn {
    let of = |prefix: PrefixUse| trials.iter().filter(move |trial| trial.prefix == Some(prefix));
    let ttft = |prefix| of(prefix).filter_map(|trial| trial.ttft_ms).collect::<Vec<f64>>();
    let count = |figure: fn(&Trial) -> Option<u32>| {
        let values: Vec<f64> = of(PrefixUse::Kept).filter_map(|trial| figure(trial)).map(f64::from).collect();
        stats::median(&values).map(|median| median.round() as u32)
    };
    let ratio = |kept: &&Trial| {
        let cold = of(PrefixUse::New).find(|cold| cold.block == kept.block)?;
        Some(kept.ttft_ms? / cold.ttft_ms.filter(|ms| *ms > 0.0)?)
    };
    let ratios: Vec<f64> = of(PrefixUse::Kept).filter_map(ratio).collect();
    ConversationTurn {
        turn,
        prompt_tokens: count(|trial| trial.prompt_tokens),
        cached_tokens: count(|trial| trial.cached_tokens),
        ttft_cached_ms: stats::summarize(&ttft(PrefixUse::Kept), "client"),
        ttft_cold_ms: stats::summarize(&ttft(PrefixUse::New), "client"),
        saved: stats::median(&ratios).map(|ratio| 1.0 - ratio),
    }
}

/// How much is kept, and whether the server says so. Its own count goes before the times: over all turns but the first, the
/// median share of the previous prompt that came from its cache. Without it the share that was saved of the time that could
/// be: the previous prompt's share of this one.
fn reuse(turns: &[ConversationTurn]) -> (PrefixReuse, bool) {
    let pairs = || turns.windows(2).map(|pair| (&pair[0], &pair[1]));
    let told: Vec<f64> = pairs()
        .filter_map(|(before, now)| {
            let before = before.prompt_tokens.filter(|tokens| *tokens > 0)?;
            Some(f64::from(now.cached_tokens?) / f64::from(before))
        })
        .collect();
    if let Some(share) = stats::median(&told) {
        return (graded(share, KEPT, PARTLY), true);
    }
    let saved: Vec<f64> = pairs()
        .filter_map(|(before, now)| {
            let by_tokens = before.prompt_tokens.zip(now.prompt_tokens).filter(|(_, now)| *now > 0);
            let possible = match by_tokens {
                Some((before, now)) => f64::from(before) / f64::from(now),
                // Turns are as long as each other.
                None => f64::from(before.turn) / f64::from(now.turn),
            };
            Some(now.saved? / possible)
        })
        .collect();
    match stats::median(&saved) {
        Some(share) => (graded(share, KEPT_BY_TIME, PARTLY_BY_TIME), false),
        None => (PrefixReuse::Unknown, false),
    }
}

fn graded(share: f64, kept: f64, partly: f64) -> PrefixReuse {
    match share {
        share if share >= kept => PrefixReuse::Kept,
        share if share >= partly => PrefixReuse::Partly,
        _ => PrefixReuse::No,
    }
}

fn words(turns: &[ConversationTurn], reuse: PrefixReuse, told: bool) -> String {
    let by = if told { "the server says so" } else { "told by the times; the server does not say it" };
    let both = |turn: &ConversationTurn| {
        Some((turn.ttft_cached_ms.as_ref()?.median, turn.ttft_cold_ms.as_ref()?.median))
    };
    let Some((last, (cached, cold))) = turns.iter().rev().find_map(|turn| Some((turn.turn, both(turn)?)))
    else {
        return "Too few answers count to tell what the server keeps.".into();
    };
    let (cached, cold) = (milliseconds(cached), milliseconds(cold));
    let times = format!("at turn {last} the first token came after {cached} instead of {cold}");
    match reuse {
        PrefixReuse::Kept => format!("The server keeps the beginning of a conversation ({by}): {times}."),
        PrefixReuse::Partly => {
            format!("The server keeps a part of the beginning of a conversation ({by}): {times}.")
        }
        PrefixReuse::No => format!(
            "The server reads the whole conversation anew at each turn ({by}): at turn {last} the first token came after \
             {cached}, and after {cold} with a beginning that it cannot know."
        ),
        PrefixReuse::Unknown => "One turn says nothing of what the server keeps.".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that reads a thousand tokens by the second after 20 ms, and keeps a share of what it has read.
    fn held(conversations: u32, turns: u32, keeps: f64, tells: bool, counts: bool) -> Vec<Trial> {
        let mut trials = vec![];
        for block in 1..=conversations {
            for prefix in [PrefixUse::Kept, PrefixUse::New] {
                for turn in 1..=turns {
                    let (prompt, before) = (300 * turn, 300 * (turn - 1));
                    let kept = prefix == PrefixUse::Kept;
                    let cached = if kept { (f64::from(before) * keeps) as u32 } else { 0 };
                    trials.push(Trial {
                        seq: trials.len() as u32,
                        block: Some(block),
                        turn: Some(turn),
                        prefix: Some(prefix),
                        prompt_tokens: counts.then_some(prompt),
                        cached_tokens: tells.then_some(cached),
                        ttft_ms: Some(20.0 + f64::from(prompt - cached)),
                        ..Trial::default()
                    });
                }
            }
        }
        trials
    }

    #[test]
    fn what_a_server_keeps_is_found_by_its_count_or_by_the_times() {
        for (what, keeps, tells, counts, found) in [
            ("all, and it says so", 1.0, true, true, PrefixReuse::Kept),
            ("all, and it says nothing of it", 1.0, false, true, PrefixReuse::Kept),
            ("all, and it counts nothing", 1.0, false, false, PrefixReuse::Kept),
            ("half", 0.5, true, true, PrefixReuse::Partly),
            ("half, and it says nothing of it", 0.5, false, true, PrefixReuse::Partly),
            ("nothing", 0.0, true, true, PrefixReuse::No),
            ("nothing, and it says nothing of it", 0.0, false, true, PrefixReuse::No),
        ] {
            let conversation = Conversation::of(&held(3, 6, keeps, tells, counts));
            assert_eq!(conversation.reuse, found, "{what}: {}", conversation.words);
            assert_eq!(conversation.words.contains("says so"), tells, "{what}: {}", conversation.words);
        }
    }

    #[test]
    fn each_turn_has_both_times_and_the_first_is_cold_in_either() {
        let conversation = Conversation::of(&held(3, 6, 1.0, true, true));
        let [first, .., last] = &conversation.turns[..] else { panic!("six turns") };
        assert_eq!(
            (first.turn, last.turn, last.prompt_tokens, last.cached_tokens),
            (1, 6, Some(1800), Some(1500))
        );
        let median = |summary: &Option<Summary>| summary.as_ref().map(|one| (one.median, one.n));
        assert_eq!(median(&first.ttft_cached_ms), median(&first.ttft_cold_ms));
        assert_eq!(median(&last.ttft_cached_ms), Some((320.0, 3)));
        assert_eq!(median(&last.ttft_cold_ms), Some((1820.0, 3)));
        assert!((last.saved.unwrap() - (1.0 - 320.0 / 1820.0)).abs() < 1e-12);
        assert_eq!(first.saved, Some(0.0));
        assert!(conversation.words.contains("320 ms instead of 1.82 s"), "{}", conversation.words);
    }

    #[test]
    fn what_failed_or_is_missing_says_nothing() {
        let mut trials = held(2, 3, 1.0, true, true);
        for trial in trials.iter_mut().filter(|trial| trial.turn == Some(3)) {
            trial.flaw = Some("failed: the context is full".into());
        }
        let conversation = Conversation::of(&trials);
        assert_eq!(conversation.turns.len(), 2);
        assert_eq!(Conversation::of(&[]).reuse, PrefixReuse::Unknown);
        let single = Conversation::of(&held(2, 1, 1.0, true, true));
        assert_eq!(single.reuse, PrefixReuse::Unknown);
        // Of one conversation only the cold half came through.
        let cold: Vec<Trial> =
            held(1, 3, 1.0, true, true).into_iter().filter(|t| t.prefix == Some(PrefixUse::New)).collect();
        let conversation = Conversation::of(&cold);
        assert_eq!((conversation.reuse, conversation.turns[2].saved), (PrefixReuse::Unknown, None));
    }
}
