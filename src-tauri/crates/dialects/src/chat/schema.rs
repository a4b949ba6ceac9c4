//! The schema of a tool's parameters as servers can take it.

use crate::fields::{self, Fields};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The longest text and the longest list that llama.cpp makes a grammar of: it refuses 2,000 repetitions and more
/// (llama-grammar.cpp, MAX_REPETITION_THRESHOLD), and each item of a list counts up to three times, with its comma.
const LONGEST_TEXT: u64 = 1_999;
const LONGEST_LIST: u64 = 600;

/// What lies deeper is left as it is: a client may nest as deep as its request is long, and each level is read once more.
const DEEPEST: u32 = 64;

/// Below these stand values, and no schemas.
const VALUES: [&str; 4] = ["const", "default", "enum", "examples"];
/// Below these stand schemas by names that the client chose, which say nothing themselves (JSON Schema 2020-12, core, 10.2 and 10.3;
/// `definitions` of the drafts before).
const NAMED: [&str; 5] = ["$defs", "definitions", "dependentSchemas", "patternProperties", "properties"];

/// The schema without bounds that no model comes near and that llama.cpp cannot keep: it answers 400 to every question that such a
/// tool comes with (a tool of Claude Code may be given half a million letters). What has none of them is as it was written.
pub(super) fn bounded(schema: &RawValue) -> Cow<'_, RawValue> {
    let may = ["Length", "Items"].iter().any(|word| schema.get().contains(word));
    let changed = may.then(|| without_bounds(schema.get(), Holds::Keywords, DEEPEST)).flatten();
    match changed.and_then(|text| RawValue::from_string(text).ok()) {
        Some(changed) => Cow::Owned(changed),
        None => Cow::Borrowed(schema),
    }
}

/// What the fields of an object are.
#[derive(Clone, Copy)]
enum Holds {
    /// It is a schema.
    Keywords,
    /// It names schemas.
    Schemas,
}

/// `None`: nothing to leave out down to this depth, or no document that has parts.
fn without_bounds(text: &str, holds: Holds, depth: u32) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    match text.trim_start().as_bytes().first()? {
        b'{' => {
            let fields = Fields::read(text)?;
            let mut changed = false;
            let mut kept = vec![];
            for (name, value) in fields.iter() {
                let below = match holds {
                    Holds::Keywords if is_beyond(name, value.get()) => {
                        changed = true;
                        continue;
                    }
                    Holds::Keywords if VALUES.contains(&name) => None,
                    Holds::Keywords if NAMED.contains(&name) => Some(Holds::Schemas),
                    _ => Some(Holds::Keywords),
                };
                let inner = below.and_then(|holds| without_bounds(value.get(), holds, depth));
                changed |= inner.is_some();
                kept.push(format!("{}:{}", fields::raw(name), inner.as_deref().unwrap_or(value.get())));
            }
            changed.then(|| format!("{{{}}}", kept.join(",")))
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            let inner: Vec<Option<String>> =
                items.iter().map(|item| without_bounds(item.get(), holds, depth)).collect();
            let texts = items.iter().zip(&inner).map(|(item, inner)| inner.as_deref().unwrap_or(item.get()));
            inner.iter().any(Option::is_some).then(|| format!("[{}]", texts.collect::<Vec<_>>().join(",")))
        }
        _ => None,
    }
}

fn is_beyond(name: &str, value: &str) -> bool {
    let limit = match name {
        "maxLength" | "minLength" => LONGEST_TEXT,
        "maxItems" | "minItems" => LONGEST_LIST,
        _ => return false,
    };
    // Where it is too large for a whole number, or written as a fraction.
    value.parse::<f64>().is_ok_and(|bound| bound > limit as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    fn bounded_text(schema: &str) -> String {
        bounded(&RawValue::from_string(schema.into()).unwrap()).get().to_owned()
    }

    #[test]
    fn only_bounds_that_make_no_grammar_are_left_out() {
        for (schema, wanted) in [
            (r#"{"type":"string","maxLength":524288}"#, r#"{"type":"string"}"#),
            (r#"{"maxLength":2000}"#, "{}"),
            (r#"{"maxLength": 1999 }"#, r#"{"maxLength": 1999 }"#),
            (r#"{"minLength":2e3,"z":1,"a":2}"#, r#"{"z":1,"a":2}"#),
            (r#"{"maxItems":601,"items":{"maxItems":600}}"#, r#"{"items":{"maxItems":600}}"#),
            (r#"{"maxLength":99999999999999999999}"#, "{}"),
            // Of what is left nothing is written otherwise, but around what was left out.
            (
                r#"{ "properties" : { "b":{ "maxLength":9999, "x": 1.50 } , "a":{ "y":  1e2 } } }"#,
                r#"{"properties":{"b":{"x":1.50},"a":{ "y":  1e2 }}}"#,
            ),
            (r#"{"anyOf":[{"minItems":5000},{"type":"null"}]}"#, r#"{"anyOf":[{},{"type":"null"}]}"#),
            (r#"{"maxLength":5000,"\u0022":1}"#, r#"{"\"":1}"#),
            // A property of that name, a text, and values that are no schemas.
            (
                r#"{"properties":{"maxLength":{"type":"integer"}}}"#,
                r#"{"properties":{"maxLength":{"type":"integer"}}}"#,
            ),
            (r#"{"maxLength":"5000"}"#, r#"{"maxLength":"5000"}"#),
            (r#"{"default":{"maxLength":5000}}"#, r#"{"default":{"maxLength":5000}}"#),
            (r#"{"enum":[{"maxItems":5000}]}"#, r#"{"enum":[{"maxItems":5000}]}"#),
            (
                r#"{"properties":{"default":{"maxLength":5000},"enum":{"maxItems":5000},"properties":{"maxLength":2000}}}"#,
                r#"{"properties":{"default":{},"enum":{},"properties":{}}}"#,
            ),
            (
                r#"{"$defs":{"const":{"maxLength":5000,"const":{"maxLength":5000}}}}"#,
                r#"{"$defs":{"const":{"const":{"maxLength":5000}}}}"#,
            ),
            (
                r#"{"patternProperties":{"examples":{"items":{"minLength":2000}}}}"#,
                r#"{"patternProperties":{"examples":{"items":{}}}}"#,
            ),
            (r#"{"properties":{"maxLength":5000}}"#, r#"{"properties":{"maxLength":5000}}"#),
            ("true", "true"),
            (r#""maxLength""#, r#""maxLength""#),
        ] {
            assert_eq!(bounded_text(schema), wanted, "{schema}");
        }
    }

    #[test]
    fn a_schema_that_is_deeper_than_any_is_left_to_the_server() {
        let nested =
            |levels| format!("{}{{\"maxLength\":5000}}{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert_eq!(bounded_text(&nested(63)), nested(63).replace("\"maxLength\":5000", ""));
        for levels in [64, 200_000] {
            assert_eq!(bounded_text(&nested(levels)), nested(levels));
        }
    }

    fn documents() -> impl Strategy<Value = String> {
        let number = (0_u64..4000).prop_map(|n| n.to_string());
        let leaf = prop_oneof![number, Just("true".into()), Just("\"maxLength\\u0041 {\"".into())];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let name = prop_oneof![
                Just("maxLength"),
                Just("maxItems"),
                Just("items"),
                Just("default"),
                Just("properties")
            ];
            let field = (name, inner.clone()).prop_map(|(name, value)| format!("\"{name}\" :{value}"));
            prop_oneof![
                prop::collection::vec(field, 0..4).prop_map(|fields| format!("{{{}}}", fields.join(" , "))),
                prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_left_is_a_document_and_has_nothing_more_to_leave_out(schema in documents()) {
            let once = bounded_text(&schema);
            prop_assert!(serde_json::from_str::<IgnoredAny>(&once).is_ok());
            prop_assert_eq!(bounded_text(&once), once);
        }
    }
}
