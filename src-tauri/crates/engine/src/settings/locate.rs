//! Finds the line and the dotted key of a mistake.

use pilothouse_domain::settings::{Mistake, keys::nearest};
use std::ops::Range;
use toml_edit::{Document, Item, Table, TableLike};

/// Words for what the parser did not accept.
pub(super) fn parse_error(text: &str, error: &toml_edit::de::Error) -> String {
    let span = error.span();
    let line = span.as_ref().map(|span| line_of(text, span.start));
    let key = span.and_then(|span| key_at(text, &span));
    let message = error.message();
    let explained = match unknown_field(message) {
        Some((_, known)) => {
            let written = key.as_deref().and_then(|key| key.rsplit('.').next());
            let near = written.and_then(|written| nearest(written, &known));
            match near {
                Some(near) => format!("unknown key, did you mean {near}?"),
                None => "unknown key.".into(),
            }
        }
        None => format!("{}.", message.trim_end_matches('.').replace('\n', ", ")),
    };
    place(line, key.as_deref(), &explained)
}

/// Words for a value out of its range.
pub(super) fn range_error(text: &str, mistake: &Mistake) -> String {
    let line = span_of(text, &mistake.key).map(|span| line_of(text, span.start));
    place(line, Some(&mistake.key), &format!("must be {}.", mistake.allowed))
}

fn place(line: Option<usize>, key: Option<&str>, explained: &str) -> String {
    let line = line.map(|line| format!(" line {line}")).unwrap_or_default();
    let key = key.map(|key| format!("{key}: ")).unwrap_or_default();
    format!("settings.toml{line}: {key}{explained}")
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The unknown key and the known ones, out of serde's words for `deny_unknown_fields`.
fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    Some((unknown, quoted.collect()))
}

/// The dotted key whose name or value the span lies in, the innermost one.
fn key_at(text: &str, span: &Range<usize>) -> Option<String> {
    let document = Document::parse(text).ok()?;
    let mut path = Vec::new();
    find(document.as_table(), span, &mut path).then(|| path.join("."))
}

fn find(table: &dyn TableLike, wanted: &Range<usize>, path: &mut Vec<String>) -> bool {
    let holds =
        |span: Option<Range<usize>>| span.is_some_and(|s| s.start <= wanted.start && wanted.end <= s.end);
    for (name, item) in table.iter() {
        path.push(name.to_owned());
        if item.as_table_like().is_some_and(|inner| find(inner, wanted, path)) {
            return true;
        }
        let own = table.key(name).and_then(toml_edit::Key::span);
        if holds(own) || holds(item.span()) {
            return true;
        }
        path.pop();
    }
    false
}

fn span_of(text: &str, dotted: &str) -> Option<Range<usize>> {
    let document = Document::parse(text).ok()?;
    let table: &Table = document.as_table();
    let mut item: Option<&Item> = None;
    for name in dotted.split('.') {
        item = match item {
            None => table.get(name),
            Some(outer) => outer.as_table_like()?.get(name),
        };
        item?;
    }
    item?.span()
}
