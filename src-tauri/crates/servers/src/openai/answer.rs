use super::wire::{Chunk, Timings, Usage};
use crate::{
    GenerateEnd, GenerateEvent,
    http::{Line, error_text, sse_data},
    reading::{AnswerReader, Document},
    rows::first_said,
};
use pilothouse_domain::error::{ApiError, ErrorCode};
use serde_json::Value;
use std::time::Instant;

/// An answer in OpenAI's shape: a stream of events, or one document from a server that does not stream. The usage comes after
/// the last piece, in a chunk without choices; `[DONE]` closes the answer, but not everywhere: one that has told why it ended
/// has ended.
pub struct OpenAiAnswer {
    title: String,
    /// Who answers, as the newest chunk that says so has it.
    model: Option<String>,
    finish: Option<String>,
    usage: Option<Usage>,
    timings: Option<Timings>,
    /// It has come as events so far.
    streams: bool,
    document: Document,
    ended: bool,
}

impl OpenAiAnswer {
    /// `title`: the server's name in errors.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            model: None,
            finish: None,
            usage: None,
            timings: None,
            streams: false,
            document: Document::default(),
            ended: false,
        }
    }

    /// The text of a chunk. `None`: it is none, and of a kind that nobody knows.
    fn text(&mut self, data: &str) -> Result<Option<String>, ApiError> {
        if let Some(said) = error_text(data.as_bytes()) {
            return Err(ApiError::new(ErrorCode::ServerError, format!("{}: {said}", self.title)));
        }
        let value: Value = serde_json::from_str(data).map_err(|_| self.not_understood())?;
        let Ok(chunk) = serde_json::from_value::<Chunk>(value) else { return Ok(None) };
        self.model = chunk.model.filter(|name| !name.is_empty()).or(self.model.take());
        self.usage = chunk.usage.or(self.usage);
        self.timings = chunk.timings.or(self.timings.take());
        let Some(choice) = chunk.choices.rows.into_iter().next() else { return Ok(None) };
        self.finish = choice.finish_reason.filter(|word| !word.is_empty()).or(self.finish.take());
        let (piece, whole) = (choice.delta, choice.message);
        // Empty ones stand beside those that say something.
        Ok(Some(first_said([
            choice.text,
            piece.content,
            piece.reasoning_content,
            piece.reasoning,
            whole.content,
            whole.reasoning_content,
            whole.reasoning,
        ])))
    }

    fn closed(&mut self) -> GenerateEnd {
        self.ended = true;
        let usage = self.usage.unwrap_or_default();
        let timings = self.timings.take().unwrap_or_default();
        let told = timings.end(self.finish.take());
        GenerateEnd {
            output_tokens: usage.completion_tokens.or(told.output_tokens),
            prompt_tokens: usage.prompt_tokens.or(told.prompt_tokens),
            cached_tokens: usage
                .prompt_tokens_details
                .and_then(|details| details.cached_tokens)
                .or(told.cached_tokens),
            ..told
        }
    }

    fn event(&self, at: Instant, text: String, end: Option<GenerateEnd>) -> GenerateEvent {
        GenerateEvent { at, text, model: self.model.clone(), end }
    }

    fn not_understood(&self) -> ApiError {
        let text = format!("{} sent an event that is not understood.", self.title);
        ApiError::new(ErrorCode::BadAnswer, text)
    }
}

impl AnswerReader for OpenAiAnswer {
    fn line(&mut self, line: &Line) -> Result<Option<GenerateEvent>, ApiError> {
        // Earlier builds of llama-server had a field of this name.
        if let Some(said) = line.text.strip_prefix("error:").and_then(|rest| error_text(rest.as_bytes())) {
            return Err(ApiError::new(ErrorCode::ServerError, format!("{}: {said}", self.title)));
        }
        let Some(data) = sse_data(&line.text) else {
            if !self.streams {
                self.document.keep(&line.text)?;
            }
            return Ok(None);
        };
        self.streams = true;
        if data == "[DONE]" {
            let end = Some(self.closed());
            return Ok(Some(self.event(line.at, String::new(), end)));
        }
        Ok(self.text(data)?.map(|text| self.event(line.at, text, None)))
    }

    fn end(&mut self, at: Instant) -> Result<Option<GenerateEvent>, ApiError> {
        if let Some(document) = self.document.take() {
            let text = self.text(&document)?.ok_or_else(|| self.not_understood())?;
            let end = Some(self.closed());
            return Ok(Some(self.event(at, text, end)));
        }
        let closes = !self.ended && self.finish.is_some();
        let end = closes.then(|| self.closed());
        Ok(end.map(|end| self.event(at, String::new(), Some(end))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_usage_and_errors_are_told_apart() {
        let mut answer = OpenAiAnswer::new("Studio");
        let mut read = |text: &str| answer.line(&Line { at: Instant::now(), text: text.into() });
        assert!(read(": keep-alive").unwrap().is_none());
        let piece = read(r#"data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":null}]}"#);
        let piece = piece.unwrap().unwrap();
        assert_eq!((piece.text.as_str(), piece.model), ("Hi", None));
        let named = read(r#"data: {"model":"m:2","choices":[{"delta":{"content":"!"}}]}"#).unwrap().unwrap();
        assert_eq!(named.model.as_deref(), Some("m:2"));
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
