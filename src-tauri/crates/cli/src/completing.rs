//! What a shell offers behind a verb: the models and servers of the running engine, and the keys of the settings. A shell waits for this
//! at each Tab, so it has a bound; without an engine no models and servers are offered.

use crate::session::Session;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use pilothouse_domain::{
    connect::apps as apps_known,
    model::ModelPurpose,
    scene::{FREE_MEMORY, RESTORE},
    settings::keys::setting_keys,
    snapshot::Snapshot,
};
use std::{sync::Arc, time::Duration};

const LIMIT: Duration = Duration::from_millis(500);

/// Models that can be made active, each by its own name; by `SERVER/NAME` where two servers have it.
pub fn models() -> ArgValueCandidates {
    ArgValueCandidates::new(|| now().map(|snapshot| names(&snapshot)).unwrap_or_default())
}

pub fn servers() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let snapshot = now();
        let candidate = |server: &pilothouse_domain::snapshot::ServerView| {
            CompletionCandidate::new(server.id.as_str()).help(Some(server.title.clone().into()))
        };
        snapshot.map(|snapshot| snapshot.servers.iter().map(candidate).collect()).unwrap_or_default()
    })
}

/// Scenes, the built-in ones included.
pub fn scenes() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let snapshot = now();
        let own = snapshot.iter().flat_map(|snapshot| snapshot.scenes.iter().map(|scene| scene.name.clone()));
        own.chain([FREE_MEMORY.to_owned(), RESTORE.to_owned()]).map(CompletionCandidate::new).collect()
    })
}

/// Apps that can be connected.
pub fn apps() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        apps_known().iter().map(|app| CompletionCandidate::new(app.id).help(Some(app.title.into()))).collect()
    })
}

/// Keys of the settings, each with its title.
pub fn settings() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let keys = setting_keys().into_iter();
        keys.map(|key| CompletionCandidate::new(key.key).help(Some(key.title.into()))).collect()
    })
}

fn names(snapshot: &Snapshot) -> Vec<CompletionCandidate> {
    let usable = || snapshot.models.iter().filter(|view| view.model.purpose == ModelPurpose::Llm);
    usable()
        .map(|view| {
            let twice = usable().filter(|other| other.model.name == view.model.name).count() > 1;
            let name = if twice { view.id.clone() } else { view.model.name.clone() };
            let server = snapshot.server_title(&view.model.server);
            CompletionCandidate::new(name).help(Some(format!("{} on {server}", view.model.title).into()))
        })
        .collect()
}

fn now() -> Option<Arc<Snapshot>> {
    let session = Session::connect().ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async { tokio::time::timeout(LIMIT, session.snapshot()).await.ok()?.ok() })
}
