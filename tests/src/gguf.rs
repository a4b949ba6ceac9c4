//! Variants of the embedded model: the same weights as another model.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of it is for tests")]

use std::path::Path;

/// The key, with its length before it and the type of a 32-bit number behind it.
const CONTEXT: &str = "llama.context_length";
const UINT32: u32 = 4;
const ARCHITECTURE: &str = "general.architecture";

/// Writes a copy that says of itself that it was trained for so many tokens. Files that differ in this are two models to
/// every server, also to Ollama, which goes by the content.
pub fn variant(from: &Path, to: &Path, context: u32) {
    let mut bytes = std::fs::read(from).unwrap();
    let mut key = (CONTEXT.len() as u64).to_le_bytes().to_vec();
    key.extend_from_slice(CONTEXT.as_bytes());
    key.extend_from_slice(&UINT32.to_le_bytes());
    let head = &bytes[..bytes.len().min(8 << 20)];
    let found = head.windows(key.len()).position(|window| window == key);
    let at = found.unwrap_or_else(|| panic!("{} tells no context", from.display())) + key.len();
    bytes[at..at + 4].copy_from_slice(&context.to_le_bytes());
    std::fs::write(to, bytes).unwrap();
}

/// Makes a file say that it is of an architecture that nobody knows: it is whole, and no server can load it. One that is cut
/// short would not do: it is known for damaged by its head, and never tried.
pub fn spoil(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let head = &bytes[..bytes.len().min(8 << 20)];
    let found = head.windows(ARCHITECTURE.len()).position(|window| window == ARCHITECTURE.as_bytes());
    // Behind the key stand the type and the length of its text.
    let at = found.unwrap_or_else(|| panic!("{} tells no architecture", file.display()));
    let at = at + ARCHITECTURE.len() + 4 + 8;
    bytes[at..at + 2].copy_from_slice(b"xx");
    std::fs::write(file, bytes).unwrap();
}
