//! The internal listener. The real one speaks a WebSocket protocol to `lms`; here `fake-lms` asks under `/sim` in plain
//! HTTP, which no other program may rely on.

use super::{
    answer,
    options::Faults,
    public::greeting,
    rows,
    service::{LoadFailure, Service},
    state::{LoadAsk, Origin},
};
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};

pub fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/lmstudio-greeting", get(greeting))
        .route("/lms-status", get(status))
        .route("/sim/info", get(info))
        .route("/sim/models", get(models))
        .route("/sim/instances", get(instances))
        .route("/sim/server/start", post(start_server))
        .route("/sim/server/stop", post(stop_server))
        .route("/sim/load", post(load))
        .route("/sim/unload", post(unload))
        .route("/sim/faults", post(faults))
        .route("/sim/shutdown", post(shutdown))
        .layer(middleware::from_fn(answer::express_headers))
        .with_state(service)
}

/// What `daemon up --json` tells.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    pub pid: u32,
    pub is_daemon: bool,
    pub version: String,
}

/// What `lms server start` asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StartServer {
    pub port: u16,
    pub bind: String,
    pub cors: bool,
}

/// The port of the public server; `None`: it is off.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PublicPort {
    pub port: Option<u16>,
}

/// What `lms load` asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Load {
    pub key: String,
    pub context: Option<u64>,
    pub identifier: Option<String>,
    pub ttl_s: Option<u64>,
    pub parallel: Option<u32>,
}

/// One line of the answer to a load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadLine {
    Progress(f64),
    Loaded { id: String, seconds: f64 },
    Failed { not_found: bool, text: String },
}

/// The instance that goes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Unload {
    pub identifier: String,
}

async fn status(State(service): State<Arc<Service>>) -> Response {
    let body =
        json!({ "package": service.options.profile.package(), "version": service.options.told_version() });
    answer::compact(StatusCode::OK, &body)
}

async fn info(State(service): State<Arc<Service>>) -> Json<Info> {
    let is_daemon = !service.options.run_as_service;
    let version = service.options.told_version().to_owned();
    Json(Info { pid: std::process::id(), is_daemon, version })
}

async fn models(State(service): State<Arc<Service>>) -> Response {
    answer::compact(StatusCode::OK, &service.look(rows::models_cli))
}

async fn instances(State(service): State<Arc<Service>>) -> Response {
    answer::compact(StatusCode::OK, &service.look(rows::instances_cli))
}

async fn start_server(State(service): State<Arc<Service>>, Json(wish): Json<StartServer>) -> Response {
    match service.start_public(wish.port, &wish.bind, wish.cors).await {
        Ok(port) => Json(PublicPort { port: Some(port) }).into_response(),
        Err(error) => (StatusCode::CONFLICT, error.to_string()).into_response(),
    }
}

async fn stop_server(State(service): State<Arc<Service>>) -> Json<PublicPort> {
    Json(PublicPort { port: service.stop_public().await })
}

/// Lines of JSON until the load ends. Closing the connection cancels the load, as SIGINT does with `lms load`.
async fn load(State(service): State<Arc<Service>>, Json(wish): Json<Load>) -> Response {
    let ask = LoadAsk {
        context: wish.context,
        identifier: wish.identifier,
        ttl_ms: wish.ttl_s.map(|seconds| seconds.saturating_mul(1000)),
        parallel: wish.parallel,
        ..LoadAsk::new(wish.key, Origin::Cli)
    };
    let (progress, steps) = mpsc::unbounded_channel();
    let steps = UnboundedReceiverStream::new(steps).map(LoadLine::Progress);
    let end = futures_util::stream::once(async move {
        // The sender goes with this future, which ends the steps.
        let progress = progress;
        match service.load(&ask, Some(&progress)).await {
            Ok(loaded) => LoadLine::Loaded { id: loaded.id, seconds: loaded.seconds },
            Err(failure) => LoadLine::Failed {
                not_found: matches!(failure, LoadFailure::NotDownloaded(_)),
                text: failure.text(),
            },
        }
    });
    let lines = futures_util::stream::select(steps, end);
    answer::events(lines.map(|line| format!("{}\n", json!(line))), None)
}

async fn unload(State(service): State<Arc<Service>>, Json(wish): Json<Unload>) -> StatusCode {
    if service.unload(&wish.identifier) { StatusCode::OK } else { StatusCode::NOT_FOUND }
}

async fn faults(State(service): State<Arc<Service>>, Json(faults): Json<Faults>) -> StatusCode {
    service.set_faults(faults);
    StatusCode::OK
}

async fn shutdown(State(service): State<Arc<Service>>) -> StatusCode {
    // The answer must be out before the connections are cut.
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        service.shutdown.cancel();
    });
    StatusCode::ACCEPTED
}
