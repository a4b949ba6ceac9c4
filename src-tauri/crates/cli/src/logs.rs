use crate::{
    output::{Output, clock, day_and_second, words},
    session::{Session, unexpected},
};
use pilothouse_domain::server::ServerId;
use pilothouse_engine::api::{ApiError, Call, ErrorCode, Reply};
use serde_json::json;
use std::time::Duration;

const LOOK: Duration = Duration::from_millis(400);

pub async fn run(server: &str, follow: bool, lines: u32, output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    let mut after = None;
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    loop {
        let limit = Some(if after.is_none() { lines } else { 2000 });
        let reply = session.call(Call::Logs { server: ServerId::new(server), after, limit }).await?;
        let Reply::Logs { lines } = reply else {
            return Err(unexpected(&reply));
        };
        for line in &lines {
            let document = json!({ "at": line.at, "source": line.source, "line": line.line });
            output
                .answer(document, || format!("{} {:<10} {}", clock(line.at), words(&line.source), line.line));
        }
        after = lines.last().map(|line| line.number).or(after).or(Some(0));
        if !follow || output.is_lost() {
            return Ok(0);
        }
        tokio::select! {
            heard = &mut interrupt => return heard.map(|()| 130).map_err(|error| {
                ApiError::new(ErrorCode::System, format!("Ctrl-C could not be heard: {error}."))
            }),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// What was found is not of today alone, so each line has its date.
pub async fn search(server: &str, text: String, lines: u32, output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    let server = ServerId::new(server);
    let reply = session.call(Call::SearchLogs { server, text: text.clone(), limit: Some(lines) }).await?;
    let Reply::LogMatches { matches } = reply else {
        return Err(unexpected(&reply));
    };
    for hit in &matches {
        let document = json!({ "at": hit.at, "source": hit.source, "line": hit.line });
        output.answer(document, || {
            format!("{} {:<10} {}", day_and_second(hit.at), words(&hit.source), hit.line)
        });
    }
    if matches.is_empty() {
        output.remark(&format!("No line contains {text}."));
    }
    Ok(0)
}
