//! Brings the pieces of an answer into the order of Anthropic's blocks: one is open at a time and is closed before the next opens.
//!
//! Chat knows no such order: pieces of several calls may come in turn, text may come in the middle of a call. So what cannot be said
//! yet waits until the open block is done; a call is done when the object of its arguments is closed, or at the end of the answer.

use crate::chat::{CallPiece, Chunk};
use std::collections::VecDeque;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Open(Opening),
    Piece(String),
    Close,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    Text,
    Thinking,
    Call { id: String, name: String },
}

/// The order of one answer.
#[derive(Debug)]
pub struct Order {
    /// Stands in the ids of calls that the server gives none.
    id: String,
    calls: Vec<Call>,
    open: Option<Open>,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug, Default)]
struct Call {
    /// As the server counts.
    index: u32,
    id: Option<String>,
    name: Option<String>,
    /// What came before it could be said.
    held: String,
    extent: Extent,
    is_closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Thinking,
    /// Which of the calls.
    Call(usize),
}

#[derive(Debug)]
enum Waiting {
    Text(String),
    Thinking(String),
    Call(usize),
}

impl Order {
    pub fn new(id: &str) -> Self {
        Self { id: id.to_owned(), calls: vec![], open: None, waiting: VecDeque::new() }
    }

    pub fn take(&mut self, chunk: &Chunk, with_thoughts: bool) -> Vec<Step> {
        let mut steps = vec![];
        if with_thoughts {
            self.say(Open::Thinking, &chunk.thoughts, &mut steps);
        }
        self.say(Open::Text, &chunk.text, &mut steps);
        self.say(Open::Text, &chunk.refusal, &mut steps);
        for piece in &chunk.calls {
            self.call(piece, &mut steps);
        }
        self.advance(false, &mut steps);
        steps
    }

    /// All that still waits, and the end of the last block.
    pub fn end(&mut self) -> Vec<Step> {
        let mut steps = vec![];
        self.advance(true, &mut steps);
        self.close(&mut steps);
        steps
    }

    /// Whether a tool is called.
    pub fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Whether the arguments of a call break off.
    pub fn has_cut_calls(&self) -> bool {
        self.calls.iter().any(|call| !call.extent.is_done() && call.extent.has_begun)
    }

    /// Text or a thought: into the open block, a new one, or behind what waits.
    fn say(&mut self, kind: Open, text: &str, steps: &mut Vec<Step>) {
        if text.is_empty() {
            return;
        }
        if self.waiting.is_empty() && self.open == Some(kind) {
            steps.push(Step::Piece(text.to_owned()));
            return;
        }
        match (kind, self.waiting.back_mut()) {
            (Open::Text, Some(Waiting::Text(held))) | (Open::Thinking, Some(Waiting::Thinking(held))) => {
                held.push_str(text);
            }
            (Open::Thinking, _) => self.waiting.push_back(Waiting::Thinking(text.to_owned())),
            _ => self.waiting.push_back(Waiting::Text(text.to_owned())),
        }
        self.advance(false, steps);
    }

    fn call(&mut self, piece: &CallPiece, steps: &mut Vec<Step>) {
        let known = self.calls.iter().rposition(|call| call.index == piece.index);
        // Some servers give each of several calls the same index: another id is another call.
        let known = known.filter(|at| match (&self.calls[*at].id, &piece.id) {
            (Some(known), Some(id)) => known == id,
            _ => true,
        });
        let at = known.unwrap_or_else(|| {
            self.calls.push(Call { index: piece.index, ..Call::default() });
            self.waiting.push_back(Waiting::Call(self.calls.len() - 1));
            self.calls.len() - 1
        });
        let is_open = self.open == Some(Open::Call(at));
        let call = &mut self.calls[at];
        call.id = call.id.take().or_else(|| piece.id.clone());
        call.name = call.name.take().or_else(|| piece.name.clone());
        let part = call.extent.take(&piece.arguments);
        if part.is_empty() || call.is_closed {
        } else if is_open {
            steps.push(Step::Piece(part.to_owned()));
        } else {
            call.held.push_str(part);
        }
        self.advance(false, steps);
    }

    /// Opens what waits, as far as the open block lets it. `at_end`: nothing more will come.
    fn advance(&mut self, at_end: bool, steps: &mut Vec<Step>) {
        while let Some(next) = self.waiting.front() {
            let is_ready = match next {
                Waiting::Call(at) => self.calls[*at].name.is_some(),
                _ => true,
            };
            let is_done = match self.open {
                Some(Open::Call(at)) => self.calls[at].extent.is_done(),
                _ => true,
            };
            if !(at_end || is_ready && is_done) {
                return;
            }
            self.close(steps);
            let Some(next) = self.waiting.pop_front() else { return };
            let (open, opening, held) = match next {
                Waiting::Text(held) => (Open::Text, Opening::Text, held),
                Waiting::Thinking(held) => (Open::Thinking, Opening::Thinking, held),
                Waiting::Call(at) => {
                    let held = std::mem::take(&mut self.calls[at].held);
                    (Open::Call(at), self.opening(at), held)
                }
            };
            self.open = Some(open);
            steps.push(Step::Open(opening));
            if !held.is_empty() {
                steps.push(Step::Piece(held));
            }
        }
    }

    fn opening(&self, at: usize) -> Opening {
        let call = &self.calls[at];
        let is_taken = |id: &String| self.calls[..at].iter().any(|before| before.id.as_ref() == Some(id));
        let id = call.id.clone().filter(|id| !is_taken(id));
        Opening::Call {
            id: id.unwrap_or_else(|| format!("toolu_{}_{at}", self.id)),
            // A server that names no tool: the client says so to the model.
            name: call.name.clone().unwrap_or_else(|| "unknown".to_owned()),
        }
    }

    fn close(&mut self, steps: &mut Vec<Step>) {
        match self.open.take() {
            None => return,
            Some(Open::Call(at)) => self.calls[at].is_closed = true,
            Some(Open::Text | Open::Thinking) => {}
        }
        steps.push(Step::Close);
    }
}

/// How far the object of a call's arguments has come.
#[derive(Debug, Default)]
struct Extent {
    has_begun: bool,
    /// It begins with something else than an object: where it ends cannot be told.
    is_other: bool,
    depth: u32,
    in_string: bool,
    is_escaped: bool,
}

impl Extent {
    fn is_done(&self) -> bool {
        self.has_begun && !self.is_other && self.depth == 0
    }

    /// The part of a piece that belongs to the object: what models write behind its end would only break it.
    fn take<'t>(&mut self, piece: &'t str) -> &'t str {
        for (at, byte) in piece.bytes().enumerate() {
            if self.is_other {
                return piece;
            }
            if self.is_done() {
                return &piece[..at];
            }
            self.step(byte);
        }
        piece
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if std::mem::take(&mut self.is_escaped) => {}
                b'\\' => self.is_escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'{' | b'[' if self.has_begun || byte == b'{' => {
                self.has_begun = true;
                self.depth += 1;
            }
            b'}' | b']' if self.has_begun => self.depth = self.depth.saturating_sub(1),
            b'"' if self.has_begun => self.in_string = true,
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ if !self.has_begun => {
                self.has_begun = true;
                self.is_other = true;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_ends_where_its_last_bracket_is() {
        for (pieces, kept, is_done) in [
            (vec!["{}"], "{}", true),
            (vec![" {\"a\"", ":{\"b\":[1,", "2]}}", "}"], " {\"a\":{\"b\":[1,2]}}", true),
            (vec!["{\"a\":\"}\\\"", "}\\\\\"", "}\n", "x"], "{\"a\":\"}\\\"}\\\\\"}", true),
            (vec!["{\"a\":", "\"é}"], "{\"a\":\"é}", false),
            (vec!["[1]", "}"], "[1]}", false),
            (vec!["\"{}\""], "\"{}\"", false),
            (vec!["", " "], " ", false),
        ] {
            let mut extent = Extent::default();
            let taken: String = pieces.iter().map(|piece| extent.take(piece)).collect();
            assert_eq!((taken.as_str(), extent.is_done()), (kept, is_done), "{pieces:?}");
        }
    }
}
