//! A whole request.

use super::{
    answer::{Limits, Teller},
    blocks::Notes,
    estimate::estimate,
    object::{Object, Said},
    tools::{read_thinking, read_tools},
    turns::Turns,
};
use crate::{
    Answer, Question, Refused, Telling,
    chat::{Body, Speaks},
};
use serde_json::value::RawValue;

/// Fields that are read. Others are dropped and told.
const READ: [&str; 17] = [
    "model",
    "messages",
    "system",
    "max_tokens",
    "stop_sequences",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "output_format",
    "metadata",
    // They are about Anthropic's own caches and queues, and nothing is lost without them.
    "cache_control",
    "service_tier",
];

/// A request for a message.
#[derive(Debug)]
pub struct Asked {
    pub(super) body: Body,
    model: Option<String>,
    user: Option<String>,
    streams: bool,
    web_images: Vec<String>,
    dropped: Vec<String>,
    limits: Limits,
}

/// Reads the body of `POST /v1/messages`. `mask_billing`: the text by which Claude Code tells Anthropic what to bill, which changes
/// with each request, is left out. Errors: what is no request for a message, or asks by name for what no server here has.
pub fn read(body: &[u8], mask_billing: bool) -> Result<Asked, Refused> {
    let asked = read_prompt(body, mask_billing)?;
    if asked.limits.max_tokens.is_none() {
        return Err(Refused::invalid("Field required").about("max_tokens"));
    }
    Ok(asked)
}

/// The same, whether or not it says how long the answer may be.
pub(super) fn read_prompt(body: &[u8], mask_billing: bool) -> Result<Asked, Refused> {
    let text = std::str::from_utf8(body).map_err(|_| Refused::invalid("The body is not UTF-8."))?;
    let request = Object::read(text, "")?;
    let mut notes = Notes::default();
    for name in request.names().filter(|name| !READ.contains(name)) {
        notes.dropped.insert(name.to_owned());
    }
    let mut turns = Turns::new(&mut notes, mask_billing);
    turns.system(Said::read(&request, "system")?)?;
    let no_turns = || Refused::invalid("At least one message is required").about("messages");
    match Said::read(&request, "messages")?.ok_or_else(no_turns)? {
        Said::Blocks(all) if !all.is_empty() => {
            for turn in &all {
                turns.turn(turn)?;
            }
        }
        _ => return Err(no_turns()),
    }
    let mut body = Body { messages: turns.finish(), ..Body::default() };
    read_tools(&request, &mut body, &mut notes)?;
    let hides_thoughts = read_thinking(&request, &mut body, &mut notes)?;
    read_sampling(&request, &mut body)?;
    let max_tokens = request.get::<u64>("max_tokens")?;
    // Nought asks for the prompt to be computed and nothing more. Ollama takes it for no limit at all.
    body.max_tokens = max_tokens.map(|most| most.max(1));
    let metadata = request.object("metadata")?;
    Ok(Asked {
        model: request.get("model")?,
        user: metadata.and_then(|metadata| metadata.get("user_id").ok().flatten()),
        streams: request.get("stream")?.unwrap_or(false),
        web_images: notes.web_images,
        dropped: notes.dropped.into_iter().collect(),
        limits: Limits {
            max_tokens,
            stop: body.stop.clone(),
            hides_thoughts,
            prompt_estimate: estimate(&body),
        },
        body,
    })
}

fn read_sampling(request: &Object<'_>, body: &mut Body) -> Result<(), Refused> {
    let stop: Vec<String> = request.get("stop_sequences")?.unwrap_or_default();
    body.stop = stop.into_iter().filter(|stop| !stop.is_empty()).collect();
    for name in ["temperature", "top_p", "top_k"] {
        if request.get::<f64>(name)?.is_some() {
            body.same.extend(request.raw(name).map(|raw| (name, RawValue::to_owned(raw))));
        }
    }
    Ok(())
}

impl Asked {
    /// What was asked and has no place in chat: for logs and records.
    pub fn dropped(&self) -> &[String] {
        &self.dropped
    }

    /// `metadata.user_id`: who the client says that it asks for.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Tokens of the prompt, guessed from its bytes (see [`super::Count::estimate`]).
    pub fn estimate(&self) -> u64 {
        self.limits.prompt_estimate
    }

    /// Errors: it has something that this server cannot be asked.
    pub(super) fn check(&self, speaks: Speaks) -> Result<(), Refused> {
        match self.web_images.first() {
            Some(at) if !speaks.fetches_images => {
                let message = format!(
                    "{} does not fetch images from the web. Send the image as base64 data.",
                    speaks.kind.title()
                );
                Err(Refused::unsupported(message).about(format!("{at}.source")))
            }
            _ => Ok(()),
        }
    }
}

impl Question for Asked {
    fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    fn streams(&self) -> bool {
        self.streams
    }

    fn most_output(&self) -> Option<u64> {
        self.limits.max_tokens
    }

    fn chat(&self, model: &str, speaks: Speaks) -> Result<Vec<u8>, Refused> {
        self.check(speaks)?;
        Ok(self.body.written(model, speaks))
    }

    fn answer(&self, telling: Telling) -> Box<dyn Answer> {
        let model = self.model.clone().unwrap_or_default();
        Box::new(Teller::new(&telling, model, self.streams, self.limits.clone()))
    }
}
