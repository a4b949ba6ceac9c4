//! The JSON of llama-server b10068 in router mode. Unknown keys are ignored; builds differ.

use crate::{
    openai::{Message, Timings},
    rows::{Rows, maybe, name, or_default, words},
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize)]
pub(super) struct Props {
    #[serde(default, deserialize_with = "maybe")]
    pub build_info: Option<String>,
    #[serde(default, deserialize_with = "maybe")]
    pub default_generation_settings: Option<GenerationSettings>,
    #[serde(default, deserialize_with = "maybe")]
    pub total_slots: Option<u32>,
}

#[derive(Debug, Deserialize)]
pub(super) struct GenerationSettings {
    #[serde(default, deserialize_with = "maybe")]
    pub n_ctx: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ModelList {
    pub data: Rows<ModelEntry>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ModelEntry {
    #[serde(deserialize_with = "name")]
    pub id: String,
    pub status: ModelStatus,
}

/// `value`: unloaded, loading, loaded, sleeping; others are possible and count as busy.
#[derive(Debug, Deserialize)]
pub(super) struct ModelStatus {
    pub value: String,
    #[serde(default, deserialize_with = "or_default")]
    pub failed: bool,
    #[serde(default, deserialize_with = "maybe")]
    pub exit_code: Option<i64>,
    /// The command line of its child.
    #[serde(default, deserialize_with = "or_default")]
    pub args: Vec<String>,
}

/// An event of `/models/sse`; `model` is "*" where it is about all.
#[derive(Debug, Deserialize)]
pub(super) struct ModelEvent {
    #[serde(deserialize_with = "name")]
    pub model: String,
    #[serde(default, deserialize_with = "maybe")]
    pub data: Option<ModelEventData>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ModelEventData {
    #[serde(default, deserialize_with = "maybe")]
    pub status: Option<String>,
    #[serde(default, deserialize_with = "maybe")]
    pub progress: Option<ModelProgress>,
}

/// How far a load has come: what is loaded one after the other (the model, a draft, a projector), and how much of the current one.
#[derive(Debug, Deserialize)]
pub(super) struct ModelProgress {
    #[serde(default, deserialize_with = "or_default")]
    pub stages: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub current: String,
    #[serde(default, deserialize_with = "maybe")]
    pub value: Option<f64>,
}

impl ModelProgress {
    /// 0–1; each stage counts as much as another, for their sizes are not told.
    pub fn fraction(&self) -> Option<f64> {
        let before = self.stages.iter().position(|stage| *stage == self.current)?;
        let value = self.value.filter(|value| value.is_finite())?.clamp(0.0, 1.0);
        Some((before as f64 + value) / self.stages.len() as f64)
    }
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
    #[serde(default, deserialize_with = "words")]
    pub content: String,
    #[serde(default, deserialize_with = "or_default")]
    pub stop: bool,
    #[serde(default, deserialize_with = "maybe")]
    pub stop_type: Option<String>,
    #[serde(default, deserialize_with = "maybe")]
    pub timings: Option<Timings>,
}

#[derive(Debug, Serialize)]
pub(super) struct Chat<'a> {
    pub model: &'a str,
    pub messages: [Message<'a>; 1],
    pub max_tokens: u32,
    pub temperature: f32,
    pub stream: bool,
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
