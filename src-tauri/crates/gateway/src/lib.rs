//! The one address for client programs: OpenAI-compatible, forwards to what is active, follows the switch.
//!
//! A listener of its own, loopback only. Bodies pass through as bytes; only the value of `model` is replaced. Streams
//! are handed on chunk by chunk, and a client that hangs up cancels its request upstream. Whom a request goes to, and when
//! it is its turn, is the matter of [`pilothouse_leases`].

mod answer;
mod body;
mod cut;
pub mod door;
mod early;
mod events;
mod form;
mod forward;
mod headers;
mod heard;
mod listing;
#[cfg(test)]
mod names_tests;
mod path;
mod pieces;
mod refusal;
mod splice;
#[cfg(test)]
mod switch_tests;
#[cfg(test)]
mod tests;
mod told;
mod unpack;
mod upstream;
#[cfg(test)]
mod waiting_tests;

use crate::door::{ConnectionLimits, Guard, Listener};
use axum::{
    Router, middleware,
    routing::{any, get},
};
use pilothouse_domain::error::ApiError;
use pilothouse_leases::Leases;
use std::net::SocketAddr;

/// What a request handler needs.
#[derive(Clone)]
struct Shared {
    leases: Leases,
    /// Memory for the bodies of all requests.
    bodies: body::Budget,
}

/// The running gateway.
pub struct Gateway(Listener);

impl Gateway {
    /// Binds `port` of both loopbacks (0: the system chooses). `hosts`: names by which it may be asked besides theirs. Errors:
    /// port_taken, internal.
    pub async fn start(port: u16, hosts: &[String], leases: Leases) -> Result<Self, ApiError> {
        let shared = Shared { leases, bodies: body::Budget::new(body::BUDGET) };
        let bound = Listener::bind(port, "gateway.port").await?;
        let guard = Guard::with_hosts(hosts, "gateway.hosts");
        Ok(Self(bound.serve(router(shared, guard), ConnectionLimits::own().gateway)))
    }

    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Ends the listener within two seconds; answers still under way are cut.
    pub async fn stop(self) {
        self.0.stop().await;
    }
}

fn router(shared: Shared, guard: Guard) -> Router {
    Router::new()
        .route("/v1/models", get(listing::list))
        .route("/v1/models/{*id}", get(listing::one))
        .route("/v1/{*path}", any(forward::forward))
        .method_not_allowed_fallback(refusal::no_such_method)
        .fallback(refusal::no_such_path)
        .layer(middleware::from_fn_with_state(guard, refusal::refuse_strangers))
        .layer(middleware::from_fn(refusal::in_the_clients_words))
        .with_state(shared)
}
