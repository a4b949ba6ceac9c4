//! The public HTTP server.

use super::{
    answer, chat_v1, models_v1, openai, options::Profile, rows, service::Service, state, strange, v0,
};
use axum::{
    Router,
    extract::{Path, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// The token that the profile `auth` accepts.
pub const TOKEN: &str = "sk-lm-SIMULATE:SIMULATEDTOKEN000000";

const GREETING: &str = r#"{"lmstudio":true}"#;

pub fn router(service: Arc<Service>, cors: bool) -> Router {
    let mut router = Router::new()
        .route("/lmstudio-greeting", get(greeting))
        .route("/api/v0/models", get(list_v0))
        .route("/api/v0/models/{*id}", get(model_v0))
        .route("/api/v0/chat/completions", post(v0::chat))
        .route("/api/v0/completions", post(v0::completions))
        .route("/api/v0/embeddings", post(openai::embeddings))
        .route("/v1/models", get(list_openai))
        .route("/v1/models/{*id}", get(model_openai))
        .route("/v1/chat/completions", post(openai::chat))
        .route("/v1/completions", post(openai::completions))
        .route("/v1/embeddings", post(openai::embeddings));
    if service.options.profile.has_v1() {
        router = router
            .route("/api/v1/models", get(list_v1))
            .route("/api/v1/models/load", post(models_v1::load))
            .route("/api/v1/models/unload", post(models_v1::unload))
            .route("/api/v1/chat", post(chat_v1::chat));
    }
    let router = router.fallback(unknown).method_not_allowed_fallback(unknown);
    let guarded = router.layer(middleware::from_fn_with_state(service.clone(), check_token));
    let guarded = if cors { guarded.layer(middleware::from_fn(allow_origins)) } else { guarded };
    guarded.layer(middleware::from_fn(answer::express_headers)).with_state(service)
}

/// Exactly 17 bytes.
pub async fn greeting(State(service): State<Arc<Service>>) -> Response {
    tokio::time::sleep(Duration::from_millis(service.faults().greeting_delay_ms)).await;
    ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], GREETING).into_response()
}

async fn unknown(State(service): State<Arc<Service>>, request: Request) -> Response {
    answer::unknown_route(&request, service.options.profile.has_v1())
}

fn list(service: &Service, rows: fn(&state::State) -> Value) -> Value {
    let list = service.look(rows);
    if service.faults().strange { strange::later(list) } else { list }
}

async fn list_v1(State(service): State<Arc<Service>>) -> Response {
    answer::pretty(StatusCode::OK, &list(&service, rows::models_v1))
}

async fn list_v0(State(service): State<Arc<Service>>) -> Response {
    answer::pretty(StatusCode::OK, &list(&service, rows::models_v0))
}

async fn list_openai(State(service): State<Arc<Service>>) -> Response {
    answer::pretty(StatusCode::OK, &list(&service, rows::models_openai))
}

async fn model_v0(State(service): State<Arc<Service>>, Path(id): Path<String>) -> Response {
    let row = service.look(|state| rows::model_v0(state, &id));
    row.map_or_else(|| no_such(&id), |row| answer::pretty(StatusCode::OK, &row))
}

async fn model_openai(State(service): State<Arc<Service>>, Path(id): Path<String>) -> Response {
    let there = service.look(|state| state.model(&id).is_some() || state.instance(&id).is_some());
    let row = there.then(|| rows::model_openai(&id));
    row.map_or_else(|| no_such(&id), |row| answer::pretty(StatusCode::OK, &row))
}

fn no_such(id: &str) -> Response {
    let error = json!({ "error": format!("Model with identifier '{id}' not found") });
    answer::compact(StatusCode::NOT_FOUND, &error)
}

async fn check_token(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let gated = path.starts_with("/v1") || path.starts_with("/api");
    if service.options.profile != Profile::Auth || !gated {
        return next.run(request).await;
    }
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if given.and_then(|value| value.strip_prefix("Bearer ")) == Some(TOKEN) {
        return next.run(request).await;
    }
    let problem = if given.is_some() { "the one provided is not valid" } else { "none was provided" };
    let message = format!(
        "An LM Studio API token is required to make requests to this server, but {problem} using the Authorization \
         header using the 'Bearer' scheme. (simulated)"
    );
    let error = json!({ "type": "invalid_request", "code": "invalid_api_key", "message": message });
    answer::compact(StatusCode::UNAUTHORIZED, &json!({ "error": error }))
}

/// With CORS on, any web page may ask.
async fn allow_origins(request: Request, next: Next) -> Response {
    let mut response = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    let any = HeaderValue::from_static("*");
    let headers = response.headers_mut();
    for name in [
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        header::ACCESS_CONTROL_ALLOW_METHODS,
    ] {
        headers.insert(name, any.clone());
    }
    response
}
