use super::{
    Failed,
    arguments::ServerCommand,
    backend::{Reach, greets},
    say, say_out,
};
use crate::sims::lmstudio::{
    LmsQuirks,
    control::{PublicPort, StartServer},
    home,
};
use serde_json::json;

const DEFAULT_PORT: u16 = 1234;

pub async fn run(command: ServerCommand, reach: &Reach, quirks: LmsQuirks) -> Result<(), Failed> {
    match command {
        ServerCommand::Start { port, bind, cors } => {
            let port = port.or_else(|| configured_port(reach)).unwrap_or(DEFAULT_PORT);
            start(StartServer { port, bind, cors }, reach, quirks).await
        }
        ServerCommand::Stop => stop(reach).await,
        ServerCommand::Status { json } => {
            status(json, reach).await;
            Ok(())
        }
    }
}

/// The port of the last start. `None`: the server was never started.
fn configured_port(reach: &Reach) -> Option<u16> {
    let config = home::read(&home::server_config_file(&reach.home))?;
    u16::try_from(config["port"].as_u64()?).ok()
}

async fn start(wish: StartServer, reach: &Reach, quirks: LmsQuirks) -> Result<(), Failed> {
    const FAILED: &str = "Failed to verify the server is running. Please try to use another port.";
    let backend = reach.or_wake(None).await?;
    let answer = backend.post("server/start", &wish).await?;
    if !answer.status().is_success() {
        return Err(FAILED.into());
    }
    let started: Option<PublicPort> = answer.json().await.ok();
    match started.and_then(|started| started.port) {
        Some(port) if greets(port).await && !quirks.false_alarm => {
            say(&format!("Success! Server is now running on port {port}"));
            Ok(())
        }
        _ => Err(FAILED.into()),
    }
}

/// Never starts a backend.
async fn stop(reach: &Reach) -> Result<(), Failed> {
    const NOT_RUNNING: &str = "The server is not running.";
    let port = configured_port(reach).ok_or(NOT_RUNNING)?;
    if !greets(port).await {
        return Err(NOT_RUNNING.into());
    }
    let backend = reach.running().await.ok_or(NOT_RUNNING)?;
    let answer = backend.post("server/stop", &json!({})).await?;
    let stopped: Option<PublicPort> = answer.json().await.ok();
    let port = stopped.and_then(|stopped| stopped.port).ok_or(NOT_RUNNING)?;
    say(&format!("Stopped the server on port {port}."));
    Ok(())
}

/// Exit code 0 whatever it finds.
async fn status(as_json: bool, reach: &Reach) {
    let port = configured_port(reach);
    let running = match port {
        Some(port) => greets(port).await,
        None => false,
    };
    if as_json {
        let mut status = json!({ "running": running });
        if let Some(port) = port {
            status["port"] = json!(port);
        }
        return say_out(&status.to_string());
    }
    match port.filter(|_| running) {
        Some(port) => say(&format!("The server is running on port {port}.")),
        None => say("The server is not running."),
    }
}
