//! The tools of a request as functions for a server, and the names of those functions back to what the client calls them.

use crate::fields::{Fields, text};
use crate::{
    Refused,
    chat::{Function, ToolChoice, ToolOut},
};
use serde_json::value::RawValue;
use std::collections::HashSet;

/// How a client wants a call of a tool told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    #[default]
    Function,
    /// With a free text.
    Custom,
    /// A search for more tools, done by the client.
    Search,
}

/// A tool as the client knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tool {
    pub kind: Kind,
    pub namespace: Option<String>,
    pub name: String,
}

impl Tool {
    pub fn function(namespace: Option<String>, name: String) -> Self {
        Self { kind: Kind::Function, namespace: namespace.filter(|space| !is_implicit(space)), name }
    }
}

/// The namespace that every tool is in that names none.
fn is_implicit(namespace: &str) -> bool {
    namespace.is_empty() || namespace == "functions"
}

/// Longest name that OpenAI's chat completions take. Only names that are made here keep to it.
const LONGEST_NAME: usize = 64;

/// What the search for tools is called for a server.
const SEARCH: &str = "tool_search";

/// The tools of one request.
#[derive(Debug, Default)]
pub struct Tools {
    /// For the server.
    pub functions: Vec<ToolOut>,
    /// By the name of the function.
    names: Vec<(String, Tool)>,
    taken: HashSet<String>,
    /// What no local server has, by type.
    pub dropped: Vec<String>,
}

impl Tools {
    /// Adds what one entry of a list of tools says. The same tool again is passed over: lists repeat what came before.
    pub fn add(&mut self, entry: &RawValue) {
        let Some(fields) = Fields::of(entry) else { return };
        self.add_within(None, &fields);
    }

    fn add_within(&mut self, namespace: Option<&str>, fields: &Fields<'_>) {
        let kind = fields.text("type").unwrap_or_else(|| "function".into());
        match kind.as_str() {
            "function" => {
                // Some programs nest it as chat does.
                let nested = fields.object("function");
                self.add_function(namespace, nested.as_ref().unwrap_or(fields));
            }
            "custom" => {
                let nested = fields.object("custom");
                self.add_custom(namespace, nested.as_ref().unwrap_or(fields));
            }
            "namespace" if namespace.is_none() => {
                let name = fields.text("name").unwrap_or_default();
                for tool in fields.list("tools").unwrap_or_default().into_iter().filter_map(Fields::of) {
                    self.add_within(Some(&name), &tool);
                }
            }
            "tool_search" if fields.text("execution").as_deref() == Some("client") => {
                let tool = Tool { kind: Kind::Search, namespace: None, name: SEARCH.into() };
                let function = Function {
                    name: SEARCH.into(),
                    description: fields.text("description"),
                    parameters: fields.get("parameters").map(ToOwned::to_owned),
                    strict: None,
                };
                self.put(tool, function);
            }
            _ => self.dropped.push(kind),
        }
    }

    fn add_function(&mut self, namespace: Option<&str>, fields: &Fields<'_>) {
        let Some(name) = fields.text("name").filter(|name| !name.is_empty()) else {
            return self.dropped.push("function without a name".into());
        };
        let function = Function {
            name: String::new(),
            description: fields.text("description"),
            parameters: fields.get("parameters").map(ToOwned::to_owned),
            strict: fields.get("strict").and_then(|strict| serde_json::from_str(strict.get()).ok()),
        };
        self.put(Tool::function(namespace.map(str::to_owned), name), function);
    }

    fn add_custom(&mut self, namespace: Option<&str>, fields: &Fields<'_>) {
        let Some(name) = fields.text("name").filter(|name| !name.is_empty()) else {
            return self.dropped.push("custom tool without a name".into());
        };
        let mut description = fields.text("description").unwrap_or_default();
        // Chat nests a grammar one level deeper.
        let format = fields.object("format");
        let format = format.as_ref().and_then(|format| format.object("grammar")).or(format);
        if let Some((format, definition)) = format.and_then(|f| f.text("definition").map(|text| (f, text))) {
            let syntax = format.text("syntax").unwrap_or_default();
            let gap = if description.is_empty() { "" } else { "\n\n" };
            description.push_str(&format!("{gap}The input follows this {syntax} grammar:\n{definition}"));
        }
        let function = Function {
            name: String::new(),
            description: (!description.is_empty()).then_some(description),
            parameters: RawValue::from_string(FREE_TEXT.into()).ok(),
            strict: None,
        };
        let tool = Tool { kind: Kind::Custom, ..Tool::function(namespace.map(str::to_owned), name) };
        self.put(tool, function);
    }

    fn put(&mut self, tool: Tool, mut function: Function) {
        if self.names.iter().any(|(_, known)| *known == tool) {
            return;
        }
        function.name = self.free_name(&plain_name(&tool));
        self.taken.insert(function.name.clone());
        self.names.push((function.name.clone(), tool));
        self.functions.push(ToolOut { function });
    }

    fn free_name(&self, name: &str) -> String {
        let mut free = name.to_owned();
        let mut number = 2;
        while self.taken.contains(&free) {
            let suffix = format!("_{number}");
            let short: String = name.chars().take(LONGEST_NAME - suffix.len()).collect();
            free = short + &suffix;
            number += 1;
        }
        free
    }

    /// What a tool is called for the server; for one that is not among them as well, which a history may know.
    pub fn function_of(&self, tool: &Tool) -> String {
        let known = self.names.iter().find(|(_, known)| known == tool);
        known.map_or_else(|| plain_name(tool), |(name, _)| name.clone())
    }

    /// What the client calls the tool that a server calls so. A name that a model made up is told as it is.
    pub fn tool_of(&self, function: &str) -> Tool {
        let known = self.names.iter().find(|(name, _)| name == function);
        known.map_or_else(|| Tool::function(None, function.into()), |(_, tool)| tool.clone())
    }

    /// What `tool_choice` says; tools that it leaves out are taken away.
    pub fn choose(&mut self, choice: Option<&RawValue>) -> Result<Option<ToolChoice>, Refused> {
        let Some(choice) = choice else { return Ok(None) };
        if let Some(word) = text(choice) {
            return self.choose_by_word(&word).map(Some);
        }
        let wrong = || Refused::invalid("\"tool_choice\" must be a word or an object with a type.");
        let fields = Fields::of(choice).ok_or_else(|| wrong().about("tool_choice"))?;
        let kind = fields.text("type").ok_or_else(|| wrong().about("tool_choice"))?;
        if kind != "allowed_tools" {
            return self.named(&fields, &kind).map(|name| Some(ToolChoice::Named(name)));
        }
        // Chat nests them one level deeper.
        let nested = fields.object("allowed_tools");
        let fields = nested.as_ref().unwrap_or(&fields);
        let entries = fields.list("tools").unwrap_or_default();
        let allowed: Vec<Result<String, Refused>> = entries
            .into_iter()
            .filter_map(Fields::of)
            .map(|entry| self.named(&entry, &entry.text("type").unwrap_or_default()))
            .collect();
        let names: HashSet<&String> = allowed.iter().flatten().collect();
        self.functions.retain(|tool| names.contains(&tool.function.name));
        let mode = fields.text("mode").unwrap_or_else(|| "auto".into());
        match allowed.into_iter().find_map(Result::err).filter(|_| self.functions.is_empty()) {
            Some(none_left) if mode == "required" => Err(none_left),
            _ => self.choose_by_word(&mode).map(Some),
        }
    }

    fn choose_by_word(&self, word: &str) -> Result<ToolChoice, Refused> {
        match word {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" | "any" if !self.functions.is_empty() => Ok(ToolChoice::Required),
            "required" | "any" => {
                let message = "A tool must be called, but none of the tools can be called through a local server.";
                Err(Refused::unsupported(message).about("tool_choice"))
            }
            other => Err(Refused::invalid(format!(
                "\"tool_choice\" cannot be \"{other}\". It may be \"auto\", \"none\", \"required\" or name a tool."
            ))
            .about("tool_choice")),
        }
    }

    /// The function that a choice names.
    fn named(&self, fields: &Fields<'_>, kind: &str) -> Result<String, Refused> {
        let nested = fields.object(kind);
        let name = nested.as_ref().unwrap_or(fields).text("name").unwrap_or_default();
        let wanted = match kind {
            "function" => Tool::function(fields.text("namespace"), name),
            "custom" => Tool { kind: Kind::Custom, ..Tool::function(fields.text("namespace"), name) },
            SEARCH => Tool { kind: Kind::Search, namespace: None, name: SEARCH.into() },
            other => {
                let message =
                    format!("The tool \"{other}\" of \"tool_choice\" cannot be had from a local server.");
                return Err(Refused::unsupported(message).about("tool_choice"));
            }
        };
        let found = self.names.iter().find(|(_, tool)| *tool == wanted);
        // A bare name means a tool within a namespace where there is only that.
        let mut alike = self.names.iter().filter(|(_, tool)| {
            wanted.namespace.is_none() && tool.kind == wanted.kind && tool.name == wanted.name
        });
        let found = found.or_else(|| alike.next().filter(|_| alike.next().is_none()));
        found.map(|(name, _)| name.clone()).ok_or_else(|| {
            let message = format!("The tool \"{}\" of \"tool_choice\" is not among the tools.", wanted.name);
            Refused::invalid(message).about("tool_choice")
        })
    }
}

/// The parameters of a function that takes a free text (see [`super::freeform`]).
const FREE_TEXT: &str = r#"{"type":"object","properties":{"input":{"type":"string","description":"The whole input of the tool as free text."}},"required":["input"],"additionalProperties":false}"#;

/// The name of a tool before collisions. Only one with a namespace is made here, and keeps to what chat completions take.
fn plain_name(tool: &Tool) -> String {
    let Some(namespace) = &tool.namespace else { return tool.name.clone() };
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    let name = format!("{namespace}__{}", tool.name);
    name.chars().map(|letter| if fits(letter) { letter } else { '_' }).take(LONGEST_NAME).collect()
}
