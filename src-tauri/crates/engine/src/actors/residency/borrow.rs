//! A model lent for a measurement, and what it takes to have it in memory.

use super::{
    Connection, Surroundings, bounded,
    late::{LateLoad, Loading},
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{Instance, Model, ModelRef},
};
use std::sync::Arc;
use tokio::sync::oneshot;
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
    pub model: ModelRef,
}

/// Why a model was not lent, and what had to be left in memory.
pub(super) struct NotReady {
    pub error: ApiError,
    pub stray: Option<ModelRef>,
    /// Its load goes on although nobody waits for it.
    pub late: Option<LateLoad>,
}

impl From<ApiError> for NotReady {
    fn from(error: ApiError) -> Self {
        Self { error, stray: None, late: None }
    }
}

/// A model in memory, ready to be measured.
pub(super) struct Ready {
    pub instance: Instance,
    pub connection: Connection,
    pub loaded: bool,
}

/// Says that it comes back, to whoever lent it; the sender hears when memory is as before.
type GiveBack = Box<dyn FnOnce(Option<oneshot::Sender<()>>) + Send + Sync>;

/// The right to measure a model. Comes back when it is dropped; [`Borrowed::give_back`] waits until memory is as before.
pub struct Borrowed {
    pub instance: Instance,
    pub connection: Connection,
    back: Option<GiveBack>,
}

impl Borrowed {
    pub(super) fn new(instance: Instance, connection: Connection, back: GiveBack) -> Self {
        Self { instance, connection, back: Some(back) }
    }

    pub async fn give_back(mut self) {
        let Some(back) = self.back.take() else { return };
        let (reply, over) = oneshot::channel();
        back(Some(reply));
        let _ = over.await;
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            back(None);
        }
    }
}

impl Surroundings {
    pub(super) async fn ready_to_measure(
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
    pub(super) async fn give_up(&self, model: &ModelRef, cancel: &CancellationToken) -> Option<ModelRef> {
        let error = self.take_out(model, cancel).await.err()?;
        tracing::warn!(%error, %model, "was borrowed and is still in memory");
        Some(model.clone())
    }
}
