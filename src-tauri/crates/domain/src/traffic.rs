//! What is kept of each request that programs send, and what that adds up to. Never what was asked or answered: only counts,
//! times and names.

mod filter;
mod spans;
mod spread;
mod tally;
#[cfg(test)]
mod tests;
mod trace_parent;

pub use filter::{StateFilter, TrafficFilter};
pub use spans::{MINUTES_KEPT_MS, Piece, Span, pieces};
pub use spread::Spread;
pub use tally::{Cell, CellKey, ClientTally, ModelTally, OTHERS, Tally, TallyView, TrafficTotals, totals};
pub use trace_parent::TraceParent;

use crate::{Timestamp, server::ServerId};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Characters of a name that a client may choose freely.
pub const LONGEST_NAME: usize = 200;
/// Characters of a short word: a finish reason, a code.
pub const LONGEST_WORD: usize = 80;
/// Fields of a request that are named at most.
pub const MOST_FIELDS: usize = 32;

/// What requests are counted under when nobody can tell who asked.
pub const UNKNOWN: &str = "unknown";

/// In which API's words a client asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum Dialect {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's completions.
    Completions,
    Embeddings,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Messages,
    /// Ollama's own API.
    Ollama,
    #[default]
    Other,
}

/// How the name that a client wrote led to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum Why {
    /// It is a role, `active` among them.
    Role,
    /// It is an alias of the settings.
    Alias,
    /// A rule for names such as `gpt-*`.
    Rule,
    /// It is the model's own name.
    OwnName,
}

/// How far a request is, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum RequestState {
    /// For its turn, or for a switch.
    #[default]
    Waiting,
    /// Its model is being loaded.
    Loading,
    /// A server has it.
    Answering,
    Done,
    /// Refused by us, or by the server.
    Failed,
    /// The client left.
    Cancelled,
    /// We ended it: its model had to leave, the client read too slowly, or Pilothouse ended.
    Cut,
}

impl RequestState {
    /// Whether it goes on.
    pub fn is_under_way(self) -> bool {
        matches!(self, Self::Waiting | Self::Loading | Self::Answering)
    }

    /// Whether the client did not get what it asked for, although it waited for it.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Cut)
    }
}

/// Who asked. What cannot be told is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Client {
    /// The name of the key that it showed.
    pub key: Option<String>,
    /// The name of the program behind the connection.
    pub program: Option<String>,
    pub pid: Option<u32>,
}

impl Client {
    /// What it is counted under: its key's name, else its program's, else "unknown".
    pub fn name(&self) -> &str {
        self.key.as_deref().or(self.program.as_deref()).unwrap_or(UNKNOWN)
    }
}

/// Tokens of one request. `None`: nobody told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Tokens {
    /// Of the prompt, those from a cache included.
    pub input: Option<u32>,
    /// Of the prompt, those that the server did not have to compute again.
    pub cached: Option<u32>,
    pub output: Option<u32>,
    /// They are the server's own figures; else what there is was estimated from the events of the answer.
    pub counted: bool,
}

/// One request through the one address. While it is under way, what is not known yet is `None`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct RequestRecord {
    /// Rises with each request, also over restarts.
    pub id: u64,
    /// When its head had arrived.
    #[ts(type = "string")]
    pub at: Timestamp,
    pub client: Client,
    pub dialect: Dialect,
    /// The model as the client wrote it, at most 200 characters of it. `None`: it named none.
    pub asked: Option<String>,
    /// Who answered, or shall answer.
    pub server: Option<ServerId>,
    pub model: Option<String>,
    pub role: Option<String>,
    pub why: Option<Why>,
    pub state: RequestState,
    /// The wait for its turn or for a switch.
    pub queued_ms: Option<u32>,
    /// The wait for its model to be loaded, beside `queued_ms`.
    pub load_ms: Option<u32>,
    /// From `at` to the first token, both waits included.
    pub ttft_ms: Option<u32>,
    /// From `at` to the end.
    pub total_ms: Option<u32>,
    pub tokens: Tokens,
    /// The most tokens that the client wanted.
    pub most_output: Option<u32>,
    /// Output tokens per second after the first token.
    pub decode_tok_s: Option<f64>,
    /// The server's word for why the answer ended ("stop", "length", "tool_calls").
    pub finish: Option<String>,
    /// Of HTTP.
    pub status: Option<u16>,
    /// The code of the error that the client got.
    pub error: Option<String>,
    /// More about it in our own words ("context is 8192"). Never the server's, which may quote the prompt.
    pub detail: Option<String>,
    pub streamed: bool,
    /// Fields that were left out because they are not for clients to say ("keep_alive").
    pub governed: Vec<String>,
    /// Fields that were sent on with another value.
    pub changed: Vec<String>,
    /// Whose trace it belongs to; of what has ended only a collector is told.
    #[serde(skip)]
    pub parent: Option<TraceParent>,
}

impl RequestRecord {
    /// Cuts what clients and servers choose freely to its lengths, so that a record has a bound.
    pub fn shorten(&mut self) {
        let Self { client, asked, model, role, finish, error, detail, governed, changed, .. } = self;
        for name in [&mut client.key, &mut client.program, asked, model, role, detail] {
            name.iter_mut().for_each(|name| shorten(name, LONGEST_NAME));
        }
        for word in [finish, error] {
            word.iter_mut().for_each(|word| shorten(word, LONGEST_WORD));
        }
        for fields in [governed, changed] {
            fields.truncate(MOST_FIELDS);
            fields.iter_mut().for_each(|field| shorten(field, LONGEST_WORD));
        }
    }

    /// Ends it after `total_ms`, its first token having come after `ttft_ms`. One that did not fail is done. What is known already
    /// stays, and a rate is reckoned only from tokens that the server has counted.
    pub fn close(&mut self, ttft_ms: Option<f64>, total_ms: f64) {
        if self.state.is_under_way() {
            self.state = RequestState::Done;
        }
        self.total_ms = self.total_ms.or(Some(whole_ms(total_ms)));
        self.ttft_ms = self.ttft_ms.or(ttft_ms.map(whole_ms));
        if self.decode_tok_s.is_none()
            && self.streamed
            && self.tokens.counted
            && let (Some(output), Some(first)) = (self.tokens.output, ttft_ms)
        {
            self.decode_tok_s = decode_rate(output, first, total_ms);
        }
        self.shorten();
    }
}

/// Tokens per second after the first one: `(output - 1) / (total - ttft)`, the inverse of the mean time per output token.
/// `None`: there is no time between two tokens.
pub fn decode_rate(output: u32, ttft_ms: f64, total_ms: f64) -> Option<f64> {
    let seconds = (total_ms - ttft_ms) / 1000.0;
    (output >= 2 && seconds > 0.0).then(|| f64::from(output - 1) / seconds)
}

/// Cuts a text to so many characters.
pub fn shorten(text: &mut String, most: usize) {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
        text.shrink_to_fit();
    }
}

fn whole_ms(ms: f64) -> u32 {
    ms.round().clamp(0.0, f64::from(u32::MAX)) as u32
}

/// Requests under way right now.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct TrafficNow {
    /// Of any of the three states.
    pub in_flight: u32,
    pub waiting: u32,
    pub loading: u32,
    pub answering: u32,
    /// Output tokens of the last second, of all models. Of an answer under way its events are counted, of one that came in one piece
    /// all its tokens in the second of its end. `None`: nothing has been measured yet.
    pub tok_s: Option<f64>,
    /// The newest of them, newest first.
    pub live: Vec<RequestRecord>,
    /// How many more there are.
    pub left_out: u32,
    /// Records that could not be kept since Pilothouse started.
    pub lost: u64,
}

/// Output tokens per second of all models, one figure for each step.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct TokenRates {
    pub step_ms: u32,
    /// The end of the last step.
    #[ts(type = "string")]
    pub until: Timestamp,
    /// Oldest first, at most a quarter of an hour.
    pub tok_s: Vec<f32>,
}
