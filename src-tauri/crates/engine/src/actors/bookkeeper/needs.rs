//! What each model would take.

use crate::actors::supervisors::Supervisors;
use pilothouse_domain::{
    anatomy::Anatomy,
    error::{ApiError, ErrorCode},
    estimate::estimate,
    fit::{Known, ModelNeed, NoNeed, leaves_context_open, place, usual},
    learned::{Correction, LoadKey, corrected},
    machine::Machine,
    model::{Model, ModelPurpose},
    server::ServerId,
    settings::Settings,
    snapshot::Snapshot,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What tells one state of a model's files from another.
type Stamp = (String, Option<u64>);

/// Remembers the builds of models, because their files are read slowly.
#[derive(Default)]
pub(super) struct Needs {
    anatomies: HashMap<Stamp, Anatomy>,
    /// What was reckoned last.
    reckoned: Vec<(Stamp, Option<String>)>,
    /// Some model's files were damaged at the last reckoning.
    damaged: bool,
}

impl Needs {
    /// Whether there are other models, or servers of other versions, than at the last reckoning.
    pub fn differ(&mut self, snapshot: &Snapshot) -> bool {
        let listed: Vec<(Stamp, Option<String>)> = models(snapshot)
            .map(|model| {
                let version = snapshot.server(&model.server).and_then(|server| server.version.clone());
                (stamp(model), version)
            })
            .collect();
        let differ = self.reckoned != listed;
        self.reckoned = listed;
        differ
    }

    /// Whether files may have been mended although the lists are as before.
    pub fn may_be_mended(&self) -> bool {
        self.damaged
    }

    /// The builds that are known, by `<server>/<name>`.
    pub fn builds(&self) -> BTreeMap<String, Anatomy> {
        self.anatomies.iter().map(|((id, _), anatomy)| (id.clone(), anatomy.clone())).collect()
    }

    /// By `<server>/<name>`: what it takes, or why that is not known.
    pub async fn reckon(
        &mut self,
        snapshot: &Snapshot,
        machine: &Machine,
        settings: &Settings,
        off_card: &BTreeSet<ServerId>,
        supervisors: &Supervisors,
        correction: impl Fn(&LoadKey) -> Option<Correction>,
    ) -> BTreeMap<String, Result<ModelNeed, NoNeed>> {
        let ceiling = machine.ceiling();
        let mut needs = BTreeMap::new();
        let mut kept = HashMap::new();
        for model in models(snapshot) {
            let Some(server) = snapshot.server(&model.server) else { continue };
            let anatomy = match self.anatomies.remove(&stamp(model)) {
                Some(anatomy) => Ok(anatomy),
                // What could not be read last time (its server was down, its folder not mounted) is tried again.
                None => anatomy(supervisors, model).await,
            };
            let need = anatomy.as_ref().map_err(NoNeed::clone).map(|anatomy| {
                let place = place(settings, server.kind, &model.name, machine, off_card.contains(&server.id));
                let known = Known { context_max: model.context_max, whole: Some((anatomy, place)) };
                let wish = usual(settings, server.kind, &model.name, known, &ceiling);
                let open = leaves_context_open(settings, server.kind, &model.name);
                let correction = correction(&LoadKey::of(model, server.version.clone(), wish, place));
                let bytes = corrected(estimate(anatomy, &wish, place), correction).total_bytes();
                ModelNeed { bytes, place, context: open.then_some(wish.context) }
            });
            needs.insert(model.reference().id(), need);
            if let Ok(anatomy) = anatomy {
                kept.insert(stamp(model), anatomy);
            }
        }
        self.anatomies = kept;
        self.damaged = needs.values().any(|need| matches!(need, Err(NoNeed { damaged: true, .. })));
        needs
    }
}

fn stamp(model: &Model) -> Stamp {
    (model.reference().id(), model.size_bytes)
}

fn models(snapshot: &Snapshot) -> impl Iterator<Item = &Model> {
    // Those that were found damaged stay among them: they may have been mended.
    let here = |model: &&Model| {
        let wanted = model.purpose == ModelPurpose::Llm || model.damaged.is_some();
        wanted && !snapshot.is_remote(&model.server)
    };
    snapshot.models.iter().map(|view| &view.model).filter(here)
}

async fn anatomy(supervisors: &Supervisors, model: &Model) -> Result<Anatomy, NoNeed> {
    let unknown =
        |error: ApiError| NoNeed { damaged: error.code == ErrorCode::LoadFailed, why: error.message };
    supervisors.get(&model.server).map_err(unknown)?.anatomy(model).await.map_err(unknown)
}
