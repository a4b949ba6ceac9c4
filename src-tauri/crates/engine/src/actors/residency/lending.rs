//! How a model is lent and comes back: nothing else is loaded or unloaded beside it, and memory afterwards is as before.

use super::{
    actor::Residency,
    borrow::{Borrowed, Lent, NotReady, Ready, Request},
    clearing::Clearing,
    event::Event,
};
use crate::actors::bounds::until_cancelled;
use futures_util::FutureExt;
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{Model, ModelRef},
};
use std::collections::BTreeSet;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

impl Residency {
    /// Why nothing can be lent now.
    pub(super) fn cannot_lend(&self) -> Option<ApiError> {
        let text = match (&self.lent, self.is_switching()) {
            (Some(lent), _) => format!("{} is under way already.", lent.why),
            (None, true) => "A switch is under way; its load would spoil the figures.".to_owned(),
            (None, false) => return None,
        };
        Some(ApiError::new(ErrorCode::Busy, text).retryable())
    }

    pub(super) fn lend(&mut self, request: Request) {
        if let Some(error) = self.cannot_lend() {
            return drop(request.reply.send(Err(error)));
        }
        let servers = request.models.iter().map(|model| model.server.clone()).collect();
        self.around.leases.set_measured(servers);
        self.lent = Some(Lent { why: request.why });
        let (around, events, clearing) = (self.around.clone(), self.events.clone(), self.clearing.clone());
        let late = |model: Model| (self.late_load(&model.reference()), model);
        let models = request.models.into_iter().map(late).map(|(late, model)| (model, late)).collect();
        tokio::spawn(async move {
            let ready = match once_cleared(clearing, &request.cancel).await {
                Ok(()) => around.ready_to_measure(models, &request.cancel).await,
                Err(error) => Err(error.into()),
            };
            drop(events.send(Event::Lent(ready, request.reply)).await);
        });
    }

    pub(super) fn lent(
        &mut self,
        ready: Result<Ready, NotReady>,
        reply: oneshot::Sender<Result<Borrowed, ApiError>>,
    ) {
        match ready {
            Ok(Ready { sides, loaded }) => {
                let events = self.events.clone();
                let back = move |waits| {
                    tokio::spawn(async move { drop(events.send(Event::Returned(loaded, waits)).await) });
                };
                // Whoever has gone meanwhile gives it back at once.
                drop(reply.send(Ok(Borrowed::new(sides, Box::new(back)))));
            }
            Err(NotReady { error, strays, late }) => {
                if let Some(late) = late {
                    self.follow_late(late);
                }
                self.loan_over(strays);
                drop(reply.send(Err(error)));
            }
        }
    }

    pub(super) fn returned(&self, loaded: Vec<ModelRef>, waits: Option<oneshot::Sender<()>>) {
        let (around, events, ending) = (self.around.clone(), self.events.clone(), self.ending.clone());
        tokio::spawn(async move {
            let mut strays = vec![];
            for model in &loaded {
                strays.extend(around.give_up(model, &ending).await);
            }
            drop(events.send(Event::LoanOver(strays, waits)).await);
        });
    }

    pub(super) fn loan_over(&mut self, strays: Vec<ModelRef>) {
        self.lent = None;
        self.strays.extend(strays);
        self.around.leases.set_measured(BTreeSet::new());
    }
}

/// Waits for what is being taken out of memory: it may be the very model that is asked for, its memory may be needed, and its
/// leaving would spoil the figures. Errors: cancelled.
pub(super) async fn once_cleared(
    clearing: Option<Clearing>,
    cancel: &CancellationToken,
) -> Result<(), ApiError> {
    let Some(clearing) = clearing else { return Ok(()) };
    until_cancelled(cancel, "It was cancelled before anything was lent.", clearing.map(Ok)).await
}
