//! The memory of a server that is lent: what has to be put right again, and what became of it.

use super::late::LateLoad;
use pilothouse_domain::{
    error::ApiError,
    model::{Instance, LoadSettings, ModelRef},
    server::ServerId,
};
use std::collections::BTreeMap;

/// What has to be put right again.
pub(super) struct Borrowed {
    pub server: ServerId,
    /// What was in memory.
    pub before: Vec<Instance>,
    /// With what it was loaded, by model, where we had a say in it.
    pub with: BTreeMap<String, LoadSettings>,
    /// What was put in besides, by instance.
    pub loaded: Vec<String>,
    /// A load of this loan that its server goes on with.
    pub late: Option<LateLoad>,
    /// Requests for the active model wait.
    pub held: bool,
    /// What is loaded again is loaded as the settings say.
    pub ours: bool,
}

impl Borrowed {
    /// Whether a model was in memory before.
    pub fn had(&self, model: &ModelRef) -> bool {
        self.before.iter().any(|one| one.model == model.model)
    }
}

/// What became of it, for residency.
pub(super) struct PutRight {
    pub strays: Vec<ModelRef>,
    pub late: Option<LateLoad>,
    pub held: bool,
    pub server: ServerId,
    /// What is in memory now. Errors: what is missing of what was there, and why.
    pub now: Result<Vec<Instance>, ApiError>,
}
