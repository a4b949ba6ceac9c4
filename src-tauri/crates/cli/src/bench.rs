use crate::{
    compare, completing, document,
    output::{Output, spread, strong, table},
    serve,
    session::{Session, unexpected},
};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use pilothouse_domain::{
    bench::{
        BenchPlan, BenchProgress, Interval, Run, RunState, TrialPhase,
        arrivals::ArrivalPattern,
        expected::expected,
        plan::WhenDisturbed,
        quiet::in_words,
        replay::{MAX_PROMPT_BYTES, prompts_of},
        sweep::{QUERY_MS, Sweep as Levels},
    },
    model::{Model, ModelRef, find_model},
    server::ServerId,
    snapshot::Snapshot,
    units::{gigabytes, short},
};
use pilothouse_engine::{
    api::{ApiError, BenchCall, BenchSide, Call, ErrorCode, Reply},
    report::{Results, results},
};
use pilothouse_system::ending;
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

#[derive(Args)]
pub struct Bench {
    /// Default: the active model. `SERVER/MODEL` names one of several.
    #[arg(add = completing::models())]
    model: Option<String>,
    #[arg(long, add = completing::servers())]
    server: Option<String>,
    /// Measure this model in turns with it and say which one is faster; it may be the same.
    #[arg(long, value_name = "MODEL")]
    against: Option<String>,
    /// The server of the other model.
    #[arg(long, value_name = "SERVER", requires = "against", add = completing::servers())]
    against_server: Option<String>,
    /// Measured requests, 5 to 100; of a comparison, blocks of one request of each side to begin with, 6 to 60; of agent,
    /// conversations, 3 to 20.
    #[arg(long, visible_alias = "blocks", value_name = "N")]
    trials: Option<u32>,
    /// quick (64 words in, 64 tokens out), standard (384 in, 128 out), ab (with --against), sweep, load (how long a load takes, and
    /// the first token after it), copies (several copies of the model in memory), open (with --rate), agent (conversations that
    /// grow) or replay (with --replay). Default: quick, or what the other options name.
    #[arg(long, value_parser = ["quick", "standard", "ab", "sweep", "load", "copies", "open", "agent", "replay"])]
    plan: Option<String>,
    /// The most copies of the plan copies; default 4.
    #[arg(long, value_name = "N", requires = "plan")]
    up_to: Option<u32>,
    /// Open loop: send so many requests by the second, 0.01 to 100, whatever the server does.
    #[arg(long, value_name = "R")]
    rate: Option<f64>,
    /// Open loop: for so many seconds, 5 to 600; at most 2000 requests. Default: 60.
    #[arg(long, value_name = "S")]
    seconds: Option<u32>,
    /// Open loop: as from many people who know nothing of each other, or evenly. Default: poisson.
    #[arg(long, value_name = "HOW", value_parser = ["poisson", "constant"])]
    arrivals: Option<String>,
    /// Agent: turns of a conversation, 2 to 12. Default: 6.
    #[arg(long, value_name = "N")]
    turns: Option<u32>,
    /// Ask the prompts of this file once each: JSON Lines ({"prompt": "…"} or {"messages": […]}, with or without max_tokens), or
    /// one prompt a line; at most 200 prompts and 500,000 bytes. `-`: standard input. The prompts are not kept, only their number
    /// and a digest.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Go on with a run that was cut off or cancelled, instead of a new one.
    #[arg(long, value_name = "RUN", conflicts_with_all = [
        "model", "server", "against", "trials", "plan", "rate", "seconds", "arrivals", "turns", "replay",
    ])]
    resume: Option<i64>,
    /// With --against, where nobody knows yet how much this machine scatters: do not compare the first model with itself before.
    #[arg(long, requires = "against")]
    assume_noise: bool,
    #[command(flatten)]
    gate: Gate,
}

#[derive(Args)]
pub struct Sweep {
    /// Default: the active model.
    #[arg(add = completing::models())]
    model: Option<String>,
    #[arg(long, add = completing::servers())]
    server: Option<String>,
    /// The most requests at a time, 1 to 64.
    #[arg(long, value_name = "N", default_value_t = 8)]
    up_to: u32,
    /// Measured requests at one at a time, 5 to 100; more at the levels above.
    #[arg(long, visible_alias = "blocks", value_name = "N")]
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
    /// At most 600.
    #[arg(long, value_name = "SECONDS")]
    quiet_wait: Option<u32>,
    /// Measure for at most so many seconds, 10 to 7200; what is under way then is ended. Default: as long as it takes.
    #[arg(long, value_name = "SECONDS")]
    budget: Option<u32>,
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
    let call = BenchCall {
        model: arguments.model,
        server: arguments.server.map(ServerId),
        plan: arguments.plan,
        trials: arguments.trials,
        up_to: arguments.up_to,
        rate_per_s: arguments.rate,
        seconds: arguments.seconds,
        arrivals: arguments.arrivals.as_deref().map(|how| match how {
            "constant" => ArrivalPattern::Constant,
            _ => ArrivalPattern::Poisson,
        }),
        turns: arguments.turns,
        replay: arguments.replay.as_deref().map(read_prompts).transpose()?,
        when_disturbed: Some(arguments.gate.when_disturbed()),
        quiet_wait_s: arguments.gate.quiet_wait,
        against: arguments
            .against
            .map(|model| BenchSide { model, server: arguments.against_server.map(ServerId) }),
        budget_s: arguments.gate.budget,
        assume_noise: Some(arguments.assume_noise),
        slo_ms: None,
        resume: arguments.resume,
    };
    with_an_engine(call, output).await
}

pub async fn sweep(arguments: Sweep, output: &Output) -> Result<u8, ApiError> {
    let call = BenchCall {
        model: arguments.model,
        server: arguments.server.map(ServerId),
        plan: Some("sweep".into()),
        trials: arguments.trials,
        up_to: Some(arguments.up_to),
        when_disturbed: Some(arguments.gate.when_disturbed()),
        quiet_wait_s: arguments.gate.quiet_wait,
        budget_s: arguments.gate.budget,
        slo_ms: arguments.slo_ms,
        ..BenchCall::default()
    };
    with_an_engine(call, output).await
}

/// A file of prompts. What lies beyond its limit is not read: it may be anything. Errors: not_found, invalid_call.
fn read_prompts(file: &Path) -> Result<String, ApiError> {
    let mut bytes = vec![];
    let limit = MAX_PROMPT_BYTES as u64 + 1;
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().lock().take(limit).read_to_end(&mut bytes),
        false => File::open(file).and_then(|opened| opened.take(limit).read_to_end(&mut bytes)),
    };
    read.map_err(|error| {
        let text = format!("The prompts in {} cannot be read: {error}.", file.display());
        match error.kind() {
            std::io::ErrorKind::NotFound => ApiError::not_found(text),
            _ => ApiError::new(ErrorCode::InvalidCall, text),
        }
    })?;
    if bytes.len() > MAX_PROMPT_BYTES {
        let text = format!("The prompts in {} have more than {MAX_PROMPT_BYTES} bytes.", file.display());
        return Err(ApiError::new(ErrorCode::InvalidCall, text).hint("Take fewer prompts at a time."));
    }
    String::from_utf8(bytes).map_err(|_| {
        ApiError::new(ErrorCode::InvalidCall, format!("The prompts in {} are no UTF-8 text.", file.display()))
    })
}

/// The plan of a call, as the engine will read it; `None` where the run that goes on has it. Errors: invalid_call, before an
/// engine is asked or started.
fn plan_of(call: &BenchCall) -> Result<Option<BenchPlan>, ApiError> {
    if call.resume.is_some() {
        return Ok(None);
    }
    let prompts = call.replay.as_deref().map(prompts_of).transpose()?;
    call.asked(prompts.as_deref().map(|prompts| (prompts, ""))).plan(0, QUERY_MS).map(Some)
}

/// Says how long a plan takes, where that is known.
async fn say_how_long(session: &Session, call: &BenchCall, plan: &BenchPlan, output: &Output) {
    let BenchCall { model, server, against, .. } = call;
    let Ok(Reply::Snapshot { snapshot, .. }) = session.call(Call::whole_snapshot()).await else {
        return;
    };
    let models: Vec<Model> = snapshot.models.iter().map(|view| view.model.clone()).collect();
    let side =
        |name: &str, server: Option<&ServerId>| find_model(&models, name, server).ok().map(Model::reference);
    let first = match (model, &snapshot.active) {
        (Some(name), _) => side(name, server.as_ref()),
        (None, active) => active
            .as_ref()
            .map(|active| ModelRef { server: active.server.clone(), model: active.model.clone() }),
    };
    let second = against.as_ref().map(|other| side(&other.model, other.server.as_ref()));
    let sides: Option<Vec<ModelRef>> = [Some(first), second].into_iter().flatten().collect();
    let mut last = vec![];
    for side in sides.unwrap_or_default() {
        let call = Call::History {
            model: Some(side.model.clone()),
            server: Some(side.server),
            plan: None,
            state: Some(RunState::Done),
            since_ms: None,
            until_ms: None,
            limit: Some(50),
            offset: None,
        };
        let Ok(Reply::Runs { runs, .. }) = session.call(call).await else { return };
        // Only a run of loads tells how long a load takes.
        let of_kind = |run: &Run| if plan.is_load() { run.loads.is_some() } else { run.plan.repeats() };
        let tells = |run: &Run| run.model == side.model && run.state == RunState::Done && of_kind(run);
        last.extend(
            runs.into_iter().find(|run| tells(run) && !run.plan.is_sweep() && run.decode_tok_s.is_some()),
        );
    }
    let wanted = if against.is_some() { 2 } else { 1 };
    if let Some(time) = expected(plan, &last.iter().collect::<Vec<&Run>>())
        .filter(|_| plan.arrivals.is_some() || last.len() == wanted)
    {
        output.remark(&format!(
            "This takes {}, waiting for a quiet machine and loading left out. Ctrl-C cancels it.",
            time.in_words()
        ));
    }
}

/// Measures through the running engine, or through one of its own when none runs.
async fn with_an_engine(call: BenchCall, output: &Output) -> Result<u8, ApiError> {
    let plan = plan_of(&call)?;
    match Session::connect() {
        Ok(session) => measure(&session, call, plan.as_ref(), output).await,
        Err(error) if error.code == ErrorCode::NotRunning => {
            output.remark("Pilothouse does not run; starting an engine for this benchmark.");
            // Heard from the very beginning: a signal must leave neither servers nor a run under way behind.
            let ended = serve::listen_for_end()?;
            let engine = serve::start(None).await?;
            let work = async {
                serve::until_active(&engine.handle()).await?;
                measure(&Session::connect()?, call, plan.as_ref(), output).await
            };
            let result = tokio::select! {
                result = work => result,
                () = ended => Err(ApiError::new(ErrorCode::Cancelled, "The benchmark was cancelled.")),
            };
            engine.shutdown().await;
            ending::end_within(ending::LAST_LIMIT, "what is left after the shutdown");
            result
        }
        Err(error) => Err(error),
    }
}

async fn measure(
    session: &Session,
    call: BenchCall,
    plan: Option<&BenchPlan>,
    output: &Output,
) -> Result<u8, ApiError> {
    if let Some(plan) = plan {
        say_how_long(session, &call, plan, output).await;
    }
    let bar = output.progress();
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}") {
        bar.set_style(style);
    }
    let watch = |snapshot: &Snapshot| {
        if let Some(progress) = &snapshot.bench {
            show(&bar, progress);
        }
    };
    let reply = session.call_and_watch(Call::Bench(call), Call::CancelBench, watch).await;
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
        _ if progress.turn.is_some() => {
            let (turn, turns) = progress.turn.unwrap_or_default();
            format!("turn {turn} of {turns}")
        }
        (_, Some((block, blocks)), _) => format!("block {block} of {blocks}"),
        (_, _, Some(requests)) => format!("{requests} at a time"),
        (TrialPhase::Measured, None, None) => "measuring".to_owned(),
    };
    let rate = progress.last_decode_tok_s.map(|rate| format!(", {} tok/s", short(rate))).unwrap_or_default();
    let left = progress.left_s.map(|left| format!(", about {left:.0} s left")).unwrap_or_default();
    let waits: Vec<String> = progress.waits_for.iter().map(in_words).collect();
    bar.set_length(progress.total.into());
    bar.set_position(progress.done.into());
    bar.set_message(match waits.is_empty() {
        true if progress.noise => {
            format!("{} with itself, to learn how much this machine scatters: {phase}{left}", progress.model)
        }
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
        format!("decode        {} tok/s", spread(run.decode_tok_s.as_ref())),
        format!("  server says {} tok/s", spread(run.server_decode_tok_s.as_ref())),
        format!("prefill       {} tok/s", spread(run.prefill_tok_s.as_ref())),
        format!("  server says {} tok/s", spread(run.server_prefill_tok_s.as_ref())),
        format!("first token   {} ms", spread(run.ttft_ms.as_ref())),
        format!("whole answer  {} ms", spread(run.e2e_ms.as_ref())),
        format!("peak memory   {}", bytes(run.peak_memory_bytes)),
    ];
    lines.extend(run.peak_gpu_memory_bytes.map(|bytes| format!("  on cards    {}", gigabytes(bytes))));
    lines.extend(run.energy_j_per_token.map(|joules| format!("energy        {} J per token", short(joules))));
    lines.extend(results(run).iter().map(result_text));
    lines.extend(run.sweep.as_ref().and_then(|sweep| use_it(run, sweep)));
    let spread = match run.decode_tok_s.as_ref().or(run.ttft_ms.as_ref()) {
        Some(summary) if summary.interval == Interval::Confidence95 => "median (95 % interval)".to_owned(),
        Some(summary) => format!("median (range of {})", summary.n),
        None => "nothing counts".to_owned(),
    };
    lines.extend(run.mark().map(|mark| format!("these figures: {mark}")));
    lines.push(format!("run {}: {spread}, client clock", run.run_id));
    lines.extend(compare::disturbed(&run.disturbed));
    lines.extend(run.note.iter().map(|note| format!("note: {note}")));
    lines.join("\n")
}

/// What to do with what a sweep has found.
fn use_it(run: &Run, sweep: &Levels) -> Option<String> {
    let best = sweep.best.or(sweep.knee.as_ref().map(|knee| knee.concurrency))?;
    let already = run.fingerprint.get("parallel").is_some_and(|parallel| *parallel == best.to_string());
    (!already).then(|| {
        format!(
            "use {best} at a time: pilothouse parallel {} --server {} --set {best}",
            run.model, run.server
        )
    })
}

fn result_text(found: &Results) -> String {
    let heads: Vec<&str> = found.heads.iter().map(String::as_str).collect();
    let notes: String = found.notes.iter().map(|note| format!("\n{note}")).collect();
    format!("\n{}\n{}{notes}", strong(found.title), table(&heads, found.rows.clone()))
}
