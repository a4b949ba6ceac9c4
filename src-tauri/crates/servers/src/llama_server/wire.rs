//! The JSON of llama-server b10068 in router mode. Unknown keys are ignored; builds differ.

use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize)]
pub(super) struct Props {
    pub build_info: Option<String>,
    pub default_generation_settings: Option<GenerationSettings>,
    pub total_slots: Option<u32>,
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
    /// The command line of its child.
    #[serde(default)]
    pub args: Vec<String>,
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

impl ModelEntry {
    /// Where its child listens. The router writes 0 until it has started one, and leaves the last port in the entry of a model
    /// that is not in memory any more.
    pub fn port(&self) -> Option<u16> {
        matches!(self.status.value.as_str(), "loaded" | "sleeping")
            .then(|| crate::slots::port_in(&self.status.args))
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As b10068 tells it, shortened.
    #[test]
    fn only_a_model_in_memory_has_a_child_with_a_port() {
        let port = |value: &str, port: &str| {
            let entry = serde_json::json!({ "id": "m", "status": {
                "value": value, "args": ["llama-server", "--host", "127.0.0.1", "--port", port, "--alias", "m"] } });
            serde_json::from_value::<ModelEntry>(entry).unwrap().port()
        };
        assert_eq!(port("loaded", "47581"), Some(47581));
        assert_eq!(port("sleeping", "47581"), Some(47581));
        assert_eq!((port("unloaded", "47581"), port("loading", "47581")), (None, None));
        assert_eq!((port("loaded", "0"), port("loaded", "x")), (None, None));
        let older = serde_json::json!({ "id": "m", "status": { "value": "loaded" } });
        assert_eq!(serde_json::from_value::<ModelEntry>(older).unwrap().port(), None);
    }
}
