//! Refusals in the shape that a client understands: OpenAI's, or Anthropic's where its API is asked for.

use super::path::{self, Dialect};
use crate::door::Guard;
use axum::{
    extract::{Request, State},
    http::{
        HeaderName, HeaderValue, Method, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
            ACCESS_CONTROL_REQUEST_METHOD, ALLOW, CONTENT_TYPE, RETRY_AFTER, VARY,
        },
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use pilothouse_dialects::{messages, ollama, responses};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    scene::ACTIVE,
};
use pilothouse_leases::Refused;
use serde_json::{Value, json};
use std::borrow::Cow;

/// Where Anthropic's SDKs look for the name of a request that they tell people.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
/// What the SDKs of OpenAI and Anthropic look at before the status (`_should_retry` in their base clients).
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Letters and digits, never the same again.
pub(super) fn new_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Why a request is not forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub status: StatusCode,
    pub code: Cow<'static, str>,
    pub message: String,
    /// The field that is wrong.
    pub param: Option<Cow<'static, str>>,
    pub retry_after_s: Option<u32>,
    /// It cannot get better soon: programs shall not try again by themselves.
    pub lasting: bool,
    /// A header that says what would do instead.
    pub instead: Option<Box<(HeaderName, &'static str)>>,
}

impl Refusal {
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let (code, message) = (code.into(), message.into());
        Self { status, code, message, param: None, retry_after_s: None, lasting: false, instead: None }
    }

    pub fn about(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    pub fn lasting(mut self) -> Self {
        self.lasting = true;
        self
    }

    pub fn with(mut self, header: HeaderName, value: &'static str) -> Self {
        self.instead = Some(Box::new((header, value)));
        self
    }

    /// The document that says it in OpenAI's words.
    pub fn document(&self) -> Value {
        let kind = match self.status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        let error = json!({ "message": self.message, "type": kind, "param": self.param, "code": self.code });
        json!({ "error": error })
    }

    /// The body that says it, and the status that goes with it.
    fn body(&self, dialect: Dialect, id: &str) -> (StatusCode, Vec<u8>) {
        match dialect {
            Dialect::Anthropic => {
                let refused = self.into();
                let status = StatusCode::from_u16(messages::status(&refused)).unwrap_or(self.status);
                (status, messages::error_document(&refused, id))
            }
            Dialect::Responses => (self.status, responses::error_document(&self.into())),
            Dialect::Ollama => (self.status, ollama::error_document(&self.into())),
            Dialect::OpenAi | Dialect::LlamaCpp => (self.status, self.document().to_string().into_bytes()),
        }
    }

    pub fn said_in(&self, dialect: Dialect) -> Response {
        let id = new_id();
        let (status, body) = self.body(dialect, &id);
        let mut response = (status, [(CONTENT_TYPE, "application/json")], body).into_response();
        if let (Dialect::Anthropic, Ok(id)) = (dialect, HeaderValue::from_str(&id)) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        if self.lasting {
            response.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        } else if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("true"));
        }
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some((name, value)) = self.instead.as_deref() {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// What a dialect refuses.
impl From<pilothouse_dialects::Refused> for Refusal {
    fn from(refused: pilothouse_dialects::Refused) -> Self {
        let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let refusal = Self::new(status, refused.code, refused.message);
        match refused.param {
            Some(param) => refusal.about(param),
            None => refusal,
        }
    }
}

impl From<&Refusal> for pilothouse_dialects::Refused {
    fn from(refusal: &Refusal) -> Self {
        Self {
            status: refusal.status.as_u16(),
            code: refusal.code.clone().into_owned(),
            message: refusal.message.clone(),
            param: refusal.param.clone().map(Cow::into_owned),
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let (status, code, seconds) = match &refused {
            Refused::NotLoadable { error, .. } => return Self::not_loadable(error, refused.to_string()),
            Refused::NoActiveModel => (StatusCode::SERVICE_UNAVAILABLE, "no_active_model", 10),
            Refused::Down { .. } => (StatusCode::SERVICE_UNAVAILABLE, "server_down", 5),
            Refused::Cannot { role, .. } if role == ACTIVE => {
                (StatusCode::SERVICE_UNAVAILABLE, "active_model_unavailable", 10)
            }
            Refused::Cannot { .. } => (StatusCode::SERVICE_UNAVAILABLE, "role_unavailable", 10),
            Refused::Leaving(_) | Refused::Switching(_) => (StatusCode::SERVICE_UNAVAILABLE, "switching", 5),
            Refused::QueueFull(_) => (StatusCode::SERVICE_UNAVAILABLE, "queue_full", 5),
            Refused::NoTurn(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy", 10),
            Refused::StillLoading(..) => (StatusCode::SERVICE_UNAVAILABLE, "model_loading", 10),
            Refused::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "shutting_down", 10),
            Refused::NotLoaded(_) => (StatusCode::NOT_FOUND, "model_not_loaded", 0),
            Refused::Unknown(_) => (StatusCode::NOT_FOUND, "model_not_found", 0),
            Refused::Dangling { .. } => (StatusCode::NOT_FOUND, "alias_without_model", 0),
        };
        let refusal = Self::new(status, code, refused.to_string());
        match status {
            StatusCode::NOT_FOUND => refusal.about("model"),
            _ => refusal.retry_after(seconds),
        }
    }
}

impl Refusal {
    /// A model that was asked for and could not be put into memory. What may pass by itself says when to ask again, all else
    /// that asking again is of no use.
    fn not_loadable(error: &ApiError, text: String) -> Self {
        let (code, passes) = match error.code {
            ErrorCode::DoesNotFit => ("does_not_fit", false),
            ErrorCode::Pinned => ("pinned", false),
            ErrorCode::Busy | ErrorCode::NotQuiet => ("busy", true),
            ErrorCode::Cancelled => ("switching", true),
            ErrorCode::TimedOut => ("model_loading", true),
            ErrorCode::Unreachable | ErrorCode::NotRunning | ErrorCode::ServerCrashed => {
                ("server_down", true)
            }
            _ => ("model_not_loadable", false),
        };
        let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, text).about("model");
        if passes || error.retry { refusal.retry_after(10) } else { refusal.lasting() }
    }
}

impl IntoResponse for Refusal {
    /// In OpenAI's words, until `in_the_clients_words` knows better.
    fn into_response(self) -> Response {
        let mut response = self.said_in(Dialect::OpenAi);
        response.extensions_mut().insert(self);
        response
    }
}

/// Where a route leads, but not by this method.
pub(super) async fn no_such_method(request: Request) -> Refusal {
    wrong_method(request.method(), request.uri().path())
}

/// A path that no dialect names.
pub(super) fn unknown_path(method: &str, path: &str) -> Refusal {
    if path::dialect_of(path::below(path)) == Dialect::Ollama {
        let text = format!(
            "There is no {method} {} here. Ollama's API has a port of its own: gateway.ollama_port in the settings.",
            path::shown(path)
        );
        return Refusal::new(StatusCode::NOT_FOUND, "unknown_path", text);
    }
    let text = format!(
        "There is no {method} {} here; the API begins at /v1, with chat/completions, embeddings, messages and others.",
        path::shown(path)
    );
    Refusal::new(StatusCode::NOT_FOUND, "unknown_path", text)
}

/// A path that is there for another method, or none at all.
pub(super) fn wrong_method(method: &Method, path: &str) -> Refusal {
    let Some(allowed) = allowed(path) else { return unknown_path(method.as_str(), path) };
    let text = format!("{method} is no method of {} here; it takes {allowed}.", path::shown(path));
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", text).with(ALLOW, allowed)
}

/// The methods of a path. `None`: no dialect names it.
fn allowed(path: &str) -> Option<&'static str> {
    let below = path::below(path);
    if matches!(below, "models" | "health") || below.strip_prefix("models/").is_some_and(|id| !id.is_empty())
    {
        return Some("GET, HEAD");
    }
    path::has_body(below).then_some("POST")
}

/// Only programs on this machine, and web pages of origins that the settings name: those may read the answers too. Others and
/// foreign host names are turned away.
pub(super) async fn refuse_strangers(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if let Err(reason) = guard.check(request.uri(), request.headers()) {
        return Refusal::new(StatusCode::FORBIDDEN, "origin_refused", reason).into_response();
    }
    let Some(page) = guard.foreign_page(request.headers()).cloned() else { return next.run(request).await };
    let is_preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let asked = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let mut response =
        if is_preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, page);
    headers.append(VARY, HeaderValue::from_static("origin"));
    if is_preflight {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        if let Some(asked) = asked {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked);
        }
    } else {
        let own: Vec<&str> =
            headers.keys().map(HeaderName::as_str).filter(|name| name.starts_with("x-pilothouse-")).collect();
        if let Ok(own) = HeaderValue::try_from(own.join(", ")) {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, own);
        }
    }
    response
}
