//! Events that the gateway says itself in a stream that goes on in its server's own words.

use super::{path::shown, refusal::Refusal};
use axum::http::HeaderMap;
use bytes::Bytes;
use serde_json::{Value, json};

/// How the events of a stream look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Events {
    /// `data: {…}` lines that end with `data: [DONE]`.
    OpenAi,
    /// Others, as of speech: named events, without a closing mark that is common to all.
    Named,
}

impl Events {
    /// Those of a path, as [`super::path::ApiPath::text`] has it. `None`: its answers are no such streams as a rule.
    pub fn of(path: &str) -> Option<Self> {
        matches!(path, "chat/completions" | "completions").then_some(Self::OpenAi)
    }

    /// The event that says why an answer ends without its end.
    pub fn error(self, refusal: &Refusal) -> Bytes {
        let Refusal { code, message, param, .. } = refusal;
        match self {
            Self::OpenAi => self.event(&refusal.document()),
            Self::Named => {
                self.event(&json!({ "type": "error", "code": code, "message": message, "param": param }))
            }
        }
    }

    /// The error of a server as an event, where it is one of this kind already.
    pub fn own_error(self, said: &Value) -> Option<Bytes> {
        (self == Self::OpenAi && said["error"].is_object()).then(|| self.event(said))
    }

    fn event(self, document: &Value) -> Bytes {
        let name = if self == Self::OpenAi { "" } else { "event: error\n" };
        format!("{name}data: {document}\n\n").into()
    }

    /// What keeps a client patient: a comment, which every reader of events skips.
    pub fn beat(self, waiting_for: &str) -> Bytes {
        format!(": waiting for {}\n\n", shown(waiting_for)).into()
    }

    /// What headers would have said of an answer, as comments, which every reader of events skips.
    pub fn late_headers(self, headers: &HeaderMap) -> Option<Bytes> {
        let own = headers.iter().filter(|(name, _)| name.as_str().starts_with("x-pilothouse-"));
        let lines = own.filter_map(|(name, value)| Some(format!(": {name}: {}\n", value.to_str().ok()?)));
        let text: String = lines.collect();
        (!text.is_empty()).then(|| format!("{text}\n").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;

    #[test]
    fn what_headers_would_have_said_comes_as_comments_and_nothing_else_does() {
        let mut headers = HeaderMap::new();
        assert_eq!(Events::OpenAi.late_headers(&headers), None);
        headers.insert("content-type", "text/event-stream".parse().unwrap());
        headers.insert("x-pilothouse-server", "ollama".parse().unwrap());
        headers.insert("x-pilothouse-model", "a:1".parse().unwrap());
        let said = Events::OpenAi.late_headers(&headers).unwrap();
        assert_eq!(said, ": x-pilothouse-server: ollama\n: x-pilothouse-model: a:1\n\n");
    }

    #[test]
    fn an_error_is_one_event_and_a_sign_of_life_is_none() {
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "does_not_fit", "a\nb").about("model");
        for (events, begin, wanted) in [
            (Events::OpenAi, "data: {", "\"code\":\"does_not_fit\""),
            (Events::Named, "event: error\ndata: {", "\"type\":\"error\""),
        ] {
            let said = String::from_utf8(events.error(&refusal).to_vec()).unwrap();
            assert!(said.starts_with(begin) && said.contains(wanted) && said.ends_with("}\n\n"), "{said}");
            assert_eq!(said.matches('\n').count(), begin.matches('\n').count() + 2, "one event: {said}");
            let beat = String::from_utf8(events.beat("a\nb to be loaded").to_vec()).unwrap();
            assert_eq!(beat, ": waiting for a\\u{a}b to be loaded\n\n");
        }
        let theirs = json!({ "error": { "message": "too long" } });
        assert!(Events::OpenAi.own_error(&theirs).is_some() && Events::Named.own_error(&theirs).is_none());
        assert!(Events::OpenAi.own_error(&json!({ "error": "text" })).is_none());
    }
}
