//! The head of a GGUF file (ggml's docs/gguf.md, versions 2 and 3, little endian): metadata and the list of tensors.
//!
//! Files come from anywhere, so every length is checked before it is believed, and no weight is read.

mod reader;
#[cfg(test)]
pub(super) mod sample;
mod types;

use pilothouse_domain::anatomy::BlockType;
use reader::{MAX_KEY_BYTES, Reader, Value, bad};
use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Read, Seek},
};
pub(super) use types::{block_type, bytes_of, number_of};
use types::{file_type, short_count};

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
    /// How the vectors of a text's tokens become one, as llama.cpp counts it (include/llama.h, `llama_pooling_type`): 0 not at all,
    /// 1 mean, 2 first, 3 last, 4 a score.
    pub pooling: Option<u64>,
}

/// One tensor of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tensor {
    pub name: String,
    pub elements: u64,
    /// `None`: a type that is not known yet.
    pub bytes: Option<u64>,
    /// `None`: a type that is never kept in another order.
    pub block: Option<BlockType>,
    /// Elements of the second dimension; 1 where there is none.
    pub rows: u64,
    /// Where it begins, after the end of the list; 0 where it was told by a server.
    pub offset: u64,
}

/// Numbers and texts by key, and lengths of arrays.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    values: HashMap<String, Value>,
}

const MAGIC: &[u8; 4] = b"GGUF";
/// Tensors begin at multiples of this after the head, unless the file says otherwise.
const ALIGNMENT: u64 = 32;
const MAX_ALIGNMENT: u64 = 1 << 20;
/// Real files have a few dozen keys.
const MAX_KEYS: u64 = 2048;
/// The largest models have some ten thousand tensors.
const MAX_TENSORS: u64 = 1 << 20;

/// Reads the metadata. Errors: not a GGUF file, cut off, or lengths beyond reason.
pub fn read(file: impl Read + Seek) -> io::Result<Header> {
    let (_, metadata, _) = open(file)?;
    Ok(metadata.header())
}

/// Reads metadata and tensors. Errors: as `read`.
pub(super) fn read_whole(file: impl Read + Seek) -> io::Result<(Metadata, Vec<Tensor>)> {
    let (metadata, tensors, _) = read_head(file)?;
    Ok((metadata, tensors))
}

/// The same of a file that has all that it announces. Errors: as `read`, and of the kind `UnexpectedEof` when bytes are missing.
pub(super) fn read_complete(file: &File) -> io::Result<(Metadata, Vec<Tensor>)> {
    let there = file.metadata()?.len();
    let (metadata, tensors, end) = read_head(file).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => cut_off(format!("after {there} bytes, within its head")),
        _ => error,
    })?;
    let wanted = file_bytes(&metadata, &tensors, end);
    if there < wanted {
        return Err(cut_off(format!("{there} bytes of {wanted}")));
    }
    Ok((metadata, tensors))
}

fn cut_off(where_to: String) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("it is cut off, {where_to}"))
}

/// The least length of a file whose list of tensors ends there. A tensor of a type that is not known has one byte at least.
fn file_bytes(metadata: &Metadata, tensors: &[Tensor], end: u64) -> u64 {
    let alignment = metadata.number("general.alignment").unwrap_or(ALIGNMENT).clamp(1, MAX_ALIGNMENT);
    let begin = end.div_ceil(alignment).saturating_mul(alignment);
    let ends = tensors.iter().filter(|tensor| tensor.elements > 0);
    let last = ends.map(|tensor| tensor.offset.saturating_add(tensor.bytes.unwrap_or(1))).max();
    last.map_or(end, |last| begin.saturating_add(last))
}

fn read_head(file: impl Read + Seek) -> io::Result<(Metadata, Vec<Tensor>, u64)> {
    let (mut reader, metadata, count) = open(file)?;
    if count > MAX_TENSORS {
        return Err(bad("too many tensors"));
    }
    let tensors = (0..count).map(|_| reader.tensor()).collect::<io::Result<_>>()?;
    let end = reader.0.stream_position()?;
    Ok((metadata, tensors, end))
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
    /// The same keys as a JSON object. Long lists may be left out: they count as not told.
    pub fn from_json(keys: serde_json::Map<String, serde_json::Value>) -> Self {
        Self { values: keys.into_iter().map(|(key, value)| (key, Value::from_json(value))).collect() }
    }

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

    pub(super) fn header(&self) -> Header {
        let architecture = self.text("general.architecture").map(str::to_owned);
        let own = |key: &str| self.number(&format!("{}.{key}", architecture.as_deref()?));
        Header {
            quantization: self.number("general.file_type").and_then(file_type).map(Into::into),
            parameters: self
                .text("general.size_label")
                .map(str::to_owned)
                .or_else(|| self.number("general.parameter_count").map(short_count)),
            context: own("context_length"),
            pooling: own("pooling_type"),
            architecture,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        sample::{built, header},
        *,
    };
    use crate::model_files::read_anatomy;
    use pilothouse_domain::anatomy::Matrices;
    use std::io::Cursor;

    #[test]
    fn the_header_says_what_the_file_is() {
        let head = read(Cursor::new(header())).unwrap();
        assert_eq!(
            head,
            Header {
                architecture: Some("llama".into()),
                quantization: Some("Q4_1".into()),
                parameters: Some("135M".into()),
                context: Some(8192),
                pooling: None,
            }
        );
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error() {
        let whole = header();
        for length in 0..whole.len() {
            assert!(read(Cursor::new(&whole[..length])).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn keys_and_tensors_give_the_build() {
        let anatomy = read_anatomy(Cursor::new(built())).unwrap();
        let experts = 64 * 128 * 8 / 256 * 144;
        assert_eq!(anatomy.parameters, 6400 + 6400 + 65_536 + 64);
        assert_eq!(anatomy.weights_bytes, 12_800 + 6800 + experts + 256);
        assert_eq!((anatomy.lookup_bytes, anatomy.expert_bytes), (12_800, experts));
        assert_eq!((anatomy.experts, anatomy.experts_used), (8, 2));
        let of = |block, rows_by, bytes| Matrices { block, rows_by, bytes };
        // The output has 100 rows, an expert 128; the table of embeddings is only looked up.
        let matrices = [of(BlockType::Q8_0, 4, 6800), of(BlockType::Q4K, 8, experts)];
        assert_eq!(anatomy.matrices, matrices);
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
}
