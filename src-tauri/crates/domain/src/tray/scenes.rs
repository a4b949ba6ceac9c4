//! The part of the menu that is about scenes, undo, and what is on its way beside a switch.

use super::{
    TrayAction, TrayItem, TrayItemKind,
    items::{action, line, separator},
};
use crate::{
    scene::{Arranging, FREE_MEMORY, RESTORE, SceneView},
    snapshot::Snapshot,
    switch::SwitchPhase,
};

/// What is done for a scene or a single model, and how far it is: "Hybrid: loading Qwen2.5 3B, 42 %".
pub fn arranging_line(snapshot: &Snapshot, arranging: &Arranging) -> String {
    let model = arranging.model.as_ref().map(|model| snapshot.model_title(&model.server, &model.model));
    let model = model.as_deref().unwrap_or("models");
    let done = match (arranging.phase, arranging.progress) {
        (SwitchPhase::Preparing, _) => "preparing".into(),
        (SwitchPhase::Draining, _) => format!("waiting for answers of {model} to end"),
        (SwitchPhase::Unloading, _) => format!("unloading {model}"),
        (SwitchPhase::Loading, Some(progress)) => format!("loading {model}, {:.0} %", progress * 100.0),
        (SwitchPhase::Loading, None) => format!("loading {model}"),
        (SwitchPhase::Proving, _) => format!("proving {model} by an answer"),
        (SwitchPhase::Committing, _) => "taking effect".into(),
        (SwitchPhase::PuttingBack, _) => "putting everything back".into(),
    };
    match &arranging.scene {
        Some(scene) => format!("{scene}: {done}"),
        None => {
            let mut letters = done.chars();
            let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
            format!("{first}{}", letters.as_str())
        }
    }
}

/// Undo, where something can be taken back.
pub(super) fn undo(snapshot: &Snapshot) -> Vec<TrayItem> {
    let Some(undo) = &snapshot.undo else { return vec![] };
    let text = match &undo.back_to {
        Some(back_to) => format!("Undo, back to {back_to}"),
        None => "Undo, no active model".into(),
    };
    vec![separator("sep:undo"), action(&TrayAction::Undo, &text, snapshot.arranging.is_none())]
}

/// One click each. What does not fit says so, and its click leads to the page that explains it.
pub(super) fn scenes(snapshot: &Snapshot) -> Vec<TrayItem> {
    let something_held =
        snapshot.active.is_some() || snapshot.roles.iter().any(|role| role.held.instance.is_some());
    let built_in = |name: &str| TrayItem {
        id: TrayAction::Scene(name.to_owned()).id(),
        kind: TrayItemKind::Plain,
        text: name.to_owned(),
        enabled: snapshot.arranging.is_none() && snapshot.bench.is_none(),
    };
    if snapshot.scenes.is_empty() {
        // Whoever has no scenes is not shown what goes with them, but for what can be brought back.
        return match snapshot.restore_at {
            Some(_) => vec![separator("sep:scenes"), built_in(RESTORE)],
            None => vec![],
        };
    }
    let mut items = vec![separator("sep:scenes"), line("head:scenes", "Scenes")];
    items.extend(snapshot.scenes.iter().map(|scene| item(snapshot, scene)));
    items.extend(something_held.then(|| built_in(FREE_MEMORY)));
    items.extend(snapshot.restore_at.map(|_| built_in(RESTORE)));
    items
}

fn item(snapshot: &Snapshot, scene: &SceneView) -> TrayItem {
    let checked = scene.in_force;
    let applies = TrayAction::Scene(scene.name.clone());
    let (action, mark) = match (scene.fits, scene.takes_s) {
        _ if scene.in_force && scene.changed => (applies, ", changed".to_owned()),
        _ if scene.in_force => (applies, String::new()),
        (Some(false), _) => (TrayAction::OpenScenes, format!(", {}…", scene.fits_reason)),
        (_, Some(seconds)) if seconds >= 0.5 => (applies, format!(", about {seconds:.0} s")),
        _ => (applies, String::new()),
    };
    let id = match action {
        // Each entry has an id of its own.
        TrayAction::OpenScenes => format!("{}:{}", action.id(), scene.name),
        action => action.id(),
    };
    TrayItem {
        id,
        kind: TrayItemKind::Check { checked },
        text: format!("{}{mark}", scene.name),
        enabled: snapshot.arranging.is_none() && snapshot.bench.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Timestamp,
        model::ModelRef,
        scene::UndoView,
        tray::{fixtures::snapshot, tray_model},
    };
    use std::collections::BTreeMap;

    fn scene(
        name: &str,
        fits: Option<bool>,
        takes_s: Option<f64>,
        in_force: bool,
        changed: bool,
    ) -> SceneView {
        SceneView {
            name: name.into(),
            in_force,
            changed,
            roles: BTreeMap::new(),
            needed_bytes: None,
            fits,
            fits_reason: "1.47 GB more than fits".into(),
            takes_s,
        }
    }

    #[test]
    fn scenes_stand_at_the_top_level_with_what_they_take_and_what_is_in_the_way() {
        let mut shown = snapshot(1);
        shown.scenes = vec![
            scene("Hybrid", Some(true), Some(0.0), true, true),
            scene("Coding", Some(true), Some(9.2), false, false),
            scene("Big: and small", Some(false), None, false, false),
            scene("New", None, None, false, false),
        ];
        shown.restore_at = Some(Timestamp::UNIX_EPOCH);
        let items = scenes(&shown);
        let texts: Vec<&str> = items.iter().skip(2).map(|item| item.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "Hybrid, changed",
                "Coding, about 9 s",
                "Big: and small, 1.47 GB more than fits…",
                "New",
                FREE_MEMORY,
                RESTORE
            ]
        );
        let acts: Vec<Option<TrayAction>> =
            items.iter().skip(2).map(|item| TrayAction::parse(&item.id)).collect();
        assert_eq!(acts[0], Some(TrayAction::Scene("Hybrid".into())));
        assert_eq!(acts[2], Some(TrayAction::OpenScenes));
        assert_eq!(acts[5], Some(TrayAction::Scene(RESTORE.into())));
        let ids: std::collections::BTreeSet<&str> = items.iter().map(|item| item.id.as_str()).collect();
        assert_eq!(ids.len(), items.len(), "each has an id of its own");
    }

    #[test]
    fn undo_says_where_it_leads_and_what_is_on_its_way_how_far_it_is() {
        let mut shown = snapshot(1);
        assert!(undo(&shown).is_empty() && scenes(&shown).is_empty());
        let until = Timestamp::UNIX_EPOCH;
        shown.undo = Some(UndoView { back_to: Some("Gemma 3".into()), done: "x".into(), until });
        assert_eq!(undo(&shown)[1].text, "Undo, back to Gemma 3");
        assert_eq!(TrayAction::parse(&undo(&shown)[1].id), Some(TrayAction::Undo));
        let mut arranging = Arranging {
            scene: Some("Hybrid".into()),
            phase: SwitchPhase::Loading,
            model: Some(ModelRef::new("ollama", "model-0")),
            progress: Some(0.42),
            done: 1,
            steps: 5,
            eta_s: None,
            started_at: until,
        };
        assert_eq!(arranging_line(&shown, &arranging), "Hybrid: loading Model 0, 42 %");
        arranging.scene = None;
        assert_eq!(arranging_line(&shown, &arranging), "Loading Model 0, 42 %");
        shown.arranging = Some(arranging);
        let menu = tray_model(&shown, None);
        assert_eq!(menu.items[0].text, "Loading Model 0, 42 %");
        assert!(menu.items.iter().any(|item| item.id == "cancel-switch"));
    }
}
