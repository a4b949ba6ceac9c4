//! `options`, `format`, `think` and `keep_alive`.

use crate::{Refused, chat::Speaks};
use pilothouse_domain::server::ServerKind;
use serde_json::value::RawValue;
use std::{collections::BTreeMap, time::Duration};

/// What a request says about how long and how large its model is to be loaded. Never sent on: each would load a model anew or pin
/// it behind the back of who plans the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Governed {
    /// `num_ctx`: room for this many tokens.
    Context(u64),
    /// `keep_alive`: from the end of the request.
    KeepAlive(KeepAlive),
    /// Another option that holds from loading on, by its name (`num_gpu`, `num_batch`, …).
    Load(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAlive {
    /// No time at all: unload.
    Not,
    For(Duration),
    Forever,
}

/// Options other than `num_ctx` that hold from loading on, of Ollama today and in the past.
const LOADING: [&str; 13] = [
    "num_batch",
    "num_gpu",
    "main_gpu",
    "use_mmap",
    "num_thread",
    "draft_num_predict",
    "numa",
    "low_vram",
    "f16_kv",
    "logits_all",
    "vocab_only",
    "use_mlock",
    "embedding_only",
];

/// Options for one answer: as Ollama calls them, as chat does, and whether only llama-server knows them. Who does not goes without,
/// as Ollama goes without what it does not know: clients send their defaults of all of them with each request.
const SAMPLING: [(&str, &str, bool); 14] = [
    ("temperature", "temperature", false),
    ("top_p", "top_p", false),
    ("seed", "seed", false),
    ("presence_penalty", "presence_penalty", false),
    ("frequency_penalty", "frequency_penalty", false),
    ("top_k", "top_k", false),
    ("min_p", "min_p", false),
    ("repeat_penalty", "repeat_penalty", false),
    ("typical_p", "typical_p", true),
    ("repeat_last_n", "repeat_last_n", true),
    ("num_keep", "n_keep", true),
    ("mirostat", "mirostat", true),
    ("mirostat_tau", "mirostat_tau", true),
    ("mirostat_eta", "mirostat_eta", true),
];

/// How an answer is to be made.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub max_tokens: Option<u64>,
    pub stop: Vec<String>,
    same: Vec<(&'static str, bool, Box<RawValue>)>,
}

impl Options {
    /// For a server that `speaks` so, by the names that chat has for them.
    pub fn same(&self, speaks: Speaks) -> Vec<(&'static str, Box<RawValue>)> {
        let is_llama = speaks.kind == ServerKind::LlamaServer;
        let known =
            self.same.iter().filter(|(name, llama_only, _)| (is_llama || !llama_only) && speaks.takes(name));
        known.map(|(name, _, raw)| (*name, raw.clone())).collect()
    }
}

fn of_type(name: &str, kind: &str) -> Refused {
    Refused::invalid(format!("option \"{name}\" must be of type {kind}")).about(name)
}

fn number(name: &str, raw: &RawValue) -> Result<f64, Refused> {
    serde_json::from_str(raw.get()).map_err(|_| of_type(name, "number"))
}

/// Errors: an option has a value of another type.
pub(super) fn read(
    options: Option<&BTreeMap<String, &RawValue>>,
    keep_alive: Option<&RawValue>,
) -> Result<(Options, Vec<Governed>), Refused> {
    let (mut read, mut governed) = (Options::default(), vec![]);
    let said = |name: &str| options.and_then(|all| all.get(name)).copied().filter(|raw| raw.get() != "null");
    if let Some(raw) = said("num_ctx") {
        let tokens = number("num_ctx", raw)?;
        // A cast of a float keeps to the bounds of the integer.
        governed.extend((tokens >= 1.0).then_some(Governed::Context(tokens as u64)));
    }
    governed.extend(LOADING.iter().filter(|name| said(name).is_some()).map(|name| Governed::Load(name)));
    if let Some(raw) = keep_alive {
        governed.push(Governed::KeepAlive(KeepAlive::read(raw)?));
    }
    if let Some(raw) = said("num_predict") {
        let tokens = number("num_predict", raw)?;
        // Below one it means "until the end".
        read.max_tokens = (tokens >= 1.0).then_some(tokens as u64);
    }
    if let Some(raw) = said("stop") {
        read.stop = match serde_json::from_str::<String>(raw.get()) {
            Ok(one) => vec![one],
            Err(_) => serde_json::from_str(raw.get()).map_err(|_| of_type("stop", "array"))?,
        };
        read.stop.retain(|text| !text.is_empty());
    }
    for (name, in_chat, llama_only) in SAMPLING {
        let Some(raw) = said(name) else { continue };
        let value = number(name, raw)?;
        // A seed below zero is Ollama's word for none.
        if name != "seed" || value >= 0.0 {
            read.same.push((in_chat, llama_only, raw.to_owned()));
        }
    }
    Ok((read, governed))
}

impl KeepAlive {
    /// A number of seconds, or a text of Go's `time.ParseDuration`.
    fn read(raw: &RawValue) -> Result<Self, Refused> {
        let text = raw.get();
        let seconds = match serde_json::from_str::<String>(text) {
            Ok(text) => seconds_of(text.trim()),
            Err(_) => text.parse().ok(),
        };
        let wrong = || {
            let message =
                format!("“keep_alive” is {text}: neither a number of seconds nor a time like \"5m\".");
            Refused::invalid(message).about("keep_alive")
        };
        let seconds = seconds.ok_or_else(wrong)?;
        if seconds == 0.0 {
            return Ok(Self::Not);
        }
        // Below zero, and beyond what a clock counts.
        Ok(Duration::try_from_secs_f64(seconds).map_or(Self::Forever, Self::For))
    }
}

/// "1h30m", "-1m", "300ms", "0"; and a bare number, which Ollama itself only takes from its environment.
fn seconds_of(text: &str) -> Option<f64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let number_end = |text: &str| text.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    if number_end(rest).is_none() {
        return number(rest).map(|seconds| sign * seconds);
    }
    let mut sum = 0.0;
    while !rest.is_empty() {
        let (amount, behind) = rest.split_at(number_end(rest)?);
        let unit_end =
            behind.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_end);
        let unit = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        sum += number(amount)? * unit;
        rest = behind;
    }
    Some(sign * sum)
}

/// `think` as an effort; [`Speaks::effort`] says what of it a server is told. A plain yes is "medium" to Ollama itself
/// (`ThinkValue.String`).
pub(super) fn effort(think: &RawValue) -> Result<&'static str, Refused> {
    match think.get() {
        "false" => Ok("none"),
        "true" | "\"medium\"" => Ok("medium"),
        "\"low\"" => Ok("low"),
        "\"high\"" => Ok("high"),
        "\"max\"" => Ok("max"),
        other => {
            let wanted = "true, false, \"low\", \"medium\", \"high\" or \"max\"";
            Err(Refused::invalid(format!("“think” is {other}, not {wanted}.")).about("think"))
        }
    }
}

/// The form of an answer.
#[derive(Debug)]
pub(super) enum Format {
    /// Any JSON.
    Json,
    Schema(Box<RawValue>),
}

impl Format {
    /// `None`: no form is asked for.
    pub fn read(raw: &RawValue) -> Result<Option<Self>, Refused> {
        match raw.get() {
            "\"\"" => Ok(None),
            "\"json\"" => Ok(Some(Self::Json)),
            object if object.starts_with('{') => Ok(Some(Self::Schema(raw.to_owned()))),
            other => {
                let message = format!("invalid format: {other}; expected \"json\" or a JSON schema");
                Err(Refused::invalid(message).about("format"))
            }
        }
    }

    /// As chat has it.
    pub fn response_format(&self, kind: ServerKind) -> Option<Box<RawValue>> {
        let text = match self {
            // LM Studio knows schemas only.
            Self::Json if kind == ServerKind::LmStudio => schema(r#"{"type":"object"}"#),
            Self::Json => r#"{"type":"json_object"}"#.to_owned(),
            Self::Schema(raw) => schema(raw.get()),
        };
        RawValue::from_string(text).ok()
    }
}

fn schema(text: &str) -> String {
    format!(r#"{{"type":"json_schema","json_schema":{{"name":"answer","schema":{text}}}}}"#)
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
