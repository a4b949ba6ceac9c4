//! What is asked for as an order: the models that shall be in memory, with what they take, and who may leave for them.

use super::{
    actor::Residency,
    rearranging::{Order, Purpose, Target},
    requests::{Aim, RoleWanted},
};
use pilothouse_domain::{
    error::ApiError,
    model::{LoadSettings, ModelPurpose, ModelRef},
    residency::{Arrangement, Leaver, Spare},
    scene::lead,
    switch::Active,
};
use std::collections::BTreeSet;

impl Residency {
    /// Errors: not_found.
    pub(super) fn order(&self, aim: Aim, now: bool) -> Result<Order, ApiError> {
        match aim {
            Aim::Active(wanted) => Ok(self.order_of_switch(*wanted, now)),
            Aim::Roles { scene, roles } => Ok(self.order_of_roles(scene, roles, now)),
            Aim::Before => {
                let before = self.holding.before.as_ref().map(|(_, before)| before.clone());
                let nothing = || {
                    ApiError::not_found("There is nothing to restore: no scene was applied yet.")
                        .hint("“Restore” brings back what was there before the last scene.")
                };
                self.order_back(before.ok_or_else(nothing)?, now)
            }
        }
    }

    fn order_of_roles(&self, scene: Option<String>, roles: Vec<RoleWanted>, now: bool) -> Order {
        let chats: BTreeSet<&str> = roles
            .iter()
            .filter(|wanted| wanted.model.purpose == ModelPurpose::Llm)
            .map(|wanted| wanted.role.as_str())
            .collect();
        let priorities = roles.iter().map(|wanted| (wanted.role.as_str(), wanted.held.priority));
        let lead = lead(priorities, |role| chats.contains(role));
        let leading = roles.iter().find(|wanted| Some(&wanted.role) == lead.as_ref());
        let active = leading.map(|wanted| self.active_of(&wanted.model.reference()));
        let mut targets: Vec<Target> = vec![];
        for wanted in &roles {
            let model = wanted.model.reference();
            match targets.iter_mut().find(|target| target.model.reference() == model) {
                Some(target) => target.roles.push(wanted.role.clone()),
                None => targets.push(Target {
                    model: wanted.model.clone(),
                    with: wanted.held.with,
                    bytes: wanted.bytes,
                    load_s: self.load_s(&model),
                    instance: None,
                    roles: vec![wanted.role.clone()],
                }),
            }
        }
        // Those that lead or matter most are loaded first.
        let rank = |target: &Target| {
            let of_it = roles.iter().filter(|wanted| wanted.model.reference() == target.model.reference());
            of_it.map(|wanted| wanted.held.priority).min()
        };
        targets.sort_by_key(rank);
        let roles = roles.into_iter().map(|wanted| (wanted.role, wanted.held)).collect();
        let after = Arrangement { scene: scene.clone(), active, lead, roles, with: LoadSettings::default() };
        Order { purpose: Purpose::Scene(scene), after, targets, spare: self.spare(true), now }
    }

    /// An arrangement that was there before. Errors: not_found, where one of its models is gone.
    pub(super) fn order_back(&self, before: Arrangement, now: bool) -> Result<Order, ApiError> {
        let listed = self.around.listed();
        let mut targets = vec![];
        for reference in before.models() {
            let model =
                listed.iter().find(|model| model.reference() == reference).cloned().ok_or_else(|| {
                    ApiError::not_found(format!(
                        "{} has no model {} any more.",
                        reference.server, reference.model
                    ))
                    .hint("Choose another scene, or switch to a model.")
                })?;
            let held = before.roles.iter().filter(|(_, held)| held.model == reference);
            // What had left because nobody asked comes back when somebody asks.
            let is_active = before.active.as_ref().is_some_and(|active| active.reference() == reference);
            let own = if is_active { before.with } else { LoadSettings::default() };
            let with = held.clone().map(|(_, held)| held.with).next().unwrap_or(own);
            if !is_active && held.clone().all(|(_, held)| held.instance.is_none()) {
                continue;
            }
            let roles = held.map(|(role, _)| role.clone()).collect();
            targets.push(Target {
                bytes: self.usual_bytes(&reference, with),
                load_s: self.load_s(&reference),
                model,
                with,
                instance: None,
                roles,
            });
        }
        Ok(Order { purpose: Purpose::Restore, after: before, targets, spare: self.spare(true), now })
    }

    /// As it stands in memory, or as it will be found there.
    pub(super) fn active_of(&self, model: &ModelRef) -> Active {
        let known = self.active.clone().filter(|active| active.reference() == *model);
        known.unwrap_or_else(|| Active {
            server: model.server.clone(),
            model: model.model.clone(),
            instance: model.model.clone(),
        })
    }

    pub(super) fn load_s(&self, model: &ModelRef) -> Option<f64> {
        self.around.hub.load_time(model)
    }

    /// What a model takes as its server loads it; with settings of its own that is not known here.
    pub(super) fn usual_bytes(&self, model: &ModelRef, with: LoadSettings) -> Option<u64> {
        let snapshot = self.around.hub.now();
        let view = snapshot.models.iter().find(|view| view.model.reference() == *model)?;
        view.needed_bytes.filter(|_| with == LoadSettings::default()).or(view.needed_bytes)
    }

    /// Models that were loaded on request and may leave for others: idle, not pinned. `idle`: whether only those without answers.
    pub(super) fn spare(&self, idle: bool) -> Vec<Spare> {
        let snapshot = self.around.hub.now();
        let held = self.arrangement().models();
        let residents = snapshot.ledger.as_ref().map(|ledger| ledger.residents()).unwrap_or_default();
        let free = self.holding.on_request.iter().filter(|(model, asked)| {
            !self.holding.pins.contains(model)
                && !held.contains(model)
                && (!idle || self.around.leases.count(&model.server, &asked.instance) == 0)
        });
        free.map(|(model, asked)| Spare {
            leaver: Leaver {
                model: model.clone(),
                instance: asked.instance.clone(),
                bytes: residents
                    .iter()
                    .find(|one| one.model == *model)
                    .map(|one| one.bytes)
                    .or_else(|| self.usual_bytes(model, LoadSettings::default())),
            },
            idle_s: asked.used.elapsed().as_secs_f64(),
            load_s: self.load_s(model),
        })
        .collect()
    }
}
