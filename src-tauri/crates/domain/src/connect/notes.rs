//! What to know about an app, in short sentences.

use super::{App, Dialect, NoOllama, System, Wanted};

/// In the order of their weight; each is a sentence.
pub fn notes(app: &App, wanted: &Wanted) -> Vec<String> {
    let mut notes: Vec<String> = own(app, wanted).into_iter().map(str::to_owned).collect();
    if let Err(none) = wanted.root_for(app.dialect) {
        notes.insert(0, no_ollama(none));
    } else if app.in_container {
        notes.extend(container(app, wanted));
    }
    if let Some(name) = steering(app, wanted) {
        notes.push(format!(
            "{} takes {name} for a model of OpenAI and asks differently then; an alias with another name avoids that.",
            app.title
        ));
    }
    if wanted.context.is_none() && needs_context(app) {
        notes.push(match app.id {
            "zed" | "cline" | "vscode" => format!(
                "The context of {} is not known while it is not loaded: {} tokens are assumed. Set it up again later.",
                wanted.model,
                super::ASSUMED_CONTEXT
            ),
            _ => format!(
                "The context of {} is not known while it is not loaded, and is left out. Set it up again later.",
                wanted.model
            ),
        });
    }
    notes
}

/// Said of a file that holds a key, or is about to, while its rights let others read it: they are the owner's to change.
pub fn open_to_others(path: &str) -> String {
    format!(
        "Other accounts of this machine may read {path}, and the key in it. Only you after: chmod 600 {path}."
    )
}

fn no_ollama(none: &NoOllama) -> String {
    match none.port {
        Some(port) => format!(
            "Ollama's own API has a port of its own, which is off: set gateway.ollama_port to {port}."
        ),
        None => format!("Ollama's own API has a port of its own, which is not open: {}.", none.reason),
    }
}

/// Whether its configuration names the context.
pub(super) fn needs_context(app: &App) -> bool {
    matches!(app.id, "claude-code" | "codex" | "opencode" | "continue" | "cline" | "zed" | "vscode")
}

fn own(app: &App, wanted: &Wanted) -> Vec<&'static str> {
    match app.id {
        "claude-code" if wanted.context.is_some() => vec![
            "It compacts a conversation before the context of this model is full. Start Claude Code again afterwards.",
        ],
        "claude-code" => vec!["Start Claude Code again afterwards."],
        "codex" => vec![
            "It becomes the provider that Codex uses by default. Its web search is off, because that runs at OpenAI.",
        ],
        "opencode" => vec!["It becomes the model that opencode uses by default."],
        "aider" => vec!["A .aider.conf.yml of a repository comes before this one of the home folder."],
        "continue" => vec!["Choose Pilothouse in the list of models afterwards."],
        "cline" => vec![
            "Cline keeps its settings inside the editor, so they are typed in. Its own provider for LM Studio goes past Pilothouse.",
        ],
        "zed" if wanted.own_key().is_some() => vec![
            "Zed asks for a key once: paste this one in its agent settings, or start Zed with it in the environment.",
        ],
        "zed" => vec![
            "Zed asks for a key once: any text will do, in its agent settings or as PILOTHOUSE_API_KEY in the environment.",
        ],
        "vscode" if wanted.own_key().is_some() => vec![
            "Add it by “Manage Language Models”, “Add”, “Custom Endpoint”. VS Code asks for the key there, and keeps it apart from the list.",
        ],
        "vscode" => vec![
            "Add it by “Manage Language Models”, “Add”, “Custom Endpoint”. VS Code keeps the list itself.",
        ],
        "open-webui" => vec!["Or in its admin settings under Connections, as an OpenAI connection."],
        "librechat" => {
            vec!["These lines belong below “endpoints” in the librechat.yaml of your installation."]
        }
        "home-assistant" => {
            vec!["It speaks Ollama's own API. Choose the model by the name that is shown here."]
        }
        "llm" => vec!["Then ask with: llm -m pilothouse 'Hello'."],
        "langchain" => vec!["Without stream_usage it does not count tokens of streamed answers here."],
        "litellm" => vec![],
        "anthropic-python" | "anthropic-node" => vec!["The address stands without /v1: the library adds it."],
        "openai-python" | "openai-node" if wanted.model == crate::scene::ACTIVE => {
            vec!["The name active follows every switch; any model's own name works as well."]
        }
        _ => vec![],
    }
}

/// The most addresses of bridges that are named; the settings and the status have them all.
const BRIDGES: usize = 2;

/// Docker Desktop leads containers to the loopback of its host; Docker of Linux does not.
fn container(app: &App, wanted: &Wanted) -> Vec<String> {
    let base = wanted.base(app.dialect);
    match (wanted.system, wanted.bridges.as_deref()) {
        (System::Macos, _) => {
            vec![format!("The address is as a container sees it; {} outside of one uses {base}.", app.title)]
        }
        (System::Linux, _) if app.dialect == Dialect::Ollama => {
            vec![format!("On Linux a container with --network=host reaches it, by the address {base}.")]
        }
        (System::Linux, None) => vec![
            format!("On Linux a container with --network=host reaches this machine's programs, by the address {base}."),
            "For others: pilothouse settings set gateway.container_bridges true, and a key (pilothouse keys client add NAME).".into(),
        ],
        (System::Linux, Some([])) => vec![format!(
            "There is no bridge of Docker or Podman here yet; a container with --network=host uses {base}."
        )],
        (System::Linux, Some(roots)) => {
            let bases = roots.iter().take(BRIDGES).map(|root| super::base_of(root, app.dialect));
            vec![
                "With Docker, start it with --add-host=host.docker.internal:host-gateway; Podman names host.containers.internal itself.".into(),
                format!("Without such a name the address is {}.", bases.collect::<Vec<_>>().join(" or ")),
            ]
        }
    }
}

/// The name, where the app chooses another endpoint or other parameters by it.
fn steering<'a>(app: &App, wanted: &'a Wanted) -> Option<&'a str> {
    let judges = matches!(app.id, "continue" | "langchain" | "open-webui" | "litellm");
    let name = wanted.model.rsplit('/').next().unwrap_or_default();
    let of_openai = ["gpt-5", "o1", "o3", "o4"].iter().any(|start| {
        let rest = name.strip_prefix(start);
        rest.is_some_and(|rest| !rest.starts_with(|letter: char| letter.is_ascii_alphanumeric()))
    });
    (judges && app.dialect == Dialect::Chat && (of_openai || name.contains("codex")))
        .then_some(wanted.model.as_str())
}
