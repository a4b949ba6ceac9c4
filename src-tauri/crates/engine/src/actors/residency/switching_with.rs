//! A switch with settings of its load: what is held with one model changed, so it is a rearrangement like a scene.

use super::{
    actor::Residency,
    arriving::already_active,
    rearranging::{Order, Purpose, Target, in_memory},
    requests::ModelWanted,
};
use pilothouse_domain::{
    residency::InMemory,
    switch::{Active, SwitchReport},
};

impl Residency {
    /// Everything that is held besides stays as it is. What was active leaves, unless another role stands for it or it is pinned.
    pub(super) fn order_of_switch(&self, wanted: ModelWanted, now: bool) -> Order {
        let ModelWanted { model, with, bytes } = wanted;
        let to = model.reference();
        let mut after = self.arrangement();
        after.load_with(&self.active_of(&to), with);
        let of_it = after.roles.iter().filter(|(_, held)| held.model == to);
        let roles = of_it.map(|(role, _)| role.clone()).collect();
        let load_s = self.load_s(&to);
        let target = Target { model, with, bytes, load_s, instance: None, roles };
        Order { purpose: Purpose::Switch(to), after, targets: vec![target], spare: self.spare(true), now }
    }

    /// The active model answers and is loaded as it is wanted: nothing is to be done for it. `None`: something is, or another change
    /// is under way.
    pub(super) fn is_active_so(&self, order: &Order) -> Option<SwitchReport> {
        let to = order.purpose.switch()?;
        let is_active = |active: &Active| active.reference() == *to && self.answers();
        if self.is_changing() || !self.active.as_ref().is_some_and(is_active) {
            return None;
        }
        let mut order = order.clone();
        self.with_instances(&mut order);
        let target = order.targets.first()?;
        let there = in_memory(&self.around.hub.now(), target, &self.holding) == InMemory::Yes;
        there.then(|| already_active(&target.model))
    }
}
