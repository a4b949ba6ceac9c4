//! Answers to a prompt that goes to the model as it is.

use super::wire::CompletionEvent;
use crate::{
    GenerateEvent,
    http::{Line, error_text, sse_data},
    reading::{AnswerReader, Document},
};
use pilothouse_domain::error::{ApiError, ErrorCode};

/// An answer of `/completion`: events, the last of which says `stop`, or one document.
#[derive(Default)]
pub(super) struct CompletionAnswer {
    streams: bool,
    document: Document,
}

impl AnswerReader for CompletionAnswer {
    fn line(&mut self, line: &Line) -> Result<Option<GenerateEvent>, ApiError> {
        if let Some(said) = line.text.strip_prefix("error:").and_then(|rest| error_text(rest.as_bytes())) {
            return Err(ApiError::new(ErrorCode::ServerError, format!("llama-server: {said}")));
        }
        let Some(data) = sse_data(&line.text) else {
            if !self.streams {
                self.document.keep(&line.text)?;
            }
            return Ok(None);
        };
        self.streams = true;
        // Only the other APIs have a closing mark.
        if data == "[DONE]" { Ok(None) } else { completion_event(line.at, data) }
    }

    fn end(&mut self, at: std::time::Instant) -> Result<Option<GenerateEvent>, ApiError> {
        self.document.take().map_or(Ok(None), |document| completion_event(at, &document))
    }
}

fn completion_event(at: std::time::Instant, data: &str) -> Result<Option<GenerateEvent>, ApiError> {
    if let Some(said) = error_text(data.as_bytes()) {
        return Err(ApiError::new(ErrorCode::ServerError, format!("llama-server: {said}")));
    }
    let event: CompletionEvent = serde_json::from_str(data).map_err(|_| not_understood())?;
    let end = event.stop.then(|| {
        // It has words of its own for what every other answer calls "stop" and "length".
        let finish = event.stop_type.map(|word| match word.as_str() {
            "eos" | "word" => "stop".into(),
            "limit" => "length".into(),
            _ => word,
        });
        event.timings.unwrap_or_default().end(finish)
    });
    // The name that it gives is the one that it was asked by.
    Ok(Some(GenerateEvent { at, text: event.content, model: None, end }))
}

fn not_understood() -> ApiError {
    ApiError::new(ErrorCode::BadAnswer, "llama-server sent an event that is not understood.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Result<Option<GenerateEvent>, ApiError> {
        CompletionAnswer::default().line(&Line { at: std::time::Instant::now(), text: text.into() })
    }

    #[test]
    fn the_last_event_carries_counts_and_rates() {
        let last = |word: &str| {
            let text = format!(
                r#"data: {{"content":"","stop":true,"stop_type":"{word}","timings":{{"cache_n":2,"prompt_n":8,"prompt_ms":100.0,"predicted_n":65,"predicted_ms":800.0,"draft_n":0}}}}"#
            );
            event(&text).unwrap().unwrap().end.unwrap()
        };
        let end = last("limit");
        assert_eq!(end.finish.as_deref(), Some("length"));
        for word in ["eos", "word", "stop"] {
            assert_eq!(last(word).finish.as_deref(), Some("stop"));
        }
        assert_eq!((end.output_tokens, end.prompt_tokens, end.cached_tokens), (Some(65), Some(10), Some(2)));
        assert_eq!((end.decode_tok_s, end.prefill_tok_s), (Some(80.0), Some(80.0)));
    }

    #[test]
    fn an_error_inside_a_stream_is_an_error() {
        let text = r#"data: {"error":{"code":500,"message":"out of slots"}}"#;
        assert_eq!(event(text).unwrap_err().message, "llama-server: out of slots");
        assert!(event("data: {\"content\":").is_err());
        assert!(event(": ping").unwrap().is_none());
        assert!(event("data: [DONE]").unwrap().is_none());
    }
}
