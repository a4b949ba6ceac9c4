//! What a supervisor can be asked.

use super::connection::Connection;
use crate::api::Check;
use pilothouse_domain::{
    backoff::RestartPolicy,
    error::{ApiError, ErrorCode},
};
use tokio::sync::oneshot;

pub(super) enum Ask {
    EnsureReady(oneshot::Sender<Result<Connection, ApiError>>),
    Stop(oneshot::Sender<Result<(), ApiError>>),
    Refresh(oneshot::Sender<()>),
    Locate(oneshot::Sender<()>),
    Policy(RestartPolicy),
    KeyChanged,
    TakeOver(oneshot::Sender<Result<Connection, ApiError>>),
    Check(oneshot::Sender<Vec<Check>>),
    /// An instance is about to be unloaded by us.
    Leaving(String, oneshot::Sender<()>),
    /// It stays after all, or has been loaded by us.
    Staying(String, oneshot::Sender<()>),
    Shutdown(oneshot::Sender<()>),
}

/// The answer when nobody is left who could give another.
pub(super) fn ended() -> ApiError {
    ApiError::new(ErrorCode::NotRunning, "Pilothouse is shutting down.")
}
