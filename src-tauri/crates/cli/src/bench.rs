use crate::{
    compare, document,
    history::figure,
    output::{Output, table},
    serve,
    session::{Session, unexpected},
};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use pilothouse_domain::{
    bench::{
        BenchProgress, Interval, Run, TrialPhase,
        plan::{MAX_QUIET_WAIT_S, WhenDisturbed},
        quiet::in_words,
        sweep::{Sweep as Levels, SweepPoint},
    },
    server::ServerId,
    snapshot::Snapshot,
    units::gigabytes,
};
use pilothouse_engine::api::{ApiError, BenchSide, Call, ErrorCode, Reply};

#[derive(Args)]
pub struct Bench {
    /// Default: the active model. `SERVER/MODEL` names one of several.
    model: Option<String>,
    #[arg(long)]
    server: Option<String>,
    /// Measure this model in turns with it and say which one is faster; it may be the same.
    #[arg(long, value_name = "MODEL")]
    against: Option<String>,
    /// The server of the other model.
    #[arg(long, value_name = "SERVER", requires = "against")]
    against_server: Option<String>,
    /// Measured requests; of a comparison, blocks of one request of each side to begin with.
    #[arg(long, visible_alias = "blocks", value_parser = clap::value_parser!(u32).range(5..=100))]
    trials: Option<u32>,
    /// quick (64 words in, 64 tokens out), standard (384 in, 128 out), ab (with --against) or sweep. Default: quick, or ab.
    #[arg(long, value_parser = ["quick", "standard", "ab", "sweep"])]
    plan: Option<String>,
    /// Go on with a run that was cut off or cancelled, instead of a new one.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["model", "server", "against", "trials", "plan"])]
    resume: Option<i64>,
    #[command(flatten)]
    gate: Gate,
}

#[derive(Args)]
pub struct Sweep {
    /// Default: the active model.
    model: Option<String>,
    #[arg(long)]
    server: Option<String>,
    /// The most requests at a time.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    up_to: u32,
    /// Measured requests at one at a time; more at the levels above.
    #[arg(long, value_parser = clap::value_parser!(u32).range(5..=100))]
    trials: Option<u32>,
    /// A first token within so many milliseconds is in time. Default: bench.slo_ms of the settings, 300.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    slo_ms: Option<u32>,
    #[command(flatten)]
    gate: Gate,
}

/// What is done on a machine that is not quiet.
#[derive(Args)]
struct Gate {
    /// When other programs disturb for too long: mark the run, or stop before anything is measured.
    #[arg(long, value_name = "WHAT", default_value = "mark", value_parser = ["mark", "stop"])]
    when_disturbed: String,
    /// Seconds to wait for a quiet machine before that, altogether; 0: not at all. Default: 10 for quick, 60 for the others.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_QUIET_WAIT_S)))]
    quiet_wait: Option<u32>,
}

impl Gate {
    fn when_disturbed(&self) -> WhenDisturbed {
        match self.when_disturbed.as_str() {
            "stop" => WhenDisturbed::Stop,
            _ => WhenDisturbed::Mark,
        }
    }
}

pub async fn run(arguments: Bench, output: &Output) -> Result<u8, ApiError> {
    let call = Call::Bench {
        model: arguments.model,
        server: arguments.server.map(ServerId),
        plan: arguments.plan,
        trials: arguments.trials,
        up_to: None,
        when_disturbed: Some(arguments.gate.when_disturbed()),
        quiet_wait_s: arguments.gate.quiet_wait,
        against: arguments
            .against
            .map(|model| BenchSide { model, server: arguments.against_server.map(ServerId) }),
        slo_ms: None,
        resume: arguments.resume,
    };
    with_an_engine(call, output).await
}

pub async fn sweep(arguments: Sweep, output: &Output) -> Result<u8, ApiError> {
    let call = Call::Bench {
        model: arguments.model,
        server: arguments.server.map(ServerId),
        plan: Some("sweep".into()),
        trials: arguments.trials,
        up_to: Some(arguments.up_to),
        when_disturbed: Some(arguments.gate.when_disturbed()),
        quiet_wait_s: arguments.gate.quiet_wait,
        against: None,
        slo_ms: arguments.slo_ms,
        resume: None,
    };
    with_an_engine(call, output).await
}

/// Measures through the running engine, or through one of its own when none runs.
async fn with_an_engine(call: Call, output: &Output) -> Result<u8, ApiError> {
    match Session::connect() {
        Ok(session) => measure(&session, call, output).await,
        Err(error) if error.code == ErrorCode::NotRunning => {
            output.remark("Pilothouse does not run; starting an engine for this benchmark.");
            let engine = serve::start(None).await?;
            let ready = serve::until_active(&engine.handle()).await;
            let result = match (ready, Session::connect()) {
                (Ok(()), Ok(session)) => measure(&session, call, output).await,
                (Err(error), _) | (_, Err(error)) => Err(error),
            };
            engine.shutdown().await;
            result
        }
        Err(error) => Err(error),
    }
}

async fn measure(session: &Session, call: Call, output: &Output) -> Result<u8, ApiError> {
    let bar = output.progress();
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}") {
        bar.set_style(style);
    }
    let watch = |snapshot: &Snapshot| {
        if let Some(progress) = &snapshot.bench {
            show(&bar, progress);
        }
    };
    let reply = session.call_and_watch(call, Call::CancelBench, watch).await;
    bar.finish_and_clear();
    match reply? {
        Reply::Run { detail } => {
            output.answer(document::bench(&detail.run), || text(&detail.run));
            Ok(0)
        }
        Reply::Comparison { comparison } => {
            output.answer(document::comparison(&comparison), || compare::text(&comparison));
            Ok(0)
        }
        other => Err(unexpected(&other)),
    }
}

fn show(bar: &ProgressBar, progress: &BenchProgress) {
    let phase = match (progress.phase, progress.block, progress.concurrency) {
        (TrialPhase::Warmup, ..) => "warming up".to_owned(),
        (_, Some((block, blocks)), _) => format!("block {block} of {blocks}"),
        (_, _, Some(requests)) => format!("{requests} at a time"),
        (TrialPhase::Measured, None, None) => "measuring".to_owned(),
    };
    let rate = progress.last_decode_tok_s.map(|rate| format!(", {rate:.1} tok/s")).unwrap_or_default();
    let left = progress.left_s.map(|left| format!(", about {left:.0} s left")).unwrap_or_default();
    let waits: Vec<String> = progress.waits_for.iter().map(in_words).collect();
    bar.set_length(progress.total.into());
    bar.set_position(progress.done.into());
    bar.set_message(match waits.is_empty() {
        true => format!("{} on {}: {phase}{rate}{left}", progress.model, progress.server),
        false => format!("waiting for a quiet machine: {}", waits.join(", ")),
    });
}

fn text(run: &Run) -> String {
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "not reported".into(), gigabytes);
    let mut lines = vec![
        format!(
            "{} on {} · {} · {} trials, {} warm-ups",
            run.model, run.server, run.plan.name, run.trials, run.warmups
        ),
        format!("decode        {} tok/s", figure(run.decode_tok_s.as_ref())),
        format!("  server says {} tok/s", figure(run.server_decode_tok_s.as_ref())),
        format!("prefill       {} tok/s", figure(run.prefill_tok_s.as_ref())),
        format!("  server says {} tok/s", figure(run.server_prefill_tok_s.as_ref())),
        format!("first token   {} ms", figure(run.ttft_ms.as_ref())),
        format!("whole answer  {} ms", figure(run.e2e_ms.as_ref())),
        format!("peak memory   {}", bytes(run.peak_memory_bytes)),
    ];
    lines.extend(run.peak_gpu_memory_bytes.map(|bytes| format!("  on cards    {}", gigabytes(bytes))));
    lines.extend(run.energy_j_per_token.map(|joules| format!("energy        {joules:.2} J per token")));
    lines.extend(run.sweep.as_ref().map(sweep_text));
    let spread = match run.decode_tok_s.as_ref().or(run.ttft_ms.as_ref()).map(|summary| summary.interval) {
        Some(Interval::Confidence95) => "median (95 % interval)",
        _ => "median (range)",
    };
    lines.push(format!("run {}: {spread}, client clock", run.run_id));
    lines.extend(compare::disturbed(&run.disturbed));
    lines.extend(run.note.iter().map(|note| format!("note: {note}")));
    lines.join("\n")
}

fn sweep_text(sweep: &Levels) -> String {
    let in_time = format!("IN {} ms", sweep.slo_ms);
    let header =
        ["AT A TIME", "ALL tok/s", "EACH tok/s", "FIRST TOKEN ms", "95 %", in_time.as_str(), "FAILED"];
    let one = |figure: Option<f64>| figure.map_or_else(|| "–".into(), |figure| format!("{figure:.1}"));
    let row = |point: &SweepPoint| {
        vec![
            point.concurrency.to_string(),
            one(point.out_tok_s),
            point.decode.as_ref().map_or_else(|| one(point.decode_tok_s), |decode| figure(Some(decode))),
            point.ttft_ms.map_or_else(
                || "–".into(),
                |ttft| match ttft.low.zip(ttft.high) {
                    Some((low, high)) => format!("{:.1} ({low:.1}–{high:.1})", ttft.median),
                    None => one(Some(ttft.median)),
                },
            ),
            one(point.ttft_ms.map(|ttft| ttft.p95)),
            point.goodput.map_or_else(|| "–".into(), |share| format!("{:.0} %", 100.0 * share)),
            point.failed.to_string(),
        ]
    };
    let knee = match (&sweep.knee, &sweep.knee_absent) {
        (Some(knee), _) => format!("knee at {}: {}", knee.concurrency, knee.method),
        (None, why) => format!("no knee: {}", why.as_deref().unwrap_or("too few levels")),
    };
    format!("{}\n{knee}", table(&header, sweep.points.iter().map(row).collect()))
}
