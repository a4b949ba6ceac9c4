//! What the translation keeps, shown on requests and answers of many kinds.

mod asking;
mod folding;
mod keeping;
mod telling;

use super::{Asked, read};
use crate::{Question, Telling, chat::Speaks};
use pilothouse_domain::server::ServerKind;
use serde_json::{Value, json};

/// A request of these fields beside a model and a limit.
fn request(fields: &str) -> String {
    let comma = if fields.is_empty() { "" } else { "," };
    format!(r#"{{"model":"m","max_tokens":100{comma}{fields}}}"#)
}

fn asked(text: &str) -> Asked {
    read(text.as_bytes(), true).unwrap_or_else(|refused| panic!("{refused:?}: {text}"))
}

fn chat_of(asked: &Asked, kind: ServerKind) -> Value {
    serde_json::from_slice(&asked.chat("server-model", Speaks::of(kind)).unwrap()).unwrap()
}

fn telling() -> Telling {
    Telling { id: "7".into(), created_s: 0 }
}

/// One message of the user and nothing else.
fn hello() -> Asked {
    asked(&request(r#""messages":[{"role":"user","content":"hi"}]"#))
}

fn whole(asked: &Asked, chunks: &[crate::chat::Chunk]) -> Value {
    let mut answer = asked.answer(telling());
    for chunk in chunks {
        answer.take(chunk);
    }
    serde_json::from_slice(&answer.whole()).unwrap()
}

fn usage(input: u64, read: u64, output: u64) -> Value {
    json!({ "input_tokens": input, "cache_read_input_tokens": read, "cache_creation_input_tokens": 0,
        "output_tokens": output, "output_tokens_details": null, "server_tool_use": null })
}
