//! What is held in memory for whom, as it is journalled.

use crate::{
    Timestamp,
    model::{LoadSettings, ModelRef},
    scene::Held,
    switch::Active,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What Pilothouse holds in memory for whom. It is journalled whole: any failure comes back to exactly this.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Arrangement {
    /// The scene that was applied last; `None`: none, or it was changed by hand so far that it is another one.
    pub scene: Option<String>,
    pub active: Option<Active>,
    /// The role that `active` follows.
    pub lead: Option<String>,
    pub roles: BTreeMap<String, Held>,
    /// With what the active model is loaded, where no role leads: else that role says it.
    pub with: LoadSettings,
}

impl Arrangement {
    /// The models that it wants in memory, each once, with how they are kept.
    pub fn models(&self) -> BTreeSet<ModelRef> {
        let active = self.active.as_ref().map(Active::reference);
        self.roles.values().map(|held| held.model.clone()).chain(active).collect()
    }

    /// Whether a role other than the one that leads stands for this model: then it stays when `active` moves on.
    pub fn keeps(&self, model: &ModelRef) -> bool {
        self.roles.iter().any(|(role, held)| Some(role) != self.lead.as_ref() && held.model == *model)
    }

    pub fn is_pinned(&self, model: &ModelRef) -> bool {
        self.roles.values().any(|held| held.pinned && held.model == *model)
    }

    /// With what the active model is loaded.
    pub fn active_with(&self) -> LoadSettings {
        let lead = self.lead.as_ref().and_then(|lead| self.roles.get(lead));
        lead.map_or(self.with, |held| held.with)
    }

    /// This model becomes active with settings of its own. It is in memory once, so every role that stands for it has them.
    pub fn load_with(&mut self, active: &Active, with: LoadSettings) {
        self.lead_with(active);
        let model = active.reference();
        self.roles.values_mut().filter(|held| held.model == model).for_each(|held| held.with = with);
        self.with = if self.lead.is_some() { LoadSettings::default() } else { with };
    }

    /// Another model became active: the role that leads stands for it from now on, as it was kept before.
    pub fn lead_with(&mut self, active: &Active) {
        if self.active.as_ref().map(Active::reference) != Some(active.reference()) {
            self.with = LoadSettings::default();
        }
        let lead = self.lead.as_ref().and_then(|lead| self.roles.get_mut(lead));
        if let Some(held) = lead.filter(|held| held.model != active.reference()) {
            held.model = active.reference();
            held.with = LoadSettings::default();
            held.instance = Some(active.instance.clone());
        } else if let Some(held) = self.lead.as_ref().and_then(|lead| self.roles.get_mut(lead)) {
            held.instance = Some(active.instance.clone());
        }
        self.active = Some(active.clone());
    }
}

/// What is held, as it is written down for the next start. Which model is active is written beside it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    pub arrangement: Arrangement,
    /// What was there before the last scene, and since when it is not.
    pub before: Option<(Timestamp, Arrangement)>,
    pub pins: Vec<ModelRef>,
    pub on_request: Vec<ModelRef>,
    /// What a change has taken out before its commit: a start brings it back, whoever's server it is on.
    pub taken_out: Vec<ModelRef>,
    /// With what models were loaded that are not as their servers load them.
    pub loaded_with: Vec<(ModelRef, LoadSettings)>,
    /// Models that were active, the newest first, the present one included.
    pub recent: Vec<ModelRef>,
}

/// So many models that were active are remembered: the present one, and those that are offered beside it.
const RECENT: usize = 4;

/// A model became active; the list of those that were, the newest first.
pub fn became_active(recent: &mut Vec<ModelRef>, model: &ModelRef) {
    recent.retain(|one| one != model);
    recent.insert(0, model.clone());
    recent.truncate(RECENT);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::Priority;

    fn model(name: &str) -> ModelRef {
        ModelRef::new("ollama", name)
    }

    #[test]
    fn the_models_that_were_active_are_remembered_each_once_the_newest_first() {
        for (became, expected) in [
            ("a", "a"),
            ("aa", "a"),
            ("ab", "ba"),
            ("aba", "ab"),
            ("abcd", "dcba"),
            ("abcde", "edcb"),
            ("abcda", "adcb"),
        ] {
            let mut recent = vec![];
            became.chars().for_each(|name| became_active(&mut recent, &model(&name.to_string())));
            let names: String = recent.iter().map(|one| one.model.as_str()).collect();
            assert_eq!(names, expected, "{became}");
        }
    }

    #[test]
    fn a_model_that_becomes_active_with_settings_has_them_under_every_name_and_the_next_one_does_not() {
        let active =
            |name: &str| Active { server: "ollama".into(), model: name.into(), instance: name.into() };
        let held = |name: &str| Held {
            model: model(name),
            instance: Some(name.into()),
            with: LoadSettings::default(),
            pinned: true,
            priority: Priority::Critical,
            idle_s: None,
        };
        let (long, usual) = (LoadSettings::context(Some(8192)), LoadSettings::default());
        let none = Arrangement { active: Some(active("a")), ..Arrangement::default() };
        let roles = [("critical", "a"), ("small", "b")].map(|(role, name)| (role.to_owned(), held(name)));
        let scene = Arrangement { lead: Some("critical".into()), roles: roles.into(), ..none.clone() };
        for before in [none, scene] {
            let mut now = before.clone();
            now.load_with(&active("b"), long);
            assert_eq!((now.active.clone(), now.active_with()), (Some(active("b")), long));
            let of_b = now.roles.values().filter(|held| held.model == model("b"));
            assert!(of_b.clone().all(|held| held.with == long && held.pinned));
            assert_eq!(of_b.count(), before.roles.len(), "the role that leads and the other one");
            assert_ne!(now, before, "and that is not how it was");
            let same = now.clone();
            now.lead_with(&active("b"));
            assert_eq!(now, same, "the same model stays as it is");
            now.lead_with(&active("c"));
            assert_eq!(now.active_with(), usual);
            let mut back = now.clone();
            back.load_with(&active("c"), usual);
            assert_eq!(back, now, "as its server loads it is how it is anyway");
        }
    }
}
