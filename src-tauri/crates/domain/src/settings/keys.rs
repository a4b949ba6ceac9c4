//! What each key of the settings file is, in people's words: the one description that the page, the command line and the
//! simulated engine of the UI's tests share.

mod list;
#[cfg(test)]
mod tests;

use super::Settings;
use crate::{
    error::{ApiError, ErrorCode},
    server::ServerId,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ts_rs::TS;

/// Where a key stands on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum SettingGroup {
    General,
    TrayAndNotices,
    Gauges,
    OneAddress,
    OtherComputers,
    Switching,
    Memory,
    Scenes,
    Benchmarks,
    DataKept,
    LmStudio,
    Ollama,
    LlamaServer,
}

impl SettingGroup {
    /// The heading that people read.
    pub fn title(self) -> &'static str {
        match self {
            Self::General => "General",
            Self::TrayAndNotices => "Tray and notices",
            Self::Gauges => "Gauges",
            Self::OneAddress => "One address",
            Self::OtherComputers => "Other computers",
            Self::Switching => "Switching",
            Self::Memory => "Memory",
            Self::Scenes => "Scenes",
            Self::Benchmarks => "Benchmarks",
            Self::DataKept => "Data kept",
            Self::LmStudio => "LM Studio",
            Self::Ollama => "Ollama",
            Self::LlamaServer => "llama-server",
        }
    }
}

/// What has to start again before a changed value is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "of", rename_all = "snake_case")]
#[ts(export)]
pub enum RestartOf {
    Pilothouse,
    Server { server: ServerId },
}

/// One of the values that a key may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SettingChoice {
    /// As the file has it.
    pub value: String,
    /// As people read it.
    pub words: String,
}

/// What may stand at a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "is", rename_all = "snake_case")]
#[ts(export)]
pub enum SettingKind {
    Switch,
    /// A whole number.
    Number {
        least: u32,
        most: u32,
        /// "ms", "s", "days", …; `None`: a count.
        unit: Option<String>,
        /// What 0 means, where it means something of its own.
        zero: Option<String>,
        /// A key whose value it may not be below, unless it is 0 and that means something of its own.
        not_below: Option<String>,
        /// A key whose value it may not be above, unless that is 0 and means something of its own.
        not_above: Option<String>,
    },
    Choice {
        choices: Vec<SettingChoice>,
    },
    /// One line.
    Text {
        /// What nothing means; `None`: something has to stand there.
        empty: Option<String>,
    },
    /// A file or folder of this machine.
    Path {
        /// What nothing means.
        empty: String,
    },
    /// Texts, each once.
    List {
        /// What each of them is: "name of a host".
        of: String,
    },
    /// Names with values of their own: shown here, written in the file or where `place` says.
    Table {
        place: String,
    },
}

/// One key of the settings file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SettingKey {
    /// Dotted: "gateway.wait_s".
    pub key: String,
    pub group: SettingGroup,
    pub title: String,
    /// One line; empty where the title says it all.
    pub meaning: String,
    pub kind: SettingKind,
    /// `None`: in force as soon as the file is saved, or read only at the moment for which it is.
    pub restart: Option<RestartOf>,
}

/// A changed value that is not in force yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub key: String,
    pub restart: RestartOf,
}

impl SettingKind {
    /// What may stand there, in words: "1 to 600 s", "on or off".
    pub fn allowed(&self) -> String {
        match self {
            Self::Switch => "on or off (true or false)".into(),
            Self::Number { least, most, unit, zero, not_below, not_above } => {
                let unit = unit.as_ref().map(|unit| format!(" {unit}")).unwrap_or_default();
                let low = match (zero, not_below) {
                    (Some(zero), Some(other)) => format!("0 ({zero}), or {other}"),
                    (None, Some(other)) => other.clone(),
                    (Some(zero), None) => format!("{least} ({zero})"),
                    (None, None) => least.to_string(),
                };
                match not_above {
                    Some(other) => format!("{low} to {other} (at most {most}{unit})"),
                    None if *most == u32::MAX => format!("{low} or more{unit}"),
                    None => format!("{low} to {most}{unit}"),
                }
            }
            Self::Choice { choices } => {
                let values: Vec<&str> = choices
                    .iter()
                    .map(|choice| if choice.value.is_empty() { "empty" } else { choice.value.as_str() })
                    .collect();
                format!("one of {}", values.join(", "))
            }
            Self::Text { .. } | Self::Path { .. } => "one line of text".into(),
            Self::List { of } => format!("a list, each a {of}"),
            Self::Table { place } => format!("a table; {place}"),
        }
    }

    /// Whether a value is of this kind and, as far as it can be told by itself, in its range.
    fn takes(&self, value: &Value) -> bool {
        let line = |value: &Value| value.as_str().is_some_and(|text| !text.chars().any(char::is_control));
        match self {
            Self::Switch => value.is_boolean(),
            Self::Number { least, most, .. } => {
                value.as_u64().is_some_and(|n| (u64::from(*least)..=u64::from(*most)).contains(&n))
            }
            Self::Choice { choices } => {
                value.as_str().is_some_and(|text| choices.iter().any(|choice| choice.value == text))
            }
            Self::Text { empty: None } => line(value) && value != "",
            Self::Text { .. } | Self::Path { .. } => line(value),
            Self::List { .. } => value.as_array().is_some_and(|texts| {
                texts.iter().enumerate().all(|(at, text)| line(text) && !texts[..at].contains(text))
            }),
            Self::Table { .. } => false,
        }
    }
}

impl SettingKey {
    /// The value without a file.
    pub fn default_value(&self) -> Value {
        value_at(&Settings::default(), &self.key)
    }

    fn refusal(&self, why: &str) -> ApiError {
        let text = format!("{} ({}) {why}. Nothing was written.", self.title, self.key);
        ApiError::new(ErrorCode::InvalidCall, text).hint(format!("Allowed: {}.", self.kind.allowed()))
    }
}

/// All keys in the order in which they are shown.
pub fn setting_keys() -> Vec<SettingKey> {
    list::all()
}

/// The description of a key. Errors: not_found, with the key that was probably meant; unsupported, inside a table.
pub fn setting_key(dotted: &str) -> Result<SettingKey, ApiError> {
    let keys = setting_keys();
    if let Some(key) = keys.iter().find(|key| key.key == dotted) {
        return Ok(key.clone());
    }
    let inside = keys.iter().find(|key| {
        let rest = dotted.strip_prefix(key.key.as_str());
        matches!(key.kind, SettingKind::Table { .. }) && rest.is_some_and(|rest| rest.starts_with('.'))
    });
    if let Some(SettingKey { key, kind: SettingKind::Table { place }, .. }) = inside {
        let text = format!("{dotted} stands in the table {key}, which is not changed one by one.");
        return Err(ApiError::new(ErrorCode::Unsupported, text).hint(format!("Its place: {place}.")));
    }
    let error = ApiError::not_found(format!("There is no setting {dotted}."));
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let names: Vec<&str> = keys.iter().map(|key| key.key.as_str()).collect();
    let meant = match names.iter().find(|name| last(name) == last(dotted)) {
        Some(same) => Some(*same),
        None => nearest(dotted, &names),
    };
    Err(match meant {
        Some(meant) => error.hint(format!("Did you mean {meant}?")),
        None => error.hint("“pilothouse settings” lists them."),
    })
}

/// What settings have at a dotted key; null where there is no such key.
pub fn value_at(settings: &Settings, key: &str) -> Value {
    let whole = serde_json::to_value(settings).unwrap_or_default();
    key.split('.').try_fold(&whole, |table, name| table.get(name)).cloned().unwrap_or_default()
}

/// Settings with another value at a key. Errors: invalid_call, with what is allowed; unsupported (a table).
pub fn with_value(settings: &Settings, key: &SettingKey, value: &Value) -> Result<Settings, ApiError> {
    if let SettingKind::Table { place } = &key.kind {
        let text = format!("{} ({}) is a table, which is not set as a whole.", key.title, key.key);
        return Err(ApiError::new(ErrorCode::Unsupported, text).hint(format!("Its place: {place}.")));
    }
    if !key.kind.takes(value) {
        return Err(key.refusal(&format!("cannot be {value}")));
    }
    let changed =
        put(settings, &key.key, value.clone()).ok_or_else(|| key.refusal(&format!("cannot be {value}")))?;
    match changed.check() {
        Ok(()) => Ok(changed),
        Err(mistake) if mistake.key == key.key => {
            let text =
                format!("{} ({}) must be {}. Nothing was written.", key.title, key.key, mistake.allowed);
            Err(ApiError::new(ErrorCode::InvalidCall, text))
        }
        Err(mistake) => {
            Err(key.refusal(&format!("cannot be {value}: {} must be {}", mistake.key, mistake.allowed)))
        }
    }
}

/// `None`: types say that it cannot stand there.
fn put(settings: &Settings, key: &str, value: Value) -> Option<Settings> {
    let mut whole = serde_json::to_value(settings).ok()?;
    let place = key.split('.').try_fold(&mut whole, |table, name| table.get_mut(name))?;
    *place = value;
    serde_json::from_value(whole).ok()
}

/// The keys whose values differ.
pub fn differing(one: &Settings, other: &Settings) -> Vec<SettingKey> {
    let differs = |key: &SettingKey| value_at(one, &key.key) != value_at(other, &key.key);
    setting_keys().into_iter().filter(differs).collect()
}

/// What was changed since the settings in force and needs a restart of something.
pub fn waiting(in_force: &Settings, wanted: &Settings) -> Vec<Waiting> {
    let waiting = differing(in_force, wanted).into_iter();
    waiting.filter_map(|key| Some(Waiting { restart: key.restart?, key: key.key })).collect()
}

/// The settings in force once a server has started again: those wanted where its start puts them in force.
pub fn after_restart_of(server: &ServerId, in_force: &Settings, wanted: &Settings) -> Settings {
    let own = RestartOf::Server { server: server.clone() };
    let renewed = waiting(in_force, wanted).into_iter().filter(|waiting| waiting.restart == own);
    renewed.fold(in_force.clone(), |settings, Waiting { key, .. }| {
        put(&settings, &key, value_at(wanted, &key)).unwrap_or(settings)
    })
}

/// The known name that was probably meant: at most a third of its letters differ.
pub fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    let (distance, key) = known.iter().map(|key| (distance(written, key), *key)).min()?;
    (distance <= key.len().max(written.len()).div_ceil(3)).then_some(key)
}

/// Levenshtein's distance over characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
