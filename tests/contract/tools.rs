//! What a contract test runs on.

use anyhow::{Context, Result};
use pilothouse_domain::endpoint::Endpoint;
use pilothouse_servers::{Installation, Launch, ServerAdapter, ServerClient};
use pilothouse_system::process::OwnedProcess;
use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// The model file of the embedded default.
pub const GGUF: &str = "models/SmolLM2-135M-Instruct.Q4_1.gguf";

/// What a variable names. `None`: the test says that it is skipped and ends.
pub fn tool(variable: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.exists());
    if found.is_none() {
        let strict = std::env::var_os("PILOTHOUSE_TEST_STRICT").is_some_and(|value| value == "1");
        assert!(!strict, "{variable} names nothing that exists");
        println!("skipped: {variable} names nothing that exists");
    }
    found
}

/// Asks until there is an answer, for at most `limit`.
pub async fn until<T, F>(what: &str, limit: Duration, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A server that was started as the supervisor starts it. Dropped without `stop`, its whole group is killed by the
/// guard.
pub struct Running {
    pub client: Arc<dyn ServerClient>,
    pub endpoint: Endpoint,
    process: OwnedProcess,
    output: PathBuf,
}

impl Running {
    /// Starts the adapter's server and waits for its first answer.
    pub async fn start(adapter: &dyn ServerAdapter, folder: &Path) -> Result<Self> {
        let installation = adapter.locate().await;
        anyhow::ensure!(matches!(installation, Installation::Installed { .. }), "{installation:?}");
        let Launch::Own { process, endpoint, .. } = adapter.launch(&installation).await? else {
            anyhow::bail!("{} is not started as a process of ours", adapter.id());
        };
        let output = folder.join("output.log");
        let process = OwnedProcess::spawn(&process, &output)?;
        let running = Self { client: adapter.client(&endpoint), endpoint, process, output };
        until("the first answer", adapter.start_limit(), || async { running.client.health().await.ok() })
            .await;
        Ok(running)
    }

    pub async fn stop(&self) {
        self.process.stop(Duration::from_secs(5)).await;
    }

    /// Everything that it has printed.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// A failure with what the server printed.
    pub fn explain<T>(&self, result: Result<T>) -> Result<T> {
        result.with_context(|| {
            let said = std::fs::read_to_string(&self.output).unwrap_or_default();
            let lines: Vec<&str> = said.lines().rev().take(30).collect();
            format!("its last lines, latest first:\n{}", lines.join("\n"))
        })
    }
}

impl Drop for Running {
    /// A test that failed leaves no server behind: the group is killed from a thread with a runtime of its own, as
    /// the one of the test is ending.
    fn drop(&mut self) {
        let process = self.process.clone();
        let stop = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map(|runtime| runtime.block_on(process.stop(Duration::from_millis(1))))
        };
        drop(std::thread::spawn(stop).join());
    }
}
