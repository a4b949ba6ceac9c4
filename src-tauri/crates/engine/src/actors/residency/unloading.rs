//! A model that a person takes out of memory.

use super::{
    actor::Residency,
    rearranging::{Order, Purpose},
    requests::{UnloadReply, Unloaded, Waiter},
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{Instance, ModelRef},
    server::ServerId,
    switch::Active,
};

impl Residency {
    pub(super) fn take_out_for_a_person(
        &mut self,
        model: Option<ModelRef>,
        now: bool,
        dry_run: bool,
        reply: UnloadReply,
    ) {
        let refuse = |reply: UnloadReply, error: ApiError| drop(reply.send(Err(error)));
        let active = self.active.as_ref().map(Active::reference);
        let none = || {
            ApiError::new(ErrorCode::NoActiveModel, "No model is active.")
                .hint("“pilothouse unload MODEL” takes another one out of memory.")
        };
        let (Some(model), deactivate) = (model.clone().or_else(|| active.clone()), model.is_none()) else {
            return refuse(reply, none());
        };
        if self.lent.is_some() {
            return refuse(reply, self.busy());
        }
        if self.is_changing() {
            return refuse(reply, changing());
        }
        let snapshot = self.around.hub.now();
        let title = snapshot.model_title(&model.server, &model.model);
        let of_it = |one: &&Instance| one.server == model.server && one.model == model.model;
        let there: Vec<Active> = snapshot
            .instances
            .iter()
            .filter(of_it)
            .map(|one| Active {
                server: one.server.clone(),
                model: one.model.clone(),
                instance: one.id.clone(),
            })
            .collect();
        let is_active = active.as_ref() == Some(&model);
        let mut after = self.arrangement();
        let pinned = self.holding.pins.contains(&model) || after.is_pinned(&model);
        if pinned && !deactivate {
            let error = ApiError::new(ErrorCode::Pinned, format!("{title} is pinned; it stays in memory."));
            return refuse(reply, error.hint(format!("“pilothouse unpin {}” lets go of it.", model.model)));
        }
        if there.is_empty() && !is_active {
            let error = ApiError::not_found(format!("{title} is not in memory."));
            return refuse(reply, error.hint("“pilothouse models” shows what is."));
        }
        // Another role may need it, or a pin: then it is only not active any more.
        let stays = deactivate && (pinned || after.keeps(&model));
        if is_active {
            after.active = None;
            after.lead = None;
        }
        if !stays {
            for held in after.roles.values_mut().filter(|held| held.model == model) {
                held.instance = None;
            }
        }
        if dry_run {
            let unloaded = if stays { vec![] } else { there };
            let deactivated = self.active.clone().filter(|_| is_active);
            return drop(reply.send(Ok(Unloaded { unloaded, answers_cut: 0, deactivated, took_ms: 0 })));
        }
        let purpose = Purpose::Unload(model);
        let waiter = Waiter::Unload(reply);
        let is_undo = std::mem::take(&mut self.undoing);
        let mut order = Order { purpose, after, targets: vec![], spare: vec![], now };
        if stays {
            order.purpose = Purpose::Deactivate;
        }
        self.rearrange(order, vec![waiter], is_undo);
    }

    /// Nothing of what is held changes: another copy answers, under the same names.
    pub(super) fn take_out_a_copy(&mut self, server: ServerId, instance: String, reply: UnloadReply) {
        match self.extra_copy(&server, &instance) {
            Ok(model) => {
                let (purpose, after) = (Purpose::Copy(model, instance), self.arrangement());
                let order = Order { purpose, after, targets: vec![], spare: vec![], now: false };
                self.rearrange(order, vec![Waiter::Unload(reply)], false);
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// The model of a copy that may go. Errors: busy, not_found, invalid_call.
    fn extra_copy(&self, server: &ServerId, instance: &str) -> Result<ModelRef, ApiError> {
        if self.lent.is_some() {
            return Err(self.busy());
        }
        if self.is_changing() {
            return Err(changing());
        }
        let snapshot = self.around.hub.now();
        let is_it = |one: &Instance| one.server == *server && one.id == instance;
        let there = snapshot.instances.iter().find(|one| is_it(one)).ok_or_else(|| {
            let error = ApiError::not_found(format!("There is no copy {instance} in memory."));
            error.hint("“pilothouse models” shows what is.")
        })?;
        if !snapshot.extra_copies().into_iter().any(is_it) {
            let text = format!("{instance} is the copy that answers, so it stays.");
            return Err(ApiError::new(ErrorCode::InvalidCall, text).hint("Unload the model to take it out."));
        }
        Ok(ModelRef::new(server.clone(), there.model.clone()))
    }
}

fn changing() -> ApiError {
    let text = "A change of what is in memory is under way.";
    ApiError::new(ErrorCode::Busy, text).hint("Wait for its end, or cancel it.").retryable()
}
