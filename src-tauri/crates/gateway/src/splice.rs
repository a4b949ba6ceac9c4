//! Replaces the value of `model` in a request body, JSON or a form, takes out what is not for clients to say, and leaves every
//! other byte as it was.

mod head;

use super::{
    form::{self, Form},
    path::shown,
    pieces::Pieces,
    refusal::Refusal,
};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use head::Head;
use serde_json::value::RawValue;
use std::ops::Range;

/// Fields by which clients say how long a model stays in memory: Ollama's and LM Studio's.
const GOVERNED: [&str; 2] = ["keep_alive", "ttl"];

/// Fields by which clients say how many tokens they want at most: OpenAI's, older and newer, and llama-server's.
const MOST_OUTPUT: [&str; 3] = ["max_tokens", "max_completion_tokens", "n_predict"];

/// A field that can be taken out of a JSON body.
#[derive(Debug, PartialEq, Eq)]
struct Field {
    name: &'static str,
    /// From its key to the end of its value.
    place: Range<usize>,
    /// How many fields stand before it.
    at: usize,
}

/// How the model's name is written into a body.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// In the place of a JSON value.
    Value,
    /// As a new field at the begin of a JSON object.
    Field,
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
    /// The client wants its answer as a stream of events.
    pub streams: bool,
    /// The most tokens that the client wants. `None`: it names no limit.
    pub most_output: Option<u64>,
    governed: Vec<Field>,
    /// How many fields stand before the last one that is not governed, that one included.
    others_until: usize,
}

impl Named {
    fn of_form(place: Range<usize>, way: Way, model: Option<String>) -> Self {
        Self { place, way, model, streams: false, most_output: None, governed: vec![], others_until: 0 }
    }

    /// The fields that say how long the model stays, by their names. `None`: there are none.
    pub fn governed(&self) -> Option<String> {
        let mut names: Vec<&str> = self.governed.iter().map(|field| field.name).collect();
        names.sort_unstable();
        names.dedup();
        (!names.is_empty()).then(|| names.join(", "))
    }
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
    let Head { model, streams, most_output, governed, others_until } =
        serde_json::from_slice(body).map_err(|error| format!("The body is not valid JSON: {error}."))?;
    let place = |raw: &str| {
        let start = raw.as_ptr() as usize - body.as_ptr() as usize;
        start..start + raw.len()
    };
    let in_place = |(name, key, value, at): (_, &RawValue, &RawValue, _)| Field {
        name,
        place: place(key.get()).start..place(value.get()).end,
        at,
    };
    let governed = governed.into_iter().map(in_place).collect();
    let Some(raw) = model.map(RawValue::get) else {
        let open = body.iter().position(|byte| *byte == b'{').unwrap_or_default() + 1;
        return Ok(Named {
            place: open..open,
            way: Way::Field,
            model: None,
            streams,
            most_output,
            governed,
            others_until,
        });
    };
    let model: Option<String> = serde_json::from_str::<Option<String>>(raw)
        .map_err(|_| "The model's name must be a string.".to_owned())?;
    let model = model.filter(|name| !name.is_empty());
    Ok(Named { place: place(raw), way: Way::Value, model, streams, most_output, governed, others_until })
}

/// The field `model`. Errors: the body is no form, or its model is no text.
fn in_form(body: &[u8], boundary: String) -> Result<Named, String> {
    let form = Form::read(body, &boundary).map_err(|why| format!("The body is not a whole form: {why}."))?;
    let Some(place) = form.model else {
        return Ok(Named::of_form(form.begin..form.begin, Way::Part { boundary }, None));
    };
    let name = std::str::from_utf8(&body[place.clone()]).map_err(|_| "The model's name must be text.")?;
    let model = Some(name.to_owned()).filter(|name| !name.is_empty());
    Ok(Named::of_form(place, Way::Text, model))
}

/// The body with another model's name and, if that is wanted, without the governed fields. The pieces are slices of the body:
/// nothing is copied but the name.
pub(super) fn rename(body: &Bytes, named: &Named, model: &str, govern: bool) -> Pieces {
    let governed = if govern { named.governed.as_slice() } else { &[] };
    if named.model.as_deref() == Some(model) && governed.is_empty() {
        return Pieces::new(vec![body.clone()]);
    }
    let quoted = || serde_json::Value::from(model).to_string();
    // A name on several lines could end the part that it stands in.
    let plain = || model.replace(['\r', '\n'], " ");
    let insert = match &named.way {
        Way::Value => quoted(),
        Way::Field => {
            let more = named.others_until > 0 || governed.len() < named.governed.len();
            format!("\"model\":{}{}", quoted(), if more { "," } else { "" })
        }
        Way::Text => plain(),
        Way::Part { boundary } => {
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{}\r\n", plain())
        }
    };
    let without = |field: &Field| (cut_out(body, field, named.others_until), Bytes::new());
    let mut edits: Vec<(Range<usize>, Bytes)> = governed.iter().map(without).collect();
    edits.push((named.place.clone(), insert.into()));
    // The new field may go where the first one that is taken out begins.
    edits.sort_by_key(|(place, _)| (place.start, place.end));
    let mut pieces = Vec::with_capacity(2 * edits.len() + 1);
    let mut from = 0;
    for (place, text) in edits {
        pieces.push(body.slice(from..place.start));
        pieces.push(text);
        from = place.end;
    }
    pieces.push(body.slice(from..));
    Pieces::new(pieces)
}

/// What goes with a field: the comma behind it as long as others stay behind it, else the one before it. Taken for each field by
/// itself, the places of several never overlap.
fn cut_out(body: &[u8], field: &Field, others_until: usize) -> Range<usize> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let Range { start, end } = field.place.clone();
    if field.at < others_until {
        let gap = |from: usize| body[from..].iter().take_while(|byte| is_space(byte)).count();
        let comma = end + gap(end);
        return start..comma + 1 + gap(comma + 1);
    }
    let before = body[..start].iter().rposition(|byte| !is_space(byte)).unwrap_or_default();
    let start = if body.get(before) == Some(&b',') { before } else { start };
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn renamed(body: &str, model: &str) -> String {
        let body = Bytes::from(body.to_owned());
        let named = in_json(&body).unwrap();
        String::from_utf8(rename(&body, &named, model, false).joined()).unwrap()
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
            (named.model.clone(), String::from_utf8(rename(&body, &named, wanted, false).joined()).unwrap())
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
                .map_err(|refusal| (refusal.status.as_u16(), refusal.code.into_owned()))
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
            let refusal: (u16, &str) = refusal;
            assert_eq!(asked(kind, body), Err((refusal.0, refusal.1.to_owned())), "{kind:?} {body}");
        }
    }

    /// The body as a server gets it that keeps its models as Pilothouse says.
    fn governed(body: &str) -> (Option<String>, String) {
        let body = Bytes::from(body.to_owned());
        let named = in_json(&body).unwrap();
        let after = rename(&body, &named, "m", true).joined();
        (named.governed(), String::from_utf8(after).unwrap())
    }

    #[test]
    fn what_says_how_long_a_model_stays_is_taken_out_wherever_it_stands() {
        let both = Some("keep_alive, ttl");
        let one = Some("keep_alive");
        for (body, names, wanted) in [
            (r#"{"model":"m","keep_alive":"5m","x":1}"#, one, r#"{"model":"m","x":1}"#),
            (r#"{"keep_alive":-1,"model":"m"}"#, one, r#"{"model":"m"}"#),
            (r#"{"model":"m","keep_alive":0}"#, one, r#"{"model":"m"}"#),
            (
                r#"{"model":"a" , "keep_alive" : {"a":[1,"}"]} , "x" : 1 }"#,
                one,
                r#"{"model":"m" , "x" : 1 }"#,
            ),
            ("{\n  \"model\": \"a\",\n  \"ttl\": 60\n}", Some("ttl"), "{\n  \"model\": \"m\"\n}"),
            (r#"{"keep_alive":"5m"}"#, one, r#"{"model":"m"}"#),
            (r#"{ "keep_alive":"5m" , "ttl":3 }"#, both, r#"{"model":"m"   }"#),
            (r#"{"keep_alive":1,"ttl":2,"keep_alive":3,"x":0}"#, both, r#"{"model":"m","x":0}"#),
            (r#"{"x":0,"keep_alive":1,"ttl":2,"keep_alive":3}"#, both, r#"{"model":"m","x":0}"#),
            (r#"{"keep_alive":1,"model":"a","ttl":2}"#, both, r#"{"model":"m"}"#),
            (r#"{"ttl":1,"model":"a","keep_alive":2,"x":[ ]}"#, both, r#"{"model":"m","x":[ ]}"#),
            (r#"{"model":"m","keep\u005falive":null,"x":1}"#, one, r#"{"model":"m","x":1}"#),
            // The same names elsewhere are somebody's own.
            (
                r#"{"model":"m","x":{"keep_alive":1,"ttl":2}}"#,
                None,
                r#"{"model":"m","x":{"keep_alive":1,"ttl":2}}"#,
            ),
            (
                r#"{"model":"m","x":"keep_alive","Keep_Alive":1}"#,
                None,
                r#"{"model":"m","x":"keep_alive","Keep_Alive":1}"#,
            ),
        ] {
            let (said, after) = governed(body);
            assert_eq!((said.as_deref(), after.as_str()), (names, wanted), "{body}");
            let _: Value = serde_json::from_str(&after).unwrap();
        }
        let kept = r#"{"keep_alive":"5m"}"#;
        assert_eq!(renamed(kept, "m"), r#"{"model":"m","keep_alive":"5m"}"#, "of others it passes");
    }

    #[test]
    fn the_most_that_a_client_wants_is_read_where_it_says_so() {
        for (body, most) in [
            (r#"{"model":"a"}"#, None),
            (r#"{"model":"a","max_tokens":64}"#, Some(64)),
            (r#"{"max_completion_tokens":32,"max_tokens":null,"model":"a"}"#, Some(32)),
            (r#"{"n_predict":-1,"model":"a"}"#, None),
            (r#"{"max_tokens":1e2}"#, Some(100)),
            (r#"{"max_tokens":"many","options":{"max_tokens":4}}"#, None),
            (r#"{"max_tokens":1e300}"#, Some(u64::MAX)),
        ] {
            assert_eq!(in_json(body.as_bytes()).unwrap().most_output, most, "{body}");
        }
    }

    #[test]
    fn a_client_that_wants_a_stream_says_so() {
        for (body, streams) in [
            (r#"{"stream":true}"#, true),
            (r#"{"stream" : true , "model":"a"}"#, true),
            (r#"{"stream":false}"#, false),
            (r#"{"stream":"true"}"#, false),
            (r#"{"stream":null}"#, false),
            (r#"{"x":{"stream":true}}"#, false),
            ("{}", false),
        ] {
            assert_eq!(in_json(body.as_bytes()).unwrap().streams, streams, "{body}");
        }
    }

    proptest::proptest! {
        #[test]
        fn without_its_governed_fields_a_body_says_the_same(
            fields in proptest::collection::vec(
                (proptest::sample::select(vec!["keep_alive", "ttl", "a", "b", "model"]), "[ \n\t]{0,2}", "\\PC{0,6}"),
                0..7,
            ),
        ) {
            let mut seen = std::collections::BTreeSet::new();
            let fields: Vec<_> = fields
                .into_iter()
                .filter(|(key, ..)| !matches!(*key, "a" | "b" | "model") || seen.insert(*key))
                .collect();
            let one = |(key, gap, text): &(&str, String, String)| format!("{gap}\"{key}\"{gap}:{gap}{}{gap}", json!(text));
            let body = format!(" {{{}}}", fields.iter().map(one).collect::<Vec<_>>().join(","));
            let mut wanted: serde_json::Map<String, Value> = fields
                .iter()
                .filter(|(key, ..)| !GOVERNED.contains(key))
                .map(|(key, _, text)| ((*key).to_owned(), json!(text)))
                .collect();
            wanted.insert("model".into(), json!("m"));
            let after: Value = serde_json::from_str(&governed(&body).1).unwrap();
            proptest::prop_assert_eq!(after, Value::Object(wanted), "{}", body);
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
