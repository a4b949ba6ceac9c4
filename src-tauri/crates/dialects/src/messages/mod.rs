//! Anthropic's Messages, as Anthropic documents them at platform.claude.com/docs/en/api/messages and as its SDKs check them.
//!
//! A request is read block by block ([`read`]): what is not known is passed over and told ([`Asked::dropped`]), what is known but
//! cannot be said in chat (a PDF, a file by its id) is refused by name. An answer is told by [`Asked`]'s `answer`.

mod answer;
mod bill;
mod blocks;
mod count;
mod errors;
mod estimate;
mod events;
mod models;
mod object;
mod order;
mod read;
mod tools;
mod turns;

#[cfg(test)]
mod proofs;

pub use count::{Count, count, counted};
pub use errors::{error_document, status, too_long};
pub use models::{Model, model_document, models_document};
pub use read::{Asked, read};
