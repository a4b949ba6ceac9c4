use super::{Call, CallResult};
use async_trait::async_trait;
use pilothouse_domain::snapshot::Snapshot;
use std::{fmt, sync::Arc};
use tokio::sync::watch;

/// What a door needs of an engine: hand a call in, watch the snapshots.
#[async_trait]
pub trait CallHandler: Send + Sync + 'static {
    async fn call(&self, call: Call) -> CallResult;
    fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>>;
    /// What scrapers read.
    fn metrics(&self) -> Result<String, fmt::Error>;
}
