//! What each scene of the settings would take, drawn up from what is known of its models.

use super::{Held, RoleSettings, RoleView, SceneSettings, SceneView, in_order};
use crate::{
    model::{LoadSettings, ModelRef},
    units::gigabytes,
};
use std::collections::{BTreeMap, BTreeSet};

/// What is known, by model.
pub struct Knowledge<'a> {
    pub scenes: &'a BTreeMap<String, SceneSettings>,
    pub in_force: Option<&'a str>,
    /// The roles in force.
    pub roles: &'a [RoleView],
    pub active: Option<ModelRef>,
    /// Whether a server lists it.
    pub is_listed: &'a dyn Fn(&ModelRef) -> bool,
    /// What it takes, in bytes.
    pub need: &'a dyn Fn(&ModelRef, &LoadSettings) -> Option<u64>,
    /// What it holds now, in bytes.
    pub holds: &'a dyn Fn(&ModelRef) -> Option<u64>,
    /// How long its loads take, in seconds.
    pub load_s: &'a dyn Fn(&ModelRef) -> Option<f64>,
    /// What further models may take.
    pub headroom_bytes: Option<u64>,
}

/// The scenes in their order.
pub fn scene_views(known: &Knowledge<'_>) -> Vec<SceneView> {
    in_order(known.scenes).into_iter().map(|name| view(known, name, &known.scenes[name])).collect()
}

fn view(known: &Knowledge<'_>, name: &str, scene: &SceneSettings) -> SceneView {
    let in_force = known.in_force == Some(name);
    let wanted: BTreeMap<ModelRef, LoadSettings> =
        scene.roles.values().map(|role| (role.reference(), role.with())).collect();
    let missing = |(model, _): &(&ModelRef, &LoadSettings)| (known.holds)(model).is_none();
    let needs = wanted.iter().map(|(model, with)| (known.holds)(model).or_else(|| (known.need)(model, with)));
    let needed_bytes = needs.sum::<Option<u64>>();
    let to_load = wanted.iter().filter(missing);
    let loads = to_load.clone().map(|(model, with)| (known.need)(model, with)).sum::<Option<u64>>();
    let takes_s = to_load.map(|(model, _)| (known.load_s)(model)).sum::<Option<f64>>();
    let leaves: BTreeSet<ModelRef> =
        known.roles.iter().map(|role| role.held.model.clone()).chain(known.active.clone()).collect();
    let given_back: u64 = leaves
        .iter()
        .filter(|model| !wanted.contains_key(*model))
        .filter_map(|model| (known.holds)(model))
        .sum();
    let unlisted = scene.roles.iter().find(|(_, role)| !(known.is_listed)(&role.reference()));
    let (fits, fits_reason) = match (unlisted, loads, known.headroom_bytes) {
        (Some((role, settings)), ..) => {
            (None, format!("{role}: {} has no model {} now", settings.server, settings.model))
        }
        (None, Some(0), _) => (Some(true), "all of it is in memory".into()),
        (None, Some(loads), Some(free)) => {
            let room = free.saturating_add(given_back);
            match loads.checked_sub(room).filter(|short| *short > 0) {
                Some(short) => (Some(false), format!("{} more than fits", gigabytes(short))),
                None => (Some(true), format!("loads {}, {} free", gigabytes(loads), gigabytes(room))),
            }
        }
        (None, None, _) => (None, "what a model takes is not known yet".into()),
        (None, _, None) => (None, "the machine's memory could not be read".into()),
    };
    SceneView {
        name: name.to_owned(),
        in_force,
        changed: in_force && differs(&scene.roles, known.roles),
        roles: scene.roles.clone(),
        needed_bytes,
        fits,
        fits_reason,
        takes_s,
    }
}

/// Whether what is held is not what a scene says.
fn differs(roles: &BTreeMap<String, RoleSettings>, held: &[RoleView]) -> bool {
    let wanted: BTreeMap<&str, Held> =
        roles.iter().map(|(role, settings)| (role.as_str(), Held::wanted(settings))).collect();
    let there: BTreeMap<&str, Held> =
        held.iter().map(|view| (view.role.as_str(), Held { instance: None, ..view.held.clone() })).collect();
    wanted != there
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::Priority;

    const GB: u64 = 1_000_000_000;

    fn role(model: &str) -> RoleSettings {
        RoleSettings {
            server: "ollama".into(),
            model: model.into(),
            context: None,
            parallel: None,
            kv_type: None,
            pinned: false,
            priority: Priority::Normal,
            idle_s: None,
        }
    }

    fn in_force(name: &str, settings: &RoleSettings) -> RoleView {
        let held = Held { instance: Some(settings.model.clone()), ..Held::wanted(settings) };
        RoleView { role: name.into(), held, leads: false, waits: false, absent: None }
    }

    #[test]
    fn a_scene_says_what_it_takes_whether_it_fits_and_how_long_it_takes() {
        let scene = |roles: &[(&str, &str)]| SceneSettings {
            place: None,
            roles: roles.iter().map(|(name, model)| ((*name).to_owned(), role(model))).collect(),
        };
        // `a` is held (3 GB); b and c take 2 and 9 GB; u is not known; x is not listed. 4 GB are free.
        let cases: [(&[(&str, &str)], _, _, &str); 6] = [
            (&[("critical", "a")], Some(3 * GB), Some(true), "all of it is in memory"),
            (&[("critical", "a"), ("small", "b")], Some(5 * GB), Some(true), "loads 2.00 GB, 4.00 GB free"),
            (&[("small", "b"), ("other", "b")], Some(2 * GB), Some(true), "loads 2.00 GB, 7.00 GB free"),
            (&[("critical", "c")], Some(9 * GB), Some(false), "2.00 GB more than fits"),
            (&[("critical", "u")], None, None, "what a model takes is not known yet"),
            (&[("critical", "x")], None, None, "critical: ollama has no model x now"),
        ];
        let bytes = |name: &str| {
            [("a", 3), ("b", 2), ("c", 9)].into_iter().find(|(one, _)| *one == name).map(|(_, gb)| gb * GB)
        };
        let held = [in_force("critical", &role("a"))];
        for (roles, needed, fits, reason) in cases {
            let scenes = BTreeMap::from([("S".to_owned(), scene(roles))]);
            let views = scene_views(&Knowledge {
                scenes: &scenes,
                in_force: None,
                roles: &held,
                active: None,
                is_listed: &|model| model.model != "x",
                need: &|model, _| bytes(&model.model),
                holds: &|model| (model.model == "a").then_some(3 * GB),
                load_s: &|_| Some(2.0),
                headroom_bytes: Some(4 * GB),
            });
            let view = &views[0];
            assert_eq!(
                (view.needed_bytes, view.fits, view.fits_reason.as_str()),
                (needed, fits, reason),
                "{roles:?}"
            );
        }
    }

    #[test]
    fn a_scene_in_force_says_when_it_was_changed_since() {
        let scenes = BTreeMap::from([(
            "S".to_owned(),
            SceneSettings { place: None, roles: BTreeMap::from([("critical".to_owned(), role("a"))]) },
        )]);
        let other_context = RoleSettings { context: Some(8192), ..role("a") };
        let cases = [
            (Some("S"), vec![in_force("critical", &role("a"))], (true, false)),
            (Some("S"), vec![in_force("critical", &role("b"))], (true, true)),
            (Some("S"), vec![in_force("critical", &other_context)], (true, true)),
            (Some("S"), vec![], (true, true)),
            (None, vec![in_force("critical", &role("b"))], (false, false)),
            (Some("T"), vec![in_force("critical", &role("b"))], (false, false)),
        ];
        for (name, roles, expected) in cases {
            let views = scene_views(&Knowledge {
                scenes: &scenes,
                in_force: name,
                roles: &roles,
                active: None,
                is_listed: &|_| true,
                need: &|_, _| None,
                holds: &|_| None,
                load_s: &|_| None,
                headroom_bytes: None,
            });
            assert_eq!((views[0].in_force, views[0].changed), expected, "{name:?} {roles:?}");
        }
    }
}
