//! Answers as they are read: from the lines of a body to events, whatever shape the body has.

use crate::{GenerateEvent, GenerateStream, http::Line};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use pilothouse_domain::error::{ApiError, ErrorCode};
use std::time::Instant;

/// The longest answer that comes as one document.
const DOCUMENT_LIMIT: usize = 4 << 20;

/// Makes events of the lines of one answer.
pub trait AnswerReader: Send + 'static {
    fn line(&mut self, line: &Line) -> Result<Option<GenerateEvent>, ApiError>;
    /// The body has ended; its last line came at `at`. Gives what is still to be said.
    fn end(&mut self, _at: Instant) -> Result<Option<GenerateEvent>, ApiError> {
        Ok(None)
    }
}

/// The events of an answer.
pub fn events(
    lines: BoxStream<'static, Result<Line, ApiError>>,
    mut reader: impl AnswerReader,
) -> GenerateStream {
    let mut last = Instant::now();
    let whole = lines.map(Some).chain(stream::once(async { None }));
    let events = whole.flat_map(move |line| {
        let event = match line {
            Some(Ok(line)) => {
                last = line.at;
                reader.line(&line)
            }
            Some(Err(error)) => Err(error),
            None => reader.end(last),
        };
        stream::iter(event.transpose())
    });
    events.boxed()
}

/// A body that is one JSON document although a stream was asked for, collected from its lines.
#[derive(Debug, Default)]
pub struct Document(String);

impl Document {
    /// Keeps a line if it begins or goes on with one. Errors: it is too long.
    pub fn keep(&mut self, line: &str) -> Result<bool, ApiError> {
        if self.0.is_empty() && !line.trim_start().starts_with('{') {
            return Ok(false);
        }
        if self.0.len() + line.len() > DOCUMENT_LIMIT {
            return Err(ApiError::new(ErrorCode::BadAnswer, "The server sent an answer without end."));
        }
        self.0.push_str(line);
        self.0.push('\n');
        Ok(true)
    }

    /// The whole of it. `None`: there was none.
    pub fn take(&mut self) -> Option<String> {
        Some(std::mem::take(&mut self.0)).filter(|text| !text.is_empty())
    }
}
