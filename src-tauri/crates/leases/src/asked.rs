//! What is asked for by name, and why there may be no lease on it.

use pilothouse_domain::{error::ApiError, model::ModelRef, scene::ACTIVE, server::ServerId};
use std::fmt;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// The role `active`, or no name at all.
    Active,
    /// A role of the scene in force and nothing else of that name.
    Role(String),
    /// Whatever a name means: a role, an alias, a model by its own name, `<server>/<name>` or the id of an instance.
    Named(String),
}

impl Asked {
    pub fn new(name: Option<&str>) -> Self {
        match name {
            None | Some(ACTIVE) => Self::Active,
            Some(name) => Self::Named(name.to_owned()),
        }
    }
}

/// Why there is no lease. Where a role is named, it is `active` or one of the scene in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    NoActiveModel,
    /// The server of the role's model does not run.
    Down {
        role: String,
        server: ServerId,
    },
    /// The role's model cannot answer, in words.
    Cannot {
        role: String,
        why: String,
    },
    /// On disk and not in memory, and nobody takes up that it is asked for.
    NotLoaded(ModelRef),
    /// It was wished for and cannot be put into memory.
    NotLoadable {
        model: ModelRef,
        error: ApiError,
    },
    /// It was wished for so many seconds ago and is still not in memory.
    StillLoading(ModelRef, u64),
    Unknown(String),
    /// An alias of the settings that stands for nothing there is.
    Dangling {
        alias: String,
        to: String,
    },
    /// On its way out of memory.
    Leaving(String),
    /// So many wait already.
    QueueFull(usize),
    /// It has waited so many seconds for a switch to end.
    Switching(u64),
    /// It has waited so many seconds for its turn.
    NoTurn(u64),
    ShuttingDown,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoActiveModel => {
                f.write_str("No model is active. Switch to one in Pilothouse, or by “pilothouse switch”.")
            }
            Self::Down { role, server } if role == ACTIVE => {
                write!(f, "{server}, which has the active model, does not run. “pilothouse status” says why.")
            }
            Self::Down { role, server } => write!(
                f,
                "{server}, which has the model of the role {role}, does not run. “pilothouse status” says why."
            ),
            Self::Cannot { role, why } if role == ACTIVE => {
                write!(f, "The active model cannot answer: {why}")
            }
            Self::Cannot { role, why } => write!(f, "The role {role} cannot answer: {why}"),
            Self::NotLoaded(ModelRef { server, model }) => write!(
                f,
                "{model} is not loaded on {server}. Switch to it in Pilothouse, or ask for “active”. Whether it is loaded when \
                 it is asked for is the setting memory.load_on_request."
            ),
            Self::NotLoadable { error, .. } => {
                f.write_str(error.message.trim_end())?;
                error.hint.iter().try_for_each(|hint| write!(f, " {hint}"))
            }
            Self::StillLoading(ModelRef { server, model }, seconds) => {
                write!(f, "After {seconds} s {model} was still not loaded on {server}. Try again later.")
            }
            Self::Unknown(name) => write!(
                f,
                "There is no model {name} here. GET /v1/models lists them; “active” is the active one."
            ),
            Self::Dangling { alias, to } => write!(
                f,
                "{alias} stands for {to}, which is neither a role nor a model here. Correct it in the settings under \
                 gateway.aliases."
            ),
            Self::Leaving(model) => write!(f, "{model} is being taken out of memory. Ask for another model."),
            Self::QueueFull(waiting) => {
                write!(f, "{waiting} requests wait already, as many as gateway.queue in the settings allows.")
            }
            Self::Switching(seconds) => {
                write!(f, "A switch has been under way for {seconds} s. Try again in a moment.")
            }
            Self::NoTurn(seconds) => {
                write!(f, "After {seconds} s it was still not its turn. Try again later.")
            }
            Self::ShuttingDown => f.write_str("Pilothouse is shutting down."),
        }
    }
}
