//! Replaces the value of `model` in a request body and leaves every other byte as it was.

use super::pieces::Pieces;
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::ops::Range;

/// The one field that the gateway reads. Everything else is skipped, whatever it is.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default, deserialize_with = "even_null")]
    model: Option<&'a RawValue>,
}

/// A plain `Option` would take `null` for a missing field, and its place would be lost.
fn even_null<'de: 'a, 'a, D: Deserializer<'de>>(value: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

/// Where the model's name stands in a body, and what it says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// `None`: the field is missing.
    place: Option<Range<usize>>,
    /// `None`: missing, null or empty.
    pub model: Option<String>,
}

/// Finds the top-level `model`. Errors: the body is not a JSON object, or its model is not a string.
pub(super) fn find(body: &[u8]) -> Result<Named, String> {
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err("The body must be a JSON object.".into());
    }
    let head: Head =
        serde_json::from_slice(body).map_err(|error| format!("The body is not valid JSON: {error}."))?;
    let Some(raw) = head.model else {
        return Ok(Named { place: None, model: None });
    };
    let start = raw.get().as_ptr() as usize - body.as_ptr() as usize;
    let place = Some(start..start + raw.get().len());
    let model: Option<String> = serde_json::from_str::<Option<String>>(raw.get())
        .map_err(|_| "The model's name must be a string.".to_owned())?;
    Ok(Named { place, model: model.filter(|name| !name.is_empty()) })
}

/// The body with another model's name. The pieces are slices of the body: nothing is copied but the name.
pub(super) fn rename(body: &Bytes, named: &Named, model: &str) -> Pieces {
    if named.model.as_deref() == Some(model) {
        return Pieces::new([body.clone(), Bytes::new(), Bytes::new()]);
    }
    let name = serde_json::Value::from(model).to_string();
    let (place, insert) = match &named.place {
        Some(place) => (place.clone(), name),
        None => {
            let open = body.iter().position(|byte| *byte == b'{').unwrap_or_default() + 1;
            let empty = body[open..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'}');
            (open..open, format!("\"model\":{name}{}", if empty { "" } else { "," }))
        }
    };
    Pieces::new([body.slice(..place.start), insert.into(), body.slice(place.end..)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn renamed(body: &str, model: &str) -> String {
        let body = Bytes::from(body.to_owned());
        let named = find(&body).unwrap();
        String::from_utf8(rename(&body, &named, model).joined()).unwrap()
    }

    #[test]
    fn only_the_value_of_the_top_level_model_changes() {
        let body =
            "{ \"messages\": [{\"model\": \"x\", \"a\": 1.0e2}],\n  \"model\" : \"active\" , \"z\":[ ] }";
        let wanted = "{ \"messages\": [{\"model\": \"x\", \"a\": 1.0e2}],\n  \"model\" : \"smol \\\"q\\\"\" , \"z\":[ ] }";
        assert_eq!(renamed(body, "smol \"q\""), wanted);
    }

    #[test]
    fn a_missing_model_is_put_in() {
        assert_eq!(renamed("{}", "a"), "{\"model\":\"a\"}");
        assert_eq!(renamed(" { \"b\":1}", "a"), " {\"model\":\"a\", \"b\":1}");
        assert_eq!(renamed("{\"model\":null}", "a"), "{\"model\":\"a\"}");
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for body in ["", "[]", "3", "{\"model\":3}", "{\"model\":\"a\"", "{\"model\":\"a\",\"model\":\"b\"}"]
        {
            assert!(find(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn escapes_in_keys_and_values_are_understood() {
        let named = find(br#"{"mo\u0064el":"\u0061ctive"}"#).unwrap();
        assert_eq!(named.model.as_deref(), Some("active"));
    }

    proptest::proptest! {
        #[test]
        fn every_other_field_survives(
            fields in proptest::collection::btree_map("[a-z\"\\\\ü]{1,6}", "\\PC{0,12}", 0..6),
            model in proptest::option::of("\\PC{0,12}"),
            wanted in "\\PC{1,12}",
        ) {
            let mut object: serde_json::Map<String, Value> =
                fields.into_iter().filter(|(key, _)| key != "model").map(|(k, v)| (k, json!({ "model": v }))).collect();
            if let Some(model) = model {
                object.insert("model".into(), json!(model));
            }
            let body = Value::Object(object.clone()).to_string();
            object.insert("model".into(), json!(wanted));
            let after: Value = serde_json::from_str(&renamed(&body, &wanted)).unwrap();
            proptest::prop_assert_eq!(after, Value::Object(object));
        }
    }
}
