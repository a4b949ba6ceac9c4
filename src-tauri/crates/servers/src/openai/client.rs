use super::{
    answer::OpenAiAnswer,
    wire::{Chat, Completion, Message, ModelList, ModelRow, StreamOptions},
};
use crate::{
    GenerateRequest, GenerateStream, Health, LoadProgress, LoadRequest, ServerClient,
    http::{LIST_LIMIT, ServerHttp},
};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use pilothouse_domain::{
    endpoint::Endpoint,
    error::{ApiError, ErrorCode},
    model::{Expiry, Instance, Model, ModelPurpose},
    server::ServerId,
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// A network in between makes answers later than on the same machine.
const HEALTH_LIMIT: Duration = Duration::from_secs(5);

pub(super) struct OpenAiClient {
    http: ServerHttp,
    server: ServerId,
    title: String,
    /// It has no plain completions, only chats; found out by asking.
    chats_only: AtomicBool,
}

impl OpenAiClient {
    /// `key_unread`: why there may be a key that could not be read.
    pub fn new(endpoint: &Endpoint, server: ServerId, title: &str, key_unread: Option<String>) -> Self {
        Self {
            http: ServerHttp::new(endpoint, title).keyed_by(&server).key_unread(key_unread),
            server,
            title: title.to_owned(),
            chats_only: AtomicBool::new(false),
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
        Ok(list.data.into_iter().map(|row| self.model(row)).collect())
    }

    /// What is in its memory is not told.
    async fn instances(&self) -> Result<Vec<Instance>, ApiError> {
        Ok(Vec::new())
    }

    /// Loading is the other side's own matter; only that it has the model is made sure.
    async fn load(&self, request: &LoadRequest, _progress: LoadProgress) -> Result<Instance, ApiError> {
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
        let (model, max_tokens) = (request.instance.as_str(), request.max_tokens);
        let options = || StreamOptions { include_usage: true };
        let mut lines = None;
        if request.raw && !self.chats_only.load(Ordering::Relaxed) {
            let body = Completion {
                model,
                prompt: &request.prompt,
                stream: true,
                stream_options: options(),
                temperature: 0.0,
                max_tokens,
            };
            match self.http.stream("/completions", &body).await {
                Ok(answer) => lines = Some(answer),
                // An unknown path, or a model that only chats: the chat will tell whether it is more than that.
                Err(error) if matches!(error.code, ErrorCode::NotFound | ErrorCode::ServerError) => {
                    tracing::info!(server = %self.server, %error, "no plain completions, asking by chat");
                }
                Err(error) => return Err(error),
            }
        }
        let lines = match lines {
            Some(lines) => lines,
            None => {
                let messages = [Message { role: "user", content: &request.prompt }];
                let body = Chat {
                    model,
                    messages,
                    stream: true,
                    stream_options: options(),
                    temperature: 0.0,
                    max_tokens,
                };
                let lines = self.http.stream("/chat/completions", &body).await?;
                self.chats_only.fetch_or(request.raw, Ordering::Relaxed);
                lines
            }
        };
        let mut answer = OpenAiAnswer::new(self.title.clone());
        Ok(lines.flat_map(move |line| stream::iter(line.and_then(|l| answer.event(&l)).transpose())).boxed())
    }

    fn openai(&self) -> Endpoint {
        self.http.endpoint().clone()
    }
}
