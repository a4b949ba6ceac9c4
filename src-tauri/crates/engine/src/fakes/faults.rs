use pilothouse_domain::error::{ApiError, ErrorCode};
use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// How a call goes.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Fault {
    #[default]
    None,
    /// It does its work, so much later.
    Slow(Duration),
    /// It does nothing and answers this.
    Fail(ApiError),
    /// It stands still up to this instant, then does its work.
    Until(Instant),
    /// It does nothing and never answers.
    Hang,
}

impl Fault {
    /// As the store answers at once while the disk under it is full.
    pub fn disk_is_full() -> Self {
        let text = "Pilothouse cannot write its history: database or disk is full.";
        Self::Fail(ApiError::new(ErrorCode::StoreUnavailable, text))
    }
}

/// How each kind of call goes, until that is changed.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    pub health: Fault,
    /// Both lists: models and instances.
    pub list: Fault,
    pub load: Fault,
    pub unload: Fault,
    /// Before the first token.
    pub generate: Fault,
    /// Another model gives the answers, and says so.
    pub answers_as: Option<String>,
    /// How the next loads go, one each, before `load` counts.
    pub next_loads: VecDeque<Fault>,
    /// Nothing answers at its address, and nothing is found there.
    pub down: bool,
    /// How an answer comes.
    pub shape: Shape,
    /// What its client has found odd in its lists and has not told yet.
    pub odd: Vec<String>,
}

/// How a server gives an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// An event for each token, and their count at the end.
    #[default]
    Stream,
    /// The same without the count.
    Uncounted,
    /// Several tokens in each event.
    Batches(u64),
    /// All of it in one event.
    Whole,
}
