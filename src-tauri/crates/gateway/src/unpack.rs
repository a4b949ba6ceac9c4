//! Request bodies that their client has compressed. They are unpacked here: the gateway has to read the model's name, and few
//! servers understand them. What they grow to is bounded like any other body, while it grows.

use super::{
    body::{self, BODY_LIMIT, Budget, Share},
    refusal::Refusal,
};
use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use bytes::{Bytes, BytesMut};
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use ruzstd::decoding::StreamingDecoder;
use std::io::{self, Read};

/// What is understood, as the `Accept-Encoding` header of a refusal says it (RFC 9110 section 12.5.3).
pub(super) const UNDERSTOOD: &str = "gzip, deflate, zstd, identity";
/// How much is unpacked at a time.
const STEP: usize = 64 << 10;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
    Zstd,
}

/// A request's body as its client meant it. Refusals: those of [`body::read`], [`Coding::of`] and [`Coding::unpacked`].
pub(super) async fn read(headers: &HeaderMap, body: Body, budget: &Budget) -> Result<Bytes, Refusal> {
    let body = body::read(body, budget).await?;
    match Coding::of(headers)? {
        Some(coding) => coding.unpacked(body, budget).await,
        None => Ok(body),
    }
}

impl Coding {
    /// `None`: the body is as it is. Refusal: unsupported_encoding (415), also for several codings one inside the other.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        let values = headers.get_all(header::CONTENT_ENCODING).iter();
        let said =
            values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect::<Vec<_>>().join(",");
        let names = said.split(',').map(str::trim).filter(|name| !name.is_empty());
        let names: Vec<String> =
            names.map(str::to_ascii_lowercase).filter(|name| name != "identity").collect();
        match &names.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => Ok(None),
            ["gzip" | "x-gzip"] => Ok(Some(Self::Gzip)),
            ["deflate"] => Ok(Some(Self::Deflate)),
            ["zstd"] => Ok(Some(Self::Zstd)),
            _ => Err(unsupported(&names.join(", "))),
        }
    }

    /// Unpacks a whole body within the budget. Refusals: body_too_large (413), busy (503), invalid_encoding (400).
    pub async fn unpacked(self, packed: Bytes, budget: &Budget) -> Result<Bytes, Refusal> {
        // A few at a time: besides its result each may need a window of memory that is not counted.
        let Ok(_turn) = budget.unpacking.clone().acquire_owned().await else {
            return Err(self.broken("the gateway ends"));
        };
        let share = budget.share();
        let work = tokio::task::spawn_blocking(move || self.unpack(&packed, share));
        work.await.unwrap_or_else(|_| Err(self.broken("it cannot be unpacked")))
    }

    fn unpack(self, packed: &[u8], mut share: Share) -> Result<Bytes, Refusal> {
        let mut whole = BytesMut::new();
        let mut rest = packed;
        loop {
            let mut take = |reader: &mut dyn Read| self.take(reader, &mut whole, &mut share);
            match self {
                Self::Gzip => take(&mut MultiGzDecoder::new(rest))?,
                // Half of the world sends it without its frame (RFC 9110 section 8.4.1.2).
                Self::Deflate if has_zlib_head(rest) => take(&mut ZlibDecoder::new(rest))?,
                Self::Deflate => take(&mut DeflateDecoder::new(rest))?,
                Self::Zstd => {
                    let frame = StreamingDecoder::new(&mut rest);
                    take(&mut frame.map_err(|error| self.broken(&error.to_string()))?)?;
                    // Frames may follow one another.
                    if !rest.is_empty() {
                        continue;
                    }
                }
            }
            return Ok(share.hold(whole.freeze()));
        }
    }

    fn take(self, reader: &mut dyn Read, whole: &mut BytesMut, share: &mut Share) -> Result<(), Refusal> {
        let mut step = vec![0; STEP];
        loop {
            let read = match reader.read(&mut step) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.broken(&error.to_string())),
            };
            if whole.len() + read > BODY_LIMIT {
                return Err(body::too_large("unpacked "));
            }
            if !share.take(read) {
                return Err(share.used_up());
            }
            whole.extend_from_slice(&step[..read]);
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
        }
    }

    fn broken(self, why: &str) -> Refusal {
        let text = format!("The request's body is not the {} that it says it is: {why}.", self.name());
        Refusal::new(StatusCode::BAD_REQUEST, "invalid_encoding", text)
    }
}

/// The two bytes with which zlib begins (RFC 1950 section 2.2).
fn has_zlib_head(bytes: &[u8]) -> bool {
    let [first, second, ..] = bytes else { return false };
    first & 0x0f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31)
}

fn unsupported(said: &str) -> Refusal {
    let text = format!(
        "Bodies in the encoding {} are not understood here. Send it as it is, or in one of {UNDERSTOOD}.",
        super::path::shown(said)
    );
    Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", text)
        .with(header::ACCEPT_ENCODING, UNDERSTOOD)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };
    use std::io::Write;

    /// The same text in every coding that is understood, with the name of each.
    pub fn packed(text: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let level = Compression::default();
        let mut gzip = GzEncoder::new(vec![], level);
        let mut zlib = ZlibEncoder::new(vec![], level);
        let mut raw = DeflateEncoder::new(vec![], level);
        for writer in [&mut gzip as &mut dyn Write, &mut zlib, &mut raw] {
            writer.write_all(text).unwrap();
        }
        let gzip = gzip.finish().unwrap();
        let zstd = ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest);
        vec![
            ("gzip", gzip.clone()),
            ("X-GZIP", gzip.clone()),
            ("identity, gzip", gzip),
            ("deflate", zlib.finish().unwrap()),
            ("deflate", raw.finish().unwrap()),
            ("zstd", zstd),
            ("identity", text.to_vec()),
        ]
    }

    fn of(said: &str) -> Result<Option<Coding>, Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_str(said).unwrap());
        Coding::of(&headers)
    }

    async fn unpacked(said: &str, bytes: Vec<u8>, budget: &Budget) -> Result<Bytes, Refusal> {
        match of(said)? {
            Some(coding) => coding.unpacked(bytes.into(), budget).await,
            None => Ok(bytes.into()),
        }
    }

    #[tokio::test]
    async fn every_coding_that_is_understood_is_unpacked() {
        let budget = Budget::new(1 << 20);
        let text = "{\"model\":\"active\"}".repeat(1000).into_bytes();
        for (said, bytes) in packed(&text) {
            assert_eq!(unpacked(said, bytes, &budget).await.unwrap(), text, "{said}");
        }
        let (_, gzip) = packed(b"{}").remove(0);
        assert_eq!(unpacked("gzip", [gzip.clone(), gzip].concat(), &budget).await.unwrap(), "{}{}");
        let zstd = packed(b"{}").remove(5).1;
        assert_eq!(unpacked("zstd", [zstd.clone(), zstd].concat(), &budget).await.unwrap(), "{}{}");
    }

    #[tokio::test]
    async fn what_is_something_else_is_refused_by_name() {
        for said in ["br", "compress", "gzip, gzip", "gzip, br", "zstd,deflate", "*", "aws-chunked"] {
            let refusal = of(said).unwrap_err();
            assert_eq!((refusal.status.as_u16(), &*refusal.code), (415, "unsupported_encoding"), "{said}");
            assert!(refusal.message.contains(said.split(',').next().unwrap()), "{}", refusal.message);
        }
        let budget = Budget::new(1 << 20);
        let whole = packed(&b"{\"a\":1}".repeat(100));
        let broken = [
            ("gzip", b"{\"model\":\"active\"}".to_vec()),
            ("zstd", b"{\"model\":\"active\"}".to_vec()),
            ("deflate", vec![0xff; 20]),
            ("gzip", whole[0].1[..20].to_vec()),
            ("zstd", whole[5].1[..12].to_vec()),
            ("gzip", vec![]),
        ];
        for (said, bytes) in broken {
            let refusal = unpacked(said, bytes.clone(), &budget).await.unwrap_err();
            assert_eq!(
                (refusal.status.as_u16(), &*refusal.code),
                (400, "invalid_encoding"),
                "{said} {bytes:?}"
            );
        }
        assert!(budget.share().take(1 << 20), "nothing of it is still counted");
    }

    #[tokio::test]
    async fn a_small_body_that_grows_without_end_is_stopped_at_the_limit_of_any_body() {
        let mut gzip = GzEncoder::new(vec![], Compression::fast());
        gzip.write_all(&vec![b' '; BODY_LIMIT + 1]).unwrap();
        let gzip = gzip.finish().unwrap();
        assert!(gzip.len() < BODY_LIMIT / 100);
        let refusal = unpacked("gzip", gzip, &Budget::new(usize::MAX)).await.unwrap_err();
        assert_eq!((refusal.status.as_u16(), &*refusal.code), (413, "body_too_large"));
        for (said, bytes) in packed(&vec![b' '; 2 << 20]).into_iter().filter(|(said, _)| *said != "identity")
        {
            let small = Budget::new(1 << 20);
            let refusal = unpacked(said, bytes, &small).await.unwrap_err();
            assert_eq!((refusal.status.as_u16(), &*refusal.code), (503, "busy"), "{said}");
            assert!(small.share().take(1 << 20), "{said}: all of it was given back");
        }
    }
}
