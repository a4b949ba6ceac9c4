//! The head of a safetensors file: eight bytes with its length (little endian), then JSON with type, shape and place of each
//! tensor. Files come from anywhere: nothing is believed before it is checked, and no weight is read.

use super::bad;
use serde::{
    Deserialize,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use std::{
    fmt,
    io::{self, BufReader, Read},
};

/// Heads of the largest files have some megabytes.
const MAX_HEAD: u64 = 64 << 20;
/// Models of many experts have some ten thousand tensors per file.
pub(super) const MAX_TENSORS: usize = 1 << 18;
const MAX_DIMENSIONS: usize = 8;

/// What a safetensors file holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SafetensorsHead {
    pub(super) tensors: Vec<Tensor>,
    /// How long the file must be at least.
    pub(super) file_bytes: u64,
    /// Elements that share a scale, where the file itself says it (Ollama).
    pub(super) group_size: Option<u64>,
}

/// One tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tensor {
    pub name: String,
    /// Length of the first dimension: what a layer puts out.
    pub rows: u64,
    pub elements: u64,
    pub bytes: u64,
}

impl SafetensorsHead {
    /// Reads the head. Errors: not such a file, cut off, or lengths beyond reason.
    pub fn read(file: impl Read) -> io::Result<Self> {
        let mut file = BufReader::new(file);
        let mut length = [0; 8];
        file.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEAD {
            return Err(bad("not a safetensors file"));
        }
        let mut json = serde_json::Deserializer::from_reader(file.take(length));
        let mut head = Self { file_bytes: 8 + length, ..Self::default() };
        HeadSeed(&mut head).deserialize(&mut json).and_then(|()| json.end()).map_err(io::Error::from)?;
        Ok(head)
    }
}

struct HeadSeed<'a>(&'a mut SafetensorsHead);

impl<'de> DeserializeSeed<'de> for HeadSeed<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeadSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tensors")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let start = self.0.file_bytes;
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                self.0.group_size = map.next_value::<Notes>()?.group_size;
                continue;
            }
            if self.0.tensors.len() == MAX_TENSORS {
                return Err(de::Error::custom("too many tensors"));
            }
            let entry: Entry = map.next_value()?;
            let [begin, end] = entry.data_offsets;
            let bytes =
                end.checked_sub(begin).ok_or_else(|| de::Error::custom("a tensor ends before it begins"))?;
            let file_bytes =
                start.checked_add(end).ok_or_else(|| de::Error::custom("a tensor is beyond reason"))?;
            self.0.file_bytes = self.0.file_bytes.max(file_bytes);
            let Shape { rows, elements } = entry.shape;
            self.0.tensors.push(Tensor { name, rows, elements, bytes });
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Entry {
    shape: Shape,
    data_offsets: [u64; 2],
}

/// Texts by key, of which one is wanted.
#[derive(Default)]
struct Notes {
    group_size: Option<u64>,
}

impl<'de> Deserialize<'de> for Notes {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Notes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("texts by key")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Notes, M::Error> {
                let mut notes = Notes::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "group_size" => notes.group_size = map.next_value::<String>()?.parse().ok(),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(notes)
            }
        }
        deserializer.deserialize_map(Texts)
    }
}

struct Shape {
    rows: u64,
    elements: u64,
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lengths;
        impl<'de> Visitor<'de> for Lengths {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the lengths of a tensor")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut lengths: S) -> Result<Shape, S::Error> {
                let (mut shape, mut dimensions) = (Shape { rows: 1, elements: 1 }, 0);
                while let Some(length) = lengths.next_element::<u64>()? {
                    if dimensions == 0 {
                        shape.rows = length;
                    }
                    dimensions += 1;
                    let elements = shape.elements.checked_mul(length);
                    shape.elements = elements
                        .filter(|_| dimensions <= MAX_DIMENSIONS)
                        .ok_or_else(|| de::Error::custom("a tensor is beyond reason"))?;
                }
                Ok(shape)
            }
        }
        deserializer.deserialize_seq(Lengths)
    }
}

#[cfg(test)]
pub(super) mod sample {
    /// A file's head from its JSON.
    pub fn head(json: &serde_json::Value) -> Vec<u8> {
        let json = json.to_string();
        let mut out = (json.len() as u64).to_le_bytes().to_vec();
        out.extend(json.as_bytes());
        out
    }

    /// Tensors one after another, as they would lie in a file: name, type, shape, bytes.
    pub fn tensors(rows: &[(&str, &str, &[u64], u64)]) -> serde_json::Value {
        let (mut json, mut begin) = (serde_json::Map::new(), 0);
        json.insert("__metadata__".into(), serde_json::json!({ "format": "mlx" }));
        for (name, dtype, shape, bytes) in rows {
            let end = begin + bytes;
            let entry = serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, end] });
            json.insert((*name).to_owned(), entry);
            begin = end;
        }
        serde_json::Value::Object(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_head_names_tensors_and_the_length_of_the_file() {
        let mut file = sample::head(&sample::tensors(&[
            ("a.weight", "U32", &[128, 8], 4096),
            ("a.scales", "BF16", &[128, 1], 256),
        ]));
        let length = file.len() as u64 + 4096 + 256;
        file.extend([0; 16]);
        let head = SafetensorsHead::read(&file[..]).unwrap();
        assert_eq!(head.file_bytes, length);
        let of = |name: &str| head.tensors.iter().find(|tensor| tensor.name == name).unwrap();
        let weight = of("a.weight");
        assert_eq!((weight.rows, weight.elements, weight.bytes), (128, 1024, 4096));
        assert_eq!(of("a.scales").bytes, 256);
        let told = json!({ "__metadata__": { "quant_type": "int4", "group_size": "32" } });
        assert_eq!(SafetensorsHead::read(&sample::head(&told)[..]).unwrap().group_size, Some(32));
    }

    #[test]
    fn what_is_beyond_reason_is_an_error() {
        let tensor =
            |shape, offsets| json!({ "t": { "dtype": "F32", "shape": shape, "data_offsets": offsets } });
        for (what, json) in [
            ("ends before it begins", tensor(json!([1]), json!([4, 0]))),
            ("more elements than numbers", tensor(json!([u64::MAX, 2]), json!([0, 4]))),
            ("nine dimensions", tensor(json!([1, 1, 1, 1, 1, 1, 1, 1, 1]), json!([0, 4]))),
            ("ends beyond all files", tensor(json!([1]), json!([0, u64::MAX]))),
            ("less than nothing", tensor(json!([-1]), json!([0, 4]))),
            ("no list", json!([1])),
        ] {
            assert!(SafetensorsHead::read(&sample::head(&json)[..]).is_err(), "{what}");
        }
        assert!(SafetensorsHead::read(&u64::MAX.to_le_bytes()[..]).is_err(), "a head without end");
        let whole = sample::head(&sample::tensors(&[("a", "F32", &[1], 4)]));
        for length in 0..whole.len() {
            assert!(SafetensorsHead::read(&whole[..length]).is_err(), "cut at {length}");
        }
    }
}
