//! Scenes: named sets of roles, as people write them down and as views see them.
//!
//! What a scene means for the memory is `residency::arrangement`; here are its words, its checks, and what it looks like.

mod judge;
mod view;

pub use judge::{Knowledge, scene_views};
pub use view::{
    Arranging, Held, OnRequest, RoleView, SceneOffer, ScenePlan, ScenePlanStep, SceneReport, SceneView,
    SmallerRole, UndoView, hint_of,
};

use crate::{
    anatomy::KvType,
    model::{LoadSettings, ModelRef},
    server::ServerId,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use ts_rs::TS;

/// The role that always exists; the name that asks for it.
pub const ACTIVE: &str = "active";
/// The built-in scene without any role.
pub const FREE_MEMORY: &str = "Free the memory";
/// The built-in scene that brings back what was there before the last one was applied.
pub const RESTORE: &str = "Restore";
/// So many scenes, and roles of one scene, at most: a person reads them.
pub const MOST: usize = 64;

/// Who comes first where several wait for the same instance. In order: the first comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum Priority {
    Critical,
    #[default]
    Normal,
    Background,
}

impl Priority {
    pub fn word(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Normal => "normal",
            Self::Background => "background",
        }
    }
}

/// One role of a scene as the settings file has it: a model on a server, and how its instance is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(export)]
pub struct RoleSettings {
    pub server: String,
    /// As the server spells it.
    pub model: String,
    /// Tokens per request; absent: as its server loads it by itself. So are the next two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub context: Option<u64>,
    /// Requests at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub parallel: Option<u32>,
    /// "f16", "q8_0", "q4_0", …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub kv_type: Option<KvType>,
    /// It never leaves memory for another model.
    #[serde(default)]
    pub pinned: bool,
    #[serde(default)]
    pub priority: Priority,
    /// Leaves memory after so many seconds without a request, and comes back with the next one; absent: it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub idle_s: Option<u64>,
}

impl RoleSettings {
    pub fn reference(&self) -> ModelRef {
        ModelRef::new(ServerId::new(self.server.as_str()), self.model.clone())
    }

    pub fn with(&self) -> LoadSettings {
        LoadSettings { context: self.context, parallel: self.parallel, kv_type: self.kv_type }
    }
}

/// A scene as the settings file has it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct SceneSettings {
    /// Where it stands among the scenes, from 1; those without a place come last, by their names.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub place: Option<u32>,
    pub roles: BTreeMap<String, RoleSettings>,
}

/// The role that `active` means in a set of roles: the one of that name, else `critical`, else the one that comes first by
/// priority and name. Only models that answer prompts can be it.
pub fn lead<'a>(
    roles: impl IntoIterator<Item = (&'a str, Priority)>,
    can_lead: impl Fn(&str) -> bool,
) -> Option<String> {
    let rank = |role: &str| match role {
        ACTIVE => 0,
        "critical" => 1,
        _ => 2,
    };
    let able = roles.into_iter().filter(|(role, _)| can_lead(role));
    able.min_by_key(|(role, priority)| (rank(role), *priority, *role)).map(|(role, _)| role.to_owned())
}

/// Names of scenes in the order in which they are shown.
pub fn in_order(scenes: &BTreeMap<String, SceneSettings>) -> Vec<&String> {
    let mut names: Vec<&String> = scenes.keys().collect();
    names.sort_by_key(|name| (scenes[*name].place.unwrap_or(u32::MAX), name.to_lowercase()));
    names
}

/// The built-in scene that a name means, in whatever case.
pub fn built_in(name: &str) -> Option<&'static str> {
    [FREE_MEMORY, RESTORE].into_iter().find(|known| known.eq_ignore_ascii_case(name.trim()))
}

/// Whether a scene may be called this. `Err`: what is allowed.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let sound = !name.is_empty()
        && name.trim() == name
        && name.chars().count() <= 60
        && !name.chars().any(char::is_control);
    match sound && built_in(name).is_none() {
        true => Ok(()),
        false => Err("1 to 60 characters, not “Free the memory” and not “Restore”, which exist"),
    }
}

/// Whether a role may be called this. `Err`: what is allowed. Programs write it as the name of a model.
pub fn check_role(role: &str) -> Result<(), &'static str> {
    let sound = (1..=32).contains(&role.len())
        && role.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && role.chars().all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || "-_.".contains(one));
    if sound { Ok(()) } else { Err("1 to 32 of a-z, 0-9, -, _ and ., beginning with a letter or a digit") }
}

/// Whether clients may ask by this name. `Err`: what is allowed.
pub fn check_alias(alias: &str) -> Result<(), &'static str> {
    let sound = (1..=120).contains(&alias.chars().count())
        && alias.trim() == alias
        && !alias.chars().any(char::is_control)
        && alias != ACTIVE;
    if sound { Ok(()) } else { Err("1 to 120 characters, and not “active”") }
}

/// What an alias says of a name. An alias with `*` in it stands for all names that are like it, where `*` is any characters: the
/// more of a name it says itself, the better it fits.
pub fn alias_fits(alias: &str, name: &str) -> Option<usize> {
    let mut parts = alias.split('*');
    let first = parts.next()?;
    let mut rest = name.strip_prefix(first)?;
    let mut last = None;
    for part in parts {
        if let Some(before) = last.replace(part) {
            rest = &rest[rest.find(before)? + before.len()..];
        }
    }
    let fits = match last {
        None => rest.is_empty(),
        Some(end) => rest.ends_with(end),
    };
    fits.then(|| alias.chars().filter(|one| *one != '*').count())
}

/// Which alias a name means: that very one, else the one that fits it best; among equals the first by its letters.
pub fn alias_of<'a>(aliases: &'a BTreeMap<String, String>, name: &str) -> Option<(&'a str, &'a str)> {
    let pair = |(alias, to): (&'a String, &'a String)| (alias.as_str(), to.as_str());
    aliases.get_key_value(name).map(pair).or_else(|| {
        let patterns = aliases.iter().filter(|(alias, _)| alias.contains('*'));
        let fitting = patterns.filter_map(|one| Some((alias_fits(one.0, name)?, pair(one))));
        fitting.reduce(|best, one| if one.0 > best.0 { one } else { best }).map(|(_, one)| one)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_with_stars_stands_for_names_that_are_like_it() {
        for (alias, name, fits) in [
            ("claude-*", "claude-sonnet-4-5", Some(7)),
            ("claude-*", "claude-", Some(7)),
            ("claude-*", "claude", None),
            ("*haiku*", "claude-haiku-4-5", Some(5)),
            ("claude-*haiku*", "claude-3-haiku", Some(12)),
            ("claude-*-mini", "claude-mini", None),
            ("a*b*c", "a-b-b-c", Some(3)),
            ("a*b*c", "a-c", None),
            ("a*a", "a", None),
            ("*", "whatever", Some(0)),
            ("*", "", Some(0)),
            ("gpt-4o", "gpt-4o-mini", None),
            ("*ü", "größe-ü", Some(1)),
        ] {
            assert_eq!(alias_fits(alias, name), fits, "{alias} of {name}");
        }
        let aliases = [("claude-*", "active"), ("claude-*haiku*", "small"), ("gpt-4o", "big"), ("*", "rest")]
            .map(|(alias, to)| (alias.to_owned(), to.to_owned()))
            .into();
        for (name, wanted) in [
            ("claude-opus", ("claude-*", "active")),
            ("claude-haiku-4-5", ("claude-*haiku*", "small")),
            ("gpt-4o", ("gpt-4o", "big")),
            ("gpt-4o-mini", ("*", "rest")),
            ("claude-*", ("claude-*", "active")),
        ] {
            assert_eq!(alias_of(&aliases, name), Some(wanted), "{name}");
        }
    }

    #[test]
    fn the_lead_is_active_then_critical_then_the_first_by_priority_that_answers_prompts() {
        use Priority::{Background, Critical, Normal};
        type Case<'a> = (&'a [(&'a str, Priority)], &'a [&'a str], Option<&'a str>);
        let cases: [Case<'_>; 7] = [
            (&[("a", Normal), ("active", Background), ("critical", Critical)], &[], Some("active")),
            (&[("a", Critical), ("critical", Background)], &[], Some("critical")),
            (&[("b", Normal), ("a", Background), ("c", Critical)], &[], Some("c")),
            (&[("b", Normal), ("a", Normal)], &[], Some("a")),
            (&[("embed", Critical), ("b", Background)], &["embed"], Some("b")),
            (&[("embed", Critical)], &["embed"], None),
            (&[], &[], None),
        ];
        for (roles, unable, expected) in cases {
            let found = lead(roles.iter().copied(), |role| !unable.contains(&role));
            assert_eq!(found.as_deref(), expected, "{roles:?}");
        }
    }

    #[test]
    fn names_are_checked_where_people_write_them() {
        for name in ["Hybrid", "ночь", "a", "Coding (evening)", "x\"y"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", " a", "a ", "free the memory", "RESTORE", "a\nb", &"x".repeat(61)] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        for role in ["active", "critical", "small", "0", "a-b_c.d"] {
            assert_eq!(check_role(role), Ok(()), "{role}");
        }
        for role in ["", "-a", "A", "a b", "a/b", "é", &"x".repeat(33)] {
            assert!(check_role(role).is_err(), "{role:?}");
        }
        for alias in ["gpt-4o-mini", "claude-3-5-haiku-latest", "openai/gpt-4", "text-embedding-3-small"] {
            assert_eq!(check_alias(alias), Ok(()), "{alias}");
        }
        for alias in ["", "active", " a", "a\tb", &"x".repeat(121)] {
            assert!(check_alias(alias).is_err(), "{alias:?}");
        }
    }

    #[test]
    fn scenes_stand_by_their_places_then_by_their_names() {
        let scene = |place| SceneSettings { place, ..SceneSettings::default() };
        let scenes = [("b", scene(None)), ("A", scene(None)), ("z", scene(Some(1))), ("y", scene(Some(2)))];
        let scenes = scenes.map(|(name, scene)| (name.to_owned(), scene)).into();
        assert_eq!(in_order(&scenes), ["z", "y", "A", "b"]);
    }

    #[test]
    fn a_role_is_read_and_written_as_people_write_it() {
        let text = serde_json::json!({
            "server": "ollama", "model": "qwen2.5:3b", "context": 16384, "kv_type": "q8_0",
            "priority": "background", "idle_s": 1800
        });
        let role: RoleSettings = serde_json::from_value(text).unwrap();
        let with = LoadSettings { context: Some(16384), parallel: None, kv_type: Some(KvType::Q8_0) };
        assert_eq!((role.with(), role.priority, role.pinned), (with, Priority::Background, false));
        let odd = serde_json::json!({ "server": "ollama", "model": "m", "ctx": 1 });
        assert!(serde_json::from_value::<RoleSettings>(odd).unwrap_err().to_string().contains("ctx"));
    }
}
