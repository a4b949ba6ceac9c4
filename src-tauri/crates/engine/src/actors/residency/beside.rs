//! What a switch must know of what is held besides, and what may be evicted for it.

use super::{actor::Residency, transaction::Beside};
use pilothouse_domain::{
    model::{LoadSettings, ModelRef},
    residency::{Circumstances, InMemory, Leaver, Piece, arrange},
    server::ServerId,
    switch::Active,
};
use std::collections::BTreeMap;

impl Residency {
    /// With what a model is to be in memory: as its role says, or as it was loaded.
    pub(super) fn with_of(&self, model: &ModelRef) -> LoadSettings {
        let of_role = self.arrangement.roles.values().find(|held| held.model == *model).map(|held| held.with);
        of_role.or_else(|| self.holding.loaded_with.get(model).copied()).unwrap_or_default()
    }

    /// The same of all models of a server that are to be otherwise than it loads them by itself.
    pub(super) fn loaded_with_on(&self, server: &ServerId) -> BTreeMap<String, LoadSettings> {
        let of_roles = self.arrangement.roles.values().map(|held| &held.model);
        let of_server =
            of_roles.chain(self.holding.loaded_with.keys()).filter(|model| model.server == *server);
        let with = of_server.map(|model| (model.model.clone(), self.with_of(model)));
        with.filter(|(_, with)| *with != LoadSettings::default()).collect()
    }

    /// What a switch must know of what is held besides.
    pub(super) fn beside(&self, to: &ModelRef) -> Beside {
        let previous = self.active.as_ref().map(Active::reference);
        let pinned =
            |model: &ModelRef| self.holding.pins.contains(model) || self.arrangement.is_pinned(model);
        let previous_stays =
            previous.as_ref().is_some_and(|model| self.arrangement.keeps(model) || pinned(model));
        let bytes = |model: &ModelRef| self.usual_bytes(model, LoadSettings::default());
        let snapshot = self.around.hub.now();
        let target = Piece {
            model: to.clone(),
            with: self.with_of(to),
            bytes: bytes(to),
            held_bytes: None,
            load_s: None,
            in_memory: match snapshot.instances.iter().any(|i| i.server == to.server && i.model == to.model) {
                true => InMemory::Yes,
                false => InMemory::No,
            },
            roles: vec![],
        };
        let leaves = previous.iter().filter(|model| !previous_stays && *model != to).map(|model| Leaver {
            model: model.clone(),
            instance: model.model.clone(),
            bytes: bytes(model),
        });
        let now = Circumstances {
            wanted: vec![target],
            leaves: leaves.collect(),
            spare: self.spare(true).into_iter().filter(|spare| spare.leaver.model != *to).collect(),
            free_bytes: snapshot.ledger.as_ref().map(|ledger| ledger.headroom_bytes),
            others: vec![],
        };
        // What does not fit even so is tried all the same, as a person wishes.
        let evicted = arrange(&now).map(|plan| plan.evicted).unwrap_or_default();
        let active = |model: &ModelRef| {
            let asked = self.holding.on_request.get(model)?;
            let (server, instance) = (model.server.clone(), asked.instance.clone());
            Some((Active { server, model: model.model.clone(), instance }, self.with_of(model)))
        };
        Beside {
            previous_stays,
            evict: evicted.iter().filter_map(active).collect(),
            with: self.with_of(to),
            previous_with: previous.as_ref().map(|model| self.with_of(model)).unwrap_or_default(),
            held: self.arrangement(),
            holding: self.holding.clone(),
        }
    }
}
