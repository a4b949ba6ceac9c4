use super::wire::{Chunk, Usage};
use crate::{
    GenerateEnd, GenerateEvent,
    http::{Line, error_text, sse_data},
};
use pilothouse_domain::error::{ApiError, ErrorCode};

/// A streamed answer in OpenAI's shape. The usage comes after the last piece, in a chunk without choices; `[DONE]` closes
/// the answer.
pub struct OpenAiAnswer {
    title: String,
    finish: Option<String>,
    usage: Option<Usage>,
}

impl OpenAiAnswer {
    /// `title`: the server's name in errors.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), finish: None, usage: None }
    }

    pub fn event(&mut self, line: &Line) -> Result<Option<GenerateEvent>, ApiError> {
        let Some(data) = sse_data(&line.text) else {
            return Ok(None);
        };
        if data == "[DONE]" {
            let usage = self.usage;
            let end = GenerateEnd {
                finish: self.finish.take(),
                output_tokens: usage.and_then(|usage| usage.completion_tokens),
                prompt_tokens: usage.and_then(|usage| usage.prompt_tokens),
                cached_tokens: usage.and_then(|usage| usage.prompt_tokens_details?.cached_tokens),
                ..GenerateEnd::default()
            };
            return Ok(Some(GenerateEvent { at: line.at, text: String::new(), end: Some(end) }));
        }
        if let Some(said) = error_text(data.as_bytes()) {
            return Err(ApiError::new(ErrorCode::ServerError, format!("{}: {said}", self.title)));
        }
        let chunk: Chunk = serde_json::from_str(data).map_err(|_| {
            let text = format!("{} sent an event that is not understood.", self.title);
            ApiError::new(ErrorCode::BadAnswer, text)
        })?;
        self.usage = chunk.usage.or(self.usage);
        let Some(choice) = chunk.choices.into_iter().next() else {
            return Ok(None);
        };
        self.finish = choice.finish_reason.or(self.finish.take());
        let delta = choice.delta;
        let text =
            choice.text.or(delta.content).or(delta.reasoning_content).or(delta.reasoning).unwrap_or_default();
        Ok(Some(GenerateEvent { at: line.at, text, end: None }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn pieces_usage_and_errors_are_told_apart() {
        let mut answer = OpenAiAnswer::new("Studio");
        let mut read = |text: &str| answer.event(&Line { at: Instant::now(), text: text.into() });
        assert!(read(": keep-alive").unwrap().is_none());
        let piece = read(r#"data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":null}]}"#);
        assert_eq!(piece.unwrap().unwrap().text, "Hi");
        read(r#"data: {"choices":[{"delta":{},"finish_reason":"length"}]}"#).unwrap();
        let usage = r#"data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":8}}}"#;
        assert!(read(usage).unwrap().is_none());
        let end = read("data: [DONE]").unwrap().unwrap().end.unwrap();
        assert_eq!(
            (end.finish.as_deref(), end.output_tokens, end.cached_tokens),
            (Some("length"), Some(1), Some(8))
        );
        let refused = read(r#"data: {"error":{"message":"no such model","type":"x"}}"#).unwrap_err();
        assert_eq!(refused.message, "Studio: no such model");
        assert_eq!(read("data: {half").unwrap_err().code, ErrorCode::BadAnswer);
    }
}
