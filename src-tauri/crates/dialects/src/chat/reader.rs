//! Reads the answer of a server, a stream of events or a whole document, piece by piece.

use super::Chunk;
use crate::{
    Refused,
    sse::{Event, LONGEST_EVENT, Splitter},
};
use serde_json::Value;

/// Reads one answer.
#[derive(Debug)]
pub struct Reader {
    way: Way,
    finished: bool,
    failure: Option<Refused>,
}

#[derive(Debug)]
enum Way {
    Events(Splitter),
    /// The document so far.
    Document(Vec<u8>),
}

impl Reader {
    /// `is_stream`: it comes as events (`text/event-stream`); else as one document, which some servers send all the same.
    pub fn new(is_stream: bool) -> Self {
        let way = if is_stream { Way::Events(Splitter::default()) } else { Way::Document(vec![]) };
        Self { way, finished: false, failure: None }
    }

    /// What these bytes say. Errors: an error that the server tells in the stream (502, or its own status), or what is no answer.
    /// Where something was said before it in the same bytes, that is returned, and the error is [`Reader::failure`]. Nothing can
    /// follow an error.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<Chunk>, Refused> {
        match &mut self.way {
            Way::Document(document) => {
                if document.len() + bytes.len() > LONGEST_EVENT {
                    return Err(too_long());
                }
                document.extend_from_slice(bytes);
                Ok(vec![])
            }
            Way::Events(splitter) => {
                let events = splitter.take(bytes).map_err(|_| too_long())?;
                self.read(&events)
            }
        }
    }

    /// What is left at the end of the answer.
    pub fn finish(&mut self) -> Result<Vec<Chunk>, Refused> {
        match &mut self.way {
            Way::Document(document) => {
                let said: Value = serde_json::from_slice(document).map_err(|_| no_answer())?;
                if let Some(refused) = told_error(&said) {
                    return Err(refused);
                }
                let chunk = Chunk::read(&said).ok_or_else(no_answer)?;
                self.finished = true;
                Ok(vec![chunk])
            }
            Way::Events(splitter) => {
                let events: Vec<Event> = splitter.finish().into_iter().collect();
                self.read(&events)
            }
        }
    }

    /// Whether the server has said that this is all: `[DONE]`, or a reason why it ends. A stream that ends before was broken off.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// The error behind what was returned last.
    pub fn failure(&mut self) -> Option<Refused> {
        self.failure.take()
    }

    fn fails(&mut self, said: Vec<Chunk>, why: Refused) -> Result<Vec<Chunk>, Refused> {
        if said.is_empty() {
            return Err(why);
        }
        self.failure = Some(why);
        Ok(said)
    }

    fn read(&mut self, events: &[Event]) -> Result<Vec<Chunk>, Refused> {
        let mut chunks = vec![];
        for event in events {
            let data = event.data.trim();
            if data == "[DONE]" {
                self.finished = true;
                continue;
            }
            let Ok(said) = serde_json::from_str::<Value>(data) else {
                if event.name == "error" {
                    return self.fails(chunks, Refused::new(502, "server_error", data));
                }
                // Something of a newer server.
                continue;
            };
            if let Some(refused) = told_error(&said) {
                return self.fails(chunks, refused);
            }
            if let Some(chunk) = Chunk::read(&said) {
                self.finished |= chunk.finish.is_some();
                chunks.push(chunk);
            }
        }
        Ok(chunks)
    }
}

/// The error that a document tells, in OpenAI's form, Anthropic's, or as a bare text.
pub fn told_error(said: &Value) -> Option<Refused> {
    let error = said.get("error").filter(|error| !error.is_null())?;
    let message = match error {
        Value::String(text) => text.clone(),
        error => error["message"].as_str().map(str::to_owned).unwrap_or_else(|| error.to_string()),
    };
    let inner = serde_json::from_str::<Value>(&message).ok().filter(|inner| inner["error"].is_object());
    // Ollama hands on the document of its runner as the text of its own error.
    if let Some(inner) = inner.as_ref().and_then(told_error) {
        return Some(inner);
    }
    let status = error["code"].as_u64().or(error["status"].as_u64());
    let status = status.and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code));
    let code = [&error["type"], &error["code"]].into_iter().find_map(Value::as_str).unwrap_or("server_error");
    let param = error["param"].as_str().map(str::to_owned);
    Some(Refused { status: status.unwrap_or(502), code: code.into(), message, param })
}

fn too_long() -> Refused {
    Refused::new(502, "server_error", "The server's answer has an event that is longer than 16 MB.")
}

fn no_answer() -> Refused {
    Refused::new(502, "server_error", "The server answered with something that is no chat completion.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, is_stream: bool) -> (Result<String, Refused>, bool) {
        let mut reader = Reader::new(is_stream);
        let mut chunks = vec![];
        let mut all = || {
            for piece in text.as_bytes().chunks(3) {
                chunks.extend(reader.take(piece)?);
            }
            chunks.extend(reader.finish()?);
            if let Some(failure) = reader.failure() {
                return Err(failure);
            }
            Ok(chunks.iter().map(|chunk| chunk.text.as_str()).collect())
        };
        (all(), reader.is_finished())
    }

    #[test]
    fn a_stream_and_a_document_are_read_alike() {
        let delta =
            |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
        let stream =
            format!(": hello\n\n{}{}data: {{}}\n\nfoo: x\n\ndata: [DONE]\n\n", delta("a"), delta("ü"));
        assert_eq!(read(&stream, true), (Ok("aü".into()), true));
        let document = r#"{"choices":[{"message":{"content":"aü"},"finish_reason":"stop"}]}"#;
        assert_eq!(read(document, false), (Ok("aü".into()), true));
        assert_eq!(read(&delta("a"), true), (Ok("a".into()), false), "broken off");
        let ended = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}";
        assert_eq!(read(ended, true), (Ok(String::new()), true), "no closing mark, but a reason");
    }

    #[test]
    fn an_error_in_the_stream_is_one() {
        for (text, status, code, message) in [
            (
                "data: {\"error\":{\"code\":500,\"message\":\"out of memory\",\"type\":\"server_error\"}}\n\n",
                500,
                "server_error",
                "out of memory",
            ),
            ("event: error\ndata: {\"error\":\"gone\"}\n\n", 502, "server_error", "gone"),
            ("event: error\ndata: gone\n\n", 502, "server_error", "gone"),
            (
                "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"later\"}}\n\n",
                502,
                "overloaded_error",
                "later",
            ),
            (
                "data: {\"error\":{\"message\":\"too long\",\"code\":\"context_length_exceeded\",\"type\":null}}\n\n",
                502,
                "context_length_exceeded",
                "too long",
            ),
        ] {
            let refused = read(text, true).0.unwrap_err();
            assert_eq!(
                (refused.status, refused.code.as_str(), refused.message.as_str()),
                (status, code, message)
            );
        }
        let mut reader = Reader::new(true);
        let both = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"error\":\"gone\"}\n\n";
        assert_eq!(reader.take(both.as_bytes()).unwrap()[0].text, "a", "what was said before it is not lost");
        assert_eq!(reader.failure().unwrap().message, "gone");
        assert_eq!(read("<html>", false).0.unwrap_err().status, 502);
        assert_eq!(read("{\"error\":\"x\"}", false).0.unwrap_err().message, "x");
    }

    #[test]
    fn an_error_in_the_text_of_an_error_is_the_one_to_tell() {
        let inner = r#"{"error":{"code":400,"message":"no images","type":"invalid_request_error"}}"#;
        for (message, told, code) in [
            (inner, "no images", "invalid_request_error"),
            (r#"{"error":{"message":"gone"}}"#, "gone", "server_error"),
            (r#"{"error":"gone"}"#, r#"{"error":"gone"}"#, "api_error"),
            (r#"{"other":1}"#, r#"{"other":1}"#, "api_error"),
            ("{\"error\":", "{\"error\":", "api_error"),
            ("plain", "plain", "api_error"),
        ] {
            let said = serde_json::json!({ "error": { "message": message, "type": "api_error" } });
            let refused = told_error(&said).unwrap();
            assert_eq!((refused.message.as_str(), refused.code.as_str()), (told, code), "{message}");
        }
    }
}
