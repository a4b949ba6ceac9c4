//! Gathers what the question "does it fit?" needs: builds of models, the machine, and what is in memory now.

use super::Inner;
use pilothouse_domain::{
    anatomy::Anatomy,
    bench::Run,
    error::{ApiError, ErrorCode},
    estimate::{Place, Wish},
    fit::{
        Candidate, FitReport, Known, Meant, Room, Together, check_context, meant, place, report, together,
        unknown_model, usual,
    },
    forecast::{History, Measured},
    learned::LoadKey,
    ledger::{Ledger, Resident},
    machine::Machine,
    model::{LoadSettings, Model, ModelPurpose, ModelRef},
    residency::smaller_settings,
    server::{ServerId, ServerKind},
    snapshot::Snapshot,
};
use pilothouse_system::hardware::this_machine;
use std::{sync::Arc, time::Duration};

/// More sets than this nobody reads.
const MOST_SETS: usize = 200;
/// Runs of one model that are looked at.
const RUNS: u32 = 5;
/// The first sample comes soon after the start.
const FIRST_SAMPLE: Duration = Duration::from_secs(3);

pub(super) struct Asked {
    pub models: Vec<String>,
    pub server: Option<ServerId>,
    pub context: Option<u64>,
    pub parallel: Option<u32>,
    pub kv: Option<String>,
    pub machine: Option<Machine>,
}

impl Asked {
    /// About settings of one model, here.
    fn of(with: LoadSettings) -> Self {
        Self {
            models: vec![],
            server: None,
            context: with.context,
            parallel: with.parallel,
            kv: with.kv_type.map(|kv| kv.name().to_owned()),
            machine: None,
        }
    }
}

/// What a model takes with settings of its own.
pub(super) enum Reckoned {
    Bytes(u64),
    /// Its context is beyond the model's own.
    Beyond(ApiError),
    Unknown,
}

impl Inner {
    /// What a model takes when it is loaded so; what is left out is as its server loads it.
    pub(super) async fn reckon(&self, model: &Model, with: LoadSettings) -> Reckoned {
        let Ok(supervisor) = self.supervisors.get(&model.server) else { return Reckoned::Unknown };
        let Ok(anatomy) = supervisor.anatomy(model).await else { return Reckoned::Unknown };
        if let Err(error) = check_context(&model.title, with.context, anatomy.context_max) {
            return Reckoned::Beyond(error);
        }
        let (snapshot, machine) = (self.hub.now(), this_machine().await);
        let named = Named { title: model.title.clone(), anatomy, model: Some(model.clone()) };
        match self.wish(&Asked::of(with), Some(&named), &snapshot, &machine) {
            Ok(wish) => {
                let candidate = self.candidate(&snapshot, named, wish, &machine, true);
                Reckoned::Bytes(candidate.estimate().total_bytes())
            }
            Err(error) => Reckoned::Beyond(error),
        }
    }

    /// The same for each smaller setting of it that its server can be given; nothing where it cannot be told.
    pub(super) async fn reckon_smaller(&self, model: &Model, with: LoadSettings) -> Vec<(LoadSettings, u64)> {
        let Ok(supervisor) = self.supervisors.get(&model.server) else { return vec![] };
        let Ok(anatomy) = supervisor.anatomy(model).await else { return vec![] };
        let (snapshot, machine) = (self.hub.now(), this_machine().await);
        let named =
            || Named { title: model.title.clone(), anatomy: anatomy.clone(), model: Some(model.clone()) };
        let wish = |with: LoadSettings| self.wish(&Asked::of(with), Some(&named()), &snapshot, &machine);
        let Ok(now) = wish(with) else { return vec![] };
        let possible = smaller_settings(with, &now)
            .into_iter()
            .filter(|smaller| supervisor.cannot_load_with(smaller).is_none());
        let reckoned = possible.filter_map(|smaller| {
            let candidate = self.candidate(&snapshot, named(), wish(smaller).ok()?, &machine, true);
            Some((smaller, candidate.estimate().total_bytes()))
        });
        reckoned.collect()
    }

    pub(super) async fn fit(&self, asked: Asked) -> Result<FitReport, ApiError> {
        if asked.models.is_empty() || asked.models.len() > 64 {
            return Err(ApiError::new(ErrorCode::InvalidCall, "Name 1 to 64 models."));
        }
        let (snapshot, machine) = self.situation(&asked).await?;
        let here = asked.machine.is_none();
        let mut named = Vec::new();
        for name in &asked.models {
            named.push(self.named(&snapshot, name, asked.server.as_ref()).await?);
        }
        for named in &named {
            check_context(&named.title, asked.context, named.anatomy.context_max)?;
        }
        let wish = self.wish(&asked, named.first(), &snapshot, &machine)?;
        let models: Vec<ModelRef> =
            named.iter().filter_map(|named| named.model.as_ref()).map(Model::reference).collect();
        let mut candidates = Vec::new();
        for named in named {
            candidates.push(self.candidate(&snapshot, named, wish, &machine, here));
        }
        if here && let (Some(candidate), Some(model)) = (candidates.first_mut(), models.first()) {
            candidate.history = self.history(&snapshot, model, candidate.place, &machine).await;
        }
        let off_card = candidates.iter().all(|candidate| !candidate.place.on_gpu());
        let room = if here { room_now(&snapshot, machine, &models, off_card) } else { Room::empty(machine) };
        Ok(report(&candidates, &wish, &room))
    }

    /// What would be in memory is counted as free: a set may hold it or not. Without a wish each model is reckoned as its
    /// server loads it.
    pub(super) async fn fit_together(&self, asked: Asked) -> Result<Together, ApiError> {
        let (snapshot, machine) = self.situation(&asked).await?;
        let here = asked.machine.is_none();
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for view in snapshot.models.iter().filter(|view| view.model.purpose == ModelPurpose::Llm) {
            let model = &view.model;
            match self.supervisors.get(&model.server)?.anatomy(model).await {
                Ok(anatomy) => {
                    let named = Named { title: model.title.clone(), anatomy, model: Some(model.clone()) };
                    // One that was trained for less gets what it was trained for.
                    let wish = self.wish(&asked, Some(&named), &snapshot, &machine)?;
                    let candidate = self.candidate(&snapshot, named, wish, &machine, here);
                    known.push((model.reference().id(), candidate.estimate().total_bytes()));
                }
                Err(error) => unknown.push(format!("{}: {}", model.reference().id(), error.message)),
            }
        }
        let room = if here { room_now(&snapshot, machine, &[], false) } else { Room::empty(machine) };
        let freed: u64 = room.residents.iter().map(|resident| resident.bytes).sum();
        let free = room.free_bytes().saturating_add(freed).min(room.most_bytes());
        Ok(Together { unknown, ..together(&known, free, MOST_SETS) })
    }

    /// What there is, on the machine in question. Errors: busy before the first sample of this one.
    async fn situation(&self, asked: &Asked) -> Result<(Arc<Snapshot>, Machine), ApiError> {
        if let Some(machine) = &asked.machine {
            return Ok((self.hub.now(), machine.clone()));
        }
        let mut snapshots = self.hub.snapshots();
        let sampled = async {
            let sampled = snapshots.wait_for(|snapshot| snapshot.ledger.is_some()).await;
            sampled.map(|snapshot| snapshot.clone())
        };
        match tokio::time::timeout(FIRST_SAMPLE, sampled).await {
            Ok(Ok(snapshot)) => Ok((snapshot, this_machine().await)),
            _ => Err(ApiError::new(ErrorCode::Busy, "The memory of this machine has not been read yet.")
                .hint("Ask again in a moment; “pilothouse gauges” says what is missing.")
                .retryable()),
        }
    }

    fn candidate(
        &self,
        snapshot: &Snapshot,
        Named { title, anatomy, model }: Named,
        wish: Wish,
        machine: &Machine,
        here: bool,
    ) -> Candidate {
        let wish = wish.within(anatomy.context_max);
        let server = model.as_ref().and_then(|model| snapshot.server(&model.server));
        let kind = server.map_or(ServerKind::LlamaServer, |server| server.kind);
        let name = model.as_ref().map_or("", |model| model.name.as_str());
        let off_card = server.is_some_and(|server| here && self.bookkeeper.is_off_card(&server.id));
        let place = place(&self.in_force.now(), kind, name, machine, off_card);
        let known = server.zip(model.as_ref()).filter(|_| here);
        let key = known.map(|(server, model)| LoadKey::of(model, server.version.clone(), wish, place));
        let correction = key.and_then(|key| self.bookkeeper.correction(&key));
        Candidate { name: title, anatomy, wish, place, correction, history: History::default() }
    }

    /// What runs on this machine have shown of a model and of the others of its server. A forecast is no reason to fail:
    /// what cannot be read is not there.
    async fn history(
        &self,
        snapshot: &Snapshot,
        model: &ModelRef,
        place: Place,
        machine: &Machine,
    ) -> History {
        let Some(store) = &self.store else { return History::default() };
        let runs = match store.newest_runs(&model.server, RUNS).await {
            Ok(runs) => runs,
            Err(error) => {
                tracing::warn!(%error, "what was measured is not in the forecast");
                return History::default();
            }
        };
        let version = snapshot.server(&model.server).and_then(|server| server.version.as_deref());
        let runs = comparable(&runs, version, machine, place);
        let of = |name: &str| {
            let of_model: Vec<Run> = runs.iter().filter(|run| run.model == name).cloned().collect();
            Measured::of(&of_model)
        };
        let mut others = Vec::new();
        let of_server = |view: &&pilothouse_domain::snapshot::ModelView| {
            view.model.server == model.server && view.model.name != model.model
        };
        for view in snapshot.models.iter().filter(of_server) {
            let Some(measured) = of(&view.model.name) else { continue };
            let Ok(supervisor) = self.supervisors.get(&model.server) else { continue };
            if let Ok(anatomy) = supervisor.anatomy(&view.model).await {
                others.push((anatomy, measured));
            }
        }
        History { of_model: of(&model.model), others }
    }

    /// What was asked for; for the rest, as the server of the model loads it.
    fn wish(
        &self,
        asked: &Asked,
        first: Option<&Named>,
        snapshot: &Snapshot,
        machine: &Machine,
    ) -> Result<Wish, ApiError> {
        let model = first.and_then(|named| named.model.as_ref());
        let server = model.and_then(|model| snapshot.server(&model.server));
        let kind = server.map_or(ServerKind::LlamaServer, |server| server.kind);
        let name = model.map_or("", |model| model.name.as_str());
        let off_card =
            asked.machine.is_none() && server.is_some_and(|server| self.bookkeeper.is_off_card(&server.id));
        let settings = self.in_force.now();
        let place = place(&settings, kind, name, machine, off_card);
        let known = Known {
            context_max: first.and_then(|named| named.anatomy.context_max),
            whole: first.map(|named| (&named.anatomy, place)),
        };
        let usual = usual(&settings, kind, name, known, &machine.ceiling());
        let kv = asked.kv.as_deref().unwrap_or(usual.kv.name());
        let parallel = asked.parallel.unwrap_or(usual.parallel);
        Wish::checked(asked.context.unwrap_or(usual.context), Some(parallel), Some(kv))
    }

    async fn named(
        &self,
        snapshot: &Snapshot,
        name: &str,
        server: Option<&ServerId>,
    ) -> Result<Named, ApiError> {
        let models: Vec<Model> = snapshot.models.iter().map(|view| view.model.clone()).collect();
        match meant(&models, name, server) {
            Meant::Nothing => Err(unknown_model(name)),
            Meant::Typical(anatomy) => Ok(Named { title: name.to_owned(), anatomy: *anatomy, model: None }),
            Meant::Model(model) => {
                model.damage().map_or(Ok(()), Err)?;
                let anatomy = self.supervisors.get(&model.server)?.anatomy(model).await?;
                Ok(Named { title: model.title.clone(), anatomy, model: Some(model.clone()) })
            }
            Meant::Several => {
                Err(ApiError::new(ErrorCode::Ambiguous, format!("{name} fits several models."))
                    .hint("Name one of them in full, or add --server."))
            }
        }
    }
}

/// Those of the runs that were measured as a load at this place would be: on this machine, with this version of the server.
pub(super) fn comparable(runs: &[Run], version: Option<&str>, machine: &Machine, place: Place) -> Vec<Run> {
    // A run on the card says nothing of the processor beside it; without a card nothing is noted.
    let elsewhere = if place.on_gpu() { "processor" } else { "card" };
    let comparable = |run: &&Run| {
        let noted = |key: &str| run.fingerprint.get(key).map(String::as_str);
        run.server_version.as_deref() == version
            && noted("chip") == Some(machine.chip.as_str())
            && noted("computes_on") != Some(elsewhere)
    };
    runs.iter().filter(comparable).cloned().collect()
}

/// A model in question: one of a server's, or a typical one of that size.
struct Named {
    title: String,
    anatomy: Anatomy,
    model: Option<Model>,
}

/// This machine with what runs on it now. Whoever is asked for already holds what it needs. `off_card`: the settings keep the
/// models out of the GPU.
fn room_now(snapshot: &Snapshot, machine: Machine, asked: &[ModelRef], off_card: bool) -> Room {
    let Some(ledger) = &snapshot.ledger else { return Room::empty(machine) };
    let beside = if off_card { ledger.on_processor() } else { None };
    let ledger: &Ledger = beside.as_ref().unwrap_or(ledger);
    let (own, residents): (Vec<Resident>, Vec<Resident>) =
        ledger.residents().into_iter().partition(|resident| asked.contains(&resident.model));
    let held: u64 = own.iter().map(|resident| resident.bytes).sum();
    let used_bytes = ledger.in_use_bytes.saturating_sub(held);
    Room { machine, ceiling: ledger.ceiling.clone(), used_bytes, residents }
}
