use pilothouse_domain::{endpoint::Endpoint, model::ModelRef, server::ServerId};

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
}

/// Where requests go. Published by the hub.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routes {
    pub active: ActiveRoute,
    /// Every loaded model, the active one included.
    pub loaded: Vec<Target>,
    /// Every model on disk.
    pub known: Vec<ModelRef>,
}

impl Routes {
    /// Whether a copy is still where requests may go.
    pub fn has(&self, target: &Target) -> bool {
        let active = matches!(&self.active, ActiveRoute::Open(one) if one.is_same(target));
        active || self.loaded.iter().any(|one| one.is_same(target))
    }
}
