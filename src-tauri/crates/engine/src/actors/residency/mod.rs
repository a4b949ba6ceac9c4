//! The one owner of what is in memory: the only one that loads and unloads models.
//!
//! Decisions are `domain::residency`; the actor takes requests, runs one transaction at a time and keeps what is active until
//! something else is. Whoever wants to use an instance takes a lease (`pilothouse_leases`); whoever measures borrows a model.

mod actor;
mod arriving;
mod beside;
mod borrow;
mod clearing;
mod event;
mod following;
#[cfg(test)]
mod forget_tests;
mod holding;
#[cfg(test)]
mod journal_tests;
mod journalling;
mod late;
#[cfg(test)]
mod late_tests;
mod lending;
mod ordering;
mod proof;
mod putting_right;
#[cfg(test)]
mod random_scene_tests;
#[cfg(test)]
mod random_tests;
mod rearranging;
mod requests;
mod resolving;
mod restoring;
mod resume;
mod scenes;
mod server_lending;
mod server_loan;
mod server_memory;
mod shutdown;
mod switching_with;
mod telling;
#[cfg(test)]
mod tests;
mod transaction;
mod undo;
mod unloading;
mod wishes;

pub use borrow::{Borrowed, Side};
pub use requests::{Aim, ModelWanted, RoleWanted, Undone, Unloaded};
pub use resolving::resolve;
pub use server_loan::ServerLoan;

use super::{
    bounds::{until_cancelled, within},
    notifier::NotifierHandle,
    supervisor::{Connection, SupervisorHandle},
    supervisors::Supervisors,
};
use crate::{hub::Hub, ports::Journal};
use journalling::BoundedJournal;
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{Instance, Model, ModelRef},
    scene::{ScenePlan, SceneReport},
    server::{ServerId, ServerKind},
    settings::{MemorySettings, SwitchingSettings},
    switch::SwitchReport,
};
use pilothouse_leases::Leases;
use pilothouse_servers::{LoadProgress, LoadRequest, ServerClient};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// What residency needs of the engine.
#[derive(Clone)]
pub struct ResidencyWiring {
    pub hub: Hub,
    pub notifier: NotifierHandle,
    pub journal: Option<Arc<dyn Journal>>,
    pub supervisors: Supervisors,
    pub leases: Leases,
    pub settings: watch::Receiver<SwitchingSettings>,
    pub memory: watch::Receiver<MemorySettings>,
}

/// Which model a switch is after.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// A name, `<server>/<name>` or an unambiguous part.
    pub model: String,
    pub server: Option<ServerId>,
    pub dry_run: bool,
    /// Answers of the previous model are cut at once.
    pub now: bool,
}

/// Until it is reckoned what a model takes; its file is read for that.
const RECKONED_LIMIT: Duration = Duration::from_secs(5);
/// The output of a server that has just ended is read a moment later.
const LAST_WORDS: Duration = Duration::from_millis(500);

type SwitchReply = oneshot::Sender<Result<SwitchReport, ApiError>>;
type Done = oneshot::Sender<Result<(), ApiError>>;

enum Ask {
    Switch(Wanted, SwitchReply),
    Memory(Box<requests::Request>),
    Cancel(Done),
    ActivateFirst,
    WasEverUsed(oneshot::Sender<bool>),
    Available(Done),
    Servers(BTreeSet<ServerId>),
    Borrow(borrow::Request),
    BorrowServer(server_loan::Request),
    Shutdown(oneshot::Sender<()>),
}

/// The mailbox of residency.
#[derive(Clone)]
pub struct ResidencyHandle(mpsc::Sender<Ask>);

impl ResidencyHandle {
    /// Starts the actor, which takes up what was active before our last end.
    pub fn start(mut around: ResidencyWiring) -> Self {
        let bounded =
            |journal| -> Arc<dyn Journal> { Arc::new(BoundedJournal::new(journal, around.hub.clone())) };
        around.journal = around.journal.take().map(bounded);
        let (sender, mailbox) = mpsc::channel(64);
        tokio::spawn(actor::Residency::new(around).run(mailbox));
        Self(sender)
    }

    /// Makes a model active and waits for the outcome. An equal request under way is joined, an unequal one is cancelled and
    /// put back first. Errors: not_found, ambiguous, unsupported, busy (a benchmark); later failures are outcomes in the
    /// report.
    pub async fn switch(&self, wanted: Wanted) -> Result<SwitchReport, ApiError> {
        self.ask(|reply| Ask::Switch(wanted, reply)).await?
    }

    /// The same with settings of its load: a model that is in memory with others is loaded again. What cannot be is refused before
    /// anything is disturbed. Errors besides: does_not_fit, not_ours, and unsupported for what its server cannot be given.
    pub async fn switch_with(
        &self,
        wanted: ModelWanted,
        now: bool,
        dry_run: bool,
    ) -> Result<SwitchReport, ApiError> {
        let aim = Aim::Active(Box::new(wanted));
        let apply =
            |reply| requests::Request::Apply { aim, now, dry_run, waiter: requests::Waiter::Switch(reply) };
        self.memory(apply).await?
    }

    /// Cancels the switch under way. Errors: not_found.
    pub async fn cancel(&self) -> Result<(), ApiError> {
        self.ask(Ask::Cancel).await?
    }

    /// Makes these roles, or what was there before the last scene, what is held, and waits for the outcome. An equal request under way
    /// is joined, anything else under way is cancelled and put back first. Errors: not_found, busy, does_not_fit, not_ours,
    /// unsupported; later failures are outcomes in the report.
    pub async fn apply(&self, aim: Aim, now: bool, dry_run: bool) -> Result<SceneReport, ApiError> {
        let apply =
            |reply| requests::Request::Apply { aim, now, dry_run, waiter: requests::Waiter::Scene(reply) };
        self.memory(apply).await?
    }

    /// What applying them would do. Errors: not_found.
    pub async fn plan(&self, aim: Aim) -> Result<ScenePlan, ApiError> {
        self.memory(|reply| requests::Request::Plan { aim, reply }).await?
    }

    /// Takes a model out of memory; without one the active model, which is none then. Errors: not_found, no_active_model, busy,
    /// pinned, and what its server says.
    pub async fn unload(
        &self,
        model: Option<ModelRef>,
        now: bool,
        dry_run: bool,
    ) -> Result<Unloaded, ApiError> {
        self.memory(|reply| requests::Request::Unload { model, now, dry_run, reply }).await?
    }

    /// Takes one copy of a model out of memory that nobody needs beside another one of it. Errors: not_found, invalid_call (it is the
    /// only one, or the one that answers), busy, and what its server says.
    pub async fn unload_copy(&self, server: ServerId, instance: String) -> Result<Unloaded, ApiError> {
        self.memory(|reply| requests::Request::UnloadCopy { server, instance, reply }).await?
    }

    /// Takes the last switch, scene or deactivation back. Errors: not_found, busy, and as those.
    pub async fn undo(&self) -> Result<Undone, ApiError> {
        self.memory(requests::Request::Undo).await?
    }

    /// Keeps a model in memory once it is there, or lets go of it.
    pub async fn pin(&self, model: ModelRef, pinned: bool) -> Result<(), ApiError> {
        self.memory(|reply| requests::Request::Pin { model, pinned, reply }).await?
    }

    async fn memory<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<T>) -> requests::Request,
    ) -> Result<T, ApiError> {
        self.ask(|reply| Ask::Memory(Box::new(ask(reply)))).await
    }

    /// Nothing was ever active: makes the smallest model of the embedded server active that can be, so that a first start
    /// answers.
    pub async fn activate_first(&self) {
        let _ = self.0.send(Ask::ActivateFirst).await;
    }

    /// Whether anything was ever switched to.
    pub async fn was_ever_used(&self) -> bool {
        self.ask(Ask::WasEverUsed).await.unwrap_or(true)
    }

    /// Waits until the active model can answer: for a switch under way, else for its server to be started and the model to be
    /// loaded. Errors: no_active_model, and why it could not.
    pub async fn available(&self) -> Result<(), ApiError> {
        self.ask(Ask::Available).await?
    }

    /// Tells which servers the settings name. What is active on another one is not active any more.
    pub async fn servers_are(&self, servers: BTreeSet<ServerId>) {
        let _ = self.0.send(Ask::Servers(servers)).await;
    }

    /// Lends models for a measurement, all at the same time: loaded if need be, and nothing else is loaded or unloaded until they
    /// are given back. `cancel` ends the wait for them. Errors: busy, does_not_fit, cancelled, and what the server says.
    pub async fn borrow(
        &self,
        models: Vec<Model>,
        why: String,
        cancel: CancellationToken,
    ) -> Result<Borrowed, ApiError> {
        self.ask(|reply| Ask::Borrow(borrow::Request { models, why, cancel, reply })).await?
    }

    /// Lends a whole server, started if need be: its borrower may have models taken out of its memory and put in, and nobody else
    /// does. `cancel` ends the wait for it and whatever is done with it. Errors: busy, cancelled, and why it does not answer.
    pub async fn borrow_server(
        &self,
        server: ServerId,
        why: String,
        cancel: CancellationToken,
    ) -> Result<ServerLoan, ApiError> {
        self.ask(|reply| Ask::BorrowServer(server_loan::Request { server, why, cancel, reply })).await?
    }

    /// Cancels what is under way, puts it back as far as the time allows, and ends.
    pub async fn shutdown(&self) {
        let _ = self.ask(Ask::Shutdown).await;
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, ApiError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(ask(reply)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }
}

fn ended() -> ApiError {
    ApiError::new(ErrorCode::NotRunning, "Pilothouse is shutting down.")
}

impl ResidencyWiring {
    /// Takes an instance out of memory; its supervisor knows before, so that nobody takes it for a loss. Errors: what the
    /// server says.
    async fn unload(
        &self,
        server: &ServerId,
        client: &dyn ServerClient,
        instance: &str,
    ) -> Result<(), ApiError> {
        let supervisor = self.supervisor(server)?;
        supervisor.leaving(instance).await;
        let unloaded = client.unload(instance).await;
        if unloaded.is_err() {
            supervisor.staying(instance).await;
        }
        unloaded
    }

    /// Puts a model into memory. Errors: what the server says.
    async fn load(
        &self,
        server: &ServerId,
        client: &dyn ServerClient,
        request: &LoadRequest,
        progress: LoadProgress,
    ) -> Result<Instance, ApiError> {
        let supervisor = self.supervisor(server)?;
        let context = self.usual_context(server, &request.model).await;
        let request = LoadRequest { usual_context: context, ..request.clone() };
        let since = supervisor.log.newest();
        let loaded = client.load(&request, progress).await;
        let instance = match loaded {
            Ok(instance) => instance,
            Err(error) if error.code == ErrorCode::LoadFailed => {
                let said = supervisor.log.complaint_after(since, LAST_WORDS).await;
                return Err(error.quoting(said.as_deref()));
            }
            Err(error) => return Err(error),
        };
        supervisor.staying(&instance.id).await;
        Ok(instance)
    }

    /// With how many tokens a model is loaded where nobody says and the settings leave it open. At a start its model may be wanted
    /// before that was reckoned.
    async fn usual_context(&self, server: &ServerId, model: &str) -> Option<u64> {
        let mut snapshots = self.hub.snapshots();
        let kind = snapshots.borrow().server(server)?.kind;
        let model = ModelRef::new(server.clone(), model);
        if kind == ServerKind::LlamaServer && self.hub.need(&model).is_none() {
            let reckoned = snapshots.wait_for(|_| self.hub.need(&model).is_some());
            let _ = tokio::time::timeout(RECKONED_LIMIT, reckoned).await;
        }
        self.hub.need(&model)?.ok()?.context
    }

    fn supervisor(&self, id: &ServerId) -> Result<SupervisorHandle, ApiError> {
        self.supervisors.get(id)
    }

    fn listed(&self) -> Vec<Model> {
        self.hub.now().models.iter().map(|view| view.model.clone()).collect()
    }

    /// How long a load of a model may take, and how long its last loads took, in milliseconds.
    async fn load_limit(&self, to: &ModelRef) -> (Duration, Vec<u64>) {
        let times = match &self.journal {
            Some(journal) => journal.load_times(to).await.unwrap_or_default(),
            None => Vec::new(),
        };
        (pilothouse_domain::residency::load_limit(&times, &self.settings.borrow()), times)
    }
}

/// Until a server answers, started if need be; a remote one may load for ten minutes.
const SERVER_LIMIT: Duration = Duration::from_secs(660);
/// Until it says what it has in memory; its client asks for that in several questions, each with a limit of its own.
const LOOK_LIMIT: Duration = Duration::from_secs(30);

impl ResidencyWiring {
    /// A way to a server that answers, and what it has in memory. Errors: as `ensure_ready`, timed_out, cancelled.
    async fn reach(
        &self,
        server: &ServerId,
        cancel: &CancellationToken,
    ) -> Result<(Connection, Vec<Instance>), ApiError> {
        let supervisor = self.supervisor(server)?;
        let title = self.hub.now().server_title(server);
        let reaching = format!("Reaching {title}");
        let connection = bounded(&reaching, SERVER_LIMIT, cancel, supervisor.ensure_ready()).await?;
        let listed = format!("The list of {title}");
        let instances = bounded(&listed, LOOK_LIMIT, cancel, connection.client.instances()).await?;
        Ok((connection, instances))
    }
}

/// Runs a piece of work unless it takes longer than `limit` or somebody cancels it first. Errors: timed_out, cancelled, and
/// that of the work.
async fn bounded<T>(
    what: &str,
    limit: Duration,
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    // Boxed: each bound around it would hold it twice over.
    let work = Box::pin(work);
    until_cancelled(cancel, "The switch was cancelled.", within(what, limit, work)).await
}

/// A server takes up to 30 s to let go of a model, and its list is read before and after.
const UNLOAD_LIMIT: Duration = Duration::from_secs(60);
/// What is still done when Pilothouse ends; the next start does the rest.
const LAST_MOMENT: Duration = Duration::from_millis(1000);

/// Work that nobody cancels any more: our own end leaves it a moment. Errors: timed_out, cancelled, and that of the work.
async fn at_last<T>(
    what: &str,
    ending: &CancellationToken,
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    let too_late = CancellationToken::new();
    let moment = async {
        ending.cancelled().await;
        tokio::time::sleep(LAST_MOMENT).await;
    };
    tokio::select! {
        result = bounded(what, UNLOAD_LIMIT, &too_late, work) => result,
        () = moment => Err(ApiError::cancelled("Pilothouse ended.")),
    }
}
