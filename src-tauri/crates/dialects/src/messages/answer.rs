//! Tells an answer as events of a message, or as one message.

use super::{
    errors,
    events::{Block, DIRECT, Delta, Document, Ending, Event, Figures, Input, Reason, Refusal, UsageSaid},
    order::{Opening, Order, Step},
};
use crate::{
    Answer, Refused, Telling,
    chat::{Chunk, Finish, Usage},
    sse,
};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// What of a request matters to its answer.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    pub max_tokens: Option<u64>,
    /// Texts to stop at.
    pub stop: Vec<String>,
    /// The client said that nothing shall be thought; what a model thinks all the same is left out.
    pub hides_thoughts: bool,
    /// See [`super::Count::estimate`].
    pub prompt_estimate: u64,
}

#[derive(Debug)]
pub struct Teller {
    id: String,
    model: String,
    streams: bool,
    limits: Limits,
    order: Order,
    /// Number and kind of the open block.
    index: u32,
    open: Option<Opening>,
    /// The blocks so far, for a client that wants them whole.
    blocks: Vec<(Opening, String)>,
    usage: Usage,
    finish: Option<Finish>,
    stopped_at: Option<String>,
    has_refused: bool,
    /// Pieces that brought something.
    pieces: u64,
}

impl Teller {
    pub fn new(telling: &Telling, model: String, streams: bool, limits: Limits) -> Self {
        Self {
            id: format!("msg_{}", telling.id),
            model,
            streams,
            limits,
            order: Order::new(&telling.id),
            index: 0,
            open: None,
            blocks: vec![],
            usage: Usage::default(),
            finish: None,
            stopped_at: None,
            has_refused: false,
            pieces: 0,
        }
    }

    /// Only the prompt is to be computed, and nothing said.
    fn warms(&self) -> bool {
        self.limits.max_tokens == Some(0)
    }

    fn document<'a>(&'a self, content: Vec<Block<'a>>, ending: Ending<'a>, figures: Figures) -> Document<'a> {
        let usage = UsageSaid { figures, ..UsageSaid::default() };
        Document {
            id: &self.id,
            kind: "message",
            role: "assistant",
            model: &self.model,
            content,
            ending,
            usage,
        }
    }

    fn tell(&mut self, steps: Vec<Step>) -> Vec<u8> {
        let mut out = vec![];
        for step in steps {
            if self.streams {
                self.write(step, &mut out);
            } else {
                self.keep(step);
            }
        }
        out
    }

    fn keep(&mut self, step: Step) {
        match step {
            Step::Open(opening) => self.blocks.push((opening, String::new())),
            Step::Piece(piece) => {
                if let Some((_, text)) = self.blocks.last_mut() {
                    text.push_str(&piece);
                }
            }
            Step::Close => {}
        }
    }

    fn write(&mut self, step: Step, out: &mut Vec<u8>) {
        let index = self.index;
        match step {
            Step::Open(opening) => {
                let content_block = block(&opening, "", None);
                Event::ContentBlockStart { index, content_block }.write(out);
                self.open = Some(opening);
            }
            Step::Piece(piece) => {
                let delta = match &self.open {
                    Some(Opening::Thinking) => Delta::ThinkingDelta { thinking: &piece },
                    Some(Opening::Call { .. }) => Delta::InputJsonDelta { partial_json: &piece },
                    Some(Opening::Text) | None => Delta::TextDelta { text: &piece },
                };
                Event::ContentBlockDelta { index, delta }.write(out);
            }
            Step::Close => {
                if self.open.take() == Some(Opening::Thinking) {
                    let delta = Delta::SignatureDelta { signature: "" };
                    Event::ContentBlockDelta { index, delta }.write(out);
                }
                Event::ContentBlockStop { index }.write(out);
                self.index += 1;
            }
        }
    }

    fn ending(&self) -> Ending<'_> {
        let stop = |reason| Ending { stop_reason: Some(reason), ..Ending::default() };
        let is_length = self.finish == Some(Finish::Length);
        if self.warms() {
            return stop("max_tokens");
        }
        if self.order.has_calls() && !(is_length && self.order.has_cut_calls()) {
            return stop("tool_use");
        }
        match &self.finish {
            Some(Finish::Length) => stop(self.what_was_full()),
            Some(Finish::ContentFilter) => stop("refusal"),
            Some(Finish::Other(word)) if OWN_REASONS.contains(&word.as_str()) => stop(word),
            _ if self.has_refused => stop("refusal"),
            _ => match self.stopped_at.as_deref().filter(|at| self.limits.stop.iter().any(|stop| stop == at))
            {
                Some(at) => Ending { stop_sequence: Some(at), ..stop("stop_sequence") },
                None => stop("end_turn"),
            },
        }
    }

    /// An answer that ends by its length before it is as long as it may be has filled the context.
    fn what_was_full(&self) -> &'static str {
        match (self.usage.output, self.limits.max_tokens) {
            (Some(output), Some(most)) if output < most => "model_context_window_exceeded",
            _ => "max_tokens",
        }
    }

    fn figures(&self) -> Figures {
        Figures::of(&self.usage, self.limits.prompt_estimate, self.pieces)
    }
}

/// Words of Anthropic's own that some servers use in chat as well.
const OWN_REASONS: [&str; 4] = ["end_turn", "max_tokens", "refusal", "model_context_window_exceeded"];

fn block<'a>(opening: &'a Opening, text: &'a str, input: Option<&'a RawValue>) -> Block<'a> {
    match opening {
        Opening::Text => Block::Text { text, citations: () },
        Opening::Thinking => Block::Thinking { thinking: text, signature: "" },
        Opening::Call { id, name } => {
            let input = input.map_or(Input::Empty {}, Input::Written);
            Block::ToolUse { id, name, input, caller: DIRECT }
        }
    }
}

/// The arguments of a call as the object that a message has to have, in the bytes that the model wrote; `None`: an empty one. What is
/// no object becomes one with that text in it: the tool refuses it and the model sees what it wrote, whereas an error would end the
/// agent's work, and an empty object could run the tool with its defaults.
fn input(arguments: &str) -> Option<Box<RawValue>> {
    if arguments.trim().is_empty() {
        return None;
    }
    let read = RawValue::from_string(arguments.to_owned()).ok().filter(|raw| raw.get().starts_with('{'));
    read.or_else(|| serde_json::value::to_raw_value(&BTreeMap::from([("arguments", arguments)])).ok())
}

impl Answer for Teller {
    fn begin(&mut self) -> Vec<u8> {
        let mut out = vec![];
        // How many tokens the prompt has is told at the end; some clients read it here alone, or show it until then.
        let message = self.document(vec![], Ending::default(), self.figures());
        Event::MessageStart { message }.write(&mut out);
        Event::Ping.write(&mut out);
        out
    }

    fn beat(&mut self) -> Vec<u8> {
        let mut out = vec![];
        Event::Ping.write(&mut out);
        out
    }

    fn take(&mut self, chunk: &Chunk) -> Vec<u8> {
        if let Some(usage) = &chunk.usage {
            self.usage.update(usage);
        }
        self.finish = chunk.finish.clone().or(self.finish.take());
        self.stopped_at = chunk.stopped_at.clone().or(self.stopped_at.take());
        if self.warms() {
            return vec![];
        }
        self.has_refused |= !chunk.refusal.is_empty();
        let says = [&chunk.text, &chunk.thoughts, &chunk.refusal].iter().any(|text| !text.is_empty());
        self.pieces += u64::from(says || !chunk.calls.is_empty());
        let steps = self.order.take(chunk, !self.limits.hides_thoughts);
        self.tell(steps)
    }

    fn end(&mut self) -> Vec<u8> {
        let steps = self.order.end();
        let mut out = self.tell(steps);
        Event::MessageDelta { delta: self.ending(), usage: self.figures() }.write(&mut out);
        Event::MessageStop.write(&mut out);
        out
    }

    fn fail(&mut self, why: &Refused) -> Vec<u8> {
        let message = errors::message(why);
        let refusal = Refusal::new(Reason { kind: errors::kind(why), message: &message }, None);
        let mut out = vec![];
        sse::write(&mut out, "error", &serde_json::to_string(&refusal).unwrap_or_default());
        out
    }

    fn whole(&mut self) -> Vec<u8> {
        let steps = self.order.end();
        self.tell(steps);
        let is_call = |opening: &Opening| matches!(opening, Opening::Call { .. });
        let inputs: Vec<Option<Box<RawValue>>> = self
            .blocks
            .iter()
            .map(|(opening, text)| is_call(opening).then(|| input(text)).flatten())
            .collect();
        let blocks = self.blocks.iter().zip(&inputs);
        let blocks = blocks.map(|((opening, text), input)| block(opening, text, input.as_deref()));
        let document = self.document(blocks.collect(), self.ending(), self.figures());
        serde_json::to_vec(&document).unwrap_or_default()
    }
}
