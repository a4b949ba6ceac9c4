//! What came of sending a request to a server, until its answer begins.

use super::{Shared, heard::Heard, refusal::Refusal, upstream};
use axum::{http::StatusCode, response::Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use pilothouse_leases::{Lease, Target};

/// What came of passing a request on.
pub(super) enum Sent {
    Answer(Response),
    /// Its model is on its way out of memory, and the client has heard nothing: it can be sent again.
    Again(Refusal),
    Refused(Refusal),
}

/// Why an answer never began.
pub(super) enum Unbegun {
    Again(Refusal),
    Refused(Refusal),
}

impl From<Unbegun> for Sent {
    fn from(unbegun: Unbegun) -> Self {
        match unbegun {
            Unbegun::Again(refusal) => Self::Again(refusal),
            Unbegun::Refused(refusal) => Self::Refused(refusal),
        }
    }
}

/// The first piece of an answer. Until it is there the client has heard nothing, so that the request can still go elsewhere.
pub(super) async fn first(
    shared: &Shared,
    pieces: &mut (impl Stream<Item = reqwest::Result<Bytes>> + Unpin),
    lease: &Lease,
    heard: &mut Heard,
) -> Result<Option<reqwest::Result<Bytes>>, Unbegun> {
    let target = lease.target();
    let first = tokio::select! {
        first = pieces.next() => first,
        () = lease.cut().cancelled() => return Err(heard.calm(Unbegun::Again(leaving(target)))),
    };
    match first {
        Some(Err(error)) if is_leaving(shared, lease) => {
            tracing::debug!(%error, "the model left before its first word");
            Err(heard.calm(Unbegun::Again(leaving(target))))
        }
        Some(Err(error)) => {
            heard.failed = upstream::is_its_fault(&error);
            Err(Unbegun::Refused(upstream::unsent(target, &error)))
        }
        first => Ok(first),
    }
}

/// What goes wrong now is no fault of the server: the model is being taken out of its memory, or requests go elsewhere already.
pub(super) fn is_leaving(shared: &Shared, lease: &Lease) -> bool {
    lease.cut().is_cancelled() || !shared.leases.is_current(lease.target())
}

pub(super) fn leaving(target: &Target) -> Refusal {
    let text = format!("{} is being taken out of memory. Try again in a moment.", target.model);
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "switching", text).retry_after(5)
}
