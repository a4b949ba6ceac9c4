//! `POST /v1/messages/count_tokens`.

use super::read::{Asked, read_prompt};
use crate::{
    Question, Refused,
    chat::{Body, Content, Message, Part, Speaks},
};

/// A prompt whose tokens are to be counted.
#[derive(Debug)]
pub struct Count {
    asked: Asked,
}

/// Reads the body of `POST /v1/messages/count_tokens`: that of a request for a message, `max_tokens` not needed. Errors as of
/// [`super::read`].
pub fn count(body: &[u8], mask_billing: bool) -> Result<Count, Refused> {
    Ok(Count { asked: read_prompt(body, mask_billing)? })
}

impl Count {
    pub fn model(&self) -> Option<&str> {
        self.asked.model()
    }

    /// A body of chat with the same prompt, for a server that counts what such a body holds. Errors as of [`Question::chat`].
    pub fn chat(&self, model: &str, speaks: Speaks) -> Result<Vec<u8>, Refused> {
        self.asked.check(speaks)?;
        Ok(self.asked.body.counted(model, speaks))
    }

    /// Tokens, guessed from the bytes of the prompt, for a server that cannot count: an estimate, to be called one wherever it is
    /// shown. Four bytes of text are a token (OpenAI, "What are tokens and how to count them"), three of JSON, whose brackets and
    /// quotes are tokens of their own; four tokens go with each message for its role and its ends (OpenAI Cookbook, "How to count
    /// tokens with tiktoken"); an image is 1,600 (Anthropic, "Vision": the largest that is not scaled down).
    pub fn estimate(&self) -> u64 {
        self.asked.estimate()
    }
}

/// The answer to it.
pub fn counted(tokens: u64) -> Vec<u8> {
    format!(r#"{{"input_tokens":{tokens}}}"#).into_bytes()
}

const BYTES_OF_TEXT: usize = 4;
const BYTES_OF_JSON: usize = 3;
const TOKENS_OF_MESSAGE: usize = 4;
const TOKENS_OF_IMAGE: usize = 1_600;

/// See [`Count::estimate`].
pub(super) fn estimate(body: &Body) -> u64 {
    let messages: usize = body.messages.iter().map(of_message).sum();
    let tools = body.tools.iter().map(|tool| {
        let function = &tool.function;
        let text = function.name.len() + function.description.as_ref().map_or(0, String::len);
        let schema = function.parameters.as_ref().map_or(0, |schema| schema.get().len());
        TOKENS_OF_MESSAGE + text.div_ceil(BYTES_OF_TEXT) + schema.div_ceil(BYTES_OF_JSON)
    });
    let format = body.response_format.as_ref().map_or(0, |format| format.get().len());
    (messages + tools.sum::<usize>() + format.div_ceil(BYTES_OF_JSON)) as u64
}

fn of_message(message: &Message) -> usize {
    let (text, images) = match &message.content {
        Content::Nothing => (0, 0),
        Content::Text(text) => (text.len(), 0),
        Content::Parts(parts) => parts.iter().fold((0, 0), |(text, images), part| match part {
            Part::Text { text: more } => (text + more.len(), images),
            Part::ImageUrl { .. } => (text, images + 1),
        }),
    };
    let thoughts = message.thoughts.as_ref().map_or(0, String::len);
    let calls = message.calls.iter().map(|call| call.name.len() + call.arguments.len()).sum::<usize>();
    TOKENS_OF_MESSAGE
        + (text + thoughts).div_ceil(BYTES_OF_TEXT)
        + calls.div_ceil(BYTES_OF_JSON)
        + images * TOKENS_OF_IMAGE
}
