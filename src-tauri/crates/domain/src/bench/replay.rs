//! A person's own prompts from a file, and how their answers are spread. The prompts are not kept.

use super::{percentiles::Percentiles, trial::Trial};
use crate::error::{ApiError, ErrorCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use ts_rs::TS;

/// The most prompts of one file.
pub const MAX_PROMPTS: usize = 200;
/// The most bytes of one file: as JSON within a call it may take twice as many, which is all that a door takes.
pub const MAX_PROMPT_BYTES: usize = 500_000;
/// Output tokens of a prompt that names none, and the most that one may name.
pub const USUAL_ANSWER: u32 = 128;
pub const MAX_ANSWER: u32 = 2048;

/// One prompt of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayPrompt {
    pub text: String,
    pub max_tokens: u32,
}

/// What is kept of a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ReplaySource {
    pub prompts: u32,
    /// SHA-256 of the file, hexadecimal: the same digest, the same prompts.
    pub digest: String,
}

/// A replay as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Replay {
    pub answered: u32,
    pub failed: u32,
    pub ttft_ms: Option<Percentiles>,
    /// Of rates the low end is the slow one.
    pub decode_tok_s: Option<Percentiles>,
    pub e2e_ms: Option<Percentiles>,
    /// As the server counts them.
    pub prompt_tokens: Option<Percentiles>,
    pub output_tokens: Option<Percentiles>,
}

impl Replay {
    pub fn of(trials: &[Trial]) -> Self {
        let measured = || trials.iter().filter(|trial| trial.is_measured());
        let over = |figure: fn(&Trial) -> Option<f64>| {
            Percentiles::of(measured().filter(|trial| trial.counts()).filter_map(figure))
        };
        let answered = measured().filter(|trial| trial.counts()).count();
        Self {
            answered: answered as u32,
            failed: (measured().count() - answered) as u32,
            ttft_ms: over(|trial| trial.ttft_ms),
            decode_tok_s: over(|trial| trial.decode_tok_s),
            e2e_ms: over(|trial| Some(trial.total_ms)),
            prompt_tokens: over(|trial| trial.prompt_tokens.map(f64::from)),
            output_tokens: over(|trial| trial.output_tokens.map(f64::from)),
        }
    }
}

/// The prompts of a file: JSON Lines, each `{"prompt": "…"}` or `{"messages": [{"role", "content"}, …]}` with an optional
/// `max_tokens`, where its first line begins with a brace; else one prompt a line. Messages become one text with their roles
/// before them, as no server here gets a chat template. Errors: invalid_call, with the line and what is wrong with it.
pub fn prompts_of(text: &str) -> Result<Vec<ReplayPrompt>, ApiError> {
    if text.len() > MAX_PROMPT_BYTES {
        let text = format!(
            "The file of prompts has {} bytes; a replay takes at most {MAX_PROMPT_BYTES}.",
            text.len()
        );
        return Err(ApiError::new(ErrorCode::InvalidCall, text).hint("Take fewer prompts at a time."));
    }
    // Editors of Windows put a mark in front.
    let text = text.trim_start_matches('\u{feff}').trim_end();
    if text.is_empty() {
        return Err(ApiError::new(ErrorCode::InvalidCall, "The file of prompts is empty.")
            .hint("One prompt a line, or JSON Lines: {\"prompt\": \"…\"}"));
    }
    let as_json = text.trim_start().starts_with('{');
    let mut prompts = vec![];
    for (index, line) in text.lines().enumerate() {
        let prompt = match (prompts.len() == MAX_PROMPTS, line.trim()) {
            (true, _) => Err(format!("a replay takes at most {MAX_PROMPTS} prompts")),
            (_, "") => Err("it is empty".into()),
            (_, line) if as_json => of_json(line),
            (_, line) => Ok(ReplayPrompt { text: line.to_owned(), max_tokens: USUAL_ANSWER }),
        };
        prompts.push(prompt.map_err(|why| wrong(index + 1, &why))?);
    }
    Ok(prompts)
}

fn wrong(line: usize, why: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidCall, format!("Line {line} of the prompts: {why}."))
        .hint("One prompt a line, or JSON Lines: {\"prompt\": \"…\"} or {\"messages\": […]}")
}

fn of_json(line: &str) -> Result<ReplayPrompt, String> {
    let fields: Map<String, Value> = serde_json::from_str(line).map_err(|error| {
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or_default().to_owned();
        format!("{what} (column {})", error.column())
    })?;
    if let Some(name) =
        fields.keys().find(|name| !["prompt", "messages", "max_tokens"].contains(&name.as_str()))
    {
        return Err(format!("the field {name} is not known"));
    }
    let text = match (fields.get("prompt"), fields.get("messages")) {
        (Some(_), Some(_)) => Err("it has both prompt and messages".into()),
        (None, None) => Err("it has neither prompt nor messages".into()),
        (Some(Value::String(prompt)), None) => Ok(prompt.clone()),
        (Some(_), None) => Err("prompt is no text".into()),
        (None, Some(messages)) => of_messages(messages),
    }?;
    if text.trim().is_empty() {
        return Err("its prompt is empty".into());
    }
    let max_tokens = match fields.get("max_tokens") {
        None => USUAL_ANSWER,
        Some(asked) => asked
            .as_u64()
            .and_then(|tokens| u32::try_from(tokens).ok())
            .filter(|tokens| (1..=MAX_ANSWER).contains(tokens))
            .ok_or_else(|| format!("max_tokens is {asked}, and may be 1 to {MAX_ANSWER}"))?,
    };
    Ok(ReplayPrompt { text, max_tokens })
}

fn of_messages(messages: &Value) -> Result<String, String> {
    let messages = messages.as_array().filter(|list| !list.is_empty());
    let messages = messages.ok_or("messages is no list, or an empty one")?;
    let mut text = String::new();
    for message in messages {
        let role = match message["role"].as_str() {
            Some("system" | "developer") => "System",
            Some("user") => "User",
            Some("assistant") => "Assistant",
            Some("tool") => "Tool",
            Some(other) => return Err(format!("the role {other} is not known")),
            None => return Err("a message has no role".into()),
        };
        text.push_str(&format!("{role}: {}\n\n", content_of(&message["content"])?));
    }
    Ok(text + "Assistant:")
}

/// A text, or parts that are texts.
fn content_of(content: &Value) -> Result<String, String> {
    let parts = match content {
        Value::String(text) => return Ok(text.clone()),
        Value::Array(parts) => parts,
        _ => return Err("a message has no text".into()),
    };
    let text = |part: &Value| {
        let text = part["text"].as_str().filter(|_| part["type"] == "text");
        text.map(str::to_owned).ok_or_else(|| "a message has a part that is no text".to_owned())
    };
    parts.iter().map(text).collect::<Result<Vec<String>, String>>().map(|texts| texts.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(file: &str) -> Vec<(String, u32)> {
        prompts_of(file).unwrap().into_iter().map(|prompt| (prompt.text, prompt.max_tokens)).collect()
    }

    #[test]
    fn prompts_are_read_from_plain_lines_and_from_json_lines() {
        let one = |text: &str, tokens| vec![(text.to_owned(), tokens)];
        for (file, read) in [
            ("Why is the sky blue?\n", one("Why is the sky blue?", 128)),
            ("\u{feff}Why?\r\n", one("Why?", 128)),
            (r#"{"prompt": "Why?", "max_tokens": 5}"#, one("Why?", 5)),
            (r#"{"prompt": "{\"a\": 1}\nline"}"#, one("{\"a\": 1}\nline", 128)),
            (
                r#"{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":[{"type":"text","text":"Why?"}]}]}"#,
                one("System: Be brief.\n\nUser: Why?\n\nAssistant:", 128),
            ),
        ] {
            assert_eq!(texts(file), read, "{file}");
        }
        assert_eq!(texts("a\nb\n{c\n").len(), 3, "a brace within plain lines is text");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let many = "a\n".repeat(MAX_PROMPTS + 1);
        let large = "a".repeat(MAX_PROMPT_BYTES + 1);
        for (file, words) in [
            ("", "is empty"),
            (" \n\n", "is empty"),
            ("a\n\nb", "Line 2 of the prompts: it is empty"),
            ("{\"prompt\":\"a\"}\nplain", "Line 2 of the prompts: expected value (column 1)"),
            ("{\"prompt\":\"a\"}\n{\"prompt\":\"b\"", "Line 2 of the prompts: EOF while parsing"),
            (
                "{\"prompt\":\"a\"}\n{\"propmt\":\"b\"}",
                "Line 2 of the prompts: the field propmt is not known",
            ),
            ("{\"prompt\":\"a\",\"messages\":[]}", "it has both"),
            ("{\"max_tokens\":3}", "it has neither"),
            ("{\"prompt\":7}", "prompt is no text"),
            ("{\"prompt\":\"  \"}", "its prompt is empty"),
            ("{\"prompt\":\"a\",\"max_tokens\":0}", "max_tokens is 0, and may be 1 to 2048"),
            ("{\"prompt\":\"a\",\"max_tokens\":2049}", "max_tokens is 2049"),
            ("{\"prompt\":\"a\",\"max_tokens\":\"8\"}", "max_tokens is \"8\""),
            ("{\"messages\":[]}", "an empty one"),
            ("{\"messages\":[{\"content\":\"a\"}]}", "has no role"),
            ("{\"messages\":[{\"role\":\"cat\",\"content\":\"a\"}]}", "the role cat"),
            ("{\"messages\":[{\"role\":\"user\"}]}", "has no text"),
            (
                "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}",
                "a part that is no text",
            ),
            (many.as_str(), "Line 201 of the prompts: a replay takes at most 200 prompts"),
            (large.as_str(), "at most 500000"),
        ] {
            let error = prompts_of(file).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidCall);
            assert!(error.message.contains(words), "{error}");
        }
    }

    #[test]
    fn answers_are_told_by_their_spread() {
        let trial = |seq: u32, flaw: Option<&str>| Trial {
            seq,
            ttft_ms: Some(f64::from(seq)),
            total_ms: 2.0 * f64::from(seq),
            prompt_tokens: Some(10 * seq),
            flaw: flaw.map(str::to_owned),
            ..Trial::default()
        };
        let mut trials: Vec<Trial> = (0..=100).map(|seq| trial(seq, None)).collect();
        trials.push(trial(9999, Some("failed: too long")));
        let replay = Replay::of(&trials);
        assert_eq!((replay.answered, replay.failed), (101, 1));
        let middle = |percentiles: Option<Percentiles>| percentiles.map(|p| (p.p50, p.p95));
        assert_eq!(middle(replay.ttft_ms), Some((50.0, 95.0)));
        assert_eq!(middle(replay.e2e_ms), Some((100.0, 190.0)));
        assert_eq!(middle(replay.prompt_tokens), Some((500.0, 950.0)));
        assert_eq!((replay.decode_tok_s, replay.output_tokens), (None, None), "absent is not zero");
    }
}
