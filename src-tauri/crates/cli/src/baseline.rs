use crate::{
    completing,
    output::{Output, known, table, words},
    session::{Session, unexpected},
};
use clap::{Args, Subcommand};
use pilothouse_domain::{bench::trend::Trend, server::ServerId};
use pilothouse_engine::api::{ApiError, Call, Reply};
use serde_json::json;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Baseline {
    /// Only models whose name contains this.
    #[arg(long, add = completing::models())]
    model: Option<String>,
    #[arg(long, add = completing::servers())]
    server: Option<String>,
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Subcommand)]
pub enum Act {
    /// Take the level that begins with a run for the right one.
    Accept { run: i64 },
}

pub async fn run(arguments: Baseline, output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    if let Some(Act::Accept { run }) = arguments.act {
        session.call(Call::AcceptLevel { run_id: run }).await?;
        output
            .answer(json!({ "accepted": run }), || format!("The level since run {run} is the baseline now."));
        return Ok(0);
    }
    let call = Call::Trends {
        model: arguments.model,
        server: arguments.server.map(ServerId),
        plan: None,
        metric: None,
        limit: None,
        points: None,
    };
    let reply = session.call(call).await?;
    let Reply::Trends { trends } = reply else {
        return Err(unexpected(&reply));
    };
    output.answer(json!({ "trends": trends }), || text(&trends));
    Ok(0)
}

fn text(trends: &[Trend]) -> String {
    if trends.is_empty() {
        return "No benchmark was run yet.\n\nhint: `pilothouse bench` measures the active model.".into();
    }
    let header = ["MODEL", "SERVER", "PLAN", "FIGURE", "RUNS", "BASELINE", "NOW", "STATE"];
    let row = |trend: &Trend| {
        vec![
            trend.model.clone(),
            trend.server.to_string(),
            trend.plan.clone(),
            trend.metric.words().to_owned(),
            trend.points.len().to_string(),
            known(trend.watch.baseline),
            known(trend.watch.now.or_else(|| trend.points.last().map(|point| point.median))),
            words(&trend.watch.state),
        ]
    };
    let mut lines = vec![table(&header, trends.iter().map(row).collect())];
    let changes =
        trends.iter().flat_map(|trend| trend.change_points.iter().map(move |change| (trend, change)));
    lines.extend(changes.map(|(trend, change)| {
        format!("{} on {}, since run {}: {}", trend.model, trend.server, change.run_id, change.words)
    }));
    lines.join("\n")
}
