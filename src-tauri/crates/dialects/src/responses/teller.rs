//! Tells an answer as a response, as events or whole.

use super::{
    calls::{self, Call},
    document::{Echo, Failure, State},
    error,
    events::{Events, OfError, OfResponse},
    output::Said,
    prose::Prose,
    store::{ANSWER, Stored, item_id},
    tools::{Kind, Tools},
};
use crate::{
    Answer, Refused, Telling, Took,
    chat::{CallPiece, Chunk, Finish, Usage},
    fields::raw,
};
use serde_json::{Value, value::RawValue};
use std::sync::Arc;

/// What the telling of an answer needs of the request.
#[derive(Debug, Default)]
pub struct Told {
    pub echo: Echo,
    /// Their functions are in the body.
    pub tools: Tools,
    pub streams: bool,
    /// Thoughts are told as their summary, which is what more clients show.
    pub summary: bool,
    /// Thoughts are given to the client in a form that it sends back.
    pub carries_thoughts: bool,
    /// The conversation up to here, where it is to be kept; those of answers before come first.
    pub items: Vec<Arc<str>>,
    /// How many of them were kept before.
    pub old: usize,
}

/// Tells one answer.
#[derive(Debug)]
pub struct Teller {
    told: Arc<Told>,
    telling: Telling,
    /// Of the response.
    id: String,
    events: Events,
    has_begun: bool,
    has_ended: bool,
    /// The items that have begun, in their order; those that are done.
    output: Vec<Option<Box<RawValue>>>,
    prose: Option<Prose>,
    calls: Vec<Call>,
    /// Of tokens whose text has not come: a letter may take several.
    logprobs: Vec<Value>,
    usage: Option<Usage>,
    took: Option<Took>,
    finish: Option<Finish>,
    kept: Option<Stored>,
}

impl Teller {
    pub fn new(told: Arc<Told>, telling: Telling) -> Self {
        Self {
            id: format!("{ANSWER}{}", telling.id),
            events: Events::new(told.streams),
            told,
            telling,
            has_begun: false,
            has_ended: false,
            output: vec![],
            prose: None,
            calls: vec![],
            logprobs: vec![],
            usage: None,
            took: None,
            finish: None,
            kept: None,
        }
    }

    fn document(
        &self,
        status: &'static str,
        incomplete: Option<&'static str>,
        error: Option<Failure<'_>>,
    ) -> Box<RawValue> {
        let output: Vec<&RawValue> = self.output.iter().flatten().map(AsRef::as_ref).collect();
        raw(self.told.echo.document(State {
            id: &self.id,
            created_at: self.telling.created_s,
            completed_at: self.completed_s().filter(|_| status == "completed"),
            status,
            incomplete,
            output: &output,
            error,
            usage: self.usage,
        }))
    }

    /// When it ended, in seconds since 1970.
    fn completed_s(&self) -> Option<i64> {
        let lasted_s = i64::try_from(self.took?.total_ns / 1_000_000_000).ok()?;
        self.telling.created_s.checked_add(lasted_s)
    }

    fn say_begin(&mut self) {
        if !std::mem::replace(&mut self.has_begun, true) {
            let response = self.document("in_progress", None, None);
            self.events.say("response.created", &OfResponse { response: &response });
            self.events.say("response.in_progress", &OfResponse { response: &response });
        }
    }

    /// Another item begins.
    fn next_index(&mut self) -> usize {
        self.output.push(None);
        self.output.len() - 1
    }

    fn done(&mut self, index: usize, item: Box<RawValue>) {
        if let Some(place) = self.output.get_mut(index) {
            *place = Some(item);
        }
    }

    fn say(&mut self, said: Said, text: &str) {
        if text.is_empty() {
            return;
        }
        if self.prose.as_ref().is_some_and(|prose| !prose.says(said)) {
            self.end_prose("completed");
        }
        let mut prose = match self.prose.take() {
            Some(prose) => prose,
            None => self.begin_prose(said),
        };
        let logprobs = if said == Said::Text { std::mem::take(&mut self.logprobs) } else { vec![] };
        prose.take(&mut self.events, said, text, logprobs);
        self.prose = Some(prose);
    }

    fn begin_prose(&mut self, said: Said) -> Prose {
        self.end_whole_calls();
        let index = self.next_index();
        let kind = if said.is_thoughts() { "reasoning" } else { "message" };
        let id = item_id(kind, &self.telling.id, index);
        Prose::begin(&mut self.events, index, id, said)
    }

    fn end_prose(&mut self, status: &'static str) {
        if let Some(prose) = self.prose.take() {
            let index = prose.index;
            let item = prose.end(&mut self.events, status, self.told.carries_thoughts);
            self.done(index, item);
        }
    }

    /// Calls to which nothing can be added. Others stay open, for servers that tell several side by side.
    fn end_whole_calls(&mut self) {
        self.end_calls(false, |call| call.told.is_some() && call.is_whole());
    }

    fn end_calls(&mut self, was_cut: bool, which: impl Fn(&Call) -> bool) {
        let mut done = vec![];
        for call in self.calls.iter_mut().filter(|call| !call.is_done && which(call)) {
            done.extend(call.end(&mut self.events, was_cut));
        }
        for (index, item) in done {
            self.done(index, item);
        }
    }

    fn call(&mut self, piece: &CallPiece) {
        let at = self.calls.iter().rposition(|call| call.has(piece)).unwrap_or_else(|| {
            self.calls.push(Call::new(piece));
            self.calls.len() - 1
        });
        if self.calls[at].is_done {
            return;
        }
        if self.calls[at].server_id.is_none() {
            self.calls[at].server_id.clone_from(&piece.id);
        }
        if let (None, Some(name)) = (&self.calls[at].told, &piece.name) {
            self.end_prose("completed");
            self.end_whole_calls();
            let told = self.new_call(at, name);
            self.calls[at].begin(&mut self.events, told);
        }
        self.calls[at].take(&mut self.events, &piece.arguments);
    }

    fn new_call(&mut self, at: usize, name: &str) -> calls::Told {
        let tool = self.told.tools.tool_of(name);
        let kind = match tool.kind {
            Kind::Function => "function_call",
            Kind::Custom => "custom_tool_call",
            Kind::Search => "tool_search_call",
        };
        let index = self.next_index();
        let taken = |id: &String| {
            self.calls.iter().filter_map(|call| call.told.as_ref()).any(|told| told.call_id == *id)
        };
        let own = || format!("call_{}_{index}", self.telling.id);
        let call_id = self.calls[at].server_id.clone().filter(|id| !taken(id)).unwrap_or_else(own);
        calls::Told::new(index, item_id(kind, &self.telling.id, index), call_id, tool)
    }

    /// All is told. Gives the document.
    fn finish(&mut self) -> Result<(&'static str, Box<RawValue>), Refused> {
        if let Some(why) = self.untellable() {
            return Err(why);
        }
        let (status, name, reason) = match self.finish {
            Some(Finish::Length) => ("incomplete", "response.incomplete", Some("max_output_tokens")),
            Some(Finish::ContentFilter) => ("incomplete", "response.incomplete", Some("content_filter")),
            _ => ("completed", "response.completed", None),
        };
        if self.output.is_empty() {
            // Programs look for a message, and find one that says nothing.
            self.prose = Some(self.begin_prose(Said::Text));
        }
        self.end_prose(status);
        self.end_calls(status == "incomplete", |_| true);
        let document = self.document(status, reason, None);
        if self.told.echo.store {
            let output = self.output.iter().flatten().map(|item| Arc::from(item.get())).collect();
            let document = document.get().to_owned();
            self.kept = Some(Stored::new(&self.id, document, &self.told.items, self.told.old, output));
        }
        Ok((name, document))
    }

    fn say_failure(&mut self, why: &Refused) -> Box<RawValue> {
        let (code, kind) = (error::code(why), error::kind(why));
        let (message, param) = (why.message.as_str(), why.param.as_deref());
        let within = super::events::ErrorWithin { kind, code, message, param };
        self.events.say("error", &OfError { code, message, param, error: within });
        let response = self.document("failed", None, Some(Failure { code, message }));
        self.events.say("response.failed", &OfResponse { response: &response });
        response
    }
}

impl Answer for Teller {
    fn begin(&mut self) -> Vec<u8> {
        self.say_begin();
        self.events.taken()
    }

    fn beat(&mut self) -> Vec<u8> {
        if self.has_begun && !self.has_ended {
            let response = self.document("in_progress", None, None);
            self.events.say("response.in_progress", &OfResponse { response: &response });
        } else if !self.has_ended {
            self.say_begin();
        }
        self.events.taken()
    }

    fn take(&mut self, chunk: &Chunk) -> Vec<u8> {
        if self.has_ended {
            return vec![];
        }
        self.say_begin();
        self.say(if self.told.summary { Said::Summary } else { Said::Thoughts }, &chunk.thoughts);
        // Tokens of thoughts and of calls have some as well, which have no place.
        if chunk.thoughts.is_empty() && chunk.calls.is_empty() {
            self.logprobs.extend_from_slice(&chunk.logprobs);
        }
        self.say(Said::Text, &chunk.text);
        self.say(Said::Refusal, &chunk.refusal);
        for piece in &chunk.calls {
            self.call(piece);
        }
        if let Some(usage) = &chunk.usage {
            self.usage.get_or_insert_default().update(usage);
        }
        if chunk.finish.is_some() {
            self.finish.clone_from(&chunk.finish);
        }
        self.events.taken()
    }

    fn took(&mut self, took: Took) {
        self.took = Some(took);
    }

    fn untellable(&self) -> Option<Refused> {
        let is_nameless = self.calls.iter().any(|call| call.told.is_none());
        is_nameless
            .then(|| Refused::new(502, "server_error", "The server called a tool without saying which."))
    }

    fn end(&mut self) -> Vec<u8> {
        if self.has_ended {
            return vec![];
        }
        self.say_begin();
        match self.finish() {
            Ok((name, response)) => self.events.say(name, &OfResponse { response: &response }),
            Err(why) => return self.fail(&why),
        }
        self.has_ended = true;
        self.events.taken()
    }

    fn fail(&mut self, why: &Refused) -> Vec<u8> {
        if self.has_ended {
            return vec![];
        }
        self.say_begin();
        self.say_failure(why);
        self.has_ended = true;
        self.events.taken()
    }

    fn whole(&mut self) -> Vec<u8> {
        let document = match self.finish() {
            Ok((_, document)) => document,
            Err(why) => self.say_failure(&why),
        };
        self.has_ended = true;
        document.get().as_bytes().to_vec()
    }

    fn kept(&mut self) -> Option<Stored> {
        self.kept.take()
    }
}
