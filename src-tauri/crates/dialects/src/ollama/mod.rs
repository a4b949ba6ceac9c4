//! The dialect of programs that only know Ollama: `/api/chat`, `/api/generate`, `/api/embed`, and the lists that such a program
//! looks at first (`/api/tags`, `/api/ps`, `/api/show`, `/api/version`). As Ollama 0.34 has it (`api/types.go`, `server/routes.go`).
//!
//! Answers are lines of JSON. A line never has a line feed in it and none is empty, because Ollama's own client for Python
//! parses each one.

mod answer;
mod asked;
mod calls;
mod cards;
mod embed;
mod images;
mod messages;
pub mod names;
mod options;
mod wire;

pub use asked::{Asked, read_chat, read_generate};
pub use cards::{Loaded, ModelCard, VERSION, digest_of, ps, show, tags, version};
pub use embed::{EmbedAsked, read_embed, read_embeddings};
pub use options::{Governed, KeepAlive};
pub use wire::{ShowAsked, read_show};

use crate::Refused;
use serde::Serialize;

/// What `GET /` and `HEAD /` answer: programs look for these words.
pub const RUNNING: &str = "Ollama is running";

/// Of an answer that comes as lines.
pub const LINES: &str = "application/x-ndjson";

/// The document of a refusal, for the status of [`Refused::status`].
pub fn error_document(why: &Refused) -> Vec<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        error: &'a str,
    }
    written(&Document { error: &why.message })
}

/// Why a path is not answered at this address though Ollama has it (501). `None`: it is not one of these.
pub fn beyond(path: &str) -> Option<Refused> {
    let name = path.strip_prefix("/api/")?;
    let name = name.split(['/', '?']).next().unwrap_or_default();
    if !["pull", "push", "create", "copy", "delete", "blobs"].contains(&name) {
        return None;
    }
    let message = format!(
        "“{name}” is not done at this address: it answers with the models that are there. Ask Ollama itself."
    );
    Some(Refused::new(501, "unsupported", message))
}

/// A document of strings, numbers and what was JSON before can always be written.
fn written(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).unwrap_or_default()
}

#[cfg(test)]
mod tests;
