//! What each view of a long history costs on this machine: `cargo run --release -p pilothouse-engine --example history_cost`.
//! It writes 20,000 runs of 50 requests, a fifth of them with traces, over two years, and asks what the views ask. With a number
//! as argument, so many runs.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use pilothouse_domain::{
    Timestamp,
    bench::{
        BenchPlan, Fingerprint, Interval, Run, RunState, Summary, Trial, TrialPhase, retention::Cutoffs,
    },
    error::ApiError,
    gauge::GaugeHistory,
    server::ServerId,
    settings::HistorySettings,
};
use pilothouse_engine::{
    report::exchange::Exchanged,
    store::{RunFilter, Store},
};
use std::time::{Duration, Instant};

const RUNS: u32 = 20_000;
const TRIALS: u32 = 50;
const WARMUPS: u32 = 2;
/// Samples of a trace: a minute at five a second.
const SAMPLES: i64 = 300;
/// Runs that are written at once.
const BATCH: u32 = 250;
/// Two years from the first to the last run.
const SPAN_MS: i64 = 2 * 365 * 86_400_000;
const CALLS: u32 = 200;
const SERVERS: [&str; 3] = ["ollama", "lmstudio", "llama-server"];
const MODELS: u32 = 12;

/// Steele, Lea and Flood's SplitMix64: the same history each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u32) -> u32 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u32
    }

    /// About `of`, off by a few per cent.
    fn about(&mut self, of: f64) -> f64 {
        of * (0.98 + 0.04 * f64::from(self.below(1000)) / 1000.0)
    }
}

fn main() -> Result<(), ApiError> {
    let runs = std::env::args().nth(1).and_then(|argument| argument.parse().ok()).unwrap_or(RUNS);
    let system = |error: std::io::Error| ApiError::internal(error.to_string());
    let folder = std::env::temp_dir().join(format!("pilothouse-history-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(system)?;
    let runtime = tokio::runtime::Runtime::new().map_err(system)?;
    let result = runtime.block_on(measure(&folder.join("history.sqlite3"), runs));
    std::fs::remove_dir_all(&folder).map_err(system)?;
    result
}

async fn measure(path: &std::path::Path, runs: u32) -> Result<(), ApiError> {
    let store = Store::open(path).await?.store;
    let begun = Instant::now();
    let now = Timestamp::now().as_millisecond();
    let mut random = Random(7);
    for batch in (0..runs).step_by(BATCH as usize) {
        let several: Vec<Exchanged> = (batch..(batch + BATCH).min(runs))
            .map(|number| {
                run(number, now - SPAN_MS + SPAN_MS / i64::from(runs) * i64::from(number), &mut random)
            })
            .collect();
        store.import_runs(&several).await?;
    }
    let written_s = begun.elapsed().as_secs_f64();
    println!("{runs} runs of {TRIALS} requests were written in {written_s:.0} s");
    tell_sizes(&store).await?;
    clean_up(&store).await?;
    store.close().await;
    // Nothing of what was written is in memory any more but in the system's own.
    let mut opening = Times::default();
    for _ in 0..20 {
        let begun = Instant::now();
        let store = Store::open(path).await?.store;
        store.runs(&RunFilter { limit: 1, ..RunFilter::default() }).await?;
        opening.add(begun.elapsed());
        store.close().await;
    }
    println!("\n{:<44}{:>10}{:>10}{:>7}", "view", "p50 ms", "p95 ms", "calls");
    opening.tell("a start: open, newest run");
    views(&Store::open(path).await?.store, runs, &mut random).await
}

/// What a first clean-up of such a history does.
async fn clean_up(store: &Store) -> Result<(), ApiError> {
    let cutoffs = Cutoffs::at(Timestamp::now(), &HistorySettings::default());
    let (begun, mut steps) = (Instant::now(), Times::default());
    loop {
        let step = Instant::now();
        if !store.forget_some(&cutoffs).await? && !store.give_room_back().await? {
            break;
        }
        steps.add(step.elapsed());
    }
    println!("\nA clean-up of all that is due took {:.0} s", begun.elapsed().as_secs_f64());
    println!("{:<44}{:>10}{:>10}{:>7}", "", "p50 ms", "p95 ms", "steps");
    steps.tell("one step of it");
    store.measure_size(&HistorySettings::default()).await?;
    tell_sizes(store).await
}

async fn tell_sizes(store: &Store) -> Result<(), ApiError> {
    let size = store.size(&HistorySettings::default()).await?;
    println!("{} runs, {} requests, {} samples of gauges", size.runs, size.trials, size.samples);
    println!("{:<28}{:>9.1} MB", "file", size.file_bytes as f64 / 1e6);
    for table in size.tables.iter().filter(|table| table.bytes > 100_000) {
        println!("{:<28}{:>9.1} MB", table.name, table.bytes as f64 / 1e6);
    }
    Ok(())
}

/// Asks what each view asks.
async fn views(store: &Store, runs: u32, random: &mut Random) -> Result<(), ApiError> {
    let all = RunFilter::default();
    let model = |name: &str| Some(name.to_owned());
    let last = runs.saturating_sub(50);
    for (what, filter) in [
        ("history, page 1", all.clone()),
        ("history, page 100", RunFilter { offset: 4950.min(last), ..all.clone() }),
        ("history, last page", RunFilter { offset: last, ..all.clone() }),
        ("history of one model", RunFilter { model: model("model-3"), ..all.clone() }),
        ("history of one model, page 10", RunFilter { model: model("model-3"), offset: 450, ..all.clone() }),
        ("history of a model that has no run", RunFilter { model: model("nothing"), ..all.clone() }),
        ("history of a rare model", RunFilter { model: model("rare"), ..all.clone() }),
        (
            "history of a server and a plan",
            RunFilter { server: Some(SERVERS[1].into()), plan: model("standard"), ..all.clone() },
        ),
        ("history of what was cancelled", RunFilter { state: Some(RunState::Cancelled), ..all.clone() }),
    ] {
        let mut times = Times::default();
        for _ in 0..CALLS {
            let begun = Instant::now();
            store.runs(&filter).await?;
            times.add(begun.elapsed());
        }
        times.tell(what);
    }
    let mut any = || i64::from(random.below(runs)) + 1;
    let traced = || i64::from(runs) / 5 * 5;
    let (mut plain, mut with_trace, mut compared) = (Times::default(), Times::default(), Times::default());
    for number in 0..CALLS {
        let (one, other) = (any(), any());
        let begun = Instant::now();
        store.run(one).await?;
        plain.add(begun.elapsed());
        let begun = Instant::now();
        store.run((traced() - 5 * i64::from(number)).max(1)).await?;
        with_trace.add(begun.elapsed());
        let begun = Instant::now();
        let a = store.run_without_trace(one).await?;
        let b = store.run_without_trace(other).await?;
        store.noise_floor().await?;
        compared.add(begun.elapsed());
        drop((a, b));
    }
    plain.tell("a run with its requests");
    with_trace.tell("a run with its requests and trace");
    compared.tell("two runs and the noise, for a comparison");
    let (mut listed, mut series, mut baseline) = (Times::default(), Times::default(), Times::default());
    let (mut newest, mut each, mut size) = (Times::default(), Times::default(), Times::default());
    for number in 0..CALLS {
        let begun = Instant::now();
        let all = store.all_series(&RunFilter { limit: 200, ..RunFilter::default() }).await?;
        listed.add(begun.elapsed());
        let key = &all[number as usize % all.len()].key;
        let begun = Instant::now();
        store.series(&key.server, &key.model, &key.plan, 400).await?;
        series.add(begun.elapsed());
        let begun = Instant::now();
        store.series(&key.server, &key.model, &key.plan, 200).await?;
        store.accepted_levels().await?;
        baseline.add(begun.elapsed());
        let begun = Instant::now();
        store.newest_runs(&key.server, 10).await?;
        newest.add(begun.elapsed());
        let begun = Instant::now();
        store.newest_of_each(100).await?;
        each.add(begun.elapsed());
        let begun = Instant::now();
        store.size(&HistorySettings::default()).await?;
        size.add(begun.elapsed());
    }
    listed.tell("trends: which series there are");
    series.tell("trends: a series of 400 runs");
    baseline.tell("the watch after a run: a series of 200 runs");
    newest.tell("forecast: the newest runs of each model");
    each.tell("report: the newest run of each kind");
    size.tell("size");
    Ok(())
}

#[derive(Default)]
struct Times(Vec<f64>);

impl Times {
    fn add(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64() * 1000.0);
    }

    fn tell(mut self, what: &str) {
        self.0.sort_by(f64::total_cmp);
        let at = |share: usize| self.0[(self.0.len() * share / 100).min(self.0.len() - 1)];
        println!("{what:<44}{:>10.2}{:>10.2}{:>7}", at(50), at(95), self.0.len());
    }
}

/// What one model, server and plan gave once.
fn run(number: u32, started_ms: i64, random: &mut Random) -> Exchanged {
    let plan = match random.below(20) {
        0..=13 => "quick",
        14..=16 => "standard",
        _ => "ab",
    };
    let mut plan = BenchPlan::named(plan, Some(TRIALS)).unwrap_or_else(|| unreachable!("it is one of ours"));
    plan.trials = TRIALS;
    let server = ServerId::from(SERVERS[random.below(3) as usize]);
    let model = match random.below(2000) {
        0 => "rare:70b".to_owned(),
        _ => format!("model-{}:7b-instruct-q4_K_M", random.below(MODELS)),
    };
    let started_at = Timestamp::from_millisecond(started_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut run = Run::begun(i64::from(number) + 1, started_at, plan, server, model);
    run.state = if random.below(100) == 0 { RunState::Cancelled } else { RunState::Done };
    run.server_version = Some(format!("0.{}.1", number / 1000));
    run.peak_memory_bytes = Some(5_100_000_000);
    run.fingerprint = fingerprint(number);
    (run.trials, run.warmups) = (TRIALS, WARMUPS);
    let mut spread = |of: f64, source: &str| {
        let median = random.about(of);
        let (low, high) = (median * 0.99, median * 1.01);
        Some(Summary {
            median,
            low,
            high,
            n: TRIALS,
            interval: Interval::Confidence95,
            source: source.into(),
        })
    };
    run.ttft_ms = spread(240.0, "client");
    run.decode_tok_s = spread(58.0, "client");
    run.prefill_tok_s = spread(800.0, "client");
    run.e2e_ms = spread(1400.0, "client");
    run.server_decode_tok_s = spread(58.2, "server");
    run.server_prefill_tok_s = spread(810.0, "server");
    run.reasons = vec!["GPU idle 12 % of this run: the prompt decides.".into()];
    // Every sixth was measured against the one before it.
    run.against = (number % 6 == 5 && !number.is_multiple_of(BATCH)).then_some(i64::from(number));
    let trials = (0..WARMUPS + TRIALS).map(|seq| trial(seq, random)).collect();
    let trace = number.is_multiple_of(5).then(|| trace(started_ms, random));
    Exchanged { metrics_version: 1, ended_at: None, run, trials, trace, cards: None }
}

fn fingerprint(number: u32) -> Fingerprint {
    let version = format!("0.{}.1", number / 1000);
    [
        ("pilothouse", "0.1.0"),
        ("machine", "Mac Studio"),
        ("chip", "Apple M4 Max"),
        ("architecture", "aarch64"),
        ("memory_bytes", "38654705664"),
        ("quantization", "Q4_K_M"),
        ("weights_digest", "sha256:4b6f1e0f2a7c9d3e5f8a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60"),
        ("bits_per_weight", "4.85"),
        ("size_bytes", "4683074240"),
        ("context", "8192"),
        ("parallel", "1"),
        ("kv_type", "f16"),
        ("flash_attention", "on"),
        ("os", "macOS 26.1"),
        ("computes_on", "card"),
        ("gpus", "Apple M4 Max (32 cores)"),
        ("gpu_driver", "not reported"),
        ("server_version", version.as_str()),
        ("power_source", "mains"),
        ("template", "none"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn trial(seq: u32, random: &mut Random) -> Trial {
    Trial {
        seq,
        phase: if seq < WARMUPS { TrialPhase::Warmup } else { TrialPhase::Measured },
        begun_ms: Some(1500.0 * f64::from(seq)),
        late_ms: Some(0.0),
        ttft_ms: Some(random.about(240.0)),
        decode_tok_s: Some(random.about(58.0)),
        prefill_tok_s: Some(random.about(800.0)),
        total_ms: random.about(1400.0),
        output_tokens: Some(64),
        prompt_tokens: Some(71),
        cached_tokens: Some(0),
        server_decode_tok_s: Some(random.about(58.2)),
        server_prefill_tok_s: Some(random.about(810.0)),
        finish: Some("length".into()),
        // Every tenth, so that writing the history does not take all the time.
        gaps_us: seq.is_multiple_of(10).then(|| (0..63).map(|_| 16_000 + random.below(4000)).collect()),
        ..Trial::default()
    }
}

fn trace(started_ms: i64, random: &mut Random) -> GaugeHistory {
    let mut trace = GaugeHistory { step_ms: 200, ..GaugeHistory::default() };
    for sample in 0..SAMPLES {
        trace.at_ms.push(started_ms + 200 * sample);
        let mut about = |of: f64| Some(random.about(of));
        let row = [about(12.0), about(21e9), Some(0.0), about(80.0), None, about(39.0), about(6e9)];
        trace.columns.push(&row);
    }
    trace
}
