use crate::{
    output::{ABSENT, Output, day_and_second, table, words},
    session::{Session, unexpected},
};
use clap::Args;
use pilothouse_domain::{notice::Notice, server::ServerId};
use pilothouse_engine::api::{ApiError, Call, Reply};
use serde_json::json;

#[derive(Args)]
pub struct Events {
    /// Only what is about this server.
    #[arg(long)]
    server: Option<String>,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Pass over so many newer ones.
    #[arg(long, default_value_t = 0)]
    offset: u32,
}

pub async fn run(arguments: Events, output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    let call = Call::Events {
        server: arguments.server.map(ServerId),
        level: None,
        kind: None,
        limit: Some(arguments.limit),
        offset: Some(arguments.offset),
    };
    let reply = session.call(call).await?;
    let Reply::Events { events, total } = reply else {
        return Err(unexpected(&reply));
    };
    output.answer(json!({ "events": events, "total": total }), || match events.is_empty() {
        true => "Nothing to report.".into(),
        false => table(&["AT (local)", "LEVEL", "SERVER", "WHAT"], events.iter().map(row).collect()),
    });
    Ok(0)
}

fn row(event: &Notice) -> Vec<String> {
    let hint = event.hint.as_ref().map(|hint| format!(" {hint}")).unwrap_or_default();
    vec![
        day_and_second(event.at),
        words(&event.level),
        event.server.as_ref().map_or_else(|| ABSENT.into(), ToString::to_string),
        format!("{}. {}{hint}", event.title, event.body),
    ]
}
