//! A Docker engine's socket that can be told which containers there are and how to misbehave. No container runs: what it tells
//! of memory and processor time is invented, and its version says that it is simulated.

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{net::UnixListener, task::JoinHandle};

/// The newest API that it speaks; a question for a newer one is refused as the real one does.
const API: (u32, u32) = (1, 43);
/// Each question about a single container comes this much later than the one before, by its own clock.
const STEP_NS: u64 = 10_000_000_000;
const CORES: u64 = 4;
/// Stands in the environment of every container; it must never be seen outside.
pub const SECRET: &str = "hunter2-of-the-simulator";

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    #[default]
    None,
    /// Connections are accepted and never answered.
    Silent,
    /// Everything is HTTP 200 and no JSON.
    Garbage,
    /// Answers never end: 100 MB and more.
    Flood,
    /// Everything is HTTP 500.
    AlwaysFails,
    /// The list is there, and each question about a single container fails.
    NoDetails,
}

/// One container.
#[derive(Debug, Clone)]
pub struct Container {
    pub name: String,
    /// As in the API: "running", "exited", "restarting", or a word of the future.
    pub state: String,
    /// As in the API; `None`: it has no health check.
    pub health: Option<String>,
    pub exit_code: i64,
    pub oom_killed: bool,
    pub restart_count: u32,
    /// "no", "always", "unless-stopped", "on-failure".
    pub restart_policy: String,
    /// Port on the machine and within the container.
    pub ports: Vec<(u16, u16)>,
    pub started_at: Timestamp,
    /// Of the last end, if it has ended.
    pub finished_at: Timestamp,
    /// With the file cache.
    pub memory_usage: u64,
    pub inactive_file: u64,
    /// 100 = one core.
    pub cpu_percent: u64,
}

impl Container {
    /// A healthy one.
    pub fn running(name: &str) -> Self {
        Self {
            name: name.into(),
            state: "running".into(),
            health: Some("healthy".into()),
            exit_code: 0,
            oom_killed: false,
            restart_count: 0,
            restart_policy: "no".into(),
            ports: vec![(8080, 80)],
            started_at: Timestamp::now() - SignedDuration::from_hours(3),
            finished_at: Timestamp::now() - SignedDuration::from_mins(5),
            memory_usage: 300_000_000,
            inactive_file: 100_000_000,
            cpu_percent: 50,
        }
    }

    pub fn unhealthy(name: &str) -> Self {
        Self { health: Some("unhealthy".into()), ..Self::running(name) }
    }

    pub fn exited(name: &str, exit_code: i64) -> Self {
        Self { state: "exited".into(), health: None, exit_code, ports: vec![], ..Self::running(name) }
    }

    pub fn restarting(name: &str, restart_count: u32) -> Self {
        let restart_policy = "always".into();
        Self { state: "restarting".into(), restart_count, restart_policy, ..Self::exited(name, 1) }
    }

    /// The same for the same name, as long as the real ones.
    fn id(&self) -> String {
        let hex: String = self.name.bytes().map(|byte| format!("{byte:02x}")).collect();
        format!("{hex:0<64}").chars().take(64).collect()
    }

    /// What `docker ps` shows.
    fn status(&self) -> String {
        match (self.state.as_str(), self.health.as_deref()) {
            ("running", Some("starting")) => "Up 3 seconds (health: starting)".into(),
            ("running", Some(health)) => format!("Up 3 hours ({health})"),
            ("running", None) => "Up 3 hours".into(),
            ("paused", _) => "Up 3 hours (Paused)".into(),
            ("restarting", _) => format!("Restarting ({}) 5 seconds ago", self.exit_code),
            ("exited", _) => format!("Exited ({}) 5 minutes ago", self.exit_code),
            ("created", _) => "Created".into(),
            ("dead", _) => "Dead".into(),
            (state, _) => state.into(),
        }
    }

    fn is_up(&self) -> bool {
        ["running", "paused"].contains(&self.state.as_str())
    }
}

struct Daemon {
    fault: Fault,
    containers: Vec<Container>,
    /// Questions about single containers so far.
    turns: u64,
    asked: Vec<String>,
}

type Shared = Arc<Mutex<Daemon>>;

fn with<T>(shared: &Shared, change: impl FnOnce(&mut Daemon) -> T) -> T {
    change(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A running simulator. Ends when dropped.
pub struct DockerSim {
    pub socket: PathBuf,
    shared: Shared,
    serving: JoinHandle<()>,
}

impl DockerSim {
    /// Listens at a path that is free.
    pub fn start(socket: &Path, containers: Vec<Container>, fault: Fault) -> std::io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let inner = Daemon { fault, containers, turns: 0, asked: Vec::new() };
        let shared = Arc::new(Mutex::new(inner));
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let serving = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(Self { socket: socket.to_owned(), shared, serving })
    }

    /// For `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    pub fn set(&self, containers: Vec<Container>) {
        with(&self.shared, |inner| inner.containers = containers);
    }

    pub fn set_fault(&self, fault: Fault) {
        with(&self.shared, |inner| inner.fault = fault);
    }

    /// Paths and queries of all questions so far.
    pub fn asked(&self) -> Vec<String> {
        with(&self.shared, |inner| inner.asked.clone())
    }
}

impl Drop for DockerSim {
    fn drop(&mut self) {
        self.serving.abort();
        let _ = std::fs::remove_file(&self.socket);
    }
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let uri = request.uri().clone();
    let fault = with(&shared, |inner| {
        inner.asked.push(uri.to_string());
        inner.fault
    });
    let path = match unversioned(uri.path()) {
        Ok(path) => path,
        Err(words) => return refusal(StatusCode::BAD_REQUEST, &words),
    };
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (fault, &parts[..]) {
        (Fault::Silent, _) => std::future::pending().await,
        (Fault::Garbage, _) => "<html>\u{fffd}[{\"Id\":</html>".into_response(),
        (Fault::Flood, _) => flood(),
        (Fault::AlwaysFails, _) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "something is broken in here"),
        (_, ["_ping"]) => "OK".into_response(),
        (_, ["version"]) => Json(version()).into_response(),
        (_, ["containers", "json"]) => list(&shared, uri.query().unwrap_or_default()),
        (Fault::NoDetails, ["containers", ..]) => {
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "no details today")
        }
        (_, ["containers", id, "json"]) => one(&shared, id, |container, _| inspected(container)),
        (_, ["containers", id, "stats"]) => one(&shared, id, stats),
        _ => refusal(StatusCode::NOT_FOUND, "page not found"),
    }
}

/// The path without its version; `/v1.53/…` is too new here.
fn unversioned(path: &str) -> Result<String, String> {
    let Some((version, rest)) = path.strip_prefix("/v").and_then(|rest| rest.split_once('/')) else {
        return Ok(path.to_owned());
    };
    let numbers = version.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    match numbers {
        Some(asked) if asked <= API => Ok(format!("/{rest}")),
        Some(_) => {
            let (major, minor) = API;
            let most = format!("Maximum supported API version is {major}.{minor}");
            Err(format!("client version {version} is too new. {most}"))
        }
        None => Ok(path.to_owned()),
    }
}

fn refusal(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "message": message }))).into_response()
}

/// A list that is well-formed so far, for ever.
fn flood() -> Response {
    let row = Bytes::from(format!(r#"{{"Id":"{}"}},"#, "0".repeat(1 << 20)));
    let begin = futures_util::stream::once(async { Ok(Bytes::from_static(b"[")) });
    let rows = futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(row.clone()));
    Body::from_stream(futures_util::StreamExt::chain(begin, rows)).into_response()
}

fn version() -> Value {
    json!({
        "Platform": { "Name": "Docker Engine - Community" },
        "Components": [{ "Name": "Engine", "Version": "24.0.7-simulated", "Details": { "ApiVersion": "1.43" } }],
        "Version": "24.0.7-simulated", "ApiVersion": "1.43", "MinAPIVersion": "1.12",
        "GitCommit": "0000000", "GoVersion": "go1.20", "Os": "linux", "Arch": "amd64", "KernelVersion": "6.1.0",
        "BuildTime": "2023-10-26T09:08:17.000000000+00:00",
    })
}

/// `filters` is JSON in the query; only `status` is known here.
fn list(shared: &Shared, query: &str) -> Response {
    let url = reqwest::Url::parse(&format!("http://docker/?{query}"));
    let wanted = url.ok().and_then(|url| {
        let filters = url.query_pairs().find(|(key, _)| key == "filters")?.1.into_owned();
        let filters: Value = serde_json::from_str(&filters).ok()?;
        let states = filters["status"].as_array()?;
        Some(states.iter().filter_map(|state| state.as_str().map(str::to_owned)).collect::<Vec<_>>())
    });
    let rows: Vec<Value> = with(shared, |inner| {
        let shown = |one: &&Container| wanted.as_ref().is_none_or(|states| states.contains(&one.state));
        inner.containers.iter().filter(shown).map(row).collect()
    });
    Json(rows).into_response()
}

fn row(one: &Container) -> Value {
    let port = |(public, private): &(u16, u16), ip: &str| json!({ "IP": ip, "PrivatePort": private, "PublicPort": public, "Type": "tcp" });
    let ports: Vec<Value> =
        one.ports.iter().flat_map(|both| [port(both, "0.0.0.0"), port(both, "::")]).collect();
    json!({
        "Id": one.id(), "Names": [format!("/{}", one.name)], "Image": format!("{}:simulated", one.name),
        "ImageID": format!("sha256:{}", "0".repeat(64)), "Command": "serve", "Created": 1_700_000_000,
        "Ports": ports, "Labels": {}, "State": one.state, "Status": one.status(),
        "HostConfig": { "NetworkMode": "default" }, "NetworkSettings": { "Networks": {} }, "Mounts": [],
    })
}

fn one(shared: &Shared, id: &str, answer: impl FnOnce(&Container, u64) -> Value) -> Response {
    with(shared, |inner| {
        inner.turns += 1;
        let Some(container) = inner.containers.iter().find(|container| container.id() == id) else {
            return refusal(StatusCode::NOT_FOUND, &format!("No such container: {id}"));
        };
        Json(answer(container, inner.turns)).into_response()
    })
}

fn inspected(one: &Container) -> Value {
    let up = one.is_up();
    let mut state = json!({
        "Status": one.state, "Running": up || one.state == "restarting", "Paused": one.state == "paused",
        "Restarting": one.state == "restarting", "OOMKilled": one.oom_killed, "Dead": one.state == "dead",
        "Pid": if up { 4242 } else { 0 }, "ExitCode": one.exit_code, "Error": "",
        "StartedAt": one.started_at.to_string(),
        "FinishedAt": if up { "0001-01-01T00:00:00Z".into() } else { one.finished_at.to_string() },
    });
    if let Some(health) = &one.health {
        state["Health"] = json!({ "Status": health, "FailingStreak": 0, "Log": [] });
    }
    json!({
        "Id": one.id(), "Created": "2026-11-25T07:00:00Z", "Path": "serve", "Args": [], "State": state,
        "Image": format!("sha256:{}", "0".repeat(64)), "Name": format!("/{}", one.name),
        "RestartCount": one.restart_count, "Driver": "overlay2", "Platform": "linux",
        "HostConfig": { "RestartPolicy": { "Name": one.restart_policy, "MaximumRetryCount": 0 } },
        "Mounts": [],
        "Config": { "Hostname": "sim", "Env": [format!("POSTGRES_PASSWORD={SECRET}")], "Image": one.name },
        "NetworkSettings": { "Networks": {} },
    })
}

/// With `one-shot` the engine does not wait for a reading before: `precpu_stats` is empty.
fn stats(one: &Container, turn: u64) -> Value {
    let none = json!({ "cpu_usage": { "total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0 } });
    if !one.is_up() {
        return json!({ "id": one.id(), "name": format!("/{}", one.name), "cpu_stats": none, "memory_stats": {} });
    }
    let used = turn * STEP_NS * one.cpu_percent / 100;
    json!({
        "id": one.id(), "name": format!("/{}", one.name), "read": "2026-11-25T10:00:00.123456789Z",
        "preread": "0001-01-01T00:00:00Z", "num_procs": 0, "pids_stats": { "current": 7 },
        "cpu_stats": {
            "cpu_usage": { "total_usage": used, "usage_in_kernelmode": 0, "usage_in_usermode": used },
            "system_cpu_usage": turn * STEP_NS * CORES, "online_cpus": CORES,
            "throttling_data": { "periods": 0, "throttled_periods": 0, "throttled_time": 0 },
        },
        "precpu_stats": none,
        "memory_stats": {
            "usage": one.memory_usage, "limit": 8_000_000_000_u64,
            "stats": { "inactive_file": one.inactive_file, "active_file": 0, "anon": one.memory_usage - one.inactive_file },
        },
    })
}
