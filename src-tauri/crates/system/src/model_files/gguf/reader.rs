//! Bytes into values. Nothing is believed before it is checked.

use super::{
    Tensor,
    types::{block, block_type, size},
};
use std::io::{self, BufReader, Read, Seek};

pub(super) const MAX_KEY_BYTES: u64 = 1 << 16;
/// Longer texts (chat templates, licences) are skipped.
const MAX_TEXT_BYTES: u64 = 1 << 12;
/// Vocabularies have some hundred thousand entries.
const MAX_ARRAY: u64 = 1 << 24;
/// Arrays with one number per layer are kept, longer ones only counted.
const MAX_KEPT: u64 = 4096;
const MAX_DIMENSIONS: u32 = 8;

#[derive(Debug)]
pub(super) enum Value {
    Number(u64),
    Text(String),
    /// Numbers and truths of a short array; of others only the length.
    Array {
        length: u64,
        kept: Vec<u64>,
    },
    Other,
}

impl Value {
    pub fn from_json(value: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        let number = |value: &Json| value.as_u64().or_else(|| value.as_bool().map(u64::from));
        match value {
            Json::String(text) => Self::Text(text),
            Json::Array(items) if !items.is_empty() && items.len() as u64 <= MAX_KEPT => {
                let kept: Vec<u64> = items.iter().map_while(number).collect();
                Self::Array { length: items.len() as u64, kept }
            }
            other => number(&other).map_or(Self::Other, Self::Number),
        }
    }
}

pub(super) struct Reader<F>(pub BufReader<F>);

impl<F: Read + Seek> Reader<F> {
    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub fn u32(&mut self) -> io::Result<u32> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    pub fn u64(&mut self) -> io::Result<u64> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let bytes = i64::try_from(bytes).map_err(|_| bad("a length is beyond reason"))?;
        // Unlike `seek` it keeps what is buffered: a vocabulary is a few hundred thousand small steps.
        self.0.seek_relative(bytes)
    }

    /// A text, or `None` when it was too long and has been skipped.
    pub fn text(&mut self, limit: u64) -> io::Result<Option<String>> {
        let length = self.u64()?;
        if length > limit {
            self.skip(length)?;
            return Ok(None);
        }
        let mut bytes = vec![0; length as usize];
        self.0.read_exact(&mut bytes)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// A whole number of any type, or a truth; `None`: another kind of value.
    fn number(&mut self, kind: u32) -> io::Result<Option<u64>> {
        // Negative numbers mean "not set" where they occur at all.
        let signed = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(Some(match kind {
            0 | 7 => self.bytes::<1>()?[0].into(),
            1 => signed(i8::from_le_bytes(self.bytes()?).into()),
            2 => u16::from_le_bytes(self.bytes()?).into(),
            3 => signed(i16::from_le_bytes(self.bytes()?).into()),
            4 => self.u32()?.into(),
            5 => signed(i32::from_le_bytes(self.bytes()?).into()),
            10 => self.u64()?,
            11 => signed(i64::from_le_bytes(self.bytes()?)),
            _ => return Ok(None),
        }))
    }

    pub fn value(&mut self, kind: u32) -> io::Result<Value> {
        if let Some(number) = self.number(kind)? {
            return Ok(Value::Number(number));
        }
        Ok(match kind {
            8 => self.text(MAX_TEXT_BYTES)?.map_or(Value::Other, Value::Text),
            9 => self.array()?,
            other => {
                self.skip(fixed_size(other)?)?;
                Value::Other
            }
        })
    }

    fn array(&mut self) -> io::Result<Value> {
        let (kind, length) = (self.u32()?, self.u64()?);
        let mut kept = Vec::new();
        if length > MAX_KEPT {
            self.skip_items(kind, length, 0)?;
            return Ok(Value::Array { length, kept });
        }
        for left in (1..=length).rev() {
            match self.number(kind)? {
                Some(number) => kept.push(number),
                None => {
                    self.skip_items(kind, left, 0)?;
                    break;
                }
            }
        }
        Ok(Value::Array { length, kept })
    }

    fn skip_items(&mut self, kind: u32, count: u64, depth: u32) -> io::Result<()> {
        if count > MAX_ARRAY || depth > 4 {
            return Err(bad("an array is beyond reason"));
        }
        match kind {
            8 => {
                for _ in 0..count {
                    let length = self.u64()?;
                    self.skip(length)?;
                }
            }
            9 => {
                for _ in 0..count {
                    let (kind, count) = (self.u32()?, self.u64()?);
                    self.skip_items(kind, count, depth + 1)?;
                }
            }
            fixed => self.skip(fixed_size(fixed)? * count)?,
        }
        Ok(())
    }

    pub fn tensor(&mut self) -> io::Result<Tensor> {
        let name = self.text(MAX_KEY_BYTES)?.ok_or_else(|| bad("the name of a tensor is too long"))?;
        let dimensions = self.u32()?;
        if dimensions > MAX_DIMENSIONS {
            return Err(bad("a tensor with too many dimensions"));
        }
        let (mut elements, mut rows) = (1u64, 1);
        for index in 0..dimensions {
            let length = self.u64()?;
            if index == 1 {
                rows = length;
            }
            elements = elements.checked_mul(length).ok_or_else(|| bad("a tensor is beyond reason"))?;
        }
        let kind = self.u32()?;
        let offset = self.u64()?;
        let bytes = block(kind).and_then(|block| size(elements, block));
        Ok(Tensor { name, elements, bytes, block: block_type(kind), rows, offset })
    }
}

/// Bytes of a value whose size does not depend on its content.
fn fixed_size(kind: u32) -> io::Result<u64> {
    match kind {
        0 | 1 | 7 => Ok(1),
        2 | 3 => Ok(2),
        4..=6 => Ok(4),
        10..=12 => Ok(8),
        _ => Err(bad("an unknown kind of value")),
    }
}

pub(super) fn bad(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
