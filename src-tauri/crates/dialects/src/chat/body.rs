//! The body of a request for a chat completion. Fields that are `None` are not written; what clients wrote is written as they did.

use super::{
    Speaks,
    fitting::{one_text_first, with_early_system},
    schema::bounded,
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What is asked. Written by [`Body::written`].
#[derive(Debug, Default, Clone)]
pub struct Body {
    pub messages: Vec<Message>,
    pub tools: Vec<ToolOut>,
    pub tool_choice: Option<ToolChoice>,
    pub parallel_tool_calls: Option<bool>,
    pub max_tokens: Option<u64>,
    pub stop: Vec<String>,
    /// `{"type":"json_schema",…}` or `{"type":"json_object"}`, as chat has it.
    pub response_format: Option<Box<RawValue>>,
    /// "none", "minimal", "low", "medium", "high", …
    pub reasoning_effort: Option<String>,
    /// Only told to a server that knows it.
    pub thinking_budget: Option<u64>,
    /// Fields that have the same name and meaning in chat (`temperature`, `top_p`, `seed`, …), as they were written.
    pub same: Vec<(&'static str, Box<RawValue>)>,
}

/// One message.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// "system", "user", "assistant", "tool".
    pub role: &'static str,
    pub content: Content,
    /// What an assistant thought.
    pub thoughts: Option<String>,
    pub calls: Vec<CallOut>,
    /// Of a "tool": the call that it is the result of.
    pub call_id: Option<String>,
}

impl Message {
    pub fn text(role: &'static str, text: impl Into<String>) -> Self {
        Self { role, content: Content::Text(text.into()), ..Self::default() }
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub enum Content {
    /// `null`: an assistant that only calls tools.
    #[default]
    Nothing,
    Text(String),
    /// With something else than text among them; only text is one text.
    Parts(Vec<Part>),
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    Text {
        text: String,
    },
    /// `url`: `data:image/png;base64,…` or an address of the web.
    ImageUrl {
        image_url: ImageUrl,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImageUrl {
    pub url: String,
}

impl Part {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    pub fn image(url: impl Into<String>) -> Self {
        Self::ImageUrl { image_url: ImageUrl { url: url.into() } }
    }
}

impl Content {
    /// Of parts: one text where all are text.
    pub fn of(parts: Vec<Part>, between: &str) -> Self {
        let texts: Option<Vec<&str>> = parts
            .iter()
            .map(|part| match part {
                Part::Text { text } => Some(text.as_str()),
                Part::ImageUrl { .. } => None,
            })
            .collect();
        match texts {
            Some(texts) if texts.is_empty() => Self::Text(String::new()),
            Some(texts) => Self::Text(texts.join(between)),
            None => Self::Parts(parts),
        }
    }
}

/// A call of a tool that an assistant made before.
#[derive(Debug, Clone, PartialEq)]
pub struct CallOut {
    pub id: String,
    pub name: String,
    /// The text of a JSON document, as the model wrote it.
    pub arguments: String,
}

/// A tool that may be called.
#[derive(Debug, Clone)]
pub struct ToolOut {
    pub function: Function,
}

#[derive(Debug, Clone)]
pub struct Function {
    pub name: String,
    pub description: Option<String>,
    /// A JSON schema as it was written. `None`: an object without properties.
    pub parameters: Option<Box<RawValue>>,
    pub strict: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    Auto,
    /// None may be called.
    None,
    /// One must be.
    Required,
    /// This one must be. A server that cannot be told so gets that tool alone and `Required`.
    Named(String),
}

impl Body {
    /// The request for the instance that its server calls `model`.
    pub fn written(&self, model: &str, speaks: Speaks) -> Vec<u8> {
        // A document of strings, numbers and what was JSON before can always be written.
        serde_json::to_vec(&Written { body: self, model, speaks, generates: true }).unwrap_or_default()
    }

    /// The same prompt, without what only a generation needs, for a server that counts the tokens of a chat.
    pub fn counted(&self, model: &str, speaks: Speaks) -> Vec<u8> {
        serde_json::to_vec(&Written { body: self, model, speaks, generates: false }).unwrap_or_default()
    }
}

struct Written<'a> {
    body: &'a Body,
    model: &'a str,
    speaks: Speaks,
    generates: bool,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { body, model, speaks, generates } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("model", model)?;
        let messages = if speaks.late_system {
            Cow::from(&body.messages)
        } else {
            with_early_system(&body.messages).into()
        };
        let messages: Vec<WrittenMessage<'_>> =
            messages.iter().map(|message| WrittenMessage { message, speaks: *speaks }).collect();
        map.serialize_entry("messages", &messages)?;
        self.write_tools(&mut map)?;
        if let Some(most) = body.max_tokens.filter(|_| *generates) {
            map.serialize_entry("max_tokens", &most)?;
        }
        if !body.stop.is_empty() {
            map.serialize_entry("stop", &body.stop)?;
        }
        if let Some(format) = &body.response_format {
            map.serialize_entry("response_format", format)?;
        }
        if let Some(effort) = body.reasoning_effort.as_ref().and_then(|wanted| speaks.effort(wanted)) {
            map.serialize_entry("reasoning_effort", effort)?;
        }
        if let Some(budget) = body.thinking_budget.filter(|_| speaks.thinking_budget) {
            map.serialize_entry("thinking_budget_tokens", &budget)?;
        }
        if *generates {
            for (name, value) in body.same.iter().filter(|(name, _)| speaks.takes(name)) {
                map.serialize_entry(name, value)?;
            }
            map.serialize_entry("stream", &true)?;
            map.serialize_entry("stream_options", &serde_json::json!({ "include_usage": true }))?;
        }
        map.end()
    }
}

impl Written<'_> {
    fn write_tools<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let Self { body, speaks, .. } = self;
        let only = match &body.tool_choice {
            Some(ToolChoice::Named(name)) if !speaks.names_a_tool => Some(name),
            _ => None,
        };
        let tools: Vec<WrittenTool<'_>> = body
            .tools
            .iter()
            .filter(|tool| only.is_none_or(|only| tool.function.name == *only))
            // What cannot be forbidden is not offered.
            .filter(|_| speaks.chooses_tools || body.tool_choice != Some(ToolChoice::None))
            .map(WrittenTool)
            .collect();
        if !tools.is_empty() {
            map.serialize_entry("tools", &tools)?;
            match &body.tool_choice {
                Some(ToolChoice::Named(name)) if speaks.names_a_tool => {
                    let named = serde_json::json!({ "type": "function", "function": { "name": name } });
                    map.serialize_entry("tool_choice", &named)?;
                }
                Some(ToolChoice::Named(_) | ToolChoice::Required) => {
                    map.serialize_entry("tool_choice", "required")?;
                }
                Some(ToolChoice::Auto) => map.serialize_entry("tool_choice", "auto")?,
                Some(ToolChoice::None) => map.serialize_entry("tool_choice", "none")?,
                None => {}
            }
            if let Some(parallel) = body.parallel_tool_calls {
                map.serialize_entry("parallel_tool_calls", &parallel)?;
            }
        }
        Ok(())
    }
}

struct WrittenMessage<'a> {
    message: &'a Message,
    speaks: Speaks,
}

impl Serialize for WrittenMessage<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { message, speaks } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("role", message.role)?;
        match &message.content {
            Content::Nothing => map.serialize_entry("content", &())?,
            Content::Text(text) => map.serialize_entry("content", text)?,
            Content::Parts(parts) if speaks.keeps_parts => map.serialize_entry("content", parts)?,
            Content::Parts(parts) => map.serialize_entry("content", &one_text_first(parts))?,
        }
        if let Some(thoughts) = &message.thoughts {
            map.serialize_entry(speaks.thoughts, thoughts)?;
        }
        if !message.calls.is_empty() {
            let calls: Vec<WrittenCall<'_>> = message.calls.iter().map(WrittenCall).collect();
            map.serialize_entry("tool_calls", &calls)?;
        }
        if let Some(id) = &message.call_id {
            map.serialize_entry("tool_call_id", id)?;
        }
        map.end()
    }
}

struct WrittenCall<'a>(&'a CallOut);

impl Serialize for WrittenCall<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Called<'a> {
            name: &'a str,
            arguments: &'a str,
        }
        let CallOut { id, name, arguments } = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", id)?;
        map.serialize_entry("type", "function")?;
        map.serialize_entry("function", &Called { name, arguments })?;
        map.end()
    }
}

struct WrittenTool<'a>(&'a ToolOut);

impl Serialize for WrittenTool<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Inner<'a>(&'a Function);
        impl Serialize for Inner<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry("name", &self.0.name)?;
                if let Some(description) = &self.0.description {
                    map.serialize_entry("description", description)?;
                }
                match &self.0.parameters {
                    // LM Studio refuses an empty object (lmstudio-bug-tracker 2254).
                    Some(parameters) if parameters.get().trim() != "{}" => {
                        map.serialize_entry("parameters", bounded(parameters).as_ref())?;
                    }
                    _ => map.serialize_entry(
                        "parameters",
                        &serde_json::json!({ "type": "object", "properties": {} }),
                    )?,
                }
                if let Some(strict) = self.0.strict {
                    map.serialize_entry("strict", &strict)?;
                }
                map.end()
            }
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "function")?;
        map.serialize_entry("function", &Inner(&self.0.function))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::server::ServerKind;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.into()).unwrap()
    }

    fn tool(name: &str, parameters: Option<&str>) -> ToolOut {
        let parameters = parameters.map(raw);
        ToolOut { function: Function { name: name.into(), description: None, parameters, strict: None } }
    }

    fn written(body: &Body, kind: ServerKind) -> String {
        String::from_utf8(body.written("m", Speaks::of(kind))).unwrap()
    }

    #[test]
    fn what_a_client_wrote_is_written_as_it_did() {
        let schema = r#"{ "type":"object", "properties":{"z":{"type":"number","maximum":1e2},"a":{"type":"string"}} }"#;
        let body = Body {
            tools: vec![tool("f", Some(schema))],
            same: vec![("temperature", raw("0.70"))],
            ..Body::default()
        };
        let said = written(&body, ServerKind::LlamaServer);
        assert!(said.contains(schema) && said.contains("\"temperature\":0.70"), "{said}");
        assert!(
            said.starts_with("{\"model\":\"m\",\"messages\":[]") && said.contains("\"stream\":true"),
            "{said}"
        );
    }

    #[test]
    fn a_tool_that_must_be_called_is_the_only_one_where_no_name_can_be_said() {
        let body = Body {
            tools: vec![tool("f", None), tool("g", Some("{}"))],
            tool_choice: Some(ToolChoice::Named("g".into())),
            ..Body::default()
        };
        let said = written(&body, ServerKind::LlamaServer);
        assert!(!said.contains("\"f\"") && said.contains("\"tool_choice\":\"required\""), "{said}");
        assert!(said.contains(r#""parameters":{"properties":{},"type":"object"}"#), "{said}");
        let said = written(&body, ServerKind::OpenAi);
        assert!(
            said.contains("\"f\"") && said.contains(r#""tool_choice":{"function":{"name":"g"}"#),
            "{said}"
        );
    }

    #[test]
    fn thoughts_and_parts_are_said_as_each_kind_of_server_takes_them() {
        let body = Body {
            messages: vec![
                Message { thoughts: Some("hm".into()), ..Message::text("assistant", "a") },
                Message {
                    role: "user",
                    content: Content::of(
                        vec![Part::text("a"), Part::image("data:image/png;base64,AA=="), Part::text("b")],
                        "",
                    ),
                    ..Message::default()
                },
            ],
            ..Body::default()
        };
        let said = written(&body, ServerKind::Ollama);
        assert!(said.contains("\"reasoning\":\"hm\"") && said.contains(r#""text":"a\nb""#), "{said}");
        let said = written(&body, ServerKind::LmStudio);
        assert!(said.contains("\"reasoning_content\":\"hm\"") && said.contains(r#""text":"b""#), "{said}");
        assert_eq!(Content::of(vec![Part::text("a"), Part::text("b")], "\n"), Content::Text("a\nb".into()));
    }
}
