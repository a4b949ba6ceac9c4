use super::{Failed, arguments::DaemonCommand, backend::Reach, say, say_out};
use crate::sims::lmstudio::control::Info;
use serde_json::json;

pub async fn run(command: DaemonCommand, reach: &Reach) -> Result<(), Failed> {
    match command {
        DaemonCommand::Up { json } => up(json, reach).await,
        DaemonCommand::Down => down(reach).await,
        DaemonCommand::Status { json } => status(json, reach).await,
    }
}

async fn up(as_json: bool, reach: &Reach) -> Result<(), Failed> {
    let info: Info = reach.or_wake(None).await?.get("info").await?;
    say_out(&match as_json {
        true => {
            json!({ "status": "running", "pid": info.pid, "isDaemon": info.is_daemon, "version": info.version }).to_string()
        }
        false => text(&info),
    });
    Ok(())
}

/// Exit code 0 whatever it finds; the JSON has no version.
async fn status(as_json: bool, reach: &Reach) -> Result<(), Failed> {
    let info: Option<Info> = match reach.running().await {
        Some(backend) => backend.get("info").await.ok(),
        None => None,
    };
    say_out(&match (info, as_json) {
        (Some(info), true) => {
            json!({ "status": "running", "pid": info.pid, "isDaemon": info.is_daemon }).to_string()
        }
        (Some(info), false) => text(&info),
        (None, true) => json!({ "status": "not-running" }).to_string(),
        (None, false) => "llmster is not running".into(),
    });
    Ok(())
}

fn text(info: &Info) -> String {
    let name = if info.is_daemon { "llmster" } else { "LM Studio" };
    format!("{name} v{} is running (PID: {})", info.version, info.pid)
}

/// Does not wait for the end of the process. The desktop app is not stopped.
async fn down(reach: &Reach) -> Result<(), Failed> {
    let backend = reach.running().await.ok_or("llmster is not running.")?;
    let info: Info = backend.get("info").await?;
    if !info.is_daemon {
        return Err("LM Studio is running as an app. Quit it from its own window.".into());
    }
    backend.post("shutdown", &json!({})).await?;
    say("llmster was asked to stop.");
    Ok(())
}
