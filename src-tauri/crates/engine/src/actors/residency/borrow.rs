//! Models lent for a measurement, and what it takes to have them in memory.

use super::{
    Connection, ResidencyWiring, bounded,
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
    /// All of them at the same time; none twice.
    pub models: Vec<Model>,
    /// What is done with it, for whoever is refused meanwhile: "A benchmark of X".
    pub why: String,
    pub cancel: CancellationToken,
    pub reply: oneshot::Sender<Result<Borrowed, ApiError>>,
}

/// Who has borrowed what.
pub(super) struct Lent {
    pub why: String,
}

/// Why nothing was lent, and what had to be left in memory.
pub(super) struct NotReady {
    pub error: ApiError,
    pub strays: Vec<ModelRef>,
    /// Its load goes on although nobody waits for it.
    pub late: Option<LateLoad>,
}

impl From<ApiError> for NotReady {
    fn from(error: ApiError) -> Self {
        Self { error, strays: vec![], late: None }
    }
}

/// Models in memory, ready to be measured.
pub(super) struct Ready {
    pub sides: Vec<Side>,
    /// Those that were loaded for it.
    pub loaded: Vec<ModelRef>,
}

/// One lent model: how it is asked.
#[derive(Clone)]
pub struct Side {
    pub instance: Instance,
    pub connection: Connection,
}

/// Says that everything comes back, to whoever lent it; the sender hears when memory is as before.
type GiveBack = Box<dyn FnOnce(Option<oneshot::Sender<()>>) + Send + Sync>;

/// The right to measure models. Comes back when it is dropped; [`Borrowed::give_back`] waits until memory is as before.
pub struct Borrowed {
    /// In the order in which they were asked for.
    pub sides: Vec<Side>,
    back: Option<GiveBack>,
}

impl Borrowed {
    pub(super) fn new(sides: Vec<Side>, back: GiveBack) -> Self {
        Self { sides, back: Some(back) }
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

impl ResidencyWiring {
    /// All models in memory at the same time, or none of those that were not there before. Several get one context, as far as their
    /// servers let us: what they are held against each other by is to be the same.
    pub(super) async fn ready_to_measure(
        &self,
        models: Vec<(Model, Option<LateLoad>)>,
        cancel: &CancellationToken,
    ) -> Result<Ready, NotReady> {
        let mut ready = Ready { sides: vec![], loaded: vec![] };
        let references: Vec<ModelRef> = models.iter().map(|(model, _)| model.reference()).collect();
        let mut context = self.context_held(&references);
        for (model, joined) in models {
            let like = context.filter(|_| references.len() > 1);
            match self.one_ready(&model, joined, like, cancel).await {
                Ok((side, loaded)) => {
                    context = context.or(side.instance.context);
                    ready.sides.push(side);
                    ready.loaded.extend(loaded.then(|| model.reference()));
                }
                Err(not_ready) => return Err(self.none_ready(ready.loaded, not_ready).await),
            }
        }
        if references.len() > 1
            && let Err(error) = self.all_held(&references, &ready.sides).await
        {
            return Err(self.none_ready(ready.loaded, error.into()).await);
        }
        Ok(ready)
    }

    /// Takes out again what was loaded before something else could not be.
    async fn none_ready(&self, loaded: Vec<ModelRef>, mut not_ready: NotReady) -> NotReady {
        for model in loaded {
            not_ready.strays.extend(self.give_up(&model, &CancellationToken::new()).await);
        }
        not_ready
    }

    /// A server may drop one model for another. Errors: does_not_fit.
    async fn all_held(&self, models: &[ModelRef], sides: &[Side]) -> Result<(), ApiError> {
        for (model, side) in models.iter().zip(sides) {
            let held = side.connection.client.instances().await?;
            if !held.iter().any(|instance| instance.model == model.model) {
                let text = format!("{} dropped {} for the other model.", model.server, model.model);
                return Err(ApiError::new(ErrorCode::DoesNotFit, text)
                    .hint("It may hold one model at a time; look into its settings."));
            }
        }
        Ok(())
    }

    /// That of one of these models that is in memory.
    fn context_held(&self, models: &[ModelRef]) -> Option<u64> {
        let snapshot = self.hub.now();
        let is_one =
            |held: &&Instance| models.iter().any(|one| one.server == held.server && one.model == held.model);
        snapshot.instances.iter().filter(is_one).find_map(|held| held.context)
    }

    /// `context`: that of the other side.
    async fn one_ready(
        &self,
        model: &Model,
        joined: Option<LateLoad>,
        context: Option<u64>,
        cancel: &CancellationToken,
    ) -> Result<(Side, bool), NotReady> {
        let supervisor = self.supervisor(&model.server)?;
        let (connection, instances) = self.reach(&model.server, cancel).await?;
        if let Some(instance) = instances.into_iter().find(|instance| instance.model == model.name) {
            return Ok((Side { instance, connection }, false));
        }
        self.want_room(model)?;
        let reference = model.reference();
        self.note_stray(&reference, true).await;
        let (limit, _) = self.load_limit(&reference).await;
        let joined = joined.filter(|late| !late.is_over());
        let context = context
            .filter(|_| connection.client.keeps_its_context())
            .map(|tokens| tokens.min(model.context_max.unwrap_or(u64::MAX)));
        let Loading { instance, late } =
            self.begin_load(&reference, &connection, joined, Arc::new(|_| {}), context);
        let result = bounded("The load", limit, cancel, instance).await;
        supervisor.refresh().await;
        match result {
            Ok(instance) => Ok((Side { instance, connection }, true)),
            Err(error) if late.as_ref().is_some_and(|late| !late.is_over()) => {
                Err(NotReady { error, strays: vec![], late })
            }
            Err(error) => {
                let stray = self.give_up(&reference, &CancellationToken::new()).await;
                Err(NotReady { error, strays: stray.into_iter().collect(), late: None })
            }
        }
    }

    /// Errors: does_not_fit. What cannot be told is tried.
    pub(super) fn want_room(&self, model: &Model) -> Result<(), ApiError> {
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
