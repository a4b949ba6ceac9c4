//! OpenAI's Responses: what is asked ([`read`]), how an answer is told, and what is kept for the next question ([`Store`]).
//!
//! Sources: OpenAI's API reference and the types of its Python package (`openai/types/responses`), the Open Responses
//! specification, and what Codex reads (`codex-rs/codex-api/src/sse/responses.rs` of its repository).

mod asked;
mod calls;
mod document;
mod error;
mod events;
mod freeform;
mod history;
mod output;
mod prose;
mod reasoning;
mod request;
mod store;
mod teller;
#[cfg(test)]
mod tests;
mod tools;

pub use asked::Asked;
pub use error::error_document;
pub use request::read;
pub use store::{Limits, Page, Store, Stored, deleted, not_found};
