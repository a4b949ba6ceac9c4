//! The JSON of the OpenAI form, as far as every server of the kind agrees on it.

use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize)]
pub struct ModelList {
    pub data: Vec<ModelRow>,
}

/// Only `id` is certain. vLLM adds `max_model_len`, llama-server `meta`.
#[derive(Debug, Deserialize)]
pub struct ModelRow {
    pub id: String,
    pub max_model_len: Option<u64>,
    #[serde(default)]
    pub meta: Option<Meta>,
}

#[derive(Debug, Deserialize)]
pub struct Meta {
    pub n_ctx_train: Option<u64>,
    /// Bytes of the weights.
    pub size: Option<u64>,
}

#[derive(Debug, Serialize)]
pub struct Completion<'a> {
    pub model: &'a str,
    pub prompt: &'a str,
    pub stream: bool,
    pub stream_options: StreamOptions,
    pub temperature: f32,
    pub max_tokens: u32,
}

#[derive(Debug, Serialize)]
pub struct Chat<'a> {
    pub model: &'a str,
    pub messages: [Message<'a>; 1],
    pub stream: bool,
    pub stream_options: StreamOptions,
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

#[derive(Debug, Deserialize)]
pub struct Chunk {
    #[serde(default)]
    pub choices: Vec<Choice>,
    pub usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
pub struct Choice {
    #[serde(default)]
    pub delta: Delta,
    pub text: Option<String>,
    pub finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub struct Delta {
    pub content: Option<String>,
    pub reasoning_content: Option<String>,
    pub reasoning: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Usage {
    pub prompt_tokens: Option<u32>,
    pub completion_tokens: Option<u32>,
    pub prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct PromptDetails {
    pub cached_tokens: Option<u32>,
}
