use crate::output::{Output, with_schema};
use pilothouse_domain::lifecycle::ServerState;
use pilothouse_engine::{
    Engine, EngineHandle, EngineOptions,
    api::{ApiError, CallHandler, ErrorCode},
    logging,
};
use pilothouse_system::service::writes_to_journal;
use serde_json::json;
use std::{io::IsTerminal, time::Duration};

/// How long a first model may take to become active.
const ACTIVE_LIMIT: Duration = Duration::from_secs(180);

/// Runs the engine until SIGINT or SIGTERM. The first line on stdout is a JSON document.
pub async fn run(port: Option<u16>, output: &Output) -> Result<u8, ApiError> {
    // Heard from the very beginning: a signal during the start must not leave servers behind.
    let ended = listen_for_end()?;
    let engine = start(port).await?;
    let snapshot = engine.handle().snapshots().borrow().clone();
    let url = engine.web_url().map(str::to_owned);
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
    ended.await;
    engine.shutdown().await;
    Ok(0)
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
            "`pilothouse setup` fetches a server and a small model; `pilothouse doctor` says what is wrong.",
        )
    };
    match tokio::time::timeout(ACTIVE_LIMIT, reached).await {
        Ok(Ok(now)) if now.active.is_some() => Ok(()),
        _ => Err(missing()),
    }
}

fn listen_for_end() -> Result<impl Future<Output = ()>, ApiError> {
    let deaf = |error| ApiError::new(ErrorCode::System, format!("Signals could not be heard: {error}."));
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).map_err(deaf)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(deaf)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(deaf)?;
        Ok(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    {
        let _ = deaf;
        Ok(async {
            let _ = tokio::signal::ctrl_c().await;
        })
    }
}
