//! Errors as this API tells them.

use crate::Refused;
use serde_json::json;

/// What a program that asked for a context that is too long looks for; Codex makes its conversation shorter then.
const TOO_LONG: &str = "context_length_exceeded";

/// The code of an error. Servers have their own words for a prompt that is too long.
pub fn code(why: &Refused) -> &str {
    let message = why.message.to_ascii_lowercase();
    let too_long = matches!(why.code.as_str(), TOO_LONG | "exceed_context_size_error")
        || message.contains("exceeds the available context size")
        || message.contains("greater than the context length");
    match why.code.as_str() {
        _ if too_long => TOO_LONG,
        // "server_is_overloaded" would say it more clearly, but Codex gives up at that and tries again at others.
        "overloaded_error" => "server_error",
        "rate_limit_error" => "rate_limit_exceeded",
        "" => "server_error",
        code => code,
    }
}

/// The type of an error, by its status.
pub fn kind(why: &Refused) -> &'static str {
    match why.status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        400..500 => "invalid_request_error",
        _ => "server_error",
    }
}

/// The body that says a refusal; its status goes with it.
pub fn error_document(why: &Refused) -> Vec<u8> {
    let error = json!({ "message": why.message, "type": kind(why), "param": why.param, "code": code(why) });
    json!({ "error": error }).to_string().into_bytes()
}
