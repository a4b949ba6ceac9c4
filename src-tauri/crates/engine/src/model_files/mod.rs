//! What model files say of themselves. Reads heads only, never weights, and never writes.

mod anatomy;
mod gguf;
pub mod ollama_store;

pub use gguf::{Header, read as read_header, read_anatomy};
