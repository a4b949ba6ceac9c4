//! Which copy of a model a name means.

use super::{ActiveRoute, Routes, Target};
use pilothouse_domain::{model::ModelRef, server::ServerId};
use std::fmt;

/// What is asked for by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// The role `active`, or no name at all.
    Active,
    /// A model by its own name, `<server>/<name>` or the id of an instance.
    Named(String),
}

impl Asked {
    pub fn new(name: Option<&str>) -> Self {
        match name {
            None | Some("active") => Self::Active,
            Some(name) => Self::Named(name.to_owned()),
        }
    }
}

/// Why there is no lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    NoActiveModel,
    /// The server of the active model does not run.
    Down(ServerId),
    /// The active model cannot answer, in words.
    Cannot(String),
    /// On disk and not in memory.
    NotLoaded(ModelRef),
    Unknown(String),
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
                f.write_str("No model is active. Switch to one in Pilothouse, or by `pilothouse switch`.")
            }
            Self::Down(server) => {
                write!(f, "{server}, which has the active model, does not run. `pilothouse status` says why.")
            }
            Self::Cannot(why) => write!(f, "The active model cannot answer: {why}"),
            Self::NotLoaded(ModelRef { server, model }) => write!(
                f,
                "{model} is not loaded on {server}. Switch to it in Pilothouse, or ask for `active`."
            ),
            Self::Unknown(name) => write!(
                f,
                "There is no model {name} here. GET /v1/models lists them; `active` is the active one."
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

/// What a name means by the routes of this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    Use(Target),
    Wait,
    Refuse(Refused),
}

pub(super) fn choose(routes: &Routes, asked: &Asked) -> Choice {
    match asked {
        Asked::Active => match &routes.active {
            ActiveRoute::Open(target) => Choice::Use(target.clone()),
            ActiveRoute::Held => Choice::Wait,
            ActiveRoute::Down(server) => Choice::Refuse(Refused::Down(server.clone())),
            ActiveRoute::Refusing(why) => Choice::Refuse(Refused::Cannot(why.clone())),
            ActiveRoute::None => Choice::Refuse(Refused::NoActiveModel),
        },
        Asked::Named(name) => named(routes, name),
    }
}

fn named(routes: &Routes, name: &str) -> Choice {
    let means = |server: &str, model: &str| {
        model == name || name.strip_prefix(server).and_then(|rest| rest.strip_prefix('/')) == Some(model)
    };
    let fits = |target: &&Target| means(target.server.as_str(), &target.model) || target.instance == name;
    let mut hits = routes.loaded.iter().filter(fits);
    if let Some(first) = hits.next() {
        // The same name on two servers: the active one is what the user sees as this model.
        let active = match &routes.active {
            ActiveRoute::Open(target) if fits(&target) => Some(target),
            _ => None,
        };
        return Choice::Use(active.unwrap_or(first).clone());
    }
    let known = routes.known.iter().find(|ModelRef { server, model }| means(server.as_str(), model));
    Choice::Refuse(match known {
        Some(known) => Refused::NotLoaded(known.clone()),
        None => Refused::Unknown(name.to_owned()),
    })
}
