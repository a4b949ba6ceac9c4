use pilothouse_domain::{
    endpoint::Endpoint,
    model::ModelRef,
    scene::{ACTIVE, Priority},
    server::{ServerId, ServerKind},
};
use std::collections::{BTreeMap, BTreeSet};

/// A loaded model that can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub server: ServerId,
    /// The model's name on that server.
    pub model: String,
    /// What a request must name there.
    pub instance: String,
    /// Base of its OpenAI-compatible API (`…/v1`) and the key for it.
    pub openai: Endpoint,
    /// Answers that it can give at a time for us; 0 while every slot gives one that nobody waits for.
    pub slots: usize,
}

impl Target {
    /// Whether both are the same copy in the same memory.
    pub fn is_same(&self, other: &Self) -> bool {
        self.server == other.server && self.instance == other.instance && self.openai == other.openai
    }
}

/// What the name `active` (or no name) means right now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ActiveRoute {
    #[default]
    None,
    /// Nothing can answer until a switch or a restoration has ended: requests wait.
    Held,
    Open(Target),
    /// The server of the active model does not run (any more, or not yet again).
    Down(ServerId),
    /// It is active and cannot answer; the words say why.
    Refusing(String),
    /// It left memory because nobody asked, and comes back for whoever does.
    Away(ModelRef),
}

/// What the name of a role means right now. `active` is none of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRoute {
    pub route: ActiveRoute,
    /// Whose turn comes first where several wait for the same instance.
    pub priority: Priority,
}

/// Where requests go. Published by the hub.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routes {
    pub active: ActiveRoute,
    /// The priority of the role that `active` follows.
    pub active_priority: Priority,
    /// The roles of the scene in force, by name.
    pub roles: BTreeMap<String, RoleRoute>,
    /// Further names, each for a role or a model.
    pub aliases: BTreeMap<String, String>,
    /// A model that is on disk and not in memory may be wished for.
    pub loads_on_request: bool,
    /// Instances that Pilothouse keeps in memory, so that what clients say about how long they stay does not count.
    pub kept: BTreeSet<(ServerId, String)>,
    /// Every loaded model, the active one included.
    pub loaded: Vec<Target>,
    /// Every model on disk.
    pub known: Vec<ModelRef>,
    /// What kind of server each is.
    pub kinds: BTreeMap<ServerId, ServerKind>,
    /// What programs are told of models before they ask.
    pub about: BTreeMap<ModelRef, About>,
}

/// What is known of a model; nothing that changes while it is used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct About {
    /// It makes vectors, not texts.
    pub embeds: bool,
    /// Of its files.
    pub size_bytes: Option<u64>,
    /// "gguf", "mlx".
    pub format: Option<String>,
    /// "Q4_K_M".
    pub quantization: Option<String>,
    /// "8.2B".
    pub parameters: Option<String>,
    /// Tokens that it was trained for.
    pub context_max: Option<u64>,
    /// Tokens that it has room for as it is loaded. `None`: it is not, or that is not told.
    pub context: Option<u64>,
}

impl Routes {
    /// Every copy that requests may go to; one may come several times.
    fn targets(&self) -> impl Iterator<Item = &Target> {
        let routes = std::iter::once(&self.active).chain(self.roles.values().map(|role| &role.route));
        let open = routes.filter_map(|route| match route {
            ActiveRoute::Open(target) => Some(target),
            _ => None,
        });
        open.chain(&self.loaded)
    }

    /// Whether a copy is still where requests may go.
    pub fn has(&self, target: &Target) -> bool {
        self.targets().any(|one| one.is_same(target))
    }

    /// Whether there is an instance of that name.
    pub(crate) fn has_instance(&self, server: &ServerId, instance: &str) -> bool {
        self.targets().any(|one| one.server == *server && one.instance == instance)
    }

    /// What kind of server this is; one that is not known is like any other.
    pub fn kind(&self, server: &ServerId) -> ServerKind {
        self.kinds.get(server).copied().unwrap_or(ServerKind::OpenAi)
    }

    /// Whether Pilothouse keeps it in memory, so that what clients say about how long it stays does not count.
    pub fn keeps(&self, target: &Target) -> bool {
        // A set of pairs cannot be asked by two references.
        !self.kept.is_empty() && self.kept.contains(&(target.server.clone(), target.instance.clone()))
    }

    /// The roles whose requests wait, `active` among them.
    pub(crate) fn held_roles(&self) -> impl Iterator<Item = &str> {
        let active = (self.active == ActiveRoute::Held).then_some(ACTIVE);
        let others = self.roles.iter().filter(|(_, role)| role.route == ActiveRoute::Held);
        active.into_iter().chain(others.map(|(name, _)| name.as_str()))
    }
}
