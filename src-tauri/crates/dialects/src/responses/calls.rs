//! A call of a tool while it comes.

use super::{
    events::{Events, OfItem, Within},
    freeform::Freeform,
    output::Item,
    tools::{Kind, Tool},
};
use crate::{chat::CallPiece, fields::raw};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// A call of an answer.
#[derive(Debug)]
pub struct Call {
    /// Which one it is for the server.
    chat_index: u32,
    pub server_id: Option<String>,
    arguments: String,
    /// Since its name is known.
    pub told: Option<Told>,
    pub is_done: bool,
}

/// What the client is told of it.
#[derive(Debug)]
pub struct Told {
    pub index: usize,
    /// Of the item.
    pub id: String,
    pub call_id: String,
    pub tool: Tool,
    freeform: Freeform,
    /// The free text so far.
    input: String,
}

impl Told {
    pub fn new(index: usize, id: String, call_id: String, tool: Tool) -> Self {
        Self { index, id, call_id, tool, freeform: Freeform::default(), input: String::new() }
    }

    fn here(&self) -> Within<'_> {
        Within { item_id: &self.id, output_index: self.index, ..Within::default() }
    }

    fn item(&self, arguments: &str, status: &'static str) -> Box<RawValue> {
        let (id, call_id, name) = (self.id.as_str(), self.call_id.as_str(), self.tool.name.as_str());
        let namespace = self.tool.namespace.as_deref();
        let item = match self.tool.kind {
            Kind::Function => Item::FunctionCall { id, call_id, namespace, name, arguments, status },
            Kind::Custom => Item::CustomToolCall { id, call_id, namespace, name, input: &self.input, status },
            Kind::Search => {
                let document = RawValue::from_string(arguments.to_owned()).unwrap_or_else(|_| raw(arguments));
                return Item::ToolSearchCall {
                    id,
                    call_id,
                    execution: "client",
                    arguments: &document,
                    status,
                }
                .written();
            }
        };
        item.written()
    }
}

impl Call {
    pub fn new(piece: &CallPiece) -> Self {
        Self {
            chat_index: piece.index,
            server_id: None,
            arguments: String::new(),
            told: None,
            is_done: false,
        }
    }

    /// Whether a piece is of this call. Some servers give each call the same index, and only another id or not even that.
    pub fn has(&self, piece: &CallPiece) -> bool {
        let is_named_anew = piece.name.is_some() && self.told.is_some();
        let is_another = || match (&piece.id, &self.server_id) {
            (Some(new), Some(old)) => new != old,
            _ => !piece.arguments.trim().is_empty() && self.is_whole(),
        };
        self.chat_index == piece.index && !(is_named_anew && is_another())
    }

    /// The call begins for the client: its name is known.
    pub fn begin(&mut self, events: &mut Events, told: Told) {
        let empty = if told.tool.kind == Kind::Search { "{}" } else { "" };
        let item = told.item(empty, "in_progress");
        events.say("response.output_item.added", &OfItem { output_index: told.index, item: &item });
        self.told = Some(told);
        let held = std::mem::take(&mut self.arguments);
        self.take(events, &held);
    }

    /// More of its arguments.
    pub fn take(&mut self, events: &mut Events, arguments: &str) {
        if arguments.is_empty() {
            return;
        }
        self.arguments.push_str(arguments);
        let Some(told) = &mut self.told else { return };
        match told.tool.kind {
            Kind::Function => {
                let fields = Within { delta: Some(arguments), ..told.here() };
                events.say("response.function_call_arguments.delta", &fields);
            }
            Kind::Custom => {
                let new = told.freeform.take(&self.arguments);
                told.say_input(events, &new);
            }
            Kind::Search => {}
        }
    }

    /// Whether its arguments are a whole document, so that nothing can follow.
    pub fn is_whole(&self) -> bool {
        serde_json::from_str::<IgnoredAny>(&self.arguments).is_ok()
    }

    /// It is done; `was_cut`: the answer ended at a limit. `None`: it was never named, or is done already.
    pub fn end(&mut self, events: &mut Events, was_cut: bool) -> Option<(usize, Box<RawValue>)> {
        if std::mem::replace(&mut self.is_done, true) {
            return None;
        }
        let is_cut = was_cut && !self.is_whole();
        let kind = self.told.as_ref()?.tool.kind;
        if !is_cut && kind != Kind::Custom && self.arguments.trim().is_empty() {
            // A tool without parameters; clients read a document all the same.
            self.take(events, "{}");
        }
        let told = self.told.as_mut()?;
        match kind {
            Kind::Function => {
                let fields = Within { arguments: Some(&self.arguments), ..told.here() };
                events.say("response.function_call_arguments.done", &fields);
            }
            Kind::Custom => {
                let rest = told.freeform.rest(&self.arguments);
                told.say_input(events, &rest);
                let fields = Within { input: Some(&told.input), ..told.here() };
                events.say("response.custom_tool_call_input.done", &fields);
            }
            Kind::Search => {}
        }
        let item = told.item(&self.arguments, if is_cut { "incomplete" } else { "completed" });
        events.say("response.output_item.done", &OfItem { output_index: told.index, item: &item });
        Some((told.index, item))
    }
}

impl Told {
    fn say_input(&mut self, events: &mut Events, new: &str) {
        if new.is_empty() {
            return;
        }
        self.input.push_str(new);
        let fields = Within { delta: Some(new), ..self.here() };
        events.say("response.custom_tool_call_input.delta", &fields);
    }
}
