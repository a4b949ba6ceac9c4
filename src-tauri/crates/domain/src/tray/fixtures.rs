//! A snapshot for the tests of what reads one.

use crate::{
    Timestamp,
    fit::{self, Need},
    lifecycle::ServerState,
    model::{Expiry, Instance, Model, ModelPurpose},
    server::{Abilities, Ownership, ServerKind},
    snapshot::{EngineView, ModelView, ServerView, Snapshot},
    standing::{ServerStanding, Standing},
    switch::Active,
};

/// Two servers of ours that are ready, each with so many models; the first one of Ollama is active and in memory. Its standings
/// are not filled in.
pub fn snapshot(models_per_server: usize) -> Snapshot {
    let mut snapshot = Snapshot::empty(EngineView::default(), Timestamp::UNIX_EPOCH);
    for kind in [ServerKind::LlamaServer, ServerKind::Ollama] {
        snapshot.servers.push(ServerView {
            id: kind.as_str().into(),
            kind,
            title: kind.title().into(),
            ownership: Some(Ownership::Ours),
            state: ServerState::Ready,
            reason: None,
            hint: None,
            endpoint: None,
            version: None,
            pid: None,
            program: None,
            backend: None,
            keeper: None,
            restarts: 0,
            abilities: Abilities { start: true, stop: true, ..Abilities::default() },
            since: Timestamp::UNIX_EPOCH,
            standing: ServerStanding::default(),
        });
        for number in 0..models_per_server {
            let model = Model {
                server: kind.as_str().into(),
                name: format!("model-{number}"),
                title: format!("Model {number}"),
                purpose: ModelPurpose::Llm,
                format: None,
                quantization: None,
                parameters: None,
                size_bytes: None,
                context_max: None,
                damaged: None,
            };
            let active = kind == ServerKind::Ollama && number == 0;
            let fit = fit::judge(Need::AtLeast(None, "its size is not told"), None, None);
            snapshot.models.push(ModelView {
                id: model.reference().id(),
                model,
                loaded: active,
                active,
                fits: fit.as_option(),
                fits_reason: fit.reason().into(),
                needed_bytes: None,
                off_card: false,
                standing: Standing::default(),
            });
        }
    }
    snapshot.active =
        Some(Active { server: "ollama".into(), model: "model-0".into(), instance: "model-0".into() });
    snapshot.instances.push(instance("ollama", "model-0"));
    snapshot
}

/// A copy in memory that tells nothing of itself.
pub fn instance(server: &str, model: &str) -> Instance {
    Instance {
        id: model.into(),
        server: server.into(),
        model: model.into(),
        memory_bytes: None,
        gpu_memory_bytes: None,
        context: None,
        expiry: Expiry::Never,
        pid: None,
        port: None,
        slots: None,
        orphaned_answers: None,
    }
}
