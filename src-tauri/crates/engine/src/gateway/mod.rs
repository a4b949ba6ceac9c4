//! The one address for client programs: OpenAI-compatible, forwards to what is active, follows the switch.
//!
//! A listener of its own, loopback only. Bodies pass through as bytes; only the value of `model` is replaced. Streams
//! are handed on chunk by chunk, and a client that hangs up cancels its request upstream.

mod forward;
mod in_flight;
mod listing;
mod refusal;
mod routes;
mod splice;

pub use in_flight::InFlight;
pub use routes::{ActiveRoute, Routes, Target};

use crate::http::{Guard, Listener};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};
use pilothouse_domain::error::ApiError;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::sync::watch;

/// The largest request body: prompts with images fit, floods do not.
const BODY_LIMIT: usize = 64 << 20;
/// A server on this machine accepts at once or not at all.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// What a request handler needs.
#[derive(Clone)]
struct Shared {
    routes: watch::Receiver<Arc<Routes>>,
    in_flight: InFlight,
    http: reqwest::Client,
    /// Longest wait for a switch to end.
    wait: Duration,
}

/// The running gateway.
pub struct Gateway(Listener);

impl Gateway {
    /// Binds 127.0.0.1:`port` (0: the system chooses). `wait` bounds the wait of a request for a switch to end.
    /// Errors: port_taken, internal.
    pub async fn start(
        port: u16,
        wait: Duration,
        routes: watch::Receiver<Arc<Routes>>,
        in_flight: InFlight,
    ) -> Result<Self, ApiError> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .build()
            .map_err(|error| ApiError::internal(format!("No HTTP client: {error}.")))?;
        let shared = Shared { routes, in_flight, http, wait };
        let bound = Listener::bind(port, "gateway.port").await?;
        let guard = Guard::new(bound.address());
        let router = Router::new()
            .route("/v1/models", get(listing::list))
            .route("/v1/models/{*id}", get(listing::one))
            .route("/v1/{*path}", post(forward::forward))
            .fallback(refusal::no_such_path)
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .layer(middleware::from_fn_with_state(guard, refusal::refuse_strangers))
            .with_state(shared);
        Ok(Self(bound.serve(router)))
    }

    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Ends the listener within two seconds; answers still under way are cut.
    pub async fn stop(self) {
        self.0.stop().await;
    }
}
