//! Reads a request.

use super::{
    asked::{ANY_JSON, Asked},
    document::Echo,
    history::History,
    store::Stored,
    teller::Told,
    tools::Tools,
};
use crate::{
    Refused,
    chat::{Body, Message},
    fields::{Fields, list, raw, text, with_fields},
};
use serde_json::value::RawValue;
use std::sync::Arc;

/// Fields that mean the same to chat completions; those behind the second are no part of the API, but some programs send them to
/// local servers.
const SAME: [&str; 10] = [
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "stop",
    "top_k",
    "min_p",
    "repeat_penalty",
    "chat_template_kwargs",
];

/// Reads the body of `POST /v1/responses`. `before` finds what was kept of an answer, by its id. Errors: it is no such body (400),
/// it wants what local servers do not have (400, by name), or it goes on from an answer that is not known (404).
pub fn read(body: &[u8], before: &dyn Fn(&str) -> Option<Arc<Stored>>) -> Result<Asked, Refused> {
    let body = std::str::from_utf8(body).ok();
    let fields = body.and_then(Fields::read);
    let fields = fields.ok_or_else(|| Refused::invalid("The body must be a JSON object."))?;
    refuse_what_is_not_here(&fields)?;
    let store = fields.typed("store", "true or false")?.unwrap_or(true);
    let (items, mut dropped) = conversation(&fields, before)?;
    let parsed = parse(&items)?;
    let mut tools = tools(&fields, &parsed)?;
    let tool_choice = tools.choose(fields.get("tool_choice"))?;
    let mut history = History::new(&tools, &parsed);
    history.messages.extend(instructions(&fields));
    for (item, fields) in items.iter().zip(&parsed) {
        history.take(fields, &item.place())?;
    }
    let History { messages, web_image, dropped: passed_over, .. } = history.finish();
    if messages.is_empty() {
        return Err(Refused::invalid("\"input\" says nothing.").about("input"));
    }
    dropped.extend(passed_over);
    dropped.extend(tools.dropped.iter().map(|kind| format!("tool {kind}")));
    let functions = std::mem::take(&mut tools.functions);
    let body = Body { messages, tools: functions, tool_choice, ..settings(&fields)? };
    let reasoning = fields.object("reasoning").unwrap_or_default();
    let summary = reasoning.text("summary").or_else(|| reasoning.text("generate_summary"));
    let include = fields.list("include").unwrap_or_default();
    let wants_thoughts =
        include.into_iter().filter_map(text).any(|name| name == "reasoning.encrypted_content");
    let told = Told {
        echo: Echo::of(&fields, store)?,
        tools,
        streams: fields.typed("stream", "true or false")?.unwrap_or(false),
        summary: summary.is_some(),
        // Who keeps nothing here has to keep it there.
        carries_thoughts: wants_thoughts || !store,
        old: items.iter().filter(|item| item.at.is_none()).count(),
        items: if store { items.into_iter().map(|item| item.json.shared()).collect() } else { vec![] },
    };
    Ok(Asked { body, web_image, dropped, told: Arc::new(told) })
}

/// The settings of an answer in chat's words.
fn settings(fields: &Fields<'_>) -> Result<Body, Refused> {
    let same = SAME.iter().filter_map(|name| Some((*name, fields.get(name)?.to_owned())));
    Ok(Body {
        parallel_tool_calls: fields.typed("parallel_tool_calls", "true or false")?,
        max_tokens: fields.typed("max_output_tokens", "a whole number")?,
        response_format: response_format(fields)?,
        reasoning_effort: fields.object("reasoning").and_then(|reasoning| reasoning.text("effort")),
        same: same.chain(logprobs(fields)?).collect(),
        ..Body::default()
    })
}

/// How sure the model was of each token, in chat's words.
fn logprobs(fields: &Fields<'_>) -> Result<Vec<(&'static str, Box<RawValue>)>, Refused> {
    let top: u64 = fields.typed("top_logprobs", "a whole number")?.unwrap_or(0);
    let include = fields.list("include").unwrap_or_default();
    if top == 0 && !include.into_iter().filter_map(text).any(|name| name == "message.output_text.logprobs") {
        return Ok(vec![]);
    }
    let some = (top > 0).then(|| ("top_logprobs", raw(top)));
    Ok([("logprobs", raw(true))].into_iter().chain(some).collect())
}

/// The tools of the request, and those that its conversation brings.
fn tools(fields: &Fields<'_>, items: &[Fields<'_>]) -> Result<Tools, Refused> {
    let mut tools = Tools::default();
    if let Some(sent) = fields.get("tools") {
        let wrong = || Refused::invalid("\"tools\" must be a list.").about("tools");
        list(sent).ok_or_else(wrong)?.into_iter().for_each(|tool| tools.add(tool));
    }
    let bringing = ["additional_tools", "tool_search_output"];
    for item in
        items.iter().filter(|item| item.text("type").is_some_and(|kind| bringing.contains(&kind.as_str())))
    {
        item.list("tools").unwrap_or_default().into_iter().for_each(|tool| tools.add(tool));
    }
    Ok(tools)
}

/// An item of the conversation.
struct Item<'a> {
    json: Json<'a>,
    /// Where it is in the input. `None`: it was kept of the conversation before.
    at: Option<usize>,
}

/// JSON of this request, or of one before.
enum Json<'a> {
    Sent(&'a str),
    Kept(Arc<str>),
}

impl Item<'_> {
    fn place(&self) -> String {
        self.at.map_or_else(|| "previous_response_id".into(), |at| format!("input[{at}]"))
    }
}

impl Json<'_> {
    fn text(&self) -> &str {
        match self {
            Self::Sent(json) => json,
            Self::Kept(json) => json,
        }
    }

    fn shared(self) -> Arc<str> {
        match self {
            Self::Sent(json) => json.into(),
            Self::Kept(json) => json,
        }
    }
}

fn refuse_what_is_not_here(fields: &Fields<'_>) -> Result<(), Refused> {
    for (name, instead) in [
        ("conversation", "Send the items, or \"previous_response_id\"."),
        ("prompt", "Send \"instructions\" and \"input\"."),
    ] {
        if fields.get(name).is_some() {
            let message =
                format!("\"{name}\" is kept by OpenAI and cannot be had from local servers. {instead}");
            return Err(Refused::unsupported(message).about(name));
        }
    }
    if fields.typed("background", "true or false")?.unwrap_or(false) {
        let message =
            "Answers in the background cannot be had here. Ask without \"background\", with \"stream\".";
        return Err(Refused::unsupported(message).about("background"));
    }
    Ok(())
}

fn previous(
    fields: &Fields<'_>,
    before: &dyn Fn(&str) -> Option<Arc<Stored>>,
) -> Result<Option<Arc<Stored>>, Refused> {
    let Some(id) = fields.typed::<String>("previous_response_id", "a text")? else { return Ok(None) };
    let unknown = || {
        let message = format!(
            "Previous response with id '{id}' not found. It may be too long ago, or have been asked for with \"store\": false. Send the whole conversation."
        );
        Refused::new(404, "previous_response_not_found", message).about("previous_response_id")
    };
    before(&id).map(Some).ok_or_else(unknown)
}

/// The whole conversation: what was kept before, what this request says, and what of that was passed over.
fn conversation<'a>(
    fields: &Fields<'a>,
    before: &dyn Fn(&str) -> Option<Arc<Stored>>,
) -> Result<(Vec<Item<'a>>, Vec<String>), Refused> {
    let previous = previous(fields, before)?;
    let kept = previous.iter().flat_map(|stored| stored.items()).cloned();
    let mut items: Vec<Item<'a>> = kept.map(|item| Item { json: Json::Kept(item), at: None }).collect();
    let mut dropped = vec![];
    let Some(input) = fields.get("input") else {
        if fields.get("instructions").is_none() && items.is_empty() {
            return Err(Refused::invalid("\"input\" is missing: a text, or a list of items.").about("input"));
        }
        return Ok((items, dropped));
    };
    if text(input).is_some() {
        let message = format!(r#"{{"type":"message","role":"user","content":{}}}"#, input.get());
        items.push(Item { json: Json::Kept(message.into()), at: Some(0) });
        return Ok((items, dropped));
    }
    let wrong = || Refused::invalid("\"input\" must be a text or a list of items.").about("input");
    for (at, sent) in list(input).ok_or_else(wrong)?.into_iter().enumerate() {
        let Some(id) = Fields::of(sent).and_then(|item| reference(&item)) else {
            items.push(Item { json: Json::Sent(sent.get()), at: Some(at) });
            continue;
        };
        let stored = super::store::answer_of(&id).and_then(|answer| before(&answer));
        match stored.as_ref().and_then(|stored| stored.item(&id)) {
            Some(item) => items.push(Item { json: Json::Kept(item.clone()), at: Some(at) }),
            None => dropped.push(format!("input[{at}] (item_reference)")),
        }
    }
    Ok((items, dropped))
}

/// The item that one stands for: `item_reference`, whose type need not be said.
fn reference(item: &Fields<'_>) -> Option<String> {
    let is_reference = match item.text("type") {
        Some(kind) => kind == "item_reference",
        None => item.get("role").is_none() && item.get("content").is_none(),
    };
    item.text("id").filter(|_| is_reference)
}

fn parse<'i>(items: &'i [Item<'_>]) -> Result<Vec<Fields<'i>>, Refused> {
    let wrong =
        |item: &Item<'_>| Refused::invalid("An item of \"input\" must be an object.").about(item.place());
    items.iter().map(|item| Fields::read(item.json.text()).ok_or_else(|| wrong(item))).collect()
}

/// Instructions of this request; those of requests before do not count any more.
fn instructions(fields: &Fields<'_>) -> Option<Message> {
    let instructions = fields.get("instructions")?;
    let said = text(instructions).or_else(|| {
        let items = list(instructions)?;
        let texts: Vec<String> =
            items.into_iter().filter_map(Fields::of).filter_map(|item| said_by(&item)).collect();
        Some(texts.join("\n\n"))
    });
    said.filter(|said| !said.is_empty()).map(|said| Message::text("system", said))
}

fn said_by(item: &Fields<'_>) -> Option<String> {
    item.text("content").or_else(|| {
        let parts = item.list("content")?;
        let texts: Vec<String> =
            parts.into_iter().filter_map(Fields::of).filter_map(|p| p.text("text")).collect();
        Some(texts.join("\n"))
    })
}

/// `text.format` in chat's words, where a schema is one level deeper.
fn response_format(fields: &Fields<'_>) -> Result<Option<Box<RawValue>>, Refused> {
    let Some(format) = fields.object("text").and_then(|text| text.object("format")) else { return Ok(None) };
    match format.text("type").as_deref() {
        None | Some("text") => Ok(None),
        Some("json_object") => Ok(RawValue::from_string(ANY_JSON.into()).ok()),
        Some("json_schema") => {
            let nested = format.object("json_schema");
            let from = nested.as_ref().unwrap_or(&format);
            let Some(schema) = from.get("schema") else {
                return Err(
                    Refused::invalid("\"text.format\" has no \"schema\".").about("text.format.schema")
                );
            };
            let name = from.text("name").unwrap_or_else(|| "answer".into());
            let mut inner = format!(r#"{{"name":{},"schema":{}}}"#, raw(name).get(), schema.get());
            for name in ["strict", "description"] {
                if let Some(value) = from.get(name) {
                    inner = with_fields(&inner, &format!("\"{name}\":{}", value.get()));
                }
            }
            let whole = format!(r#"{{"type":"json_schema","json_schema":{inner}}}"#);
            Ok(RawValue::from_string(whole).ok())
        }
        Some(other) => {
            let message = format!("Text of the format \"{other}\" cannot be had from local servers.");
            Err(Refused::unsupported(message).about("text.format"))
        }
    }
}
