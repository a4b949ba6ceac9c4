//! Which model a name means.

use super::{ResidencyWiring, Wanted};
use crate::{
    actors::{supervisor::SupervisorHandle, supervisors::Supervisors},
    hub::Hub,
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{Model, ModelPurpose, find_model, find_models},
    server::ServerId,
};

/// The model that a name means, as servers list it now, which can become active. Disturbs nothing: servers are asked for their lists
/// once more before a name counts as unknown. Errors: not_found, ambiguous, unsupported.
pub async fn resolve(
    hub: &Hub,
    supervisors: &Supervisors,
    name: &str,
    server: Option<&ServerId>,
) -> Result<Model, ApiError> {
    let listed = || -> Vec<Model> { hub.now().models.iter().map(|view| view.model.clone()).collect() };
    if let Some(server) = server {
        supervisors.get(server)?;
    }
    let mut models = listed();
    if find_models(&models, name, server).is_empty() {
        let supervisors = supervisors.all();
        futures_util::future::join_all(supervisors.iter().map(SupervisorHandle::refresh)).await;
        models = listed();
    }
    match find_model(&models, name, server)? {
        model if model.purpose == ModelPurpose::Llm => Ok(model.clone()),
        model => Err(model.damage().unwrap_or_else(|| {
            let text =
                format!("{} cannot answer prompts, so it cannot become the active model.", model.title);
            ApiError::new(ErrorCode::Unsupported, text)
        })),
    }
}

impl ResidencyWiring {
    pub(super) async fn resolve(&self, wanted: &Wanted) -> Result<Model, ApiError> {
        resolve(&self.hub, &self.supervisors, &wanted.model, wanted.server.as_ref()).await
    }
}
