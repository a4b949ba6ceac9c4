use super::{
    asking::Asking,
    embedding::embed,
    wire::{ModelList, ModelRow},
};
use crate::{
    GenerateRequest, GenerateStream, Health, LoadProgress, LoadRequest, ServerClient,
    http::{LIST_LIMIT, ServerHttp},
    rows::Oddities,
};
use async_trait::async_trait;
use pilothouse_domain::{
    endpoint::Endpoint,
    error::{ApiError, ErrorCode},
    model::{Expiry, Instance, LoadSettings, Model, ModelPurpose},
    server::ServerId,
};
use std::time::Duration;

/// A network in between makes answers later than on the same machine.
const HEALTH_LIMIT: Duration = Duration::from_secs(5);

pub(super) struct OpenAiClient {
    http: ServerHttp,
    server: ServerId,
    title: String,
    asking: Asking,
    oddities: Oddities,
}

impl OpenAiClient {
    /// `key_unread`: why there may be a key that could not be read.
    pub fn new(endpoint: &Endpoint, server: ServerId, title: &str, key_unread: Option<String>) -> Self {
        Self {
            http: ServerHttp::new(endpoint, title).keyed_by(&server).key_unread(key_unread),
            server,
            title: title.to_owned(),
            asking: Asking::default(),
            oddities: Oddities::default(),
        }
    }

    fn model(&self, row: ModelRow) -> Model {
        // The list does not say what a model is for; its name mostly does. A wrong guess is found out by the proof.
        let title = row.id.rsplit('/').next().unwrap_or(&row.id).to_owned();
        let embeds = title.to_lowercase().contains("embed");
        Model {
            server: self.server.clone(),
            title,
            purpose: if embeds { ModelPurpose::Embedding } else { ModelPurpose::Llm },
            format: None,
            quantization: None,
            parameters: None,
            size_bytes: row.meta.as_ref().and_then(|meta| meta.size),
            context_max: row.max_model_len.or(row.meta.as_ref().and_then(|meta| meta.n_ctx_train)),
            damaged: None,
            name: row.id,
        }
    }
}

#[async_trait]
impl ServerClient for OpenAiClient {
    /// The list of models is the one question that every server of the kind answers, and it checks the key as well.
    async fn health(&self) -> Result<Health, ApiError> {
        self.http.get::<ModelList>("/models", HEALTH_LIMIT).await.map(|_| Health { version: None })
    }

    async fn models(&self) -> Result<Vec<Model>, ApiError> {
        let list: ModelList = self.http.get("/models", LIST_LIMIT).await?;
        let rows = self.oddities.sorted("models", list.data, |row| &row.id);
        Ok(rows.into_iter().map(|row| self.model(row)).collect())
    }

    /// What is in its memory is not told.
    async fn instances(&self) -> Result<Vec<Instance>, ApiError> {
        Ok(Vec::new())
    }

    fn cannot_load_with(&self, with: &LoadSettings) -> Option<ApiError> {
        if *with == LoadSettings::default() {
            return None;
        }
        let text = format!("{} decides itself with what it loads a model.", self.title);
        Some(ApiError::new(ErrorCode::Unsupported, text).hint("Leave it out, or set it where it runs."))
    }

    /// Loading is the other side's own matter; only that it has the model is made sure.
    async fn load(&self, request: &LoadRequest, _progress: LoadProgress) -> Result<Instance, ApiError> {
        if let Some(error) = self.cannot_load_with(&request.with) {
            return Err(error);
        }
        if !self.models().await?.iter().any(|model| model.name == request.model) {
            return Err(ApiError::not_found(format!("{} has no model {}.", self.title, request.model)));
        }
        Ok(Instance {
            id: request.model.clone(),
            server: self.server.clone(),
            model: request.model.clone(),
            memory_bytes: None,
            gpu_memory_bytes: None,
            context: None,
            expiry: Expiry::NotReported,
            pid: None,
            port: None,
            slots: None,
            orphaned_answers: None,
        })
    }

    async fn unload(&self, _instance: &str) -> Result<(), ApiError> {
        Ok(())
    }

    async fn generate(&self, request: &GenerateRequest) -> Result<GenerateStream, ApiError> {
        self.asking.generate(&self.http, "", &self.title, request).await
    }

    async fn embed(&self, instance: &str, text: &str) -> Result<Vec<f32>, ApiError> {
        embed(&self.http, "", &self.title, instance, text).await
    }

    fn oddities(&self) -> Vec<String> {
        self.oddities.untold()
    }

    fn openai(&self) -> Endpoint {
        self.http.endpoint().clone()
    }
}
