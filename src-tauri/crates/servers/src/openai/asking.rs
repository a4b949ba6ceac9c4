//! How a prompt is asked in OpenAI's form, with what a server may refuse of it left out.

use super::{
    answer::OpenAiAnswer,
    wire::{Chat, Completion, Message, StreamOptions},
};
use crate::{
    GenerateRequest, GenerateStream,
    http::{Line, ServerHttp},
    reading::events,
};
use futures_util::stream::BoxStream;
use pilothouse_domain::error::{ApiError, ErrorCode};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};

type Lines = BoxStream<'static, Result<Line, ApiError>>;

/// What one server takes; found out by asking, and kept.
#[derive(Debug, Default)]
pub struct Asking {
    /// It has no plain completions, only chats.
    chats_only: AtomicBool,
    /// It refuses `stream_options`: then it does not tell how many tokens it gave.
    refuses_options: AtomicBool,
    /// Each path has answered as it was asked: what fails there afterwards is a failure and says nothing of what it takes.
    completions_answered: AtomicBool,
    chats_answered: AtomicBool,
}

impl Asking {
    /// `base`: the path of the API at that server; `title`: its name in errors. Errors: as `ServerHttp::stream`.
    pub async fn generate(
        &self,
        http: &ServerHttp,
        base: &str,
        title: &str,
        request: &GenerateRequest,
    ) -> Result<GenerateStream, ApiError> {
        let lines = match self.plain(http, base, request).await? {
            Some(lines) => lines,
            None => self.chat(http, base, request).await?,
        };
        Ok(events(lines, OpenAiAnswer::new(title)))
    }

    /// The prompt as it is. `None`: it is not wanted so, or this server cannot.
    async fn plain(
        &self,
        http: &ServerHttp,
        base: &str,
        request: &GenerateRequest,
    ) -> Result<Option<Lines>, ApiError> {
        if !request.raw || self.chats_only.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let body = |stream_options| Completion {
            model: &request.instance,
            prompt: &request.prompt,
            stream: true,
            stream_options,
            temperature: 0.0,
            max_tokens: request.max_tokens,
        };
        let answered = &self.completions_answered;
        match self.asked(http, &format!("{base}/completions"), answered, body).await {
            Ok(lines) => Ok(Some(lines)),
            // An unknown path, or a model that only chats: the chat will tell whether it is more than that.
            Err(error)
                if matches!(error.code, ErrorCode::NotFound | ErrorCode::ServerError)
                    && !answered.load(Ordering::Relaxed) =>
            {
                tracing::info!(%error, "no plain completions, asking by chat");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn chat(
        &self,
        http: &ServerHttp,
        base: &str,
        request: &GenerateRequest,
    ) -> Result<Lines, ApiError> {
        let body = |stream_options| Chat {
            model: &request.instance,
            messages: [Message { role: "user", content: &request.prompt }],
            stream: true,
            stream_options,
            temperature: 0.0,
            max_tokens: request.max_tokens,
        };
        let answered = &self.chats_answered;
        let lines = self.asked(http, &format!("{base}/chat/completions"), answered, body).await?;
        self.chats_only.fetch_or(request.raw, Ordering::Relaxed);
        Ok(lines)
    }

    /// With the options, and without them when that is refused: what is said then of the reason differs too much to be read.
    async fn asked<B: Serialize>(
        &self,
        http: &ServerHttp,
        path: &str,
        answered: &AtomicBool,
        body: impl Fn(Option<StreamOptions>) -> B,
    ) -> Result<Lines, ApiError> {
        if !self.refuses_options.load(Ordering::Relaxed) {
            match http.stream(path, &body(Some(StreamOptions { include_usage: true }))).await {
                Ok(lines) => {
                    answered.store(true, Ordering::Relaxed);
                    return Ok(lines);
                }
                Err(error)
                    if error.code == ErrorCode::ServerError
                        && !error.retry
                        && !answered.load(Ordering::Relaxed) =>
                {
                    tracing::debug!(%error, path, "asking again without stream_options");
                }
                Err(error) => return Err(error),
            }
        }
        let lines = http.stream(path, &body(None)).await?;
        self.refuses_options.store(true, Ordering::Relaxed);
        answered.store(true, Ordering::Relaxed);
        Ok(lines)
    }
}
