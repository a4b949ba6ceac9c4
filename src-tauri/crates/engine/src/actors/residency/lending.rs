//! How a model is lent and comes back: nothing else is loaded or unloaded beside it, and memory afterwards is as before.

use super::{
    actor::Residency,
    borrow::{Borrowed, Lent, NotReady, Ready, Request},
    event::Event,
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::ModelRef,
};
use tokio::sync::oneshot;

impl Residency {
    pub(super) fn lend(&mut self, request: Request) {
        let refusal = match (&self.lent, self.is_switching()) {
            (Some(lent), _) => Some(format!("{} is under way already.", lent.why)),
            (None, true) => Some("A switch is under way; its load would spoil the figures.".to_owned()),
            (None, false) => None,
        };
        if let Some(text) = refusal {
            let _ = request.reply.send(Err(ApiError::new(ErrorCode::Busy, text).retryable()));
            return;
        }
        let model = request.model.reference();
        self.around.leases.set_measured(Some(model.server.clone()));
        self.lent = Some(Lent { why: request.why, model });
        let (around, events) = (self.around.clone(), self.events.clone());
        let joined = self.late_load(&request.model.reference());
        tokio::spawn(async move {
            let ready = around.ready_to_measure(&request.model, joined, &request.cancel).await;
            drop(events.send(Event::Lent(ready, request.reply)).await);
        });
    }

    pub(super) fn lent(
        &mut self,
        ready: Result<Ready, NotReady>,
        reply: oneshot::Sender<Result<Borrowed, ApiError>>,
    ) {
        match ready {
            Ok(Ready { instance, connection, loaded }) => {
                let events = self.events.clone();
                let back = move |waits| {
                    tokio::spawn(async move { drop(events.send(Event::Returned(loaded, waits)).await) });
                };
                // Whoever has gone meanwhile gives it back at once.
                drop(reply.send(Ok(Borrowed::new(instance, connection, Box::new(back)))));
            }
            Err(NotReady { error, stray, late }) => {
                if let Some(late) = late {
                    self.follow_late(late);
                }
                self.loan_over(stray);
                drop(reply.send(Err(error)));
            }
        }
    }

    pub(super) fn returned(&self, loaded: bool, waits: Option<oneshot::Sender<()>>) {
        let Some(model) = self.lent.as_ref().map(|lent| lent.model.clone()) else { return };
        let (around, events, ending) = (self.around.clone(), self.events.clone(), self.ending.clone());
        tokio::spawn(async move {
            let stray = if loaded { around.give_up(&model, &ending).await } else { None };
            drop(events.send(Event::LoanOver(stray, waits)).await);
        });
    }

    pub(super) fn loan_over(&mut self, stray: Option<ModelRef>) {
        self.lent = None;
        self.strays.extend(stray);
        self.around.leases.set_measured(None);
    }
}
