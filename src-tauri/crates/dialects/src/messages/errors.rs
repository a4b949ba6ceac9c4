//! Errors, in Anthropic's form.

use super::events::{Reason, Refusal};
use crate::Refused;

/// The status that says it in this dialect: a server that has too much to do is 529, and 409 would be tried again at once.
pub fn status(refused: &Refused) -> u16 {
    match refused.status {
        503 => 529,
        409 => 400,
        408 => 504,
        status => status,
    }
}

/// The word for it (platform.claude.com/docs/en/api/errors).
pub(super) fn kind(refused: &Refused) -> &'static str {
    match status(refused) {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// Begins what is said of a prompt that is longer than the context. Claude Code finds by these words that it has to compact.
const TOO_LONG: &str = "prompt is too long";

/// The words for people: with the field before, as Anthropic has it.
pub(super) fn message(refused: &Refused) -> String {
    let Refused { code, message, param, .. } = refused;
    // OpenAI's word for it, and llama-server's.
    if matches!(code.as_str(), "context_length_exceeded" | "exceed_context_size_error") {
        return if message.starts_with(TOO_LONG) {
            message.clone()
        } else {
            format!("{TOO_LONG}: {message}")
        };
    }
    match param {
        Some(param) if !message.starts_with(param.as_str()) => format!("{param}: {message}"),
        _ => message.clone(),
    }
}

/// The body of an answer that is an error; its status is [`status`]. `request_id` stands in the header `request-id` as well.
pub fn error_document(refused: &Refused, request_id: &str) -> Vec<u8> {
    let message = message(refused);
    let reason = Reason { kind: kind(refused), message: &message };
    // A document of strings can always be written.
    serde_json::to_vec(&Refusal::new(reason, Some(request_id))).unwrap_or_default()
}

/// A prompt of so many tokens does not fit a context of so many.
pub fn too_long(prompt_tokens: u64, context: u64) -> Refused {
    let message = format!(
        "{TOO_LONG}: {prompt_tokens} tokens > {context} maximum. The model has room for {context} tokens as it is loaded: shorten the conversation, or load it with a longer context."
    );
    Refused::new(400, "context_length_exceeded", message)
}
