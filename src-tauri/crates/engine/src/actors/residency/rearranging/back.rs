//! The way back: what was loaded leaves, what was taken out is loaded again, with what it was loaded with.

use super::{Rearrangement, TakenOut};
use crate::{
    actors::residency::{at_last, bounded},
    hub::Standing,
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{Instance, ModelRef},
    switch::{Active, SwitchPhase},
};
use pilothouse_servers::LoadRequest;
use std::sync::Arc;

impl Rearrangement {
    /// A person cannot cancel it; our own end cuts it short, and the next start goes on by the journal.
    pub(super) async fn put_back(&mut self) {
        self.show(SwitchPhase::PuttingBack, None);
        let loaded = std::mem::take(&mut self.loaded);
        for model in loaded.into_iter().rev() {
            self.take_out_again(model).await;
        }
        let taken_out = std::mem::take(&mut self.taken_out);
        for one in taken_out.into_iter().rev() {
            self.bring_back(one).await;
        }
        self.waits.clear();
        if self.standing == Standing::Held {
            self.standing = self.standing_before.clone();
        }
        self.unloaded.clear();
        self.tell();
    }

    async fn take_out_again(&mut self, model: ModelRef) {
        if self.late.iter().any(|late| late.model == model && !late.is_over()) {
            // It can be taken out only when it has arrived; residency sees to that.
            let server = self.around.hub.now().server_title(&model.server);
            self.reasons.push(format!(
                "{server} goes on loading {}; it is taken out when it has arrived.",
                model.model
            ));
            return;
        }
        let instance = self.target(&model).ok().and_then(|target| target.instance.clone());
        let id = instance.map_or_else(|| model.model.clone(), |instance| instance.id);
        let Ok(connection) = self.connection(&model.server) else { return self.strays.push(model) };
        let around = self.around.clone();
        let work = around.unload(&model.server, &*connection.client, &id);
        match at_last("Taking the new model out again", &self.ending, work).await {
            Ok(()) => self.around.note_stray(&model, false).await,
            Err(error) => {
                tracing::warn!(%error, %model, "is still in memory after it could not take up its role");
                self.strays.push(model.clone());
            }
        }
        if !self.ending.is_cancelled()
            && let Ok(supervisor) = self.around.supervisor(&model.server)
        {
            supervisor.refresh().await;
        }
    }

    async fn bring_back(&mut self, one: TakenOut) {
        let model = one.active.reference();
        match self.again(&one).await {
            Ok(instance) => self.is_there(&model, &instance),
            Err(error) => {
                let text = format!("{} could not be put back: {error}", model.model);
                self.reasons.push(text.clone());
                let of_it = self.held.roles.iter().filter(|(_, held)| held.model == model);
                let roles: Vec<String> = of_it.map(|(role, _)| role.clone()).collect();
                self.absent.extend(roles.into_iter().map(|role| (role, text.clone())));
                if self.held.active.as_ref().map(Active::reference).as_ref() == Some(&model) {
                    self.standing = Standing::Refusing(text);
                }
            }
        }
    }

    /// It is in memory, under whatever name its server has given it now.
    fn is_there(&mut self, model: &ModelRef, instance: &str) {
        for held in self.held.roles.values_mut().filter(|held| held.model == *model) {
            held.instance = Some(instance.to_owned());
        }
        if let Some(active) = self.held.active.as_mut().filter(|active| active.reference() == *model) {
            instance.clone_into(&mut active.instance);
        }
    }

    async fn again(&self, one: &TakenOut) -> Result<String, ApiError> {
        let model = one.active.reference();
        let (connection, instances) =
            self.around.reach(&model.server, &self.ending).await.map_err(cut_short)?;
        let there =
            |instances: &[Instance]| instances.iter().any(|instance| instance.id == one.active.instance);
        if there(&instances) {
            // Its unload may have been broken off.
            self.around.supervisor(&model.server)?.staying(&one.active.instance).await;
            return Ok(one.active.instance.clone());
        }
        let request = LoadRequest::new(&model.model, one.with);
        let (limit, _) = self.around.load_limit(&model).await;
        let load = self.around.load(&model.server, &*connection.client, &request, Arc::new(|_| {}));
        let instance = bounded("Loading it again", limit, &self.ending, load).await.map_err(cut_short)?;
        self.note(&instance);
        Ok(instance.id)
    }
}

/// In these words it stands in a reason.
fn cut_short(error: ApiError) -> ApiError {
    match error.code {
        ErrorCode::Cancelled => ApiError::cancelled("Pilothouse ended before it was loaded again."),
        _ => error,
    }
}
