//! TOML, by a parser that keeps what it does not change.

use super::{Entry, Refused, Step, name_of};
use serde_json::Value as Json;
use std::ops::Range;
use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

pub(super) fn read(text: &str) -> Result<DocumentMut, Refused> {
    text.parse().map_err(|error: toml_edit::TomlError| mistake(text, error.message(), error.span()))
}

pub(super) fn value(text: &str) -> Result<Json, Refused> {
    toml_edit::de::from_str(text)
        .map_err(|error: toml_edit::de::Error| mistake(text, error.message(), error.span()))
}

fn mistake(text: &str, message: &str, place: Option<Range<usize>>) -> Refused {
    let line = place.and_then(|place| text.get(..place.start)).map(|before| before.matches('\n').count() + 1);
    Refused::mistake(&match line {
        Some(line) => format!("line {line}: {message}"),
        None => message.to_owned(),
    })
}

pub(super) fn set(document: &mut DocumentMut, entry: &Entry) -> Result<(), Refused> {
    let keys = entry.path.iter().map(|step| match step {
        Step::Key(key) => Ok(key.as_str()),
        Step::Item { .. } => Err(Refused::odd()),
    });
    let keys: Vec<&str> = keys.collect::<Result<_, _>>()?;
    let (Some((name, groups)), Some(new)) = (keys.split_last(), value_of(&entry.value)) else {
        return Err(Refused::odd());
    };
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for (index, group) in groups.iter().enumerate() {
        if table.get(group).is_none_or(Item::is_none) {
            let mut made = Table::new();
            // Only the innermost gets a header of its own.
            made.set_implicit(index + 1 < groups.len());
            table.insert(group, Item::Table(made));
        }
        let inner = table.get_mut(group).and_then(Item::as_table_like_mut);
        table = inner.ok_or_else(|| Refused::not_a_table(name_of(&entry.path[..=index])))?;
    }
    match table.get_mut(name) {
        Some(_) if entry.unless_there => {}
        Some(Item::Value(written)) => {
            if !same(written, &new) {
                // The remark behind it stays.
                let decor = written.decor().clone();
                *written = new;
                *written.decor_mut() = decor;
            }
        }
        Some(item) if !item.is_none() => {
            return Err(Refused::new(format!("has “{name}” as a group of values")));
        }
        _ => drop(table.insert(name, Item::Value(new))),
    }
    Ok(())
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.value() == b.value(),
        (Value::Integer(a), Value::Integer(b)) => a.value() == b.value(),
        (Value::Boolean(a), Value::Boolean(b)) => a.value() == b.value(),
        _ => false,
    }
}

fn value_of(value: &Json) -> Option<Value> {
    match value {
        Json::String(text) => Some(text.as_str().into()),
        Json::Bool(flag) => Some((*flag).into()),
        Json::Number(number) => number.as_i64().map(Into::into),
        _ => None,
    }
}
