//! One supervisor per server: the only one that starts, stops, adopts and lists it.
//!
//! Decisions are `domain::lifecycle`; the actor feeds events in and carries effects out. Slow work (probing, listing,
//! launching) runs in tasks whose results come back to the actor as one more event.

mod actor;
mod checking;
mod evidence;
mod looking;
mod owning;
mod record;
mod suspicion;
mod taking_over;
#[cfg(test)]
mod tests;
mod waiting;
mod work;

use crate::{actors::notifier::NotifierHandle, api::Check, hub::Hub, server_log::ServerLog};
use pilothouse_domain::{
    anatomy::Anatomy,
    backoff::RestartPolicy,
    endpoint::Endpoint,
    error::{ApiError, ErrorCode},
    model::Model,
    server::{ServerId, ServerKind},
};
use pilothouse_leases::{Leases, Target};
use pilothouse_servers::{ServerAdapter, ServerClient};
use pilothouse_system::{
    model_files::{is_damage, read_files},
    process::Processes,
};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};

/// A way to a server that answers.
#[derive(Clone)]
pub struct Connection {
    pub client: Arc<dyn ServerClient>,
    pub endpoint: Endpoint,
}

impl Connection {
    /// An instance as whoever asks it himself holds a lease on it.
    pub fn target(&self, server: &ServerId, model: &str, instance: &str) -> Target {
        Target {
            server: server.clone(),
            model: model.to_owned(),
            instance: instance.to_owned(),
            openai: self.client.openai(),
            slots: 1,
        }
    }
}

/// What a supervisor needs of the engine.
pub struct Surroundings {
    pub hub: Hub,
    pub notifier: NotifierHandle,
    pub log: Arc<ServerLog>,
    /// Folder for the record of our process and its output.
    pub run_dir: PathBuf,
    pub policy: RestartPolicy,
    /// Answers under way, and what goes wrong with them.
    pub leases: Leases,
    /// What the system tells of the server's processes.
    pub processes: Arc<dyn Processes>,
}

enum Ask {
    EnsureReady(oneshot::Sender<Result<Connection, ApiError>>),
    Stop(oneshot::Sender<Result<(), ApiError>>),
    Refresh(oneshot::Sender<()>),
    Locate(oneshot::Sender<()>),
    Policy(RestartPolicy),
    KeyChanged,
    TakeOver(oneshot::Sender<Result<Connection, ApiError>>),
    Check(oneshot::Sender<Vec<Check>>),
    /// An instance is about to be unloaded by us.
    Leaving(String, oneshot::Sender<()>),
    /// It stays after all, or has been loaded by us.
    Staying(String, oneshot::Sender<()>),
    Shutdown(oneshot::Sender<()>),
}

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
}

/// The bound of a refresh: a server that stalls must not stall its askers.
const REFRESH_LIMIT: Duration = Duration::from_secs(15);

impl SupervisorHandle {
    /// Starts the actor. With `autostart` the server is started unless one runs already.
    pub fn start(adapter: Arc<dyn ServerAdapter>, surroundings: Surroundings, autostart: bool) -> Self {
        let (asks, mailbox) = mpsc::channel(32);
        let handle = Self {
            id: adapter.id(),
            kind: adapter.kind(),
            log: surroundings.log.clone(),
            takes_key: adapter.abilities().key,
            adapter: adapter.clone(),
            asks,
        };
        tokio::spawn(actor::Supervisor::new(adapter, surroundings).run(mailbox, autostart));
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
        let read = tokio::task::spawn_blocking(move || read_files(&files)).await;
        let read = read.map_err(|error| ApiError::internal(format!("Reading {shown} ended: {error}.")))?;
        read.map_err(|error| match is_damage(&error) {
            true => ApiError::new(ErrorCode::LoadFailed, format!("{shown} is damaged: {error}."))
                .hint("Fetch it again, or remove it."),
            false => ApiError::new(ErrorCode::Unsupported, format!("{shown} is not understood: {error}.")),
        })
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

fn ended() -> ApiError {
    ApiError::new(ErrorCode::NotRunning, "Pilothouse is shutting down.")
}
