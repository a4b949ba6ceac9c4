//! Which copy of a model a name means.

use super::{ActiveRoute, Asked, Refused, Routes, Target};
use pilothouse_domain::{
    model::{ModelRef, is_spelling_of},
    scene::{ACTIVE, Priority, alias_of},
    server::ServerId,
};

/// Where a request goes by the routes of this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    Use(Target),
    Wait,
    /// It is not in memory, and may be wished for.
    Wish(ModelRef),
    Refuse(Refused),
}

/// What a name means by the routes of this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meaning {
    /// The role that it is or stands for, `active` among them; `None`: a model.
    pub role: Option<String>,
    pub priority: Priority,
    pub choice: Choice,
}

/// `active`, then a role, then an alias (one step, to any of the others), then a model, then an alias with stars: a model's own name
/// means that model, whatever a rule for names that are like it says.
pub(super) fn choose(routes: &Routes, asked: &Asked) -> Meaning {
    let nothing = |refused| of_a_model(Choice::Refuse(refused));
    match asked {
        Asked::Active => by_role(routes, ACTIVE).unwrap_or_else(|| nothing(Refused::NoActiveModel)),
        Asked::Role(role) => by_role(routes, role).unwrap_or_else(|| nothing(Refused::Unknown(role.clone()))),
        Asked::Named(name) => by_role(routes, name)
            .or_else(|| by_alias(routes, name))
            .or_else(|| by_model(routes, name))
            .or_else(|| by_rule(routes, name))
            .unwrap_or_else(|| nothing(Refused::Unknown(name.clone()))),
    }
}

/// The role of a name, whatever can be done about it. Cheaper than all that it means.
pub(super) fn role_of<'a>(routes: &'a Routes, asked: &'a Asked) -> Option<&'a str> {
    let is_role = |name: &str| name == ACTIVE || routes.roles.contains_key(name);
    match asked {
        Asked::Active => Some(ACTIVE),
        Asked::Role(name) => Some(name.as_str()).filter(|name| is_role(name)),
        Asked::Named(name) if is_role(name) => Some(name),
        Asked::Named(name) => meant(routes, name).filter(|to| is_role(to)),
    }
}

/// What the alias or rule of a name stands for.
fn meant<'a>(routes: &'a Routes, name: &str) -> Option<&'a str> {
    let rule = || Some(alias_of(&routes.aliases, name)?.1).filter(|_| by_model(routes, name).is_none());
    routes.aliases.get(name).map(String::as_str).or_else(rule)
}

fn of_a_model(choice: Choice) -> Meaning {
    Meaning { role: None, priority: Priority::Normal, choice }
}

fn by_role(routes: &Routes, role: &str) -> Option<Meaning> {
    let (route, priority) = match role {
        ACTIVE => (&routes.active, routes.active_priority),
        _ => routes.roles.get(role).map(|one| (&one.route, one.priority))?,
    };
    let named = || role.to_owned();
    let choice = match route {
        ActiveRoute::Open(target) => Choice::Use(target.clone()),
        ActiveRoute::Held => Choice::Wait,
        ActiveRoute::Away(model) => Choice::Wish(model.clone()),
        ActiveRoute::Down(server) => Choice::Refuse(Refused::Down { role: named(), server: server.clone() }),
        ActiveRoute::Refusing(why) => Choice::Refuse(Refused::Cannot { role: named(), why: why.clone() }),
        ActiveRoute::None if role == ACTIVE => Choice::Refuse(Refused::NoActiveModel),
        ActiveRoute::None => {
            let why = "it has no model right now. “pilothouse status” says more.".to_owned();
            Choice::Refuse(Refused::Cannot { role: named(), why })
        }
    };
    Some(Meaning { role: Some(named()), priority, choice })
}

fn by_alias(routes: &Routes, alias: &str) -> Option<Meaning> {
    Some(standing_for(routes, alias, routes.aliases.get(alias)?))
}

fn by_rule(routes: &Routes, name: &str) -> Option<Meaning> {
    let (rule, to) = alias_of(&routes.aliases, name)?;
    Some(standing_for(routes, rule, to))
}

fn standing_for(routes: &Routes, alias: &str, to: &str) -> Meaning {
    let dangling = || Refused::Dangling { alias: alias.to_owned(), to: to.to_owned() };
    let meant = by_role(routes, to).or_else(|| by_model(routes, to));
    meant.unwrap_or_else(|| of_a_model(Choice::Refuse(dangling())))
}

/// A model by an exact name first, wherever it is known, then by another spelling of one.
fn by_model(routes: &Routes, name: &str) -> Option<Meaning> {
    let exact = by(routes, |target| target.instance == name, |server, model| is_exact(server, model, name));
    exact.or_else(|| by(routes, |_| false, |server, model| is_spelled(server, model, name))).map(of_a_model)
}

/// Whether a name means a model by its own name, alone or behind its server's.
fn is_exact(server: &ServerId, model: &str, name: &str) -> bool {
    model == name || server.named_in(name) == Some(model)
}

/// Whether it means the model by another spelling that its server takes.
fn is_spelled(server: &ServerId, model: &str, name: &str) -> bool {
    is_spelling_of(model, name) || server.named_in(name).is_some_and(|name| is_spelling_of(model, name))
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
    let known = routes.known.iter().find(|ModelRef { server, model }| means(server, model))?.clone();
    Some(match routes.loads_on_request {
        true => Choice::Wish(known),
        false => Choice::Refuse(Refused::NotLoaded(known)),
    })
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
        match choose(routes, &Asked::Named(name.into())).choice {
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

    /// What a name comes to, in short words.
    fn comes_to(routes: &Routes, asked: &Asked) -> String {
        let Meaning { role, priority, choice } = choose(routes, asked);
        assert_eq!(role.as_deref(), role_of(routes, asked), "{asked:?}");
        let choice = match choice {
            Choice::Use(target) => target.model,
            Choice::Wait => "waits".into(),
            Choice::Wish(model) => format!("wishes for {}", model.id()),
            Choice::Refuse(refused) => refused.to_string(),
        };
        match role {
            Some(role) => format!("{role}, {}: {choice}", priority.word()),
            None => format!("{}: {choice}", priority.word()),
        }
    }

    #[test]
    fn a_name_is_active_then_a_role_then_an_alias_then_a_model() {
        let mut routes = routes(&[("s", "a"), ("s", "small"), ("s", "gpt")], &[("s", "b")]);
        let open = |n: usize| ActiveRoute::Open(routes.loaded[n].clone());
        let role = |route, priority| super::super::RoleRoute { route, priority };
        let roles = [
            ("small", role(open(0), Priority::Background)),
            ("held", role(ActiveRoute::Held, Priority::Critical)),
            ("away", role(ActiveRoute::Away(ModelRef::new("s", "b")), Priority::Normal)),
            ("down", role(ActiveRoute::Down("s".into()), Priority::Normal)),
            ("sick", role(ActiveRoute::Refusing("it is damaged.".into()), Priority::Normal)),
            ("none", role(ActiveRoute::None, Priority::Normal)),
        ];
        (routes.active, routes.active_priority) = (open(2), Priority::Critical);
        routes.roles = roles.map(|(name, role)| (name.to_owned(), role)).into();
        let aliases = [
            ("gpt", "small"),
            ("chat", "active"),
            ("small", "b"),
            ("active", "b"),
            ("plain", "s/a"),
            ("other", "instance of a"),
            ("twice", "gpt"),
            ("stale", "gone"),
            ("empty", ""),
            ("own", "own"),
        ];
        routes.aliases = aliases.map(|(alias, to)| (alias.to_owned(), to.to_owned())).into();
        for (name, wanted) in [
            ("active", "active, critical: gpt"),
            ("small", "small, background: a"),
            ("s/small", "normal: small"),
            ("held", "held, critical: waits"),
            ("away", "away, normal: wishes for s/b"),
            (
                "down",
                "down, normal: s, which has the model of the role down, does not run. “pilothouse status” says why.",
            ),
            ("sick", "sick, normal: The role sick cannot answer: it is damaged."),
            (
                "none",
                "none, normal: The role none cannot answer: it has no model right now. “pilothouse status” says more.",
            ),
            ("gpt", "small, background: a"),
            ("s/gpt", "normal: gpt"),
            ("chat", "active, critical: gpt"),
            ("plain", "normal: a"),
            ("other", "normal: a"),
            // One step only: the model of that name is meant, not the alias.
            ("twice", "normal: gpt"),
            (
                "stale",
                "normal: stale stands for gone, which is neither a role nor a model here. Correct it in the settings under \
                 gateway.aliases.",
            ),
            (
                "own",
                "normal: own stands for own, which is neither a role nor a model here. Correct it in the settings under \
                 gateway.aliases.",
            ),
        ] {
            assert_eq!(comes_to(&routes, &Asked::new(Some(name))), wanted, "{name}");
        }
        assert_eq!(comes_to(&routes, &Asked::new(None)), "active, critical: gpt");
        assert_eq!(comes_to(&routes, &Asked::Role("small".into())), "small, background: a");
        assert!(
            comes_to(&routes, &Asked::Role("gpt".into())).contains("no model gpt"),
            "an alias is no role"
        );
        assert!(comes_to(&routes, &Asked::new(Some("b"))).contains("memory.load_on_request"));
        routes.loads_on_request = true;
        assert_eq!(comes_to(&routes, &Asked::new(Some("b"))), "normal: wishes for s/b");
        routes.active = ActiveRoute::Away(ModelRef::new("s", "b"));
        assert_eq!(comes_to(&routes, &Asked::Active), "active, critical: wishes for s/b");
        assert_eq!(comes_to(&routes, &Asked::new(Some("chat"))), "active, critical: wishes for s/b");
    }
}
