//! What model files say of themselves. Reads heads only, never weights, and never writes.

mod anatomy;
mod gguf;
pub mod ollama_store;

pub use gguf::{Header, read as read_header};
use pilothouse_domain::anatomy::Anatomy;
use std::io::{self, Read, Seek};

/// The build of a model from its GGUF file. Errors: not such a file, cut off, lengths beyond reason, or a build that is not
/// understood.
pub fn read_anatomy(file: impl Read + Seek) -> io::Result<Anatomy> {
    let (metadata, tensors) = gguf::read_whole(file)?;
    anatomy::of(&metadata, &tensors).map_err(|text| io::Error::new(io::ErrorKind::InvalidData, text))
}
