//! Tools, and how much is to be thought.

use super::{
    blocks::Notes,
    object::{Object, Said},
};
use crate::{
    Refused,
    chat::{Body, Function, ToolChoice, ToolOut},
};
use serde_json::value::RawValue;

/// Writes `tools` and `tool_choice` of a request into the body.
pub fn read_tools(request: &Object<'_>, body: &mut Body, notes: &mut Notes) -> Result<(), Refused> {
    let mut of_anthropic = vec![];
    match Said::read(request, "tools")? {
        None => {}
        Some(Said::Text(_)) => return Err(Refused::invalid("Input should be a list").about("tools")),
        Some(Said::Blocks(tools)) => {
            for tool in &tools {
                let kind = tool.kind();
                let schema = tool.raw("input_schema");
                if schema.is_none() && !kind.is_empty() && kind != "custom" {
                    // Such tools run at Anthropic, or have a schema that only its models know.
                    of_anthropic.push(tool.get::<String>("name")?.unwrap_or_default());
                    notes.dropped.insert(format!("the tool {kind}"));
                    continue;
                }
                body.tools.push(ToolOut {
                    function: Function {
                        name: tool.needed("name")?,
                        description: tool.get("description")?,
                        parameters: schema.map(RawValue::to_owned),
                        strict: None,
                    },
                });
            }
        }
    }
    read_choice(request, body, notes, &of_anthropic)
}

fn read_choice(
    request: &Object<'_>,
    body: &mut Body,
    notes: &mut Notes,
    of_anthropic: &[String],
) -> Result<(), Refused> {
    let Some(choice) = request.object("tool_choice")? else { return Ok(()) };
    if choice.get("disable_parallel_tool_use")? == Some(true) {
        body.parallel_tool_calls = Some(false);
    }
    body.tool_choice = match choice.kind().as_str() {
        "auto" => Some(ToolChoice::Auto),
        "any" => Some(ToolChoice::Required),
        "none" => Some(ToolChoice::None),
        "tool" => {
            let name: String = choice.needed("name")?;
            if of_anthropic.contains(&name) {
                let message = format!("The tool \"{name}\" runs at Anthropic and cannot be had here.");
                return Err(Refused::unsupported(message).about("tool_choice.name"));
            }
            if !body.tools.iter().any(|tool| tool.function.name == name) {
                let message = format!("There is no tool \"{name}\" among the tools of this request.");
                return Err(Refused::invalid(message).about("tool_choice.name"));
            }
            Some(ToolChoice::Named(name))
        }
        other => {
            notes.dropped.insert(format!("the tool choice {other}"));
            None
        }
    };
    Ok(())
}

/// Writes what `thinking` and `output_config` ask for into the body. True: thoughts are not to be told.
pub fn read_thinking(request: &Object<'_>, body: &mut Body, notes: &mut Notes) -> Result<bool, Refused> {
    let config = request.object("output_config")?;
    body.reasoning_effort = config.as_ref().map(|config| config.get("effort")).transpose()?.flatten();
    let mut hides = false;
    if let Some(thinking) = request.object("thinking")? {
        match thinking.kind().as_str() {
            "enabled" => body.thinking_budget = thinking.get("budget_tokens")?,
            "disabled" => {
                body.reasoning_effort = Some("none".into());
                hides = true;
            }
            // As much as the model does by itself.
            "adaptive" | "between_tools" => {}
            other => {
                notes.dropped.insert(format!("thinking of the type {other}"));
            }
        }
    }
    let format = match &config {
        Some(config) => config.object("format")?,
        None => None,
    };
    // The name that the field had in the beta of 2025-11-13.
    let format = match format {
        Some(format) => Some(format),
        None => request.object("output_format")?,
    };
    if let Some(format) = format {
        match (format.kind().as_str(), format.raw("schema")) {
            ("json_schema", Some(schema)) => body.response_format = Some(response_format(schema)?),
            ("json_schema", None) => {
                return Err(Refused::invalid("Field required").about(format.at("schema")));
            }
            (other, _) => {
                let message =
                    format!("Output of the format \"{other}\" cannot be had here. Use \"json_schema\".");
                return Err(Refused::unsupported(message).about(format.at("type")));
            }
        }
    }
    Ok(hides)
}

/// The schema within the format that chat has, its bytes as they were.
fn response_format(schema: &RawValue) -> Result<Box<RawValue>, Refused> {
    let schema = schema.get();
    let text = format!(r#"{{"type":"json_schema","json_schema":{{"name":"answer","schema":{schema}}}}}"#);
    RawValue::from_string(text)
        .map_err(|_| Refused::invalid("Input is no JSON schema").about("output_config.format"))
}
