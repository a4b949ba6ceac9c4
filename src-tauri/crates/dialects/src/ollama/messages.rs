//! Messages of Ollama as messages of chat: calls get the ids that they may lack, images become parts.

use super::{
    images,
    wire::{self, some},
};
use crate::{
    Refused,
    chat::{CallOut, Content, Message, Part, ToolOut},
};
use serde_json::value::RawValue;
use std::collections::{BTreeSet, VecDeque};

/// Errors: a role that chat does not have, an image that is none, a call without a name.
pub(super) fn read(messages: Vec<wire::Message<'_>>) -> Result<Vec<Message>, Refused> {
    let calls = messages.iter().flat_map(|message| message.tool_calls.iter().flatten());
    let taken = calls.filter_map(|call| call.id.as_deref());
    let taken = taken.chain(messages.iter().filter_map(|message| message.tool_call_id.as_deref()));
    let ids = Ids { taken: taken.map(str::to_owned).collect(), ..Ids::default() };
    let mut reading = Reading { ids, said: vec![], images: vec![] };
    for (at, message) in messages.into_iter().enumerate() {
        reading.take(message, at + 1)?;
    }
    reading.show_images();
    Ok(reading.said)
}

/// What the user of `/api/generate` says.
pub(super) fn prompt(
    system: Option<String>,
    text: String,
    images: Option<Vec<Option<String>>>,
) -> Result<Vec<Message>, Refused> {
    let mut said: Vec<Message> = system.map(|text| Message::text("system", text)).into_iter().collect();
    let images = parts(images, "")?;
    said.push(Message { role: "user", content: content(text, images), ..Message::default() });
    Ok(said)
}

struct Reading {
    ids: Ids,
    said: Vec<Message>,
    /// Of results of tools: they follow all results, because a message of a tool can only have text.
    images: Vec<Part>,
}

impl Reading {
    /// `at`: which message it is, from 1.
    fn take(&mut self, message: wire::Message<'_>, at: usize) -> Result<(), Refused> {
        let role = role(message.role.as_deref().unwrap_or_default(), at)?;
        let text = message.content.unwrap_or_default();
        let images = parts(message.images, &format!(" of message {at}"))?;
        if role == "tool" {
            let id = self.ids.answered(some(message.tool_call_id), message.tool_name.as_deref());
            self.images.extend(images);
            self.said.push(Message { call_id: Some(id), ..Message::text("tool", text) });
            return Ok(());
        }
        self.show_images();
        let calls = self.calls(message.tool_calls.unwrap_or_default(), at)?;
        let content = match text.is_empty() && images.is_empty() && !calls.is_empty() {
            true => Content::Nothing,
            false => content(text, images),
        };
        let thoughts = some(message.thinking);
        self.said.push(Message { role, content, thoughts, calls, call_id: None });
        Ok(())
    }

    fn calls(&mut self, calls: Vec<wire::Call<'_>>, at: usize) -> Result<Vec<CallOut>, Refused> {
        let mut read = vec![];
        for call in calls {
            let (name, arguments) =
                call.function.map(|called| (called.name, called.arguments)).unwrap_or_default();
            let Some(name) = some(name) else {
                let message = format!("A call of a tool in message {at} has no name.");
                return Err(Refused::invalid(message).about("messages"));
            };
            let id = self.ids.called(some(call.id), &name);
            read.push(CallOut { id, name, arguments: text_of(arguments) });
        }
        Ok(read)
    }

    fn show_images(&mut self) {
        if !self.images.is_empty() {
            let content = Content::Parts(std::mem::take(&mut self.images));
            self.said.push(Message { role: "user", content, ..Message::default() });
        }
    }
}

/// Ollama lets any role through to the template of the model. Chat has these; a word under another's name would be a lie.
fn role(role: &str, at: usize) -> Result<&'static str, Refused> {
    match role.to_ascii_lowercase().as_str() {
        "system" | "developer" => Ok("system"),
        "user" => Ok("user"),
        "assistant" => Ok("assistant"),
        "tool" => Ok("tool"),
        "" => Err(Refused::invalid(format!("Message {at} has no role.")).about("messages")),
        _ => {
            let message =
                format!("Message {at} has the role \"{role}\"; known are system, user, assistant and tool.");
            Err(Refused::unsupported(message).about("messages"))
        }
    }
}

fn parts(images: Option<Vec<Option<String>>>, place: &str) -> Result<Vec<Part>, Refused> {
    let images = images.into_iter().flatten().enumerate().filter_map(|(at, image)| Some((at, image?)));
    images
        .map(|(at, image)| images::address(&image, &format!("“images[{at}]”{place}")).map(Part::image))
        .collect()
}

fn content(text: String, images: Vec<Part>) -> Content {
    if images.is_empty() {
        return Content::Text(text);
    }
    let text = (!text.is_empty()).then(|| Part::text(text));
    Content::Parts(text.into_iter().chain(images).collect())
}

/// Arguments as the text of a JSON document: as the client wrote them, or the text itself where it sends them as one.
fn text_of(arguments: Option<&RawValue>) -> String {
    let text = arguments.map(RawValue::get).unwrap_or_default();
    let text = match serde_json::from_str::<String>(text) {
        Ok(inner) => inner,
        Err(_) => text.to_owned(),
    };
    if text.trim().is_empty() { "{}".to_owned() } else { text }
}

/// Ids of calls. One that a client does not tell is made of the place of its call alone, so that it stays the same from turn to
/// turn; of nine letters and digits, because templates of Mistral's models take no other.
#[derive(Default)]
struct Ids {
    taken: BTreeSet<String>,
    made: usize,
    /// Calls that no result has come for: id and name.
    open: VecDeque<(String, String)>,
    /// A result has come since the last call.
    answering: bool,
}

impl Ids {
    fn make(&mut self) -> String {
        loop {
            self.made += 1;
            let id = format!("call{:05}", self.made);
            if self.taken.insert(id.clone()) {
                return id;
            }
        }
    }

    fn called(&mut self, id: Option<String>, name: &str) -> String {
        if std::mem::take(&mut self.answering) {
            // Those of turns before will not be answered any more.
            self.open.clear();
        }
        let id = id.unwrap_or_else(|| self.make());
        self.open.push_back((id.clone(), name.to_owned()));
        id
    }

    /// The call that a result belongs to: the one it names, else the first open one of that tool, else the first open one.
    fn answered(&mut self, id: Option<String>, name: Option<&str>) -> String {
        self.answering = true;
        if let Some(id) = id {
            self.open.retain(|(open, _)| *open != id);
            return id;
        }
        let of_tool = self.open.iter().position(|(_, tool)| Some(tool.as_str()) == name);
        match self.open.remove(of_tool.unwrap_or(0)) {
            Some((id, _)) => id,
            None => self.make(),
        }
    }
}

/// Tools that are functions with a name; what else a client offers cannot be called here.
pub(super) fn tools(tools: Vec<&RawValue>) -> Vec<ToolOut> {
    let read = |raw: &RawValue| {
        let wire::Tool { kind, function } = serde_json::from_str(raw.get()).ok()?;
        let function =
            function.filter(|_| kind.as_deref().is_none_or(|kind| kind == "function" || kind.is_empty()))?;
        Some(ToolOut {
            function: crate::chat::Function {
                name: some(function.name)?,
                description: some(function.description),
                parameters: function.parameters.map(RawValue::to_owned),
                strict: None,
            },
        })
    };
    tools.into_iter().filter_map(read).collect()
}

#[cfg(test)]
#[path = "messages_tests.rs"]
mod tests;
