//! A model lent for a measurement: nothing else is loaded or unloaded beside it, and memory afterwards is as before.

use super::{
    Connection, Surroundings,
    actor::{self, Residency},
    bounded,
    late::{LateLoad, Loading},
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{Instance, Model, ModelRef},
};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub(super) struct Request {
    pub model: Model,
    /// What is done with it, for whoever is refused meanwhile: "A benchmark of X".
    pub why: String,
    pub cancel: CancellationToken,
    pub reply: oneshot::Sender<Result<Borrowed, ApiError>>,
}

/// Who has borrowed what.
pub(super) struct Lent {
    pub why: String,
    model: ModelRef,
}

/// What happens with a model that is lent.
pub(super) enum Event {
    Ready(Result<Ready, NotReady>, oneshot::Sender<Result<Borrowed, ApiError>>),
    /// It comes back: whether it was loaded for this, and who waits until memory is as before.
    Returned(bool, Option<oneshot::Sender<()>>),
    /// Memory is as before, but for what could not be taken out.
    Over(Option<ModelRef>, Option<oneshot::Sender<()>>),
}

/// Why a model was not lent, and what had to be left in memory.
pub(super) struct NotReady {
    error: ApiError,
    stray: Option<ModelRef>,
    late: Option<LateLoad>,
}

impl From<ApiError> for NotReady {
    fn from(error: ApiError) -> Self {
        Self { error, stray: None, late: None }
    }
}

pub(super) struct Ready {
    instance: Instance,
    connection: Connection,
    loaded: bool,
}

/// The right to measure a model. Comes back when it is dropped; [`Borrowed::give_back`] waits until memory is as before.
pub struct Borrowed {
    pub instance: Instance,
    pub connection: Connection,
    loaded: bool,
    events: Option<mpsc::Sender<actor::Event>>,
}

impl Borrowed {
    pub async fn give_back(mut self) {
        let Some(events) = self.events.take() else { return };
        let (reply, over) = oneshot::channel();
        if events.send(actor::Event::Borrow(Event::Returned(self.loaded, Some(reply)))).await.is_ok() {
            let _ = over.await;
        }
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if let Some(events) = self.events.take() {
            let returned = actor::Event::Borrow(Event::Returned(self.loaded, None));
            tokio::spawn(async move { drop(events.send(returned).await) });
        }
    }
}

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
            drop(events.send(actor::Event::Borrow(Event::Ready(ready, request.reply))).await);
        });
    }

    pub(super) fn on_borrow(&mut self, event: Event) {
        match event {
            Event::Ready(Ok(Ready { instance, connection, loaded }), reply) => {
                let events = Some(self.events.clone());
                // Whoever has gone meanwhile gives it back at once.
                drop(reply.send(Ok(Borrowed { instance, connection, loaded, events })));
            }
            Event::Ready(Err(NotReady { error, stray, late }), reply) => {
                if let Some(late) = late {
                    self.follow_late(late);
                }
                self.over(stray);
                drop(reply.send(Err(error)));
            }
            Event::Returned(loaded, reply) => {
                let Some(model) = self.lent.as_ref().map(|lent| lent.model.clone()) else { return };
                let (around, events, ending) =
                    (self.around.clone(), self.events.clone(), self.ending.clone());
                tokio::spawn(async move {
                    let stray = if loaded { around.give_up(&model, &ending).await } else { None };
                    drop(events.send(actor::Event::Borrow(Event::Over(stray, reply))).await);
                });
            }
            Event::Over(stray, reply) => {
                self.over(stray);
                if let Some(reply) = reply {
                    let _ = reply.send(());
                }
            }
        }
    }

    fn over(&mut self, stray: Option<ModelRef>) {
        self.lent = None;
        self.strays.extend(stray);
        self.around.leases.set_measured(None);
    }
}

impl Surroundings {
    async fn ready_to_measure(
        &self,
        model: &Model,
        joined: Option<LateLoad>,
        cancel: &CancellationToken,
    ) -> Result<Ready, NotReady> {
        let supervisor = self.supervisor(&model.server)?;
        let (connection, instances) = self.look(&model.server, cancel).await?;
        if let Some(instance) = instances.into_iter().find(|instance| instance.model == model.name) {
            return Ok(Ready { instance, connection, loaded: false });
        }
        self.want_room(model)?;
        let reference = model.reference();
        self.note_stray(&reference, true).await;
        let (limit, _) = self.load_limit(&reference).await;
        let joined = joined.filter(|late| !late.is_over());
        let Loading { instance, late } = self.begin_load(&reference, &connection, joined, Arc::new(|_| {}));
        let result = bounded("The load", limit, cancel, instance).await;
        supervisor.refresh().await;
        match result {
            Ok(instance) => Ok(Ready { instance, connection, loaded: true }),
            Err(error) if late.as_ref().is_some_and(|late| !late.is_over()) => {
                Err(NotReady { error, stray: None, late })
            }
            Err(error) => {
                let stray = self.give_up(&reference, &CancellationToken::new()).await;
                Err(NotReady { error, stray, late: None })
            }
        }
    }

    /// Errors: does_not_fit. What cannot be told is tried.
    fn want_room(&self, model: &Model) -> Result<(), ApiError> {
        let (needed, free) = self.needed_and_free(model);
        match needed.zip(free) {
            Some((needed, free)) if needed > free => {
                let gb = |bytes: u64| bytes as f64 / 1e9;
                let text = format!(
                    "{} needs about {:.1} GB, and {:.1} GB are free beside what is in memory.",
                    model.title,
                    gb(needed),
                    gb(free)
                );
                Err(ApiError::new(ErrorCode::DoesNotFit, text).hint(
                    "Make it the active model first, so that the present one leaves, or end other programs.",
                ))
            }
            _ => Ok(()),
        }
    }

    /// What a model will need, reckoned or its weights and a quarter, and what one more model may take now; `None` of what
    /// cannot be told, and for weights on another machine.
    pub(super) fn needed_and_free(&self, model: &Model) -> (Option<u64>, Option<u64>) {
        let snapshot = self.hub.now();
        let target = model.reference();
        let view = snapshot.models.iter().find(|view| view.model.reference() == target);
        let weights_and_more = model.size_bytes.map(|bytes| bytes.saturating_add(bytes / 4));
        let needed = view.and_then(|view| view.needed_bytes).or(weights_and_more);
        let free = snapshot.ledger.as_ref().map(|ledger| {
            let beside = view.is_some_and(|view| view.off_card).then(|| ledger.on_processor()).flatten();
            beside.as_ref().unwrap_or(ledger).headroom_bytes
        });
        (needed.filter(|_| !snapshot.is_remote(&model.server)), free)
    }

    /// What had to stay in memory. It is written down already.
    async fn give_up(&self, model: &ModelRef, cancel: &CancellationToken) -> Option<ModelRef> {
        let error = self.take_out(model, cancel).await.err()?;
        tracing::warn!(%error, %model, "was borrowed and is still in memory");
        Some(model.clone())
    }
}
