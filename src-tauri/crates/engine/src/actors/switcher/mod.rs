//! The owner of the active model. Runs one switch at a time as a transaction; a second one takes over.

mod transaction;

use super::{notifier::NotifierHandle, supervisors::Supervisors};
use crate::{
    gateway::InFlight,
    hub::{Hub, Report},
    store::Store,
};
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    lifecycle::ServerState,
    model::{ModelPurpose, ModelRef},
    notice::Happening,
    server::{Ownership, ServerId, ServerKind},
    snapshot::{ServerView, Snapshot},
    switch::{Active, SwitchReport},
};
use std::{cmp::Reverse, collections::VecDeque, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use transaction::{Finished, Transaction};

/// What the switcher needs of the engine.
#[derive(Clone)]
pub struct Surroundings {
    pub hub: Hub,
    pub notifier: NotifierHandle,
    pub store: Option<Store>,
    pub supervisors: Supervisors,
    pub in_flight: InFlight,
}

/// Which model a switch is after.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// A name, `<server>/<name>` or an unambiguous part.
    pub model: String,
    pub server: Option<ServerId>,
    pub dry_run: bool,
}

/// Why a transaction runs.
#[derive(Debug, Clone, PartialEq)]
enum Cause {
    /// Somebody asked: journalled, told.
    Asked,
    /// The active model must come back (a restart of ours or of its server). `leftovers` are models that a switch cut
    /// off by our own end may have left in memory.
    Restore { to: ModelRef, leftovers: Vec<ModelRef> },
}

type SwitchReply = oneshot::Sender<Result<SwitchReport, ApiError>>;

enum Ask {
    Switch(Wanted, SwitchReply),
    Cancel(oneshot::Sender<Result<(), ApiError>>),
    Restore { to: ModelRef, leftovers: Vec<ModelRef> },
    ActivateFirst,
    Shutdown(oneshot::Sender<()>),
}

/// The mailbox of the switcher.
#[derive(Clone)]
pub struct SwitcherHandle(mpsc::Sender<Ask>);

impl SwitcherHandle {
    pub fn start(around: Surroundings) -> Self {
        let (sender, mailbox) = mpsc::channel(32);
        let switcher = Switcher {
            around,
            active: None,
            running: None,
            next: None,
            first_choices: Vec::new(),
            pending: None,
            restores: VecDeque::new(),
        };
        tokio::spawn(switcher.run(mailbox));
        Self(sender)
    }

    /// Switches and waits for the outcome. A switch under way is cancelled and put back first.
    /// Errors: not_found, ambiguous, unsupported; later failures are outcomes in the report.
    pub async fn switch(&self, wanted: Wanted) -> Result<SwitchReport, ApiError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask::Switch(wanted, reply)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// Cancels the switch under way. Errors: not_found.
    pub async fn cancel(&self) -> Result<(), ApiError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask::Cancel(reply)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// Makes a model active again that was active before our last end.
    pub async fn restore(&self, to: ModelRef, leftovers: Vec<ModelRef>) {
        let _ = self.0.send(Ask::Restore { to, leftovers }).await;
    }

    /// Nothing was ever active: makes the smallest model of the embedded server active that can be, so that a first start
    /// answers.
    pub async fn activate_first(&self) {
        let _ = self.0.send(Ask::ActivateFirst).await;
    }

    /// Cancels what is under way, puts it back, and ends.
    pub async fn shutdown(&self) {
        let (reply, answer) = oneshot::channel();
        if self.0.send(Ask::Shutdown(reply)).await.is_ok() {
            let _ = answer.await;
        }
    }
}

/// The server died under it, or was not there.
fn broke_off(result: &Result<SwitchReport, ApiError>) -> bool {
    let error = match result {
        Ok(report) => report.error.as_ref(),
        Err(error) => Some(error),
    };
    error.is_some_and(|error| matches!(error.code, ErrorCode::Unreachable | ErrorCode::ServerCrashed))
}

fn ended() -> ApiError {
    ApiError::new(ErrorCode::NotRunning, "Pilothouse is shutting down.")
}

struct Running {
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<Finished>,
    cause: Cause,
    reply: Option<SwitchReply>,
}

struct Switcher {
    around: Surroundings,
    active: Option<Active>,
    running: Option<Running>,
    next: Option<(Wanted, SwitchReply)>,
    /// What a first start tries when the model before fails, the next one last.
    first_choices: Vec<ModelRef>,
    /// A choice that could not be restored yet, because its server was away; and when that was tried.
    pending: Option<(ModelRef, Timestamp)>,
    /// When the active model was brought back lately, so that a model that keeps dying is given up.
    restores: VecDeque<Instant>,
}

/// So many restorations within `RESTORE_WINDOW` are enough.
const RESTORES: usize = 4;
const RESTORE_WINDOW: Duration = Duration::from_secs(120);

impl Switcher {
    async fn run(mut self, mut mailbox: mpsc::Receiver<Ask>) {
        let mut snapshots = self.around.hub.snapshots();
        loop {
            tokio::select! {
                ask = mailbox.recv() => match ask {
                    Some(Ask::Shutdown(reply)) => {
                        self.finish_for_shutdown().await;
                        let _ = reply.send(());
                        return;
                    }
                    Some(ask) => self.on_ask(ask),
                    None => return,
                },
                finished = Self::end_of(&mut self.running) => self.on_finished(finished).await,
                Ok(()) = snapshots.changed() => {
                    let snapshot = snapshots.borrow_and_update().clone();
                    self.on_snapshot(&snapshot);
                }
            }
        }
    }

    async fn end_of(running: &mut Option<Running>) -> Option<Finished> {
        match running {
            Some(running) => (&mut running.task).await.ok(),
            None => std::future::pending().await,
        }
    }

    fn on_ask(&mut self, ask: Ask) {
        match ask {
            Ask::Switch(wanted, reply) => match &self.running {
                Some(running) => {
                    running.cancel.cancel();
                    if let Some((_, earlier)) = self.next.replace((wanted, reply)) {
                        let _ = earlier.send(Err(ApiError::cancelled("Another switch took over.")));
                    }
                }
                None => self.begin(wanted, Cause::Asked, Some(reply)),
            },
            Ask::Cancel(reply) => {
                let _ = reply.send(match &self.running {
                    Some(running) => {
                        running.cancel.cancel();
                        Ok(())
                    }
                    None => Err(ApiError::not_found("No switch is under way.")),
                });
            }
            Ask::Restore { to, leftovers } if self.running.is_none() => self.restore(to, leftovers),
            Ask::ActivateFirst if self.running.is_none() && self.active.is_none() => self.activate_first(),
            Ask::Restore { .. } | Ask::ActivateFirst => {}
            Ask::Shutdown(reply) => drop(reply.send(())),
        }
    }

    fn restore(&mut self, to: ModelRef, leftovers: Vec<ModelRef>) {
        self.pending = None;
        let wanted = Wanted { model: to.id(), server: Some(to.server.clone()), dry_run: false };
        self.begin(wanted, Cause::Restore { to, leftovers }, None);
    }

    fn activate_first(&mut self) {
        let snapshot = self.around.hub.now();
        let embedded = |id: &ServerId| {
            snapshot.server(id).is_some_and(|server| {
                server.kind == ServerKind::LlamaServer && server.ownership == Some(Ownership::Ours)
            })
        };
        let mut choices: Vec<_> = snapshot
            .models
            .iter()
            .filter(|view| view.model.purpose == ModelPurpose::Llm && embedded(&view.model.server))
            .collect();
        choices.sort_by_key(|view| Reverse(view.model.size_bytes.unwrap_or(u64::MAX)));
        self.first_choices = choices.into_iter().map(|view| view.model.reference()).collect();
        self.try_first_choice();
    }

    fn try_first_choice(&mut self) {
        if let Some(model) = self.first_choices.pop() {
            self.restore(model, Vec::new());
        }
    }

    fn begin(&mut self, wanted: Wanted, cause: Cause, reply: Option<SwitchReply>) {
        let cancel = CancellationToken::new();
        let transaction =
            Transaction::new(self.around.clone(), wanted, cause.clone(), self.active.clone(), cancel.clone());
        let task = tokio::spawn(transaction.run());
        self.running = Some(Running { cancel, task, cause, reply });
    }

    async fn on_finished(&mut self, finished: Option<Finished>) {
        let Some(running) = self.running.take() else {
            return;
        };
        let Finished { result, active } = finished.unwrap_or_else(|| Finished {
            result: Err(
                ApiError::internal("The switch ended unexpectedly.").hint("Look at Pilothouse's log.")
            ),
            active: self.active.clone(),
        });
        self.active.clone_from(&active);
        if running.cause == Cause::Asked || active.is_some() {
            self.first_choices.clear();
            self.pending = None;
        }
        let succeeded = result.as_ref().is_ok_and(|report| report.error.is_none());
        if let (Cause::Restore { to, .. }, false, None) = (&running.cause, succeeded, &active)
            && (self.is_away(&to.server) || broke_off(&result))
        {
            self.pending = Some((to.clone(), Timestamp::now()));
        }
        self.around.hub.report(Report::Switching(None));
        self.around.hub.report(Report::Active { active: active.clone(), held: false });
        if let Some(store) = &self.around.store
            && self.pending.is_none()
            && let Err(error) = store.set_active(active.as_ref()).await
        {
            tracing::warn!(%error, "the active model was not kept");
        }
        self.tell(&running.cause, &result);
        if let Some(reply) = running.reply {
            let _ = reply.send(result);
        }
        if let Some((wanted, reply)) = self.next.take() {
            self.begin(wanted, Cause::Asked, Some(reply));
        } else {
            self.try_first_choice();
        }
    }

    fn tell(&self, cause: &Cause, result: &Result<SwitchReport, ApiError>) {
        let Ok(report) = result else { return };
        if report.dry_run {
            return;
        }
        if *cause == Cause::Asked {
            self.around.hub.report(Report::Switched(report.clone()));
        }
        let snapshot = self.around.hub.now();
        let title = snapshot.model_title(&report.to.server, &report.to.model);
        match (&report.error, cause) {
            (None, Cause::Asked) => self.around.notifier.tell(Happening::Switched {
                to: report.to.clone(),
                title,
                server_title: snapshot.server_title(&report.to.server),
                took_ms: report.took_ms,
                first_token_ms: report.first_token_ms,
            }),
            (Some(error), _) if error.code != ErrorCode::Cancelled => {
                let kept = self.active.as_ref().map(|a| snapshot.model_title(&a.server, &a.model));
                self.around.notifier.tell(Happening::PutBack {
                    to: report.to.clone(),
                    title,
                    kept,
                    error: error.clone(),
                });
            }
            _ => {}
        }
    }

    /// Brings the active model back when its server came back without it.
    fn on_snapshot(&mut self, snapshot: &Arc<Snapshot>) {
        if let (None, None, Some((to, tried_at))) = (&self.active, &self.running, &self.pending) {
            // Its state may be older than its death: only a server that came up since is worth another try.
            let back = |server: &ServerView| server.state == ServerState::Ready && server.since > *tried_at;
            let to = to.clone();
            if snapshot.server(&to.server).is_some_and(back) && self.may_restore() {
                tracing::info!(model = %to, "its server is there now");
                self.restore(to, Vec::new());
            }
            return;
        }
        let (Some(active), None) = (&self.active, &self.running) else {
            return;
        };
        let Some(server) = snapshot.server(&active.server) else {
            return;
        };
        let there = snapshot.instances.iter().any(|i| i.server == active.server && i.id == active.instance);
        if there || server.state != ServerState::Ready || server.ownership != Some(Ownership::Ours) {
            return;
        }
        let to = active.reference();
        if !self.may_restore() {
            tracing::warn!(model = %to, "left memory too often; no longer active");
            self.active = None;
            self.around.hub.report(Report::Active { active: None, held: false });
            self.around.notifier.tell(Happening::Trouble {
                error: ApiError::new(
                    ErrorCode::ServerError,
                    format!(
                        "{} left memory {RESTORES} times in two minutes; no model is active now.",
                        to.model
                    ),
                )
                .hint("Look at the server's log, then switch to a model again."),
            });
            return;
        }
        tracing::info!(model = %to, "is not in memory any more, loading it again");
        self.restore(to, Vec::new());
    }

    /// Counts one restoration, unless there were too many lately.
    fn may_restore(&mut self) -> bool {
        let now = Instant::now();
        self.restores.retain(|at| now.duration_since(*at) < RESTORE_WINDOW);
        let may = self.restores.len() < RESTORES;
        if may {
            self.restores.push_back(now);
        }
        may
    }

    fn is_away(&self, server: &ServerId) -> bool {
        self.around.hub.now().server(server).is_some_and(|server| !server.state.is_up())
    }

    async fn finish_for_shutdown(&mut self) {
        if let Some((_, reply)) = self.next.take() {
            let _ = reply.send(Err(ended()));
        }
        if let Some(running) = &self.running {
            running.cancel.cancel();
            // The whole shutdown must end within five seconds; what is left is put back at the next start.
            let limit = Duration::from_millis(1500);
            let finished = tokio::time::timeout(limit, Self::end_of(&mut self.running)).await;
            if let Ok(finished) = finished {
                self.on_finished(finished).await;
            }
        }
    }
}
