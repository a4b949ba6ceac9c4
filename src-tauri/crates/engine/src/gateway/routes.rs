use crate::ports::Endpoint;
use pilothouse_domain::{model::ModelRef, server::ServerId};

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
}

/// What the name `active` (or no name) means right now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ActiveRoute {
    #[default]
    None,
    /// A switch is under way: requests wait.
    Held,
    Open(Target),
    /// The server of the active model does not run (any more, or not yet again).
    Down(ServerId),
}

/// Where requests go. Published by the engine, read by the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routes {
    pub active: ActiveRoute,
    /// Every loaded model, the active one included.
    pub loaded: Vec<Target>,
    /// Every model on disk.
    pub known: Vec<ModelRef>,
}
