//! What people can set, with defaults and checks. Reading and writing the file is the engine's work.

use crate::{endpoint::parsed, tray::TrayGauge};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use ts_rs::TS;
use url::Url;

/// All settings. Every key is optional in the file; unknown keys are a mistake and named.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct Settings {
    pub gateway: GatewaySettings,
    pub switching: SwitchingSettings,
    pub web: WebSettings,
    pub gauges: GaugeSettings,
    pub tray: TraySettings,
    pub notifications: NotificationSettings,
    pub restart: RestartSettings,
    pub servers: ServersSettings,
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
    /// Longest wait of a request for a switch to end, in seconds.
    pub wait_s: u32,
    /// The most requests that wait at a time, for a switch or for a model that has as many answers under way as it gives at
    /// a time.
    pub queue: u32,
    /// Longest wait of a request for its turn, in seconds.
    pub queue_wait_s: u32,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self { enabled: true, port: 11480, hosts: vec![], wait_s: 30, queue: 1024, queue_wait_s: 600 }
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

/// What the tray icon shows besides the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct TraySettings {
    /// Gauges drawn in the icon.
    pub gauge: TrayGauge,
    /// Per cent of memory and GPU as text beside the icon (macOS).
    pub text: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct NotificationSettings {
    pub enabled: bool,
}

impl Default for NotificationSettings {
    fn default() -> Self {
        Self { enabled: true }
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
    /// A folder with GGUF files; empty: `models` in the data directory.
    pub models_dir: String,
    /// 0 lets the system choose.
    pub port: u16,
    /// Context length of each model in tokens; 0: the model's own.
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
    /// Context length in tokens; 0: the model's own.
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
            context: 4096,
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

/// A value that is out of its range: the dotted key and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub key: String,
    pub allowed: &'static str,
}

impl Settings {
    /// Checks what types cannot say; the first mistake wins.
    pub fn check(&self) -> Result<(), Mistake> {
        let mistake = |key: &str, allowed| Err(Mistake { key: key.to_owned(), allowed });
        if !(200..=60_000).contains(&self.gauges.interval_ms) {
            return mistake("gauges.interval_ms", "200 to 60000");
        }
        if !(1..=600).contains(&self.gateway.wait_s) {
            return mistake("gateway.wait_s", "1 to 600");
        }
        if !(1..=10_000).contains(&self.gateway.queue) {
            return mistake("gateway.queue", "1 to 10000");
        }
        if !(1..=3600).contains(&self.gateway.queue_wait_s) {
            return mistake("gateway.queue_wait_s", "1 to 3600");
        }
        if !self.gateway.hosts.iter().all(|host| is_host(host)) {
            return mistake(
                "gateway.hosts",
                "names such as \"host.docker.internal\", without scheme, port, path and *",
            );
        }
        if self.switching.drain_s > 3600 {
            return mistake("switching.drain_s", "0 (cut at once) to 3600");
        }
        if !(1..=3600).contains(&self.switching.load_floor_s) {
            return mistake("switching.load_floor_s", "1 to 3600");
        }
        if !(self.switching.load_floor_s..=7200).contains(&self.switching.load_ceiling_s) {
            return mistake("switching.load_ceiling_s", "switching.load_floor_s to 7200");
        }
        if !(1..=100).contains(&self.restart.max_crashes) {
            return mistake("restart.max_crashes", "1 to 100");
        }
        if self.restart.first_ms == 0 || self.restart.first_ms > self.restart.max_ms {
            return mistake("restart.first_ms", "1 up to restart.max_ms");
        }
        if !(1..=86_400).contains(&self.restart.window_s) {
            return mistake("restart.window_s", "1 to 86400");
        }
        if self.restart.hang_s > 86_400 {
            return mistake("restart.hang_s", "0 (never) to 86400");
        }
        if !(1..=600).contains(&self.restart.token_s) {
            return mistake("restart.token_s", "1 to 600");
        }
        if !(1..=64).contains(&self.servers.llama_server.parallel) {
            return mistake("servers.llama-server.parallel", "1 to 64");
        }
        for (name, model) in &self.servers.llama_server.models {
            let key = |field: &str| format!("servers.llama-server.models.{name}{field}");
            if !model.parallel.is_none_or(|parallel| (1..=64).contains(&parallel)) {
                return mistake(&key(".parallel"), "1 to 64");
            }
            let texts = model.options.iter().flat_map(|(name, value)| [name, value]);
            let mut texts = texts.chain([name]).chain(&model.kv_type);
            if texts.any(|text| text.is_empty() || text.contains(['\n', '\r', '[', ']', '='])) {
                return mistake(&key(""), "names and values on one line, without [, ] and =");
            }
        }
        if !["", "on", "off"].contains(&self.servers.ollama.flash_attention.as_str()) {
            return mistake("servers.ollama.flash_attention", "empty, on or off");
        }
        if !["", "f16", "q8_0", "q4_0"].contains(&self.servers.ollama.kv_type.as_str()) {
            return mistake("servers.ollama.kv_type", "empty, f16, q8_0 or q4_0");
        }
        if !self.servers.ollama.address.starts_with("http://") {
            return mistake("servers.ollama.address", "an address such as http://127.0.0.1:11434");
        }
        let lmstudio = &self.servers.lmstudio.address;
        if !lmstudio.is_empty() && !lmstudio.starts_with("http://") {
            return mistake("servers.lmstudio.address", "empty, or an address such as http://127.0.0.1:1234");
        }
        for (name, remote) in &self.servers.remote {
            if !is_id(name) {
                let allowed =
                    "a name of 1 to 32 of a-z, 0-9 and -, and none of llama-server, ollama, lmstudio";
                return mistake(&format!("servers.remote.{name}"), allowed);
            }
            if !is_base(&remote.address) {
                let allowed = "an address such as http://studio.local:11434/v1, without key, ? and #";
                return mistake(&format!("servers.remote.{name}.address"), allowed);
            }
        }
        Ok(())
    }
}

/// A name that can stand in file names, calls and `<server>/<model>`.
fn is_id(name: &str) -> bool {
    let taken = ["llama-server", "ollama", "lmstudio"].contains(&name);
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !taken && (1..=32).contains(&name.len()) && name.chars().all(allowed)
}

/// A name or address of a machine by itself, as a `Host` header has it; an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bracketed {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => (1..=253).contains(&host.len()) && host.chars().all(plain),
    }
}

/// A base address. A key inside it would end in logs and on screens.
fn is_base(address: &str) -> bool {
    let web = ["http://", "https://"].iter().any(|scheme| address.starts_with(scheme));
    let plain = |url: Url| {
        let anonymous = url.username().is_empty() && url.password().is_none();
        anonymous && url.query().is_none() && url.fragment().is_none()
    };
    web && !address.contains(['@', ' ']) && parsed(address).is_some_and(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_allowed() {
        assert_eq!(Settings::default().check(), Ok(()));
    }

    #[test]
    fn a_value_out_of_range_is_named() {
        let mut settings = Settings::default();
        settings.gauges.interval_ms = 5;
        assert_eq!(settings.check().unwrap_err().key, "gauges.interval_ms");
    }

    #[test]
    fn hosts_of_the_gateway_are_exact_names() {
        let check = |host: &str| {
            let mut settings = Settings::default();
            settings.gateway.hosts = vec!["ok.example".into(), host.into()];
            settings.check().map_err(|mistake| mistake.key)
        };
        for host in ["host.docker.internal", "192.168.1.5", "[fd00::1]", "my_box", "xn--bcher-kva.example"] {
            assert_eq!(check(host), Ok(()), "{host}");
        }
        for host in [
            "",
            "*",
            "*.example",
            "http://a",
            "a:80",
            "a/b",
            "a b",
            "a@b",
            "fd00::1",
            "[x]",
            "bücher.example",
        ] {
            assert_eq!(check(host), Err("gateway.hosts".into()), "{host}");
        }
    }

    #[test]
    fn remote_servers_need_a_name_of_their_own_and_an_address_without_secrets() {
        let check = |name: &str, address: &str| {
            let mut settings = Settings::default();
            let remote = RemoteSettings { address: address.into(), ..RemoteSettings::default() };
            settings.servers.remote.insert(name.into(), remote);
            settings.check().map_err(|mistake| mistake.key)
        };
        assert_eq!(check("studio", "https://studio.local:8000/v1"), Ok(()));
        assert_eq!(check("ollama", "https://studio.local/v1"), Err("servers.remote.ollama".into()));
        assert_eq!(check("My Mac", "https://studio.local/v1"), Err("servers.remote.My Mac".into()));
        for address in [
            "",
            "studio.local",
            "http://",
            "http:///v1",
            "http://me:secret@studio/v1",
            "http://@studio/v1",
            "https://x/v1?key=1",
            "https://x/v1#key",
            "http://x:99999/v1",
            "http://x y/v1",
            "http://[::1/v1",
            "ftp://x/v1",
        ] {
            assert_eq!(check("studio", address), Err("servers.remote.studio.address".into()), "{address}");
        }
    }
}
