//! Applies what a sweep has found: so many requests at a time.

use crate::{
    completing,
    output::Output,
    session::{Session, unexpected},
};
use clap::Args;
use pilothouse_domain::{notice::seconds, server::ServerId, settings::parallel::ParallelReport};
use pilothouse_engine::api::{ApiError, Call, Reply};
use serde_json::json;

#[derive(Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["set", "undo"]))]
pub struct Parallel {
    /// A model's name, SERVER/NAME, or an unambiguous part of one.
    #[arg(required_unless_present = "undo", conflicts_with = "undo", add = completing::models())]
    model: Option<String>,
    #[arg(long, conflicts_with = "undo", add = completing::servers())]
    server: Option<String>,
    /// Requests at a time from now on. Its server is started again, the model proved by a token, then the settings file is written.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    set: Option<u32>,
    /// Take the last change back; possible for a minute.
    #[arg(long)]
    undo: bool,
}

pub async fn run(arguments: Parallel, output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    let call = match (arguments.model, arguments.set) {
        (Some(model), Some(parallel)) => {
            Call::UseParallel { model, server: arguments.server.map(ServerId), parallel }
        }
        _ => Call::UndoParallel,
    };
    let bar = output.progress();
    bar.set_message("starting the server again with it, and waiting for a token");
    let reply = session.call_and_watch(call, Call::CancelParallel, |_| bar.tick()).await;
    bar.finish_and_clear();
    let report = match reply? {
        Reply::Parallel { report } => report,
        other => return Err(unexpected(&other)),
    };
    output.answer(json!(report), || text(&report));
    Ok(0)
}

fn text(report: &ParallelReport) -> String {
    let ParallelReport { server, model, key, parallel, .. } = report;
    let requests = |n: u32| match n {
        0 => "as many requests at a time as its server chooses".to_owned(),
        1 => "1 request at a time".to_owned(),
        n => format!("{n} requests at a time"),
    };
    if !report.changed {
        return format!("{model} on {server} answers {} already.", requests(*parallel));
    }
    let mut lines = vec![
        format!(
            "{model} on {server} answers {} now, after {}.",
            requests(*parallel),
            seconds(report.took_ms)
        ),
        format!("before: {}. Written: {key}.", requests(report.before)),
    ];
    if report.undo_s > 0 {
        lines.push(format!("undo within {} s: pilothouse parallel --undo", report.undo_s));
    }
    lines.join("\n")
}
