//! LM Studio: always adopted. Its own service starts, stops and owns it; we ask by HTTP, and by `lms` where HTTP
//! cannot.

mod client;
mod files;
mod home;
mod launch;
mod told;
mod v0;
mod v1;
mod wire;

use crate::{ForeignLog, Found, Installation, Launch, ServerAdapter, ServerClient};
use async_trait::async_trait;
use client::LmStudioClient;
use files::Listed;
use home::Home;
use pilothouse_domain::{
    endpoint::Endpoint,
    error::{ApiError, ErrorCode},
    model::LoadSettings,
    server::{Abilities, Backend, LoadsWith, ServerId, ServerKind},
    settings::LmStudioSettings,
};
use pilothouse_system::{
    apart,
    connect::port_named,
    keys::Keys,
    model_files::ModelFiles,
    process::{Exit, ProcessSpec},
};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{sync::Mutex, time::Instant};

/// The id in settings, calls and rows.
pub(super) const ID: &str = "lmstudio";
/// How long a list of the models on disk is used.
const LISTED_LIMIT: Duration = Duration::from_secs(30);
/// Looking through its folder of models, which may lie on another machine.
const FOLDER_LIMIT: Duration = Duration::from_secs(20);

/// The adapter.
pub struct LmStudio {
    settings: LmStudioSettings,
    user_home: PathBuf,
    keys: Keys,
    /// What `lms` listed, and when: asking it costs a process.
    listed: Mutex<Option<(Instant, Vec<Listed>)>>,
}

impl LmStudio {
    pub fn new(settings: LmStudioSettings, user_home: PathBuf, keys: Keys) -> Self {
        Self { settings, user_home, keys, listed: Mutex::default() }
    }

    /// The models on disk as `lms` lists them, not older than a short while.
    async fn listed(&self, home: &Home) -> Vec<Listed> {
        let mut kept = self.listed.lock().await;
        match &*kept {
            Some((at, listed)) if at.elapsed() < LISTED_LIMIT => listed.clone(),
            _ => {
                let listed = files::listed(home).await;
                *kept = Some((Instant::now(), listed.clone()));
                listed
            }
        }
    }

    /// Looked up anew each time: it appears with the product's first start.
    fn home(&self) -> Home {
        Home::find(&self.settings, &self.user_home)
    }

    fn address(&self) -> String {
        match self.settings.address.as_str() {
            "" => self.home().address(),
            address => address.trim_end_matches('/').to_owned(),
        }
    }
}

#[async_trait]
impl ServerAdapter for LmStudio {
    fn id(&self) -> ServerId {
        ServerId::new(ID)
    }

    fn kind(&self) -> ServerKind {
        ServerKind::LmStudio
    }

    fn abilities(&self) -> Abilities {
        // Without `lms` there is nobody to ask.
        let asks = self.home().lms().is_some();
        Abilities {
            start: asks,
            stop: asks,
            load: true,
            unload: true,
            load_progress: false,
            instance_memory: false,
            instance_context: true,
            instance_expiry: false,
            timings: true,
            model_size: true,
            key: true,
            take_over: false,
            cancels: false,
            copies: true,
            loads_with: LoadsWith::default(),
        }
    }

    async fn locate(&self) -> Installation {
        match self.home().lms() {
            Some(program) => Installation::Installed { program, version: None },
            None => Installation::NotInstalled {
                reason: "LM Studio is not on this machine.".into(),
                hint: "Install LM Studio and start it once.".into(),
            },
        }
    }

    /// Whether it takes a number of requests at a time depends on its version.
    fn cannot_load_with_once_started(&self, with: &LoadSettings) -> Option<ApiError> {
        client::takes_no_kv_type(with)
    }

    async fn find_running(&self) -> Option<Found> {
        let endpoint = Endpoint { base_url: self.address(), key: self.keys.get(&self.id()).await };
        let client = LmStudioClient::new(&endpoint, self.home(), None);
        client.health().await.ok()?;
        let backend = self.home().backend().await;
        let (version, pid) = backend.map_or((None, None), |backend| (backend.version, backend.pid));
        let log = Some(ForeignLog::NewestHeads(self.home().server_logs()));
        Some(Found { endpoint, version, pid, keeper: None, left_to_owner: false, log })
    }

    async fn backend(&self) -> Option<Backend> {
        self.home().backend().await
    }

    fn fixed_port(&self) -> Option<(u16, &'static str)> {
        Some((port_named(&self.address())?, "servers.lmstudio.address"))
    }

    async fn model_files(&self, model: &str) -> Option<ModelFiles> {
        let home = self.home();
        let endpoint = Endpoint { base_url: self.address(), key: self.keys.get(&self.id()).await };
        let told = LmStudioClient::new(&endpoint, self.home(), None).models().await.unwrap_or_default();
        let told_bytes = told.into_iter().find(|one| one.name == model).and_then(|one| one.size_bytes);
        let listed = self.listed(&home).await;
        let (models, key) = (home.models(), model.to_owned());
        let found = move || files::find(&models, &listed, &key, told_bytes);
        apart::once("the folder of LM Studio's models", FOLDER_LIMIT, found).await.ok().flatten()
    }

    async fn launch(&self, installation: &Installation) -> Result<Launch, ApiError> {
        let Installation::Installed { program, .. } = installation else {
            return Err(ApiError::new(ErrorCode::NotInstalled, "LM Studio is not on this machine."));
        };
        Ok(Launch::Ask { commands: vec![launch::start(program, &self.home(), &self.address())] })
    }

    async fn stop_commands(&self, installation: &Installation) -> Option<Vec<ProcessSpec>> {
        match installation {
            Installation::Installed { program, .. } => Some(vec![launch::lms(program, &["server", "stop"])]),
            Installation::NotInstalled { .. } => None,
        }
    }

    fn client(&self, endpoint: &Endpoint) -> Arc<dyn ServerClient> {
        Arc::new(LmStudioClient::new(endpoint, self.home(), self.keys.why_unread(&self.id())))
    }

    fn start_limit(&self) -> Duration {
        Duration::from_secs(90)
    }

    fn explain_exit(&self, exit: &Exit, _last_lines: &[String]) -> ApiError {
        ApiError::new(ErrorCode::ServerCrashed, format!("LM Studio {exit}."))
    }
}
