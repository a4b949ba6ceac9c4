//! The JSON of Ollama's native API. All durations are nanoseconds; metrics that are missing are absent, not zero.

use crate::rows::{Rows, count, maybe, name, or_default, words};
use jiff::Timestamp;
use pilothouse_system::model_files::ToldTensor;
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize)]
pub(super) struct Version {
    pub version: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Tags {
    pub models: Rows<Tag>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Tag {
    #[serde(deserialize_with = "name")]
    pub name: String,
    #[serde(default, deserialize_with = "maybe")]
    pub size: Option<u64>,
    #[serde(default, deserialize_with = "or_default")]
    pub details: Details,
    /// Since v0.30.
    #[serde(default, deserialize_with = "maybe")]
    pub capabilities: Option<Vec<String>>,
    /// A stub for a model in the cloud; never takes local memory.
    #[serde(default, deserialize_with = "maybe")]
    pub remote_model: Option<String>,
    #[serde(default, deserialize_with = "maybe")]
    pub remote_host: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Details {
    #[serde(deserialize_with = "maybe")]
    pub format: Option<String>,
    #[serde(deserialize_with = "maybe")]
    pub family: Option<String>,
    #[serde(deserialize_with = "maybe")]
    pub parameter_size: Option<String>,
    #[serde(deserialize_with = "maybe")]
    pub quantization_level: Option<String>,
    #[serde(deserialize_with = "maybe")]
    pub context_length: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct ShowRequest<'a> {
    pub model: &'a str,
}

/// What the head of the model's file says.
#[derive(Debug, Deserialize)]
pub(super) struct Show {
    pub model_info: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    pub tensors: Vec<ToldTensor>,
}

/// What a model is made of, as one would write it down to make it again.
#[derive(Debug, Deserialize)]
pub(super) struct MadeFrom {
    pub modelfile: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Running {
    pub models: Rows<RunningModel>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct RunningModel {
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// 0 where the runner's log was not understood: not reported.
    #[serde(default, deserialize_with = "maybe")]
    pub size: Option<u64>,
    #[serde(default, deserialize_with = "maybe")]
    pub size_vram: Option<u64>,
    #[serde(default, deserialize_with = "maybe")]
    pub expires_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "maybe")]
    pub context_length: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct KeepAlive<'a> {
    pub model: &'a str,
    /// -1: stays until it is unloaded; 0: goes at once.
    pub keep_alive: i32,
    pub stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<LoadOptions>,
}

/// A load of an embedding model has no texts.
#[derive(Debug, Serialize)]
pub(super) struct Embed<'a> {
    pub model: &'a str,
    pub input: [&'a str; 0],
    pub keep_alive: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<LoadOptions>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct LoadOptions {
    pub num_ctx: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Done {}

#[derive(Debug, Serialize)]
pub(super) struct Generate<'a> {
    pub model: &'a str,
    pub prompt: &'a str,
    pub raw: bool,
    pub stream: bool,
    pub options: Options,
}

#[derive(Debug, Serialize)]
pub(super) struct Chat<'a> {
    pub model: &'a str,
    pub messages: [Message<'a>; 1],
    pub stream: bool,
    pub options: Options,
}

#[derive(Debug, Serialize)]
pub(super) struct Message<'a> {
    pub role: &'a str,
    pub content: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct Options {
    pub temperature: f32,
    pub seed: u32,
    pub num_predict: u32,
}

/// A line of an answer, of `generate` or of `chat`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AnswerLine {
    #[serde(deserialize_with = "maybe")]
    pub model: Option<String>,
    #[serde(deserialize_with = "words")]
    pub response: String,
    #[serde(deserialize_with = "words")]
    pub thinking: String,
    #[serde(deserialize_with = "or_default")]
    pub message: AnswerMessage,
    #[serde(deserialize_with = "or_default")]
    pub done: bool,
    #[serde(deserialize_with = "maybe")]
    pub done_reason: Option<String>,
    #[serde(deserialize_with = "count")]
    pub prompt_eval_count: Option<u32>,
    /// Merged after v0.33; cached tokens of the prompt.
    #[serde(deserialize_with = "count")]
    pub prompt_eval_cached_count: Option<u32>,
    #[serde(deserialize_with = "maybe")]
    pub prompt_eval_duration: Option<u64>,
    #[serde(deserialize_with = "count")]
    pub eval_count: Option<u32>,
    #[serde(deserialize_with = "maybe")]
    pub eval_duration: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AnswerMessage {
    #[serde(deserialize_with = "words")]
    pub content: String,
    #[serde(deserialize_with = "words")]
    pub thinking: String,
}
