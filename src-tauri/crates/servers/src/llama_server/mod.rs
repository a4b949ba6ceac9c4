//! llama.cpp's llama-server, ours, in router mode: one process that loads and unloads models on request, each in a
//! child of its own.

mod answer;
mod client;
mod launch;
mod library;
mod loading;
mod preset;
mod wire;

use crate::{
    Found, Installation, Launch, ServerAdapter, ServerClient,
    places::{held, not_installed},
    slots,
};
use async_trait::async_trait;
use client::LlamaClient;
use library::Library;
use pilothouse_domain::{
    endpoint::Endpoint,
    error::{ApiError, ErrorCode},
    server::{Abilities, LoadsWith, ServerId, ServerKind},
    settings::{LlamaServerSettings, ServersSettings},
};
use pilothouse_system::{
    model_files::ModelFiles,
    process::{Exit, ProcessSpec},
};
use preset::Presets;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// The id in settings, calls and rows.
pub(super) const ID: &str = "llama-server";
/// The key of the settings that says where it is.
const PORT_KEY: &str = "servers.llama-server.port";

/// Where its program and models may lie.
#[derive(Debug, Clone)]
pub struct Places {
    /// The embedded default: `llama-server/bin/llama-server` and `models/`.
    pub embedded: PathBuf,
    /// The user's own GGUF files.
    pub models: PathBuf,
    /// For the key file and the folder of links to models.
    pub run: PathBuf,
    /// The folder of our own program.
    pub beside_app: Option<PathBuf>,
}

/// The adapter.
pub struct LlamaServer {
    settings: RwLock<LlamaServerSettings>,
    places: Places,
    library: Arc<Library>,
    presets: Arc<Presets>,
}

impl LlamaServer {
    pub fn new(settings: LlamaServerSettings, places: Places) -> Self {
        let own = match settings.models_dir.as_str() {
            "" => places.models.clone(),
            dir => PathBuf::from(dir),
        };
        let folders = vec![places.embedded.join("models"), own];
        let library = Arc::new(Library::new(folders, places.run.join("llama-server-models")));
        let presets = Arc::new(Presets::new(places.run.join("llama-server.ini")));
        Self { settings: RwLock::new(settings), places, library, presets }
    }

    /// As they are now.
    fn settings(&self) -> LlamaServerSettings {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl ServerAdapter for LlamaServer {
    fn id(&self) -> ServerId {
        ServerId::new(ID)
    }

    fn kind(&self) -> ServerKind {
        ServerKind::LlamaServer
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            start: true,
            stop: true,
            load: true,
            unload: true,
            load_progress: true,
            instance_memory: false,
            instance_context: true,
            instance_expiry: false,
            timings: true,
            model_size: true,
            key: false,
            take_over: false,
            // One without a stream is noticed within a second, and not at all beside an answer that is being streamed.
            cancels: false,
            copies: false,
            loads_with: LoadsWith::default(),
        }
    }

    async fn locate(&self) -> Installation {
        match launch::find(&self.settings(), &self.places).await {
            Some(program) => Installation::Installed { program, version: None },
            None => not_installed(
                "llama-server",
                ID,
                &self.settings().program,
                "“pilothouse setup” fetches it with a small model.",
            ),
        }
    }

    fn fixed_port(&self) -> Option<(u16, &'static str)> {
        let port = self.settings().port;
        (port != 0).then_some((port, PORT_KEY))
    }

    /// The router starts one `llama-server --model …` (or `-m …`) per model.
    fn is_runner(&self, command_line: &[String]) -> bool {
        command_line.iter().any(|word| word == "--model" || word == "-m")
    }

    /// The router hands on the link that is named as the model.
    async fn is_runner_of(&self, command_line: &[String], model: &str) -> bool {
        let link = self.library.folder().join(format!("{model}.gguf"));
        command_line.iter().any(|word| std::path::Path::new(word) == link)
    }

    fn tells_of_work(&self, line: &str) -> bool {
        !slots::is_echo(line)
    }

    /// Only our own is used: a stranger's has no key that we know.
    async fn find_running(&self) -> Option<Found> {
        None
    }

    async fn launch(&self, installation: &Installation) -> Result<Launch, ApiError> {
        launch::launch(installation, &self.settings(), &self.places, &self.library, &self.presets).await
    }

    async fn model_files(&self, model: &str) -> Option<ModelFiles> {
        self.library.file(model).map(ModelFiles::gguf)
    }

    fn loads_with(&self, model: &str) -> BTreeMap<&'static str, String> {
        launch::loads_with(&self.settings(), model)
    }

    fn take_settings(&self, servers: &ServersSettings) {
        self.settings.write().unwrap_or_else(PoisonError::into_inner).clone_from(&servers.llama_server);
    }

    async fn stop_commands(&self, _installation: &Installation) -> Option<Vec<ProcessSpec>> {
        None
    }

    fn client(&self, endpoint: &Endpoint) -> Arc<dyn ServerClient> {
        Arc::new(LlamaClient::new(endpoint, self.library.clone(), self.presets.clone()))
    }

    fn start_limit(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn explain_exit(&self, exit: &Exit, last_lines: &[String]) -> ApiError {
        if exit.signal == Some(4) {
            return launch::cpu_too_old("This llama-server was built for a newer processor than this one.");
        }
        if last_lines.iter().any(|line| line.contains("couldn't bind")) {
            return held("llama-server", PORT_KEY, self.settings().port, None);
        }
        let said = last_lines.iter().rev().find(|line| line.contains(" E ") || line.contains("error"));
        let said = said.map(|line| format!(": {line}")).unwrap_or_default();
        ApiError::new(ErrorCode::ServerCrashed, format!("llama-server {exit}{said}."))
            .hint("Look at its log.")
    }
}
