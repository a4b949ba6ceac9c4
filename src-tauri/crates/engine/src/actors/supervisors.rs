//! The supervisors of all servers. Servers of other owners come and go while the engine runs.

use super::supervisor::SupervisorHandle;
use pilothouse_domain::{error::ApiError, server::ServerId};
use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock},
};

/// Cheap to clone; every clone is the same list.
#[derive(Clone, Default)]
pub struct Supervisors(Arc<RwLock<Vec<SupervisorHandle>>>);

impl Supervisors {
    /// Those of this moment, in the order in which servers are shown.
    pub fn all(&self) -> Vec<SupervisorHandle> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The ids of all.
    pub fn ids(&self) -> BTreeSet<ServerId> {
        self.all().into_iter().map(|supervisor| supervisor.id).collect()
    }

    /// Errors: not_found, with the servers that there are.
    pub fn get(&self, id: &ServerId) -> Result<SupervisorHandle, ApiError> {
        let all = self.all();
        all.iter().find(|supervisor| &supervisor.id == id).cloned().ok_or_else(|| {
            let ids: Vec<&str> = all.iter().map(|supervisor| supervisor.id.as_str()).collect();
            ApiError::not_found(format!("There is no server {id}."))
                .hint(format!("Servers: {}.", ids.join(", ")))
        })
    }

    pub fn add(&self, supervisor: SupervisorHandle) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(supervisor);
    }

    /// Takes it off the list; the caller ends it.
    pub fn remove(&self, id: &ServerId) -> Option<SupervisorHandle> {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let place = all.iter().position(|supervisor| &supervisor.id == id)?;
        Some(all.remove(place))
    }
}
