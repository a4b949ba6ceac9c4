//! The JSON of LM Studio: v1 (0.4 and later) and v0 (0.3.6 and later). Bodies that carry an `error`
//! come with HTTP 200 too; the shared decoder refuses those.

use crate::rows::{Rows, count, maybe, name, or_default, words};
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize)]
pub(super) struct Greeting {
    pub lmstudio: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct ModelsV1 {
    pub models: Rows<ModelV1>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ModelV1 {
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    pub kind: String,
    #[serde(deserialize_with = "name")]
    pub key: String,
    #[serde(default, deserialize_with = "maybe")]
    pub display_name: Option<String>,
    #[serde(default, deserialize_with = "maybe")]
    pub quantization: Option<Quantization>,
    #[serde(default, deserialize_with = "maybe")]
    pub size_bytes: Option<u64>,
    #[serde(default, deserialize_with = "maybe")]
    pub params_string: Option<String>,
    #[serde(default)]
    pub loaded_instances: Rows<InstanceV1>,
    #[serde(default, deserialize_with = "maybe")]
    pub max_context_length: Option<u64>,
    #[serde(default, deserialize_with = "maybe")]
    pub format: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Quantization {
    #[serde(default, deserialize_with = "maybe")]
    pub name: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct InstanceV1 {
    #[serde(deserialize_with = "name")]
    pub id: String,
    #[serde(default, deserialize_with = "or_default")]
    pub config: ConfigV1,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ConfigV1 {
    #[serde(default, deserialize_with = "maybe")]
    pub context_length: Option<u64>,
    /// Answers at a time.
    #[serde(default, deserialize_with = "maybe")]
    pub parallel: Option<u32>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ModelsV0 {
    pub data: Rows<RowV0>,
}

/// A model, or one instance of it when it is loaded.
#[derive(Debug, Deserialize)]
pub(super) struct RowV0 {
    #[serde(deserialize_with = "name")]
    pub id: String,
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    pub kind: String,
    #[serde(default, deserialize_with = "maybe")]
    pub compatibility_type: Option<String>,
    #[serde(default, deserialize_with = "maybe")]
    pub quantization: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub state: String,
    #[serde(default, deserialize_with = "maybe")]
    pub max_context_length: Option<u64>,
    #[serde(default, deserialize_with = "maybe")]
    pub loaded_context_length: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Load<'a> {
    pub model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_length: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Loaded {
    pub instance_id: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Unload<'a> {
    pub instance_id: &'a str,
}

#[derive(Debug, Deserialize)]
pub(super) struct Unloaded {}

#[derive(Debug, Serialize)]
pub(super) struct ChatV1<'a> {
    pub model: &'a str,
    pub input: &'a str,
    pub stream: bool,
    /// The server would keep the conversation otherwise.
    pub store: bool,
    pub temperature: f32,
    pub max_output_tokens: u32,
}

/// What every event of a v1 stream has; those of a kind that nobody knows may hold anything else.
#[derive(Debug, Deserialize)]
pub(super) struct EventV1 {
    #[serde(rename = "type")]
    pub kind: String,
}

/// `message.delta`, `reasoning.delta`.
#[derive(Debug, Deserialize)]
pub(super) struct DeltaV1 {
    #[serde(default, deserialize_with = "words")]
    pub content: String,
}

/// `error`.
#[derive(Debug, Deserialize)]
pub(super) struct FailedV1 {
    pub error: ErrorV1,
}

#[derive(Debug, Deserialize)]
pub(super) struct ErrorV1 {
    pub message: String,
}

/// `chat.end`.
#[derive(Debug, Deserialize)]
pub(super) struct EndV1 {
    #[serde(default, deserialize_with = "or_default")]
    pub result: ResultV1,
}

/// Also the whole answer where it is no stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ResultV1 {
    /// Thoughts and text, part by part.
    #[serde(deserialize_with = "words")]
    pub output: String,
    #[serde(deserialize_with = "maybe")]
    pub stats: Option<StatsV1>,
}

/// Seconds and tokens per second. The decode rate leaves the time to the first token out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StatsV1 {
    #[serde(deserialize_with = "count")]
    pub input_tokens: Option<u32>,
    #[serde(deserialize_with = "count")]
    pub total_output_tokens: Option<u32>,
    #[serde(deserialize_with = "maybe")]
    pub tokens_per_second: Option<f64>,
}
