//! What an answer says of itself in its headers.

use super::headers::is_event_stream;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use pilothouse_leases::Lease;
use std::time::Duration;

const SERVER: HeaderName = HeaderName::from_static("x-pilothouse-server");
const MODEL: HeaderName = HeaderName::from_static("x-pilothouse-model");
const ROLE: HeaderName = HeaderName::from_static("x-pilothouse-role");
const ASKED: HeaderName = HeaderName::from_static("x-pilothouse-asked");
const WAITED: HeaderName = HeaderName::from_static("x-pilothouse-waited-ms");
const GOVERNED: HeaderName = HeaderName::from_static("x-pilothouse-governed");

/// A client's own name for a model can be as long as its body.
const LONGEST: usize = 200;

/// Which name was asked for, and the role that it led to.
pub(super) fn asked(to: &mut HeaderMap, name: Option<&str>, role: Option<&str>) {
    if let Some(name) = name {
        to.insert(ASKED, printable(name));
    }
    if let Some(role) = role {
        to.insert(ROLE, printable(role));
    }
}

/// Who answers, after what wait, and which fields were taken out of the request (names behind commas).
pub(super) fn answered(to: &mut HeaderMap, lease: &Lease, waited: Duration, governed: &str) {
    let target = lease.target();
    to.insert(SERVER, printable(target.server.as_str()));
    to.insert(MODEL, printable(&target.model));
    to.insert(WAITED, HeaderValue::from(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX)));
    if !governed.is_empty() {
        to.insert(GOVERNED, printable(governed));
    }
}

/// Nobody on the way shall keep a stream of events or collect it.
pub(super) fn streams(to: &mut HeaderMap) {
    if is_event_stream(to) {
        to.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        to.insert("x-accel-buffering", HeaderValue::from_static("no"));
        // The length is that of an answer which is not cut.
        to.remove(header::CONTENT_LENGTH);
    }
}

/// A text as a header can say it: what is no visible ASCII is percent-encoded, and so is the sign of that.
fn printable(text: &str) -> HeaderValue {
    const SET: &AsciiSet = &CONTROLS.add(b'%');
    let short = text.char_indices().nth(LONGEST).map_or(text, |(end, _)| &text[..end]);
    let encoded = utf8_percent_encode(short, SET).to_string();
    HeaderValue::from_str(&encoded).unwrap_or(HeaderValue::from_static("not-printable"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_asked_for_can_be_said_in_a_header() {
        for (text, wanted) in [
            ("hf.co/someone/model:Q4", "hf.co/someone/model:Q4"),
            ("модель", "%D0%BC%D0%BE%D0%B4%D0%B5%D0%BB%D1%8C"),
            ("a\r\nset-cookie: b", "a%0D%0Aset-cookie: b"),
            ("100%", "100%25"),
            ("a\u{7f}", "a%7F"),
            ("", ""),
        ] {
            assert_eq!(printable(text), wanted, "{text}");
        }
        assert_eq!(printable(&"ü".repeat(10_000)).len(), 6 * LONGEST);
    }
}
