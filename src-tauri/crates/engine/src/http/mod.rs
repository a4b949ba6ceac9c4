//! The loopback door for the web UI and the command line.
//!
//! `POST /api/call` takes a `Call`, `GET /api/changes` waits for a newer snapshot, `GET /metrics` speaks Prometheus;
//! all three want the token. Everything else is the web UI, which holds no secrets.

mod api;
mod files;
mod guard;
mod listener;
mod metrics;

pub use guard::Guard;
pub use listener::Listener;

use crate::{api::CallHandler, ports::Secret};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};
use pilothouse_domain::error::ApiError;
use std::{net::SocketAddr, sync::Arc};

const BODY_LIMIT: usize = 1 << 20;

/// What a request handler needs.
#[derive(Clone)]
struct Shared {
    handler: Arc<dyn CallHandler>,
    token: Secret,
}

/// The running door.
pub struct Door(Listener);

impl Door {
    /// Binds 127.0.0.1:`port` (0: the system chooses). Errors: port_taken.
    pub async fn start(port: u16, token: Secret, handler: Arc<dyn CallHandler>) -> Result<Self, ApiError> {
        let bound = Listener::bind(port, "web.port").await?;
        let guard = Guard::new(bound.address());
        let shared = Shared { handler, token };
        let secured = Router::new()
            .route("/api/call", post(api::call))
            .route("/api/changes", get(api::changes))
            .route("/metrics", get(metrics::metrics))
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .layer(middleware::from_fn_with_state(shared.clone(), api::want_token))
            .with_state(shared);
        let router = secured
            .fallback(files::serve)
            .layer(middleware::from_fn_with_state(guard, api::refuse_strangers));
        Ok(Self(bound.serve(router)))
    }

    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Ends the listener within two seconds.
    pub async fn stop(self) {
        self.0.stop().await;
    }
}
