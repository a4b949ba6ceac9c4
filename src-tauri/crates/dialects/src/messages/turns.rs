//! The turns of a conversation, as messages of chat.

use super::{
    bill::without_bill,
    blocks::{Notes, all_parts, parts},
    object::{Object, Said},
};
use crate::{
    Refused,
    chat::{CallOut, Content, Message, Part},
};

/// Collects the messages of a request in order.
pub struct Turns<'n> {
    messages: Vec<Message>,
    /// What the user says and no message has yet: the results of tools come before it, wherever they stand in the turn.
    waiting: Option<Vec<Part>>,
    notes: &'n mut Notes,
    mask_billing: bool,
}

impl<'n> Turns<'n> {
    pub fn new(notes: &'n mut Notes, mask_billing: bool) -> Self {
        Self { messages: vec![], waiting: None, notes, mask_billing }
    }

    /// The `system` of the request, or a message of the system among the others: it stays where it is, for moving it would change
    /// the beginning of the prompt.
    pub fn system(&mut self, said: Option<Said<'_>>) -> Result<(), Refused> {
        self.flush();
        let masked = |text: String| match self.mask_billing {
            true => without_bill(&text).to_owned(),
            false => text,
        };
        let texts: Vec<String> = match said {
            None => vec![],
            Some(Said::Text(text)) => vec![masked(text)],
            Some(said) => {
                let parts = all_parts(Some(said), self.notes)?;
                parts.into_iter().filter_map(text_of).map(masked).collect()
            }
        };
        let text = texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n\n");
        if !text.is_empty() {
            self.messages.push(Message::text("system", text));
        }
        Ok(())
    }

    pub fn turn(&mut self, turn: &Object<'_>) -> Result<(), Refused> {
        let said = Said::read(turn, "content")?;
        match turn.needed::<String>("role")?.as_str() {
            "user" => self.user(said),
            "assistant" => self.assistant(said),
            "system" => self.system(said),
            _ => {
                Err(Refused::invalid("Input should be 'user', 'assistant' or 'system'")
                    .about(turn.at("role")))
            }
        }
    }

    pub fn finish(mut self) -> Vec<Message> {
        self.flush();
        self.messages
    }

    fn flush(&mut self) {
        if let Some(parts) = self.waiting.take() {
            let content = Content::of(parts, "\n");
            self.messages.push(Message { role: "user", content, ..Message::default() });
        }
    }

    /// Turns of the user that follow each other are one, as Anthropic has it.
    fn user(&mut self, said: Option<Said<'_>>) -> Result<(), Refused> {
        let blocks = match said {
            None => return Ok(()),
            Some(Said::Text(text)) => {
                self.waiting.get_or_insert_default().push(Part::text(text));
                return Ok(());
            }
            Some(Said::Blocks(blocks)) => blocks,
        };
        for block in &blocks {
            if block.kind() == "tool_result" {
                self.result(block)?;
            } else if let Some(parts) = parts(block, self.notes)? {
                self.say(parts);
            } else {
                self.notes.drop_block(block);
            }
        }
        Ok(())
    }

    fn say(&mut self, parts: Vec<Part>) {
        if !parts.is_empty() {
            self.waiting.get_or_insert_default().extend(parts);
        }
    }

    /// The result of a tool: its text at once, its images with what the user says after all results.
    fn result(&mut self, block: &Object<'_>) -> Result<(), Refused> {
        let id: String = block.needed("tool_use_id")?;
        let (images, texts): (Vec<Part>, Vec<Part>) = all_parts(Said::read(block, "content")?, self.notes)?
            .into_iter()
            .partition(|part| matches!(part, Part::ImageUrl { .. }));
        let mut text = texts.into_iter().filter_map(text_of).collect::<Vec<_>>().join("\n");
        if !images.is_empty() {
            let line = match images.len() {
                1 => "[1 image: see the next message]".to_owned(),
                many => format!("[{many} images: see the next message]"),
            };
            text = if text.is_empty() { line } else { format!("{text}\n{line}") };
            self.say(
                std::iter::once(Part::text(format!("Of the tool result {id}:"))).chain(images).collect(),
            );
        }
        if block.get::<bool>("is_error")? == Some(true) {
            text = format!("Error: {text}");
        }
        self.messages.push(Message { call_id: Some(id), ..Message::text("tool", text) });
        Ok(())
    }

    fn assistant(&mut self, said: Option<Said<'_>>) -> Result<(), Refused> {
        self.flush();
        let mut turn = Assistant::default();
        match said {
            None => {}
            Some(Said::Text(text)) => turn.text = text,
            Some(Said::Blocks(blocks)) => {
                for block in &blocks {
                    turn.block(block, self.notes)?;
                }
            }
        }
        if turn.text.is_empty() && turn.thoughts.is_empty() && turn.calls.is_empty() {
            return Ok(());
        }
        match self.messages.last_mut().filter(|last| last.role == "assistant") {
            Some(last) => turn.join(last),
            None => self.messages.push(turn.message()),
        }
        Ok(())
    }
}

fn text_of(part: Part) -> Option<String> {
    match part {
        Part::Text { text } => Some(text),
        Part::ImageUrl { .. } => None,
    }
}

/// What an assistant said in one turn. Its texts are put together without anything between: they were one text when the model
/// wrote them.
#[derive(Default)]
struct Assistant {
    text: String,
    thoughts: Vec<String>,
    calls: Vec<CallOut>,
}

impl Assistant {
    fn block(&mut self, block: &Object<'_>, notes: &mut Notes) -> Result<(), Refused> {
        match block.kind().as_str() {
            "thinking" => {
                let thought: String = block.get("thinking")?.unwrap_or_default();
                self.thoughts.extend(Some(thought).filter(|thought| !thought.is_empty()));
            }
            "tool_use" => self.calls.push(CallOut {
                id: block.needed("id")?,
                name: block.needed("name")?,
                arguments: block.raw("input").map_or("{}", |input| input.get()).to_owned(),
            }),
            _ => match parts(block, notes)? {
                Some(parts) => {
                    for part in parts {
                        match part {
                            Part::Text { text } => self.text.push_str(&text),
                            Part::ImageUrl { .. } => notes.drop_block(block),
                        }
                    }
                }
                None => notes.drop_block(block),
            },
        }
        Ok(())
    }

    fn content(&mut self) -> Content {
        match std::mem::take(&mut self.text) {
            text if text.is_empty() && !self.calls.is_empty() => Content::Nothing,
            text => Content::Text(text),
        }
    }

    fn message(mut self) -> Message {
        let thoughts = (!self.thoughts.is_empty()).then(|| self.thoughts.join("\n\n"));
        Message { role: "assistant", content: self.content(), thoughts, calls: self.calls, call_id: None }
    }

    /// Goes on with a turn of the assistant that came right before.
    fn join(self, last: &mut Message) {
        let said = match std::mem::take(&mut last.content) {
            Content::Text(text) => text,
            Content::Nothing | Content::Parts(_) => String::new(),
        };
        let calls = last.calls.drain(..).chain(self.calls).collect();
        let thoughts = last.thoughts.take().into_iter().chain(self.thoughts).collect();
        *last = Self { text: said + &self.text, thoughts, calls }.message();
    }
}
