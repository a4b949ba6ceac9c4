//! What each move does.

use super::{Purpose, Rearrangement, TakenOut};
use crate::{
    actors::residency::{UNLOAD_LIMIT, at_last, bounded, proof},
    hub::{Report, Standing},
};
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    model::{Instance, LoadSettings, ModelRef},
    scene::Held,
    switch::{Active, SwitchPhase},
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

impl Rearrangement {
    /// Its answers end or are cut, then it is taken out. After the commit a failure is only said.
    pub(super) async fn unload(&mut self, model: &ModelRef) -> Result<(), ApiError> {
        let instances: Vec<Instance> = {
            let snapshot = self.around.hub.now();
            let of_it = |one: &&Instance| one.server == model.server && one.model == model.model;
            let is_meant = |one: &&Instance| match &self.order.purpose {
                Purpose::Copy(_, id) => one.id == *id,
                _ => true,
            };
            snapshot.instances.iter().filter(of_it).filter(is_meant).cloned().collect()
        };
        // Of a copy nothing is held back and nothing is put back: another one answers.
        let is_copy = self.order.purpose.is_copy();
        self.show(SwitchPhase::Draining, Some(model));
        if !self.committed && !is_copy {
            self.hold_back(model);
            self.note_taken_out(model).await;
        }
        for instance in instances {
            if matches!(self.order.purpose, Purpose::Idle(_))
                && self.around.leases.count(&model.server, &instance.id) > 0
            {
                let text = format!("{} answers again.", model.model);
                return Err(ApiError::new(ErrorCode::Busy, text));
            }
            let active = Active {
                server: model.server.clone(),
                model: model.model.clone(),
                instance: instance.id.clone(),
            };
            self.around.leases.close(&model.server, &instance.id);
            let result = self.drain_and_unload(&active).await;
            self.around.leases.reopen(&model.server, &instance.id);
            match result {
                Ok(()) => {
                    self.unloaded.push(active.clone());
                    if self.committed {
                        self.holding.gone(model);
                        self.around.note_stray(model, false).await;
                    } else if !is_copy {
                        let with = self.with_of(model);
                        self.taken_out.push(TakenOut { active, with });
                    }
                }
                Err(error) if self.committed => {
                    tracing::warn!(%error, %model, "is still in memory");
                    self.reasons.push(format!("{} is still in memory: {error}", model.model));
                    self.around.note_stray(model, true).await;
                    self.strays.push(model.clone());
                }
                Err(error) if is_copy => return Err(error),
                Err(error) => {
                    // It may have been on its way out: the way back looks whether it is there.
                    let with = self.with_of(model);
                    self.taken_out.push(TakenOut { active, with });
                    return Err(error);
                }
            }
        }
        if !self.ending.is_cancelled()
            && let Ok(supervisor) = self.around.supervisor(&model.server)
        {
            supervisor.refresh().await;
        }
        Ok(())
    }

    /// Our own death in the middle must not cost a role its model.
    async fn note_taken_out(&mut self, model: &ModelRef) {
        if !self.before.models().contains(model) || self.order.purpose.leaves().is_some() {
            return;
        }
        self.holding.taken_out.push(model.clone());
        if let Some(journal) = &self.around.journal
            && let Err(error) = journal.keep(&self.holding.kept(&self.before), &[]).await
        {
            tracing::warn!(%error, "what is taken out is not written down");
        }
    }

    fn with_of(&self, model: &ModelRef) -> LoadSettings {
        self.holding.loaded_with.get(model).copied().unwrap_or_default()
    }

    async fn drain_and_unload(&mut self, active: &Active) -> Result<(), ApiError> {
        let limit = Duration::from_secs(self.around.settings.borrow().drain_s);
        let drained = self.around.leases.drain(&active.server, &active.instance, limit, &self.now);
        let cut = match self.committed {
            true => tokio::select! {
                cut = drained => cut,
                () = self.ending.cancelled() => 0,
            },
            false => self.until_cancelled(async { Ok(drained.await) }).await?,
        };
        self.answers_cut += cut;
        if cut > 0 {
            self.reasons.push(format!("{cut} answers of {} were cut.", active.model));
        }
        let up = self.around.hub.now().server(&active.server).is_some_and(|server| server.state.is_up());
        if !up {
            return Ok(());
        }
        self.show(SwitchPhase::Unloading, Some(&active.reference()));
        let supervisor = self.around.supervisor(&active.server)?;
        let what = format!("Taking {} out of memory", active.model);
        let work = async {
            let connection = supervisor.ensure_ready().await?;
            self.around.unload(&active.server, &*connection.client, &active.instance).await
        };
        match self.committed {
            true => at_last(&what, &self.ending, work).await,
            false => {
                let never = CancellationToken::new();
                self.until_cancelled(bounded(&what, UNLOAD_LIMIT, &never, work)).await
            }
        }
    }

    /// Requests for a model that leaves before the commit wait, where something else shall answer them afterwards.
    fn hold_back(&mut self, model: &ModelRef) {
        let stands_after = |role: &String| self.order.after.roles.contains_key(role);
        let of_it = |(_, held): &(&String, &Held)| held.model == *model;
        let roles = self.held.roles.iter().filter(of_it).map(|(role, _)| role.clone());
        self.waits.extend(roles.filter(stands_after));
        let is_active = self.held.active.as_ref().is_some_and(|active| active.reference() == *model);
        if is_active && self.standing == Standing::Open && self.order.after.active.is_some() {
            self.standing = Standing::Held;
        }
        self.tell();
    }

    pub(super) async fn load(&mut self, model: &ModelRef) -> Result<(), ApiError> {
        self.show(SwitchPhase::Loading, Some(model));
        let begun = Instant::now();
        let connection = self.connection(&model.server)?;
        let with = self.target(model)?.with;
        // Our own death must not leave it there.
        self.around.note_stray(model, true).await;
        self.loaded.push(model.clone());
        let (hub, shown) = (self.around.hub.clone(), self.shown.clone());
        let waiting = Arc::new(());
        let waits = Arc::downgrade(&waiting);
        let progress = Arc::new(move |fraction: f64| {
            if waits.upgrade().is_some() {
                let mut shown = shown.clone();
                shown.arranging.progress = Some(fraction.clamp(0.0, 1.0));
                hub.report(shown.report());
            }
        });
        let (limit, _) = self.around.load_limit(model).await;
        let at = self.joined.iter().position(|late| late.model == *model && !late.is_over());
        let joined = at.map(|at| self.joined.swap_remove(at));
        let around = self.around.clone();
        let loading = around.begin_load_with(model, &connection, joined, progress, with);
        let late = loading.late;
        let never = CancellationToken::new();
        let load = bounded("The load", limit, &never, loading.instance);
        let loaded = self.until_cancelled(load).await;
        self.late.extend(late);
        drop(waiting);
        let instance = loaded?;
        let seconds = begun.elapsed().as_secs_f64();
        if self.order.purpose.switch() == Some(model) {
            self.load_ms = Some(begun.elapsed().as_millis() as u64);
        }
        self.around.hub.report(Report::LoadTime { model: model.clone(), seconds });
        self.note(&instance);
        if let Some(target) = self.order.targets.iter_mut().find(|target| target.model.reference() == *model)
        {
            target.instance = Some(instance);
        }
        self.holding.loaded_with.insert(model.clone(), with);
        Ok(())
    }

    /// The supervisor's next look comes later than the first request may.
    pub(super) fn note(&self, instance: &Instance) {
        let server = instance.server.clone();
        let mut instances: Vec<Instance> =
            self.around.hub.now().instances.iter().filter(|one| one.server == server).cloned().collect();
        instances.retain(|one| one.id != instance.id);
        instances.push(instance.clone());
        self.around.hub.report(Report::Instances { server, instances });
    }

    /// One real answer, or it takes up no role. What answered before is trusted.
    pub(super) async fn prove(&mut self, model: &ModelRef) -> Result<(), ApiError> {
        let target = self.target(model)?;
        let answered = self.before.models().contains(model) && !self.loaded.contains(model);
        let is_wish = matches!(self.order.purpose, Purpose::Wish(_) | Purpose::Again(_));
        let Some(instance) = target.instance.as_ref().map(|instance| instance.id.clone()) else {
            return Ok(());
        };
        if answered || (is_wish && !self.loaded.contains(model)) {
            return Ok(());
        }
        let (whole, connection) = (target.model.clone(), self.connection(&model.server)?);
        self.show(SwitchPhase::Proving, Some(model));
        let (around, begun) = (self.around.clone(), Instant::now());
        let proof = proof::one_answer(&around, &connection, &whole, &instance);
        self.until_cancelled(proof).await?;
        if self.order.purpose.switch() == Some(model) {
            self.first_token_ms = Some(begun.elapsed().as_millis() as u64);
        }
        Ok(())
    }

    /// Written first, then told. From here on what was ordered is what is held, whatever happens.
    pub(super) async fn commit(&mut self) {
        self.show(SwitchPhase::Committing, None);
        let mut after = self.order.after.clone();
        for target in &self.order.targets {
            let (model, Some(instance)) = (target.model.reference(), &target.instance) else { continue };
            for held in after.roles.values_mut().filter(|held| held.model == model) {
                held.instance = Some(instance.id.clone());
            }
            if let Some(active) = after.active.as_mut().filter(|active| active.reference() == model) {
                active.instance.clone_from(&instance.id);
            }
        }
        let is_scene = matches!(self.order.purpose, Purpose::Scene(_) | Purpose::Restore);
        if is_scene {
            self.holding.before = Some((Timestamp::now(), self.before.clone()));
        }
        let arrived = self.loaded.iter().chain(&self.wanted_strays).map(|model| (model.clone(), false));
        let wanted = after.models();
        // What leaves after the commit must leave also when we die before it has.
        let lets_go = is_scene || self.order.purpose.switch().is_some();
        let going = self.before.models().into_iter().filter(|model| {
            lets_go
                && !self.order.stays_beside(&self.before, model)
                && !wanted.contains(model)
                && !self.holding.pins.contains(model)
                && !self.holding.on_request.contains_key(model)
        });
        let strays: Vec<(ModelRef, bool)> =
            arrived.chain(going.filter(|model| self.in_memory(model)).map(|model| (model, true))).collect();
        if let Some(to) = self.order.purpose.switch() {
            // It is held from now on.
            self.holding.on_request.remove(to);
        }
        if let Purpose::Wish(model) = &self.order.purpose
            && !wanted.contains(model)
            && let Some(instance) = self.order.targets.first().and_then(|target| target.instance.as_ref())
        {
            self.holding.asked_for(model, &instance.id);
        }
        // What left only to come back with other settings is there.
        let is_copy = self.order.purpose.is_copy();
        let unloaded = self.unloaded.iter().filter(|_| !is_copy).map(Active::reference);
        for gone in unloaded.filter(|gone| !self.loaded.contains(gone)) {
            self.holding.gone(&gone);
        }
        self.holding.taken_out.clear();
        self.held = after;
        self.committed = true;
        self.waits.clear();
        self.absent.retain(|role, _| {
            self.held
                .roles
                .get(role)
                .is_some_and(|held| held.instance.is_none() && !wanted.contains(&held.model))
        });
        if self.held.active != self.before.active
            || self.loaded.iter().any(|one| self.held.active.as_ref().is_some_and(|a| a.reference() == *one))
            || self.standing == Standing::Held
        {
            self.standing = Standing::Open;
        }
        self.standing_before = self.standing.clone();
        if let Some(journal) = &self.around.journal
            && let Err(error) = journal.keep(&self.holding.kept(&self.held), &strays).await
        {
            tracing::warn!(%error, "what is held is written down later");
            self.journalled = false;
            self.reasons.push(format!("Not journalled: {}", error.message));
        }
        self.tell();
    }

    fn in_memory(&self, model: &ModelRef) -> bool {
        self.around
            .hub
            .now()
            .instances
            .iter()
            .any(|one| one.server == model.server && one.model == model.model)
    }
}
