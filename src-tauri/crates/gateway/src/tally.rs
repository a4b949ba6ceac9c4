//! The figures at the end of an answer that is handed on as bytes: how many events it had, and what its last ones say of tokens.

use pilothouse_dialects::chat::{Chunk, Finish, Usage};
use serde_json::Value;

/// As much as the last events of a stream have, or a document behind its texts: `usage`, `timings`, the reason of the end.
const TAIL: usize = 4 << 10;

/// Watches what is passed on. Only its end is kept, for as long as the answer lasts.
#[derive(Debug, Default)]
pub(super) struct Tally {
    tail: Vec<u8>,
    /// Nothing is missing before the tail.
    whole: bool,
    begun: bool,
}

impl Tally {
    /// Takes note of a piece. How many events it has begun.
    pub fn passed(&mut self, piece: &[u8]) -> usize {
        self.whole |= !self.begun;
        self.begun = true;
        if self.tail.len() + piece.len() > 2 * TAIL {
            let from_piece = piece.len().min(TAIL);
            let keep = TAIL - from_piece;
            self.tail.drain(..self.tail.len().saturating_sub(keep));
            self.tail.extend_from_slice(&piece[piece.len() - from_piece..]);
            self.whole = false;
        } else {
            self.tail.extend_from_slice(piece);
        }
        memchr::memmem::find_iter(piece, b"data:").count()
    }

    /// Tokens, and why it ended, as far as its end says so.
    pub fn end(&self, is_stream: bool) -> (Option<Usage>, Option<Finish>) {
        if !is_stream {
            return self.of_document();
        }
        let text = String::from_utf8_lossy(&self.tail);
        let (mut usage, mut finish) = (None::<Usage>, None);
        for data in text.lines().filter_map(|line| line.strip_prefix("data:")) {
            let Some(chunk) = serde_json::from_str(data).ok().and_then(|said: Value| Chunk::read(&said))
            else {
                continue;
            };
            if let Some(newer) = chunk.usage {
                usage.get_or_insert_default().update(&newer);
            }
            finish = chunk.finish.or(finish);
        }
        (usage, finish)
    }

    /// A document is mostly longer than what is kept of it, and then only its last fields are read.
    fn of_document(&self) -> (Option<Usage>, Option<Finish>) {
        if self.whole
            && let Ok(said) = serde_json::from_slice::<Value>(&self.tail)
        {
            let chunk = Chunk::read(&said).unwrap_or_default();
            return (chunk.usage, chunk.finish);
        }
        let field = |name: &str| {
            let mark = format!("\"{name}\":");
            let at = memchr::memmem::rfind(&self.tail, mark.as_bytes())? + mark.len();
            serde_json::Deserializer::from_slice(&self.tail[at..]).into_iter::<Value>().next()?.ok()
        };
        let said = serde_json::json!({
            "usage": field("usage"),
            "timings": field("timings"),
            "choices": [{ "finish_reason": field("finish_reason") }],
        });
        let chunk = Chunk::read(&said).unwrap_or_default();
        (chunk.usage, chunk.finish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(text: &str, size: usize, is_stream: bool) -> (Option<Usage>, Option<Finish>, usize) {
        let mut tally = Tally::default();
        let events = text.as_bytes().chunks(size).map(|piece| tally.passed(piece)).sum();
        assert!(tally.tail.len() <= 2 * TAIL, "bounded");
        let (usage, finish) = tally.end(is_stream);
        (usage, finish, events)
    }

    #[test]
    fn the_figures_at_the_end_are_found_however_long_the_answer_was() {
        let delta = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n";
        let usage = Usage { prompt: Some(7), cached: None, output: Some(3), thoughts: None };
        let end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n\
                   data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n";
        for (times, size) in [(1, 10_000), (3, 500), (2000, 700), (2000, 100_000), (500, 9000)] {
            let text = format!("{}{end}", delta.repeat(times));
            let (found, finish, _) = tally(&text, size, true);
            assert_eq!(
                (found, finish),
                (Some(usage), Some(Finish::Length)),
                "{times} events in pieces of {size}"
            );
        }
        let (found, finish, events) = tally(&delta.repeat(4), delta.len(), true);
        assert_eq!((found, finish, events), (None, None, 4), "nobody told");
    }

    #[test]
    fn those_of_a_document_too() {
        for length in [10, 3000, 50_000] {
            let text = "x".repeat(length);
            let document = format!(
                r#"{{"choices":[{{"message":{{"content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":7,"completion_tokens":3}}}}"#
            );
            let (usage, finish, _) = tally(&document, 1000, false);
            assert_eq!(usage.map(|usage| usage.output), Some(Some(3)), "{length}");
            assert_eq!(finish, Some(Finish::Stop), "{length}");
        }
        let embeddings =
            format!(r#"{{"data":[{}1],"usage":{{"prompt_tokens":9,"total_tokens":9}}}}"#, "1,".repeat(9000));
        assert_eq!(tally(&embeddings, 1000, false).0.and_then(|usage| usage.prompt), Some(9));
        assert_eq!(tally("<html>", 3, false), (None, None, 0));
    }
}
