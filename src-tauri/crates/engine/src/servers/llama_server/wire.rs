//! The JSON of llama-server b10068 in router mode. Unknown keys are ignored; builds differ.

use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize)]
pub(super) struct Props {
    pub build_info: Option<String>,
    pub default_generation_settings: Option<GenerationSettings>,
}

#[derive(Debug, Deserialize)]
pub(super) struct GenerationSettings {
    pub n_ctx: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ModelList {
    pub data: Vec<ModelEntry>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ModelEntry {
    pub id: String,
    pub status: ModelStatus,
}

/// `value`: unloaded, loading, loaded, sleeping; others are possible and count as busy.
#[derive(Debug, Deserialize)]
pub(super) struct ModelStatus {
    pub value: String,
    #[serde(default)]
    pub failed: bool,
    pub exit_code: Option<i64>,
}

#[derive(Debug, Serialize)]
pub(super) struct ModelName<'a> {
    pub model: &'a str,
}

#[derive(Debug, Deserialize)]
pub(super) struct Success {}

#[derive(Debug, Serialize)]
pub(super) struct Completion<'a> {
    pub model: &'a str,
    pub prompt: &'a str,
    pub n_predict: u32,
    pub temperature: f32,
    pub seed: u32,
    pub cache_prompt: bool,
    pub ignore_eos: bool,
    pub stream: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct CompletionEvent {
    #[serde(default)]
    pub content: String,
    #[serde(default)]
    pub stop: bool,
    pub stop_type: Option<String>,
    pub timings: Option<Timings>,
}

/// Milliseconds and tokens; `prompt_n` leaves cached tokens out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Timings {
    pub cache_n: Option<u32>,
    pub prompt_n: Option<u32>,
    pub prompt_ms: Option<f64>,
    pub predicted_n: Option<u32>,
    pub predicted_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Chat<'a> {
    pub model: &'a str,
    pub messages: [Message<'a>; 1],
    pub max_tokens: u32,
    pub temperature: f32,
    pub stream: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Message<'a> {
    pub role: &'a str,
    pub content: &'a str,
}

#[derive(Debug, Deserialize)]
pub(super) struct ChatEvent {
    #[serde(default)]
    pub choices: Vec<Choice>,
    pub timings: Option<Timings>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    #[serde(default)]
    pub delta: Delta,
    pub finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Delta {
    pub content: Option<String>,
    pub reasoning_content: Option<String>,
}
