//! The way back: what a failed switch undoes, and what one that our own end cut off left behind.

use super::{Cause, Transaction};
use crate::{
    actors::residency::{at_last, bounded},
    hub::Standing,
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode, about},
    model::ModelRef,
    residency::{Undo, undo},
    switch::{Active, SwitchPhase},
};
use pilothouse_servers::LoadRequest;
use std::sync::Arc;

impl Transaction {
    /// Takes out of memory what earlier transactions of ours had to leave there. What stays is tried again later.
    pub(super) async fn clear_strays(&mut self, which: impl Fn(&ModelRef) -> bool) {
        let (now, later) = std::mem::take(&mut self.strays).into_iter().partition(|stray| which(stray));
        self.strays = later;
        let now: Vec<ModelRef> = now;
        for stray in now {
            if let Err(error) = self.around.take_out(&stray, &self.ending).await {
                tracing::warn!(%error, model = %stray, "is still in memory after a cut-off switch");
                self.strays.push(stray);
            }
        }
    }

    /// Undoes what was begun. A person cannot cancel it; our own end cuts it short.
    pub(super) async fn put_back(&mut self, error: &ApiError) {
        self.enter(SwitchPhase::PuttingBack).await;
        let Undo { unload_target, reload_previous } = undo(&self.done);
        if self.is_arriving() {
            self.leave_arriving().await;
        } else if (unload_target || self.target_is_stray) && !self.target_was_loaded {
            self.unload_target().await;
        }
        self.bring_evicted_back().await;
        let Some(previous) = self.previous.clone() else {
            return self.stand(Standing::Open);
        };
        if matches!(self.cause, Cause::Restore(_)) {
            // It was this very load that failed. The choice stays; requests are told why it does not answer.
            let model = &previous.model;
            let why = about(&format!("{model} could not be loaded"), &[model], &error.message);
            return self.stand(Standing::Refusing(why));
        }
        match self.previous_again(&previous, reload_previous).await {
            Ok(active) => {
                self.active = Some(active);
                self.stand(Standing::Open);
            }
            Err(error) => {
                let reason = format!("{} could not be put back either: {error}", previous.model);
                self.reasons.push(reason.clone());
                self.stand(Standing::Refusing(reason));
            }
        }
    }

    /// What was taken out for it comes back; what does not comes with the next request.
    async fn bring_evicted_back(&mut self) {
        for (model, with) in std::mem::take(&mut self.evicted) {
            let again = async {
                let (connection, instances) = self.around.reach(&model.server, &self.ending).await?;
                if instances.iter().any(|instance| instance.id == model.instance) {
                    self.supervisor(&model.server)?.staying(&model.instance).await;
                    return Ok(None);
                }
                let request = LoadRequest::new(&model.model, with);
                let (limit, _) = self.around.load_limit(&model.reference()).await;
                let load = self.around.load(&model.server, &*connection.client, &request, Arc::new(|_| {}));
                bounded("Loading it again", limit, &self.ending, load).await.map(Some)
            };
            match again.await {
                Ok(instance) => instance.into_iter().for_each(|instance| self.note_instance(instance)),
                Err(error) => {
                    self.reasons.push(format!("{} could not be put back: {error}", model.model));
                    self.evicted.push((model, with));
                }
            }
        }
    }

    /// What is still on its way into memory can be taken out only when it is there. The choice itself may arrive.
    async fn leave_arriving(&mut self) {
        if self.previous.as_ref().map(Active::reference).as_ref() == Some(&self.to) {
            return;
        }
        self.around.note_stray(&self.to, true).await;
        let server = self.around.hub.now().server_title(&self.to.server);
        let text =
            format!("{server} goes on loading {}; it is taken out when it has arrived.", self.to.model);
        self.reasons.push(text);
    }

    async fn unload_target(&mut self) {
        let Some(connection) = self.connection.clone() else {
            if self.target_is_stray {
                self.strays.push(self.to.clone());
            }
            return;
        };
        let id = self.instance.as_ref().map_or_else(|| self.to.model.clone(), |instance| instance.id.clone());
        let unload = {
            let work = self.around.unload(&self.to.server, &*connection.client, &id);
            at_last("Taking the new model out again", &self.ending, work).await
        };
        if let Err(error) = unload {
            tracing::warn!(%error, model = %self.to, "is still in memory after a failed switch");
            // The choice itself may stay: it is wanted there.
            if self.previous.as_ref().map(Active::reference).as_ref() != Some(&self.to) {
                self.leave(self.to.clone()).await;
            }
        } else {
            self.around.note_stray(&self.to, false).await;
        }
        if let Ok(supervisor) = self.supervisor(&self.to.server)
            && !self.ending.is_cancelled()
        {
            supervisor.refresh().await;
        }
    }

    /// The previous model, loaded again if it is not in memory any more: we unloaded it, or its server evicted it for the
    /// load that failed.
    async fn previous_again(&self, previous: &Active, unloaded: bool) -> Result<Active, ApiError> {
        let snapshot = self.around.hub.now();
        let up = snapshot.server(&previous.server).is_some_and(|server| server.state.is_up());
        if !unloaded && (!up || snapshot.is_remote(&previous.server)) {
            // Down for reasons of its own: it stays the active model, and its supervisor deals with it.
            return Ok(previous.clone());
        }
        let (connection, instances) = match self.around.reach(&previous.server, &self.ending).await {
            Ok(found) => found,
            // Nobody took it out of memory: a server that is silent for a while has not lost it.
            Err(error) if !unloaded => {
                tracing::info!(%error, "its server does not say what it has in memory; it stays as it was");
                return Ok(previous.clone());
            }
            Err(error) => return Err(error),
        };
        if instances.iter().any(|instance| instance.id == previous.instance) {
            // Its unload may have been broken off.
            self.supervisor(&previous.server)?.staying(&previous.instance).await;
            return Ok(previous.clone());
        }
        let request = LoadRequest::new(&previous.model, self.beside.previous_with);
        let (limit, _) = self.around.load_limit(&previous.reference()).await;
        let load = self.around.load(&previous.server, &*connection.client, &request, Arc::new(|_| {}));
        let instance = bounded("Loading it again", limit, &self.ending, load).await.map_err(cut_short)?;
        let active = Active { instance: instance.id.clone(), ..previous.clone() };
        self.note_instance(instance);
        Ok(active)
    }
}

/// In these words it stands in a reason.
fn cut_short(error: ApiError) -> ApiError {
    match error.code {
        ErrorCode::Cancelled => ApiError::cancelled("Pilothouse ended before it was loaded again."),
        _ => error,
    }
}
