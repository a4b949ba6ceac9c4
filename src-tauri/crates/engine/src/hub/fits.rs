//! What memory holds and what would fit into it, drawn up from what was folded: once per change, beside the hub's lock.

use pilothouse_domain::{
    fit::{self, Fit, ModelNeed, Need, NoNeed},
    ledger::{Ledger, Resident, ledger},
    machine::Machine,
    model::{Model, ModelRef},
    scene::{Knowledge, SceneSettings, SceneView, scene_views},
    snapshot::{ModelView, Snapshot},
    switch::Active,
};
use std::{collections::BTreeMap, sync::Arc};

/// What models would take, by `<server>/<name>`; why that is not known.
pub(super) type Needs = BTreeMap<String, Result<ModelNeed, NoNeed>>;

/// What is known beside the snapshot. The numbers count the changes after which ledger and judgement are drawn up anew.
#[derive(Clone, Default)]
pub(super) struct Known {
    pub machine: Option<Arc<Machine>>,
    pub needs: Arc<Needs>,
    /// Seconds that the last loads of a model took, by `<server>/<name>`.
    pub load_s: Arc<BTreeMap<String, f64>>,
    /// Those of the settings, and the one that was applied last.
    pub scenes: Arc<BTreeMap<String, SceneSettings>>,
    pub scene_in_force: Option<String>,
    pub ledger_number: u64,
    pub fits_number: u64,
}

/// The last ledger and judgement, and which changes they know.
#[derive(Default)]
pub(super) struct Drawn {
    ledger_number: u64,
    fits_number: u64,
    ledger: Option<Ledger>,
    judged: Vec<Judged>,
    scenes: Vec<SceneView>,
}

/// What the ledger means for one model.
struct Judged {
    fit: Fit,
    needed_bytes: Option<u64>,
    off_card: bool,
}

impl Drawn {
    /// Puts ledger and judgement into a snapshot, drawn up anew where something has changed since.
    pub fn put_into(&mut self, snapshot: &mut Snapshot, known: &Known) {
        let new_ledger = self.ledger_number != known.ledger_number;
        if new_ledger {
            let readings = snapshot.readings().zip(known.machine.as_deref());
            self.ledger = readings.and_then(|(readings, machine)| ledger(&readings, machine));
            self.ledger_number = known.ledger_number;
        }
        if new_ledger || self.fits_number != known.fits_number {
            let judge = Judge::new(snapshot, &known.needs, self.ledger.as_ref());
            self.judged = snapshot.models.iter().map(|view| judge.judged(view)).collect();
            self.scenes = scenes(snapshot, known, self.ledger.as_ref());
            self.fits_number = known.fits_number;
        }
        snapshot.ledger.clone_from(&self.ledger);
        snapshot.scenes.clone_from(&self.scenes);
        for (view, judged) in snapshot.models.iter_mut().zip(&self.judged) {
            view.fits = judged.fit.as_option();
            judged.fit.reason().clone_into(&mut view.fits_reason);
            view.needed_bytes = judged.needed_bytes;
            view.off_card = judged.off_card;
        }
    }
}

/// What each scene would take. A role with settings of its own is reckoned anew before it is applied; here it is as its server loads it.
fn scenes(snapshot: &Snapshot, known: &Known, ledger: Option<&Ledger>) -> Vec<SceneView> {
    let residents = ledger.map(Ledger::residents).unwrap_or_default();
    let resident = |model: &ModelRef| residents.iter().find(|one| one.model == *model).map(|one| one.bytes);
    let in_memory = |model: &ModelRef| {
        snapshot.instances.iter().any(|i| i.server == model.server && i.model == model.model)
    };
    let need = |model: &ModelRef| known.needs.get(&model.id())?.as_ref().ok().map(|need| need.bytes);
    scene_views(&Knowledge {
        scenes: &known.scenes,
        in_force: known.scene_in_force.as_deref(),
        roles: &snapshot.roles,
        active: snapshot.active.as_ref().map(Active::reference),
        is_listed: &|model| snapshot.models.iter().any(|view| view.model.reference() == *model),
        need: &|model, _| need(model),
        holds: &|model| resident(model).or_else(|| need(model).filter(|_| in_memory(model))),
        load_s: &|model| known.load_s.get(&model.id()).copied(),
        headroom_bytes: ledger.map(|ledger| ledger.headroom_bytes),
    })
}

/// What all models are judged by.
struct Judge<'a> {
    snapshot: &'a Snapshot,
    needs: &'a Needs,
    ledger: Option<&'a Ledger>,
    /// What the active model holds; a switch gives it back.
    active: Option<Resident>,
    /// The same for models that the settings keep off the card: what the active model holds of the card makes no room for
    /// them, what it holds of the memory does. `None`: models are placed in the machine's memory anyway.
    beside: Option<(Ledger, Option<Resident>)>,
}

impl<'a> Judge<'a> {
    fn new(snapshot: &'a Snapshot, needs: &'a Needs, ledger: Option<&'a Ledger>) -> Self {
        let active_in = |ledger: &Ledger| {
            let active = snapshot.active.as_ref()?.reference();
            ledger.residents().into_iter().find(|resident| resident.model == active)
        };
        let beside = ledger.and_then(Ledger::on_processor);
        Self {
            snapshot,
            needs,
            ledger,
            active: ledger.and_then(active_in),
            beside: beside.map(|ledger| {
                let active = active_in(&ledger);
                (ledger, active)
            }),
        }
    }

    fn judged(&self, view: &ModelView) -> Judged {
        let need = self.needs.get(&view.id);
        let known = need.and_then(|need| need.as_ref().ok());
        let off_card = self.beside.is_some() && known.is_some_and(|need| !need.place.on_gpu());
        Judged {
            fit: self.fit(&view.model, view.loaded, need, off_card),
            needed_bytes: known.map(|need| need.bytes),
            off_card,
        }
    }

    fn fit(
        &self,
        model: &Model,
        loaded: bool,
        need: Option<&Result<ModelNeed, NoNeed>>,
        off_card: bool,
    ) -> Fit {
        if self.snapshot.is_elsewhere(&model.server) {
            return Fit::Unknown { reason: "it runs on another machine".into() };
        }
        if let Some(why) = &model.damaged {
            return Fit::Unknown { reason: format!("damaged: {why}") };
        }
        let need = match need {
            _ if loaded => Need::Loaded,
            Some(Ok(need)) => Need::About(need.bytes),
            Some(Err(NoNeed { why, .. })) => Need::AtLeast(model.size_bytes, why),
            None => Need::AtLeast(model.size_bytes, "its memory is not reckoned yet"),
        };
        let (ledger, active) = match &self.beside {
            Some((ledger, active)) if off_card => (Some(ledger), active),
            _ => (self.ledger, &self.active),
        };
        fit::judge(need, ledger, active.as_ref().map(|resident| (resident.title.as_str(), resident.bytes)))
    }
}
