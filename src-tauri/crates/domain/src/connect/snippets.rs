//! Lines to copy: of a program with a file those of a new file, else what is typed in.

use super::{App, Dialect, Snippet, Wanted, edit, entries, notes::needs_context};
use serde_json::json;

/// Each with its place. `file`: the configuration file as people write its path.
pub fn snippets(app: &App, wanted: &Wanted, file: Option<&str>) -> Vec<Snippet> {
    let mut snippets = Vec::new();
    if let Some(config) = &app.file
        && let Ok(text) = edit::edit(config.form, None, &entries(app, wanted))
    {
        let title = file.unwrap_or(config.names.last().unwrap_or(&"")).to_owned();
        snippets.push(Snippet { title, language: config.form.language().into(), text });
    }
    snippets.extend(typed(app, wanted).map(|(title, language, text)| Snippet {
        title: title.into(),
        language: language.into(),
        text: format!("{}\n", text.trim_end()),
    }));
    snippets
}

type Typed = (&'static str, &'static str, String);

fn typed(app: &App, wanted: &Wanted) -> Option<Typed> {
    Some(match app.id {
        "claude-code" => ("Terminal, for once", "sh", claude_once(wanted)),
        "codex" => ("Terminal, for once", "sh", codex_once(wanted)),
        "aider" => ("Terminal, for once", "sh", aider_once(wanted)),
        "cline" => ("Settings of Cline", "text", cline(app, wanted)),
        "vscode" => ("Custom endpoint", "json", vscode(wanted)),
        "zed" => ("Terminal, with its key", "sh", zed_once(wanted)?),
        "open-webui" => ("Terminal", "sh", open_webui(&wanted.base_for(app).ok()?, wanted)),
        "librechat" => ("librechat.yaml", "yaml", librechat(&wanted.base_for(app).ok()?, wanted)),
        "home-assistant" => (
            "Settings, Devices & services, Add integration, Ollama",
            "text",
            home_assistant(&wanted.base_for(app).ok()?, wanted),
        ),
        "curl" => ("Terminal", "sh", curl(wanted)),
        "openai-python" => ("Python", "python", openai_python(wanted)),
        "openai-node" => ("Node", "javascript", openai_node(wanted)),
        "anthropic-python" => ("Python", "python", anthropic_python(wanted)),
        "anthropic-node" => ("Node", "javascript", anthropic_node(wanted)),
        "langchain" => ("Python", "python", langchain(wanted)),
        "litellm" => ("Python", "python", litellm(wanted)),
        _ => return None,
    })
}

/// As a shell reads it: plain where that is safe, else in single quotation marks.
fn shell(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-./:@%+=,".contains(letter);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// A literal of Python and JavaScript: JSON's are both.
fn literal(text: &str) -> String {
    json!(text).to_string()
}

fn claude_once(wanted: &Wanted) -> String {
    format!(
        "ANTHROPIC_BASE_URL={} ANTHROPIC_AUTH_TOKEN={} ANTHROPIC_API_KEY= claude --model {}",
        shell(&wanted.base(Dialect::Messages)),
        shell(wanted.key()),
        shell(&wanted.model)
    )
}

fn codex_once(wanted: &Wanted) -> String {
    let set = |key: &str, value: &str| format!("-c {}", shell(&format!("{key}={}", literal(value))));
    let key = wanted.own_key().map(|key| set("model_providers.pilothouse.experimental_bearer_token", key));
    let lines = [
        "codex".to_owned(),
        set("model_provider", "pilothouse"),
        set("model_providers.pilothouse.name", "Pilothouse"),
        set("model_providers.pilothouse.base_url", &wanted.base(Dialect::Responses)),
        set("model_providers.pilothouse.wire_api", "responses"),
    ];
    let model = format!("-m {}", shell(&wanted.model));
    lines.into_iter().chain(key).chain([model]).collect::<Vec<_>>().join(" \\\n  ")
}

/// Its settings have no place for a key; it reads this variable or asks (Zed's documentation, OpenAI API compatible).
fn zed_once(wanted: &Wanted) -> Option<String> {
    Some(format!("PILOTHOUSE_API_KEY={} zed", shell(wanted.own_key()?)))
}

/// The key is optional there (its documentation, Ollama).
fn home_assistant(base: &str, wanted: &Wanted) -> String {
    let key = wanted.own_key().map(|key| ("API key", key));
    let lines = [Some(("URL", base)), key, Some(("Model", &wanted.model))];
    lines
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name:8} {value}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn aider_once(wanted: &Wanted) -> String {
    format!(
        "OPENAI_API_BASE={} OPENAI_API_KEY={} aider --model {}",
        shell(&wanted.base(Dialect::Chat)),
        shell(wanted.key()),
        shell(&format!("openai/{}", wanted.model))
    )
}

fn cline(app: &App, wanted: &Wanted) -> String {
    let context = if needs_context(app) { wanted.context_or_assumed().to_string() } else { String::new() };
    [
        ("API Provider", "OpenAI Compatible"),
        ("Base URL", &wanted.base(Dialect::Chat)),
        ("API Key", wanted.key()),
        ("Model ID", &wanted.model),
        ("Context Window Size", &context),
    ]
    .map(|(name, value)| format!("{name:20} {value}"))
    .join("\n")
}

fn vscode(wanted: &Wanted) -> String {
    let url = format!("{}/chat/completions", wanted.base(Dialect::Chat));
    let model = json!(wanted.model);
    let input = wanted.context_or_assumed().saturating_sub(wanted.output());
    format!(
        r#"{{
  "vendor": "customendpoint",
  "apiType": "chat-completions",
  "models": [
    {{
      "id": {model},
      "name": {model},
      "url": {},
      "toolCalling": true,
      "vision": false,
      "maxInputTokens": {input},
      "maxOutputTokens": {}
    }}
  ]
}}"#,
        json!(url),
        wanted.output()
    )
}

fn open_webui(base: &str, wanted: &Wanted) -> String {
    [
        "docker run -d -p 3000:8080 --name open-webui".to_owned(),
        format!("-e OPENAI_API_BASE_URL={}", shell(base)),
        format!("-e OPENAI_API_KEY={}", shell(wanted.key())),
        format!("-e DEFAULT_MODELS={}", shell(&wanted.model)),
        "-v open-webui:/app/backend/data ghcr.io/open-webui/open-webui:main".to_owned(),
    ]
    .join(" \\\n  ")
}

fn librechat(base: &str, wanted: &Wanted) -> String {
    let [key, base, model] = [wanted.key(), base, wanted.model.as_str()].map(|text| json!(text));
    format!(
        "endpoints:
  custom:
    - name: Pilothouse
      apiKey: {key}
      baseURL: {base}
      models:
        default: [{model}]
        fetch: true
      titleConvo: true
      titleModel: {}",
        json!(wanted.small)
    )
}

fn curl(wanted: &Wanted) -> String {
    let body = json!({
        "model": wanted.model, "stream": true, "messages": [{ "role": "user", "content": "Hello" }],
    });
    let key = wanted.own_key().map(|key| format!("-H {}", shell(&format!("authorization: Bearer {key}"))));
    let lines = [
        format!("curl -N {}", shell(&format!("{}/chat/completions", wanted.base(Dialect::Chat)))),
        "-H 'content-type: application/json'".to_owned(),
    ];
    let body = format!("-d {}", shell(&body.to_string()));
    lines.into_iter().chain(key).chain([body]).collect::<Vec<_>>().join(" \\\n  ")
}

fn openai_python(wanted: &Wanted) -> String {
    format!(
        r#"from openai import OpenAI

client = OpenAI(base_url={}, api_key={})
answer = client.chat.completions.create(
    model={},
    messages=[{{"role": "user", "content": "Hello"}}],
)
print(answer.choices[0].message.content)"#,
        literal(&wanted.base(Dialect::Chat)),
        literal(wanted.key()),
        literal(&wanted.model)
    )
}

fn openai_node(wanted: &Wanted) -> String {
    format!(
        r#"import OpenAI from "openai";

const client = new OpenAI({{ baseURL: {}, apiKey: {} }});
const answer = await client.chat.completions.create({{
  model: {},
  messages: [{{ role: "user", content: "Hello" }}],
}});
console.log(answer.choices[0].message.content);"#,
        literal(&wanted.base(Dialect::Chat)),
        literal(wanted.key()),
        literal(&wanted.model)
    )
}

/// The text of an answer stands in one of its blocks; others may come before it.
fn anthropic_python(wanted: &Wanted) -> String {
    format!(
        r#"from anthropic import Anthropic

client = Anthropic(base_url={}, auth_token={})
answer = client.messages.create(
    model={},
    max_tokens={},
    messages=[{{"role": "user", "content": "Hello"}}],
)
print("".join(block.text for block in answer.content if block.type == "text"))"#,
        literal(&wanted.base(Dialect::Messages)),
        literal(wanted.key()),
        literal(&wanted.model),
        wanted.output()
    )
}

fn anthropic_node(wanted: &Wanted) -> String {
    format!(
        r#"import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({{ baseURL: {}, authToken: {}, apiKey: null }});
const answer = await client.messages.create({{
  model: {},
  max_tokens: {},
  messages: [{{ role: "user", content: "Hello" }}],
}});
console.log(answer.content.map((block) => (block.type === "text" ? block.text : "")).join(""));"#,
        literal(&wanted.base(Dialect::Messages)),
        literal(wanted.key()),
        literal(&wanted.model),
        wanted.output()
    )
}

fn langchain(wanted: &Wanted) -> String {
    format!(
        r#"from langchain_openai import ChatOpenAI

model = ChatOpenAI(base_url={}, api_key={}, model={}, stream_usage=True)
print(model.invoke("Hello").content)"#,
        literal(&wanted.base(Dialect::Chat)),
        literal(wanted.key()),
        literal(&wanted.model)
    )
}

fn litellm(wanted: &Wanted) -> String {
    format!(
        r#"import litellm

answer = litellm.completion(
    model={},
    api_base={},
    api_key={},
    messages=[{{"role": "user", "content": "Hello"}}],
)
print(answer.choices[0].message.content)"#,
        literal(&format!("openai/{}", wanted.model)),
        literal(&wanted.base(Dialect::Chat)),
        literal(wanted.key())
    )
}
