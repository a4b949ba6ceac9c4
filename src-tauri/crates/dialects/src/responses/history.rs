//! The items of a conversation as the messages of a chat.

use super::{
    freeform,
    reasoning::thoughts_of,
    tools::{Kind, Tool, Tools},
};
use crate::{
    Refused,
    chat::{CallOut, Content, Message, Part},
    fields::{Fields, list, text, text_or_json},
};
use serde_json::value::RawValue;
use std::collections::HashSet;

/// Makes messages of items, one after the other.
#[derive(Debug)]
pub struct History<'a> {
    tools: &'a Tools,
    pub messages: Vec<Message>,
    /// What the assistant says in its turn, of which more may come.
    turn: Option<Message>,
    /// Images of results, which follow in a message behind all results: a result is text for most servers.
    images: Vec<Part>,
    /// Calls that have a result.
    answered: HashSet<String>,
    called: HashSet<String>,
    /// Where an image that is an address of the web is; not every server takes them.
    pub web_image: Option<String>,
    /// What was passed over, by place and type.
    pub dropped: Vec<String>,
}

impl<'a> History<'a> {
    /// For a conversation of these items, which are then given to [`History::take`] in their order.
    pub fn new(tools: &'a Tools, items: &[Fields<'_>]) -> Self {
        let answered = items
            .iter()
            .filter(|item| item.text("type").is_some_and(|kind| kind.ends_with("_output")))
            .filter_map(call_id);
        Self {
            tools,
            messages: vec![],
            turn: None,
            images: vec![],
            answered: answered.collect(),
            called: HashSet::new(),
            web_image: None,
            dropped: vec![],
        }
    }

    /// The next item; `place` names it. Errors: it has something that cannot be shown to a local server.
    pub fn take(&mut self, fields: &Fields<'_>, place: &str) -> Result<(), Refused> {
        let kind = fields.text("type").unwrap_or_else(|| "message".into());
        match kind.as_str() {
            "message" | "agent_message" => self.message(fields, place)?,
            "reasoning" => self.thoughts(fields),
            "function_call" => {
                let tool = Tool::function(fields.text("namespace"), fields.text("name").unwrap_or_default());
                let arguments = fields.get("arguments").map(text_or_json).unwrap_or_default();
                self.call(fields, &tool, arguments);
            }
            "custom_tool_call" => {
                let tool = Tool::function(fields.text("namespace"), fields.text("name").unwrap_or_default());
                let input = fields.get("input").map(text_or_json).unwrap_or_default();
                self.call(fields, &Tool { kind: Kind::Custom, ..tool }, freeform::arguments(&input));
            }
            "function_call_output" | "custom_tool_call_output" => self.result(fields, place)?,
            // Their tools are among the tools.
            "additional_tools" => {}
            other => self.other(fields, other, place)?,
        }
        Ok(())
    }

    /// All messages are there.
    pub fn finish(mut self) -> Self {
        self.end_results();
        self.end_turn();
        self
    }

    fn message(&mut self, fields: &Fields<'_>, place: &str) -> Result<(), Refused> {
        self.end_results();
        let role = match fields.text("role").as_deref() {
            Some("assistant") => "assistant",
            Some("system" | "developer") => "system",
            _ => "user",
        };
        let parts = match fields.get("content") {
            Some(content) => self.parts(content, &format!("{place}.content"))?,
            None => vec![],
        };
        if role != "assistant" {
            self.end_turn();
            if parts.is_empty() {
                self.dropped.push(format!("{place} (empty message)"));
                return Ok(());
            }
            self.messages.push(Message { role, content: Content::of(parts, "\n"), ..Message::default() });
            return Ok(());
        }
        let said = parts.into_iter().filter_map(|part| match part {
            Part::Text { text } => Some(text),
            Part::ImageUrl { .. } => None,
        });
        let said: String = said.collect();
        let more =
            self.turn.as_ref().is_some_and(|turn| turn.content != Content::Nothing && turn.calls.is_empty());
        if more {
            self.end_turn();
        }
        let turn = self.turn.get_or_insert_with(assistant);
        let before = match std::mem::take(&mut turn.content) {
            Content::Text(before) => before,
            _ => String::new(),
        };
        turn.content = Content::Text(before + &said);
        Ok(())
    }

    fn thoughts(&mut self, fields: &Fields<'_>) {
        self.end_results();
        let Some(thoughts) = thoughts_of(fields) else { return };
        if self.turn.as_ref().is_some_and(|turn| turn.content != Content::Nothing && turn.calls.is_empty()) {
            self.end_turn();
        }
        let turn = self.turn.get_or_insert_with(assistant);
        turn.thoughts = Some(match turn.thoughts.take() {
            Some(before) => format!("{before}\n{thoughts}"),
            None => thoughts,
        });
    }

    fn call(&mut self, fields: &Fields<'_>, tool: &Tool, arguments: String) {
        self.end_results();
        let id = call_id(fields).unwrap_or_default();
        self.called.insert(id.clone());
        let name = self.tools.function_of(tool);
        let arguments = if arguments.trim().is_empty() { "{}".into() } else { arguments };
        self.turn.get_or_insert_with(assistant).calls.push(CallOut { id, name, arguments });
    }

    fn result(&mut self, fields: &Fields<'_>, place: &str) -> Result<(), Refused> {
        let parts = match fields.get("output") {
            Some(output) => self.parts(output, &format!("{place}.output"))?,
            None => vec![],
        };
        let (images, texts): (Vec<Part>, Vec<Part>) =
            parts.into_iter().partition(|part| matches!(part, Part::ImageUrl { .. }));
        let said = if texts.is_empty() && !images.is_empty() {
            Content::Text("The result is the image below.".into())
        } else {
            Content::of(texts, "\n")
        };
        self.push_result(call_id(fields).unwrap_or_default(), said);
        self.images.extend(images);
        Ok(())
    }

    fn push_result(&mut self, id: String, content: Content) {
        self.end_turn();
        self.messages.push(Message { role: "tool", content, call_id: Some(id), ..Message::default() });
    }

    /// An item of a tool that servers of the client's own have, or of a newer API: a call with a result is one, a text is one,
    /// and what is neither is passed over.
    fn other(&mut self, fields: &Fields<'_>, kind: &str, place: &str) -> Result<(), Refused> {
        let id = call_id(fields);
        if let (Some(name), Some(id)) = (kind.strip_suffix("_call"), &id)
            && self.answered.contains(id)
        {
            let said = ["arguments", "action", "operation", "input"];
            let said = said.into_iter().find_map(|name| fields.get(name)).map(text_or_json);
            // The search for tools by its name in this request; others, which no server here has, by the name they had.
            let tool = Tool { kind: Kind::Search, namespace: None, name: name.into() };
            self.call(fields, &tool, said.unwrap_or_default());
            return Ok(());
        }
        if let Some(id) = id.filter(|id| kind.ends_with("_output") && self.called.contains(id)) {
            match fields.list("tools").filter(|_| kind == "tool_search_output") {
                Some(tools) => self.push_result(id, Content::Text(found(self.tools, &tools))),
                None => self.result(fields, place)?,
            }
            return Ok(());
        }
        if fields.get("role").is_some() && fields.get("content").is_some() {
            return self.message(fields, place);
        }
        self.dropped.push(format!("{place} ({kind})"));
        Ok(())
    }

    /// The parts of a content: a text, or a list of parts.
    fn parts(&mut self, content: &RawValue, place: &str) -> Result<Vec<Part>, Refused> {
        if let Some(text) = text(content) {
            return Ok(vec![Part::text(text)]);
        }
        let Some(entries) = list(content) else { return Ok(vec![Part::text(content.get())]) };
        let mut parts = vec![];
        for (at, entry) in entries.into_iter().enumerate() {
            parts.extend(self.part(entry, &format!("{place}[{at}]"))?);
        }
        Ok(parts)
    }

    fn part(&mut self, entry: &RawValue, place: &str) -> Result<Option<Part>, Refused> {
        let Some(fields) = Fields::of(entry) else { return Ok(text(entry).map(Part::text)) };
        let kind = fields.text("type").unwrap_or_default();
        match kind.as_str() {
            "input_image" | "image_url" | "computer_screenshot" => {
                self.image(&fields, &kind, place).map(Some)
            }
            "input_file" | "input_audio" | "input_video" => {
                let message =
                    format!("{place} is \"{kind}\", which local servers do not take. Send its text instead.");
                Err(Refused::unsupported(message).about(place))
            }
            _ => {
                let said = fields.text("text").or_else(|| fields.text("refusal"));
                if said.is_none() {
                    self.dropped.push(format!("{place} ({kind})"));
                }
                Ok(said.map(Part::text))
            }
        }
    }

    fn image(&mut self, fields: &Fields<'_>, kind: &str, place: &str) -> Result<Part, Refused> {
        let nested = fields.object("image_url").and_then(|image| image.text("url"));
        let Some(url) = fields.text("image_url").or(nested) else {
            let message = format!("{place} is \"{kind}\" by the id of a file. Send the image as a data URL.");
            return Err(Refused::unsupported(message).about(place));
        };
        if !url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) {
            self.web_image.get_or_insert_with(|| place.to_owned());
        }
        Ok(Part::image(url))
    }

    /// The images of results come before what follows them.
    fn end_results(&mut self) {
        if !self.images.is_empty() {
            let content = Content::Parts(std::mem::take(&mut self.images));
            self.messages.push(Message { role: "user", content, ..Message::default() });
        }
    }

    /// Thoughts that nothing came of are not told: servers refuse a message that says nothing.
    fn end_turn(&mut self) {
        let said = self.turn.take().filter(|turn| turn.content != Content::Nothing || !turn.calls.is_empty());
        self.messages.extend(said);
    }
}

fn assistant() -> Message {
    Message { role: "assistant", ..Message::default() }
}

/// The call that an item is, or is the result of.
fn call_id(fields: &Fields<'_>) -> Option<String> {
    fields.text("call_id").or_else(|| fields.text("id"))
}

/// What a search for tools found, in a few words: the tools themselves are among the tools.
fn found(tools: &Tools, entries: &[&RawValue]) -> String {
    let mut found = Tools::default();
    entries.iter().for_each(|entry| found.add(entry));
    let names: Vec<String> =
        found.functions.iter().map(|tool| tools.function_of(&found.tool_of(&tool.function.name))).collect();
    if names.is_empty() {
        "No tools were found.".into()
    } else {
        format!("Tools found: {}", names.join(", "))
    }
}
