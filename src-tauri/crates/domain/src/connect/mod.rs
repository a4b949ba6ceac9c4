//! How programs are pointed at the one address: what each needs to know, which file it reads, what changes in that file, and
//! what it would ask. Facts about programs are data here; reading and writing their files is the engine's work.

mod apps;
mod ask;
pub mod edit;
mod entries;
mod notes;
mod snippets;
#[cfg(test)]
mod tests;
mod view;

pub use apps::{App, Base, ConfigFile, Variable, app, apps};
pub use ask::{Heard, Question, question, said_error};
pub use entries::{entries, kept_key};
pub use notes::{notes, open_to_others};
pub use snippets::snippets;
pub use view::{AppView, Connection, FileChange, FileState, Snippet, TestReport};

use crate::{
    model::{ModelPurpose, ModelRef},
    scene::ACTIVE,
    server::KeyText,
    snapshot::{ModelView, Snapshot},
};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// What stands where a program insists on a key: this machine's programs need none, and an empty one is refused by many.
pub const NO_KEY: &str = "pilothouse";
/// The context, in tokens, that is named to programs that do not go without one while it is not known. Small enough for most
/// models; the notes say that it is assumed.
pub const ASSUMED_CONTEXT: u64 = 8192;
/// The longest key that is taken, in characters: those of client programs have 67, and no service's are much longer.
const LONGEST_KEY: usize = 200;

/// The language that a program speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export, rename = "AppDialect")]
pub enum Dialect {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Messages,
    /// Ollama's own API.
    Ollama,
}

impl Dialect {
    pub fn title(self) -> &'static str {
        match self {
            Self::Chat => "OpenAI chat completions",
            Self::Responses => "OpenAI responses",
            Self::Messages => "Anthropic messages",
            Self::Ollama => "Ollama",
        }
    }
}

/// What an app is: a program with settings of its own, or lines of code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum AppGroup {
    Program,
    Code,
}

/// The system whose folders count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum System {
    Linux,
    Macos,
}

/// What an app shall use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The gateway without a path: "http://127.0.0.1:11480".
    pub root: String,
    /// Where Ollama's own API is spoken, without a path: "http://127.0.0.1:11435". `Err`: why that is nowhere.
    pub ollama: Result<String, NoOllama>,
    /// The key that it shall show. `None`: none was named, so a key that its file has stays there.
    pub key: Option<KeyText>,
    /// The name that it asks by: `active`, a role, an alias, or a model.
    pub model: String,
    /// The same for its small tasks (titles, summaries); mostly the same name.
    pub small: String,
    /// Context of the main model as it is loaded, in tokens. `None`: not known.
    pub context: Option<u64>,
    pub system: System,
    /// The gateway without a path on each bridge of containers. `None`: it is not to listen there (`gateway.container_bridges`).
    pub bridges: Option<Vec<String>>,
}

/// Why Ollama's own API is spoken nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoOllama {
    /// As the end of a sentence, without its full stop.
    pub reason: String,
    /// The port that `gateway.ollama_port` may get, where none is set.
    pub port: Option<u16>,
}

impl Wanted {
    /// What stands where a key has to: the one that was named, else the placeholder.
    pub fn key(&self) -> &str {
        self.key.as_ref().map_or(NO_KEY, |key| &key.0)
    }

    /// The key that was named, if it is one.
    pub fn own_key(&self) -> Option<&str> {
        self.key.as_ref().map(|key| key.0.as_str()).filter(|key| *key != NO_KEY)
    }

    /// It comes in by a bridge of containers, where every program needs a key. Ollama's own API is not spoken there.
    pub fn comes_by_a_bridge(&self, app: &App) -> bool {
        let bridged =
            self.system == System::Linux && self.bridges.as_deref().is_some_and(|all| !all.is_empty());
        app.in_container && app.dialect != Dialect::Ollama && bridged
    }

    /// Where a dialect is spoken, without a path. `Err`: why nowhere.
    pub fn root_for(&self, dialect: Dialect) -> Result<&str, &NoOllama> {
        match dialect {
            Dialect::Ollama => self.ollama.as_ref().map(String::as_str),
            Dialect::Chat | Dialect::Responses | Dialect::Messages => Ok(&self.root),
        }
    }

    /// The address in the form that a dialect's clients want: Anthropic's and Ollama's add their path themselves. Of Ollama's own
    /// API it is the one address where it is not spoken at all; `base_for` tells.
    pub fn base(&self, dialect: Dialect) -> String {
        base_of(self.root_for(dialect).unwrap_or(&self.root), dialect)
    }

    /// What an app gets to see, by where it runs. `Err`: there is no address that speaks as it does.
    pub fn base_for(&self, app: &App) -> Result<String, &NoOllama> {
        let root = self.root_for(app.dialect)?;
        if !app.in_container {
            return Ok(base_of(root, app.dialect));
        }
        let port = root.rsplit_once(':').map_or("", |(_, port)| port);
        Ok(base_of(&format!("http://host.docker.internal:{port}"), app.dialect))
    }

    /// The context that is named where one has to be.
    pub fn context_or_assumed(&self) -> u64 {
        self.context.unwrap_or(ASSUMED_CONTEXT)
    }

    /// The longest answer that is asked for, so that a prompt has at least three quarters of the context.
    pub fn output(&self) -> u64 {
        (self.context_or_assumed() / 4).clamp(1, 8192)
    }
}

fn base_of(root: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::Chat | Dialect::Responses => format!("{root}/v1"),
        Dialect::Messages | Dialect::Ollama => root.to_owned(),
    }
}

/// Whether an app may be given this as its key. `Err`: what is allowed.
pub fn check_key(key: &str) -> Result<(), String> {
    match (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(format!(
            "A key is one line of 1 to {LONGEST_KEY} letters, digits and signs of ASCII, without spaces."
        )),
    }
}

/// The gateway's address without its path. `None`: that is no address of a gateway.
pub fn root_of(gateway: &str) -> Option<String> {
    let address = url::Url::parse(gateway).ok()?;
    Some(format!("{}://{}:{}", address.scheme(), address.host_str()?, address.port_or_known_default()?))
}

/// The name for small tasks: a role that is meant for them and held now, else the main one. A second model that is not in
/// memory would drive out the first for each title.
pub fn small_beside(snapshot: &Snapshot, model: &str) -> String {
    let held = |name: &&str| {
        let role = snapshot.roles.iter().find(|view| view.role == **name && view.absent.is_none());
        role.is_some_and(|view| view.held.instance.is_some() && chats(snapshot, &view.held.model))
    };
    let small = ["small", "background"].into_iter().find(held);
    small.unwrap_or(model).to_owned()
}

fn chats(snapshot: &Snapshot, model: &ModelRef) -> bool {
    let is = |view: &&ModelView| view.model.server == model.server && view.model.name == model.model;
    snapshot.models.iter().find(is).is_some_and(|view| view.model.purpose == ModelPurpose::Llm)
}

/// The context in tokens with which the model is loaded that a name means. `None`: it is not loaded, or its server does not tell.
pub fn context_of(snapshot: &Snapshot, name: &str) -> Option<u64> {
    let held = match name {
        ACTIVE => {
            snapshot.active.as_ref().map(|active| (active.server.clone(), Some(active.instance.clone())))
        }
        _ => None,
    };
    let role = || {
        let view = snapshot.roles.iter().find(|view| view.role == name)?;
        Some((view.held.model.server.clone(), view.held.instance.clone()))
    };
    if let Some((server, instance)) = held.or_else(role) {
        let instance = instance?;
        return snapshot.instances.iter().find(|one| one.server == server && one.id == instance)?.context;
    }
    let mut named = snapshot
        .instances
        .iter()
        .filter(|one| one.model == name || format!("{}/{}", one.server, one.model) == name);
    let only = named.next()?;
    if named.next().is_some() { None } else { only.context }
}
