//! Refusals in the shape that OpenAI clients understand.

use super::path;
use crate::door::Guard;
use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    middleware::Next,
    response::{IntoResponse, Response},
};
use pilothouse_leases::Refused;
use serde_json::json;

/// Why a request is not forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    /// The field that is wrong.
    pub param: Option<&'static str>,
    pub retry_after_s: Option<u32>,
}

impl Refusal {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), param: None, retry_after_s: None }
    }

    pub fn about(mut self, param: &'static str) -> Self {
        self.param = Some(param);
        self
    }

    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let (status, code, seconds) = match &refused {
            Refused::NoActiveModel => (StatusCode::SERVICE_UNAVAILABLE, "no_active_model", 10),
            Refused::Down(_) => (StatusCode::SERVICE_UNAVAILABLE, "server_down", 5),
            Refused::Cannot(_) => (StatusCode::SERVICE_UNAVAILABLE, "active_model_unavailable", 10),
            Refused::Leaving(_) | Refused::Switching(_) => (StatusCode::SERVICE_UNAVAILABLE, "switching", 5),
            Refused::QueueFull(_) => (StatusCode::SERVICE_UNAVAILABLE, "queue_full", 5),
            Refused::NoTurn(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy", 10),
            Refused::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "shutting_down", 10),
            Refused::NotLoaded(_) => (StatusCode::NOT_FOUND, "model_not_loaded", 0),
            Refused::Unknown(_) => (StatusCode::NOT_FOUND, "model_not_found", 0),
        };
        let refusal = Self::new(status, code, refused.to_string());
        match status {
            StatusCode::NOT_FOUND => refusal.about("model"),
            _ => refusal.retry_after(seconds),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let kind = if self.status.is_server_error() { "server_error" } else { "invalid_request_error" };
        let error = json!({ "message": self.message, "type": kind, "param": self.param, "code": self.code });
        let mut response = (self.status, Json(json!({ "error": error }))).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

pub(super) async fn no_such_path(request: Request) -> Refusal {
    unknown_path(request.method().as_str(), request.uri().path())
}

/// A path that no dialect names.
pub(super) fn unknown_path(method: &str, path: &str) -> Refusal {
    let text = format!(
        "There is no {method} {} here; the API begins at /v1, with chat/completions, embeddings, messages and others.",
        path::shown(path)
    );
    Refusal::new(StatusCode::NOT_FOUND, "unknown_path", text)
}

/// A path that is there for another method.
pub(super) async fn wrong_method(request: Request) -> Refusal {
    let text = format!("{} is no method of {} here.", request.method(), path::shown(request.uri().path()));
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", text)
}

/// Only programs on this machine: web pages of other origins and foreign host names are turned away.
pub(super) async fn refuse_strangers(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(reason) => Refusal::new(StatusCode::FORBIDDEN, "origin_refused", reason).into_response(),
    }
}
