//! What `/api/chat` and `/api/generate` ask.

use super::{
    LINES,
    answer::{self, Teller, Way},
    images, messages,
    options::{self, Format, Governed, KeepAlive, Options},
    wire::{self, Wire, some},
    written,
};
use crate::{
    Answer, Question, Refused, Telling,
    chat::{Body, Content, Message, Part, Speaks, ToolOut},
};
use pilothouse_domain::server::ServerKind;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;

/// A request of either kind.
#[derive(Debug)]
pub struct Asked {
    way: Way,
    model: Option<String>,
    streams: bool,
    said: Said,
    tools: Vec<ToolOut>,
    options: Options,
    format: Option<Format>,
    effort: Option<&'static str>,
    /// How many others are wanted beside each token.
    logprobs: Option<i64>,
    governed: Vec<Governed>,
}

#[derive(Debug)]
enum Said {
    /// Nothing: its model is to be loaded or unloaded.
    Nothing,
    Messages(Vec<Message>),
    /// A text that no template is put around.
    Raw(String),
    /// The text before and behind a gap.
    Gap {
        before: String,
        behind: String,
    },
}

/// Reads the body of `/api/chat`.
pub fn read_chat(body: &[u8]) -> Result<Asked, Refused> {
    let mut wire: Wire<'_> = wire::read(body)?;
    let said = match messages::read(wire.messages.take().unwrap_or_default())? {
        messages if messages.is_empty() => Said::Nothing,
        messages => Said::Messages(messages),
    };
    read(wire, Way::Chat, said)
}

/// Reads the body of `/api/generate`.
pub fn read_generate(body: &[u8]) -> Result<Asked, Refused> {
    let mut wire: Wire<'_> = wire::read(body)?;
    wire.tools = None;
    let (system, suffix) = (some(wire.system.take()), some(wire.suffix.take()));
    let images = wire.images.take();
    let raw = wire.raw.unwrap_or_default();
    for (has, name) in [
        (some(wire.template.take()).is_some(), "template"),
        (wire.context.take().is_some_and(|tokens| !tokens.is_empty()), "context"),
        (raw && system.is_some(), "system"),
    ] {
        if has && raw {
            return Err(
                Refused::invalid("raw mode does not support template, system, or context").about(name)
            );
        }
        if has {
            let message = format!(
                "“{name}” cannot be had here: servers keep their models' templates to themselves. Use /api/chat."
            );
            return Err(Refused::unsupported(message).about(name));
        }
    }
    let said = match (some(wire.prompt.take()), suffix) {
        (None, _) => Said::Nothing,
        (Some(prompt), suffix) if raw || suffix.is_some() => {
            let has_images = images.is_some_and(|images| images.iter().any(Option::is_some));
            let is_formed = wire.format.is_some_and(|raw| !matches!(raw.get(), "\"\""));
            let logprobs = wire.logprobs.unwrap_or_default();
            only_text(raw, [(has_images, "images"), (is_formed, "format"), (logprobs, "logprobs")])?;
            match suffix.filter(|_| !raw) {
                Some(behind) => Said::Gap { before: prompt, behind },
                // As Ollama: a raw text is taken as it is.
                None => Said::Raw(prompt),
            }
        }
        (Some(prompt), _) => Said::Messages(messages::prompt(system, prompt, images)?),
    };
    read(wire, Way::Generate, said)
}

/// What a text that is only completed cannot have.
fn only_text(raw: bool, others: [(bool, &'static str); 3]) -> Result<(), Refused> {
    let with = if raw { "raw" } else { "suffix" };
    match others.into_iter().find(|(has, _)| *has) {
        Some((_, name)) => {
            Err(Refused::unsupported(format!("“{name}” cannot be had together with “{with}”.")).about(name))
        }
        None => Ok(()),
    }
}

fn read(wire: Wire<'_>, way: Way, said: Said) -> Result<Asked, Refused> {
    let top = wire.top_logprobs.unwrap_or_default();
    if !(0..=20).contains(&top) {
        return Err(Refused::invalid("top_logprobs must be between 0 and 20").about("top_logprobs"));
    }
    if wire.renders_only == Some(true) {
        let message =
            "“_debug_render_only” cannot be had here: servers keep their models' templates to themselves.";
        return Err(Refused::unsupported(message).about("_debug_render_only"));
    }
    let (options, governed) = options::read(wire.options.as_ref(), wire.keep_alive)?;
    Ok(Asked {
        way,
        model: some(wire.model),
        streams: wire.stream.unwrap_or(true),
        said,
        tools: messages::tools(wire.tools.unwrap_or_default()),
        options,
        format: wire.format.map(Format::read).transpose()?.flatten(),
        effort: wire.think.map(options::effort).transpose()?,
        logprobs: wire.logprobs.unwrap_or_default().then_some(top),
        governed,
    })
}

impl Asked {
    /// What it says about loading its model; never sent on.
    pub fn governed(&self) -> &[Governed] {
        &self.governed
    }

    /// It only wants its model to be there. Answered with [`Asked::nothing_document`] once it is.
    pub fn is_load(&self) -> bool {
        matches!(self.said, Said::Nothing) && !self.is_unload()
    }

    /// It only wants its model gone. Answered with [`Asked::nothing_document`] at once.
    pub fn is_unload(&self) -> bool {
        let lets_go = self.governed.contains(&Governed::KeepAlive(KeepAlive::Not));
        matches!(self.said, Said::Nothing) && lets_go
    }

    /// The answer to a request that says nothing, one document (`application/json`) though it may want a stream.
    pub fn nothing_document(&self, telling: &Telling) -> Vec<u8> {
        let reason = if self.is_unload() { "unload" } else { "load" };
        answer::nothing(self.way, self.model.as_deref().unwrap_or_default(), telling, reason)
    }

    fn body(&self, said: &[Message], speaks: Speaks) -> Result<Body, Refused> {
        for part in said.iter().flat_map(parts) {
            can_see(part, speaks)?;
        }
        let mut same = self.options.same(speaks);
        if let Some(top) = self.logprobs {
            same.extend(raw("true").map(|raw| ("logprobs", raw)));
            same.extend(raw(&top.to_string()).filter(|_| top > 0).map(|raw| ("top_logprobs", raw)));
        }
        Ok(Body {
            messages: said.to_vec(),
            tools: self.tools.clone(),
            max_tokens: self.options.max_tokens,
            stop: self.options.stop.clone(),
            response_format: self.format.as_ref().and_then(|format| format.response_format(speaks.kind)),
            reasoning_effort: self.effort.map(str::to_owned),
            same,
            ..Body::default()
        })
    }

    fn completion(&self, model: &str, prompt: &str, suffix: Option<&str>, speaks: Speaks) -> Vec<u8> {
        written(&Completion { asked: self, model, prompt, suffix, speaks })
    }
}

fn raw(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(text.to_owned()).ok()
}

fn parts(message: &Message) -> &[Part] {
    match &message.content {
        Content::Parts(parts) => parts,
        _ => &[],
    }
}

fn can_see(part: &Part, speaks: Speaks) -> Result<(), Refused> {
    let Part::ImageUrl { image_url } = part else { return Ok(()) };
    let why = if images::is_web(&image_url.url) && !speaks.fetches_images {
        "An address in “images” is not fetched; send the image itself as base64."
    } else if image_url.url.starts_with("data:image/gif") && speaks.kind == ServerKind::Ollama {
        "Ollama takes no GIF in “images”; send PNG, JPEG or WebP."
    } else {
        return Ok(());
    };
    Err(Refused::unsupported(why).about("images"))
}

impl Question for Asked {
    fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    fn streams(&self) -> bool {
        self.streams
    }

    fn most_output(&self) -> Option<u64> {
        self.options.max_tokens
    }

    fn chat(&self, model: &str, speaks: Speaks) -> Result<Vec<u8>, Refused> {
        match &self.said {
            Said::Nothing => Err(Refused::invalid("There is nothing to answer: no prompt and no messages.")),
            Said::Messages(messages) => Ok(self.body(messages, speaks)?.written(model, speaks)),
            // Ollama puts its template around a prompt of `/v1/completions`.
            Said::Raw(_) if speaks.kind == ServerKind::Ollama => {
                let message = "“raw” cannot be had of Ollama at this address; ask Ollama itself.";
                Err(Refused::unsupported(message).about("raw"))
            }
            Said::Raw(prompt) => Ok(self.completion(model, prompt, None, speaks)),
            // llama-server refuses a suffix, LM Studio passes over it.
            Said::Gap { .. } if matches!(speaks.kind, ServerKind::LlamaServer | ServerKind::LmStudio) => {
                let message = "“suffix” cannot be had: the server of this model fills no gaps in a text.";
                Err(Refused::unsupported(message).about("suffix"))
            }
            Said::Gap { before, behind } => Ok(self.completion(model, before, Some(behind), speaks)),
        }
    }

    fn path(&self) -> &'static str {
        match self.said {
            Said::Raw(_) | Said::Gap { .. } => "completions",
            Said::Nothing | Said::Messages(_) => "chat/completions",
        }
    }

    fn content_type(&self) -> &'static str {
        LINES
    }

    fn answer(&self, telling: Telling) -> Box<dyn Answer> {
        let model = self.model.clone().unwrap_or_default();
        Box::new(Teller::new(self.way, model, &telling, self.streams))
    }
}

/// The body for `POST /completions`.
struct Completion<'a> {
    asked: &'a Asked,
    model: &'a str,
    prompt: &'a str,
    suffix: Option<&'a str>,
    speaks: Speaks,
}

impl Serialize for Completion<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { asked, model, prompt, suffix, speaks } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("model", model)?;
        map.serialize_entry("prompt", prompt)?;
        if let Some(suffix) = suffix {
            map.serialize_entry("suffix", suffix)?;
        }
        if let Some(most) = asked.options.max_tokens {
            map.serialize_entry("max_tokens", &most)?;
        }
        if !asked.options.stop.is_empty() {
            map.serialize_entry("stop", &asked.options.stop)?;
        }
        for (name, value) in asked.options.same(*speaks) {
            map.serialize_entry(name, &value)?;
        }
        map.serialize_entry("stream", &true)?;
        map.serialize_entry("stream_options", &serde_json::json!({ "include_usage": true }))?;
        map.end()
    }
}
