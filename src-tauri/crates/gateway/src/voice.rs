//! What the gateway itself says in a stream before the answer does: as events of the dialect, or through whoever tells the answer.

use super::{events::Events, refusal::Refusal, teller::Teller};
use axum::http::HeaderMap;
use bytes::Bytes;
use serde_json::Value;

#[derive(Clone)]
pub(super) enum Voice {
    /// The server's own words come behind it.
    Own(Events),
    /// The answer is told in other words than its server's.
    Told(Teller),
}

impl Voice {
    /// What keeps a client patient.
    pub fn beat(&self, waiting_for: &str) -> Bytes {
        match self {
            Self::Own(events) => events.beat(waiting_for),
            Self::Told(teller) => teller.beat(),
        }
    }

    /// Why there is no answer, or no more of it.
    pub fn error(&self, refusal: &Refusal) -> Bytes {
        match self {
            Self::Own(events) => events.error(refusal),
            Self::Told(teller) => teller.fail(refusal),
        }
    }

    /// The error of a server, where it is one of this dialect already.
    pub fn own_error(&self, said: &Value) -> Option<Bytes> {
        match self {
            Self::Own(events) => events.own_error(said),
            Self::Told(_) => None,
        }
    }

    /// What headers would have said of an answer.
    pub fn late_headers(&self, headers: &HeaderMap) -> Option<Bytes> {
        match self {
            Self::Own(events) => events.late_headers(headers),
            // Its readers are spared comments: some take them for events.
            Self::Told(_) => None,
        }
    }
}
