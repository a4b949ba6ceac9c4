//! Runs for tests: made by arithmetic, the same each time.

use pilothouse_domain::{
    Timestamp,
    bench::{
        BenchPlan, Fingerprint, Run, RunDetail, RunState, RunTrace, Trial, TrialPhase,
        sweep::{Knee, Sweep, SweepPoint, TtftSpread},
        trace::CardTrace,
    },
    gauge::GaugeHistory,
};

/// 2026-11-20 09:00 UTC, so many minutes later.
pub fn at(minutes: i64) -> Timestamp {
    Timestamp::from_second(1_795_165_200 + 60 * minutes).unwrap()
}

pub fn fingerprint() -> Fingerprint {
    [
        ("pilothouse", "0.1.0"),
        ("machine", "Mac Studio"),
        ("chip", "Apple M4 Max"),
        ("architecture", "aarch64"),
        ("memory_bytes", "38654705664"),
        ("quantization", "Q4_K_M"),
        ("size_bytes", "4683074240"),
        ("context", "8192"),
        ("os", "macOS 26.1"),
        ("computes_on", "card"),
        ("gpus", "Apple M4 Max (32 cores)"),
        ("gpu_driver", "not reported"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// A run of ten requests and two warm-ups; its decode rate is about `rate`.
pub fn detail(run_id: i64, server: &str, model: &str, rate: f64) -> RunDetail {
    let plan = BenchPlan::named("quick", None).unwrap();
    let mut run = Run::begun(run_id, at(run_id), plan, server.into(), model);
    run.state = RunState::Done;
    run.server_version = Some("0.33.1".into());
    run.peak_memory_bytes = Some(5_100_000_000);
    run.fingerprint = fingerprint();
    let mut trials = Vec::new();
    for (phase, count) in [(TrialPhase::Warmup, 2_u32), (TrialPhase::Measured, 10)] {
        for seq in 0..count {
            // A wave instead of chance.
            let wave = f64::from((seq * 7 + 3) % 10) / 10.0 - 0.45;
            let before = if phase == TrialPhase::Warmup { seq } else { seq + 2 };
            trials.push(Trial {
                seq,
                phase,
                begun_ms: Some(2000.0 + 1600.0 * f64::from(before)),
                late_ms: Some(0.0),
                ttft_ms: Some(236.0 + 10.0 * wave),
                decode_tok_s: Some(rate * (1.0 + 0.02 * wave)),
                prefill_tok_s: Some(812.0 + 20.0 * wave),
                total_ms: 1500.0,
                output_tokens: Some(64),
                prompt_tokens: Some(71),
                cached_tokens: Some(0),
                server_decode_tok_s: Some(rate * 1.004),
                finish: Some("length".into()),
                ..Trial::default()
            });
        }
    }
    run.sum_up(&trials);
    let trace = Some(trace(run.started_at));
    RunDetail { run, trials, trace, cards: None }
}

/// Two cards, of which the second does nothing and tells no power.
pub fn cards() -> RunTrace {
    let card = |name: &str, load: f64, watts: Option<f64>| CardTrace {
        name: name.into(),
        load_percent: vec![Some(load); 88],
        memory_used_bytes: vec![Some(8 << 30); 88],
        power_w: vec![watts; 88],
        temperature_c: vec![None; 88],
        clock_mhz: vec![Some(1500); 88],
        throttle: vec![Some(vec![]); 88],
    };
    RunTrace {
        at_ms: (0..88).map(|index| 250.0 * f64::from(index)).collect(),
        instance_memory_bytes: vec![Some(5_000_000_000); 88],
        cards: vec![card("RTX 4090", 97.0, Some(310.0)), card("RTX <3060>", 0.0, None)],
        by_minute: None,
    }
}

/// Two seconds of rest, then 20 s of work, four samples a second.
fn trace(from: Timestamp) -> GaugeHistory {
    let mut trace = GaugeHistory { step_ms: 250, ..GaugeHistory::default() };
    for index in 0..88_i32 {
        let busy = index >= 8;
        let (load, watts) = if busy { (80.0, 39.0) } else { (3.0, 9.0) };
        trace.at_ms.push(from.as_millisecond() + 250 * i64::from(index));
        let cpu = 12.0 + f64::from(index % 5);
        let memory = if busy { 21e9 } else { 16e9 };
        trace.columns.push(&[
            Some(cpu),
            Some(memory),
            Some(0.0),
            Some(load),
            None,
            Some(watts),
            Some(memory - 15e9),
        ]);
    }
    trace
}

/// A run of which nothing is known that need not be.
pub fn bare(run_id: i64, server: &str, model: &str) -> RunDetail {
    let plan = BenchPlan::named("quick", None).unwrap();
    let mut run = Run::begun(run_id, at(run_id), plan, server.into(), model);
    run.state = RunState::Done;
    let trial = |seq| Trial { seq, ttft_ms: Some(400.0), total_ms: 900.0, ..Trial::default() };
    let trials: Vec<Trial> = (0..5).map(trial).collect();
    run.sum_up(&trials);
    RunDetail { run, trials, trace: None, cards: None }
}

/// Both sides of a comparison in turns.
pub fn pair(first: i64, model: &str, rates: (f64, f64)) -> [RunDetail; 2] {
    let mut sides = [detail(first, "ollama", model, rates.0), detail(first + 1, "lmstudio", model, rates.1)];
    for (index, side) in sides.iter_mut().enumerate() {
        side.run.plan = BenchPlan::named("ab", None).unwrap();
        side.run.against = Some(first + if index == 0 { 1 } else { 0 });
        for trial in side.trials.iter_mut().filter(|trial| trial.phase == TrialPhase::Measured) {
            trial.block = Some(trial.seq + 1);
        }
    }
    sides[1].run.peak_memory_bytes = Some(4_400_000_000);
    sides
}

/// A sweep with its knee at 4.
pub fn sweep(run_id: i64, server: &str, model: &str) -> RunDetail {
    let mut detail = detail(run_id, server, model, 58.0);
    detail.run.plan = BenchPlan::named("sweep", None).unwrap();
    let point = |concurrency: u32| {
        let n = f64::from(concurrency);
        let all = 240.0 * n / (n + 3.0);
        SweepPoint {
            concurrency,
            requests: 32,
            failed: 0,
            out_tok_s: Some(all),
            decode_tok_s: Some(all / n),
            decode: None,
            ttft_ms: Some(TtftSpread {
                median: 200.0 + 20.0 * n,
                p95: 230.0 + 15.0 * n * n,
                low: None,
                high: None,
                n: None,
                interval: None,
            }),
            memory_bytes: Some(4_870_000_000 + 80_000_000 * u64::from(concurrency)),
            gpu_load_percent: Some((80.0 + 3.0 * n).min(98.0)),
            power_w: None,
            goodput: Some(if concurrency > 2 { 0.5 } else { 1.0 }),
        }
    };
    detail.run.sweep = Some(Sweep {
        points: [1, 2, 3, 4, 6, 8].into_iter().map(point).collect(),
        knee: Some(Knee { concurrency: 4, method: "the fewest with 90 % of the most that was seen".into() }),
        knee_absent: None,
        best: Some(2),
        again: Some(-0.005),
        slo_ms: 300,
    });
    detail
}
