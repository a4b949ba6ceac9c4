//! What runs under plans with a result of their own say, as text.

use crate::output::table;
use pilothouse_domain::bench::{
    Summary,
    conversation::{Conversation, ConversationTurn},
    open_loop::{Latency, MOST_UNDER_WAY, OpenLoop},
    percentiles::{MIN_FOR_P99, Percentiles},
    replay::Replay,
};

const ABSENT: &str = "–";

pub fn open_loop(found: &OpenLoop) -> String {
    let header = ["OPEN LOOP, ms", "FIRST TOKEN", "95 %", "99 %", "WHOLE ANSWER", "95 %", "99 %", "REQUESTS"];
    let row = |name: &str, latency: &Latency| {
        let of = |percentiles: Option<Percentiles>| match percentiles {
            Some(found) => [found.p50, found.p95, found.p99].map(|ms| format!("{ms:.0}")),
            None => [ABSENT; 3].map(str::to_owned),
        };
        let n = latency.e2e_ms.map_or(0, |e2e| e2e.n);
        let mut cells = vec![name.to_owned()];
        cells.extend(of(latency.ttft_ms));
        cells.extend(of(latency.e2e_ms));
        cells.push(n.to_string());
        cells
    };
    let mut rows = vec![row("from when it was due", &found.from_due)];
    if found.late > 0 {
        rows.push(row("from when it was sent", &found.from_sent));
    }
    rows.push(row("a client that waits", &found.waiting));
    let mut lines = vec![table(&header, rows), found.words.clone()];
    lines.push(format!(
        "{} of {} planned requests were sent, {} failed",
        found.sent, found.planned, found.failed
    ));
    if found.capped {
        lines.push(format!(
            "{} requests were sent late, up to {:.0} ms: at most {MOST_UNDER_WAY} are under way at a time",
            found.late,
            found.most_late_ms.unwrap_or(0.0)
        ));
    }
    if let Some(few) = found.from_due.ttft_ms.filter(|ttft| ttft.n < MIN_FOR_P99) {
        lines.push(format!(
            "99 % of {} values is a rough estimate; the greatest is {:.0} ms",
            few.n, few.greatest
        ));
    }
    lines.join("\n")
}

pub fn conversation(found: &Conversation) -> String {
    let header = ["TURN", "PROMPT tokens", "CACHED", "FIRST TOKEN ms, kept", "anew", "SAVED"];
    let count = |count: Option<u32>| count.map_or_else(|| ABSENT.into(), |count| count.to_string());
    let spread = |summary: &Option<Summary>| {
        summary.as_ref().map_or_else(
            || ABSENT.into(),
            |one| format!("{:.0} ({:.0}–{:.0})", one.median, one.low, one.high),
        )
    };
    let row = |turn: &ConversationTurn| {
        vec![
            turn.turn.to_string(),
            count(turn.prompt_tokens),
            count(turn.cached_tokens),
            spread(&turn.ttft_cached_ms),
            spread(&turn.ttft_cold_ms),
            turn.saved.map_or_else(|| ABSENT.into(), |share| format!("{:.0} %", 100.0 * share)),
        ]
    };
    format!("{}\n{}", table(&header, found.turns.iter().map(row).collect()), found.words)
}

pub fn replay(found: &Replay) -> String {
    let header = ["OF THE PROMPTS", "5 %", "MEDIAN", "95 %", "GREATEST"];
    let rows = [
        ("first token ms", found.ttft_ms, 0),
        ("decode tok/s", found.decode_tok_s, 1),
        ("whole answer ms", found.e2e_ms, 0),
        ("prompt tokens", found.prompt_tokens, 0),
        ("output tokens", found.output_tokens, 0),
    ];
    let row = |(name, percentiles, digits): (&str, Option<Percentiles>, usize)| {
        let cells = match percentiles {
            Some(of) => [of.p5, of.p50, of.p95, of.greatest].map(|value| format!("{value:.digits$}")),
            None => [ABSENT; 4].map(str::to_owned),
        };
        [vec![name.to_owned()], cells.to_vec()].concat()
    };
    let counts = format!("{} prompts were answered, {} were not", found.answered, found.failed);
    format!("{}\n{counts}; the prompts are not kept", table(&header, rows.into_iter().map(row).collect()))
}
