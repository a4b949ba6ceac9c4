//! YAML in the usual layout: one `key: value` or `- item` a line. Other layouts (braces, several documents) are refused.

use super::{Entry, Refused, Step, lines, name_of};
use saphyr::{LoadableYamlNode, MarkedYaml, Marker, Scalar, YamlData};
use serde_json::{Map, Value, json};

/// Deeper nesting than anybody writes: each level stands at least one column further right.
const MOST_COLUMNS: usize = 256;

fn parse(text: &str) -> Result<Vec<MarkedYaml<'_>>, Refused> {
    let depth = |line: &str| line.len() - line.trim_start_matches([' ', '\t', '-', '?', ':']).len();
    if text.lines().any(|line| depth(line) > MOST_COLUMNS) {
        return Err(Refused::odd());
    }
    MarkedYaml::load_from_str(text).map_err(|error| Refused::mistake(&error))
}

pub(super) fn value(text: &str) -> Result<Value, Refused> {
    match &parse(text)?[..] {
        [] => Ok(Value::Null),
        [root] => Ok(said(root)),
        _ => Err(Refused::new("has several documents in it")),
    }
}

/// What a node says, for comparison: keys that are no texts and tags are told from texts by a mark.
fn said(node: &MarkedYaml<'_>) -> Value {
    match &node.data {
        YamlData::Value(Scalar::Null) => Value::Null,
        YamlData::Value(Scalar::Boolean(flag)) => json!(flag),
        YamlData::Value(Scalar::Integer(number)) => json!(number),
        YamlData::Value(Scalar::FloatingPoint(number)) => json!({ "\u{0}float": number.to_string() }),
        YamlData::Value(Scalar::String(text)) => json!(text),
        YamlData::Sequence(items) => items.iter().map(said).collect(),
        YamlData::Mapping(pairs) => {
            let name = |key: &MarkedYaml<'_>| match said(key) {
                Value::String(text) => text,
                other => format!("\u{0}{other}"),
            };
            Value::Object(pairs.iter().map(|(key, value)| (name(key), said(value))).collect::<Map<_, _>>())
        }
        YamlData::Tagged(tag, inner) => json!({ "\u{0}tag": format!("{tag:?}"), "is": said(inner) }),
        other => json!({ "\u{0}other": format!("{other:?}") }),
    }
}

pub(super) fn set(text: &str, entry: &Entry) -> Result<String, Refused> {
    let documents = parse(text)?;
    let file = File { text, lines: text.split_inclusive('\n').collect(), end: lines::end_of(text) };
    let Some(root) = documents.first().filter(|root| !is_null(root)) else {
        return Ok(file.with_lines(file.lines.len(), &new_lines(&entry.path, &entry.value, 0)));
    };
    let mut node = root;
    let mut key_of = None;
    for (index, step) in entry.path.iter().enumerate() {
        let (reached, rest) = (&entry.path[..index], &entry.path[index..]);
        if let Some(key) = key_of
            && let Some(filled) = file.filled(key, node, rest, entry)
        {
            return Ok(filled);
        }
        let found = match (step, &node.data) {
            (Step::Key(wanted), YamlData::Mapping(pairs)) => {
                let is = |key: &MarkedYaml<'_>| key.data.as_str() == Some(wanted);
                let column = pairs.iter().next().map_or(0, |(first, _)| first.span.start.col());
                file.in_lines(&node.span.start, '{')?;
                let found = pairs.iter().find(|(key, _)| is(key));
                found.map(|(key, value)| (Some(key), value)).ok_or(column)
            }
            (Step::Item { key, is }, YamlData::Sequence(items)) => {
                file.in_lines(&node.span.start, '[')?;
                let is = |item: &&MarkedYaml<'_>| said(item)[key.as_str()] == is.as_str();
                items.iter().find(is).map(|item| (None, item)).ok_or(node.span.start.col())
            }
            (Step::Key(_), _) => return Err(Refused::not_a_table(name_of(reached))),
            (Step::Item { .. }, _) => return Err(Refused::not_a_list(name_of(reached))),
        };
        match found {
            Ok(next) => (key_of, node) = next,
            Err(column) => {
                let at =
                    file.end_of_block(node.span.start.line() - 1, column, matches!(step, Step::Item { .. }));
                return Ok(file.with_lines(at, &new_lines(rest, &entry.value, column)));
            }
        }
    }
    if entry.unless_there || said(node) == entry.value {
        return Ok(text.to_owned());
    }
    file.replaced(key_of, node, &entry.value)
}

fn is_null(node: &MarkedYaml<'_>) -> bool {
    matches!(&node.data, YamlData::Value(Scalar::Null))
}

struct File<'t> {
    text: &'t str,
    lines: Vec<&'t str>,
    end: &'static str,
}

impl File<'_> {
    fn byte(&self, marker: &Marker) -> usize {
        self.text.char_indices().nth(marker.index()).map_or(self.text.len(), |(byte, _)| byte)
    }

    /// Errors: the group or list stands in brackets.
    fn in_lines(&self, start: &Marker, bracket: char) -> Result<(), Refused> {
        if self.text[self.byte(start)..].starts_with(bracket) { Err(Refused::odd()) } else { Ok(()) }
    }

    /// The line behind a block that begins in a line: what stands further right belongs to it, remarks included.
    fn end_of_block(&self, from: usize, column: usize, list: bool) -> usize {
        let mut end = from + 1;
        for (index, line) in self.lines.iter().enumerate().skip(from + 1) {
            let rest = line.trim_start_matches(' ');
            let indent = line.len() - rest.len();
            let (blank, remark) = (rest.trim().is_empty(), rest.starts_with('#'));
            if blank || (remark && indent <= column) {
                continue;
            }
            let of_item = rest.starts_with("- ") || rest.trim_end() == "-";
            // A list may stand in the column of its key, so an item there ends no group.
            let ends = (list && !of_item) || ["---", "..."].iter().any(|mark| rest.starts_with(mark));
            if indent < column || (indent == column && ends) {
                break;
            }
            end = index + 1;
        }
        end
    }

    /// The text with more lines in front of one.
    fn with_lines(&self, at: usize, new: &[String]) -> String {
        let before: String = self.lines[..at].concat();
        let gap = if before.is_empty() || before.ends_with('\n') { "" } else { self.end };
        let new: String = new.iter().flat_map(|line| [line.as_str(), self.end]).collect();
        format!("{before}{gap}{new}{}", self.lines[at..].concat())
    }

    /// Lines below a key that has nothing yet, or an empty list or group.
    fn filled(
        &self,
        key: &MarkedYaml<'_>,
        node: &MarkedYaml<'_>,
        rest: &[Step],
        entry: &Entry,
    ) -> Option<String> {
        let colon = self.colon_behind(key)?;
        let line = key.span.start.line();
        let start = self.text[..colon].rfind('\n').map_or(0, |end| end + 1);
        let behind = self.lines.get(line - 1)?.get(colon + 1 - start..)?;
        let (written, remark) = match behind.trim_start().chars().next() {
            Some('#') => ("", behind),
            _ => behind.split_once(" #").map_or((behind, ""), |(value, _)| (value, &behind[value.len()..])),
        };
        let brackets: String = written.split_whitespace().collect();
        let empty = match &node.data {
            YamlData::Value(Scalar::Null) => brackets.is_empty(),
            YamlData::Sequence(items) => items.is_empty() && brackets == "[]",
            YamlData::Mapping(pairs) => pairs.is_empty() && brackets == "{}",
            _ => false,
        };
        if !empty {
            return None;
        }
        let column = key.span.start.col() + 2;
        let mut new: String =
            new_lines(rest, &entry.value, column).iter().flat_map(|line| [line.as_str(), self.end]).collect();
        let kept = if brackets.is_empty() { behind.trim_end() } else { remark.trim_end() };
        let after: String = self.lines[line..].concat();
        if after.is_empty() && !self.text.ends_with('\n') {
            new.truncate(new.len() - self.end.len());
        }
        Some(format!("{}{kept}{}{new}{after}", &self.text[..=colon], self.end))
    }

    fn colon_behind(&self, key: &MarkedYaml<'_>) -> Option<usize> {
        let end = self.byte(&key.span.end);
        let rest = &self.text[end..];
        let colon = rest.find(':')?;
        rest[..colon].trim().is_empty().then_some(end + colon)
    }

    /// Another value where the old one stands.
    fn replaced(
        &self,
        key: Option<&MarkedYaml<'_>>,
        node: &MarkedYaml<'_>,
        value: &Value,
    ) -> Result<String, Refused> {
        let text = self.text;
        let (start, end) = (self.byte(&node.span.start), self.byte(&node.span.end));
        let written = scalar_in(text.get(start..end).unwrap_or_default());
        if is_null(node) && written.is_empty() {
            let colon = key.and_then(|key| self.colon_behind(key)).ok_or_else(Refused::odd)?;
            return Ok(format!("{} {}{}", &text[..=colon], scalar(value), &text[colon + 1..]));
        }
        if written.is_empty() || written.contains('\n') || !matches!(node.data, YamlData::Value(_)) {
            return Err(Refused::odd());
        }
        Ok(format!("{}{}{}", &text[..start], scalar(value), &text[start + written.len()..]))
    }
}

/// The scalar with which a text begins, without the remark that may follow it.
fn scalar_in(text: &str) -> &str {
    let end = match text.as_bytes().first() {
        Some(b'"') => {
            let mut escaped = false;
            text.char_indices().skip(1).find_map(|(at, letter)| {
                let closes = letter == '"' && !escaped;
                escaped = letter == '\\' && !escaped;
                closes.then_some(at + 1)
            })
        }
        Some(b'\'') => {
            let mut quotes = text.match_indices('\'').skip(1).map(|(at, _)| at).peekable();
            loop {
                match quotes.next() {
                    // Two of them are one of the text.
                    Some(at) if quotes.next_if_eq(&(at + 1)).is_some() => {}
                    at => break at.map(|at| at + 1),
                }
            }
        }
        _ => [" #", "\t#"].iter().filter_map(|remark| text.find(remark)).min(),
    };
    text[..end.unwrap_or(text.len())].trim_end()
}

/// The lines of a value with the groups and lists around it, from a column on.
fn new_lines(path: &[Step], value: &Value, column: usize) -> Vec<String> {
    let indent = " ".repeat(column);
    match path {
        [] => vec![],
        [Step::Key(key)] => vec![format!("{indent}{}: {}", word(key), scalar(value))],
        [Step::Key(key), rest @ ..] => {
            let mut lines = vec![format!("{indent}{}:", word(key))];
            lines.extend(new_lines(rest, value, column + 2));
            lines
        }
        [Step::Item { key, is }, rest @ ..] => {
            let mut lines = vec![format!("{indent}- {}: {}", word(key), word(is))];
            lines.extend(new_lines(rest, value, column + 2));
            lines
        }
    }
}

fn scalar(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), word)
}

/// A text: plain where that means a text in every version of YAML, else in quotation marks, which are JSON's.
fn word(text: &str) -> String {
    const OTHER: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let begins = text.starts_with(|letter: char| letter.is_ascii_alphabetic());
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-./:@+".contains(letter);
    match begins
        && text.chars().all(plain)
        && !text.ends_with(':')
        && !OTHER.contains(&&*text.to_ascii_lowercase())
    {
        true => text.to_owned(),
        false => json!(text).to_string(),
    }
}
