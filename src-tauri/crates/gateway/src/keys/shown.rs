//! Which key a request shows, in either of the headers that client programs send one in.

use super::{Held, KeyRing};
use axum::http::{HeaderMap, HeaderName, header::AUTHORIZATION};
use pilothouse_domain::client_key::PREFIX;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What a request shows.
pub(super) enum Shown {
    Key(Held),
    /// One of ours that is none, or was revoked.
    Wrong,
    /// Something that programs send because they have to send something, or their key for elsewhere.
    Foreign,
    Nothing,
}

/// Programs may send two different keys at a time: an old one of the environment beside the one of their file. The one that is known
/// counts.
pub(super) fn shown(ring: &KeyRing, headers: &HeaderMap) -> Shown {
    let mut found = Shown::Nothing;
    for text in texts(headers) {
        let is_ours = text.starts_with(PREFIX.as_bytes());
        if is_ours && let Some(held) = ring.find(text) {
            return Shown::Key(held);
        }
        match found {
            _ if is_ours => found = Shown::Wrong,
            Shown::Nothing => found = Shown::Foreign,
            _ => {}
        }
    }
    found
}

fn texts(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let bearers = headers.get_all(AUTHORIZATION).iter().filter_map(|value| bearer(value.as_bytes()));
    let keys = headers.get_all(X_API_KEY).iter().map(|value| value.as_bytes().trim_ascii());
    bearers.chain(keys).filter(|text| !text.is_empty())
}

/// The scheme is in any case (RFC 9110 section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, key) = value.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| key.trim_ascii())
}
