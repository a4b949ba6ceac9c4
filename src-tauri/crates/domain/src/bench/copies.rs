//! What several copies of one model in memory give together, each with one request at a time: never mixed with requests at a time of one
//! copy.

use super::{
    sweep::{LevelGauges, QUERY_MS, Sweep, SweepPoint, TtftSpread},
    trial::Trial,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use ts_rs::TS;

/// So many copies, each with one request at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct CopiesPoint {
    pub copies: u32,
    /// Requests that count.
    pub requests: u32,
    pub failed: u32,
    /// Output tokens of all copies together, by the second; client clock.
    pub out_tok_s: Option<f64>,
    /// Median decode rate of one copy.
    pub decode_tok_s: Option<f64>,
    pub ttft_ms: Option<TtftSpread>,
    /// Memory of the server with all its copies, at the end of the level.
    pub memory_bytes: Option<u64>,
}

/// The levels of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Copies {
    pub points: Vec<CopiesPoint>,
    /// Why it did not go on to as many copies as were asked for; `None`: it did.
    pub stopped: Option<String>,
}

impl Copies {
    /// From the requests of a run, each with the number of copies at its time, and the memory of the server by that number.
    pub fn of(trials: &[Trial], memory: &BTreeMap<u32, u64>, stopped: Option<String>) -> Self {
        let point = |point: SweepPoint| CopiesPoint {
            copies: point.concurrency,
            requests: point.requests,
            failed: point.failed,
            out_tok_s: point.out_tok_s,
            decode_tok_s: point.decode_tok_s,
            ttft_ms: point.ttft_ms,
            memory_bytes: memory.get(&point.concurrency).copied(),
        };
        let levels = Sweep::of(trials, QUERY_MS, |_, _| LevelGauges::default());
        Self { points: levels.points.into_iter().map(point).collect(), stopped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_told_by_copies_with_the_memory_of_each() {
        // One copy gives 10 tokens in a second; two give as many each, one after the other's first token.
        let trial = |seq: u32, copies: u32, begun_ms: f64, flaw: Option<&str>| Trial {
            seq,
            concurrency: Some(copies),
            begun_ms: Some(begun_ms),
            ttft_ms: Some(100.0),
            decode_tok_s: Some(10.0),
            total_ms: 1000.0,
            output_tokens: Some(10),
            flaw: flaw.map(str::to_owned),
            ..Trial::default()
        };
        let trials = [
            trial(0, 1, 0.0, None),
            trial(1, 1, 1000.0, None),
            trial(2, 2, 2000.0, None),
            trial(3, 2, 2000.0, None),
            trial(4, 2, 3000.0, Some("failed: it broke off")),
        ];
        let copies = Copies::of(&trials, &BTreeMap::from([(1, 100), (2, 190)]), Some("3 do not fit.".into()));
        let rows: Vec<_> = copies
            .points
            .iter()
            .map(|point| (point.copies, point.requests, point.failed, point.memory_bytes))
            .collect();
        assert_eq!(rows, [(1, 2, 0, Some(100)), (2, 2, 1, Some(190))]);
        assert!(copies.points[1].out_tok_s > copies.points[0].out_tok_s, "{copies:?}");
        assert_eq!(copies.stopped.as_deref(), Some("3 do not fit."));
        assert_eq!(Copies::of(&trials[..1], &BTreeMap::new(), None).points[0].memory_bytes, None);
    }
}
