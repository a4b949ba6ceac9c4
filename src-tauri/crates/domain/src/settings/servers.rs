//! The part of the settings that is about servers: those of this machine, and those of other owners.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use ts_rs::TS;

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct ServersSettings {
    #[serde(rename = "llama-server")]
    pub llama_server: LlamaServerSettings,
    pub ollama: OllamaSettings,
    pub lmstudio: LmStudioSettings,
    /// Servers of other owners, mostly on other machines; the name is the server's id.
    pub remote: BTreeMap<String, RemoteSettings>,
}

/// The embedded server, always ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct LlamaServerSettings {
    pub enabled: bool,
    /// Start it together with Pilothouse.
    pub autostart: bool,
    /// The program; empty: beside the app, in the data directory, on the PATH.
    pub program: String,
    /// A folder with GGUF files, also in folders below it; empty: `models` in the data directory.
    pub models_dir: String,
    /// 0 lets the system choose.
    pub port: u16,
    /// Context length of each model in tokens; 0: the model's own, as much of it as fits comfortably.
    pub context: u32,
    /// Requests at a time.
    pub parallel: u32,
    /// What is different for single models, by the model's name.
    pub models: BTreeMap<String, LlamaModelSettings>,
}

/// What is different for one model. Whatever is left out is as for all models.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct LlamaModelSettings {
    /// Context length in tokens; 0: the model's own, as much of it as fits comfortably.
    pub context: Option<u32>,
    /// Requests at a time.
    pub parallel: Option<u32>,
    /// Layers on the GPU; absent: as many as fit.
    pub gpu_layers: Option<u32>,
    /// Type of the KV cache: "f16", "q8_0", "q4_0", …
    pub kv_type: Option<String>,
    pub flash_attention: Option<bool>,
    /// Further flags of llama-server without their dashes ("temp" = "0.2").
    pub options: BTreeMap<String, String>,
}

impl Default for LlamaServerSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            autostart: true,
            program: String::new(),
            models_dir: String::new(),
            port: 0,
            context: 0,
            parallel: 1,
            models: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct OllamaSettings {
    pub enabled: bool,
    /// Start `ollama serve` together with Pilothouse when none runs.
    pub autostart: bool,
    /// The program; empty: on the PATH and in the usual places.
    pub program: String,
    /// Where one is looked for, and where ours listens.
    pub address: String,
    /// Folder with the models of an `ollama serve` of ours; empty: Ollama's own default.
    pub models_dir: String,
    /// Context length in tokens; 0: Ollama chooses by the memory of the GPU.
    pub context: u32,
    /// Requests at a time for each model; 0: Ollama's own default.
    pub parallel: u32,
    /// Models in memory at once; 0: Ollama's own default.
    pub max_models: u32,
    /// How long an idle model stays ("10m", "-1" for ever); empty: Ollama's own default.
    pub keep_alive: String,
    /// "on", "off"; empty: Ollama chooses.
    pub flash_attention: String,
    /// Type of the KV cache: "f16", "q8_0", "q4_0"; empty: f16. The smaller ones need flash attention.
    pub kv_type: String,
    /// Further environment of an `ollama serve` of ours ("OLLAMA_ORIGINS" = "…").
    pub environment: BTreeMap<String, String>,
}

impl Default for OllamaSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            autostart: true,
            program: String::new(),
            address: "http://127.0.0.1:11434".into(),
            models_dir: String::new(),
            context: 0,
            parallel: 0,
            max_models: 0,
            keep_alive: String::new(),
            flash_attention: String::new(),
            kv_type: String::new(),
            environment: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct LmStudioSettings {
    pub enabled: bool,
    /// Where its HTTP server is looked for; empty: port and bind address from its own configuration, else 1234.
    pub address: String,
    /// Its home folder; empty: found as `lms` finds it.
    pub home: String,
    /// Start its HTTP server together with Pilothouse, and the program behind it when none runs: llmster if it is there,
    /// else the app without its window.
    pub autostart: bool,
}

impl Default for LmStudioSettings {
    fn default() -> Self {
        Self { enabled: true, address: String::new(), home: String::new(), autostart: false }
    }
}

/// An OpenAI-compatible endpoint that Pilothouse watches and uses, and never starts or stops. Its key is not here but in
/// the keyring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct RemoteSettings {
    pub enabled: bool,
    /// Base of its API: "http://studio.local:11434/v1". Without a path, `/v1` is meant.
    pub address: String,
    /// The name as people read it; empty: the id.
    pub title: String,
}

impl Default for RemoteSettings {
    fn default() -> Self {
        Self { enabled: true, address: String::new(), title: String::new() }
    }
}
