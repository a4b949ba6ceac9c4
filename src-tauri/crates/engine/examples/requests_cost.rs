//! What records of requests cost on this machine: `cargo run --release -p pilothouse-engine --example requests_cost`. It records and
//! writes 1,000,000 of them over 30 days, of 6 clients and 5 models, and asks what the views ask. With a number as argument, so
//! many.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use pilothouse_domain::{
    Timestamp,
    error::ApiError,
    settings::HistorySettings,
    traffic::{Client, RequestRecord, RequestState, StateFilter, Tokens, TrafficFilter, pieces, totals},
};
use pilothouse_engine::store::Store;
use pilothouse_records::Recorder;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const REQUESTS: u64 = 1_000_000;
const BATCH: u64 = 256;
const DAY_MS: i64 = 86_400_000;
const SPAN_MS: i64 = 30 * DAY_MS;
const CALLS: usize = 100;
const CLIENTS: [&str; 6] = ["query-gen", "Open WebUI", "indexer", "notes", "aider", "Continue"];
const MODELS: [(&str, &str); 5] = [
    ("lmstudio", "qwen2.5-7b"),
    ("ollama", "qwen2.5:3b"),
    ("ollama", "nomic-embed-text"),
    ("lmstudio", "qwen2.5-0.5b"),
    ("llama-server", "gemma-3-4b"),
];

fn main() -> Result<(), ApiError> {
    let count = std::env::args().nth(1).and_then(|argument| argument.parse().ok()).unwrap_or(REQUESTS);
    let system = |error: std::io::Error| ApiError::internal(error.to_string());
    let folder = std::env::temp_dir().join(format!("pilothouse-requests-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(system)?;
    recording(count);
    let runtime = tokio::runtime::Runtime::new().map_err(system)?;
    let result = runtime.block_on(measure(&folder.join("history.sqlite3"), count));
    std::fs::remove_dir_all(&folder).map_err(system)?;
    result
}

/// The part that is on every request's way, on one thread, with a queue that somebody empties.
fn recording(count: u64) {
    let (recorder, mut ended) = Recorder::new(0);
    let begun = Instant::now();
    let mut taken = Duration::ZERO;
    for number in 0..count {
        let open = recorder.begin(record(number, count, 0));
        open.first_token();
        open.tokens(1);
        open.end(|record| record.tokens.output = Some(58));
        if number % 4096 == 0 {
            let emptying = Instant::now();
            while ended.try_recv().is_ok() {}
            taken += emptying.elapsed();
        }
    }
    let each_us = (begun.elapsed() - taken).as_secs_f64() * 1e6 / count as f64;
    println!("recording one request, its making included: {each_us:.2} us");
    let open = recorder.begin(RequestRecord::default());
    let begun = Instant::now();
    for _ in 0..10_000_000 {
        open.tokens(1);
    }
    println!("telling one token: {:.1} ns", begun.elapsed().as_secs_f64() * 1e9 / 1e7);
}

fn record(number: u64, count: u64, begin_ms: i64) -> RequestRecord {
    // Knuth's multiplicative hash: the same requests each time, in no order.
    let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let (server, model) = MODELS[(random % 5) as usize];
    let at_ms = begin_ms + (SPAN_MS as f64 * number as f64 / count as f64) as i64;
    RequestRecord {
        id: number + 1,
        at: Timestamp::from_millisecond(at_ms).unwrap_or_default(),
        client: Client {
            key: None,
            program: Some(CLIENTS[(random / 5 % 6) as usize].to_owned()),
            pid: Some(4711),
        },
        asked: Some("active".into()),
        server: Some(server.into()),
        model: Some(model.into()),
        role: Some("active".into()),
        state: if random.is_multiple_of(97) { RequestState::Failed } else { RequestState::Done },
        queued_ms: Some(0),
        ttft_ms: Some(30 + (random % 400) as u32),
        total_ms: Some(500 + (random % 4000) as u32),
        tokens: Tokens { input: Some(204), cached: Some(190), output: Some(61), counted: true },
        decode_tok_s: Some(40.0 + (random % 200) as f64),
        finish: Some("stop".into()),
        status: Some(200),
        streamed: true,
        ..RequestRecord::default()
    }
}

async fn measure(path: &std::path::Path, count: u64) -> Result<(), ApiError> {
    let store = Store::open(path).await?.store;
    let begin_ms = Timestamp::now().as_millisecond() - SPAN_MS;
    let begun = Instant::now();
    let mut writes = Vec::new();
    for first in (0..count).step_by(BATCH as usize) {
        let batch: Vec<_> = (first..(first + BATCH).min(count))
            .map(|number| Arc::new(record(number, count, begin_ms)))
            .collect();
        let write = Instant::now();
        store.add_requests(&batch).await?;
        writes.push(write.elapsed());
    }
    println!("{count} records were written in {:.0} s", begun.elapsed().as_secs_f64());
    println!("\n{:<44}{:>10}{:>10}", "", "p50 ms", "p95 ms");
    tell(&format!("a write of {BATCH}"), writes);
    let all = TrafficFilter::default;
    for (what, filter) in [
        ("page 1", all()),
        ("a page in the middle", TrafficFilter { before: Some(count.saturating_sub(100_000)), ..all() }),
        ("page 1 of a client", TrafficFilter { client: Some("notes".into()), ..all() }),
        ("page 1 of a model", TrafficFilter { model: Some("gemma-3-4b".into()), ..all() }),
        ("page 1 of those that failed", TrafficFilter { state: Some(StateFilter::Failed), ..all() }),
        ("a client that nobody has", TrafficFilter { client: Some("nobody".into()), ..all() }),
        ("a text that is found", TrafficFilter { find: Some("notes".into()), ..all() }),
        ("a text that is nowhere", TrafficFilter { find: Some("nowhere".into()), ..all() }),
    ] {
        let mut times = Vec::new();
        for _ in 0..CALLS {
            let begun = Instant::now();
            store.requests(&filter, 51).await?;
            times.push(begun.elapsed());
        }
        tell(what, times);
    }
    for (what, span_ms) in [
        ("totals of an hour", 3_600_000),
        ("totals of a day", DAY_MS),
        ("totals of a week", 7 * DAY_MS),
        ("totals of 30 days", SPAN_MS),
    ] {
        let (mut times, mut requests) = (Vec::new(), 0);
        for _ in 0..CALLS {
            let begun = Instant::now();
            let now = Timestamp::now();
            let cells =
                store.request_cells(&pieces(now.as_millisecond() - span_ms, now.as_millisecond())).await?;
            requests = totals(&cells, now, now, 0).all.requests;
            times.push(begun.elapsed());
        }
        tell(&format!("{what} ({requests})"), times);
    }
    let size = store.size(&HistorySettings::default()).await?;
    println!("\n{:<28}{:>9.1} MB", "file", size.file_bytes as f64 / 1e6);
    for table in size.tables.iter().filter(|table| table.name.starts_with("request")) {
        println!("{:<28}{:>9.1} MB", table.name, table.bytes as f64 / 1e6);
    }
    store.close().await;
    Ok(())
}

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or_default();
    println!("{what:<44}{:>10.2}{:>10.2}", at(0.5).as_secs_f64() * 1e3, at(0.95).as_secs_f64() * 1e3);
}
