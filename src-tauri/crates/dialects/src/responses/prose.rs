//! A message or thoughts while they come.

use super::{
    events::{Events, OfItem, Within},
    output::{Item, Part, Said},
    reasoning,
};
use crate::fields::raw;
use serde_json::{Value, value::RawValue};

/// An item of text that is open, and its open part.
#[derive(Debug)]
pub struct Prose {
    pub index: usize,
    id: String,
    /// The parts that are done.
    done: Vec<Part>,
    said: Said,
    text: String,
    /// Of the tokens of the open part.
    logprobs: Vec<Value>,
}

impl Prose {
    pub fn begin(events: &mut Events, index: usize, id: String, said: Said) -> Self {
        let prose = Self { index, id, done: vec![], said, text: String::new(), logprobs: vec![] };
        events.say(
            "response.output_item.added",
            &OfItem { output_index: index, item: &prose.item("in_progress", None) },
        );
        prose.begin_part(events);
        prose
    }

    pub fn says(&self, said: Said) -> bool {
        self.said.goes_with(said)
    }

    /// More text; another kind of part begins where it is of one.
    pub fn take(&mut self, events: &mut Events, said: Said, text: &str, logprobs: Vec<Value>) {
        if said != self.said {
            self.end_part(events);
            self.said = said;
            self.begin_part(events);
        }
        self.text.push_str(text);
        let name = match said {
            Said::Text => "response.output_text.delta",
            Said::Refusal => "response.refusal.delta",
            Said::Thoughts => "response.reasoning_text.delta",
            Said::Summary => "response.reasoning_summary_text.delta",
        };
        events.say(
            name,
            &Within { delta: Some(text), logprobs: (said == Said::Text).then_some(&logprobs), ..self.here() },
        );
        self.logprobs.extend(logprobs);
    }

    /// It is done. `status`: "completed" or "incomplete".
    pub fn end(mut self, events: &mut Events, status: &'static str, carries_thoughts: bool) -> Box<RawValue> {
        let thoughts = (carries_thoughts && self.said.is_thoughts()).then(|| reasoning::carried(&self.text));
        self.end_part(events);
        let item = self.item(status, thoughts);
        events.say("response.output_item.done", &OfItem { output_index: self.index, item: &item });
        item
    }

    fn begin_part(&self, events: &mut Events) {
        let name = match self.said {
            Said::Summary => "response.reasoning_summary_part.added",
            _ => "response.content_part.added",
        };
        events.say(name, &Within { part: Some(&self.said.part("", vec![])), ..self.here() });
    }

    fn end_part(&mut self, events: &mut Events) {
        let part = self.said.part(&self.text, self.logprobs.clone());
        let text = Some(self.text.as_str());
        let (name, fields, part_name) = match self.said {
            Said::Text => (
                "response.output_text.done",
                Within { text, logprobs: Some(&self.logprobs), ..self.here() },
                "response.content_part.done",
            ),
            Said::Refusal => (
                "response.refusal.done",
                Within { refusal: text, ..self.here() },
                "response.content_part.done",
            ),
            Said::Thoughts => {
                ("response.reasoning_text.done", Within { text, ..self.here() }, "response.content_part.done")
            }
            Said::Summary => (
                "response.reasoning_summary_text.done",
                Within { text, ..self.here() },
                "response.reasoning_summary_part.done",
            ),
        };
        events.say(name, &fields);
        events.say(part_name, &Within { part: Some(&part), ..self.here() });
        self.done.push(part);
        self.text.clear();
        self.logprobs.clear();
    }

    fn here(&self) -> Within<'_> {
        let at = Some(self.done.len());
        let is_summary = self.said == Said::Summary;
        Within {
            item_id: &self.id,
            output_index: self.index,
            content_index: at.filter(|_| !is_summary),
            summary_index: at.filter(|_| is_summary),
            ..Within::default()
        }
    }

    fn item(&self, status: &'static str, encrypted_content: Option<String>) -> Box<RawValue> {
        let (id, done) = (self.id.as_str(), self.done.as_slice());
        let item = match self.said {
            Said::Text | Said::Refusal => Item::Message { id, status, role: "assistant", content: done },
            Said::Thoughts => Item::Reasoning { id, summary: &[], content: Some(done), encrypted_content },
            Said::Summary => Item::Reasoning { id, summary: done, content: None, encrypted_content },
        };
        raw(item)
    }
}
