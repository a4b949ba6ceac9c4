//! What a benchmark measures: the plan, the figures of one trial, and their summary.

pub mod stats;
pub mod warmup;

use crate::{Timestamp, gauge::GaugeHistory, server::ServerId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use ts_rs::TS;

pub use stats::Summary;

/// The version of the formulas below; kept with each run, so that old rows are never compared under new rules.
pub const METRICS_VERSION: u32 = 1;

/// The fewest trials that give a median worth showing.
pub const MIN_TRIALS: u32 = 5;
/// The most trials of one run.
pub const MAX_TRIALS: u32 = 100;

/// What one request of a run asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct BenchPlan {
    /// "quick" or "standard".
    pub name: String,
    /// Words in the prompt; about one token each.
    pub prompt_words: u32,
    /// Output tokens asked for.
    pub max_tokens: u32,
    pub trials: u32,
}

impl BenchPlan {
    /// A plan by its name. quick: 64 words in, 64 tokens out; standard: 384 in, 128 out (the usual pp512/tg128 cell
    /// of llama-bench, llama.cpp: tools/llama-bench/README.md, in words rather than tokens).
    pub fn named(name: &str, trials: Option<u32>) -> Option<Self> {
        let (prompt_words, max_tokens, default_trials) = match name {
            "quick" => (64, 64, 5),
            "standard" => (384, 128, 10),
            _ => return None,
        };
        let trials = trials.unwrap_or(default_trials).clamp(MIN_TRIALS, MAX_TRIALS);
        Some(Self { name: name.into(), prompt_words, max_tokens, trials })
    }
}

/// Whether a request counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum TrialPhase {
    Warmup,
    Measured,
}

/// The raw instants and counts of one streamed answer, from the client's monotonic clock. Nanoseconds since the
/// request was handed to the HTTP stack.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawTrial {
    /// First event with non-empty text.
    pub first_token_ns: Option<u64>,
    /// Last event with non-empty text.
    pub last_token_ns: Option<u64>,
    /// End of the stream.
    pub end_ns: u64,
    /// Events that bore text.
    pub token_events: u32,
    /// Output tokens as the server counts them.
    pub output_tokens: Option<u32>,
    /// Prompt tokens, cached ones included.
    pub prompt_tokens: Option<u32>,
    /// Prompt tokens that came from the server's cache.
    pub cached_tokens: Option<u32>,
}

/// One request of a run with its figures. A figure that cannot be computed is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Trial {
    pub seq: u32,
    pub phase: TrialPhase,
    /// Time to the first token, client clock.
    pub ttft_ms: Option<f64>,
    /// Tokens after the first, divided by the time between the first and the last; client clock.
    pub decode_tok_s: Option<f64>,
    /// Uncached prompt tokens divided by the time to the first token; client clock.
    pub prefill_tok_s: Option<f64>,
    /// The whole request, client clock.
    pub total_ms: f64,
    pub output_tokens: Option<u32>,
    pub prompt_tokens: Option<u32>,
    pub cached_tokens: Option<u32>,
    /// The server's own figures.
    pub server_decode_tok_s: Option<f64>,
    pub server_prefill_tok_s: Option<f64>,
    /// Why the answer ended ("length", "stop").
    pub finish: Option<String>,
    /// Why the trial does not count in the summary.
    pub flaw: Option<String>,
}

/// Time to the first token in milliseconds.
pub fn ttft_ms(raw: &RawTrial) -> Option<f64> {
    raw.first_token_ns.map(|ns| ns as f64 / 1e6)
}

/// Decode rate `(N - k1) / (tL - t4)` with k1 = 1 token at the first read. `None` below two tokens or
/// when all of them came in one read.
pub fn decode_tok_s(raw: &RawTrial) -> Option<f64> {
    let tokens = raw.output_tokens?;
    let span = raw.last_token_ns?.checked_sub(raw.first_token_ns?)?;
    (tokens >= 2 && span > 0).then(|| f64::from(tokens - 1) / (span as f64 / 1e9))
}

/// Prefill rate `(P - Pc) / ttft`: it includes the fixed cost of a request, so it is a lower bound.
pub fn prefill_tok_s(raw: &RawTrial) -> Option<f64> {
    let computed = raw.prompt_tokens?.checked_sub(raw.cached_tokens.unwrap_or(0))?;
    let first = raw.first_token_ns.filter(|ns| *ns > 0)?;
    (computed > 0).then(|| f64::from(computed) / (first as f64 / 1e9))
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum RunState {
    Running,
    Done,
    /// Pilothouse or the server ended before the run did.
    CutOff,
    Cancelled,
}

/// What makes two runs comparable: key and value, both plain text ("server_version": "b10068").
pub type Fingerprint = BTreeMap<String, String>;

/// One run as history shows it. Rates are medians over the measured trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Run {
    pub run_id: i64,
    #[ts(type = "string")]
    pub started_at: Timestamp,
    pub state: RunState,
    pub plan: BenchPlan,
    pub server: ServerId,
    pub model: String,
    pub server_version: Option<String>,
    /// Measured trials that count.
    pub trials: u32,
    /// Warm-up requests that were thrown away.
    pub warmups: u32,
    pub ttft_ms: Option<Summary>,
    pub decode_tok_s: Option<Summary>,
    pub prefill_tok_s: Option<Summary>,
    pub server_decode_tok_s: Option<Summary>,
    pub server_prefill_tok_s: Option<Summary>,
    /// Highest memory of the server's process tree during the run.
    pub peak_memory_bytes: Option<u64>,
    pub fingerprint: Fingerprint,
    /// Why it was cut off or what makes it doubtful.
    pub note: Option<String>,
}

/// A run with each of its requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct RunDetail {
    pub run: Run,
    pub trials: Vec<Trial>,
    /// What the gauges showed from its begin to its end; `None` for runs of which that was not kept.
    #[serde(default)]
    pub trace: Option<GaugeHistory>,
}

/// A run under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct BenchProgress {
    pub run_id: i64,
    pub server: ServerId,
    pub model: String,
    pub phase: TrialPhase,
    /// Requests of this phase that are done.
    pub done: u32,
    /// Requests of this phase that are planned; during the warm-up the most there may be.
    pub total: u32,
    /// Decode rate of the last request.
    pub last_decode_tok_s: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> RawTrial {
        RawTrial {
            first_token_ns: Some(200_000_000),
            last_token_ns: Some(1_200_000_000),
            end_ns: 1_210_000_000,
            token_events: 101,
            output_tokens: Some(101),
            prompt_tokens: Some(60),
            cached_tokens: Some(10),
        }
    }

    #[test]
    fn figures_follow_their_formulas() {
        let raw = raw();
        assert_eq!(ttft_ms(&raw), Some(200.0));
        assert_eq!(decode_tok_s(&raw), Some(100.0));
        assert_eq!(prefill_tok_s(&raw), Some(250.0));
    }

    #[test]
    fn what_cannot_be_computed_is_absent() {
        let one = RawTrial { output_tokens: Some(1), ..raw() };
        assert_eq!(decode_tok_s(&one), None, "one token has no rate");
        let burst = RawTrial { last_token_ns: Some(200_000_000), ..raw() };
        assert_eq!(decode_tok_s(&burst), None, "all tokens in one read have no rate");
        let uncounted = RawTrial { output_tokens: None, prompt_tokens: None, ..raw() };
        assert_eq!((decode_tok_s(&uncounted), prefill_tok_s(&uncounted)), (None, None));
        let cached = RawTrial { cached_tokens: Some(60), ..raw() };
        assert_eq!(prefill_tok_s(&cached), None, "a fully cached prompt has no prefill rate");
        assert_eq!(ttft_ms(&RawTrial::default()), None);
    }

    #[test]
    fn trials_are_never_fewer_than_five() {
        assert_eq!(BenchPlan::named("quick", Some(1)).unwrap().trials, 5);
        assert_eq!(BenchPlan::named("quick", Some(1000)).unwrap().trials, 100);
        assert!(BenchPlan::named("marathon", None).is_none());
    }
}
