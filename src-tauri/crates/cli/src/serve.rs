use crate::output::{Output, with_schema};
use pilothouse_domain::{lifecycle::ServerState, snapshot::Snapshot};
use pilothouse_engine::{
    Engine, EngineHandle, EngineOptions,
    api::{ApiError, CallHandler, ErrorCode},
    logging,
};
use pilothouse_system::{ending, service::writes_to_journal};
use serde_json::json;
use std::{io::IsTerminal, sync::Arc, time::Duration};
use tokio::sync::watch;

/// How long a first model may take to become active.
const ACTIVE_LIMIT: Duration = Duration::from_secs(180);

/// Runs the engine until SIGINT or SIGTERM. The first line on stdout is a JSON document.
pub async fn run(port: Option<u16>, output: &Output) -> Result<u8, ApiError> {
    // Heard from the very beginning: a signal during the start must not leave servers behind.
    let ended = listen_for_end()?;
    let engine = start(port).await?;
    let snapshot = engine.handle().snapshots().borrow().clone();
    let url = engine.web_url();
    let gateway = engine.gateway_url();
    let first = with_schema(json!({ "url": url, "gateway": gateway, "pid": std::process::id() }));
    output.line(&first.to_string());
    if !output.is_json() {
        let absent = || snapshot.engine.gateway_absent.clone().unwrap_or_default();
        // Behind the hash is the token. A file or a journal is read by more people than a terminal.
        let shown = match std::io::stderr().is_terminal() {
            true => url.as_deref(),
            false => url.as_deref().and_then(|url| url.split('#').next()),
        };
        output.remark(&format!("Web UI   {}", shown.unwrap_or("none: its port is taken")));
        output.remark(&format!("Gateway  {}", gateway.unwrap_or_else(|| format!("none: {}", absent()))));
        output.remark("Ctrl-C ends it.");
    }
    // Whoever started it waits for that line.
    if !output.is_lost() {
        tokio::select! {
            () = ended => {}
            () = tell_troubles(engine.handle().snapshots(), output) => {}
        }
    }
    engine.shutdown().await;
    ending::end_within(ending::LAST_LIMIT, "what is left after the shutdown");
    Ok(0)
}

/// Says on stderr what is wrong with Pilothouse itself, and when that is over: without a window nobody else would.
async fn tell_troubles(mut snapshots: watch::Receiver<Arc<Snapshot>>, output: &Output) {
    let mut told = Vec::new();
    loop {
        let now = snapshots.borrow_and_update().troubles.clone();
        for line in news(&told, &now) {
            output.remark(&line);
        }
        told = now;
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}

/// What is said of the troubles now to somebody who knows those before.
fn news(before: &[ApiError], now: &[ApiError]) -> Vec<String> {
    let over = before.iter().filter(|trouble| !now.contains(trouble));
    let new = now.iter().filter(|trouble| !before.contains(trouble));
    let hint = |trouble: &ApiError| trouble.hint.as_ref().map(|hint| format!("\n         {hint}"));
    over.map(|trouble| format!("Over     {}", trouble.message))
        .chain(
            new.map(|trouble| format!("Trouble  {}{}", trouble.message, hint(trouble).unwrap_or_default())),
        )
        .collect()
}

/// Starts an engine in this process.
pub async fn start(port: Option<u16>) -> Result<Engine, ApiError> {
    let mut options = EngineOptions::from_env()?;
    options.web_port = port;
    options.paths.create_all()?;
    logging::init(&options.paths, writes_to_journal());
    Engine::start(options).await
}

/// Waits until a model is active. Errors: no_active_model with what is missing, timed_out.
pub async fn until_active(handle: &EngineHandle) -> Result<(), ApiError> {
    let mut snapshots = handle.snapshots();
    let reached = snapshots.wait_for(|now| {
        let settled = |state| !matches!(state, ServerState::Starting | ServerState::Stopping);
        let hopeless =
            !now.servers.is_empty() && now.servers.iter().all(|s| settled(s.state) && !s.state.is_up());
        now.active.is_some() || hopeless
    });
    let missing = || {
        ApiError::new(ErrorCode::NoActiveModel, "No model is active, and none could be made active.").hint(
            "“pilothouse setup” fetches a server and a small model; “pilothouse doctor” says what is wrong.",
        )
    };
    match tokio::time::timeout(ACTIVE_LIMIT, reached).await {
        Ok(Ok(now)) if now.active.is_some() => Ok(()),
        _ => Err(missing()),
    }
}

/// The first SIGINT, SIGTERM or SIGHUP.
pub fn listen_for_end() -> Result<impl Future<Output = ()>, ApiError> {
    #[cfg(unix)]
    {
        let heard = ending::hear_signals().map_err(|error| {
            ApiError::new(ErrorCode::System, format!("Signals could not be heard: {error}."))
        })?;
        Ok(async move { drop(heard.await) })
    }
    #[cfg(not(unix))]
    {
        Ok(async {
            let _ = tokio::signal::ctrl_c().await;
            ending::end_within(ending::END_LIMIT, "the end");
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_once_and_its_end_too() {
        let port = ApiError::new(ErrorCode::PortTaken, "Port 1 is held.").hint("End that program.");
        let file = ApiError::new(ErrorCode::SettingsInvalid, "settings.toml line 1: no.");
        let changed = ApiError::new(ErrorCode::SettingsInvalid, "settings.toml line 2: no.");
        let none: [ApiError; 0] = [];
        for (before, now, wanted) in [
            (&none[..], &none[..], vec![]),
            (
                &none,
                std::slice::from_ref(&port),
                vec!["Trouble  Port 1 is held.\n         End that program."],
            ),
            (std::slice::from_ref(&port), std::slice::from_ref(&port), vec![]),
            (&[port.clone(), file.clone()], &[file.clone(), port.clone()], vec![]),
            (std::slice::from_ref(&port), &none, vec!["Over     Port 1 is held."]),
            (
                std::slice::from_ref(&file),
                std::slice::from_ref(&changed),
                vec!["Over     settings.toml line 1: no.", "Trouble  settings.toml line 2: no."],
            ),
        ] {
            assert_eq!(news(before, now), wanted);
        }
    }
}
