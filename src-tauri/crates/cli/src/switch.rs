use crate::{
    changes, completing,
    output::Output,
    session::{Session, unexpected},
};
use clap::Args;
use pilothouse_domain::{
    anatomy::KvType,
    model::LoadSettings,
    notice::seconds,
    server::ServerId,
    snapshot::Snapshot,
    standing::in_a_line,
    switch::{SwitchOutcome, SwitchReport},
    tray::{previous_model, switching_line},
};
use pilothouse_engine::api::{ApiError, Call, Reply};

#[derive(Args)]
pub struct Switch {
    /// A model's name, SERVER/NAME, or an unambiguous part of one.
    #[arg(add = completing::models(), required_unless_present = "previous", conflicts_with = "previous")]
    model: Option<String>,
    /// The model that was active before the present one; twice in a row leads back.
    #[arg(long, conflicts_with = "server")]
    previous: bool,
    #[arg(long, add = completing::servers())]
    server: Option<String>,
    /// Load it with so many tokens per request. It is loaded again if it is in memory otherwise.
    #[arg(long)]
    context: Option<u64>,
    /// Load it for so many requests at a time.
    #[arg(long)]
    parallel: Option<u32>,
    /// Load it so that keys and values are kept as f32, f16, q8_0, q5_1 or q4_0.
    #[arg(long, value_parser = kv_type)]
    kv: Option<KvType>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Cut answers of the previous model at once instead of waiting for them.
    #[arg(long)]
    now: bool,
}

fn kv_type(name: &str) -> Result<KvType, String> {
    KvType::parse(name).ok_or_else(|| {
        let known: Vec<&str> = KvType::ALL.iter().map(|kv| kv.name()).collect();
        format!("allowed: {}", known.join(", "))
    })
}

pub async fn run(arguments: Switch, output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    let Switch { context, parallel, kv: kv_type, .. } = arguments;
    let with = LoadSettings { context, parallel, kv_type };
    let with = (with != LoadSettings::default()).then_some(with);
    let (model, server) = match arguments.model {
        Some(model) => (model, arguments.server.map(ServerId)),
        None => {
            let model = previous_model(&*session.snapshot().await?)?;
            (model.id(), Some(model.server))
        }
    };
    let call = Call::Switch { model, server, dry_run: arguments.dry_run, now: arguments.now, with };
    let bar = output.progress();
    let show = |snapshot: &Snapshot| {
        if let Some(switching) = &snapshot.switching {
            bar.set_message(switching_line(snapshot, switching));
            bar.tick();
        }
    };
    let reply = session.call_and_watch(call, Call::CancelSwitch, show).await?;
    bar.finish_and_clear();
    let Reply::Switch { report } = reply else {
        return Err(unexpected(&reply));
    };
    // What still holds after one that failed.
    let after = match report.outcome {
        SwitchOutcome::RolledBack => Some(session.snapshot().await?),
        SwitchOutcome::Committed | SwitchOutcome::Cancelled => None,
    };
    output.answer(changes::switch(&report), || {
        let holds = after.as_deref().map(|snapshot| format!("\n{}", holds(snapshot))).unwrap_or_default();
        format!("{}{holds}", text(&report))
    });
    Ok(exit_code(report.outcome, report.error.as_ref()))
}

/// Of a change of what is in memory. What failed was put back, so it ends as its error would, and never with 0.
pub fn exit_code(outcome: SwitchOutcome, error: Option<&ApiError>) -> u8 {
    match outcome {
        SwitchOutcome::Committed => 0,
        SwitchOutcome::RolledBack => error.map_or(1, |error| error.code.exit_code().max(1)),
        SwitchOutcome::Cancelled => 130,
    }
}

fn holds(snapshot: &Snapshot) -> String {
    let Some(active) = &snapshot.active else { return "No model is active.".into() };
    let title = snapshot.model_title(&active.server, &active.model);
    let server = snapshot.server_title(&active.server);
    format!("{title} on {server} stays active: {}.", in_a_line(&snapshot.standing.word))
}

fn text(report: &SwitchReport) -> String {
    if report.dry_run {
        let steps: Vec<&str> = report.steps.iter().map(|step| step.name.as_str()).collect();
        return format!("Would switch to {}: {}.", report.to, steps.join(", ").replace('_', " "));
    }
    let took = seconds(report.took_ms);
    let first = report.first_token_ms.map(|ms| format!(", first token {ms} ms")).unwrap_or_default();
    let mut text = match report.outcome {
        // Nothing was done: the reason says that it is active already.
        SwitchOutcome::Committed if report.steps.is_empty() => {
            return report.reason.clone().unwrap_or_default();
        }
        SwitchOutcome::Committed => format!("{} is active after {took}{first}.", report.to),
        SwitchOutcome::RolledBack => format!("{} could not be made active.", report.to),
        SwitchOutcome::Cancelled => format!("The switch to {} was cancelled.", report.to),
    };
    for line in
        [&report.reason, &report.error.as_ref().and_then(|error| error.hint.clone())].into_iter().flatten()
    {
        text.push('\n');
        text.push_str(line);
    }
    text
}
