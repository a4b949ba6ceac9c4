//! The models that were active before the present one.

use super::{
    TrayItem, TrayItemKind,
    items::{line, separator},
};
use crate::{
    error::ApiError,
    model::{ModelPurpose, ModelRef},
    snapshot::{ModelView, Snapshot},
};

/// So many of them are offered again.
const RECENT: usize = 3;

/// The models that were active before the present one, the newest first, as far as their servers still list them.
fn were_active(snapshot: &Snapshot) -> impl Iterator<Item = &ModelView> {
    let active = snapshot.active.as_ref().map(|active| active.reference());
    let before = snapshot.recent.iter().filter(move |model| Some(*model) != active.as_ref());
    before.filter_map(|reference| {
        let view = snapshot.models.iter().find(|view| view.model.reference() == *reference)?;
        (view.model.purpose == ModelPurpose::Llm).then_some(view)
    })
}

/// The model that “previous” means: the last that was active and is not now, so that twice in a row leads back. Errors:
/// not_found, when there was none or no server lists it any more.
pub fn previous_model(snapshot: &Snapshot) -> Result<ModelRef, ApiError> {
    were_active(snapshot).next().map(|view| view.model.reference()).ok_or_else(|| {
        ApiError::not_found("No other model was active before this one.")
            .hint("Switch to a second one by its name; from then on “previous” leads back and forth.")
    })
}

/// Their entries. With few models the list below says as much.
pub(super) fn recent(snapshot: &Snapshot) -> Vec<TrayItem> {
    let items: Vec<TrayItem> = were_active(snapshot)
        .take(RECENT)
        .map(|view| {
            let reference = view.model.reference();
            let server = snapshot.server_title(&reference.server);
            let mark = match view.fits {
                Some(false) => format!(", {}", view.fits_reason),
                _ => String::new(),
            };
            TrayItem {
                id: format!("recent:{}:{}", reference.server, reference.model),
                kind: TrayItemKind::Plain,
                text: format!("{} · {server}{mark}", view.model.title),
                enabled: view.fits != Some(false),
            }
        })
        .collect();
    if items.is_empty() {
        return items;
    }
    [separator("sep:recent"), line("head:recent", "Recent models")].into_iter().chain(items).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        standing::{self, Circumstances},
        tray::{TrayAction, fixtures::snapshot, tray_model},
    };

    #[test]
    fn the_last_three_that_were_active_are_one_click_away_and_say_what_is_in_the_way() {
        let model = |server: &str, number: u32| ModelRef::new(server, format!("model-{number}"));
        let shown = |recent: Vec<ModelRef>, change: fn(&mut Snapshot)| {
            let mut snapshot = snapshot(4);
            snapshot.recent = recent;
            change(&mut snapshot);
            standing::fill(&mut snapshot, &Circumstances::default());
            let menu = tray_model(&snapshot, None);
            let ids: std::collections::BTreeSet<&str> =
                menu.items.iter().map(|item| item.id.as_str()).collect();
            assert_eq!(ids.len(), menu.items.len(), "each has an id of its own");
            let items = menu.items.into_iter().filter(|item| item.id.starts_with("recent:"));
            items
                .map(|item| (TrayAction::parse(&item.id).unwrap(), item.text, item.enabled))
                .collect::<Vec<_>>()
        };
        let none: fn(&mut Snapshot) = |_| {};
        // The active one is checked in the list below.
        let active = model("ollama", 0);
        assert_eq!(shown(vec![], none), []);
        assert_eq!(shown(vec![active.clone()], none), []);
        let entry = |model: ModelRef, text: &str| (TrayAction::Switch(model), text.to_owned(), true);
        let two = vec![active.clone(), model("llama-server", 2), model("ollama", 1)];
        let texts = ["Model 2 · llama-server", "Model 1 · Ollama"];
        let expected = vec![entry(two[1].clone(), texts[0]), entry(two[2].clone(), texts[1])];
        assert_eq!(shown(two.clone(), none), expected);
        // Without an active model the last one is the first offer.
        let all = vec![active.clone(), two[1].clone(), two[2].clone(), model("ollama", 3)];
        assert_eq!(shown(all.clone(), none).len(), 3);
        assert_eq!(shown(all, |snapshot| snapshot.active = None)[0].0, TrayAction::Switch(active));
        // One that its server does not list any more.
        assert_eq!(
            shown(two.clone(), |snapshot| snapshot.models.retain(|view| view.model.name != "model-2")),
            expected[1..]
        );
        let tight = shown(two, |snapshot| {
            for view in snapshot.models.iter_mut().filter(|view| view.model.name == "model-2") {
                (view.fits, view.fits_reason) = (Some(false), "1.47 GB more than fits".into());
            }
        });
        assert_eq!(
            (tight[0].1.as_str(), tight[0].2),
            ("Model 2 · llama-server, 1.47 GB more than fits", false)
        );
    }

    #[test]
    fn the_previous_model_is_the_last_that_was_active_and_twice_in_a_row_leads_back() {
        let mut snapshot = snapshot(2);
        let (here, there) = (ModelRef::new("ollama", "model-0"), ModelRef::new("llama-server", "model-1"));
        assert_eq!(previous_model(&snapshot).unwrap_err().code, crate::error::ErrorCode::NotFound);
        snapshot.recent = vec![here.clone(), there.clone()];
        assert_eq!(previous_model(&snapshot), Ok(there.clone()));
        let active = snapshot.active.as_mut().unwrap();
        (active.server, active.model) = (there.server.clone(), there.model.clone());
        snapshot.recent = vec![there.clone(), here.clone()];
        assert_eq!(previous_model(&snapshot), Ok(here.clone()));
        // A deactivated model is the previous one.
        snapshot.active = None;
        assert_eq!(previous_model(&snapshot), Ok(there));
        snapshot.models.retain(|view| view.model.name != "model-1");
        assert_eq!(previous_model(&snapshot), Ok(here), "what no server lists cannot come back");
    }
}
