//! The bodies of requests as they are on the wire. A field that is missing or null is none; one that nobody knows is passed over.

use crate::Refused;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Of `/api/chat` and `/api/generate`: the fields of both, because a raw value cannot be read through a flattened struct.
#[derive(Deserialize)]
pub(super) struct Wire<'a> {
    pub model: Option<String>,
    #[serde(borrow)]
    pub messages: Option<Vec<Message<'a>>>,
    #[serde(borrow)]
    pub tools: Option<Vec<&'a RawValue>>,
    pub prompt: Option<String>,
    pub suffix: Option<String>,
    pub system: Option<String>,
    pub template: Option<String>,
    #[serde(borrow)]
    pub context: Option<Vec<&'a RawValue>>,
    pub raw: Option<bool>,
    pub images: Option<Vec<Option<String>>>,
    pub stream: Option<bool>,
    #[serde(borrow)]
    pub format: Option<&'a RawValue>,
    #[serde(borrow)]
    pub options: Option<BTreeMap<String, &'a RawValue>>,
    #[serde(borrow)]
    pub keep_alive: Option<&'a RawValue>,
    #[serde(borrow)]
    pub think: Option<&'a RawValue>,
    pub logprobs: Option<bool>,
    pub top_logprobs: Option<i64>,
    #[serde(rename = "_debug_render_only")]
    pub renders_only: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct Message<'a> {
    pub role: Option<String>,
    pub content: Option<String>,
    pub thinking: Option<String>,
    pub images: Option<Vec<Option<String>>>,
    #[serde(borrow)]
    pub tool_calls: Option<Vec<Call<'a>>>,
    pub tool_name: Option<String>,
    pub tool_call_id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Call<'a> {
    pub id: Option<String>,
    #[serde(borrow)]
    pub function: Option<Called<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Called<'a> {
    pub name: Option<String>,
    #[serde(borrow)]
    pub arguments: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Tool<'a> {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    #[serde(borrow)]
    pub function: Option<ToolFunction<'a>>,
}

#[derive(Deserialize)]
pub(super) struct ToolFunction<'a> {
    pub name: Option<String>,
    pub description: Option<String>,
    #[serde(borrow)]
    pub parameters: Option<&'a RawValue>,
}

/// Of `/api/embed` and `/api/embeddings`.
#[derive(Deserialize)]
pub(super) struct Embed<'a> {
    pub model: Option<String>,
    #[serde(borrow)]
    pub input: Option<&'a RawValue>,
    pub prompt: Option<String>,
    pub dimensions: Option<u32>,
    #[serde(borrow)]
    pub options: Option<BTreeMap<String, &'a RawValue>>,
    #[serde(borrow)]
    pub keep_alive: Option<&'a RawValue>,
}

/// What a body says. Errors: it is no JSON, or a field is of another type.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refused> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Refused::invalid("The request has no body."));
    }
    serde_json::from_slice(body).map_err(|error| Refused::invalid(format!("The body is not read: {error}.")))
}

/// A text that says something.
pub(super) fn some(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// What `/api/show` asks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShowAsked {
    pub model: String,
}

/// Reads the body of `/api/show`, of old clients too, which say `name`. Errors: it names no model.
pub fn read_show(body: &[u8]) -> Result<ShowAsked, Refused> {
    #[derive(Deserialize)]
    struct Shown {
        model: Option<String>,
        name: Option<String>,
    }
    let Shown { model, name } = read(body)?;
    let model =
        some(model).or(some(name)).ok_or_else(|| Refused::invalid("model is required").about("model"))?;
    Ok(ShowAsked { model })
}
