use crate::{
    completing, document, exchange,
    output::{Output, day_and_clock, spread, table, words},
    session::{Session, unexpected},
};
use clap::Args;
use pilothouse_domain::{
    bench::{Run, RunState},
    server::ServerId,
};
use pilothouse_engine::api::{ApiError, Call, Reply};
use serde_json::json;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct History {
    #[command(subcommand)]
    act: Option<exchange::HistoryAct>,
    /// Only models whose name contains this.
    #[arg(long, add = completing::models())]
    model: Option<String>,
    #[arg(long, add = completing::servers())]
    server: Option<String>,
    /// Only runs of this plan.
    #[arg(long)]
    plan: Option<String>,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Pass over so many newer ones.
    #[arg(long, default_value_t = 0)]
    offset: u32,
}

pub async fn run(arguments: History, output: &Output) -> Result<u8, ApiError> {
    if let Some(act) = arguments.act {
        return exchange::history(act, output).await;
    }
    let session = Session::connect()?;
    let call = Call::History {
        model: arguments.model,
        server: arguments.server.map(ServerId),
        plan: arguments.plan,
        state: None,
        since_ms: None,
        until_ms: None,
        limit: Some(arguments.limit),
        offset: Some(arguments.offset),
    };
    let reply = session.call(call).await?;
    let Reply::Runs { runs, total } = reply else {
        return Err(unexpected(&reply));
    };
    let documents: Vec<_> = runs.iter().map(document::run).collect();
    output.answer(json!({ "runs": documents, "total": total }), || {
        if runs.is_empty() {
            return "No benchmark was run yet.\n\nhint: “pilothouse bench” measures the active model.".into();
        }
        let header =
            ["RUN", "STARTED (local)", "MODEL", "SERVER", "PLAN", "DECODE tok/s", "FIRST TOKEN ms", "STATE"];
        table(&header, runs.iter().map(row).collect())
    });
    Ok(0)
}

fn row(run: &Run) -> Vec<String> {
    vec![
        run.run_id.to_string(),
        day_and_clock(run.started_at),
        run.model.clone(),
        run.server.to_string(),
        run.plan.name.clone(),
        spread(run.decode_tok_s.as_ref()),
        spread(run.ttft_ms.as_ref()),
        state(run),
    ]
}

/// How it ended, and what else is known against its figures.
fn state(run: &Run) -> String {
    match (run.state, run.mark()) {
        (RunState::Done, Some(mark)) => format!("done, {mark}"),
        (RunState::Running, _) | (_, None) => words(&run.state),
        (_, Some(mark)) => mark,
    }
}
