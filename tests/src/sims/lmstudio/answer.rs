//! Answers as the real server writes them: pretty lists, compact errors, the headers of Express.

use super::text::fingerprint;
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};
use std::io;

/// JSON with two blanks per level.
pub fn pretty(status: StatusCode, body: &Value) -> Response {
    json_text(status, format!("{body:#}"))
}

/// JSON on one line.
pub fn compact(status: StatusCode, body: &Value) -> Response {
    json_text(status, body.to_string())
}

fn json_text(status: StatusCode, text: String) -> Response {
    let tag = format!("W/\"{:x}-{:x}\"", text.len(), fingerprint(text.as_bytes()));
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// Server-sent events; each item is one whole event. `cut_after`: the connection breaks after so many.
pub fn events(items: impl Stream<Item = String> + Send + 'static, cut_after: Option<usize>) -> Response {
    let items = items.enumerate().map(move |(index, item)| match cut_after {
        Some(most) if index >= most => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
        _ => Ok(Bytes::from(item)),
    });
    let mut response = Response::new(Body::from_stream(items));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The error object of `/api/v1`.
#[derive(Debug, Clone, PartialEq)]
pub struct V1Error {
    pub status: u16,
    pub kind: &'static str,
    pub message: String,
    pub code: Option<&'static str>,
    pub param: Option<&'static str>,
}

impl V1Error {
    pub fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), code: None, param: None }
    }

    pub fn missing(param: &'static str) -> Self {
        let (code, param_name) = (Some("missing_required_parameter"), Some(param));
        let message = format!("\"{param}\" is required");
        Self { code, param: param_name, ..Self::new(400, "invalid_request", message) }
    }

    pub fn invalid_json() -> Self {
        let message = "Invalid body: failed to parse JSON value. Please ensure the body is valid JSON.";
        Self { code: Some("invalid_json"), ..Self::new(400, "invalid_request", message) }
    }

    /// The inner object.
    pub fn object(&self) -> Value {
        let mut object = json!({ "type": self.kind, "message": self.message });
        for (name, value) in [("code", self.code), ("param", self.param)] {
            if let Some(value) = value {
                object[name] = json!(value);
            }
        }
        object
    }

    pub fn response(&self) -> Response {
        compact(status(self.status), &json!({ "error": self.object() }))
    }
}

/// The error object of `/v1` and `/api/v0`.
pub fn openai_error(code: u16, message: &str, param: &str, error_code: Option<&str>) -> Response {
    let error =
        json!({ "message": message, "type": "invalid_request_error", "param": param, "code": error_code });
    compact(status(code), &json!({ "error": error }))
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn unexpected(request: &Request) -> String {
    format!("Unexpected endpoint or method. ({} {})", request.method(), request.uri().path())
}

/// Whatever is not there is answered with 200, but for `/api/v1`, which 0.4 answers with 404.
pub fn unknown_route(request: &Request, has_v1: bool) -> Response {
    if has_v1 && request.uri().path().starts_with("/api/v1/") {
        return V1Error::new(404, "invalid_request", unexpected(request)).response();
    }
    compact(StatusCode::OK, &json!({ "error": unexpected(request) }))
}

/// The headers that every answer carries.
pub async fn express_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert("x-powered-by", HeaderValue::from_static("Express"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
    headers.insert("keep-alive", HeaderValue::from_static("timeout=5"));
    response
}

/// The body as a JSON object. `None`: it is none.
pub fn object(body: &Bytes) -> Option<Value> {
    serde_json::from_slice::<Value>(body).ok().filter(Value::is_object)
}

/// The text at `name`, unless it is absent or empty.
pub fn text<'a>(body: &'a Value, name: &str) -> Option<&'a str> {
    body[name].as_str().filter(|text| !text.is_empty())
}
