//! One request: find its target, wait for a switch if need be, pass it on, stream the answer back.

use super::{
    ActiveRoute, InFlight, Routes, Shared, Target, body, headers,
    refusal::Refusal,
    splice::{self, Named},
    upstream::{self, Asked},
};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::StreamExt;
use pilothouse_domain::{model::ModelRef, server::ServerId};
use std::time::{Duration, Instant};

const SERVER_HEADER: HeaderName = HeaderName::from_static("x-pilothouse-server");
const MODEL_HEADER: HeaderName = HeaderName::from_static("x-pilothouse-model");

pub(super) async fn forward(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let asked = Asked::new(&uri, &headers)?;
    let body = body::read(body, &shared.bodies).await?;
    let named =
        splice::find(&body).map_err(|text| Refusal::new(StatusCode::BAD_REQUEST, "invalid_json", text))?;
    let target = target(&shared, named.model.as_deref()).await?;
    match send(&shared, &target, &asked, &body, &named).await {
        Ok(response) => Ok(response),
        // The target may have moved between the look and the send; nothing has reached the client yet.
        Err(error) => match target_again(&shared, named.model.as_deref(), &target).await {
            Some(moved) => send(&shared, &moved, &asked, &body, &named)
                .await
                .map_err(|error| upstream::unsent(&moved, &error)),
            None => Err(upstream::unsent(&target, &error)),
        },
    }
}

/// Where a request goes.
async fn target(shared: &Shared, model: Option<&str>) -> Result<Target, Refusal> {
    match model {
        None | Some("active") => active(shared).await,
        Some(name) => loaded(&shared.routes.borrow(), name),
    }
}

/// The active model's target; waits while a switch is under way.
async fn active(shared: &Shared) -> Result<Target, Refusal> {
    let mut routes = shared.routes.clone();
    let settled = routes.wait_for(|routes| routes.active != ActiveRoute::Held);
    let wait_s = u32::try_from(shared.wait.as_secs()).unwrap_or(u32::MAX);
    let routes = match tokio::time::timeout(shared.wait, settled).await {
        Ok(Ok(routes)) => routes.clone(),
        Ok(Err(_)) => {
            let text = "Pilothouse is shutting down.";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", text).retry_after(10));
        }
        Err(_) => {
            let text = format!("A switch has been under way for {wait_s} s. Try again in a moment.");
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "switching", text).retry_after(5));
        }
    };
    match &routes.active {
        ActiveRoute::Open(target) => Ok(target.clone()),
        ActiveRoute::Down(server) => {
            let text =
                format!("{server}, which has the active model, does not run. `pilothouse status` says why.");
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "server_down", text).retry_after(5))
        }
        ActiveRoute::None | ActiveRoute::Held => {
            let text = "No model is active. Switch to one in Pilothouse, or by `pilothouse switch`.";
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "no_active_model", text).retry_after(10))
        }
    }
}

/// A model by its own name, `<server>/<name>` or the id of an instance.
fn loaded(routes: &Routes, name: &str) -> Result<Target, Refusal> {
    let means =
        |server: &str, model: &str| model == name || name.strip_prefix(server) == Some(&format!("/{model}"));
    let fits = |target: &&Target| means(target.server.as_str(), &target.model) || target.instance == name;
    let mut hits = routes.loaded.iter().filter(fits);
    if let Some(first) = hits.next() {
        // The same name on two servers: the active one is what the user sees as this model.
        let active = match &routes.active {
            ActiveRoute::Open(target) if fits(&target) => Some(target),
            _ => None,
        };
        return Ok(active.unwrap_or(first).clone());
    }
    let known = routes.known.iter().find(|ModelRef { server, model }| means(server.as_str(), model));
    Err(match known {
        Some(known) => Refusal::new(
            StatusCode::NOT_FOUND,
            "model_not_loaded",
            format!(
                "{} is not loaded on {}. Switch to it in Pilothouse, or ask for `active`.",
                known.model, known.server
            ),
        ),
        None => Refusal::new(
            StatusCode::NOT_FOUND,
            "model_not_found",
            format!("There is no model {name} here. GET /v1/models lists them; `active` is the active one."),
        ),
    }
    .about("model"))
}

async fn target_again(shared: &Shared, model: Option<&str>, old: &Target) -> Option<Target> {
    target(shared, model).await.ok().filter(|target| target != old)
}

async fn send(
    shared: &Shared,
    target: &Target,
    asked: &Asked,
    body: &Bytes,
    named: &Named,
) -> Result<Response, reqwest::Error> {
    let guard = shared.in_flight.enter(&target.server, &target.instance);
    let request = asked.request(target, splice::rename(body, named, &target.instance));
    let mut heard = Heard::new(&shared.in_flight, &target.server);
    let answer = request.send().await.inspect_err(|error| heard.failed = upstream::is_its_fault(error))?;
    heard.failed = answer.status().is_server_error();
    let (path, status) = (asked.path(), answer.status());
    tracing::debug!(server = %target.server, model = %target.model, %path, %status, "forwarded");
    if let Some(refusal) = upstream::redirected(target, &answer) {
        return Ok(refusal.into_response());
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    copy_headers(answer.headers(), response.headers_mut(), target);
    // The guard lives in the stream: the answer counts as under way until its last byte, or until the client leaves.
    let stream = answer.bytes_stream().map(move |chunk| {
        let _counted = &guard;
        // As a whole: the closure would take copies of its plain fields.
        let heard = &mut heard;
        heard.failed |= chunk.is_err();
        heard.last = Instant::now();
        chunk
    });
    *response.body_mut() = Body::from_stream(stream);
    Ok(response)
}

/// Passes it on when an answer went wrong: refused, broken off, or given up by a client that heard nothing for a while.
struct Heard {
    in_flight: InFlight,
    server: ServerId,
    last: Instant,
    failed: bool,
}

/// A client that leaves sooner after the last piece says nothing about the server.
const PATIENCE: Duration = Duration::from_secs(5);

impl Heard {
    fn new(in_flight: &InFlight, server: &ServerId) -> Self {
        Self { in_flight: in_flight.clone(), server: server.clone(), last: Instant::now(), failed: false }
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        if self.failed || self.last.elapsed() >= PATIENCE {
            self.in_flight.trouble(&self.server);
        }
    }
}

fn copy_headers(from: &HeaderMap, to: &mut HeaderMap, target: &Target) {
    *to = headers::to_client(from);
    let header =
        |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("not-printable"));
    to.insert(SERVER_HEADER, header(target.server.as_str()));
    to.insert(MODEL_HEADER, header(&target.model));
    let streams =
        to.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if streams {
        to.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        to.insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
}
