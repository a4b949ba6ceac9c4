//! How an answer that cannot be finished ends, in the words of its dialect.

use super::{events::Events, headers, refusal::Refusal};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;

/// Why an answer is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Its model leaves memory and the limit of the drain is over.
    Switched,
    /// The server ended it.
    Broken,
}

impl Why {
    /// In words for the client.
    pub fn refusal(self) -> Refusal {
        match self {
            Self::Switched => Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "switched",
                "Pilothouse switched to another model, and this answer took longer than such a switch waits. Ask again.",
            ),
            Self::Broken => {
                let text = "The server broke this answer off. Ask again.";
                Refusal::new(StatusCode::BAD_GATEWAY, "server_broke_off", text)
            }
        }
    }
}

/// Watches the end of what is passed on, and knows how to say that it was cut.
#[derive(Debug)]
pub(super) struct Cut {
    /// `None`: an answer that is no stream of events can only be broken off.
    events: Option<Events>,
    /// The last bytes that were passed on.
    tail: Vec<u8>,
}

/// As long as the closing mark with the blank line before and behind it.
const TAIL: usize = 24;

impl Cut {
    pub fn new(path: &str, headers: &HeaderMap, status: StatusCode) -> Self {
        let streams = status.is_success() && headers::is_event_stream(headers);
        let events = streams.then(|| Events::of(path).unwrap_or(Events::Named));
        Self { events, tail: Vec::new() }
    }

    pub fn is_stream(&self) -> bool {
        self.events.is_some()
    }

    /// Takes note of a piece that is passed on.
    pub fn passed(&mut self, piece: &[u8]) {
        let piece = &piece[piece.len().saturating_sub(TAIL)..];
        let keep = TAIL.saturating_sub(piece.len()).min(self.tail.len());
        self.tail.drain(..self.tail.len() - keep);
        self.tail.extend_from_slice(piece);
    }

    /// Whether the last piece ended with a whole event, so that another one may follow.
    pub fn at_event_end(&self) -> bool {
        self.tail.is_empty() || self.tail.ends_with(b"\n\n") || self.tail.ends_with(b"\n\r\n")
    }

    /// Whether a stream that ends here ends too early: one that has a closing mark, without it.
    pub fn is_unfinished(&self) -> bool {
        let done = |mark: &[u8]| self.tail.windows(mark.len()).any(|window| window == mark);
        self.events == Some(Events::OpenAi) && !done(b"data: [DONE]") && !done(b"data:[DONE]")
    }

    /// The last event of a stream that was cut; `None`: break it off.
    pub fn last_event(&self, why: Why) -> Option<Bytes> {
        let event = self.events?.error(&why.refusal());
        Some(if self.at_event_end() { event } else { [b"\n\n".as_slice(), &event].concat().into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderValue, header};
    use serde_json::Value;

    fn stream(path: &str) -> Cut {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
        Cut::new(path, &headers, StatusCode::OK)
    }

    fn text(cut: &Cut, why: Why) -> String {
        String::from_utf8(cut.last_event(why).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn the_closing_mark_is_found_however_it_is_cut_into_pieces() {
        let whole = b"data: {\"choices\":[]}\n\ndata: [DONE]\n\n";
        for size in 1..whole.len() {
            let mut cut = stream("chat/completions");
            for piece in whole.chunks(size) {
                cut.passed(piece);
            }
            assert!(!cut.is_unfinished() && cut.at_event_end(), "pieces of {size}");
        }
        let mut cut = stream("completions");
        cut.passed(b"data: {\"choices\":[]}\n\n");
        assert!(cut.is_unfinished());
        assert!(!stream("audio/speech").is_unfinished(), "it has none");
    }

    #[test]
    fn an_error_is_an_event_of_the_dialect_and_stands_by_itself() {
        let mut cut = stream("chat/completions");
        cut.passed(b"data: {\"cho");
        let said = text(&cut, Why::Switched);
        let event: Value = serde_json::from_str(said.trim_start().strip_prefix("data: ").unwrap()).unwrap();
        assert!(said.starts_with("\n\n") && said.ends_with("\n\n"), "{said:?}");
        assert_eq!(event["error"]["code"], "switched");
        let said = text(&stream("audio/speech"), Why::Broken);
        assert!(said.starts_with("event: error\ndata: {") && said.contains("\"type\":\"error\""), "{said}");
    }

    #[test]
    fn what_is_no_stream_is_broken_off() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let cut = Cut::new("chat/completions", &headers, StatusCode::OK);
        assert!(cut.last_event(Why::Switched).is_none() && !cut.is_unfinished());
    }
}
