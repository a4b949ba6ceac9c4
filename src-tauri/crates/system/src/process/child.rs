use super::{Identity, Signal, signal_group, spawn::spawn};
use crate::process::{Exit, ProcessSpec};
use pilothouse_domain::error::{ApiError, ErrorCode};
use std::{fs::OpenOptions, path::Path, process::Stdio, time::Duration};
use tokio::sync::watch;

/// A server process that we started: in this life (a child), or in an earlier one that ended without stopping it.
#[derive(Debug, Clone)]
pub struct OwnedProcess {
    identity: Identity,
    end: watch::Receiver<Option<Exit>>,
}

impl OwnedProcess {
    /// Starts a server. Its output goes to a file, not to a pipe: a pipe would break at our death, and the child
    /// would die of its next log line instead of being found again at our next start.
    /// Errors: not_found (no such program), system.
    pub fn spawn(spec: &ProcessSpec, output: &Path) -> Result<Self, ApiError> {
        let out = open_output(output)?;
        let err = out.try_clone().map_err(|error| output_error(output, &error))?;
        let mut command = super::command(spec);
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let mut child = spawn(spec, &mut command)?;
        let pid = child.id().unwrap_or_default();
        // A child that is dead already has no start time; it is reaped below all the same.
        let identity = Identity::of(pid).unwrap_or(Identity { pid, started: 0 });
        let (ended, end) = watch::channel(None);
        tokio::spawn(async move {
            let exit = match child.wait().await {
                Ok(status) => super::exit_of(status),
                Err(_) => Exit { code: None, signal: None },
            };
            // What the leader left behind (an inference runner that still holds memory) goes with it.
            signal_group(pid, Signal::Kill);
            ended.send_replace(Some(exit));
        });
        Ok(Self { identity, end })
    }

    /// Takes back a server that an earlier life of ours started. `None` when that process is gone.
    pub fn readopt(identity: Identity) -> Option<Self> {
        identity.is_alive().then_some(())?;
        let (ended, end) = watch::channel(None);
        tokio::spawn(async move {
            identity.end().await;
            signal_group(identity.pid, Signal::Kill);
            ended.send_replace(Some(Exit { code: None, signal: None }));
        });
        Some(Self { identity, end })
    }

    pub fn identity(&self) -> Identity {
        self.identity
    }

    pub fn pid(&self) -> u32 {
        self.identity.pid
    }

    /// Waits for the end of the process.
    pub async fn ended(&self) -> Exit {
        let mut end = self.end.clone();
        match end.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or(Exit { code: None, signal: None }),
            Err(_) => Exit { code: None, signal: None },
        }
    }

    /// Ends the whole group without asking; its end is seen by [`OwnedProcess::ended`].
    pub fn kill(&self) {
        if self.identity.is_alive() {
            signal_group(self.pid(), Signal::Kill);
        }
    }

    /// The bounded ladder: asks the leader to end, then kills the whole group. Returns how it ended.
    pub async fn stop(&self, grace: Duration) -> Exit {
        super::signal_process(self.identity, Signal::Terminate);
        if let Ok(exit) = tokio::time::timeout(grace, self.ended()).await {
            return exit;
        }
        tracing::warn!(pid = self.pid(), "did not end within {grace:?} of SIGTERM, killing its group");
        if self.identity.is_alive() {
            signal_group(self.pid(), Signal::Kill);
        }
        self.ended().await
    }
}

fn open_output(path: &Path) -> Result<std::fs::File, ApiError> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| output_error(path, &error))
}

fn output_error(path: &Path, error: &std::io::Error) -> ApiError {
    ApiError::new(
        ErrorCode::System,
        format!("The output file {} cannot be written: {error}.", path.display()),
    )
    .hint("Free some disk space or check the folder's permissions.")
}
