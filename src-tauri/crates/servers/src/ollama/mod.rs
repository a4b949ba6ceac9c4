//! Ollama: adopted when one runs at its address, otherwise our own `ollama serve`.

mod client;
mod launch;
mod loading;
mod wire;

use crate::{
    ForeignLog, Found, Installation, Launch, ServerAdapter, ServerClient,
    places::{held, not_installed},
    slots,
};
use async_trait::async_trait;
use client::OllamaClient;
use pilothouse_domain::{
    endpoint::Endpoint,
    error::{ApiError, ErrorCode},
    model::LoadSettings,
    server::{Abilities, LoadsWith, ServerId, ServerKind},
    settings::{OllamaSettings, ServersSettings},
};
use pilothouse_system::{
    gauges::CommandLines,
    model_files::{ModelFiles, ollama_store},
    process::{Exit, Holder, Keeper, ProcessSpec, output_file},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, RwLockWriteGuard},
    time::Duration,
};

/// The id in settings, calls and rows.
pub(super) const ID: &str = "ollama";
/// The key of the settings that says where it is.
const ADDRESS_KEY: &str = "servers.ollama.address";

/// The adapter.
pub struct Ollama {
    settings: RwLock<OllamaSettings>,
    /// Where the app of this user keeps its log.
    user_home: PathBuf,
    /// What one of ours was started with, until somebody else's is found.
    started: RwLock<Option<OllamaSettings>>,
}

impl Ollama {
    pub fn new(settings: OllamaSettings, user_home: PathBuf) -> Self {
        Self { settings: RwLock::new(settings), user_home, started: RwLock::default() }
    }

    /// As they are now.
    fn settings(&self) -> OllamaSettings {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn started(&self) -> RwLockWriteGuard<'_, Option<OllamaSettings>> {
        self.started.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint { base_url: self.settings().address.trim_end_matches('/').to_owned(), key: None }
    }
}

/// Ollama makes no arrangement for its own death: a killed `ollama serve` leaves its runners behind with all their memory
/// (ollama issue 5642).
pub const COMMAND_LINES: CommandLines = CommandLines { is_runner: is_runner_line, is_server: is_server_line };

/// Whether a command line is that of a process which an Ollama starts for a model (Ollama: llm/llama_server.go, startLlamaServer): its own
/// `runner`, or a llama-server with the flags that only Ollama gives to a weights file of its store.
pub fn is_runner_line(words: &[String]) -> bool {
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    let of_store =
        || words.iter().any(|word| word.contains("blobs/sha256-") || word.contains("blobs\\sha256-"));
    match program(words) {
        Some("ollama") => words.get(1).is_some_and(|verb| verb == "runner") && has("--model"),
        Some("llama-server") => has("--no-webui") && has("--offline") && of_store(),
        _ => false,
    }
}

/// Whether a command line is that of an Ollama which may have runners.
pub(crate) fn is_server_line(words: &[String]) -> bool {
    program(words) == Some("ollama") && words.get(1).is_some_and(|verb| verb != "runner")
}

/// Whether a command line is that of an Ollama which listens: not of one that talks to another (`ollama run`).
fn is_listener_line(words: &[String]) -> bool {
    program(words) == Some("ollama") && words.get(1).is_some_and(|verb| verb == "serve" || verb == "start")
}

fn program(words: &[String]) -> Option<&str> {
    let name = words.first()?.rsplit(['/', '\\']).next()?;
    Some(name.strip_suffix(".exe").unwrap_or(name))
}

/// Where the one of somebody else writes (Ollama: docs/troubleshooting.mdx).
fn foreign_log(holder: &Holder, user_home: &Path) -> Option<ForeignLog> {
    if let (Some(Keeper::UserUnit(unit)), Some(user)) = (&holder.keeper, &holder.user) {
        let command = format!("sudo journalctl _UID={} _SYSTEMD_USER_UNIT={unit}", user.uid);
        return Some(ForeignLog::Command(command));
    }
    match &holder.keeper {
        Some(Keeper::OllamaApp) => Some(ForeignLog::File(user_home.join(".ollama/logs/server.log"))),
        Some(Keeper::Homebrew) => {
            let prefix = if cfg!(target_arch = "aarch64") { "/opt/homebrew" } else { "/usr/local" };
            Some(ForeignLog::File(Path::new(prefix).join("var/log/ollama.log")))
        }
        Some(Keeper::Unit(unit)) => Some(ForeignLog::Command(format!("journalctl --unit {unit}"))),
        Some(Keeper::UserUnit(unit)) => Some(ForeignLog::Command(format!("journalctl --user --unit {unit}"))),
        Some(Keeper::Container) => Some(ForeignLog::Command("docker logs".into())),
        None => output_file(holder.pid).map(ForeignLog::File),
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
            cancels: true,
            copies: false,
            loads_with: LoadsWith::default(),
        }
    }

    async fn locate(&self) -> Installation {
        match launch::find(&self.settings()).await {
            Some(program) => Installation::Installed { program, version: None },
            None => not_installed(
                "Ollama",
                ID,
                &self.settings().program,
                "Install it, or set servers.ollama.program in the settings file.",
            ),
        }
    }

    async fn find_running(&self) -> Option<Found> {
        let endpoint = self.endpoint();
        let client = OllamaClient::new(&endpoint);
        let health = client.identify().await.ok()?;
        *self.started() = None;
        let port = launch::port(&endpoint.base_url);
        let (pid, keeper, left_to_owner, log) =
            match Holder::at(port, |_, words| is_listener_line(words)).await {
                Ok(holder) => {
                    // What passes the port on to a container has little memory, and that is not Ollama's.
                    let pid = (!holder.is_door()).then_some(holder.pid);
                    let left_to_owner = holder.left_to_owner().is_some();
                    (pid, holder.kept(), left_to_owner, foreign_log(&holder, &self.user_home))
                }
                Err(user) => (None, user.map(|user| format!("a process of {user}")), true, None),
            };
        Some(Found { endpoint, version: health.version, pid, keeper, left_to_owner, log })
    }

    async fn model_files(&self, model: &str) -> Option<ModelFiles> {
        let store = ollama_store::store(&self.settings().models_dir, &self.user_home);
        if let Some(files) = ollama_store::files_of(&store, model) {
            return Some(files);
        }
        // The service of the system keeps its files to itself.
        let told = OllamaClient::new(&self.endpoint()).anatomy(model).await;
        let told = told.inspect_err(|error| tracing::debug!(%error, model, "its build is not told"));
        told.ok().map(|anatomy| ModelFiles::Told(Box::new(anatomy)))
    }

    fn tells_of_work(&self, line: &str) -> bool {
        !line.starts_with("[GIN]") && !slots::is_echo(line)
    }

    async fn launch(&self, installation: &Installation) -> Result<Launch, ApiError> {
        let settings = self.settings();
        let launch = launch::launch(installation, &settings, self.endpoint()).await?;
        *self.started() = Some(settings);
        Ok(launch)
    }

    /// Its owner's models are on disk, so one of ours goes on with them.
    fn can_take_over(&self) -> bool {
        true
    }

    fn fixed_port(&self) -> Option<(u16, &'static str)> {
        Some((launch::port(&self.endpoint().base_url), ADDRESS_KEY))
    }

    /// Since 0.30 a `llama-server --model …`, before that and for MLX an `ollama runner … --model …`; those without a
    /// model only look for GPUs (Ollama: discover/runner.go).
    fn is_runner(&self, command_line: &[String]) -> bool {
        command_line.iter().any(|word| word == "--model")
    }

    /// Their file is named by the hash of the weights, wherever the store lies.
    async fn is_runner_of(&self, command_line: &[String], model: &str) -> bool {
        let store = ollama_store::store(&self.settings().models_dir, &self.user_home);
        let files = ollama_store::files_of(&store, model);
        let blob = files.as_ref().and_then(|files| files.paths().first()?.file_name());
        blob.is_some_and(|blob| command_line.iter().any(|word| Path::new(word).file_name() == Some(blob)))
    }

    /// Who owns a running Ollama (its app, systemd, Homebrew, a terminal) decides when it ends.
    fn loads_with(&self, _model: &str) -> BTreeMap<&'static str, String> {
        let OllamaSettings { flash_attention, kv_type, parallel, .. } = self.settings();
        let kv_type = if kv_type.is_empty() { "f16".to_owned() } else { kv_type };
        let mut with = BTreeMap::from([("kv_type", kv_type)]);
        if !flash_attention.is_empty() {
            with.insert("flash_attention", flash_attention);
        }
        if parallel > 0 {
            with.insert("parallel", parallel.to_string());
        }
        with
    }

    fn cannot_load_with_once_started(&self, with: &LoadSettings) -> Option<ApiError> {
        loading::cannot(with, Some(&self.settings()))
    }

    fn take_settings(&self, servers: &ServersSettings) {
        self.settings.write().unwrap_or_else(PoisonError::into_inner).clone_from(&servers.ollama);
    }

    async fn stop_commands(&self, _installation: &Installation) -> Option<Vec<ProcessSpec>> {
        None
    }

    fn client(&self, endpoint: &Endpoint) -> Arc<dyn ServerClient> {
        Arc::new(OllamaClient::new(endpoint).started_with(self.started().clone()))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn runners_are_told_from_servers_and_from_what_people_run() {
        for line in [
            "/usr/bin/ollama runner --ollama-engine --model /m/blobs/sha256-1 --port 4",
            "/usr/lib/ollama/llama-server --model /m/blobs/sha256-1 --port 4 --host 127.0.0.1 --no-webui --offline -c 4",
        ] {
            assert!(is_runner_line(&words(line)) && !is_server_line(&words(line)), "{line}");
        }
        for line in ["/usr/bin/ollama serve", "ollama run llama3", "C:\\Ollama\\ollama.exe serve"] {
            assert!(is_server_line(&words(line)) && !is_runner_line(&words(line)), "{line}");
            assert_eq!(is_listener_line(&words(line)), !line.contains("run llama3"), "{line}");
        }
        for line in [
            "llama-server --model /m/blobs/sha256-1",
            "ollama runner --ollama-engine --port 5",
            "",
            "vi ollama",
        ] {
            assert!(!is_runner_line(&words(line)), "{line}");
        }
    }

    /// As its client says it once it runs.
    #[test]
    fn what_one_that_has_yet_to_be_started_cannot_be_given_goes_by_the_settings() {
        use pilothouse_domain::anatomy::KvType;
        let kv = |kv_type| LoadSettings { kv_type: Some(kv_type), ..LoadSettings::default() };
        let set = OllamaSettings { kv_type: "q8_0".into(), parallel: 2, ..OllamaSettings::default() };
        let ollama = Ollama::new(set.clone(), PathBuf::from("/home/me"));
        for with in [
            LoadSettings::default(),
            kv(KvType::Q8_0),
            kv(KvType::F16),
            LoadSettings { parallel: Some(2), ..LoadSettings::default() },
            LoadSettings { parallel: Some(3), ..LoadSettings::default() },
            LoadSettings { context: Some(4096), ..LoadSettings::default() },
        ] {
            *ollama.started() = None;
            let before = ollama.cannot_load_with_once_started(&with);
            *ollama.started() = Some(set.clone());
            let running = ollama.client(&ollama.endpoint()).cannot_load_with(&with);
            assert_eq!(before, running, "{with:?}");
        }
        assert!(ollama.cannot_load_with_once_started(&kv(KvType::F16)).is_some());
    }

    #[test]
    fn the_log_of_another_users_unit_is_not_looked_for_in_ours() {
        let command = |holder: &Holder| foreign_log(holder, Path::new("/home/me")).unwrap().to_string();
        let of = |keeper: Keeper| Holder::new(7, "ollama".into(), Some(keeper));
        assert_eq!(command(&of(Keeper::Unit("ollama.service".into()))), "“journalctl --unit ollama.service”");
        let own = of(Keeper::UserUnit("o.service".into()));
        assert_eq!(command(&own), "“journalctl --user --unit o.service”");
        let theirs = own.of_user(1001, "bob");
        assert_eq!(command(&theirs), "“sudo journalctl _UID=1001 _SYSTEMD_USER_UNIT=o.service”");
        assert_eq!(command(&of(Keeper::Container)), "“docker logs”");
    }
}
