//! The smallest request of each dialect, as its clients send it, and what comes back.

use super::{Dialect, NO_KEY};
use serde_json::{Value, json};

/// Enough for a model that thinks before it answers to begin, and no long wait.
const MAX_TOKENS: u32 = 256;
const PROMPT: &str = "Answer with the one word: ready";
/// So many characters of an answer are shown.
const SHOWN: usize = 80;

/// A request: where below the gateway's root, with which headers, and its body.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    pub path: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Value,
}

/// What an app with this dialect would send; streamed, as all of them do. Programs of Ollama show a key only where they have one.
pub fn question(dialect: Dialect, model: &str, key: &str) -> Question {
    let bearer = ("authorization", format!("Bearer {key}"));
    let messages = json!([{ "role": "user", "content": PROMPT }]);
    match dialect {
        Dialect::Chat => Question {
            path: "/v1/chat/completions",
            headers: vec![bearer],
            body: json!({ "model": model, "messages": messages, "max_tokens": MAX_TOKENS, "stream": true }),
        },
        Dialect::Responses => Question {
            path: "/v1/responses",
            headers: vec![bearer],
            body: json!({
                "model": model, "stream": true, "store": false, "max_output_tokens": MAX_TOKENS,
                "input": [{
                    "type": "message", "role": "user", "content": [{ "type": "input_text", "text": PROMPT }],
                }],
            }),
        },
        Dialect::Messages => Question {
            path: "/v1/messages",
            headers: vec![bearer, ("anthropic-version", "2023-06-01".into())],
            body: json!({ "model": model, "messages": messages, "max_tokens": MAX_TOKENS, "stream": true }),
        },
        Dialect::Ollama => Question {
            path: "/api/chat",
            headers: if key == NO_KEY { vec![] } else { vec![bearer] },
            body: json!({
                "model": model, "messages": messages, "stream": true, "options": { "num_predict": MAX_TOKENS },
            }),
        },
    }
}

/// What has been heard of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    dialect: Dialect,
    text: String,
    /// A word of the answer or of what the model thinks has come.
    pub begun: bool,
    /// The dialect's own end has come.
    pub ended: bool,
    pub error: Option<String>,
}

impl Heard {
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, text: String::new(), begun: false, ended: false, error: None }
    }

    /// A line of the stream, without its end. Lines that say nothing here are passed over.
    pub fn line(&mut self, line: &str) {
        let line = line.trim();
        let data = match self.dialect {
            Dialect::Ollama => line,
            _ => match line.strip_prefix("data:") {
                Some(data) => data.trim(),
                None => return,
            },
        };
        if data == "[DONE]" {
            self.ended = true;
        } else if let Ok(event) = serde_json::from_str::<Value>(data) {
            self.event(&event);
        }
    }

    fn event(&mut self, event: &Value) {
        let at = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (text, thought) = match self.dialect {
            Dialect::Chat => {
                let thought = at("/choices/0/delta/reasoning_content").to_owned();
                (at("/choices/0/delta/content"), thought + at("/choices/0/delta/reasoning"))
            }
            Dialect::Responses => match at("/type") {
                "response.output_text.delta" => (at("/delta"), String::new()),
                "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => {
                    ("", at("/delta").to_owned())
                }
                _ => ("", String::new()),
            },
            Dialect::Messages => (at("/delta/text"), at("/delta/thinking").to_owned()),
            Dialect::Ollama => (at("/message/content"), at("/message/thinking").to_owned()),
        };
        self.begun |= !text.is_empty() || !thought.is_empty();
        if self.text.len() < SHOWN * 8 {
            self.text.push_str(text);
        }
        self.ended |= match self.dialect {
            Dialect::Chat => false,
            Dialect::Responses => matches!(at("/type"), "response.completed" | "response.incomplete"),
            Dialect::Messages => at("/type") == "message_stop",
            Dialect::Ollama => event.get("done") == Some(&Value::Bool(true)),
        };
        if let Some(error) = said_error(event) {
            self.error.get_or_insert(error);
        }
    }

    /// How the answer begins. `None`: there is no text.
    pub fn words(&self) -> Option<String> {
        let text = self.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let cut: String = text.chars().take(SHOWN).collect();
        match () {
            () if text.is_empty() => None,
            () if cut.len() < text.len() => Some(format!("{cut}…")),
            () => Some(text),
        }
    }

    /// Whether it is an answer: begun, to its end, without an error.
    pub fn is_whole(&self) -> bool {
        self.begun && self.ended && self.error.is_none()
    }
}

/// What a refusal or an event says went wrong, in the forms of all dialects.
pub fn said_error(document: &Value) -> Option<String> {
    let places = ["/error/message", "/response/error/message", "/error", "/message"];
    let failed = ["error", "response.failed"].contains(&document["type"].as_str().unwrap_or_default());
    places
        .into_iter()
        .filter(|place| *place != "/message" || failed)
        .find_map(|place| document.pointer(place).and_then(Value::as_str))
        .map(str::to_owned)
}
