//! The one address for client programs: OpenAI-compatible, forwards to what is active, follows the switch.
//!
//! A listener of its own, on loopback, and by consent on the bridges of containers. Bodies pass through as bytes; only the value of `model` is replaced. Streams
//! are handed on chunk by chunk, and a client that hangs up cancels its request upstream. Whom a request goes to, and when
//! it is its turn, is the matter of [`pilothouse_leases`].

mod answer;
mod body;
mod bridges;
mod clients_words;
mod count;
mod cut;
pub mod door;
mod early;
mod events;
mod form;
mod forward;
mod headers;
mod heard;
mod here;
mod keys;
mod listing;
#[cfg(test)]
mod names_tests;
mod ollama;
#[cfg(test)]
mod ollama_tests;
mod overlong;
mod path;
mod pieces;
mod record;
mod refusal;
mod retold;
mod sent;
mod splice;
#[cfg(test)]
mod switch_tests;
mod tally;
mod teller;
#[cfg(test)]
mod tests;
mod told;
mod translated;
#[cfg(test)]
mod translated_tests;
mod unpack;
mod upstream;
mod voice;
#[cfg(test)]
mod waiting_tests;
mod wording;

pub use keys::{KeyRing, KeyUse, WrongKeys, hash_of};

use crate::{
    bridges::Bridges,
    door::{ConnectionLimits, Guard, Listener},
};
use axum::{
    Json, Router,
    extract::{FromRef, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE},
    },
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use pilothouse_domain::error::ApiError;
use pilothouse_leases::Leases;
use pilothouse_records::{MetricsPage, Recorder};
use pilothouse_system::bridges::Bridge;
use refusal::Refusal;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// What a request handler needs.
#[derive(Clone)]
struct Shared {
    leases: Leases,
    /// Memory for the bodies of all requests.
    bodies: body::Budget,
    lines: here::Lines,
    /// Answers that programs may go on from.
    kept: translated::Kept,
    masking: translated::Masking,
    recorder: Recorder,
    metrics: Option<MetricsPage>,
    /// Who may ask.
    keys: KeyRing,
}

impl FromRef<Shared> for translated::Kept {
    fn from_ref(shared: &Shared) -> Self {
        shared.kept.clone()
    }
}

/// Who may ask besides the programs of this machine.
#[derive(Debug, Clone, Default)]
pub struct Admits {
    /// Names by which it may be asked besides those of loopback and of containers.
    pub hosts: Vec<String>,
    /// Origins of web pages, exact.
    pub origins: Vec<String>,
}

/// The running gateway.
pub struct Gateway {
    listener: Listener,
    shared: Shared,
    guard: Guard,
    bridges: Bridges,
    as_ollama: Option<AsOllama>,
}

/// A port of its own for programs that only know Ollama.
struct AsOllama {
    listener: Listener,
    bridges: Bridges,
}

impl Gateway {
    /// Binds `port` of both loopbacks (0: the system chooses). Errors: port_taken, internal.
    pub async fn start(
        port: u16,
        admits: &Admits,
        leases: Leases,
        recorder: Recorder,
        metrics: Option<MetricsPage>,
        keys: KeyRing,
    ) -> Result<Self, ApiError> {
        let shared = Shared {
            leases,
            bodies: body::Budget::new(body::BUDGET),
            lines: here::Lines::default(),
            kept: Default::default(),
            masking: Default::default(),
            recorder,
            metrics,
            keys,
        };
        let bound = Listener::bind(port, "gateway.port").await?.asking_who();
        let guard = Guard::with_hosts(&admits.hosts, "gateway.hosts").with_origins(&admits.origins);
        let router = router(shared.clone(), guard.clone(), Router::new());
        let listener = bound.serve(router, ConnectionLimits::own().gateway);
        Ok(Self { listener, shared, guard, bridges: Bridges::default(), as_ollama: None })
    }

    /// Whether the text by which Claude Code tells Anthropic what to bill is left out, from the next request on.
    pub fn mask_billing(&self, masks: bool) {
        self.shared.masking.set(masks);
    }

    /// Answers at this second port in Ollama's own words as well, and at no other one any more; `None`: at none.
    /// Errors: port_taken, system.
    pub async fn listen_as_ollama(&mut self, port: Option<u16>) -> Result<(), ApiError> {
        if let Some(other) = self.as_ollama.take_if(|open| Some(open.listener.address().port()) != port) {
            other.stop().await;
        }
        let Some(port) = port.filter(|_| self.as_ollama.is_none()) else { return Ok(()) };
        let bound = Listener::bind(port, "gateway.ollama_port").await?.asking_who();
        let router = router(self.shared.clone(), self.guard.clone(), ollama::routes());
        let listener = bound.serve(router, ConnectionLimits::own().gateway);
        self.as_ollama = Some(AsOllama { listener, bridges: Bridges::default() });
        Ok(())
    }

    /// Listens on these bridges of containers as well, and on no other any more, with each port that is open on loopback. Whoever
    /// comes in there needs a key. Gives what could not be opened; the others are open.
    pub async fn listen_on_bridges(&mut self, wanted: &[Bridge]) -> Vec<ApiError> {
        let (shared, guard) = (&self.shared, &self.guard);
        let serve = |own, more| router(shared.clone(), guard.clone().at(own), more);
        let port = self.listener.address().port();
        let mut refused = self.bridges.follow(wanted, port, |own| serve(own, Router::new())).await;
        if let Some(AsOllama { listener, bridges }) = &mut self.as_ollama {
            let port = listener.address().port();
            refused.extend(bridges.follow(wanted, port, |own| serve(own, ollama::routes())).await);
        }
        refused
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Where containers reach it.
    pub fn bridge_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.bridges.addresses()
    }

    /// Where it answers in Ollama's words.
    pub fn ollama_address(&self) -> Option<SocketAddr> {
        self.as_ollama.as_ref().map(|open| open.listener.address())
    }

    /// Where containers reach it in Ollama's words.
    pub fn ollama_bridge_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.as_ollama.iter().flat_map(|open| open.bridges.addresses())
    }

    /// Ends the listeners within two seconds; answers still under way are cut.
    pub async fn stop(self) {
        let as_ollama = async {
            if let Some(open) = self.as_ollama {
                open.stop().await;
            }
        };
        tokio::join!(self.listener.stop(), as_ollama, self.bridges.stop());
    }
}

impl AsOllama {
    async fn stop(self) {
        tokio::join!(self.listener.stop(), self.bridges.stop());
    }
}

/// `more`: further paths, behind the same guard and in the same words.
fn router(shared: Shared, guard: Guard, more: Router<Shared>) -> Router {
    let mut router = more;
    for root in ["", "/v1"] {
        router = router
            .route(&format!("{root}/models"), get(listing::list))
            .route(&format!("{root}/models/{{*id}}"), get(listing::one))
            .route(&format!("{root}/health"), get(health))
            .route(&format!("{root}/messages/count_tokens"), post(count::count))
            .route(&format!("{root}/responses/input_tokens"), post(forward::forward))
            .route(&format!("{root}/responses/{{id}}"), get(translated::kept).delete(translated::forget))
            .route(&format!("{root}/responses/{{id}}/input_items"), get(translated::input_items));
    }
    let keys = shared.keys.clone();
    router
        .route("/metrics", get(metrics))
        .method_not_allowed_fallback(refusal::no_such_method)
        .fallback(forward::forward)
        .layer(middleware::from_fn_with_state(keys, keys::want_key))
        .layer(middleware::from_fn_with_state(guard, refusal::refuse_strangers))
        .layer(middleware::from_fn(clients_words::in_the_clients_words))
        .with_state(shared)
}

/// What scrapers read, for whoever shows the token for it. A closed page is one that is not there.
async fn metrics(State(shared): State<Shared>, headers: HeaderMap) -> Result<Response, Refusal> {
    let page = shared.metrics.filter(MetricsPage::is_open);
    let page = page.ok_or_else(|| refusal::unknown_path("GET", "/metrics"))?;
    let shown = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    if !page.admits(shown.strip_prefix(b"Bearer ").unwrap_or_default()) {
        let text = "The metrics want a token, as Authorization: Bearer …; pilothouse settings get gateway.metrics says where it lies.";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "wrong_token", text));
    }
    let text = page.text().map_err(|error| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            format!("The metrics cannot be written: {error}."),
        )
    })?;
    Ok(([(CONTENT_TYPE, MetricsPage::CONTENT_TYPE)], text).into_response())
}

/// That the address answers, as llama-server says it. Whether a model does is another question.
async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}
