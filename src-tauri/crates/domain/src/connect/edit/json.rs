//! JSON as people write it by hand: comments and trailing commas stay where they are.

use super::{Entry, Refused, Step, lines, name_of};
use jsonc_parser::{
    CollectOptions, ParseOptions,
    ast::{Array, Object, Value as Node},
    common::Ranged,
    parse_to_ast,
};
use serde_json::Value;

/// Stricter than the parser by itself: what no program reads is a mistake.
fn options() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

fn parse(text: &str) -> Result<Option<Node<'_>>, Refused> {
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options());
    Ok(parsed.map_err(|error| Refused::mistake(&error))?.value)
}

pub(super) fn value(text: &str) -> Result<Value, Refused> {
    Ok(parse(text)?.map_or(Value::Null, Into::into))
}

pub(super) fn set(text: &str, entry: &Entry) -> Result<String, Refused> {
    let Some(root) = parse(text)? else {
        let end = lines::end_of(text);
        let style = Style { flat: false, ..Style::of(text) };
        let gap = if text.is_empty() || text.ends_with('\n') { "" } else { end };
        return Ok(format!("{text}{gap}{}{end}", style.render(&nested(&entry.path, &entry.value), "")));
    };
    let mut at = &root;
    for (index, step) in entry.path.iter().enumerate() {
        let (reached, rest) = (&entry.path[..index], &entry.path[index + 1..]);
        let found = match (step, at) {
            (Step::Key(key), Node::Object(object)) => {
                let name = format!("{}: ", Value::from(key.as_str()));
                let new = (name, nested(rest, &entry.value));
                (member(object, key)?).ok_or_else(|| Inside::of_object(text, object).with(&new.0, &new.1))
            }
            (Step::Item { .. }, Node::Array(array)) => {
                let new = nested(&entry.path[index..], &entry.value);
                let new = new.get(0).cloned().unwrap_or_default();
                item(array, step)?.ok_or_else(|| Inside::of_array(text, array).with("", &new))
            }
            (Step::Key(_), _) => return Err(Refused::not_a_table(name_of(reached))),
            (Step::Item { .. }, _) => return Err(Refused::not_a_list(name_of(reached))),
        };
        match found {
            Ok(node) => at = node,
            Err(added) => return Ok(added),
        }
    }
    if entry.unless_there || Value::from(at.clone()) == entry.value {
        return Ok(text.to_owned());
    }
    Ok(format!("{}{}{}", &text[..at.start()], entry.value, &text[at.end()..]))
}

fn member<'a, 'n>(object: &'n Object<'a>, key: &str) -> Result<Option<&'n Node<'a>>, Refused> {
    let mut named = object.properties.iter().filter(|property| property.name.as_str() == key);
    let found = named.next();
    match named.next() {
        Some(_) => Err(Refused::twice(key)),
        None => Ok(found.map(|property| &property.value)),
    }
}

fn item<'a, 'n>(array: &'n Array<'a>, step: &Step) -> Result<Option<&'n Node<'a>>, Refused> {
    let Step::Item { key, is } = step else { return Ok(None) };
    for element in &array.elements {
        if let Node::Object(object) = element
            && let Some(Node::StringLit(name)) = member(object, key)?
            && name.value == is.as_str()
        {
            return Ok(Some(element));
        }
    }
    Ok(None)
}

/// The groups and lists that a value needs around it.
fn nested(path: &[Step], value: &Value) -> Value {
    let object = |pairs: Vec<(&String, Value)>| {
        Value::Object(pairs.into_iter().map(|(key, value)| (key.clone(), value)).collect())
    };
    match path {
        [] => value.clone(),
        [Step::Key(key), rest @ ..] => object(vec![(key, nested(rest, value))]),
        [Step::Item { key, is }, rest @ ..] => {
            let mut made = nested(rest, value);
            if let Value::Object(members) = &mut made {
                members.insert(key.clone(), Value::from(is.as_str()));
            }
            Value::Array(vec![made])
        }
    }
}

/// How a file is laid out.
struct Style {
    unit: String,
    end: &'static str,
    /// All of it stands in one line.
    flat: bool,
}

impl Style {
    fn of(text: &str) -> Self {
        let indented = |line: &str| {
            let rest = line.trim_start_matches([' ', '\t']);
            (rest.starts_with('"') && rest.len() < line.len())
                .then(|| line[..line.len() - rest.len()].to_owned())
        };
        let unit = text.lines().find_map(indented).unwrap_or_else(|| "  ".into());
        let flat = !text.trim().is_empty() && !text.trim().contains('\n');
        Self { unit, end: lines::end_of(text), flat: flat && text.trim().len() > 2 }
    }

    /// A value as it stands in a line with this white space in front.
    fn render(&self, value: &Value, indent: &str) -> String {
        let inner = format!("{indent}{}", self.unit);
        let block = |open: char, close: char, parts: Vec<String>| {
            let lines: Vec<String> = parts.iter().map(|part| format!("{inner}{part}")).collect();
            let end = self.end;
            format!("{open}{end}{}{end}{indent}{close}", lines.join(&format!(",{end}")))
        };
        match value {
            _ if self.flat => value.to_string(),
            Value::Object(members) if !members.is_empty() => {
                let part = |(key, value): (&String, &Value)| {
                    format!("{}: {}", Value::from(key.as_str()), self.render(value, &inner))
                };
                block('{', '}', members.iter().map(part).collect())
            }
            Value::Array(items) if !items.is_empty() => {
                block('[', ']', items.iter().map(|item| self.render(item, &inner)).collect())
            }
            scalar => scalar.to_string(),
        }
    }
}

/// The inside of a group or list, where something is added at its end.
struct Inside<'t> {
    text: &'t str,
    /// Behind the bracket that opens.
    open: usize,
    /// The bracket that closes.
    close: usize,
    /// Begin and end of what stands last in it.
    last: Option<(usize, usize)>,
}

impl<'t> Inside<'t> {
    fn of_object(text: &'t str, object: &Object<'_>) -> Self {
        let last = object.properties.last().map(|last| (last.start(), last.end()));
        Self { text, open: object.start() + 1, close: object.end() - 1, last }
    }

    fn of_array(text: &'t str, array: &Array<'_>) -> Self {
        let last = array.elements.last().map(|last| (last.start(), last.end()));
        Self { text, open: array.start() + 1, close: array.end() - 1, last }
    }

    /// The whole text with one more at the end.
    fn with(&self, name: &str, value: &Value) -> String {
        let style = Style::of(self.text);
        match self.last {
            Some(last) => self.behind(last, name, value, style),
            None => self.alone(name, value, &style),
        }
    }

    fn behind(&self, (begin, end): (usize, usize), name: &str, value: &Value, mut style: Style) -> String {
        let one_line = !self.text[self.open..self.close].contains('\n');
        style.flat |= one_line;
        let comma = self.comma_behind(end);
        let from = comma.map_or(end, |comma| comma + 1);
        // What is remarked behind the last one in its line belongs to it.
        let to = if one_line { from } else { line_tail(self.text, from, self.close) };
        let indent = lines::indent_at(self.text, begin);
        let gap = if one_line { " ".to_owned() } else { format!("{}{indent}", style.end) };
        let new = format!("{name}{}", style.render(value, indent));
        let (first, last) = if comma.is_some() { ("", if one_line { "" } else { "," }) } else { (",", "") };
        let text = self.text;
        format!("{}{first}{}{gap}{new}{last}{}", &text[..from], &text[from..to], &text[to..])
    }

    fn alone(&self, name: &str, value: &Value, style: &Style) -> String {
        let (text, inside) = (self.text, &self.text[self.open..self.close]);
        if style.flat {
            let new = format!("{name}{}", style.render(value, ""));
            return format!("{}{new}{}", &text[..self.open], &text[self.open..]);
        }
        let outer = lines::indent_at(text, self.open);
        let indent = format!("{outer}{}", style.unit);
        let new = format!("{name}{}", style.render(value, &indent));
        let at = self.open + inside.trim_end().len();
        let rest = &text[at..];
        let close =
            if text[at..self.close].contains('\n') { String::new() } else { format!("{}{outer}", style.end) };
        format!("{}{}{indent}{new}{close}{rest}", &text[..at], style.end)
    }

    fn comma_behind(&self, mut at: usize) -> Option<usize> {
        while at < self.close {
            let rest = &self.text[at..self.close];
            match rest.as_bytes() {
                [b',', ..] => return Some(at),
                [b'/', b'/', ..] => at += rest.find('\n').unwrap_or(rest.len()),
                [b'/', b'*', ..] => at += rest.find("*/").map_or(rest.len(), |end| end + 2),
                _ => at += rest.chars().next().map_or(1, char::len_utf8),
            }
        }
        None
    }
}

/// Where the remarks end that follow in the same line.
fn line_tail(text: &str, from: usize, close: usize) -> usize {
    let (mut at, mut tail) = (from, from);
    while at < close {
        let rest = &text[at..close];
        match rest.as_bytes() {
            [b' ' | b'\t', ..] => at += 1,
            [b'/', b'/', ..] => {
                return at + rest.find('\n').map_or(rest.len(), |end| rest[..end].trim_end().len());
            }
            [b'/', b'*', ..] => {
                let end = rest.find("*/").map_or(rest.len(), |end| end + 2);
                // One that goes on in the next line is about what comes there.
                if rest[..end].contains('\n') {
                    break;
                }
                at += end;
                tail = at;
            }
            _ => break,
        }
    }
    tail
}
