//! How a load that nobody waits for is followed to its end, and what becomes of what has arrived.

use super::{actor::Residency, event::Event, late::LateLoad};
use pilothouse_domain::{error::ApiError, model::ModelRef, switch::Active};

impl Residency {
    /// A load of this model that still goes on.
    pub(super) fn late_load(&self, model: &ModelRef) -> Option<LateLoad> {
        self.late.iter().find(|late| late.model == *model).cloned()
    }

    /// Nobody waits for this load any more; it is followed to its end.
    pub(super) fn follow_late(&mut self, late: LateLoad) {
        if self.late.iter().any(|one| one.model == late.model) {
            return;
        }
        tracing::info!(model = %late.model, "is still being loaded, although nobody waits for it");
        let (events, around) = (self.events.clone(), self.around.clone());
        let LateLoad { model, copy, arrival } = late.clone();
        self.late.push(late);
        tokio::spawn(async move {
            let result = arrival.await;
            let mut arrived = model.clone();
            // Its server gave it a name only when it was there.
            if let Some(instance) = result.as_ref().ok().filter(|one| copy && one.id != model.model) {
                arrived.model.clone_from(&instance.id);
                around.note_stray(&arrived, true).await;
                around.note_stray(&model, false).await;
            }
            drop(events.send(Event::Arrived { load: model, arrived, error: result.err() }).await);
        });
    }

    /// A late load is over. With an error it may have arrived all the same (a connection that broke off): it is looked at.
    pub(super) fn arrived(&mut self, load: &ModelRef, model: ModelRef, error: Option<&ApiError>) {
        tracing::info!(%model, error = error.map(tracing::field::display), "the load that nobody waited for is over");
        self.late.retain(|late| late.model != *load);
        let wanted = self.active.as_ref().map(Active::reference).as_ref() == Some(&model);
        if !wanted && !self.strays.contains(&model) {
            self.strays.push(model);
        }
        self.on_snapshot(&self.around.hub.now());
    }
}
