//! The slow work of a supervisor, as free functions without its state.

use super::record::Record;
use crate::{
    ports::{Endpoint, Found, Health, Installation, Launch, ServerAdapter, ServerClient},
    process::{OwnedProcess, run_to_end},
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{Instance, Model},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The bound of a product's own start or stop command (reference/lmstudio.md section 6: 90 s).
const COMMAND_LIMIT: Duration = Duration::from_secs(90);

/// What a start led to. The server does not answer yet.
pub(super) enum Started {
    /// Our child.
    Own { process: OwnedProcess, endpoint: Endpoint, program: PathBuf, files: Vec<PathBuf> },
    /// Somebody else's was running already, or the product started itself.
    Adopted(Found),
}

/// Starts a server, unless one runs at its address already: a second one beside another owner would only fight it.
pub(super) async fn start(adapter: &dyn ServerAdapter, output: &Path) -> Result<Started, ApiError> {
    if let Some(found) = adapter.find_running().await {
        return Ok(Started::Adopted(found));
    }
    let installation = adapter.locate().await;
    let program = match &installation {
        Installation::Installed { program, .. } => program.clone(),
        Installation::NotInstalled { reason, hint } => {
            return Err(ApiError::new(ErrorCode::NotInstalled, reason.clone()).hint(hint.clone()));
        }
    };
    match adapter.launch(&installation).await? {
        Launch::Own { process, endpoint, files } => {
            let process = OwnedProcess::spawn(&process, output)?;
            Ok(Started::Own { process, endpoint, program, files })
        }
        Launch::Ask { commands } => {
            for command in &commands {
                let finished = run_to_end(command, COMMAND_LIMIT).await?;
                // Exit codes of these commands lie in both directions; the probe below is what counts.
                tracing::info!(command = ?command.args, exit = %finished.exit, "asked the product to start");
            }
            adapter.find_running().await.map(Started::Adopted).ok_or_else(|| {
                ApiError::new(
                    ErrorCode::TimedOut,
                    format!("{} was asked to start but does not answer.", adapter.kind().title()),
                )
                .hint("Start it by hand and look at what it says.")
            })
        }
    }
}

/// Finds the server that an earlier life of ours left running. One that does not answer is stopped.
pub(super) async fn readopt(adapter: &dyn ServerAdapter, record: &Record) -> Option<OwnedProcess> {
    let process = OwnedProcess::readopt(record.identity)?;
    if adapter.client(&record.endpoint()).health().await.is_ok() {
        return Some(process);
    }
    process.stop(Duration::from_secs(3)).await;
    None
}

/// One look at a server.
pub(super) struct Probe {
    pub health: Result<Health, ApiError>,
    pub instances: Option<Vec<Instance>>,
    pub models: Option<Vec<Model>>,
}

/// Probes health and, when it is well, lists instances and (when asked) models. A list that fails is left out: the
/// old one stays, and the log says why.
pub(super) async fn probe(client: Arc<dyn ServerClient>, with_models: bool) -> Probe {
    let health = client.health().await;
    if health.is_err() {
        return Probe { health, instances: None, models: None };
    }
    let models = if with_models { kept(client.models().await, "models") } else { None };
    let instances = kept(client.instances().await, "instances");
    Probe { health, instances, models }
}

fn kept<T>(list: Result<T, ApiError>, what: &str) -> Option<T> {
    list.inspect_err(|error| tracing::warn!(%error, "the list of {what} failed")).ok()
}

/// Runs the product's own stop commands.
pub(super) async fn ask_to_stop(commands: &[crate::ports::ProcessSpec]) -> Result<(), ApiError> {
    for command in commands {
        run_to_end(command, COMMAND_LIMIT).await?;
    }
    Ok(())
}
