//! The JSON of the OpenAI form, as far as every server of the kind agrees on it.

use crate::{
    GenerateEnd,
    client::decode_rate,
    rows::{Rows, count, maybe, name, or_default, words},
};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::Value;

/// The rows stand in `data`; some servers send the bare list.
#[derive(Debug)]
pub struct ModelList {
    pub data: Rows<ModelRow>,
}

impl<'de> Deserialize<'de> for ModelList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = match Value::deserialize(deserializer)? {
            Value::Object(mut answer) => {
                answer.remove("data").ok_or_else(|| D::Error::missing_field("data"))?
            }
            Value::Array(rows) => Value::Array(rows),
            _ => return Err(D::Error::custom("a list of models was expected")),
        };
        list.try_into().map(|data| Self { data }).map_err(D::Error::custom)
    }
}

/// Only `id` is certain. vLLM adds `max_model_len`, llama-server `meta`.
#[derive(Debug, Deserialize)]
pub struct ModelRow {
    #[serde(deserialize_with = "name")]
    pub id: String,
    #[serde(default, deserialize_with = "maybe")]
    pub max_model_len: Option<u64>,
    #[serde(default, deserialize_with = "maybe")]
    pub meta: Option<Meta>,
}

#[derive(Debug, Deserialize)]
pub struct Meta {
    #[serde(default, deserialize_with = "maybe")]
    pub n_ctx_train: Option<u64>,
    /// Bytes of the weights.
    #[serde(default, deserialize_with = "maybe")]
    pub size: Option<u64>,
}

#[derive(Debug, Serialize)]
pub struct Completion<'a> {
    pub model: &'a str,
    pub prompt: &'a str,
    pub stream: bool,
    /// Not every server takes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    pub temperature: f32,
    pub max_tokens: u32,
}

#[derive(Debug, Serialize)]
pub struct Chat<'a> {
    pub model: &'a str,
    pub messages: [Message<'a>; 1],
    pub stream: bool,
    /// Not every server takes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    pub temperature: f32,
    pub max_tokens: u32,
}

#[derive(Debug, Serialize)]
pub struct StreamOptions {
    pub include_usage: bool,
}

#[derive(Debug, Serialize)]
pub struct Message<'a> {
    pub role: &'a str,
    pub content: &'a str,
}

/// A piece of an answer, or a whole one.
#[derive(Debug, Deserialize)]
pub struct Chunk {
    #[serde(default, deserialize_with = "maybe")]
    pub model: Option<String>,
    #[serde(default)]
    pub choices: Rows<Choice>,
    #[serde(default, deserialize_with = "maybe")]
    pub usage: Option<Usage>,
    /// Only llama-server.
    #[serde(default, deserialize_with = "maybe")]
    pub timings: Option<Timings>,
}

#[derive(Debug, Deserialize)]
pub struct Choice {
    #[serde(default, deserialize_with = "or_default")]
    pub delta: Said,
    /// Instead of `delta` where the answer is no stream.
    #[serde(default, deserialize_with = "or_default")]
    pub message: Said,
    #[serde(default, deserialize_with = "words")]
    pub text: String,
    #[serde(default, deserialize_with = "maybe")]
    pub finish_reason: Option<String>,
}

/// What is said in a chat. Servers name the thoughts of a model differently, and some send an empty `content` beside them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Said {
    #[serde(deserialize_with = "words")]
    pub content: String,
    #[serde(deserialize_with = "words")]
    pub reasoning_content: String,
    #[serde(deserialize_with = "words")]
    pub reasoning: String,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct Usage {
    #[serde(deserialize_with = "count")]
    pub prompt_tokens: Option<u32>,
    #[serde(deserialize_with = "count")]
    pub completion_tokens: Option<u32>,
    #[serde(deserialize_with = "maybe")]
    pub prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct PromptDetails {
    #[serde(deserialize_with = "count")]
    pub cached_tokens: Option<u32>,
}

/// Milliseconds and tokens, as llama-server tells them; `prompt_n` leaves cached tokens out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Timings {
    #[serde(deserialize_with = "count")]
    pub cache_n: Option<u32>,
    #[serde(deserialize_with = "count")]
    pub prompt_n: Option<u32>,
    #[serde(deserialize_with = "maybe")]
    pub prompt_ms: Option<f64>,
    #[serde(deserialize_with = "count")]
    pub predicted_n: Option<u32>,
    #[serde(deserialize_with = "maybe")]
    pub predicted_ms: Option<f64>,
}

impl Timings {
    /// The end of an answer that took so long.
    pub fn end(&self, finish: Option<String>) -> GenerateEnd {
        let rate = |tokens: Option<u32>, ms: Option<f64>| match (tokens, ms) {
            (Some(tokens), Some(ms)) if tokens > 0 && ms > 0.0 => Some(f64::from(tokens) / ms * 1000.0),
            _ => None,
        };
        GenerateEnd {
            finish,
            output_tokens: self.predicted_n,
            prompt_tokens: self.prompt_n.map(|computed| computed + self.cache_n.unwrap_or(0)),
            cached_tokens: self.cache_n,
            decode_tok_s: self
                .predicted_n
                .zip(self.predicted_ms)
                .and_then(|(tokens, ms)| decode_rate(tokens, ms / 1000.0)),
            prefill_tok_s: rate(self.prompt_n, self.prompt_ms),
        }
    }
}
