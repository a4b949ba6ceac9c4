//! Events and documents of an answer. Fields that are always `null` here are those that Anthropic's specification requires.

use crate::{chat::Usage, sse};
use serde::Serialize;
use serde_json::value::RawValue;

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event<'a> {
    MessageStart { message: Document<'a> },
    Ping,
    ContentBlockStart { index: u32, content_block: Block<'a> },
    ContentBlockDelta { index: u32, delta: Delta<'a> },
    ContentBlockStop { index: u32 },
    MessageDelta { delta: Ending<'a>, usage: Figures },
    MessageStop,
}

impl Event<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::MessageStart { .. } => "message_start",
            Self::Ping => "ping",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
            Self::MessageStop => "message_stop",
        }
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        // A document of strings and numbers can always be written.
        let data = serde_json::to_string(self).unwrap_or_default();
        sse::write(out, self.name(), &data);
    }
}

/// A message: empty at its start, or whole.
#[derive(Serialize)]
pub struct Document<'a> {
    pub id: &'a str,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub role: &'static str,
    pub model: &'a str,
    pub content: Vec<Block<'a>>,
    #[serde(flatten)]
    pub ending: Ending<'a>,
    pub usage: UsageSaid,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block<'a> {
    Text { text: &'a str, citations: () },
    Thinking { thinking: &'a str, signature: &'static str },
    ToolUse { id: &'a str, name: &'a str, input: Input<'a>, caller: Caller },
}

/// The input of a tool: none yet, or an object as the model wrote it.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Input<'a> {
    Empty {},
    Written(&'a RawValue),
}

/// Who called a tool: the model itself.
#[derive(Serialize)]
pub struct Caller {
    #[serde(rename = "type")]
    pub kind: &'static str,
}

pub const DIRECT: Caller = Caller { kind: "direct" };

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(clippy::enum_variant_names, reason = "the names are Anthropic's")]
pub enum Delta<'a> {
    TextDelta { text: &'a str },
    ThinkingDelta { thinking: &'a str },
    SignatureDelta { signature: &'static str },
    InputJsonDelta { partial_json: &'a str },
}

/// Why it ended; all `null` while it has not.
#[derive(Serialize, Default, Clone, Copy)]
pub struct Ending<'a> {
    pub stop_reason: Option<&'a str>,
    pub stop_sequence: Option<&'a str>,
    pub stop_details: (),
    pub container: (),
}

/// Tokens, as of now. `input_tokens` is without those that came from the cache.
#[derive(Serialize, Default, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Figures {
    pub input_tokens: u64,
    pub cache_read_input_tokens: u64,
    pub cache_creation_input_tokens: u64,
    pub output_tokens: u64,
    pub output_tokens_details: Option<OutputDetails>,
    pub server_tool_use: (),
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutputDetails {
    pub thinking_tokens: u64,
}

#[derive(Serialize, Default, Clone, Copy)]
pub struct UsageSaid {
    #[serde(flatten)]
    pub figures: Figures,
    pub cache_creation: (),
    pub inference_geo: (),
    pub service_tier: (),
}

impl Figures {
    /// Of chat's usage, whose prompt includes what was cached. What was not told is guessed, for the fields are required and a
    /// nought would tell a client that its context is empty: the prompt from its bytes, the answer from the number of its pieces.
    pub fn of(usage: &Usage, prompt_estimate: u64, pieces: u64) -> Self {
        let cached = usage.cached.unwrap_or(0);
        Self {
            input_tokens: usage.prompt.unwrap_or(prompt_estimate).saturating_sub(cached),
            cache_read_input_tokens: cached,
            cache_creation_input_tokens: 0,
            output_tokens: usage.output.unwrap_or(pieces),
            output_tokens_details: usage.thoughts.map(|thinking_tokens| OutputDetails { thinking_tokens }),
            server_tool_use: (),
        }
    }
}

/// An error, as a document or as the data of an event.
#[derive(Serialize)]
pub struct Refusal<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    error: Reason<'a>,
    request_id: Option<&'a str>,
}

#[derive(Serialize)]
pub struct Reason<'a> {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub message: &'a str,
}

impl<'a> Refusal<'a> {
    pub fn new(error: Reason<'a>, request_id: Option<&'a str>) -> Self {
        Self { kind: "error", error, request_id }
    }
}
