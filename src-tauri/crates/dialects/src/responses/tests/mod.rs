//! Requests and answers of this dialect as tables and as properties.

mod anything;
mod order;
mod pieces;
mod requests;
mod stored;
mod stream;
mod tool_choice;
mod wire_shapes;

use super::{Asked, Stored, read};
use crate::{
    Question, Refused, Telling,
    chat::{CallPiece, Chunk, Finish, Reader, Speaks, Usage},
    sse::{Event, Splitter},
};
use pilothouse_domain::server::ServerKind;
use serde_json::{Value, json};
use std::sync::Arc;

fn nothing(_: &str) -> Option<Arc<Stored>> {
    None
}

fn asked(body: &Value) -> Result<Asked, Refused> {
    read(body.to_string().as_bytes(), &nothing)
}

fn chat_of(asked: &Asked, kind: ServerKind) -> Result<Value, Refused> {
    Ok(serde_json::from_slice(&asked.chat("m", Speaks::of(kind))?).unwrap())
}

/// The chat for llama-server of a request with this input.
fn chat(body: Value) -> Result<Value, Refused> {
    chat_of(&asked(&body)?, ServerKind::LlamaServer)
}

fn messages(input: Value) -> Value {
    chat(json!({ "model": "x", "input": input })).unwrap()["messages"].clone()
}

fn telling(id: &str) -> Telling {
    Telling { id: id.into(), created_s: 1_790_000_000 }
}

fn text(said: &str) -> Chunk {
    Chunk { text: said.into(), ..Chunk::default() }
}

fn thoughts(said: &str) -> Chunk {
    Chunk { thoughts: said.into(), ..Chunk::default() }
}

fn finish(finish: Finish) -> Chunk {
    Chunk { finish: Some(finish), ..Chunk::default() }
}

fn call(index: u32, id: &str, name: &str, arguments: &str) -> Chunk {
    let word = |word: &str| (!word.is_empty()).then(|| word.to_owned());
    let piece = CallPiece { index, id: word(id), name: word(name), arguments: arguments.into() };
    Chunk { calls: vec![piece], ..Chunk::default() }
}

fn usage() -> Chunk {
    let usage = Usage { prompt: Some(7), cached: Some(5), output: Some(3), thoughts: None };
    Chunk { usage: Some(usage), ..Chunk::default() }
}

/// The events of these bytes, with what each says.
fn events(bytes: &[u8]) -> Vec<(String, Value)> {
    let mut splitter = Splitter::default();
    let events = splitter.take(bytes).unwrap();
    assert_eq!(splitter.finish(), None, "the last event has its end");
    events.into_iter().map(|Event { name, data }| (name, serde_json::from_str(&data).unwrap())).collect()
}

/// All that is told of an answer as events, which are found to be in order.
fn told(asked: &Asked, chunks: &[Chunk]) -> Vec<(String, Value)> {
    let mut answer = asked.answer(telling("a1"));
    let mut bytes = answer.begin();
    for chunk in chunks {
        bytes.extend(answer.take(chunk));
    }
    bytes.extend(answer.end());
    let events = events(&bytes);
    order::check(&events);
    events
}

/// The document of an answer that is wanted whole.
fn whole(asked: &Asked, chunks: &[Chunk]) -> Value {
    let mut answer = asked.answer(telling("a1"));
    for chunk in chunks {
        assert!(answer.take(chunk).is_empty(), "no events");
    }
    serde_json::from_slice(&answer.whole()).unwrap()
}

fn streamed(mut body: Value) -> Asked {
    body["stream"] = true.into();
    asked(&body).unwrap()
}
