//! Ranges and forms that types cannot say.

use super::{HistorySettings, Settings, shortcut};
use crate::{
    endpoint::parsed,
    notice::QuietHours,
    scene::{MOST, RoleSettings, check_alias, check_name, check_role},
};
use url::Url;

/// A value that is out of its range: the dotted key and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub key: String,
    pub allowed: &'static str,
}

/// The port that is offered for Ollama's own API: the next after Ollama's.
const OLLAMA_PORT: u16 = 11_435;

impl Settings {
    /// A port that `gateway.ollama_port` may have, where it has none.
    pub fn free_ollama_port(&self) -> u16 {
        let taken = [&self.ports_of_others()[..], &[Some(self.web.port)]].concat();
        (OLLAMA_PORT..).find(|port| !taken.contains(&Some(*port))).unwrap_or(OLLAMA_PORT)
    }

    /// Those that `gateway.ollama_port` may not have: the gateway's, and Ollama's own.
    fn ports_of_others(&self) -> [Option<u16>; 2] {
        let ollama = parsed(&self.servers.ollama.address).and_then(|url| url.port_or_known_default());
        [Some(self.gateway.port), ollama.filter(|_| self.servers.ollama.enabled)]
    }

    /// Checks what types cannot say; the first mistake wins.
    pub fn check(&self) -> Result<(), Mistake> {
        let mistake = |key: &str, allowed| Err(Mistake { key: key.to_owned(), allowed });
        let quiet = &self.notifications.quiet;
        if !quiet.is_empty() && QuietHours::parse(quiet).is_none() {
            return mistake("notifications.quiet", "empty, or two different times such as 22:00-07:00");
        }
        let keys = &self.tray.previous_model_shortcut;
        if !keys.is_empty() && shortcut(keys).is_none() {
            return mistake(
                "tray.previous_model_shortcut",
                "empty, or keys such as Ctrl+Alt+P: Ctrl, Alt or Super (Cmd), perhaps Shift, and one letter, digit or F key",
            );
        }
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
        if self.gateway.ollama_port > 0 && self.ports_of_others().contains(&Some(self.gateway.ollama_port)) {
            return mistake("gateway.ollama_port", "a port that neither gateway.port nor Ollama itself has");
        }
        if !self.gateway.origins.iter().all(|origin| is_origin(origin)) {
            return mistake(
                "gateway.origins",
                "origins such as \"http://localhost:3000\" or \"app://obsidian.md\", without path and *",
            );
        }
        if !self.gateway.otlp.is_empty() && !is_web_address(&self.gateway.otlp) {
            return mistake("gateway.otlp", "empty, or an address such as \"http://127.0.0.1:4318\"");
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
        if !(1..=3_600_000).contains(&self.restart.max_ms) {
            return mistake("restart.max_ms", "1 to 3600000");
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
        if self.restart.start_s > 86_400 {
            return mistake("restart.start_s", "0 (as the kind of server needs) to 86400");
        }
        if !(1..=60_000).contains(&self.bench.slo_ms) {
            return mistake("bench.slo_ms", "1 to 60000");
        }
        let HistorySettings { gaps_days, traces_days, trace_minutes_days, warmups_days, requests_days } =
            self.history;
        for (key, days) in [
            ("history.gaps_days", gaps_days),
            ("history.traces_days", traces_days),
            ("history.trace_minutes_days", trace_minutes_days),
            ("history.warmups_days", warmups_days),
            ("history.requests_days", requests_days),
        ] {
            if days > 36_500 {
                return mistake(key, "0 (for ever) to 36500");
            }
        }
        if trace_minutes_days > 0 && trace_minutes_days < traces_days {
            return mistake("history.trace_minutes_days", "0 (for ever), or history.traces_days to 36500");
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
        self.check_scenes()
    }

    fn check_scenes(&self) -> Result<(), Mistake> {
        let mistake = |key: String, allowed| Err(Mistake { key, allowed });
        if self.memory.idle_s > 604_800 {
            return mistake("memory.idle_s".into(), "0 (it stays) to 604800");
        }
        for (alias, to) in &self.gateway.aliases {
            let key = || format!("gateway.aliases.{alias}");
            if let Err(allowed) = check_alias(alias) {
                return mistake(key(), allowed);
            }
            if to.trim().is_empty() || to == alias || to.chars().any(char::is_control) {
                return mistake(key(), "the name of a role or a model, other than its own");
            }
        }
        if self.scenes.len() > MOST {
            return mistake("scenes".into(), "at most 64 of them");
        }
        for (name, scene) in &self.scenes {
            if let Err(allowed) = check_name(name) {
                return mistake(format!("scenes.{name}"), allowed);
            }
            if scene.roles.len() > MOST {
                return mistake(format!("scenes.{name}.roles"), "at most 64 of them");
            }
            for (role, settings) in &scene.roles {
                let key = format!("scenes.{name}.roles.{role}");
                if let Err(allowed) = check_role(role) {
                    return mistake(key, allowed);
                }
                if let Err((field, allowed)) = check_role_settings(settings) {
                    return mistake(format!("{key}.{field}"), allowed);
                }
            }
            if let Some((role, field)) = differing(&scene.roles) {
                let allowed = "as in the other role of this scene with the same model: it is in memory once";
                return mistake(format!("scenes.{name}.roles.{role}.{field}"), allowed);
            }
        }
        Ok(())
    }
}

fn check_role_settings(role: &RoleSettings) -> Result<(), (&'static str, &'static str)> {
    let line = |text: &str| !text.trim().is_empty() && !text.chars().any(char::is_control);
    if !line(&role.server) {
        return Err((
            "server",
            "the id of a server: llama-server, ollama, lmstudio or one of servers.remote",
        ));
    }
    if !line(&role.model) {
        return Err(("model", "the name of a model, as its server spells it"));
    }
    if !role.context.is_none_or(|tokens| (1..=16_777_216).contains(&tokens)) {
        return Err(("context", "1 to 16777216"));
    }
    if !role.parallel.is_none_or(|parallel| (1..=64).contains(&parallel)) {
        return Err(("parallel", "1 to 64"));
    }
    if !role.idle_s.is_none_or(|idle| (1..=604_800).contains(&idle)) {
        return Err(("idle_s", "1 to 604800"));
    }
    Ok(())
}

/// Two roles may share a model; it is in memory once, so both have to want it loaded alike.
fn differing(roles: &std::collections::BTreeMap<String, RoleSettings>) -> Option<(&String, &'static str)> {
    roles.iter().enumerate().find_map(|(at, (role, settings))| {
        let (_, other) =
            roles.iter().take(at).find(|(_, other)| other.reference() == settings.reference())?;
        let (one, other) = (settings.with(), other.with());
        let field = match () {
            () if one.context != other.context => "context",
            () if one.parallel != other.parallel => "parallel",
            () if one.kv_type != other.kv_type => "kv_type",
            () => return None,
        };
        Some((role, field))
    })
}

/// A name that can stand in file names, calls and `<server>/<model>`.
fn is_id(name: &str) -> bool {
    let taken = ["llama-server", "ollama", "lmstudio"].contains(&name);
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !taken && (1..=32).contains(&name.len()) && name.chars().all(allowed)
}

/// A name or address of a machine by itself, as a `Host` header has it; an IPv6 address in brackets.
/// Of a server that is asked over HTTP.
fn is_web_address(text: &str) -> bool {
    let url = parsed(text).filter(|url| matches!(url.scheme(), "http" | "https"));
    url.is_some_and(|url| url.has_host() && url.query().is_none() && url.fragment().is_none())
}

fn is_host(host: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bracketed {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => (1..=253).contains(&host.len()) && host.chars().all(plain),
    }
}

/// An origin as browsers write it (RFC 6454 section 6.2): scheme, host and perhaps a port, in lower case.
fn is_origin(origin: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let plain_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.chars().all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || "+-.".contains(one));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let plain_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
    plain_scheme && plain_port && is_host(host) && !host.chars().any(|one| one.is_ascii_uppercase())
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
