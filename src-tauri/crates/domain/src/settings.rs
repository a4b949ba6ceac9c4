//! What people can set, with defaults and checks. Reading and writing the file is the engine's work.

mod check;
pub mod keys;
pub mod parallel;
mod servers;
mod shortcut;
#[cfg(test)]
mod tests;

pub use check::Mistake;
pub use servers::{
    LlamaModelSettings, LlamaServerSettings, LmStudioSettings, OllamaSettings, RemoteSettings,
    ServersSettings,
};
pub use shortcut::shortcut;

use crate::scene::SceneSettings;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use ts_rs::TS;

/// All settings. Every key is optional in the file; unknown keys are a mistake and named.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct Settings {
    pub gateway: GatewaySettings,
    pub switching: SwitchingSettings,
    pub memory: MemorySettings,
    pub web: WebSettings,
    pub gauges: GaugeSettings,
    pub tray: TraySettings,
    pub notifications: NotificationSettings,
    pub restart: RestartSettings,
    pub bench: BenchSettings,
    pub history: HistorySettings,
    pub servers: ServersSettings,
    /// Named sets of roles.
    pub scenes: BTreeMap<String, SceneSettings>,
}

/// The one address for client programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct GatewaySettings {
    pub enabled: bool,
    /// 0 lets the system choose.
    pub port: u16,
    /// Names by which it may be asked besides those of loopback: exact, without scheme, port and wildcard.
    pub hosts: Vec<String>,
    /// Origins whose web pages may ask it: exact, such as `app://obsidian.md` or `http://localhost:3000`; none by default.
    pub origins: Vec<String>,
    /// Longest wait of a request for a switch to end, in seconds.
    pub wait_s: u32,
    /// The most requests that wait at a time, for a switch or for a model that has as many answers under way as it gives at
    /// a time.
    pub queue: u32,
    /// Longest wait of a request for its turn, in seconds.
    pub queue_wait_s: u32,
    /// Further names that programs may ask by, each with the role or model that it means. `*` stands for any characters: `claude-*`.
    pub aliases: BTreeMap<String, String>,
    /// Answer Prometheus at `/metrics`, for a token of its own.
    pub metrics: bool,
    /// A second port, where it answers in Ollama's own words as well, for programs that only know those; 0: none.
    pub ollama_port: u16,
    /// Programs of this machine need a key too, as all others do.
    pub require_key: bool,
    /// Listen on the bridges of Docker and Podman too (Linux), where every program needs a key.
    pub container_bridges: bool,
    /// Leave out the text by which Claude Code tells Anthropic what to bill: it changes with each request, and a server
    /// would read the whole prompt anew.
    pub mask_billing: bool,
    /// The address of an OpenTelemetry collector that is told of each request (OTLP over HTTP); empty: none.
    pub otlp: String,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            enabled: true,
            port: 11480,
            hosts: vec![],
            origins: vec![],
            wait_s: 30,
            queue: 1024,
            queue_wait_s: 600,
            aliases: BTreeMap::new(),
            metrics: false,
            ollama_port: 0,
            require_key: false,
            container_bridges: false,
            mask_billing: true,
            otlp: String::new(),
        }
    }
}

/// How long the parts of a switch may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct SwitchingSettings {
    /// How long answers of the previous model may go on, in seconds, before they are cut.
    pub drain_s: u64,
    /// A load may take five times as long as the slowest of the last loads of that model, but at least so many seconds.
    pub load_floor_s: u64,
    /// And at most so many; also the limit of a first load.
    pub load_ceiling_s: u64,
}

impl Default for SwitchingSettings {
    fn default() -> Self {
        Self { drain_s: 30, load_floor_s: 60, load_ceiling_s: 900 }
    }
}

/// What a request for a model that is not in memory may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum LoadOnRequest {
    Never,
    /// Load it when it fits beside everything.
    #[default]
    WhenItFits,
    /// Also by taking out idle models that were loaded on request.
    EvictIdle,
}

/// What is in memory beside the active model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct MemorySettings {
    pub load_on_request: LoadOnRequest,
    /// A model that was loaded on request leaves memory after so many seconds without one; 0: it stays.
    pub idle_s: u64,
    /// Take idle models that were loaded on request out when the system's memory runs short, then those of background roles.
    pub yield_under_pressure: bool,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self { load_on_request: LoadOnRequest::WhenItFits, idle_s: 900, yield_under_pressure: true }
    }
}

/// The door for the web UI and the command line.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct WebSettings {
    /// 0 lets the system choose.
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct GaugeSettings {
    /// Milliseconds between samples, 200 to 60 000.
    pub interval_ms: u64,
    /// Look at the containers of a Docker engine that runs on this machine.
    pub docker: bool,
}

impl Default for GaugeSettings {
    fn default() -> Self {
        Self { interval_ms: 1000, docker: true }
    }
}

/// Which gauges the icon draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum TrayGauge {
    #[default]
    None,
    Memory,
    Gpu,
    Both,
}

/// What the tray icon shows besides the state, and the keys of the tray app.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct TraySettings {
    /// Gauges drawn in the icon.
    pub gauge: TrayGauge,
    /// Per cent of memory and GPU as text beside the icon, where the bar shows such a text (macOS; GNOME with its extension).
    pub text: bool,
    /// Keys that make the previous model active whichever program has the focus, such as "Ctrl+Alt+P"; empty: none.
    pub previous_model_shortcut: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct NotificationSettings {
    pub enabled: bool,
    /// Hours in which the desktop shows only problems, by the machine's own time: "22:00-07:00"; empty: none.
    pub quiet: String,
}

impl Default for NotificationSettings {
    fn default() -> Self {
        Self { enabled: true, quiet: String::new() }
    }
}

/// The benchmark lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct BenchSettings {
    /// A first token within so many milliseconds is in time; 1 to 60 000. The default is the longest of the owner's queries of
    /// 200 to 300 ms.
    pub slo_ms: u32,
    /// Measure models that have an accepted baseline, a minute each, when their server has changed its version and the machine
    /// has been idle for ten minutes.
    pub check_after_update: bool,
}

impl Default for BenchSettings {
    fn default() -> Self {
        Self { slo_ms: 300, check_after_update: false }
    }
}

/// How many days the bulky parts of runs, and the records of requests, are kept; 0: for ever. Runs, their figures and each measured
/// request always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct HistorySettings {
    /// The time between the events of each answer; how it was spread is kept beyond.
    pub gaps_days: u32,
    /// Each sample of a trace; beyond, its minutes.
    pub traces_days: u32,
    /// The minutes of a trace; not less than `traces_days`.
    pub trace_minutes_days: u32,
    pub warmups_days: u32,
    /// Records of requests through the one address, of which the newest 200,000 are kept in any case.
    pub requests_days: u32,
}

impl Default for HistorySettings {
    fn default() -> Self {
        Self { gaps_days: 90, traces_days: 30, trace_minutes_days: 365, warmups_days: 30, requests_days: 30 }
    }
}

/// When a crashed server of ours is started again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct RestartSettings {
    /// Wait before the first restart; doubles with each crash.
    pub first_ms: u64,
    pub max_ms: u64,
    /// Crashes within `window_s` after which nobody restarts it any more.
    pub max_crashes: u32,
    pub window_s: u64,
    /// A server of ours that gives neither an answer nor a token for so long is killed and started again; 0: never.
    pub hang_s: u64,
    /// How long one token may take when a server is under suspicion.
    pub token_s: u64,
    /// Longest time from a start to the first answer; 0: as the kind of server needs.
    pub start_s: u64,
}

impl Default for RestartSettings {
    fn default() -> Self {
        Self {
            first_ms: 500,
            max_ms: 30_000,
            max_crashes: 5,
            window_s: 120,
            hang_s: 60,
            token_s: 15,
            start_s: 0,
        }
    }
}

impl RestartSettings {
    pub fn policy(&self) -> crate::backoff::RestartPolicy {
        crate::backoff::RestartPolicy {
            first_ms: self.first_ms,
            max_ms: self.max_ms,
            max_crashes: self.max_crashes,
            window_ms: self.window_s.saturating_mul(1000),
            hang_ms: self.hang_s.saturating_mul(1000),
            token_ms: self.token_s.saturating_mul(1000),
            start_ms: self.start_s.saturating_mul(1000),
            ..Default::default()
        }
    }
}
