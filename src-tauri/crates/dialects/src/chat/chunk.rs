//! One piece of an answer, read liberally: a field that is missing, null or of another type is none.

use serde_json::Value;

/// What a piece says. All may be empty at once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chunk {
    pub text: String,
    pub thoughts: String,
    /// A refusal of the model's own (`delta.refusal`).
    pub refusal: String,
    pub calls: Vec<CallPiece>,
    pub finish: Option<Finish>,
    /// The text at which it stopped, from servers that tell it (vLLM: `stop_reason` of the choice).
    pub stopped_at: Option<String>,
    /// Of the whole answer so far.
    pub usage: Option<Usage>,
    /// Of the whole answer, where the server measures it.
    pub times: Option<Times>,
    /// One for each token of this piece, if they were asked for: `{"token","logprob","bytes","top_logprobs"}`.
    pub logprobs: Vec<Value>,
}

/// A piece of a call. Its id and name come with the first one.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CallPiece {
    /// Which call of the answer, from 0.
    pub index: u32,
    pub id: Option<String>,
    pub name: Option<String>,
    /// A part of the text of a JSON document.
    pub arguments: String,
}

/// Why it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// By itself, or at a text to stop at.
    Stop,
    /// At the limit of its length.
    Length,
    ToolCalls,
    ContentFilter,
    /// A word of its own.
    Other(String),
}

/// Tokens. `None`: not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Of the prompt, those from the cache included.
    pub prompt: Option<u64>,
    /// Those of them that were in the cache.
    pub cached: Option<u64>,
    /// Of the answer, thoughts included.
    pub output: Option<u64>,
    /// Those of them that are thoughts.
    pub thoughts: Option<u64>,
}

/// How long a server worked, in nanoseconds, as it measured itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// On the part of the prompt that was not in the cache.
    pub prompt_ns: Option<u64>,
    /// On the answer.
    pub output_ns: Option<u64>,
}

impl Chunk {
    /// Whether it has something of the answer itself: words, thoughts, a refusal or a call.
    pub fn says_something(&self) -> bool {
        !(self.text.is_empty()
            && self.thoughts.is_empty()
            && self.refusal.is_empty()
            && self.calls.is_empty())
    }

    /// Of the document of one event, or of a whole answer. `None`: it is neither.
    pub fn read(document: &Value) -> Option<Self> {
        let choices = document.get("choices").and_then(Value::as_array);
        let usage = Usage::read(document);
        let Some(choice) = choices.and_then(|choices| choices.first()) else {
            let times = Times::read(document);
            return (choices.is_some() || usage.is_some()).then(|| Self { usage, times, ..Self::default() });
        };
        let said = choice.get("delta").filter(|delta| delta.is_object()).or_else(|| choice.get("message"));
        let text = |name: &str| said.map(|said| text_of(&said[name])).unwrap_or_default();
        let thoughts = text("reasoning_content");
        let logprobs = choice["logprobs"]["content"].as_array().cloned().unwrap_or_default();
        let calls =
            said.and_then(|said| said["tool_calls"].as_array()).map(Vec::as_slice).unwrap_or_default();
        Some(Self {
            // A text that is completed comes without a message around it.
            text: if said.is_some() { text("content") } else { text_of(&choice["text"]) },
            thoughts: if thoughts.is_empty() { text("reasoning") } else { thoughts },
            refusal: text("refusal"),
            calls: calls.iter().enumerate().map(|(at, call)| CallPiece::read(at, call)).collect(),
            finish: choice["finish_reason"].as_str().map(Finish::of),
            stopped_at: choice["stop_reason"].as_str().map(str::to_owned),
            usage,
            times: Times::read(document),
            logprobs,
        })
    }
}

/// A text, or the texts of its parts.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

impl CallPiece {
    fn read(at: usize, call: &Value) -> Self {
        let word = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let function = &call["function"];
        let arguments = match &function["arguments"] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            // Some servers send the document itself.
            document => document.to_string(),
        };
        let index = call["index"].as_u64().unwrap_or(at as u64);
        Self {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            id: word(&call["id"]),
            name: word(&function["name"]),
            arguments,
        }
    }
}

impl Finish {
    fn of(word: &str) -> Self {
        match word {
            "stop" => Self::Stop,
            "length" => Self::Length,
            "tool_calls" | "function_call" => Self::ToolCalls,
            "content_filter" => Self::ContentFilter,
            other => Self::Other(other.into()),
        }
    }
}

impl Usage {
    /// Of `usage`, else of the `timings` that llama-server tells unasked.
    fn read(document: &Value) -> Option<Self> {
        if let Some(usage) = document.get("usage").filter(|usage| usage.is_object()) {
            return Some(Self {
                prompt: usage["prompt_tokens"].as_u64(),
                cached: usage["prompt_tokens_details"]["cached_tokens"].as_u64(),
                output: usage["completion_tokens"].as_u64(),
                thoughts: usage["completion_tokens_details"]["reasoning_tokens"].as_u64(),
            });
        }
        let timings = document.get("timings").filter(|timings| timings.is_object())?;
        let (new, cached) = (timings["prompt_n"].as_u64(), timings["cache_n"].as_u64());
        Some(Self {
            prompt: new.map(|new| new + cached.unwrap_or(0)),
            cached,
            output: timings["predicted_n"].as_u64(),
            thoughts: None,
        })
    }

    /// What was told last of each figure.
    pub fn update(&mut self, newer: &Self) {
        self.prompt = newer.prompt.or(self.prompt);
        self.cached = newer.cached.or(self.cached);
        self.output = newer.output.or(self.output);
        self.thoughts = newer.thoughts.or(self.thoughts);
    }
}

impl Times {
    /// Of the `timings` that llama-server tells unasked.
    fn read(document: &Value) -> Option<Self> {
        let timings = document.get("timings").filter(|timings| timings.is_object())?;
        let nanoseconds = |name: &str| {
            // A cast of a float keeps to the bounds of the integer.
            timings[name].as_f64().filter(|ms| *ms >= 0.0).map(|ms| (ms * 1e6).round() as u64)
        };
        Some(Self { prompt_ns: nanoseconds("prompt_ms"), output_ns: nanoseconds("predicted_ms") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pieces_of_each_kind_of_server_are_read() {
        for (document, wanted) in [
            (
                json!({ "choices": [{ "delta": { "content": "a" }, "finish_reason": null }] }),
                Chunk { text: "a".into(), ..Chunk::default() },
            ),
            (
                json!({ "choices": [{ "delta": { "content": null, "reasoning": "b" } }] }),
                Chunk { thoughts: "b".into(), ..Chunk::default() },
            ),
            (
                json!({ "choices": [{ "message": { "content": [{ "type": "text", "text": "a" }], "reasoning_content": "b" }, "finish_reason": "stop" }] }),
                Chunk {
                    text: "a".into(),
                    thoughts: "b".into(),
                    finish: Some(Finish::Stop),
                    ..Chunk::default()
                },
            ),
            (
                json!({ "choices": [{ "delta": { "tool_calls": [
                    { "index": 0, "id": "c", "function": { "name": "f", "arguments": "{\"a\"" } },
                    { "index": 1, "function": { "arguments": { "b": 1 } } },
                    { "id": "", "function": null },
                ] }, "finish_reason": "tool_calls" }] }),
                Chunk {
                    calls: vec![
                        CallPiece {
                            index: 0,
                            id: Some("c".into()),
                            name: Some("f".into()),
                            arguments: "{\"a\"".into(),
                        },
                        CallPiece { index: 1, arguments: "{\"b\":1}".into(), ..CallPiece::default() },
                        CallPiece { index: 2, ..CallPiece::default() },
                    ],
                    finish: Some(Finish::ToolCalls),
                    ..Chunk::default()
                },
            ),
            (
                json!({ "choices": [], "usage": { "prompt_tokens": 7, "completion_tokens": 3,
                    "prompt_tokens_details": { "cached_tokens": 5 }, "completion_tokens_details": null } }),
                Chunk {
                    usage: Some(Usage { prompt: Some(7), cached: Some(5), output: Some(3), thoughts: None }),
                    ..Chunk::default()
                },
            ),
            (
                json!({ "choices": [{ "delta": {}, "finish_reason": "length" }],
                    "timings": { "prompt_n": 2, "cache_n": 5, "predicted_n": 3, "prompt_ms": 1.5, "predicted_ms": -1 } }),
                Chunk {
                    finish: Some(Finish::Length),
                    usage: Some(Usage { prompt: Some(7), cached: Some(5), output: Some(3), thoughts: None }),
                    times: Some(Times { prompt_ns: Some(1_500_000), output_ns: None }),
                    ..Chunk::default()
                },
            ),
            (
                json!({ "choices": [{ "delta": {}, "finish_reason": "stop", "stop_reason": "END" }] }),
                Chunk { finish: Some(Finish::Stop), stopped_at: Some("END".into()), ..Chunk::default() },
            ),
            (
                json!({ "choices": [{ "delta": {}, "finish_reason": "stop", "stop_reason": 2 }] }),
                Chunk { finish: Some(Finish::Stop), ..Chunk::default() },
            ),
            (
                json!({ "choices": [{ "text": "a", "index": 0, "finish_reason": null, "logprobs": null }] }),
                Chunk { text: "a".into(), ..Chunk::default() },
            ),
            (
                json!({ "choices": [{ "delta": { "content": "a" }, "logprobs": { "content": [{ "token": "a" }] } }] }),
                Chunk { text: "a".into(), logprobs: vec![json!({ "token": "a" })], ..Chunk::default() },
            ),
            (json!({ "choices": [{}] }), Chunk::default()),
            (json!({ "choices": [] }), Chunk::default()),
        ] {
            assert_eq!(Chunk::read(&document), Some(wanted), "{document}");
        }
        for document in
            [json!({}), json!(null), json!([]), json!({ "error": "x" }), json!({ "choices": null })]
        {
            assert_eq!(Chunk::read(&document), None, "{document}");
        }
    }

    #[test]
    fn the_last_word_of_each_figure_counts() {
        let mut usage = Usage { prompt: Some(1), output: Some(2), ..Usage::default() };
        usage.update(&Usage { output: Some(5), cached: Some(0), ..Usage::default() });
        assert_eq!(usage, Usage { prompt: Some(1), cached: Some(0), output: Some(5), thoughts: None });
    }
}
