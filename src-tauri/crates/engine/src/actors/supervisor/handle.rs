//! The mailbox of a supervisor.

use super::{
    actor::Supervisor,
    ask::{Ask, ended},
    connection::Connection,
    wiring::SupervisorWiring,
};
use crate::{api::Check, server_log::ServerLog};
use pilothouse_domain::{
    anatomy::Anatomy,
    backoff::RestartPolicy,
    error::{ApiError, ErrorCode},
    model::{LoadSettings, Model},
    server::{ServerId, ServerKind},
    settings::ServersSettings,
};
use pilothouse_servers::ServerAdapter;
use pilothouse_system::{
    apart,
    model_files::{is_damage, read_files, sampled_digest},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};

/// The mailbox of one supervisor.
#[derive(Clone)]
pub struct SupervisorHandle {
    pub id: ServerId,
    pub kind: ServerKind,
    pub log: Arc<ServerLog>,
    /// Whether it takes a key that a person can give.
    pub takes_key: bool,
    /// Asked only what does not change with the server's state.
    adapter: Arc<dyn ServerAdapter>,
    asks: mpsc::Sender<Ask>,
    connected: watch::Receiver<Option<Connection>>,
}

/// Heads of files that may lie on another machine.
const FILES_LIMIT: Duration = Duration::from_secs(30);
/// The bound of a refresh: a server that stalls must not stall its askers.
const REFRESH_LIMIT: Duration = Duration::from_secs(15);

impl SupervisorHandle {
    /// Starts the actor. With `autostart` the server is started unless one runs already.
    pub fn start(adapter: Arc<dyn ServerAdapter>, wiring: SupervisorWiring, autostart: bool) -> Self {
        let (asks, mailbox) = mpsc::channel(32);
        let (id, kind, log) = (adapter.id(), adapter.kind(), wiring.log.clone());
        let takes_key = adapter.abilities().key;
        let supervisor = Supervisor::new(adapter.clone(), wiring);
        let connected = supervisor.contact.shown();
        let handle = Self { id, kind, log, takes_key, adapter, asks, connected };
        tokio::spawn(supervisor.run(mailbox, autostart));
        handle
    }

    /// Makes sure that the server answers, starting it if need be. Waits until then.
    /// Errors: not_installed, port_taken, server_crashed, timed_out, busy (it is being stopped), …
    pub async fn ensure_ready(&self) -> Result<Connection, ApiError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::EnsureReady(reply)).await?;
        answer.await.map_err(|_| ended())?
    }

    /// Stops the server. Errors: not_ours, timed_out.
    pub async fn stop(&self) -> Result<(), ApiError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::Stop(reply)).await?;
        answer.await.map_err(|_| ended())?
    }

    /// Asks the server again for models and instances; returns when the hub shows the answer to a question that was put after this
    /// call. A server that is not up or stalls is no error.
    pub async fn refresh(&self) {
        let (reply, answer) = oneshot::channel();
        if self.ask(Ask::Refresh(reply)).await.is_ok() {
            let _ = tokio::time::timeout(REFRESH_LIMIT, answer).await;
        }
    }

    /// Looks again for the program of a server that is not installed; returns when the hub shows what was found.
    pub async fn locate(&self) {
        let (reply, answer) = oneshot::channel();
        if self.ask(Ask::Locate(reply)).await.is_ok() {
            let _ = tokio::time::timeout(REFRESH_LIMIT, answer).await;
        }
    }

    /// The build of a model, read from its files. Errors: unsupported (they cannot be read or are not understood), load_failed
    /// (they are damaged: bytes or files are missing).
    pub async fn anatomy(&self, model: &Model) -> Result<Anatomy, ApiError> {
        let Some(files) = self.adapter.model_files(&model.name).await else {
            let text =
                format!("The files of {} cannot be read here, so nothing can be reckoned.", model.title);
            return Err(ApiError::new(ErrorCode::Unsupported, text)
                .hint("That works for models of this machine in folders that you may read."));
        };
        let shown = files.to_string();
        let read = apart::once(&shown, FILES_LIMIT, move || read_files(&files)).await;
        let silent = |silence: apart::Unanswered| {
            ApiError::new(ErrorCode::TimedOut, format!("Reading files: {silence}."))
                .hint("A folder on another machine may be gone; it is tried again.")
        };
        read.map_err(silent)?.map_err(|error| match is_damage(&error) {
            true => ApiError::new(ErrorCode::LoadFailed, format!("{shown} is damaged: {error}."))
                .hint("Fetch it again, or remove it."),
            false => ApiError::new(ErrorCode::Unsupported, format!("{shown} is not understood: {error}.")),
        })
    }

    /// What of this its server cannot be given with a load, as it runs now, else as it would be started. Asks nobody and starts nothing.
    /// Errors: unsupported.
    pub fn cannot_load_with(&self, with: &LoadSettings) -> Option<ApiError> {
        let connected = self.connected.borrow().clone();
        match connected {
            Some(connection) => connection.client.cannot_load_with(with),
            None => self.adapter.cannot_load_with_once_started(with),
        }
    }

    /// What makes an instance of a model comparable with one elsewhere, by the keys of a fingerprint; what is not known is left out.
    pub async fn makeup(&self, model: &Model) -> BTreeMap<&'static str, String> {
        let mut makeup = self.adapter.loads_with(&model.name);
        if let Some(files) = self.adapter.model_files(&model.name).await {
            let shown = files.to_string();
            let digest = apart::once(&shown, FILES_LIMIT, move || sampled_digest(&files)).await;
            if let Ok(Ok(Some(digest))) = digest {
                makeup.insert("weights_digest", digest);
            }
        }
        if let Ok(anatomy) = self.anatomy(model).await
            && anatomy.parameters > 0
        {
            let bits = anatomy.weights_bytes as f64 * 8.0 / anatomy.parameters as f64;
            makeup.insert("bits_per_weight", format!("{bits:.2}"));
        }
        makeup
    }

    /// Puts settings in force by which the server starts and loads from now on; what runs already goes on as it is.
    pub fn take_settings(&self, servers: &ServersSettings) {
        self.adapter.take_settings(servers);
    }

    /// Where the weights of a model lie; empty: not here, or in a folder of somebody else's.
    pub async fn weight_files(&self, model: &str) -> Vec<PathBuf> {
        let files = self.adapter.model_files(model).await;
        files.iter().flat_map(|files| files.paths()).map(Path::to_owned).collect()
    }

    /// Puts another restart policy in force.
    pub async fn set_policy(&self, policy: RestartPolicy) {
        let _ = self.ask(Ask::Policy(policy)).await;
    }

    /// Ends somebody else's server and starts one of ours in its place. Errors: unsupported, not_ours, timed_out, and as
    /// `ensure_ready`.
    pub async fn take_over(&self) -> Result<Connection, ApiError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::TakeOver(reply)).await?;
        answer.await.map_err(|_| ended())?
    }

    /// Looks at port and API, and asks for one token unless an answer is under way.
    pub async fn check(&self) -> Result<Vec<Check>, ApiError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::Check(reply)).await?;
        answer.await.map_err(|_| ended())
    }

    /// Says before an unload of our own that this instance is about to leave memory, so that its end is not reported as a loss;
    /// holds until it is seen in memory again after that. Returns when the supervisor has taken note.
    pub async fn leaving(&self, instance: &str) {
        let (reply, answer) = oneshot::channel();
        if self.ask(Ask::Leaving(instance.to_owned(), reply)).await.is_ok() {
            let _ = answer.await;
        }
    }

    /// Says that an instance is in memory by our own doing, or that an unload of it failed: from now on its end is a loss.
    pub async fn staying(&self, instance: &str) {
        let (reply, answer) = oneshot::channel();
        if self.ask(Ask::Staying(instance.to_owned(), reply)).await.is_ok() {
            let _ = answer.await;
        }
    }

    /// Connects anew, with the key that is kept now.
    pub async fn key_changed(&self) {
        let _ = self.ask(Ask::KeyChanged).await;
    }

    /// Stops the server if it is ours and ends the actor; an adopted server goes on.
    pub async fn shutdown(&self) {
        let (reply, answer) = oneshot::channel();
        if self.ask(Ask::Shutdown(reply)).await.is_ok() {
            let _ = answer.await;
        }
    }

    async fn ask(&self, ask: Ask) -> Result<(), ApiError> {
        self.asks.send(ask).await.map_err(|_| ended())
    }
}
