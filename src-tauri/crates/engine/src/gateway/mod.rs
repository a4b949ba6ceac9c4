//! The one address for client programs: OpenAI-compatible, forwards to what is active, follows the switch.
//!
//! A listener of its own, loopback only. Bodies pass through as bytes; only the value of `model` is replaced. Streams
//! are handed on chunk by chunk, and a client that hangs up cancels its request upstream. Whom a request goes to, and when
//! it is its turn, is the matter of [`crate::leases`].

mod answer;
mod cut;
mod forward;
mod listing;
mod refusal;
mod splice;

use crate::{
    http::{Guard, Listener},
    leases::Leases,
};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};
use pilothouse_domain::error::ApiError;
use std::{net::SocketAddr, time::Duration};

/// The largest request body: prompts with images fit, floods do not.
const BODY_LIMIT: usize = 64 << 20;
/// A server on this machine accepts at once or not at all.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// What a request handler needs.
#[derive(Clone)]
struct Shared {
    leases: Leases,
    http: reqwest::Client,
}

/// The running gateway.
pub struct Gateway(Listener);

impl Gateway {
    /// Binds 127.0.0.1:`port` (0: the system chooses). Errors: port_taken, internal.
    pub async fn start(port: u16, leases: Leases) -> Result<Self, ApiError> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .build()
            .map_err(|error| ApiError::internal(format!("No HTTP client: {error}.")))?;
        let shared = Shared { leases, http };
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
