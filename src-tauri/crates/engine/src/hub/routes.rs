//! Where requests go: drawn from what was folded.

use super::{Standing, State};
use pilothouse_domain::{
    model::{Instance, Model, ModelPurpose, ModelRef},
    scene::RoleView,
    server::ServerId,
};
use pilothouse_leases::{About, ActiveRoute, RoleRoute, Routes, Target};
use std::collections::BTreeSet;

impl State {
    pub(super) fn routes(&self) -> Routes {
        let target = |server: &ServerId, model: &str, instance: &str| {
            let openai = self.endpoints.get(server)?;
            let listed = |i: &&Instance| i.server == *server && i.id == instance;
            let listed = self.snapshot.instances.iter().find(listed);
            let port = listed.and_then(|listed| listed.port);
            // A slot with an answer that nobody waits for is busy until it is free.
            let free =
                |listed: &Instance| Some(listed.slots?.saturating_sub(listed.orphaned_answers.unwrap_or(0)));
            let slots = listed.and_then(free).map(|slots| slots as usize);
            Some(Target {
                server: server.clone(),
                model: model.to_owned(),
                instance: instance.to_owned(),
                openai: port.map_or_else(|| openai.clone(), |port| openai.at_port(port)),
                slots: slots.unwrap_or_else(|| self.unknown_slots(server)),
            })
        };
        let active = match (&self.standing, &self.snapshot.active) {
            (Standing::Held, _) => ActiveRoute::Held,
            (Standing::Refusing(why), Some(_)) => ActiveRoute::Refusing(why.clone()),
            (_, Some(active)) => target(&active.server, &active.model, &active.instance)
                .map_or_else(|| ActiveRoute::Down(active.server.clone()), ActiveRoute::Open),
            (_, None) => ActiveRoute::None,
        };
        let role = |view: &RoleView| {
            let held = &view.held;
            let there = |instance: &String| {
                target(&held.model.server, &held.model.model, instance)
                    .map_or_else(|| ActiveRoute::Down(held.model.server.clone()), ActiveRoute::Open)
            };
            let route = match (&held.instance, &view.absent) {
                _ if view.leads => active.clone(),
                _ if view.waits => ActiveRoute::Held,
                (_, Some(why)) => ActiveRoute::Refusing(why.clone()),
                (Some(instance), None) => there(instance),
                (None, None) => ActiveRoute::Away(held.model.clone()),
            };
            (view.role.clone(), RoleRoute { route, priority: held.priority })
        };
        let roles = self.snapshot.roles.iter().map(role).collect();
        let kept = self.kept();
        // What a remote server has in memory is its own matter: whatever it lists can be asked for.
        let on_call =
            self.snapshot.models.iter().map(|view| &view.model).filter(|model| {
                model.purpose != ModelPurpose::Other && self.snapshot.is_remote(&model.server)
            });
        Routes {
            active,
            active_priority: self.lead_priority,
            roles,
            aliases: self.names.aliases.clone(),
            loads_on_request: self.names.loads_on_request,
            kept,
            loaded: self
                .snapshot
                .instances
                .iter()
                .filter_map(|i| target(&i.server, &i.model, &i.id))
                .chain(on_call.filter_map(|model| target(&model.server, &model.name, &model.name)))
                .collect(),
            known: self
                .snapshot
                .models
                .iter()
                .filter(|model| model.model.purpose != ModelPurpose::Other)
                .map(|model| model.model.reference())
                .collect(),
            about: self.snapshot.models.iter().map(|view| self.about(&view.model)).collect(),
            kinds: self.snapshot.servers.iter().map(|view| (view.id.clone(), view.kind)).collect(),
        }
    }

    fn about(&self, model: &Model) -> (ModelRef, About) {
        let its = |one: &&Instance| one.server == model.server && one.model == model.name;
        let about = About {
            embeds: model.purpose == ModelPurpose::Embedding,
            size_bytes: model.size_bytes,
            format: model.format.clone(),
            quantization: model.quantization.clone(),
            parameters: model.parameters.clone(),
            context_max: model.context_max,
            context: self.snapshot.instances.iter().find(its).and_then(|one| one.context),
        };
        (model.reference(), about)
    }

    /// What Pilothouse keeps in memory: the active model, those of roles, pinned ones, and what was loaded on request.
    fn kept(&self) -> BTreeSet<(ServerId, String)> {
        let snapshot = &self.snapshot;
        let active = snapshot.active.iter().map(|active| (active.server.clone(), active.instance.clone()));
        let roles = snapshot
            .roles
            .iter()
            .filter_map(|role| Some((role.held.model.server.clone(), role.held.instance.clone()?)));
        let pinned = snapshot
            .instances
            .iter()
            .filter(|one| snapshot.pins.iter().any(|pin| pin.server == one.server && pin.model == one.model))
            .map(|one| (one.server.clone(), one.id.clone()));
        let asked = snapshot.on_request.iter().map(|one| (one.model.server.clone(), one.instance.clone()));
        active.chain(roles).chain(pinned).chain(asked).collect()
    }

    /// How many answers at a time are asked of a server that does not tell. One on another machine has its own queue, made for
    /// many; one on this machine may have no more than this many by default (LM Studio: four).
    fn unknown_slots(&self, server: &ServerId) -> usize {
        if self.snapshot.is_remote(server) { 64 } else { 4 }
    }
}
