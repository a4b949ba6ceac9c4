//! JSON as a client wrote it: an object as the list of its fields, each still the bytes that it was.

use crate::Refused;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// The fields of an object in their order. What is not asked for is not looked at, null is absent, the last of a name counts.
#[derive(Debug, Default)]
pub struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// `None`: it is no object.
    pub fn read(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// In their order, each as it was written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    pub fn of(raw: &'a RawValue) -> Option<Self> {
        Self::read(raw.get())
    }

    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().rev().find(|(field, _)| field == name)?.1;
        (found.get() != "null").then_some(found)
    }

    /// Whether the field is there, `null` or not.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(field, _)| field == name)
    }

    /// A field that is a text; else none.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(text)
    }

    /// A field that is an object; else none.
    pub fn object(&self, name: &str) -> Option<Fields<'a>> {
        self.get(name).and_then(Fields::of)
    }

    /// A field that is a list; else none.
    pub fn list(&self, name: &str) -> Option<Vec<&'a RawValue>> {
        self.get(name).and_then(list)
    }

    /// A field that must be of this type where it is there. Errors: it is not, by its name.
    pub fn typed<T: DeserializeOwned>(&self, name: &str, wanted: &str) -> Result<Option<T>, Refused> {
        let Some(raw) = self.get(name) else { return Ok(None) };
        let wrong = |_| Refused::invalid(format!("\"{name}\" must be {wanted}.")).about(name);
        serde_json::from_str(raw.get()).map(Some).map_err(wrong)
    }

    /// The object without the fields of a name, written anew from the bytes of the others.
    pub fn without(&self, name: &str) -> String {
        let left = self.0.iter().filter(|(field, _)| field != name);
        let left: Vec<String> =
            left.map(|(field, value)| format!("{}:{}", raw(field), value.get())).collect();
        format!("{{{}}}", left.join(","))
    }

    /// The first field that is a text, whatever its name, where it is the only field.
    pub fn only_text(&self) -> Option<String> {
        match self.0.as_slice() {
            [(_, value)] => text(value),
            _ => None,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = vec![];
                while let Some(Name(name)) = map.next_key()? {
                    fields.push((name, map.next_value()?));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// The text that it is. A half of a pair of surrogates, which programs make by cutting texts, becomes U+FFFD.
pub fn text(raw: &RawValue) -> Option<String> {
    struct Bytes;
    impl Visitor<'_> for Bytes {
        type Value = String;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }
        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<String, E> {
            Ok(String::from_utf8_lossy(bytes).into_owned())
        }
    }
    let json = raw.get();
    if !json.starts_with('"') {
        return None;
    }
    serde_json::from_str(json)
        .ok()
        .or_else(|| serde_json::Deserializer::from_str(json).deserialize_bytes(Bytes).ok())
}

/// The items of a list.
pub fn list(raw: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(raw.get()).ok()
}

/// A text as it is; anything else as the JSON that it is.
pub fn text_or_json(raw: &RawValue) -> String {
    text(raw).unwrap_or_else(|| raw.get().to_owned())
}

/// JSON that this crate wrote itself.
pub fn raw(json: impl serde::Serialize) -> Box<RawValue> {
    // Only documents of texts, numbers and JSON come here, which can always be written.
    serde_json::value::to_raw_value(&json).unwrap_or_default()
}

/// An object with more fields before its end, the bytes before them unchanged. `fields` as within the braces.
pub fn with_fields(object: &str, fields: &str) -> String {
    let Some(end) = object.rfind('}').filter(|_| !fields.is_empty()) else { return object.to_owned() };
    let before = object[..end].trim_end();
    let comma = if before.ends_with('{') { "" } else { "," };
    format!("{before}{comma}{fields}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_absent_and_the_last_counts() {
        let fields = Fields::read(r#"{"a":null,"b":1,"b":"x","c\u0041":{"d":[1, 2]}}"#).unwrap();
        assert!(fields.get("a").is_none() && fields.get("z").is_none());
        assert_eq!(fields.text("b").as_deref(), Some("x"));
        assert_eq!(fields.get("cA").unwrap().get(), r#"{"d":[1, 2]}"#);
        assert_eq!(fields.object("cA").unwrap().list("d").unwrap().len(), 2);
        assert_eq!(fields.typed::<u64>("b", "a number").unwrap_err().param.as_deref(), Some("b"));
        for other in ["[]", "1", "\"{}\"", "", "{"] {
            assert!(Fields::read(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_half_of_a_surrogate_pair_spoils_nothing() {
        for (json, wanted) in [
            (r#""a\ud83d\ude00b""#, Some("a😀b")),
            (r#""a\ud83d""#, Some("a\u{fffd}\u{fffd}\u{fffd}")),
            (r#""\n\"""#, Some("\n\"")),
            ("7", None),
            ("[\"a\"]", None),
        ] {
            let raw = RawValue::from_string(json.into()).unwrap();
            assert_eq!(text(&raw).as_deref(), wanted, "{json}");
        }
    }

    #[test]
    fn fields_are_added_at_the_end() {
        for (object, fields, wanted) in [
            ("{}", "\"a\":1", "{\"a\":1}"),
            ("{ \"b\" : {} }", "\"a\":1", "{ \"b\" : {},\"a\":1}"),
            ("{\"b\":2}", "", "{\"b\":2}"),
        ] {
            assert_eq!(with_fields(object, fields), wanted);
        }
    }
}
