use crate::{
    document,
    history::figure,
    output::Output,
    serve,
    session::{Session, unexpected},
};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use pilothouse_domain::{
    bench::{BenchProgress, Run, TrialPhase},
    server::ServerId,
    snapshot::Snapshot,
    units::gigabytes,
};
use pilothouse_engine::api::{ApiError, Call, ErrorCode, Reply};

#[derive(Args)]
pub struct Bench {
    /// Default: the active model.
    model: Option<String>,
    #[arg(long)]
    server: Option<String>,
    #[arg(long, value_parser = clap::value_parser!(u32).range(5..=100))]
    trials: Option<u32>,
    /// quick (64 words in, 64 tokens out) or standard (384 in, 128 out).
    #[arg(long, default_value = "quick", value_parser = ["quick", "standard"])]
    plan: String,
}

/// Measures through the running engine, or through one of its own when none runs.
pub async fn run(arguments: Bench, output: &Output) -> Result<u8, ApiError> {
    match Session::connect() {
        Ok(session) => measure(&session, arguments, output).await,
        Err(error) if error.code == ErrorCode::NotRunning => {
            output.remark("Pilothouse does not run; starting an engine for this benchmark.");
            let engine = serve::start(None).await?;
            let ready = serve::until_active(&engine.handle()).await;
            let result = match (ready, Session::connect()) {
                (Ok(()), Ok(session)) => measure(&session, arguments, output).await,
                (Err(error), _) | (_, Err(error)) => Err(error),
            };
            engine.shutdown().await;
            result
        }
        Err(error) => Err(error),
    }
}

async fn measure(session: &Session, arguments: Bench, output: &Output) -> Result<u8, ApiError> {
    let call = Call::Bench {
        model: arguments.model,
        server: arguments.server.map(ServerId),
        plan: Some(arguments.plan),
        trials: arguments.trials,
        up_to: None,
        when_disturbed: None,
        against: None,
    };
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
        other => Err(unexpected(&other)),
    }
}

fn show(bar: &ProgressBar, progress: &BenchProgress) {
    let phase = match progress.phase {
        TrialPhase::Warmup => "warming up",
        TrialPhase::Measured => "measuring",
    };
    let rate = progress.last_decode_tok_s.map(|rate| format!(", {rate:.1} tok/s")).unwrap_or_default();
    bar.set_length(progress.total.into());
    bar.set_position(progress.done.into());
    bar.set_message(format!("{} on {}: {phase}{rate}", progress.model, progress.server));
}

fn text(run: &Run) -> String {
    let peak = run.peak_memory_bytes.map_or_else(|| "not reported".into(), gigabytes);
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
        format!("peak memory   {peak}"),
        format!("run {}: median (low–high), client clock", run.run_id),
    ];
    lines.extend(run.note.iter().map(|note| format!("note: {note}")));
    lines.join("\n")
}
