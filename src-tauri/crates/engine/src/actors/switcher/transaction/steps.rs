//! What each step of a switch does.

use super::Transaction;
use crate::{
    actors::supervisor::Connection,
    hub::Report,
    ports::{GenerateRequest, LoadRequest},
};
use futures_util::StreamExt;
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{Instance, Model},
    switch::{Active, Step, SwitchPhase},
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long answers under way may go on before their model leaves memory all the same.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// How long the first token of the proof may take.
const PROOF_LIMIT: Duration = Duration::from_secs(120);

impl Transaction {
    pub(super) async fn ensure_server(&mut self, model: &Model) -> Result<(), ApiError> {
        let supervisor = self.supervisor(&model.server)?.clone();
        let connection = self.until_cancelled(supervisor.ensure_ready()).await?;
        let instances = self.until_cancelled(connection.client.instances()).await?;
        self.instance = instances.into_iter().find(|instance| instance.model == model.name);
        self.target_was_loaded = self.instance.is_some();
        self.connection = Some(connection);
        Ok(())
    }

    pub(super) fn hold(&self, held: bool) {
        self.around.hub.report(Report::Active { active: self.previous.clone(), held });
    }

    pub(super) async fn load(&mut self, model: &Model) -> Result<(), ApiError> {
        let begun = Instant::now();
        let connection = self.connection()?;
        let (hub, shown) = (self.around.hub.clone(), self.shown.clone());
        let progress = Arc::new(move |fraction: f64| {
            if let Some(mut shown) = shown.clone() {
                shown.phase = SwitchPhase::Loading;
                shown.progress = Some(fraction.clamp(0.0, 1.0));
                hub.report(Report::Switching(Some(shown)));
            }
        });
        let request = LoadRequest { model: model.name.clone(), context: None };
        let instance = self.until_cancelled(connection.client.load(&request, progress)).await?;
        self.load_ms = Some(begun.elapsed().as_millis() as u64);
        self.instance = Some(instance);
        Ok(())
    }

    /// One real token, or the model does not become active.
    pub(super) async fn prove(&mut self, model: &Model) -> Result<(), ApiError> {
        let begun = Instant::now();
        let connection = self.connection()?;
        let instance = self.instance.as_ref().map_or_else(|| model.name.clone(), |i| i.id.clone());
        let request = GenerateRequest { instance, prompt: "Hello".into(), max_tokens: 4, raw: true };
        let hint =
            format!("Look at the server's log (pilothouse logs {}), or try another model.", model.server);
        let token = self.until_cancelled(async {
            let mut answer = connection.client.generate(&request).await?;
            while let Some(event) = answer.next().await {
                let event = event?;
                let counted = event.end.as_ref().is_some_and(|end| end.output_tokens > Some(0));
                if !event.text.is_empty() || counted {
                    return Ok(());
                }
            }
            let text = format!("{} gave no token.", model.title);
            Err(ApiError::new(ErrorCode::ProofFailed, text).hint(hint.as_str()))
        });
        let result = tokio::time::timeout(PROOF_LIMIT, token).await.unwrap_or_else(|_| {
            let text = format!("{} gave no token within {} s.", model.title, PROOF_LIMIT.as_secs());
            Err(ApiError::new(ErrorCode::ProofFailed, text).hint(hint.as_str()))
        });
        self.first_token_ms = result.is_ok().then(|| begun.elapsed().as_millis() as u64);
        result
    }

    /// From here on the new model is the active one; `previous` keeps the old one only for `UnloadPrevious`.
    pub(super) fn commit(&mut self, model: &Model) -> Result<(), ApiError> {
        let active = self.active(model);
        if let (Some(instance), false) = (&self.instance, self.around.hub.now().is_remote(&model.server)) {
            // The supervisor's next look comes later than the first request may.
            self.note_instance(instance.clone());
        }
        self.around.hub.report(Report::Active { active: Some(active), held: false });
        Ok(())
    }

    fn active(&self, model: &Model) -> Active {
        Active {
            server: model.server.clone(),
            model: model.name.clone(),
            instance: self
                .instance
                .as_ref()
                .map_or_else(|| model.name.clone(), |instance| instance.id.clone()),
        }
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

    /// Before the commit a failure ends the switch; after it the old model merely stays in memory, and that is said.
    pub(super) async fn unload_previous(&mut self) -> Result<(), ApiError> {
        let Some(previous) = self.previous.clone() else {
            return Ok(());
        };
        let committed = self.done.contains(&Step::Commit);
        self.enter(SwitchPhase::Draining).await;
        let drained = self.around.in_flight.drained(&previous.server, &previous.instance, DRAIN_LIMIT);
        let work = async {
            if !drained.await {
                tracing::warn!("answers of the previous model were cut off after {DRAIN_LIMIT:?}");
            }
            // Its server may be down or gone by now: then there is nothing in memory.
            let up =
                self.around.hub.now().server(&previous.server).is_some_and(|server| server.state.is_up());
            if !up {
                return Ok(());
            }
            let connection = self.supervisor(&previous.server)?.ensure_ready().await?;
            connection.client.unload(&previous.instance).await
        };
        let result = match committed {
            true => work.await,
            false => self.until_cancelled(work).await,
        };
        if let Ok(supervisor) = self.supervisor(&previous.server) {
            supervisor.refresh().await;
        }
        match result {
            Err(error) if committed => {
                self.reason = Some(format!("{} is still in memory: {error}", previous.model));
                Ok(())
            }
            result => result,
        }
    }

    /// Whether the previous model is in memory on the target's server.
    pub(super) async fn previous_is_beside(&self, model: &Model) -> bool {
        let (Some(previous), Ok(connection)) = (&self.previous, self.connection()) else {
            return false;
        };
        if previous.server != model.server || previous.model == model.name {
            return false;
        }
        let instances = self.until_cancelled(connection.client.instances()).await;
        instances.is_ok_and(|instances| instances.iter().any(|one| one.id == previous.instance))
    }

    fn connection(&self) -> Result<Connection, ApiError> {
        self.connection.clone().ok_or_else(|| ApiError::internal("A step came before its server was up."))
    }
}
