//! How an answer is told in Ollama's words: lines, or one document.

use super::{
    calls::{Call, Calls},
    error_document, written,
};
use crate::{
    Answer, Refused, Telling, Took,
    chat::{Chunk, Finish, Times, Usage},
};
use pilothouse_domain::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;

/// A line, or a whole document: only what is said is written.
#[derive(Debug, Default, Serialize)]
pub(super) struct Line<'a> {
    model: &'a str,
    created_at: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Said<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    thinking: &'a str,
    #[serde(skip_serializing_if = "<[Call]>::is_empty")]
    tool_calls: &'a [Call],
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    done_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "<[Value]>::is_empty")]
    logprobs: &'a [Value],
    #[serde(flatten)]
    figures: Figures,
}

#[derive(Debug, Serialize)]
struct Said<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    thinking: &'a str,
    #[serde(skip_serializing_if = "<[Call]>::is_empty")]
    tool_calls: &'a [Call],
}

/// Counts in tokens, durations in nanoseconds. What nobody counted is left out, as Ollama leaves out its zeros.
#[derive(Debug, Default, Serialize)]
struct Figures {
    #[serde(skip_serializing_if = "Option::is_none")]
    total_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    load_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_eval_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_eval_cached_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_eval_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eval_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eval_duration: Option<u64>,
}

/// The words that an answer is told in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Chat,
    Generate,
}

/// The document that answers a request which says nothing.
pub(super) fn nothing(way: Way, model: &str, telling: &Telling, reason: &str) -> Vec<u8> {
    let teller = Teller::new(way, model.to_owned(), telling, false);
    written(&Line { done: true, done_reason: Some(reason), ..teller.line("", "", &[]) })
}

fn created_at(telling: &Telling) -> String {
    Timestamp::from_second(telling.created_s).unwrap_or_default().to_string()
}

/// Tells one answer.
#[derive(Debug)]
pub(super) struct Teller {
    way: Way,
    model: String,
    created_at: String,
    streams: bool,
    /// Of an answer that is wanted whole.
    text: String,
    thoughts: String,
    logprobs: Vec<Value>,
    calls: Calls,
    calls_told: bool,
    finish: Option<Finish>,
    usage: Usage,
    times: Times,
    took: Option<Took>,
}

impl Teller {
    pub fn new(way: Way, model: String, telling: &Telling, streams: bool) -> Self {
        Self {
            way,
            model,
            created_at: created_at(telling),
            streams,
            text: String::new(),
            thoughts: String::new(),
            logprobs: vec![],
            calls: Calls::default(),
            calls_told: false,
            finish: None,
            usage: Usage::default(),
            times: Times::default(),
            took: None,
        }
    }

    fn line<'a>(&'a self, text: &'a str, thoughts: &'a str, calls: &'a [Call]) -> Line<'a> {
        let line = Line { model: &self.model, created_at: &self.created_at, ..Line::default() };
        match self.way {
            Way::Chat => {
                let said = Said { role: "assistant", content: text, thinking: thoughts, tool_calls: calls };
                Line { message: Some(said), ..line }
            }
            Way::Generate => Line { response: Some(text), thinking: thoughts, tool_calls: calls, ..line },
        }
    }

    fn calls(&self) -> Result<Vec<Call>, Refused> {
        let is_cut = self.finish == Some(Finish::Length);
        self.calls.whole(is_cut).map_err(|why| Refused::new(502, "server_error", why))
    }

    /// The line with all calls, once.
    fn calls_line(&mut self) -> Vec<u8> {
        let calls = self.calls().unwrap_or_default();
        if std::mem::replace(&mut self.calls_told, true) || calls.is_empty() {
            return vec![];
        }
        ended(written(&self.line("", "", &calls)))
    }

    fn done<'a>(&'a self, line: Line<'a>) -> Line<'a> {
        let reason = match &self.finish {
            // That it calls tools is a stop to Ollama.
            None | Some(Finish::Stop | Finish::ToolCalls) => "stop",
            Some(Finish::Length) => "length",
            Some(Finish::ContentFilter) => "content_filter",
            Some(Finish::Other(word)) => word,
        };
        Line { done: true, done_reason: Some(reason), figures: self.figures(), ..line }
    }

    /// Durations as the server measured them, else by the clock of whoever drives this.
    fn figures(&self) -> Figures {
        let Self { usage, times, took, .. } = self;
        let some = |n: Option<u64>| n.filter(|n| *n > 0);
        let first = took.and_then(|took| took.first_ns);
        let to_first = took.zip(first).map(|(took, first)| first.saturating_sub(took.loaded_ns.unwrap_or(0)));
        let from_first = took.zip(first).map(|(took, first)| took.total_ns.saturating_sub(first));
        Figures {
            total_duration: some(took.map(|took| took.total_ns)),
            load_duration: some(took.and_then(|took| took.loaded_ns)),
            prompt_eval_count: usage.prompt,
            prompt_eval_cached_count: usage.cached,
            prompt_eval_duration: some(times.prompt_ns.or(to_first)),
            eval_count: usage.output,
            eval_duration: some(times.output_ns.or(from_first)),
        }
    }
}

/// As a line.
fn ended(mut line: Vec<u8>) -> Vec<u8> {
    line.push(b'\n');
    line
}

impl Answer for Teller {
    /// Ollama's stream begins with the first piece.
    fn begin(&mut self) -> Vec<u8> {
        vec![]
    }

    /// A piece that says nothing. An empty line would not do.
    fn beat(&mut self) -> Vec<u8> {
        ended(written(&self.line("", "", &[])))
    }

    fn take(&mut self, chunk: &Chunk) -> Vec<u8> {
        chunk.calls.iter().for_each(|piece| self.calls.take(piece));
        if let Some(usage) = &chunk.usage {
            self.usage.update(usage);
        }
        if let Some(Times { prompt_ns, output_ns }) = chunk.times {
            self.times = Times {
                prompt_ns: prompt_ns.or(self.times.prompt_ns),
                output_ns: output_ns.or(self.times.output_ns),
            };
        }
        if chunk.finish.is_some() {
            self.finish.clone_from(&chunk.finish);
        }
        // A refusal of the model's is its answer.
        let said = match chunk.refusal.as_str() {
            "" => Cow::Borrowed(chunk.text.as_str()),
            refusal => Cow::Owned([&chunk.text, refusal].concat()),
        };
        if !self.streams {
            self.text.push_str(&said);
            self.thoughts.push_str(&chunk.thoughts);
            self.logprobs.extend_from_slice(&chunk.logprobs);
            return vec![];
        }
        let mut out = vec![];
        if !said.is_empty() || !chunk.thoughts.is_empty() || !chunk.logprobs.is_empty() {
            let line = self.line(&said, &chunk.thoughts, &[]);
            out = ended(written(&Line { logprobs: &chunk.logprobs, ..line }));
        }
        if chunk.finish.is_some() {
            out.extend(self.calls_line());
        }
        out
    }

    fn took(&mut self, took: Took) {
        self.took = Some(took);
    }

    fn untellable(&self) -> Option<Refused> {
        self.calls().err()
    }

    fn end(&mut self) -> Vec<u8> {
        if let Some(why) = self.untellable() {
            return self.fail(&why);
        }
        let mut out = self.calls_line();
        out.extend(ended(written(&self.done(self.line("", "", &[])))));
        out
    }

    fn fail(&mut self, why: &Refused) -> Vec<u8> {
        ended(error_document(why))
    }

    fn whole(&mut self) -> Vec<u8> {
        match self.calls() {
            Err(why) => error_document(&why),
            Ok(calls) => {
                let line = self.done(self.line(&self.text, &self.thoughts, &calls));
                written(&Line { logprobs: &self.logprobs, ..line })
            }
        }
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
