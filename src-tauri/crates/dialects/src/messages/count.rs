//! `POST /v1/messages/count_tokens`.

use super::read::{Asked, read_prompt};
use crate::{Question, Refused, chat::Speaks};

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
