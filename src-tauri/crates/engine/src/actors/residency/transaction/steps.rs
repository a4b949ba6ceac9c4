//! What each step of a switch does.

use super::{Cause, Connection, Transaction};
use crate::{
    actors::residency::{bounded, proof},
    hub::{Report, Standing},
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::Instance,
    residency::Step,
    switch::{Active, SwitchPhase},
};
use std::{collections::BTreeSet, sync::Arc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

impl Transaction {
    pub(super) async fn ensure_server(&mut self) -> Result<(), ApiError> {
        let look = async {
            let found = self.around.reach(&self.to.server, &self.ending).await?;
            if !matches!(self.cause, Cause::Asked(_)) && self.model().is_err() {
                // After a start of it the list may be that of before.
                self.supervisor(&self.to.server)?.refresh().await;
            }
            Ok(found)
        };
        let (connection, instances) = self.until_cancelled(look).await?;
        self.instance = instances.into_iter().find(|instance| instance.model == self.to.model);
        self.target_was_loaded = self.instance.is_some() && !self.target_is_stray;
        self.connection = Some(connection);
        Ok(())
    }

    pub(super) async fn load(&mut self) -> Result<(), ApiError> {
        let begun = Instant::now();
        let connection = self.connection()?;
        let (hub, shown) = (self.around.hub.clone(), self.shown.clone());
        // What goes on without us has no progress to show.
        let waiting = Arc::new(());
        let waits = Arc::downgrade(&waiting);
        let progress = Arc::new(move |fraction: f64| {
            if let (Some(_), Some(mut shown)) = (waits.upgrade(), shown.clone()) {
                shown.phase = SwitchPhase::Loading;
                shown.progress = Some(fraction.clamp(0.0, 1.0));
                hub.report(Report::Switching(Some(shown)));
            }
        });
        let (limit, _) = self.around.load_limit(&self.to).await;
        let never = CancellationToken::new();
        let joined = self.late.take().filter(|late| !late.is_over());
        let loading = self.around.begin_load_with(&self.to, &connection, joined, progress, self.beside.with);
        let late = loading.late;
        let load = bounded("The load", limit, &never, loading.instance);
        let loaded = self.until_cancelled(load).await;
        self.late = late;
        drop(waiting);
        let instance = loaded.map_err(|error| self.too_long(error))?;
        let ms = begun.elapsed().as_millis() as u64;
        self.load_ms = Some(ms);
        self.instance = Some(instance);
        let seconds = ms as f64 / 1000.0;
        self.around.hub.report(Report::LoadTime { model: self.to.clone(), seconds });
        Ok(())
    }

    fn too_long(&self, error: ApiError) -> ApiError {
        if error.code != ErrorCode::TimedOut || error.hint.is_some() {
            return error;
        }
        let server = &self.to.server;
        error.hint(format!(
            "Look at the server's log (pilothouse logs {server}). switching.load_ceiling_s in the settings file is the limit."
        ))
    }

    /// One real token, or the model does not become active.
    pub(super) async fn prove(&mut self) -> Result<(), ApiError> {
        let begun = Instant::now();
        let connection = self.connection()?;
        let model = self.model()?;
        let instance = self.instance.as_ref().map_or_else(|| model.name.clone(), |i| i.id.clone());
        let token = proof::one_token(&self.around, &connection, &model, &instance);
        let result = self.until_cancelled(token).await;
        self.first_token_ms = result.is_ok().then(|| begun.elapsed().as_millis() as u64);
        result
    }

    /// Written first, then told. From here on the new model is the active one, whatever happens.
    pub(super) async fn commit(&mut self) -> Result<(), ApiError> {
        let instance = self.instance.as_ref().map_or_else(|| self.to.model.clone(), |i| i.id.clone());
        let active = Active { server: self.to.server.clone(), model: self.to.model.clone(), instance };
        let same = self.previous.as_ref().is_some_and(|previous| previous.reference() == self.to);
        let leaves = self.previous.is_some() && !same && !self.beside.previous_stays;
        let clearing = leaves && !self.done.contains(&Step::UnloadPrevious);
        if let Some(journal) = self.around.journal.clone() {
            let written = match &self.shown {
                Some(shown) if self.in_journal => journal.commit(shown.switch_id, &active, clearing).await,
                _ => journal.set_active(Some(&active)).await,
            };
            if let Err(error) = written {
                tracing::warn!(%error, "the active model is written down later");
                self.not_journalled(&error);
            }
        }
        self.around.note_stray(&self.to, false).await;
        if let (Some(instance), false) = (&self.instance, self.around.hub.now().is_remote(&self.to.server)) {
            // The supervisor's next look comes later than the first request may.
            self.note_instance(instance.clone());
        }
        let mut held = self.beside.held.clone();
        if held.lead.is_some() {
            held.lead_with(&active);
            self.around.hub.report(Report::Arrangement(self.beside.holding.view(&held, &BTreeSet::new())));
        }
        self.active = Some(active);
        self.stand(Standing::Open);
        Ok(())
    }

    pub(super) fn note_instance(&self, instance: Instance) {
        let server = instance.server.clone();
        let mut instances: Vec<Instance> =
            self.around.hub.now().instances.iter().filter(|i| i.server == server).cloned().collect();
        if !instances.iter().any(|i| i.id == instance.id) {
            instances.push(instance);
            self.around.hub.report(Report::Instances { server, instances });
        }
    }

    /// Whether the previous model is in memory on the target's server.
    pub(super) async fn previous_is_beside(&self) -> bool {
        let (Some(previous), Ok(connection)) = (&self.previous, self.connection()) else {
            return false;
        };
        if previous.server != self.to.server || previous.model == self.to.model {
            return false;
        }
        let instances = self.until_cancelled(connection.client.instances()).await;
        instances.is_ok_and(|instances| instances.iter().any(|one| one.id == previous.instance))
    }

    fn connection(&self) -> Result<Connection, ApiError> {
        self.connection.clone().ok_or_else(|| ApiError::internal("A step came before its server was up."))
    }
}
