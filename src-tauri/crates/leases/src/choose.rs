//! Which copy of a model a name means.

use super::{ActiveRoute, Routes, Target};
use pilothouse_domain::{
    model::{ModelRef, is_spelling_of},
    server::ServerId,
};
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
                f.write_str("No model is active. Switch to one in Pilothouse, or by “pilothouse switch”.")
            }
            Self::Down(server) => {
                write!(f, "{server}, which has the active model, does not run. “pilothouse status” says why.")
            }
            Self::Cannot(why) => write!(f, "The active model cannot answer: {why}"),
            Self::NotLoaded(ModelRef { server, model }) => write!(
                f,
                "{model} is not loaded on {server}. Switch to it in Pilothouse, or ask for “active”."
            ),
            Self::Unknown(name) => write!(
                f,
                "There is no model {name} here. GET /v1/models lists them; “active” is the active one."
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
            ActiveRoute::Away(model) => Choice::Refuse(Refused::NotLoaded(model.clone())),
        },
        Asked::Named(name) => named(routes, name),
    }
}

/// Whether a name means a model by its own name, alone or behind its server's.
fn is_exact(server: &ServerId, model: &str, name: &str) -> bool {
    model == name || server.named_in(name) == Some(model)
}

/// Whether it means the model by another spelling that its server takes.
fn is_spelled(server: &ServerId, model: &str, name: &str) -> bool {
    is_spelling_of(model, name) || server.named_in(name).is_some_and(|name| is_spelling_of(model, name))
}

/// What a name means: an exact one first, wherever it is known, then another spelling of one.
fn named(routes: &Routes, name: &str) -> Choice {
    let exact = by(routes, |target| target.instance == name, |server, model| is_exact(server, model, name));
    exact
        .or_else(|| by(routes, |_| false, |server, model| is_spelled(server, model, name)))
        .unwrap_or_else(|| Choice::Refuse(Refused::Unknown(name.to_owned())))
}

fn by(
    routes: &Routes,
    is_instance: impl Fn(&Target) -> bool,
    means: impl Fn(&ServerId, &str) -> bool,
) -> Option<Choice> {
    let fits = |target: &&Target| means(&target.server, &target.model) || is_instance(target);
    let mut hits = routes.loaded.iter().filter(fits);
    if let Some(first) = hits.next() {
        // The same name on two servers: the active one is what the user sees as this model.
        let active = match &routes.active {
            ActiveRoute::Open(target) if fits(&target) => Some(target),
            _ => None,
        };
        return Some(Choice::Use(active.unwrap_or(first).clone()));
    }
    let known = routes.known.iter().find(|ModelRef { server, model }| means(server, model))?;
    Some(Choice::Refuse(Refused::NotLoaded(known.clone())))
}

/// The model in a list that a name means, exactly or by another spelling.
pub fn known_by<'a>(known: &'a [ModelRef], name: &str) -> Option<&'a ModelRef> {
    let find = |means: fn(&ServerId, &str, &str) -> bool| {
        known.iter().find(|ModelRef { server, model }| means(server, model, name))
    };
    find(is_exact).or_else(|| find(is_spelled))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::endpoint::Endpoint;

    fn routes(loaded: &[(&str, &str)], known: &[(&str, &str)]) -> Routes {
        let target = |(server, model): &(&str, &str)| Target {
            server: ServerId::new(*server),
            model: (*model).into(),
            instance: format!("instance of {model}"),
            openai: Endpoint { base_url: "http://127.0.0.1:1/v1".into(), key: None },
            slots: 1,
        };
        let reference = |(server, model): &(&str, &str)| ModelRef::new(*server, *model);
        Routes {
            active: ActiveRoute::None,
            loaded: loaded.iter().map(target).collect(),
            known: known.iter().chain(loaded).map(reference).collect(),
            ..Routes::default()
        }
    }

    /// The model that a name means, "-" before one that is not loaded.
    fn meant(routes: &Routes, name: &str) -> String {
        match choose(routes, &Asked::Named(name.into())) {
            Choice::Use(target) => format!("{}/{}", target.server, target.model),
            Choice::Refuse(Refused::NotLoaded(model)) => format!("-{}", model.id()),
            Choice::Refuse(Refused::Unknown(_)) => "Unknown".into(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_name_of_ollama_is_understood_as_ollama_itself_would() {
        let routes = routes(
            &[("ollama", "qwen2.5:latest"), ("ollama", "gemma3:270m"), ("studio", "gemma3")],
            &[("ollama", "hf.co/someone/Model-GGUF:latest"), ("ollama", "gemma3:latest")],
        );
        for (name, wanted) in [
            ("qwen2.5", "ollama/qwen2.5:latest"),
            ("qwen2.5:latest", "ollama/qwen2.5:latest"),
            ("Qwen2.5", "ollama/qwen2.5:latest"),
            ("ollama/qwen2.5", "ollama/qwen2.5:latest"),
            ("library/qwen2.5", "ollama/qwen2.5:latest"),
            ("instance of qwen2.5:latest", "ollama/qwen2.5:latest"),
            ("gemma3", "studio/gemma3"),
            ("ollama/gemma3", "-ollama/gemma3:latest"),
            ("gemma3:270M", "ollama/gemma3:270m"),
            ("hf.co/someone/model-gguf", "-ollama/hf.co/someone/Model-GGUF:latest"),
            ("qwen2.5:7b", "Unknown"),
            ("qwen2", "Unknown"),
            ("studio/Gemma3", "Unknown"),
        ] {
            assert_eq!(meant(&routes, name), wanted, "{name}");
            let known = known_by(&routes.known, name).map(ModelRef::id);
            let wanted = Some(wanted.trim_start_matches('-')).filter(|id| *id != "Unknown");
            if !name.starts_with("instance") {
                assert_eq!(known.as_deref(), wanted, "{name} in the list");
            }
        }
    }
}
