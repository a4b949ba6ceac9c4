//! Replaces the value of `model` in a request body, JSON or a form, and leaves every other byte as it was.

use super::{
    form::{self, Form},
    path::shown,
    pieces::Pieces,
    refusal::Refusal,
};
use axum::http::{HeaderMap, StatusCode, header};
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

/// How the model's name is written into a body.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// In the place of a JSON value.
    Value,
    /// As a new field at the begin of a JSON object; whether others follow.
    Field { more: bool },
    /// In the place of a form's text.
    Text,
    /// As a new part before the others of a form.
    Part { boundary: String },
}

/// Where the model's name stands in a body, or shall stand, and what it says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    place: Range<usize>,
    way: Way,
    /// `None`: missing, null or empty.
    pub model: Option<String>,
}

/// Finds the name of the model in a body of whatever kind its head says. Refusals: invalid_json, invalid_form (400) and
/// unsupported_media_type (415).
pub(super) fn find(headers: &HeaderMap, body: &[u8]) -> Result<Named, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| String::from_utf8_lossy(kind.as_bytes()));
    let kind = kind.as_deref().unwrap_or_default();
    let bad = |code, text| Refusal::new(StatusCode::BAD_REQUEST, code, text);
    if let Some(boundary) = form::boundary(kind) {
        return in_form(body, boundary).map_err(|text| bad("invalid_form", text));
    }
    // Many a program sends JSON under another name, as `curl -d` does.
    let is_json = begins_object(body) || kind.is_empty() || kind.to_ascii_lowercase().contains("json");
    if is_json {
        return in_json(body).map_err(|text| bad("invalid_json", text));
    }
    let text = format!(
        "A body of the type {} is not understood. Send a JSON object, or a form (multipart/form-data with its boundary).",
        shown(kind)
    );
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", text))
}

fn begins_object(body: &[u8]) -> bool {
    body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

/// The top-level `model`. Errors: the body is not a JSON object, or its model is not a string.
fn in_json(body: &[u8]) -> Result<Named, String> {
    if !begins_object(body) {
        return Err("The body must be a JSON object.".into());
    }
    let head: Head =
        serde_json::from_slice(body).map_err(|error| format!("The body is not valid JSON: {error}."))?;
    let Some(raw) = head.model else {
        let open = body.iter().position(|byte| *byte == b'{').unwrap_or_default() + 1;
        let more = body[open..].iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'}');
        return Ok(Named { place: open..open, way: Way::Field { more }, model: None });
    };
    let start = raw.get().as_ptr() as usize - body.as_ptr() as usize;
    let place = start..start + raw.get().len();
    let model: Option<String> = serde_json::from_str::<Option<String>>(raw.get())
        .map_err(|_| "The model's name must be a string.".to_owned())?;
    Ok(Named { place, way: Way::Value, model: model.filter(|name| !name.is_empty()) })
}

/// The field `model`. Errors: the body is no form, or its model is no text.
fn in_form(body: &[u8], boundary: String) -> Result<Named, String> {
    let form = Form::read(body, &boundary).map_err(|why| format!("The body is not a whole form: {why}."))?;
    let Some(place) = form.model else {
        return Ok(Named { place: form.begin..form.begin, way: Way::Part { boundary }, model: None });
    };
    let name = std::str::from_utf8(&body[place.clone()]).map_err(|_| "The model's name must be text.")?;
    let model = Some(name.to_owned()).filter(|name| !name.is_empty());
    Ok(Named { place, way: Way::Text, model })
}

/// The body with another model's name. The pieces are slices of the body: nothing is copied but the name.
pub(super) fn rename(body: &Bytes, named: &Named, model: &str) -> Pieces {
    if named.model.as_deref() == Some(model) {
        return Pieces::new([body.clone(), Bytes::new(), Bytes::new()]);
    }
    let quoted = || serde_json::Value::from(model).to_string();
    // A name on several lines could end the part that it stands in.
    let plain = || model.replace(['\r', '\n'], " ");
    let insert = match &named.way {
        Way::Value => quoted(),
        Way::Field { more } => format!("\"model\":{}{}", quoted(), if *more { "," } else { "" }),
        Way::Text => plain(),
        Way::Part { boundary } => {
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{}\r\n", plain())
        }
    };
    let Range { start, end } = named.place;
    Pieces::new([body.slice(..start), insert.into(), body.slice(end..)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn renamed(body: &str, model: &str) -> String {
        let body = Bytes::from(body.to_owned());
        let named = in_json(&body).unwrap();
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
            assert!(in_json(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn escapes_in_keys_and_values_are_understood() {
        let named = in_json(br#"{"mo\u0064el":"\u0061ctive"}"#).unwrap();
        assert_eq!(named.model.as_deref(), Some("active"));
    }

    #[test]
    fn in_a_form_only_the_text_of_the_model_changes() {
        let file = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n\0--b\r\n";
        let field =
            |name: &str| format!("--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{name}\r\n");
        let renamed = |body: String, wanted: &str| {
            let body = Bytes::from(body);
            let named = in_form(&body, "b".into()).unwrap();
            (named.model.clone(), String::from_utf8(rename(&body, &named, wanted).joined()).unwrap())
        };
        let (model, after) = renamed(format!("{file}{}--b--", field("active")), "whisper");
        assert_eq!((model.as_deref(), after), (Some("active"), format!("{file}{}--b--", field("whisper"))));
        let (model, after) = renamed(format!("{file}--b--"), "whisper");
        assert_eq!((model, after), (None, format!("{}{file}--b--", field("whisper"))));
        let (_, after) = renamed(format!("{file}{}--b--", field("")), "a\r\n--b--");
        assert_eq!(after, format!("{file}{}--b--", field("a  --b--")), "a name cannot end the form");
    }

    #[test]
    fn what_is_neither_json_nor_a_form_is_refused_by_its_name() {
        let asked = |kind: Option<&str>, body: &str| {
            let mut headers = HeaderMap::new();
            if let Some(kind) = kind {
                headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
            }
            find(&headers, body.as_bytes())
                .map(|_| ())
                .map_err(|refusal| (refusal.status.as_u16(), refusal.code))
        };
        for kind in [
            None,
            Some("application/json; charset=utf-8"),
            Some("application/x-www-form-urlencoded"),
            Some("text/plain"),
        ] {
            assert_eq!(asked(kind, " {}"), Ok(()), "{kind:?}");
        }
        for (kind, body, refusal) in [
            (None, "model=a", (400, "invalid_json")),
            (Some("application/json"), "", (400, "invalid_json")),
            (Some("application/x-www-form-urlencoded"), "model=a", (415, "unsupported_media_type")),
            (Some("audio/wav"), "RIFF", (415, "unsupported_media_type")),
            (Some("multipart/form-data"), "--b--", (415, "unsupported_media_type")),
            (Some("multipart/mixed; boundary=b"), "--b--", (415, "unsupported_media_type")),
            (Some("multipart/form-data; boundary=b"), "--c--", (400, "invalid_form")),
            (Some("multipart/form-data; boundary=b"), "{}", (400, "invalid_form")),
        ] {
            assert_eq!(asked(kind, body), Err(refusal), "{kind:?} {body}");
        }
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
