//! Gathers what the question "does it fit?" needs: builds of models, the machine, and what is in memory now.

use super::Inner;
use crate::hardware::this_machine;
use pilothouse_domain::{
    anatomy::Anatomy,
    error::{ApiError, ErrorCode},
    estimate::{Place, Wish, corrected, estimate},
    fit::{Candidate, FitReport, Room, Together, report, together, typical, unknown_model, usual},
    learned::LoadKey,
    ledger::Resident,
    machine::Machine,
    model::{Model, ModelPurpose, ModelRef, find_models},
    server::{ServerId, ServerKind},
    snapshot::Snapshot,
};

/// More sets than this nobody reads.
const MOST_SETS: usize = 200;

pub(super) struct Asked {
    pub models: Vec<String>,
    pub server: Option<ServerId>,
    pub context: Option<u64>,
    pub parallel: Option<u32>,
    pub kv: Option<String>,
    pub machine: Option<Machine>,
}

impl Inner {
    pub(super) async fn fit(&self, asked: Asked) -> Result<FitReport, ApiError> {
        if asked.models.is_empty() || asked.models.len() > 64 {
            return Err(ApiError::new(ErrorCode::InvalidCall, "Name 1 to 64 models."));
        }
        let snapshot = self.hub.now();
        let here = asked.machine.is_none();
        let machine = match &asked.machine {
            Some(machine) => machine.clone(),
            None => this_machine().await,
        };
        let mut named = Vec::new();
        for name in &asked.models {
            named.push(self.named(&snapshot, name, asked.server.as_ref()).await?);
        }
        let wish = self.wish(&asked, named.first(), &snapshot, &machine)?;
        let on_gpu = machine.ceiling().on_gpu;
        let models: Vec<ModelRef> =
            named.iter().filter_map(|named| named.model.as_ref()).map(Model::reference).collect();
        let candidates: Vec<Candidate> = named
            .into_iter()
            .map(|Named { title, anatomy, model }| {
                let key =
                    model.filter(|_| here).and_then(|model| LoadKey::of(&snapshot, &model, wish, on_gpu));
                let correction = key.and_then(|key| self.bookkeeper.correction(&key));
                Candidate { name: title, anatomy, correction }
            })
            .collect();
        let room = match here {
            true => room_now(&snapshot, machine, &models),
            false => Room { machine, used_bytes: 0, residents: Vec::new() },
        };
        Ok(report(&candidates, &wish, &room))
    }

    /// What would be in memory is counted as free: a set may hold it or not.
    pub(super) async fn fit_together(&self, asked: Asked) -> Result<Together, ApiError> {
        let snapshot = self.hub.now();
        let machine = match &asked.machine {
            Some(machine) => machine.clone(),
            None => this_machine().await,
        };
        let wish = self.wish(&asked, None, &snapshot, &machine)?;
        let room = match asked.machine {
            Some(machine) => Room { machine, used_bytes: 0, residents: Vec::new() },
            None => room_now(&snapshot, machine, &[]),
        };
        let place = if room.machine.ceiling().on_gpu { Place::Gpu } else { Place::Cpu };
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for view in snapshot.models.iter().filter(|view| view.model.purpose == ModelPurpose::Llm) {
            let model = &view.model;
            match self.supervisors.get(&model.server)?.anatomy(model).await {
                Ok(anatomy) => {
                    let key = LoadKey::of(&snapshot, model, wish, place == Place::Gpu);
                    let correction = key.and_then(|key| self.bookkeeper.correction(&key));
                    let bytes = corrected(estimate(&anatomy, &wish, place), correction).total_bytes();
                    known.push((model.reference().id(), bytes));
                }
                Err(error) => unknown.push(format!("{}: {}", model.reference().id(), error.message)),
            }
        }
        let freed: u64 = room.residents.iter().map(|resident| resident.bytes).sum();
        let free = room.free_bytes().saturating_add(freed).min(room.most_bytes());
        Ok(Together { unknown, ..together(&known, free, MOST_SETS) })
    }

    /// What was asked for; for the rest, as the server of the first model loads it.
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
        let context_max = first.and_then(|named| named.anatomy.context_max);
        let usual = usual(&self.started_with, kind, name, context_max, &machine.ceiling());
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
        match find_models(&models, name, server)[..] {
            [] => typical(name)
                .map(|anatomy| Named { title: name.to_owned(), anatomy, model: None })
                .ok_or_else(|| unknown_model(name)),
            [model] => {
                let anatomy = self.supervisors.get(&model.server)?.anatomy(model).await?;
                Ok(Named { title: model.title.clone(), anatomy, model: Some(model.clone()) })
            }
            _ => Err(ApiError::new(ErrorCode::Ambiguous, format!("{name} fits several models."))
                .hint("Name one of them in full, or add --server.")),
        }
    }
}

/// A model in question: one of a server's, or a typical one of that size.
struct Named {
    title: String,
    anatomy: Anatomy,
    model: Option<Model>,
}

/// This machine with what runs on it now. Whoever is asked for already holds what it needs.
fn room_now(snapshot: &Snapshot, machine: Machine, asked: &[ModelRef]) -> Room {
    let Some(ledger) = &snapshot.ledger else {
        return Room { machine, used_bytes: 0, residents: Vec::new() };
    };
    let (own, residents): (Vec<Resident>, Vec<Resident>) =
        ledger.residents().into_iter().partition(|resident| asked.contains(&resident.model));
    let held: u64 = own.iter().map(|resident| resident.bytes).sum();
    Room { machine, used_bytes: ledger.in_use_bytes.saturating_sub(held), residents }
}
