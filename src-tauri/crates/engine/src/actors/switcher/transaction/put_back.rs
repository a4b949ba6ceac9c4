//! The way back: what a failed switch undoes, and what one that our own end cut off left behind.

use super::{Cause, Transaction};
use crate::ports::LoadRequest;
use pilothouse_domain::{
    error::ApiError,
    model::ModelRef,
    server::ServerId,
    switch::{Active, SwitchPhase, Undo, undo},
};
use std::sync::Arc;

impl Transaction {
    /// Takes models out of memory that a switch cut off by our own end had loaded: those on the server, or those on all
    /// others.
    pub(super) async fn clear_leftovers(&self, server: &ServerId, on_it: bool) {
        let Cause::Restore { leftovers, .. } = &self.cause else {
            return;
        };
        for leftover in leftovers {
            if (leftover.server == *server) != on_it {
                continue;
            }
            let Ok(supervisor) = self.supervisor(&leftover.server) else {
                continue;
            };
            let Ok(connection) = supervisor.ensure_ready().await else {
                continue;
            };
            let Ok(instances) = connection.client.instances().await else {
                continue;
            };
            for instance in instances.iter().filter(|instance| instance.model == leftover.model) {
                if let Err(error) = connection.client.unload(&instance.id).await {
                    tracing::warn!(%error, model = %leftover, "is still in memory after a cut-off switch");
                }
            }
            supervisor.refresh().await;
        }
    }

    /// Undoes what was begun. Cannot be cancelled.
    pub(super) async fn put_back(&mut self, to: &ModelRef) {
        self.enter(SwitchPhase::PuttingBack).await;
        let Undo { unload_target, reload_previous } = undo(&self.done);
        if unload_target && !self.target_was_loaded {
            self.unload_target(to).await;
        }
        let Some(previous) = self.previous.clone() else {
            self.hold(false);
            return;
        };
        match self.previous_again(&previous, reload_previous).await {
            Ok(active) => self.previous = Some(active),
            Err(error) => {
                self.reason = Some(format!("{} could not be put back either: {error}", previous.model));
                self.previous = None;
            }
        }
        self.hold(false);
    }

    async fn unload_target(&self, to: &ModelRef) {
        let Some(connection) = &self.connection else {
            return;
        };
        let id = self.instance.as_ref().map_or(&to.model, |instance| &instance.id);
        if let Err(error) = connection.client.unload(id).await {
            tracing::warn!(%error, model = %to, "is still in memory after a failed switch");
        }
        if let Ok(supervisor) = self.supervisor(&to.server) {
            supervisor.refresh().await;
        }
    }

    /// The previous model, loaded again if it is not in memory any more (we unloaded it, or its server evicted it).
    async fn previous_again(&self, previous: &Active, unloaded: bool) -> Result<Active, ApiError> {
        let supervisor = self.supervisor(&previous.server)?;
        let up = self.around.hub.now().server(&previous.server).is_some_and(|server| server.state.is_up());
        if !up && !unloaded {
            // Down for reasons of its own: it stays the active model, and its supervisor deals with it.
            return Ok(previous.clone());
        }
        let connection = supervisor.ensure_ready().await?;
        let instances = connection.client.instances().await?;
        if instances.iter().any(|instance| instance.id == previous.instance) {
            return Ok(previous.clone());
        }
        let request = LoadRequest { model: previous.model.clone(), context: None };
        let instance = connection.client.load(&request, Arc::new(|_| {})).await?;
        let active = Active { instance: instance.id.clone(), ..previous.clone() };
        self.note_instance(instance);
        Ok(active)
    }
}
