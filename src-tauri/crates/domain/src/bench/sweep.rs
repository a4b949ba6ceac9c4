//! What one model gives when more and more requests are under way at a time, and from where on more of them gain nothing.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// A first token within this counts as in time: the owner's queries of 200 to 300 ms. Milliseconds.
pub const QUERY_MS: f64 = 300.0;

/// One level of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SweepPoint {
    /// Requests at a time.
    pub concurrency: u32,
    /// Requests that count.
    pub requests: u32,
    pub failed: u32,
    /// Output tokens of all answers together, by the second; client clock.
    pub out_tok_s: Option<f64>,
    /// Median decode rate of one answer.
    pub decode_tok_s: Option<f64>,
    /// Time to the first token, from the moment in which the request was due.
    pub ttft_ms: Option<TtftSpread>,
    /// Highest memory of the instance.
    pub memory_bytes: Option<u64>,
    /// Means over the level.
    pub gpu_load_percent: Option<f64>,
    pub power_w: Option<f64>,
    /// Share of requests with their first token within [`QUERY_MS`], 0–1. What failed was not in time.
    pub goodput: Option<f64>,
}

/// How first tokens are spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct TtftSpread {
    pub median: f64,
    /// 95 of 100 come sooner. Of fewer than 59 it is the greatest: to bound a quantile from above with 95 % confidence by the
    /// greatest of n values wants 0.95^n <= 0.05.
    pub p95: f64,
}

/// From where on more requests at a time gain little.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Knee {
    pub concurrency: u32,
    /// How it was found, in words: "the fewest with 90 % of the most that was seen".
    pub method: String,
}

/// A sweep as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Sweep {
    pub points: Vec<SweepPoint>,
    pub knee: Option<Knee>,
    /// Why there is none.
    pub knee_absent: Option<String>,
    /// The fewest requests at a time that give 90 % of the most tokens with first tokens in time; `None`: no level does.
    pub best: Option<u32>,
    /// One request at a time once more, after the last level: how far its rate was from that of the first, as a ratio less
    /// one. Far from zero: the machine grew slower (or quieter) meanwhile.
    pub again: Option<f64>,
}
