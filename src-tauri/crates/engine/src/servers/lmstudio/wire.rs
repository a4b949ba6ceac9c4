//! The JSON of LM Studio: v1 (0.4 and later) and v0 (0.3.6 and later). Bodies that carry an `error`
//! come with HTTP 200 too; the shared decoder refuses those.

use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize)]
pub(super) struct Greeting {
    pub lmstudio: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct ModelsV1 {
    pub models: Vec<ModelV1>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ModelV1 {
    #[serde(rename = "type", default)]
    pub kind: String,
    pub key: String,
    pub display_name: Option<String>,
    pub quantization: Option<Quantization>,
    pub size_bytes: Option<u64>,
    pub params_string: Option<String>,
    #[serde(default)]
    pub loaded_instances: Vec<InstanceV1>,
    pub max_context_length: Option<u64>,
    pub format: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Quantization {
    pub name: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct InstanceV1 {
    pub id: String,
    #[serde(default)]
    pub config: ConfigV1,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ConfigV1 {
    pub context_length: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ModelsV0 {
    pub data: Vec<RowV0>,
}

/// A model, or one instance of it when it is loaded.
#[derive(Debug, Deserialize)]
pub(super) struct RowV0 {
    pub id: String,
    #[serde(rename = "type", default)]
    pub kind: String,
    pub compatibility_type: Option<String>,
    pub quantization: Option<String>,
    pub state: String,
    pub max_context_length: Option<u64>,
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

/// One event of a v1 stream; the names are in `type`.
#[derive(Debug, Deserialize)]
pub(super) struct EventV1 {
    #[serde(rename = "type")]
    pub kind: String,
    pub content: Option<String>,
    pub error: Option<ErrorV1>,
    pub result: Option<ResultV1>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ErrorV1 {
    pub message: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct ResultV1 {
    #[serde(default)]
    pub stats: StatsV1,
}

/// Seconds and tokens per second. The decode rate leaves the time to the first token out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StatsV1 {
    pub input_tokens: Option<u32>,
    pub total_output_tokens: Option<u32>,
    pub tokens_per_second: Option<f64>,
}
