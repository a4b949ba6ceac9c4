//! Changes how many requests at a time a model answers, as a measurement says, and takes that back for a minute.
//!
//! A change is a transaction. The new setting is put in force for the server alone, which is started again, as none of them takes it
//! over while it runs; the model is loaded, has to give a token and is asked whether it has taken the setting over; everything else that
//! was in memory is loaded again. Only then the settings file is written: that is the commit. Before it any failure, a cancel and our own
//! end leave the file as it was, and settings in force and memory are put back.

#[cfg(test)]
mod tests;

use super::{
    residency::{ResidencyHandle, ServerLoan},
    supervisors::Supervisors,
};
use crate::{
    hub::Hub,
    settings::{InForce, NumberChange, SettingsFile},
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::Model,
    server::ServerKind,
    settings::parallel::{
        ParallelReport, may_set_parallel, parallel_key, parallel_of, parallel_written, set_parallel,
    },
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a change can be undone.
pub const UNDO_FOR: Duration = Duration::from_secs(60);

/// What the tuner needs of the engine.
pub struct TunerWiring {
    pub hub: Hub,
    pub residency: ResidencyHandle,
    pub supervisors: Supervisors,
    pub settings: SettingsFile,
    /// By which the servers start.
    pub in_force: InForce,
}

/// A clone is the same tuner.
#[derive(Clone)]
pub struct Tuner(Arc<Inner>);

struct Inner {
    around: TunerWiring,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    under_way: Option<CancellationToken>,
    undo: Option<Undo>,
}

/// The way back from a change.
#[derive(Clone)]
struct Undo {
    model: Model,
    kind: ServerKind,
    file: NumberChange,
    /// What was in force; not always what the file said.
    in_force: Option<u32>,
    until: Instant,
}

/// What is to be done.
struct Change {
    model: Model,
    kind: ServerKind,
    to: To,
    cancel: CancellationToken,
}

enum To {
    Parallel(u32),
    Back(Undo),
}

impl Change {
    /// In force and written down, or in force because nothing else is written.
    fn is_so_already(&self, in_force: u32, written: Option<u32>) -> bool {
        matches!(self.to, To::Parallel(wanted) if wanted == in_force && written.is_none_or(|it| it == wanted))
    }
}

impl Tuner {
    pub fn new(around: TunerWiring) -> Self {
        Self(Arc::new(Inner { around, state: Mutex::default() }))
    }

    /// Lets a model answer so many requests at a time, and waits until it does. Whoever stops waiting does not stop it. Errors: not_ours and
    /// unsupported (with what the owner has to set), invalid_call, busy (also where somebody else changes the settings file meanwhile),
    /// cancelled, and why it could not be loaded or gave no token; everything is as before then.
    pub async fn use_parallel(&self, model: Model, parallel: u32) -> Result<ParallelReport, ApiError> {
        let kind = self.0.may_change(&model, parallel)?;
        self.spawned(model, kind, To::Parallel(parallel)).await
    }

    /// Whether it may be done at all, by whom the server is kept. Errors: as `use_parallel`.
    pub fn may_use(&self, model: &Model, parallel: u32) -> Result<(), ApiError> {
        self.0.may_change(model, parallel).map(drop)
    }

    /// Takes the last change back. Errors: not_found (none, or more than a minute ago), and as `use_parallel`.
    pub async fn undo(&self) -> Result<ParallelReport, ApiError> {
        let undo = self.0.state().undo.clone().filter(|undo| Instant::now() < undo.until);
        let undo = undo.ok_or_else(|| {
            ApiError::not_found("There is no change of requests at a time to undo.").hint(format!(
                "It can be undone for {} s. Set it in the settings file, or use another number.",
                UNDO_FOR.as_secs()
            ))
        })?;
        self.spawned(undo.model.clone(), undo.kind, To::Back(undo)).await
    }

    /// Cancels the change under way. Errors: not_found.
    pub fn cancel(&self) -> Result<(), ApiError> {
        let state = self.0.state();
        let under_way = state.under_way.as_ref();
        under_way
            .map(CancellationToken::cancel)
            .ok_or_else(|| ApiError::not_found("No change of requests at a time is under way."))
    }

    async fn spawned(&self, model: Model, kind: ServerKind, to: To) -> Result<ParallelReport, ApiError> {
        let cancel = CancellationToken::new();
        {
            let mut state = self.0.state();
            if state.under_way.is_some() {
                let text = "Another change of requests at a time is under way.";
                return Err(ApiError::new(ErrorCode::Busy, text).retryable());
            }
            state.under_way = Some(cancel.clone());
        }
        let inner = self.0.clone();
        // On its own: whoever asked may leave, and what was begun is ended well.
        let change = tokio::spawn(async move {
            let result = inner.change(Change { model, kind, to, cancel }).await;
            inner.state().under_way = None;
            result
        });
        change.await.unwrap_or_else(|error| {
            self.0.state().under_way = None;
            Err(ApiError::internal(format!("The change broke off: {error}.")))
        })
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_change(&self, model: &Model, parallel: u32) -> Result<ServerKind, ApiError> {
        let snapshot = self.around.hub.now();
        let Some(server) = snapshot.server(&model.server) else {
            return Err(ApiError::not_found(format!("There is no server {}.", model.server)));
        };
        may_set_parallel(server.kind, server.ownership, &server.title, &model.name, parallel)?;
        Ok(server.kind)
    }

    async fn change(&self, change: Change) -> Result<ParallelReport, ApiError> {
        let begun = Instant::now();
        let Some(key) = parallel_key(change.kind, &change.model.name) else {
            return Err(ApiError::internal("There is no setting for this server."));
        };
        let (kind, model) = (change.kind, &change.model);
        let before = parallel_written(&self.around.in_force.now().servers, kind, &model.name);
        let written = self.around.settings.number(&key)?;
        let mut report = self.nothing_done(kind, model, &key);
        if change.is_so_already(report.before, written) {
            return Ok(report);
        }
        let why = format!("A change of requests at a time of {}", model.title);
        let cancel = change.cancel.clone();
        let mut loan = self.around.residency.borrow_server(model.server.clone(), why, cancel).await?;
        let done = Box::pin(self.done(&change, &mut loan, &key, written)).await;
        if done.is_err() {
            loan.not_cancelled_from_here();
            self.back_in_force(&mut loan, kind, model, before).await;
        }
        let memory = loan.give_back().await;
        let (first_token, file) = done.map_err(|error| with_what_is_missing(error, &memory))?;
        if let Err(error) = memory {
            tracing::warn!(%error, "memory is not as it was before the change");
        }
        let until = Instant::now() + UNDO_FOR;
        let model = change.model.clone();
        let undo = file.map(|file| Undo { model, kind, file, in_force: before, until });
        report.undo_s = undo.as_ref().map_or(0, |_| UNDO_FOR.as_secs() as u32);
        self.state().undo = undo;
        report.parallel = parallel_of(&self.around.in_force.now().servers, kind, &report.model);
        report.changed = true;
        report.first_token_ms = Some(first_token.as_millis() as u64);
        report.took_ms = begun.elapsed().as_millis() as u64;
        Ok(report)
    }

    /// As it is before anything is done.
    fn nothing_done(&self, kind: ServerKind, model: &Model, key: &[String]) -> ParallelReport {
        let before = parallel_of(&self.around.in_force.now().servers, kind, &model.name);
        ParallelReport {
            server: model.server.clone(),
            model: model.name.clone(),
            key: key.join("."),
            before,
            parallel: before,
            changed: false,
            took_ms: 0,
            first_token_ms: None,
            undo_s: 0,
        }
    }

    /// In force, proved and written: the time to the first token, and the way back where there is one.
    async fn done(
        &self,
        change: &Change,
        loan: &mut ServerLoan,
        key: &[String],
        written: Option<u32>,
    ) -> Result<(Duration, Option<NumberChange>), ApiError> {
        let wanted = match &change.to {
            To::Parallel(parallel) => Some(*parallel),
            To::Back(undo) => undo.in_force,
        };
        self.put_in_force(change.kind, &change.model, wanted)?;
        let first_token = self.proven(loan, change.kind, &change.model).await?;
        if change.cancel.is_cancelled() {
            return Err(ApiError::cancelled("The change was cancelled."));
        }
        let file = match &change.to {
            To::Parallel(parallel) => {
                Some(self.around.settings.change_number(key, written, Some(*parallel))?)
            }
            To::Back(undo) => {
                self.around.settings.change_back(&undo.file)?;
                None
            }
        };
        Ok((first_token, file))
    }

    /// Started again with what is in force now, the model answers with it, and all that was in memory is there.
    async fn proven(
        &self,
        loan: &mut ServerLoan,
        kind: ServerKind,
        model: &Model,
    ) -> Result<Duration, ApiError> {
        loan.restart().await?;
        let (instance, _) = loan.put_in(model).await?;
        let first_token = loan.prove(model, &instance.id).await?;
        let wanted = parallel_of(&self.around.in_force.now().servers, kind, &model.name);
        if let Some(slots) = instance.slots.filter(|slots| wanted > 0 && *slots != wanted) {
            let text =
                format!("{} answers {slots} requests at a time, although {wanted} are set.", model.title);
            return Err(ApiError::new(ErrorCode::ProofFailed, text)
                .hint("Its server does not take the setting over for this model; sweep it as it is."));
        }
        loan.bring_back().await?;
        Ok(first_token)
    }

    /// The way back. What was in memory is loaded again when the loan is over.
    async fn back_in_force(
        &self,
        loan: &mut ServerLoan,
        kind: ServerKind,
        model: &Model,
        before: Option<u32>,
    ) {
        let back = match self.put_in_force(kind, model, before) {
            Ok(()) => loan.restart().await,
            Err(error) => Err(error),
        };
        if let Err(error) = back {
            tracing::warn!(%error, model = %model.name, "its server was not started again with the setting of before");
        }
    }

    fn put_in_force(&self, kind: ServerKind, model: &Model, parallel: Option<u32>) -> Result<(), ApiError> {
        self.around.in_force.change(|settings| set_parallel(settings, kind, &model.name, parallel));
        let servers = self.around.in_force.now().servers;
        self.around.supervisors.get(&model.server)?.take_settings(&servers);
        Ok(())
    }
}

/// A failure that also could not put back what was in memory says so.
fn with_what_is_missing(mut error: ApiError, memory: &Result<(), ApiError>) -> ApiError {
    if let Err(missing) = memory {
        error.message =
            format!("{} What was in memory is not all there again: {}", error.message, missing.message);
    }
    error
}
