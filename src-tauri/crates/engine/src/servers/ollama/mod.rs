//! Ollama: adopted when one runs at its address, otherwise our own `ollama serve`.

mod client;
mod launch;
mod wire;

use crate::{
    ports::{Endpoint, Exit, Found, Installation, Launch, ProcessSpec, ServerAdapter, ServerClient},
    process::listener,
    servers::places::{held, not_installed},
};
use async_trait::async_trait;
use client::OllamaClient;
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    server::{Abilities, ServerId, ServerKind},
    settings::OllamaSettings,
};
use std::{sync::Arc, time::Duration};

/// The id in settings, calls and rows.
pub(super) const ID: &str = "ollama";
/// The key of the settings that says where it is.
const ADDRESS_KEY: &str = "servers.ollama.address";

/// The adapter.
pub struct Ollama {
    settings: OllamaSettings,
}

impl Ollama {
    pub fn new(settings: OllamaSettings) -> Self {
        Self { settings }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint { base_url: self.settings.address.trim_end_matches('/').to_owned(), key: None }
    }
}

#[async_trait]
impl ServerAdapter for Ollama {
    fn id(&self) -> ServerId {
        ServerId::new(ID)
    }

    fn kind(&self) -> ServerKind {
        ServerKind::Ollama
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            start: true,
            stop: true,
            load: true,
            unload: true,
            load_progress: false,
            instance_memory: true,
            instance_context: true,
            instance_expiry: true,
            timings: true,
            model_size: true,
            key: false,
            take_over: false,
        }
    }

    async fn locate(&self) -> Installation {
        match launch::find(&self.settings) {
            Some(program) => Installation::Installed { program, version: None },
            None => not_installed(
                "Ollama",
                ID,
                &self.settings.program,
                "Install it, or set servers.ollama.program in the settings file.",
            ),
        }
    }

    async fn find_running(&self) -> Option<Found> {
        let endpoint = self.endpoint();
        let client = OllamaClient::new(&endpoint);
        let health = client.identify().await.ok()?;
        let holder = listener(launch::port(&endpoint.base_url)).await;
        let (pid, keeper) = holder.map_or((None, None), |holder| {
            (Some(holder.pid), holder.keeper.map(|keeper| keeper.to_string()))
        });
        Some(Found { endpoint, version: health.version, pid, keeper })
    }

    async fn launch(&self, installation: &Installation) -> Result<Launch, ApiError> {
        launch::launch(installation, &self.settings, self.endpoint()).await
    }

    /// Its owner's models are on disk, so one of ours goes on with them.
    fn can_take_over(&self) -> bool {
        true
    }

    fn fixed_port(&self) -> Option<(u16, &'static str)> {
        Some((launch::port(&self.endpoint().base_url), ADDRESS_KEY))
    }

    /// Since 0.30 a `llama-server --model …`, before that and for MLX an `ollama runner … --model …`; those without a
    /// model only look for GPUs (reference/ollama.md section 4.1).
    fn is_runner(&self, command_line: &[String]) -> bool {
        command_line.iter().any(|word| word == "--model")
    }

    /// Who owns a running Ollama (its app, systemd, Homebrew, a terminal) decides when it ends.
    async fn stop_commands(&self, _installation: &Installation) -> Option<Vec<ProcessSpec>> {
        None
    }

    fn client(&self, endpoint: &Endpoint) -> Arc<dyn ServerClient> {
        Arc::new(OllamaClient::new(endpoint))
    }

    /// While it looks for GPUs it accepts connections and stays silent, for a minute and more.
    fn start_limit(&self) -> Duration {
        Duration::from_secs(120)
    }

    fn explain_exit(&self, exit: &Exit, last_lines: &[String]) -> ApiError {
        if exit.signal == Some(4) {
            return ApiError::new(
                ErrorCode::CpuTooOld,
                "This Ollama was built for a newer processor than this one.",
            );
        }
        if last_lines.iter().any(|line| line.contains("address already in use")) {
            return held("Ollama", ADDRESS_KEY, launch::port(&self.endpoint().base_url), None);
        }
        let said =
            last_lines.iter().rev().find(|line| line.starts_with("Error:") || line.contains("level=ERROR"));
        let said = said.map(|line| format!(": {line}")).unwrap_or_default();
        ApiError::new(ErrorCode::ServerCrashed, format!("Ollama {exit}{said}.")).hint("Look at its log.")
    }
}
