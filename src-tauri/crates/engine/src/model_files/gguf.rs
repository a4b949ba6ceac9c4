//! The head of a GGUF file (ggml's docs/gguf.md, versions 2 and 3, little endian): metadata and the list of tensors.
//!
//! Files come from anywhere, so every length is checked before it is believed, and no weight is read.

use super::anatomy;
use pilothouse_domain::anatomy::Anatomy;
use std::{
    collections::HashMap,
    io::{self, BufReader, Read, Seek},
};

/// What the head says, as far as it does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    pub architecture: Option<String>,
    /// "Q4_K_M".
    pub quantization: Option<String>,
    /// "135M".
    pub parameters: Option<String>,
    /// Context length in training, in tokens.
    pub context: Option<u64>,
}

/// One tensor of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tensor {
    pub name: String,
    pub elements: u64,
    /// `None`: a type that is not known yet.
    pub bytes: Option<u64>,
}

/// Numbers and texts by key, and lengths of arrays.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    values: HashMap<String, Value>,
}

const MAGIC: &[u8; 4] = b"GGUF";
/// Real files have a few dozen keys.
const MAX_KEYS: u64 = 2048;
const MAX_KEY_BYTES: u64 = 1 << 16;
/// Longer texts (chat templates, licences) are skipped.
const MAX_TEXT_BYTES: u64 = 1 << 12;
/// Vocabularies have some hundred thousand entries.
const MAX_ARRAY: u64 = 1 << 24;
/// Arrays with one number per layer are kept, longer ones only counted.
const MAX_KEPT: u64 = 4096;
/// The largest models have some ten thousand tensors.
const MAX_TENSORS: u64 = 1 << 20;
const MAX_DIMENSIONS: u32 = 8;

/// Reads the metadata. Errors: not a GGUF file, cut off, or lengths beyond reason.
pub fn read(file: impl Read + Seek) -> io::Result<Header> {
    let (_, metadata, _) = open(file)?;
    Ok(metadata.header())
}

/// Reads metadata and tensors. Errors: as `read`, or a build that is not understood.
pub fn read_anatomy(file: impl Read + Seek) -> io::Result<Anatomy> {
    let (mut reader, metadata, count) = open(file)?;
    if count > MAX_TENSORS {
        return Err(bad("too many tensors"));
    }
    let mut tensors = Vec::new();
    for _ in 0..count {
        tensors.push(reader.tensor()?);
    }
    anatomy::of(&metadata, &tensors).map_err(|text| bad(&text))
}

fn open<F: Read + Seek>(file: F) -> io::Result<(Reader<F>, Metadata, u64)> {
    let mut reader = Reader(BufReader::new(file));
    let mut magic = [0; 4];
    reader.0.read_exact(&mut magic)?;
    let version = reader.u32()?;
    if &magic != MAGIC || !(2..=3).contains(&version) {
        return Err(bad("not a GGUF file of version 2 or 3"));
    }
    let tensors = reader.u64()?;
    let keys = reader.u64()?;
    if keys > MAX_KEYS {
        return Err(bad("too many keys"));
    }
    let mut metadata = Metadata::default();
    for _ in 0..keys {
        let key = reader.text(MAX_KEY_BYTES)?.ok_or_else(|| bad("a key is too long"))?;
        let kind = reader.u32()?;
        let value = reader.value(kind)?;
        metadata.values.insert(key, value);
    }
    Ok((reader, metadata, tensors))
}

impl Metadata {
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.values.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn number(&self, key: &str) -> Option<u64> {
        match self.values.get(key)? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// One number per layer: as an array, or the same for all.
    pub fn per_layer(&self, key: &str, layers: usize) -> Option<Vec<u64>> {
        match self.values.get(key)? {
            Value::Number(number) => Some(vec![*number; layers]),
            Value::Array { kept, .. } if kept.len() >= layers => Some(kept[..layers].to_vec()),
            _ => None,
        }
    }

    pub fn length(&self, key: &str) -> Option<u64> {
        match self.values.get(key)? {
            Value::Array { length, .. } => Some(*length),
            _ => None,
        }
    }

    fn header(&self) -> Header {
        let architecture = self.text("general.architecture").map(str::to_owned);
        let own = |key: &str| self.number(&format!("{}.{key}", architecture.as_deref()?));
        Header {
            quantization: self.number("general.file_type").and_then(file_type).map(Into::into),
            parameters: self
                .text("general.size_label")
                .map(str::to_owned)
                .or_else(|| self.number("general.parameter_count").map(short_count)),
            context: own("context_length"),
            architecture,
        }
    }
}

#[derive(Debug)]
enum Value {
    Number(u64),
    Text(String),
    /// Numbers and truths of a short array; of others only the length.
    Array {
        length: u64,
        kept: Vec<u64>,
    },
    Other,
}

struct Reader<F>(BufReader<F>);

impl<F: Read + Seek> Reader<F> {
    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> io::Result<u32> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> io::Result<u64> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let bytes = i64::try_from(bytes).map_err(|_| bad("a length is beyond reason"))?;
        // Unlike `seek` it keeps what is buffered: a vocabulary is a few hundred thousand small steps.
        self.0.seek_relative(bytes)
    }

    /// A text, or `None` when it was too long and has been skipped.
    fn text(&mut self, limit: u64) -> io::Result<Option<String>> {
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

    fn value(&mut self, kind: u32) -> io::Result<Value> {
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

    fn tensor(&mut self) -> io::Result<Tensor> {
        let name = self.text(MAX_KEY_BYTES)?.ok_or_else(|| bad("the name of a tensor is too long"))?;
        let dimensions = self.u32()?;
        if dimensions > MAX_DIMENSIONS {
            return Err(bad("a tensor with too many dimensions"));
        }
        let mut elements = 1u64;
        for _ in 0..dimensions {
            let length = self.u64()?;
            elements = elements.checked_mul(length).ok_or_else(|| bad("a tensor is beyond reason"))?;
        }
        let kind = self.u32()?;
        let _offset = self.u64()?;
        let bytes = block(kind).and_then(|(block, bytes)| elements.div_ceil(block).checked_mul(bytes));
        Ok(Tensor { name, elements, bytes })
    }
}

/// Elements and bytes of a block of this `ggml_type` (ggml.h; reference: telemetry, section 6.1).
fn block(kind: u32) -> Option<(u64, u64)> {
    Some(match kind {
        0 | 26 => (1, 4),
        1 | 25 | 30 => (1, 2),
        2 | 20 => (32, 18),
        3 => (32, 20),
        6 => (32, 22),
        7 => (32, 24),
        8 => (32, 34),
        9 => (32, 36),
        10 => (256, 84),
        11 | 21 => (256, 110),
        12 => (256, 144),
        13 => (256, 176),
        14 => (256, 210),
        15 => (256, 292),
        16 | 35 => (256, 66),
        17 => (256, 74),
        18 => (256, 98),
        19 => (256, 50),
        22 => (256, 82),
        23 => (256, 136),
        24 => (1, 1),
        27 | 28 => (1, 8),
        29 => (256, 56),
        34 => (256, 54),
        39 => (32, 17),
        _ => return None,
    })
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

/// The names of `llama_ftype` in llama.cpp's llama.h; numbers that are missing there have no name here.
fn file_type(number: u64) -> Option<&'static str> {
    Some(match number {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        32 => "BF16",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4",
        _ => return None,
    })
}

/// "135M", "7.2B".
fn short_count(count: u64) -> String {
    match count {
        1_000_000_000.. => format!("{:.1}B", count as f64 / 1e9),
        1_000_000.. => format!("{:.0}M", count as f64 / 1e6),
        _ => count.to_string(),
    }
}

fn bad(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn text(out: &mut Vec<u8>, text: &str) {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    }

    fn sample() -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend(1u64.to_le_bytes());
        out.extend(6u64.to_le_bytes());
        for (key, value) in
            [("general.architecture", "llama"), ("general.name", "Smol LM"), ("general.size_label", "135M")]
        {
            text(&mut out, key);
            out.extend(8u32.to_le_bytes());
            text(&mut out, value);
        }
        text(&mut out, "tokenizer.ggml.tokens");
        out.extend(9u32.to_le_bytes());
        out.extend(8u32.to_le_bytes());
        out.extend(2u64.to_le_bytes());
        text(&mut out, "a");
        text(&mut out, "bc");
        for (key, number) in [("llama.context_length", 8192u32), ("general.file_type", 3)] {
            text(&mut out, key);
            out.extend(4u32.to_le_bytes());
            out.extend(number.to_le_bytes());
        }
        out
    }

    #[test]
    fn the_header_says_what_the_file_is() {
        let header = read(Cursor::new(sample())).unwrap();
        assert_eq!(
            header,
            Header {
                architecture: Some("llama".into()),
                quantization: Some("Q4_1".into()),
                parameters: Some("135M".into()),
                context: Some(8192),
            }
        );
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error() {
        let whole = sample();
        for length in 0..whole.len() {
            assert!(read(Cursor::new(&whole[..length])).is_err(), "cut at {length}");
        }
    }

    fn number(out: &mut Vec<u8>, key: &str, value: u32) {
        text(out, key);
        out.extend(4u32.to_le_bytes());
        out.extend(value.to_le_bytes());
    }

    fn tensor(out: &mut Vec<u8>, name: &str, dimensions: &[u64], kind: u32) {
        text(out, name);
        out.extend((dimensions.len() as u32).to_le_bytes());
        for length in dimensions {
            out.extend(length.to_le_bytes());
        }
        out.extend(kind.to_le_bytes());
        out.extend(0u64.to_le_bytes());
    }

    /// A mixture of experts with a window in five of six layers, whose heads differ by layer.
    fn built() -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend(4u64.to_le_bytes());
        out.extend(8u64.to_le_bytes());
        text(&mut out, "general.architecture");
        out.extend(8u32.to_le_bytes());
        text(&mut out, "gemma3");
        for (key, value) in [
            ("block_count", 2),
            ("embedding_length", 64),
            ("attention.head_count", 4),
            ("attention.sliding_window", 512),
            ("expert_count", 8),
            ("expert_used_count", 2),
        ] {
            number(&mut out, &format!("gemma3.{key}"), value);
        }
        text(&mut out, "gemma3.attention.head_count_kv");
        out.extend(9u32.to_le_bytes());
        out.extend(5u32.to_le_bytes());
        out.extend(2u64.to_le_bytes());
        for heads in [2i32, 0] {
            out.extend(heads.to_le_bytes());
        }
        tensor(&mut out, "token_embd.weight", &[64, 100], 1);
        tensor(&mut out, "output.weight", &[64, 100], 8);
        tensor(&mut out, "blk.0.ffn_up_exps.weight", &[64, 128, 8], 12);
        tensor(&mut out, "blk.0.attn_norm.weight", &[64], 0);
        out
    }

    #[test]
    fn keys_and_tensors_give_the_build() {
        let anatomy = read_anatomy(Cursor::new(built())).unwrap();
        let experts = 64 * 128 * 8 / 256 * 144;
        assert_eq!(anatomy.parameters, 6400 + 6400 + 65_536 + 64);
        assert_eq!(anatomy.weights_bytes, 12_800 + 6800 + experts + 256);
        assert_eq!((anatomy.lookup_bytes, anatomy.expert_bytes), (12_800, experts));
        assert_eq!((anatomy.experts, anatomy.experts_used), (8, 2));
        let of = |kv_heads| pilothouse_domain::anatomy::CachedLayer {
            kv_heads,
            key_length: 16,
            value_length: 16,
            window: Some(512),
        };
        assert_eq!(anatomy.layers, [of(2), of(0)]);
    }

    #[test]
    fn a_tensor_beyond_reason_is_an_error() {
        let mut whole = built();
        let end = whole.len();
        // The dimension of the last tensor, before its type and offset.
        whole[end - 20..end - 12].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(read_anatomy(Cursor::new(whole)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_change_of_a_byte_makes_it_panic(at in 8usize..500, byte in proptest::num::u8::ANY) {
            let mut whole = built();
            let at = at % whole.len();
            whole[at] = byte;
            let _ = read_anatomy(Cursor::new(whole));
        }

        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let mut file = b"GGUF\x03\0\0\0".to_vec();
            file.extend(bytes);
            let _ = read(Cursor::new(file));
        }
    }
}
