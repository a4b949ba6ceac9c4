//! Changes of other programs' configuration files: single values, everything around them byte for byte as it was.
//!
//! Each form finds the place of a value and puts text there. What comes out is read again and held against what it should say,
//! so that a file in a shape that was not foreseen is refused and never spoilt.

mod json;
mod lines;
#[cfg(test)]
mod tests;
mod toml;
mod yaml;

use serde_json::{Map, Value};
use similar::TextDiff;

/// The most bytes of a file that is changed; configurations are far smaller.
pub const MOST_BYTES: usize = 1 << 20;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// With comments and trailing commas, where somebody has put them.
    Json,
    Toml,
    Yaml,
}

impl Form {
    pub fn language(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Toml => "toml",
            Self::Yaml => "yaml",
        }
    }
}

/// One step from the root to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Key(String),
    /// The one of a list whose `key` has the value `is`.
    Item {
        key: String,
        is: String,
    },
}

/// The way to a value, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place(Vec<Step>);

impl Place {
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.0.push(Step::Key(key.into()));
        self
    }

    #[must_use]
    pub fn item(mut self, key: &str, is: &str) -> Self {
        self.0.push(Step::Item { key: key.into(), is: is.into() });
        self
    }

    #[must_use]
    pub fn then(self, keys: &[&str]) -> Self {
        keys.iter().fold(self, |place, key| place.key(key))
    }

    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    pub fn is(self, value: Value) -> Entry {
        Entry { path: self.0, value, unless_there: false }
    }
}

/// A value that shall stand in a file: a text, a number, or yes or no.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub path: Vec<Step>,
    pub value: Value,
    /// Whatever stands there already is left.
    pub unless_there: bool,
}

impl Entry {
    pub fn path<I: IntoIterator<Item: AsRef<str>>>(keys: I) -> Place {
        keys.into_iter().fold(Place::default(), |place, key| place.key(key.as_ref()))
    }

    pub fn at<I: IntoIterator<Item: AsRef<str>>>(keys: I, value: Value) -> Self {
        Self::path(keys).is(value)
    }

    #[must_use]
    pub fn unless_there(mut self) -> Self {
        self.unless_there = true;
        self
    }
}

/// Why a file is not changed, as the end of a sentence that begins with its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

impl Refused {
    fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    fn mistake(error: &impl std::fmt::Display) -> Self {
        let text = error.to_string();
        let text: Vec<&str> = text.split_whitespace().collect();
        Self(format!("has a mistake: {}", text.join(" ").replace('`', "'").trim_end_matches('.')))
    }

    fn odd() -> Self {
        Self::new("is written in a way that cannot be changed without touching what else stands in it")
    }

    fn not_a_table(name: &str) -> Self {
        match name {
            "" => Self::new("has something else than named values at its top"),
            name => Self::new(format!("has “{name}” as something else than a group of values")),
        }
    }

    fn not_a_list(name: &str) -> Self {
        match name {
            "" => Self::new("has something else than a list at its top"),
            name => Self::new(format!("has “{name}” as something else than a list")),
        }
    }

    fn twice(name: &str) -> Self {
        Self::new(format!("has “{name}” twice"))
    }
}

/// The text in which all entries stand; the same text where they do already. `before`: `None` where there is no file.
/// Errors: it cannot be read, or not be changed faithfully.
pub fn edit(form: Form, before: Option<&str>, entries: &[Entry]) -> Result<String, Refused> {
    let whole = before.unwrap_or_default();
    if whole.len() > MOST_BYTES {
        return Err(Refused::new("is larger than 1 MiB"));
    }
    // Editors of Windows put a mark in front, which no parser wants.
    let text = whole.strip_prefix('\u{feff}').unwrap_or(whole);
    let mark = &whole[..whole.len() - text.len()];
    let after = match form {
        Form::Json => changed(text, entries, json::value, json::set)?,
        Form::Yaml => changed(text, entries, yaml::value, yaml::set)?,
        Form::Toml => changed_toml(text, entries)?,
    };
    Ok(format!("{mark}{after}"))
}

/// The text that stands at a place. `None`: nothing stands there, or no text, or the file cannot be read.
pub fn text_at(form: Form, text: &str, path: &[Step]) -> Option<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let document = match form {
        Form::Json => json::value(text),
        Form::Toml => toml::value(&text.replace("\r\n", "\n")),
        Form::Yaml => yaml::value(text),
    };
    let document = document.ok()?;
    let found = path.iter().try_fold(&document, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Item { key, is } => value.as_array()?.iter().find(|item| item[key.as_str()] == is.as_str()),
    });
    found?.as_str().map(str::to_owned)
}

fn changed(
    text: &str,
    entries: &[Entry],
    value: fn(&str) -> Result<Value, Refused>,
    set: fn(&str, &Entry) -> Result<String, Refused>,
) -> Result<String, Refused> {
    let mut wanted = value(text)?;
    let mut after = text.to_owned();
    for entry in entries {
        after = set(&after, entry)?;
        put(&mut wanted, &entry.path, entry)?;
    }
    held_against(value(&after), &wanted)?;
    Ok(after)
}

fn changed_toml(text: &str, entries: &[Entry]) -> Result<String, Refused> {
    let plain = text.replace("\r\n", "\n");
    let mut wanted = toml::value(&plain)?;
    let mut document = toml::read(&plain)?;
    // The parser ends the last line, whoever wrote it.
    let is_open = !plain.is_empty() && !plain.ends_with('\n');
    if document.to_string().trim_end_matches('\n') != plain.trim_end_matches('\n') {
        return Err(Refused::odd());
    }
    for entry in entries {
        toml::set(&mut document, entry)?;
        put(&mut wanted, &entry.path, entry)?;
    }
    let mut after = document.to_string();
    if is_open && after.ends_with('\n') {
        after.pop();
    }
    held_against(toml::value(&after), &wanted)?;
    // The parser knows one kind of line end alone.
    Ok(lines::with_ends_of(text, &after))
}

fn held_against(says: Result<Value, Refused>, wanted: &Value) -> Result<(), Refused> {
    if says.as_ref() == Ok(wanted) { Ok(()) } else { Err(Refused::odd()) }
}

/// What a document says once an entry stands in it.
fn put(document: &mut Value, path: &[Step], entry: &Entry) -> Result<(), Refused> {
    match path {
        [] => {
            if !entry.unless_there || document.is_null() {
                *document = entry.value.clone();
            }
            Ok(())
        }
        [Step::Key(key), rest @ ..] => {
            if document.is_null() {
                *document = Value::Object(Map::new());
            }
            let group = document.as_object_mut().ok_or_else(Refused::odd)?;
            put(group.entry(key.clone()).or_insert(Value::Null), rest, entry)
        }
        [Step::Item { key, is }, rest @ ..] => {
            if document.is_null() {
                *document = Value::Array(vec![]);
            }
            let list = document.as_array_mut().ok_or_else(Refused::odd)?;
            let at = list.iter().position(|item| item[key.as_str()] == is.as_str());
            if at.is_none() {
                list.push(Value::Object(Map::from_iter([(key.clone(), Value::String(is.clone()))])));
            }
            let at = at.unwrap_or(list.len() - 1);
            put(&mut list[at], rest, entry)
        }
    }
}

/// The name of the innermost group or list that was reached, for people.
fn name_of(reached: &[Step]) -> &str {
    match reached.last() {
        None => "",
        Some(Step::Key(key)) => key,
        Some(Step::Item { is, .. }) => is,
    }
}

/// The unified difference between two texts, with three lines around each change; empty where they are the same.
pub fn difference(path: &str, before: Option<&str>, after: Option<&str>) -> String {
    let plain = |text: Option<&str>| text.unwrap_or_default().replace("\r\n", "\n");
    let (old, new) = (plain(before), plain(after));
    let name = |there: bool| if there { path.to_owned() } else { "/dev/null".to_owned() };
    let diff = TextDiff::from_lines(&old, &new);
    diff.unified_diff().header(&name(before.is_some()), &name(after.is_some())).to_string()
}
