//! The dialects of client programs, said again in the one that every server speaks: OpenAI's chat completions. And its answers,
//! said in the dialect that was asked in.
//!
//! Pure: bytes and values in, bytes out; no clock, no randomness, no I/O, no sockets. What a client wrote that enters a prompt (schemas,
//! arguments of tools) is carried as the very bytes it wrote, never sorted or written anew: a server that has seen the beginning
//! of a prompt only spares the work if each byte is the same.
//!
//! A dialect is a folder with three parts: what a client asks ([`Question`]), what that is in chat's words for one kind of server,
//! and how an answer is told ([`Answer`]).

pub mod chat;
mod fields;
pub mod messages;
pub mod ollama;
mod refused;
pub mod responses;
pub mod sse;

pub use refused::Refused;

use chat::{Chunk, Speaks};

/// What a client asked in a dialect that is translated.
pub trait Question: Send + Sync + std::fmt::Debug {
    /// The model, as the client names it. `None`: it names none.
    fn model(&self) -> Option<&str>;

    /// Whether the client wants events as they come. An answer that it wants whole is read as a stream as well, and told at its end.
    fn streams(&self) -> bool;

    /// The most tokens that the client wants. `None`: it names no limit.
    fn most_output(&self) -> Option<u64>;

    /// The body for `POST /chat/completions` of a server that `speaks` so, for the instance that it calls `model`. Always asks for
    /// a stream and for its usage. Errors: what this server cannot be asked, by name.
    fn chat(&self, model: &str, speaks: Speaks) -> Result<Vec<u8>, Refused>;

    /// Where that body goes, behind `/v1/`.
    fn path(&self) -> &'static str {
        "chat/completions"
    }

    /// The `Content-Type` of an answer that comes as events.
    fn content_type(&self) -> &'static str {
        "text/event-stream"
    }

    /// The teller of one answer.
    fn answer(&self, telling: Telling) -> Box<dyn Answer>;
}

/// What a teller cannot know by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// Stands in the ids of the answer; letters and digits. Unique.
    pub id: String,
    /// When it began, in seconds since 1970.
    pub created_s: i64,
}

/// How long an answer took by the clock of whoever drives its teller, in nanoseconds from the arrival of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Took {
    /// Until its model was there. `None`: not measured.
    pub loaded_ns: Option<u64>,
    /// Until the first piece that says something. `None`: there was none.
    pub first_ns: Option<u64>,
    /// Until its end.
    pub total_ns: u64,
}

/// Tells an answer in a client's dialect while it comes in chat's. All that is returned is written to the client at once, in order;
/// empty is nothing. Whoever drives it calls `begin` once, then `beat` and `take` as it happens, then exactly one of `end` and
/// `fail`; for an answer that is wanted whole only `take`, then `whole`. `took` comes before `end` or `whole`, and where
/// `untellable` has something to say then, that is the end: `fail`, or a refusal instead of the whole.
pub trait Answer: Send {
    /// The first event or events.
    fn begin(&mut self) -> Vec<u8>;

    /// A sign of life, in the dialect's own form.
    fn beat(&mut self) -> Vec<u8>;

    /// One piece of the answer.
    fn take(&mut self, chunk: &Chunk) -> Vec<u8>;

    /// How long it took; only some dialects tell.
    fn took(&mut self, _took: Took) {}

    /// Why what the server said cannot be told in this dialect, known once it has said all.
    fn untellable(&self) -> Option<Refused> {
        None
    }

    /// The server has said its last word (see [`chat::Reader::is_finished`]).
    fn end(&mut self) -> Vec<u8>;

    /// It went wrong after the beginning: the dialect's own event for that, and nothing that looks like a good end.
    fn fail(&mut self, why: &Refused) -> Vec<u8>;

    /// The document of all that was taken, for a client that wanted it whole.
    fn whole(&mut self) -> Vec<u8>;

    /// After `end` or `whole`: what is to be kept of the answer, in the dialect that can go on from one. Only once.
    fn kept(&mut self) -> Option<responses::Stored> {
        None
    }
}
