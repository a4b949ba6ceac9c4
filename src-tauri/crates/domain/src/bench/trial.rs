//! One request of a run: its raw instants, and the figures that follow from them.

use super::gaps::MOST_GAPS;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Whether a request counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum TrialPhase {
    Warmup,
    #[default]
    Measured,
}

/// What a server can know of the beginning of a prompt, in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum PrefixUse {
    /// All but the new turn was sent before, and may come from its cache.
    Kept,
    /// It begins unlike everything before: nothing can.
    New,
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
    /// Those of them that came by the same read as the first: one stamp for all.
    pub first_events: u32,
    /// Output tokens as the server counts them.
    pub output_tokens: Option<u32>,
    /// Prompt tokens, cached ones included.
    pub prompt_tokens: Option<u32>,
    /// Prompt tokens that came from the server's cache.
    pub cached_tokens: Option<u32>,
    /// Between each event with text and the next, in microseconds; the first [`MOST_GAPS`].
    pub gaps_us: Vec<u32>,
}

/// One request of a run with its figures. A figure that cannot be computed is `None`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Trial {
    pub seq: u32,
    pub phase: TrialPhase,
    /// Of a comparison: the block, from 1, that it belongs to; each has one trial of either side. Of loads which load it followed,
    /// of agent the conversation, of a replay the prompt, all from 1.
    #[serde(default)]
    pub block: Option<u32>,
    /// Of a sweep: requests at a time; of copies: copies in memory, each with one. `None`: one.
    #[serde(default)]
    pub concurrency: Option<u32>,
    /// Since the begin of the run until it was sent. `None`: of rows that were kept before this was.
    #[serde(default)]
    pub begun_ms: Option<f64>,
    /// Between the moment in which it was due and that in which it was sent; 0 where the next request waits for the last.
    #[serde(default)]
    pub late_ms: Option<f64>,
    /// Of a conversation: the turn, from 1.
    #[serde(default)]
    pub turn: Option<u32>,
    /// Of a conversation: whether its beginning may come from the server's cache.
    #[serde(default)]
    pub prefix: Option<PrefixUse>,
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
    /// The time between its events with text, in microseconds, client clock. `None`: not kept, as of warm-ups and of what is old.
    #[serde(default)]
    pub gaps_us: Option<Vec<u32>>,
}

/// Time to the first token in milliseconds.
pub fn ttft_ms(raw: &RawTrial) -> Option<f64> {
    raw.first_token_ns.map(|ns| ns as f64 / 1e6)
}

impl RawTrial {
    /// An event with text came at this instant.
    pub fn text_came(&mut self, ns: u64) {
        let first = *self.first_token_ns.get_or_insert(ns);
        if let Some(last) = self.last_token_ns.filter(|_| self.gaps_us.len() < MOST_GAPS) {
            self.gaps_us.push(u32::try_from(ns.saturating_sub(last) / 1000).unwrap_or(u32::MAX));
        }
        self.last_token_ns = Some(ns);
        self.token_events += 1;
        self.first_events += u32::from(ns == first);
    }

    /// Whether more than one token came, all by one read: a whole answer instead of a stream, or a stream that somebody on the
    /// way has collected. Then nothing is known of the instant of its first token.
    pub fn came_at_once(&self) -> bool {
        let several = self.output_tokens.is_none_or(|tokens| tokens > 1);
        several && self.first_token_ns.is_some() && self.first_token_ns == self.last_token_ns
    }

    /// Tokens that were there with the first read (k1): usually one, more where a server puts several into an event, or a read
    /// takes several events.
    fn first_tokens(&self) -> Option<u32> {
        let tokens = f64::from(self.output_tokens?);
        let in_event = (tokens / f64::from(self.token_events.max(1))).round().max(1.0);
        Some((in_event * f64::from(self.first_events.max(1))) as u32)
    }
}

/// Why a trial does not count, in words; `None`: it does. One without the server's count of tokens counts too: it only has no
/// rates. `max_tokens`: what was asked for.
pub fn flaw(raw: &RawTrial, max_tokens: u32) -> Option<String> {
    let short = raw.output_tokens.filter(|tokens| *tokens < max_tokens.div_ceil(2));
    match short {
        Some(tokens) => Some(format!("stopped after {tokens} of {max_tokens} tokens")),
        None if raw.first_token_ns.is_none() => Some("no text came".into()),
        None if raw.came_at_once() => {
            Some("the whole answer came at once, so its first token and its rate cannot be told".into())
        }
        None => None,
    }
}

/// Decode rate `(N - k1) / (tL - t4)`, k1 being the tokens that came with the first read. `None` below two tokens or when all
/// of them came in one read.
pub fn decode_tok_s(raw: &RawTrial) -> Option<f64> {
    let later = raw.output_tokens?.checked_sub(raw.first_tokens()?)?;
    let span = raw.last_token_ns?.checked_sub(raw.first_token_ns?)?;
    (later > 0 && span > 0).then(|| f64::from(later) / (span as f64 / 1e9))
}

/// Prefill rate `(P - Pc) / ttft`: it includes the fixed cost of a request, so it is a lower bound.
pub fn prefill_tok_s(raw: &RawTrial) -> Option<f64> {
    let computed = raw.prompt_tokens?.checked_sub(raw.cached_tokens.unwrap_or(0))?;
    let first = raw.first_token_ns.filter(|ns| *ns > 0)?;
    (computed > 0).then(|| f64::from(computed) / (first as f64 / 1e9))
}

impl Trial {
    /// Whether it counts in the summary of its run. Of a conversation that is as a program holds one: the requests whose
    /// beginning nobody can know are there to be held against.
    pub fn counts(&self) -> bool {
        self.is_measured() && self.flaw.is_none() && self.prefix != Some(PrefixUse::New)
    }

    /// Milliseconds between the moment in which it was due and its sending; 0 where none was due before.
    pub fn late_or_in_time(&self) -> f64 {
        self.late_ms.unwrap_or(0.0)
    }

    /// Whether it was sent to be measured, whatever came of it.
    pub fn is_measured(&self) -> bool {
        self.phase == TrialPhase::Measured
    }

    /// Whether no other request of its level was under way with it. Those of an open loop count as they come.
    pub fn is_alone(&self) -> bool {
        self.concurrency.is_none_or(|requests| requests == 1)
    }
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
            first_events: 1,
            output_tokens: Some(101),
            prompt_tokens: Some(60),
            cached_tokens: Some(10),
            gaps_us: vec![],
        }
    }

    #[test]
    fn figures_follow_their_formulas() {
        let raw = raw();
        assert_eq!(ttft_ms(&raw), Some(200.0));
        assert_eq!(decode_tok_s(&raw), Some(100.0));
        assert_eq!(prefill_tok_s(&raw), Some(250.0));
    }

    /// A trial whose events with text came at these instants, in milliseconds.
    fn events(at_ms: &[u64], output_tokens: Option<u32>) -> RawTrial {
        let mut raw = RawTrial { output_tokens, ..RawTrial::default() };
        at_ms.iter().for_each(|ms| raw.text_came(ms * 1_000_000));
        raw
    }

    #[test]
    fn several_tokens_in_a_read_are_counted_where_they_came() {
        for (what, at_ms, tokens, rate) in [
            ("one by one", vec![100, 200, 300, 400, 500], 5, Some(10.0)),
            ("a blank token", vec![100, 200, 300, 400, 500], 6, Some(12.5)),
            ("two events in the first read", vec![100, 100, 200, 300, 400, 500], 6, Some(10.0)),
            ("two events in a later read", vec![100, 200, 200, 300, 400, 500], 6, Some(12.5)),
            ("four tokens in an event", vec![100, 500, 900], 12, Some(10.0)),
            ("four tokens in an event, two in the first read", vec![100, 100, 500], 12, Some(10.0)),
            ("all at once", vec![100, 100, 100], 3, None),
            ("one event for all", vec![100], 12, None),
        ] {
            assert_eq!(decode_tok_s(&events(&at_ms, Some(tokens))), rate, "{what}");
        }
    }

    #[test]
    fn gaps_lie_between_events_and_are_bounded() {
        assert_eq!(events(&[100, 120, 120, 1120], None).gaps_us, [20_000, 0, 1_000_000]);
        assert_eq!(events(&[100], None).gaps_us, [0; 0]);
        let long: Vec<u64> = (0..MOST_GAPS as u64 + 10).collect();
        assert_eq!(events(&long, None).gaps_us.len(), MOST_GAPS);
        assert_eq!(events(&[0, 5_000_000_000], None).gaps_us, [u32::MAX], "longer than an hour");
    }

    #[test]
    fn a_flaw_is_of_the_answer_and_not_of_the_counting() {
        let at_once = Some("the whole answer came at once, so its first token and its rate cannot be told");
        for (what, raw, wanted) in [
            ("as it should be", events(&[1, 2], Some(8)), None),
            ("nobody counts", events(&[1, 2], None), None),
            ("short", events(&[1, 2], Some(3)), Some("stopped after 3 of 8 tokens")),
            ("short and at once", events(&[1], Some(1)), Some("stopped after 1 of 8 tokens")),
            ("one event", events(&[1], Some(8)), at_once),
            ("one read", events(&[1, 1, 1], Some(8)), at_once),
            ("one event, and nobody counts", events(&[1], None), at_once),
            ("no text", events(&[], Some(8)), Some("no text came")),
            ("nothing", events(&[], None), Some("no text came")),
        ] {
            assert_eq!(flaw(&raw, 8).as_deref(), wanted, "{what}");
        }
        assert!(!events(&[5], Some(1)).came_at_once(), "a single token may come alone");
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
}
