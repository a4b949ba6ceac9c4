//! The document of a response. It has every key that the Open Responses specification wants.

use crate::fields::{Fields, list, raw, with_fields};
use crate::{Refused, chat::Usage};
use serde::Serialize;
use serde_json::{json, value::RawValue};

/// What a response repeats of its request.
#[derive(Debug, Default)]
pub struct Echo {
    pub model: Option<String>,
    pub store: bool,
    previous_response_id: Option<String>,
    instructions: Option<Box<RawValue>>,
    tools: Box<RawValue>,
    tool_choice: Box<RawValue>,
    truncation: String,
    parallel_tool_calls: bool,
    text: Box<RawValue>,
    top_p: Box<RawValue>,
    presence_penalty: Box<RawValue>,
    frequency_penalty: Box<RawValue>,
    temperature: Box<RawValue>,
    top_logprobs: u64,
    reasoning: Box<RawValue>,
    pub max_output_tokens: Option<u64>,
    max_tool_calls: Option<u64>,
    metadata: Box<RawValue>,
    safety_identifier: Option<String>,
    prompt_cache_key: Option<String>,
}

impl Echo {
    pub fn of(fields: &Fields<'_>, store: bool) -> Result<Self, Refused> {
        let number = |name: &str, otherwise: u8| -> Result<Box<RawValue>, Refused> {
            fields.typed::<f64>(name, "a number")?;
            Ok(fields.get(name).map_or_else(|| raw(otherwise), ToOwned::to_owned))
        };
        let as_sent = |name: &str, otherwise: serde_json::Value| {
            fields.get(name).map_or_else(|| raw(otherwise), ToOwned::to_owned)
        };
        let reasoning = fields.object("reasoning").unwrap_or_default();
        let of_reasoning = |name: &str| reasoning.get(name).map_or("null", RawValue::get);
        let summary =
            reasoning.get("summary").or(reasoning.get("generate_summary")).map_or("null", RawValue::get);
        let reasoning = format!(r#"{{"effort":{},"summary":{summary}}}"#, of_reasoning("effort"));
        Ok(Self {
            model: fields.typed("model", "a text")?,
            store,
            previous_response_id: fields.text("previous_response_id"),
            instructions: fields.get("instructions").map(ToOwned::to_owned),
            tools: fields.get("tools").map_or_else(|| raw(json!([])), tools),
            tool_choice: as_sent("tool_choice", json!("auto")),
            truncation: fields.text("truncation").unwrap_or_else(|| "disabled".into()),
            parallel_tool_calls: fields.typed("parallel_tool_calls", "true or false")?.unwrap_or(true),
            text: text(fields.get("text")),
            top_p: number("top_p", 1)?,
            presence_penalty: number("presence_penalty", 0)?,
            frequency_penalty: number("frequency_penalty", 0)?,
            temperature: number("temperature", 1)?,
            top_logprobs: fields.typed("top_logprobs", "a whole number")?.unwrap_or(0),
            reasoning: RawValue::from_string(reasoning).unwrap_or_default(),
            max_output_tokens: fields.typed("max_output_tokens", "a whole number")?,
            max_tool_calls: fields.typed("max_tool_calls", "a whole number")?,
            metadata: as_sent("metadata", json!({})),
            safety_identifier: fields.text("safety_identifier"),
            prompt_cache_key: fields.text("prompt_cache_key"),
        })
    }

    /// The document of a response in this state.
    pub fn document<'a>(&'a self, state: State<'a>) -> impl Serialize + 'a {
        Document {
            id: state.id,
            object: "response",
            created_at: state.created_at,
            completed_at: state.completed_at,
            status: state.status,
            incomplete_details: state.incomplete.map(|reason| Reason { reason }),
            model: self.model.as_deref().unwrap_or_default(),
            output: state.output,
            error: state.error,
            usage: state.usage.map(usage),
            background: false,
            service_tier: "default",
            echo: self,
        }
    }
}

/// How far a response is.
#[derive(Debug)]
pub struct State<'a> {
    pub id: &'a str,
    pub created_at: i64,
    /// `None`: it is not completed, or nobody measured how long it took.
    pub completed_at: Option<i64>,
    /// "in_progress", "completed", "incomplete", "failed".
    pub status: &'static str,
    pub incomplete: Option<&'static str>,
    pub output: &'a [&'a RawValue],
    pub error: Option<Failure<'a>>,
    pub usage: Option<Usage>,
}

#[derive(Debug, Serialize)]
pub struct Failure<'a> {
    pub code: &'a str,
    pub message: &'a str,
}

#[derive(Serialize)]
struct Reason {
    reason: &'static str,
}

struct Document<'a> {
    id: &'a str,
    object: &'static str,
    created_at: i64,
    completed_at: Option<i64>,
    status: &'static str,
    incomplete_details: Option<Reason>,
    model: &'a str,
    output: &'a [&'a RawValue],
    error: Option<Failure<'a>>,
    usage: Option<serde_json::Value>,
    background: bool,
    service_tier: &'static str,
    echo: &'a Echo,
}

/// Writes the fields of one or of the other, each under its own name.
macro_rules! entries {
    ($map:ident, $from:expr, $($name:ident),+) => {
        $($map.serialize_entry(stringify!($name), &$from.$name)?;)+
    };
}

impl Serialize for Document<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        entries!(map, self, id, object, created_at, completed_at, status, incomplete_details, model);
        entries!(map, self, output, error, usage, background, service_tier);
        entries!(map, self.echo, previous_response_id, instructions, tools, tool_choice, truncation);
        entries!(map, self.echo, parallel_tool_calls, text, top_p, presence_penalty, frequency_penalty);
        entries!(map, self.echo, temperature, top_logprobs, reasoning, max_output_tokens, max_tool_calls);
        entries!(map, self.echo, store, metadata, safety_identifier, prompt_cache_key);
        map.end()
    }
}

/// Tools as they were sent; a function that lacks a key which its form requires in a response has it behind those that it has.
fn tools(sent: &RawValue) -> Box<RawValue> {
    let Some(entries) = list(sent) else { return sent.to_owned() };
    let filled: Vec<Option<String>> = entries.iter().map(|entry| filled(entry)).collect();
    if filled.iter().all(Option::is_none) {
        return sent.to_owned();
    }
    let written: Vec<&str> =
        entries.iter().zip(&filled).map(|(entry, filled)| filled.as_deref().unwrap_or(entry.get())).collect();
    RawValue::from_string(format!("[{}]", written.join(","))).unwrap_or_else(|_| sent.to_owned())
}

fn filled(tool: &RawValue) -> Option<String> {
    let fields = Fields::of(tool).filter(|fields| fields.text("type").as_deref() == Some("function"))?;
    let lacking = ["description", "parameters", "strict"].into_iter().filter(|name| !fields.has(name));
    let lacking: Vec<String> = lacking.map(|name| format!("\"{name}\":null")).collect();
    (!lacking.is_empty()).then(|| with_fields(tool.get(), &lacking.join(",")))
}

/// The settings of the text; a format that nothing is said of is plain.
fn text(sent: Option<&RawValue>) -> Box<RawValue> {
    let plain = r#""format":{"type":"text"}"#;
    let sent = sent.filter(|sent| Fields::of(sent).is_some());
    match sent {
        Some(sent) if Fields::of(sent).is_some_and(|text| text.get("format").is_some()) => sent.to_owned(),
        Some(sent) => RawValue::from_string(with_fields(sent.get(), plain)).unwrap_or_default(),
        None => RawValue::from_string(format!("{{{plain}}}")).unwrap_or_default(),
    }
}

/// Figures that the form requires and the server did not tell are 0.
fn usage(usage: Usage) -> serde_json::Value {
    let (input, output) = (usage.prompt.unwrap_or(0), usage.output.unwrap_or(0));
    json!({
        "input_tokens": input,
        "input_tokens_details": { "cached_tokens": usage.cached.unwrap_or(0), "cache_write_tokens": 0 },
        "output_tokens": output,
        "output_tokens_details": { "reasoning_tokens": usage.thoughts.unwrap_or(0) },
        "total_tokens": input + output,
    })
}
