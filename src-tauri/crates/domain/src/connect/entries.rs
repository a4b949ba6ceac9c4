//! What a program's configuration file has to say, one value each.

use super::{
    App, Dialect, NO_KEY, Wanted,
    edit::{self, Entry, Place},
};
use crate::server::KeyText;
use serde_json::json;

/// The provider's name in files that list several.
const PROVIDER: &str = "pilothouse";
const TITLE: &str = "Pilothouse";
/// Before a key in a header.
const BEARER: &str = "Bearer ";
/// Local models think for long before the first token and between two: half an hour of silence is no failure.
const SILENCE_MS: u64 = 1_800_000;
const WHOLE_MS: u64 = 3_600_000;

/// All that shall stand in the app's file, in the order in which new lines are written. Empty: it has no file.
pub fn entries(app: &App, wanted: &Wanted) -> Vec<Entry> {
    match app.id {
        "claude-code" => claude_code(wanted),
        "codex" => codex(wanted),
        "opencode" => opencode(wanted),
        "aider" => aider(wanted),
        "continue" => continue_dev(wanted),
        "zed" => zed(wanted),
        "llm" => llm(wanted),
        _ => vec![],
    }
}

/// Where an app's file holds its key. `None`: it has none, or the key stands elsewhere.
fn key_place(app: &App) -> Option<Place> {
    Some(match app.id {
        "claude-code" => Entry::path(["env", "ANTHROPIC_AUTH_TOKEN"]),
        "codex" => Entry::path(["model_providers", PROVIDER, "experimental_bearer_token"]),
        "opencode" => Entry::path(["provider", PROVIDER, "options", "apiKey"]),
        "aider" => Entry::path(["openai-api-key"]),
        "continue" => Entry::path(["models"]).item("name", TITLE).key("apiKey"),
        "llm" => Entry::path([""; 0]).item("model_id", PROVIDER).then(&["headers", "Authorization"]),
        _ => return None,
    })
}

/// The key that stands in an app's file, if it is one.
pub fn kept_key(app: &App, text: &str) -> Option<KeyText> {
    let found = edit::text_at(app.file.as_ref()?.form, text, key_place(app)?.steps())?;
    let key = found.strip_prefix(BEARER).unwrap_or(&found).trim();
    (!key.is_empty() && key != NO_KEY).then(|| KeyText(key.to_owned()))
}

/// Names as in Claude Code's documentation (environment variables) and its changelog. The attribution header changes with each
/// request and would spoil every prefix cache; an empty API key ends the clash with one that is set elsewhere.
fn claude_code(wanted: &Wanted) -> Vec<Entry> {
    let model = wanted.model.as_str();
    let mut values = vec![
        ("ANTHROPIC_BASE_URL", wanted.base(Dialect::Messages)),
        ("ANTHROPIC_AUTH_TOKEN", wanted.key().to_owned()),
        ("ANTHROPIC_API_KEY", String::new()),
        ("ANTHROPIC_MODEL", model.to_owned()),
        ("ANTHROPIC_DEFAULT_OPUS_MODEL", model.to_owned()),
        ("ANTHROPIC_DEFAULT_SONNET_MODEL", model.to_owned()),
        ("ANTHROPIC_DEFAULT_HAIKU_MODEL", wanted.small.clone()),
        ("CLAUDE_CODE_SUBAGENT_MODEL", model.to_owned()),
        ("CLAUDE_CODE_ATTRIBUTION_HEADER", "0".into()),
        ("CLAUDE_CODE_TOTAL_TOKENS_REMINDER", "off".into()),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".into()),
        ("API_TIMEOUT_MS", WHOLE_MS.to_string()),
        ("CLAUDE_STREAM_IDLE_TIMEOUT_MS", SILENCE_MS.to_string()),
    ];
    if let Some(context) = wanted.context {
        values.push(("CLAUDE_CODE_AUTO_COMPACT_WINDOW", context.to_string()));
    }
    values.into_iter().map(|(name, value)| Entry::at(["env", name], json!(value))).collect()
}

/// Codex refuses `wire_api = "chat"`, and no provider may be named `openai` (Codex's source, model-provider-info). Its web search
/// runs on OpenAI's own servers. A key that was named stands in the file itself (`experimental_bearer_token`): the other way, a
/// variable of the environment, is none that could be written here.
fn codex(wanted: &Wanted) -> Vec<Entry> {
    let provider = |key: &'static str| ["model_providers", PROVIDER, key];
    let mut entries =
        vec![Entry::at(["model"], json!(wanted.model)), Entry::at(["model_provider"], json!(PROVIDER))];
    if let Some(context) = wanted.context {
        entries.push(Entry::at(["model_context_window"], json!(context)));
    }
    entries.extend([
        Entry::at(["web_search"], json!("disabled")),
        Entry::at(provider("name"), json!(TITLE)),
        Entry::at(provider("base_url"), json!(wanted.base(Dialect::Responses))),
        Entry::at(provider("wire_api"), json!("responses")),
        Entry::at(provider("stream_idle_timeout_ms"), json!(SILENCE_MS)),
    ]);
    if wanted.key.is_some() {
        entries.push(Entry::at(provider("experimental_bearer_token"), json!(wanted.key())));
    }
    entries
}

/// Its default limit of 300 s is too short for a long prompt (opencode's documentation, config: providers).
fn opencode(wanted: &Wanted) -> Vec<Entry> {
    let option = |key: &'static str| ["provider", PROVIDER, "options", key];
    let mut entries = vec![
        Entry::at(["$schema"], json!("https://opencode.ai/config.json")).unless_there(),
        Entry::at(["model"], json!(format!("{PROVIDER}/{}", wanted.model))),
        Entry::at(["small_model"], json!(format!("{PROVIDER}/{}", wanted.small))),
        Entry::at(["provider", PROVIDER, "npm"], json!("@ai-sdk/openai-compatible")),
        Entry::at(["provider", PROVIDER, "name"], json!(TITLE)),
        Entry::at(option("baseURL"), json!(wanted.base(Dialect::Chat))),
        Entry::at(option("apiKey"), json!(wanted.key())),
        Entry::at(option("timeout"), json!(false)),
    ];
    let model = |name: &str, rest: &[&str]| {
        let path = ["provider", PROVIDER, "models", name].into_iter().chain(rest.iter().copied());
        path.map(str::to_owned).collect::<Vec<_>>()
    };
    entries.push(Entry::at(model(&wanted.model, &["name"]), json!(wanted.model)));
    if let Some(context) = wanted.context {
        entries.push(Entry::at(model(&wanted.model, &["limit", "context"]), json!(context)));
        entries.push(Entry::at(model(&wanted.model, &["limit", "output"]), json!(wanted.output())));
    }
    if wanted.small != wanted.model {
        entries.push(Entry::at(model(&wanted.small, &["name"]), json!(wanted.small)));
    }
    entries
}

/// aider names models as LiteLLM does.
fn aider(wanted: &Wanted) -> Vec<Entry> {
    vec![
        Entry::at(["model"], json!(format!("openai/{}", wanted.model))),
        Entry::at(["weak-model"], json!(format!("openai/{}", wanted.small))),
        Entry::at(["openai-api-base"], json!(wanted.base(Dialect::Chat))),
        Entry::at(["openai-api-key"], json!(wanted.key())),
    ]
}

fn continue_dev(wanted: &Wanted) -> Vec<Entry> {
    let model = |rest: &[&'static str]| Entry::path(["models"]).item("name", TITLE).then(rest);
    let mut entries = vec![
        Entry::at(["name"], json!("Local Config")).unless_there(),
        Entry::at(["version"], json!("1.0.0")).unless_there(),
        Entry::at(["schema"], json!("v1")).unless_there(),
        model(&["provider"]).is(json!("openai")),
        model(&["model"]).is(json!(wanted.model)),
        model(&["apiBase"]).is(json!(wanted.base(Dialect::Chat))),
        model(&["apiKey"]).is(json!(wanted.key())),
    ];
    if let Some(context) = wanted.context {
        entries.push(model(&["defaultCompletionOptions", "contextLength"]).is(json!(context)));
    }
    entries
}

/// Zed wants a context for each model. Pictures are off unless a person turns them on: not every model takes them.
fn zed(wanted: &Wanted) -> Vec<Entry> {
    let provider = ["language_models", "openai_compatible", TITLE];
    let model = |rest: &[&'static str]| {
        Entry::path(provider).key("available_models").item("name", &wanted.model).then(rest)
    };
    vec![
        Entry::path(provider).key("api_url").is(json!(wanted.base(Dialect::Chat))),
        model(&["max_tokens"]).is(json!(wanted.context_or_assumed())),
        model(&["max_output_tokens"]).is(json!(wanted.output())),
        model(&["capabilities", "tools"]).is(json!(true)),
        model(&["capabilities", "images"]).is(json!(false)).unless_there(),
        model(&["capabilities", "max_tokens_parameter"]).is(json!(true)),
    ]
}

/// It keeps keys under names of its own and sends none to another address; a header goes with each request (llm's documentation,
/// other models). It is spelt as the library does, so that it takes the place of the library's own.
fn llm(wanted: &Wanted) -> Vec<Entry> {
    let model = |keys: &[&'static str]| Entry::path([""; 0]).item("model_id", PROVIDER).then(keys);
    let mut entries = vec![
        model(&["model_name"]).is(json!(wanted.model)),
        model(&["api_base"]).is(json!(wanted.base(Dialect::Chat))),
        model(&["supports_tools"]).is(json!(true)),
    ];
    if wanted.key.is_some() {
        let header = format!("{BEARER}{}", wanted.key());
        entries.push(model(&["headers", "Authorization"]).is(json!(header)));
    }
    entries
}
