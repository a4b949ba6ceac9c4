//! The metadata at the beginning of a GGUF file (ggml's docs/gguf.md, versions 2 and 3, little endian).
//!
//! Files come from anywhere, so every length is checked before it is believed, and nothing is read beyond the metadata.

use std::io::{self, BufReader, Read, Seek};

/// What the metadata says, as far as it does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Header {
    pub architecture: Option<String>,
    /// "Q4_K_M".
    pub quantization: Option<String>,
    /// "135M".
    pub parameters: Option<String>,
    /// Context length in training, in tokens.
    pub context: Option<u64>,
}

const MAGIC: &[u8; 4] = b"GGUF";
/// Real files have a few dozen keys.
const MAX_KEYS: u64 = 10_000;
const MAX_KEY_BYTES: u64 = 1 << 16;
/// Longer texts (chat templates, licences) are skipped.
const MAX_TEXT_BYTES: u64 = 1 << 16;
/// Vocabularies have some hundred thousand entries.
const MAX_ARRAY: u64 = 1 << 24;

/// Reads the metadata. Errors: not a GGUF file, cut off, or lengths beyond reason.
pub(super) fn read(file: impl Read + Seek) -> io::Result<Header> {
    let mut reader = Reader(BufReader::new(file));
    let mut magic = [0; 4];
    reader.0.read_exact(&mut magic)?;
    let version = reader.u32()?;
    if &magic != MAGIC || !(2..=3).contains(&version) {
        return Err(bad("not a GGUF file of version 2 or 3"));
    }
    let _tensors = reader.u64()?;
    let keys = reader.u64()?;
    if keys > MAX_KEYS {
        return Err(bad("too many keys"));
    }
    let mut header = Header::default();
    let mut size_label = None;
    for _ in 0..keys {
        let key = reader.text(MAX_KEY_BYTES)?.ok_or_else(|| bad("a key is too long"))?;
        let kind = reader.u32()?;
        let value = reader.value(kind)?;
        match (key.as_str(), value) {
            ("general.architecture", Value::Text(text)) => header.architecture = Some(text),
            ("general.size_label", Value::Text(text)) => size_label = Some(text),
            ("general.parameter_count", Value::Number(count)) => header.parameters = Some(short_count(count)),
            ("general.file_type", Value::Number(number)) => {
                header.quantization = file_type(number).map(Into::into)
            }
            (key, Value::Number(number)) if key.ends_with(".context_length") => header.context = Some(number),
            _ => {}
        }
    }
    header.parameters = size_label.or(header.parameters);
    Ok(header)
}

enum Value {
    Number(u64),
    Text(String),
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

    fn value(&mut self, kind: u32) -> io::Result<Value> {
        Ok(match kind {
            0 | 7 => Value::Number(self.bytes::<1>()?[0].into()),
            2 => Value::Number(u16::from_le_bytes(self.bytes()?).into()),
            4 => Value::Number(self.u32()?.into()),
            10 => Value::Number(self.u64()?),
            8 => self.text(MAX_TEXT_BYTES)?.map_or(Value::Other, Value::Text),
            9 => {
                self.skip_array(0)?;
                Value::Other
            }
            other => {
                self.skip(fixed_size(other)?)?;
                Value::Other
            }
        })
    }

    fn skip_array(&mut self, depth: u32) -> io::Result<()> {
        let (kind, count) = (self.u32()?, self.u64()?);
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
                    self.skip_array(depth + 1)?;
                }
            }
            fixed => self.skip(fixed_size(fixed)? * count)?,
        }
        Ok(())
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
        out.extend(0u64.to_le_bytes());
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

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let mut file = b"GGUF\x03\0\0\0".to_vec();
            file.extend(bytes);
            let _ = read(Cursor::new(file));
        }
    }
}
