//! What is held in memory beside the active model: by which roles, for which requests, under which pins; and what can be taken back.

use crate::hub::ArrangementView;
use pilothouse_domain::{
    Timestamp,
    model::{LoadSettings, ModelRef},
    residency::{Arrangement, Kept},
    scene::{Held, OnRequest, RoleView},
};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// A model that was loaded because a program asked for it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub instance: String,
    /// When it was loaded or last used.
    pub used: Instant,
    pub used_at: Timestamp,
}

/// See the module's text. The active model and the roles themselves are the [`Arrangement`].
#[derive(Debug, Clone, Default)]
pub(super) struct Holding {
    /// What was there before the last scene, and since when it is not.
    pub before: Option<(Timestamp, Arrangement)>,
    pub pins: BTreeSet<ModelRef>,
    pub on_request: BTreeMap<ModelRef, Asked>,
    /// With what we have loaded models; the others are as their servers load them.
    pub loaded_with: BTreeMap<ModelRef, LoadSettings>,
    /// What a change under way has taken out and has not settled yet.
    pub taken_out: Vec<ModelRef>,
    /// Models that were active, the newest first, the present one included.
    pub recent: Vec<ModelRef>,
    /// Why roles cannot answer.
    pub absent: BTreeMap<String, String>,
}

impl Holding {
    /// As it is written down.
    pub fn kept(&self, arrangement: &Arrangement) -> Kept {
        Kept {
            arrangement: arrangement.clone(),
            before: self.before.clone(),
            pins: self.pins.iter().cloned().collect(),
            on_request: self.on_request.keys().cloned().collect(),
            taken_out: self.taken_out.clone(),
            loaded_with: self.loaded_with.iter().map(|(model, with)| (model.clone(), *with)).collect(),
            recent: self.recent.clone(),
        }
    }

    /// What is held, as the hub shows it.
    pub fn view(&self, held: &Arrangement, waits: &BTreeSet<String>) -> ArrangementView {
        let lead = held.lead.as_ref().and_then(|lead| held.roles.get(lead));
        let role = |(role, one): (&String, &Held)| RoleView {
            role: role.clone(),
            held: one.clone(),
            leads: held.lead.as_ref() == Some(role),
            waits: waits.contains(role),
            absent: self.absent.get(role).cloned(),
        };
        ArrangementView {
            scene: held.scene.clone(),
            lead_priority: lead.map(|lead| lead.priority).unwrap_or_default(),
            roles: held.roles.iter().map(role).collect(),
            restore_at: self.before.as_ref().map(|(at, _)| *at),
            recent: self.recent.clone(),
        }
    }

    /// A model was loaded for a request.
    pub fn asked_for(&mut self, model: &ModelRef, instance: &str) {
        let asked = Asked { instance: instance.to_owned(), used: Instant::now(), used_at: Timestamp::now() };
        self.on_request.insert(model.clone(), asked);
    }

    /// It is not in memory any more.
    pub fn gone(&mut self, model: &ModelRef) {
        self.on_request.remove(model);
        self.loaded_with.remove(model);
    }

    pub fn on_request(&self, idle_s: u64) -> Vec<OnRequest> {
        let view = |(model, asked): (&ModelRef, &Asked)| OnRequest {
            model: model.clone(),
            instance: asked.instance.clone(),
            last_used_at: asked.used_at,
            idle_s,
        };
        self.on_request.iter().map(view).collect()
    }
}
