//! Plays a question of a client through each kind of server, and an answer of a server through its teller.

use pilothouse_dialects::{
    Question, Telling, Took,
    chat::{Reader, Speaks},
    sse::{Event, Splitter},
};
use pilothouse_domain::server::ServerKind;
use serde_json::{Value, value::RawValue};
use std::collections::BTreeMap;

pub const KINDS: [ServerKind; 4] =
    [ServerKind::LlamaServer, ServerKind::Ollama, ServerKind::LmStudio, ServerKind::OpenAi];

/// An object that is JSON, read one level deep. What a client or a model wrote goes on as it is, and may be JSON that `Value` does
/// not take: half a surrogate pair, a number beyond all floats (RFC 8259, sections 6 and 8.2).
pub fn document(bytes: &[u8]) -> Value {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(bytes)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)));
    let value = |raw: &RawValue| serde_json::from_str(raw.get()).unwrap_or_else(|_| Value::from(raw.get()));
    fields.into_iter().map(|(name, raw)| (name, value(raw))).collect()
}

/// The question and, behind the first zero byte, the answer.
pub fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    let at = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    (&bytes[..at], bytes.get(at + 1..).unwrap_or_default())
}

/// What each kind of server would be asked: a document that wants a stream and says nothing of loading.
pub fn asked(question: &dyn Question) {
    for kind in KINDS {
        let Ok(body) = question.chat("m", Speaks::of(kind)) else { continue };
        let body = document(&body);
        assert!(body["model"] == "m" && body["stream"] == true);
        assert!(body.get("keep_alive").is_none() && body.get("num_ctx").is_none());
        let what = if question.path() == "completions" { "prompt" } else { "messages" };
        assert!(body.get(what).is_some());
    }
}

/// What the client is told: the whole stream, or the document.
pub fn told(question: &dyn Question, answer: &[u8]) -> Vec<u8> {
    let mut teller = question.answer(Telling { id: "a".into(), created_s: 0 });
    let mut reader = Reader::new(true);
    let mut out = vec![];
    if question.streams() {
        out.extend(teller.begin());
        out.extend(teller.beat());
    }
    let mut failed = None;
    for piece in answer.chunks(64) {
        match reader.take(piece) {
            Ok(chunks) => chunks.iter().for_each(|chunk| out.extend(teller.take(chunk))),
            Err(why) => {
                failed = Some(why);
                break;
            }
        }
    }
    teller.took(Took { loaded_ns: None, first_ns: Some(1), total_ns: 2 });
    if !question.streams() {
        return teller.whole();
    }
    out.extend(match failed.or_else(|| teller.untellable()) {
        Some(why) => teller.fail(&why),
        None => teller.end(),
    });
    out
}

/// The events of a stream; each has a name, which is the `type` of its document.
pub fn events(stream: &[u8]) -> Vec<Value> {
    let mut splitter = Splitter::default();
    let Ok(events) = splitter.take(stream) else { panic!("an event without an end") };
    assert_eq!(splitter.finish(), None, "the last event has its blank line");
    let read = |event: Event| {
        let said = document(event.data.as_bytes());
        assert_eq!(said["type"], event.name);
        said
    };
    events.into_iter().map(read).collect()
}
