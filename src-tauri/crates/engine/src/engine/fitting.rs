//! Gathers what the question "does it fit?" needs: builds of models, the machine, and what is in memory now.

use super::Inner;
use crate::{hardware::this_machine, model_files::read_anatomy};
use pilothouse_domain::{
    anatomy::Anatomy,
    error::{ApiError, ErrorCode},
    estimate::{Place, Wish, estimate},
    fit::{Candidate, FitReport, Resident, Room, Together, report, together, typical, unknown_model},
    machine::Machine,
    model::{Model, ModelPurpose, find_models},
    server::ServerId,
    snapshot::Snapshot,
};
use std::path::PathBuf;

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
        let wish = self.wish(&asked)?;
        let snapshot = self.hub.now();
        let mut candidates = Vec::new();
        for name in &asked.models {
            candidates.push(self.candidate(&snapshot, name, asked.server.as_ref()).await?);
        }
        let room = match asked.machine {
            Some(machine) => Room { machine, used_bytes: 0, residents: Vec::new() },
            None => room_now(&snapshot, this_machine().await),
        };
        Ok(report(&candidates, &wish, &room))
    }

    /// What would be in memory is counted as free: a set may hold it or not.
    pub(super) async fn fit_together(&self, asked: Asked) -> Result<Together, ApiError> {
        let wish = self.wish(&asked)?;
        let snapshot = self.hub.now();
        let room = match asked.machine {
            Some(machine) => Room { machine, used_bytes: 0, residents: Vec::new() },
            None => room_now(&snapshot, this_machine().await),
        };
        let place = if room.machine.ceiling().on_gpu { Place::Gpu } else { Place::Cpu };
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for view in snapshot.models.iter().filter(|view| view.model.purpose == ModelPurpose::Llm) {
            let model = &view.model;
            let file = self.supervisors.get(&model.server)?.model_file(&model.name).await;
            match read(model, file).await {
                Ok(anatomy) => {
                    known.push((model.reference().id(), estimate(&anatomy, &wish, place).total_bytes()));
                }
                Err(error) => unknown.push(format!("{}: {}", model.reference().id(), error.message)),
            }
        }
        let freed: u64 = room.residents.iter().map(|resident| resident.bytes).sum();
        let free = room.free_bytes().saturating_add(freed).min(room.most_bytes());
        Ok(Together { unknown, ..together(&known, free, MOST_SETS) })
    }

    fn wish(&self, asked: &Asked) -> Result<Wish, ApiError> {
        let usual =
            self.settings.read().map_or(4096, |settings| settings.servers.llama_server.context.into());
        Wish::checked(asked.context.unwrap_or(usual), asked.parallel, asked.kv.as_deref())
    }

    async fn candidate(
        &self,
        snapshot: &Snapshot,
        name: &str,
        server: Option<&ServerId>,
    ) -> Result<Candidate, ApiError> {
        let models: Vec<Model> = snapshot.models.iter().map(|view| view.model.clone()).collect();
        match find_models(&models, name, server)[..] {
            [] => typical(name)
                .map(|anatomy| Candidate { name: name.to_owned(), anatomy, correction: None })
                .ok_or_else(|| unknown_model(name)),
            [model] => {
                let file = self.supervisors.get(&model.server)?.model_file(&model.name).await;
                let anatomy = read(model, file).await?;
                Ok(Candidate { name: model.title.clone(), anatomy, correction: None })
            }
            _ => Err(ApiError::new(ErrorCode::Ambiguous, format!("{name} fits several models."))
                .hint("Name one of them in full, or add --server.")),
        }
    }
}

async fn read(model: &Model, file: Option<PathBuf>) -> Result<Anatomy, ApiError> {
    let Some(file) = file else {
        let text = format!("The file of {} cannot be read here, so nothing can be reckoned.", model.title);
        return Err(ApiError::new(ErrorCode::Unsupported, text)
            .hint("That works for the models of llama-server and of an Ollama whose folder you may read."));
    };
    let shown = file.display().to_string();
    let read = tokio::task::spawn_blocking(move || std::fs::File::open(&file).and_then(read_anatomy)).await;
    read.map_err(|error| ApiError::internal(format!("Reading {shown} ended: {error}.")))?.map_err(|error| {
        ApiError::new(ErrorCode::Unsupported, format!("{shown} is not understood: {error}."))
    })
}

/// This machine with what runs on it now.
fn room_now(snapshot: &Snapshot, machine: Machine) -> Room {
    let residents: Vec<Resident> = snapshot
        .instances
        .iter()
        .filter_map(|instance| {
            let usage = || {
                let gauges = snapshot.gauges.as_ref()?;
                gauges.servers.iter().find(|usage| usage.id == instance.server)?.memory_bytes
            };
            let alone =
                snapshot.instances.iter().filter(|other| other.server == instance.server).count() == 1;
            // A server with a single instance is as large as that; of several nobody knows the parts.
            let bytes = instance.memory_bytes.or_else(|| usage().filter(|_| alone))?;
            Some(Resident { title: snapshot.model_title(&instance.server, &instance.model), bytes })
        })
        .collect();
    let in_use = snapshot.gauges.as_ref().and_then(|gauges| match machine.ceiling().on_gpu {
        true => gauges.gpus.iter().max_by_key(|gpu| gpu.memory_total_bytes)?.memory_used_bytes,
        false => gauges.memory_used_bytes,
    });
    let used_bytes = in_use.unwrap_or_else(|| residents.iter().map(|resident| resident.bytes).sum());
    Room { machine, used_bytes, residents }
}
