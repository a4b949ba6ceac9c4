//! The apps, and where they keep their configuration.

use super::{AppGroup, Dialect, System, edit::Form};
use crate::error::ApiError;

/// A program, or a way to write one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// By which people name it on the command line.
    pub id: &'static str,
    pub title: &'static str,
    pub group: AppGroup,
    pub dialect: Dialect,
    /// It mostly runs in a container of this machine.
    pub in_container: bool,
    /// It names a second model for small tasks.
    pub has_small: bool,
    /// What Pilothouse may set up.
    pub file: Option<ConfigFile>,
}

/// Where a folder begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    Home,
    /// `XDG_CONFIG_HOME`, else `.config` in the home folder, on each system.
    Config,
}

/// A variable of the environment by which a program looks elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    pub name: &'static str,
    /// It names the file itself, not its folder.
    pub is_file: bool,
}

/// The file in which a program keeps its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigFile {
    pub form: Form,
    pub variable: Option<Variable>,
    linux: (Base, &'static str),
    macos: (Base, &'static str),
    /// Its possible names: the first that is there counts, and without any the last is made.
    pub names: &'static [&'static str],
    /// A file beside it that a new one would put out of force.
    pub supersedes: Option<&'static str>,
}

impl ConfigFile {
    /// The folder of a system, below its base; empty: the base itself.
    pub fn folder(&self, system: System) -> (Base, &'static str) {
        match system {
            System::Linux => self.linux,
            System::Macos => self.macos,
        }
    }
}

const fn file(form: Form, folder: (Base, &'static str), names: &'static [&'static str]) -> ConfigFile {
    ConfigFile { form, variable: None, linux: folder, macos: folder, names, supersedes: None }
}

const fn moved_by(name: &'static str, file: ConfigFile) -> ConfigFile {
    ConfigFile { variable: Some(Variable { name, is_file: false }), ..file }
}

/// `CLAUDE_CONFIG_DIR` moves it (Claude Code's documentation, settings and environment variables).
const CLAUDE: ConfigFile =
    moved_by("CLAUDE_CONFIG_DIR", file(Form::Json, (Base::Home, ".claude"), &["settings.json"]));

/// `CODEX_HOME` moves it (Codex's documentation, configuration).
const CODEX: ConfigFile = moved_by("CODEX_HOME", file(Form::Toml, (Base::Home, ".codex"), &["config.toml"]));

/// Both names are read, and the one with comments wins (opencode's documentation, config).
const OPENCODE: ConfigFile = ConfigFile {
    variable: Some(Variable { name: "OPENCODE_CONFIG", is_file: true }),
    ..file(Form::Json, (Base::Config, "opencode"), &["opencode.jsonc", "opencode.json"])
};

/// Read from the home folder, then from the repository (aider's documentation, YAML config file).
const AIDER: ConfigFile = file(Form::Yaml, (Base::Home, ""), &[".aider.conf.yml"]);

/// `CONTINUE_GLOBAL_DIR` moves it. The older config.json is not read any more once there is a config.yaml (Continue's
/// documentation, config.yaml reference).
const CONTINUE: ConfigFile = ConfigFile {
    supersedes: Some("config.json"),
    ..moved_by("CONTINUE_GLOBAL_DIR", file(Form::Yaml, (Base::Home, ".continue"), &["config.yaml"]))
};

/// On macOS without the XDG variable (Zed's source, crates/paths).
const ZED: ConfigFile = ConfigFile {
    macos: (Base::Home, ".config/zed"),
    ..file(Form::Json, (Base::Config, "zed"), &["settings.json"])
};

/// The folder is Click's for applications; `LLM_USER_PATH` moves it (llm's documentation, other models).
const LLM: ConfigFile = ConfigFile {
    macos: (Base::Home, "Library/Application Support/io.datasette.llm"),
    ..moved_by(
        "LLM_USER_PATH",
        file(Form::Yaml, (Base::Config, "io.datasette.llm"), &["extra-openai-models.yaml"]),
    )
};

const fn program(id: &'static str, title: &'static str, dialect: Dialect) -> App {
    App { id, title, group: AppGroup::Program, dialect, in_container: false, has_small: false, file: None }
}

const fn with_file(app: App, file: ConfigFile) -> App {
    App { file: Some(file), ..app }
}

const fn with_small(app: App) -> App {
    App { has_small: true, ..app }
}

const fn contained(app: App) -> App {
    App { in_container: true, ..app }
}

const fn code(id: &'static str, title: &'static str, dialect: Dialect) -> App {
    App { group: AppGroup::Code, ..program(id, title, dialect) }
}

const APPS: &[App] = &[
    with_small(with_file(program("claude-code", "Claude Code", Dialect::Messages), CLAUDE)),
    with_file(program("codex", "Codex", Dialect::Responses), CODEX),
    with_small(with_file(program("opencode", "opencode", Dialect::Chat), OPENCODE)),
    with_small(with_file(program("aider", "aider", Dialect::Chat), AIDER)),
    with_file(program("continue", "Continue", Dialect::Chat), CONTINUE),
    program("cline", "Cline", Dialect::Chat),
    with_file(program("zed", "Zed", Dialect::Chat), ZED),
    program("vscode", "VS Code", Dialect::Chat),
    contained(program("open-webui", "Open WebUI", Dialect::Chat)),
    contained(program("librechat", "LibreChat", Dialect::Chat)),
    contained(program("home-assistant", "Home Assistant", Dialect::Ollama)),
    with_file(program("llm", "llm", Dialect::Chat), LLM),
    code("curl", "curl", Dialect::Chat),
    code("openai-python", "OpenAI for Python", Dialect::Chat),
    code("openai-node", "OpenAI for Node", Dialect::Chat),
    code("anthropic-python", "Anthropic for Python", Dialect::Messages),
    code("anthropic-node", "Anthropic for Node", Dialect::Messages),
    code("langchain", "LangChain", Dialect::Chat),
    code("litellm", "LiteLLM", Dialect::Chat),
];

/// All of them, in the order in which they are shown.
pub fn apps() -> &'static [App] {
    APPS
}

/// The one that a person means, by id or title in whatever case. Errors: not_found, with those that there are.
pub fn app(name: &str) -> Result<&'static App, ApiError> {
    let plain = |text: &str| {
        text.chars()
            .filter(|letter| letter.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect::<String>()
    };
    let wanted = plain(name);
    let found = APPS.iter().find(|app| plain(app.id) == wanted || plain(app.title) == wanted);
    found.ok_or_else(|| {
        let ids: Vec<&str> = APPS.iter().map(|app| app.id).collect();
        ApiError::not_found(format!("There is no app named {name}.")).hint(format!(
            "There are {}. Any other that speaks OpenAI's or Anthropic's API works as well: see curl for the address.",
            ids.join(", ")
        ))
    })
}
