//! An estimate, part by part.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// What takes memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum PartKind {
    Weights,
    KvCache,
    /// Buffers of a computation.
    Compute,
    /// The runner itself, with the vocabulary.
    Runner,
    /// What earlier loads showed beyond the rest; may be less than nothing, then it is taken off the runner's part.
    Learned,
}

/// One part of an estimate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Part {
    pub what: PartKind,
    pub bytes: u64,
    /// Where the figure comes from, in words.
    pub source: String,
}

/// Parts with their sum.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Estimate {
    pub parts: Vec<Part>,
}

impl Estimate {
    pub fn total_bytes(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.bytes))
    }

    pub(crate) fn add(&mut self, what: PartKind, bytes: u64, source: impl Into<String>) {
        self.parts.push(Part { what, bytes, source: source.into() });
    }
}
