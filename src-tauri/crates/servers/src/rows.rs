//! Lists in the answers of servers, read row by row: one odd row costs itself and no other, and what is left out is counted and
//! told. `null` is an empty list (Go's way to write one), and a name that is there twice is one.

use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

/// The rows of a list that could be read, and how many could not.
#[derive(Debug)]
pub struct Rows<T> {
    pub rows: Vec<T>,
    pub odd: usize,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), odd: 0 }
    }
}

impl<T: DeserializeOwned> TryFrom<Value> for Rows<T> {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, &'static str> {
        let values = match value {
            Value::Null => Vec::new(),
            Value::Array(values) => values,
            _ => return Err("a list was expected"),
        };
        let all = values.len();
        let rows: Vec<T> = values.into_iter().filter_map(|row| serde_json::from_value(row).ok()).collect();
        Ok(Self { odd: all - rows.len(), rows })
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Rows<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer)?.try_into().map_err(D::Error::custom)
    }
}

/// A field of another type than expected counts as not told: one odd value must not cost the whole row.
pub fn maybe<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).ok())
}

/// The same for a field that has a value when nothing is told.
pub fn or_default<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(maybe(deserializer)?.unwrap_or_default())
}

/// A count, also one that is written as 64.0.
pub fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let whole =
        value.as_f64().filter(|count| *count >= 0.0 && count.fract() == 0.0 && *count <= f64::from(u32::MAX));
    Ok(whole.map(|count| count as u32))
}

/// The name of something. Errors: it is empty or no text, so that its row is odd.
pub fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name.trim().is_empty() { Err(D::Error::custom("a name was expected")) } else { Ok(name) }
}

/// What was left out of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct LeftOut {
    odd: usize,
    doubles: usize,
}

impl LeftOut {
    fn in_words(self, list: &str) -> String {
        let Self { odd, doubles } = self;
        let rows = |count: usize, one: &str, many: &str| match count {
            0 => None,
            1 => Some(format!("1 row {one}")),
            count => Some(format!("{count} rows {many}")),
        };
        let parts = [
            rows(odd, "cannot be read and is left out", "cannot be read and are left out"),
            rows(doubles, "names something that is there already", "name something that is there already"),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        match &parts[..] {
            [] => format!("its list of {list} is as it should be again"),
            parts => format!("its list of {list} is odd: {}", parts.join(", ")),
        }
    }
}

/// What was odd in a server's lists so far, to be told once and again when it changes.
#[derive(Debug, Default)]
pub struct Oddities(Mutex<BTreeMap<&'static str, (LeftOut, bool)>>);

impl Oddities {
    /// Each row once, by its name; the first one of a name stays. `list`: what the rows are, in words.
    pub fn sorted<T>(&self, list: &'static str, rows: Rows<T>, name: impl Fn(&T) -> &str) -> Vec<T> {
        let all = rows.rows.len();
        let mut seen = BTreeSet::new();
        let kept: Vec<T> = rows.rows.into_iter().filter(|row| seen.insert(name(row).to_owned())).collect();
        self.note(list, LeftOut { odd: rows.odd, doubles: all - kept.len() });
        kept
    }

    fn note(&self, list: &'static str, now: LeftOut) {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, told) = lists.entry(list).or_insert((LeftOut::default(), true));
        if *before != now {
            (*before, *told) = (now, false);
        }
    }

    /// What has not been told yet, a sentence for each list.
    pub fn untold(&self) -> Vec<String> {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let news = lists.iter_mut().filter(|(_, (_, told))| !told);
        news.map(|(list, (left_out, told))| {
            *told = true;
            left_out.in_words(list)
        })
        .collect()
    }
}

/// The text of a piece of an answer: plain, or in parts as OpenAI's messages may have it.
pub fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(words_of(&Value::deserialize(deserializer)?))
}

fn words_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(words_of).collect(),
        Value::Object(part) => {
            ["text", "content", "thinking"].iter().filter_map(|key| part.get(*key)).map(words_of).collect()
        }
        _ => String::new(),
    }
}

/// The first of these that says something.
pub fn first_said<const N: usize>(texts: [String; N]) -> String {
    texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, Deserialize)]
    struct Row {
        #[serde(deserialize_with = "name")]
        id: String,
        #[serde(default, deserialize_with = "maybe")]
        size: Option<u64>,
        #[serde(default, deserialize_with = "count")]
        tokens: Option<u32>,
        #[serde(default, deserialize_with = "words")]
        text: String,
    }

    #[test]
    fn a_list_keeps_what_can_be_read_of_it() {
        for (list, kept, odd) in [
            (json!(null), 0, 0),
            (json!([]), 0, 0),
            (json!([{ "id": "a" }, { "id": "b", "size": "large" }]), 2, 0),
            (json!([{ "id": "a" }, null, 3, "b", [], {}]), 1, 5),
            (
                json!([{ "id": "" }, { "id": " " }, { "id": null }, { "id": 7 }, { "id": "a", "more": [] }]),
                1,
                4,
            ),
        ] {
            let rows: Rows<Row> = serde_json::from_value(list.clone()).unwrap();
            assert_eq!((rows.rows.len(), rows.odd), (kept, odd), "{list}");
        }
        for list in [json!({}), json!("a"), json!(3), json!(true)] {
            assert!(serde_json::from_value::<Rows<Row>>(list.clone()).is_err(), "{list}");
        }
    }

    #[test]
    fn odd_fields_are_not_told() {
        let row = |row: Value| serde_json::from_value::<Row>(row).unwrap();
        for (size, wanted) in
            [(json!(7), Some(7)), (json!(-1), None), (json!("7"), None), (json!(null), None)]
        {
            assert_eq!(row(json!({ "id": "a", "size": size })).size, wanted);
        }
        for (tokens, wanted) in [
            (json!(64), Some(64)),
            (json!(64.0), Some(64)),
            (json!(1.5), None),
            (json!(-1), None),
            (json!(1e12), None),
        ] {
            assert_eq!(row(json!({ "id": "a", "tokens": tokens })).tokens, wanted, "{tokens}");
        }
        for (text, wanted) in [
            (json!("Hi"), "Hi"),
            (json!(null), ""),
            (json!([{ "type": "text", "text": "H" }, { "type": "text", "text": "i" }]), "Hi"),
            (json!([{ "type": "thinking", "thinking": [{ "type": "text", "text": "Hm" }] }]), "Hm"),
            (json!(3), ""),
        ] {
            assert_eq!(row(json!({ "id": "a", "text": text })).text, wanted, "{text}");
        }
    }

    #[test]
    fn doubles_are_one_and_what_is_odd_is_told_once_until_it_changes() {
        let oddities = Oddities::default();
        let sort = |list: Value| {
            let rows: Rows<Row> = serde_json::from_value(list).unwrap();
            let kept = oddities.sorted("models", rows, |row| &row.id);
            kept.into_iter().map(|row| (row.id, row.size)).collect::<Vec<_>>()
        };
        sort(json!([{ "id": "a" }]));
        assert!(oddities.untold().is_empty());
        let odd =
            json!([{ "id": "a", "size": 1 }, { "id": "b" }, 3, { "id": "a", "size": 2 }, { "id": "a" }]);
        assert_eq!(sort(odd.clone()), [("a".into(), Some(1)), ("b".into(), None)]);
        let told = oddities.untold();
        let words = "its list of models is odd: 1 row cannot be read and is left out, 2 rows name something that is there already";
        assert_eq!(told, [words]);
        sort(odd);
        assert!(oddities.untold().is_empty(), "the same again");
        sort(json!([3, 4]));
        assert_eq!(oddities.untold(), ["its list of models is odd: 2 rows cannot be read and are left out"]);
        sort(json!(null));
        assert_eq!(oddities.untold(), ["its list of models is as it should be again"]);
    }
}
