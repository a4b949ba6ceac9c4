//! The fields of a JSON body that the gateway looks at. All others are skipped, whatever they are.

use super::{GOVERNED, MOST_OUTPUT};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::fmt;

/// The top level of a body, borrowed from it.
#[derive(Default)]
pub(super) struct Head<'a> {
    pub model: Option<&'a RawValue>,
    pub streams: bool,
    /// The most tokens that the client wants; the last field that says so counts.
    pub most_output: Option<u64>,
    /// Name, key, value, and how many fields stand before it.
    pub governed: Vec<(&'static str, &'a RawValue, &'a RawValue, usize)>,
    /// How many fields stand before the last one that is not governed, that one included.
    pub others_until: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Head<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields).map(|head: Head<'de>| head)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Head<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Head<'de>, A::Error> {
        let mut head = Head::default();
        let mut at = 0;
        while let Some(key) = map.next_key::<&RawValue>()? {
            if let Some(name) = GOVERNED.into_iter().find(|name| is(key, name)) {
                head.governed.push((name, key, map.next_value()?, at));
            } else {
                head.others_until = at + 1;
                if is(key, "model") {
                    if head.model.replace(map.next_value()?).is_some() {
                        return Err(Error::duplicate_field("model"));
                    }
                } else if is(key, "stream") {
                    head.streams = map.next_value::<&RawValue>()?.get() == "true";
                } else if MOST_OUTPUT.into_iter().any(|name| is(key, name)) {
                    // Whatever else stands there is for the server to judge. -1 is none.
                    let most = serde_json::from_str::<f64>(map.next_value::<&RawValue>()?.get()).ok();
                    let most = most.filter(|most| *most >= 1.0).map(|most| most as u64);
                    head.most_output = most.or(head.most_output);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            at += 1;
        }
        Ok(head)
    }
}

/// Whether a key, in its quotes and perhaps with escapes, is this name.
fn is(key: &RawValue, name: &str) -> bool {
    let raw = key.get();
    let bare = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
    bare == Some(name)
        || raw.contains('\\') && serde_json::from_str::<String>(raw).is_ok_and(|key| key == name)
}
