//! What views see of scenes and of what is held in memory for them.

use super::{Priority, RoleSettings};
use crate::{
    Timestamp,
    anatomy::KvType,
    error::ApiError,
    model::{LoadSettings, ModelRef},
    switch::{StepTiming, SwitchOutcome, SwitchPhase},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use ts_rs::TS;

/// A role in force: the model that it stands for, and how its instance is kept. `active` is none of these; see `leads`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Held {
    pub model: ModelRef,
    /// The server's identifier of the loaded copy; `None`: it is not in memory, and comes with the next request.
    pub instance: Option<String>,
    pub with: LoadSettings,
    pub pinned: bool,
    pub priority: Priority,
    /// Leaves memory after so many seconds without a request; `None`: it stays.
    pub idle_s: Option<u64>,
}

impl Held {
    /// As a scene wants it, not in memory yet.
    pub fn wanted(role: &RoleSettings) -> Self {
        Self {
            model: role.reference(),
            instance: None,
            with: role.with(),
            pinned: role.pinned,
            priority: role.priority,
            idle_s: role.idle_s,
        }
    }
}

/// A role in force as views see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct RoleView {
    /// The name that programs ask for.
    pub role: String,
    #[serde(flatten)]
    pub held: Held,
    /// `active` follows this role.
    pub leads: bool,
    /// Requests for it wait until the change under way has ended.
    pub waits: bool,
    /// Why it cannot answer although it should.
    pub absent: Option<String>,
}

/// A model that was loaded because a program asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct OnRequest {
    pub model: ModelRef,
    pub instance: String,
    /// When its last answer ended, or when it was loaded. While it answers it does not grow old.
    #[ts(type = "string")]
    pub last_used_at: Timestamp,
    /// Seconds without a request after which it leaves memory.
    pub idle_s: u64,
}

/// A scene of the settings as views see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SceneView {
    pub name: String,
    /// It was the last one that was applied.
    pub in_force: bool,
    /// It is in force, and what is held is not what it says: it or the roles have changed since.
    pub changed: bool,
    pub roles: BTreeMap<String, RoleSettings>,
    /// Memory of all its models, reckoned or learned, each once. `None`: not known of each.
    pub needed_bytes: Option<u64>,
    /// With everything else as it is and what the roles in force hold given back. `None`: not known.
    pub fits: Option<bool>,
    pub fits_reason: String,
    /// Seconds that applying it takes, by earlier loads of what is not in memory. `None`: not known of each.
    pub takes_s: Option<f64>,
}

/// What can be taken back for a minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct UndoView {
    /// What it leads back to, as people read it: "Gemma 3 270M", "Hybrid"; `None`: to no active model.
    pub back_to: Option<String>,
    /// What was done: "Qwen2.5 3B is active", "Hybrid is in force", "No model is active".
    pub done: String,
    #[ts(type = "string")]
    pub until: Timestamp,
}

/// A scene on its way, or another change of what is held beside the active model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Arranging {
    /// The scene; `None`: roles without a name, or a single model.
    pub scene: Option<String>,
    pub phase: SwitchPhase,
    /// The model that is being loaded, proved or taken out.
    pub model: Option<ModelRef>,
    /// Fraction of its load that is done, 0–1, where the server tells it.
    pub progress: Option<f64>,
    /// Steps that are done, and all of them.
    pub done: u32,
    pub steps: u32,
    /// Seconds left, a guess from earlier loads.
    pub eta_s: Option<f64>,
    #[ts(type = "string")]
    pub started_at: Timestamp,
}

/// What applying a scene did. With `dry_run` nothing was done: the steps are the plan with 0 ms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SceneReport {
    /// `None`: roles without a name.
    pub scene: Option<String>,
    pub outcome: SwitchOutcome,
    pub dry_run: bool,
    pub took_ms: u64,
    pub steps: Vec<StepTiming>,
    pub loaded: Vec<ModelRef>,
    /// What left memory.
    pub evicted: Vec<ModelRef>,
    /// Answers that were cut, because they went on beyond the limit of the drain.
    pub answers_cut: u32,
    pub journalled: bool,
    pub reason: Option<String>,
    pub error: Option<ApiError>,
}

/// One step of a plan, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ScenePlanStep {
    /// "load", "prove", "unload", "commit".
    pub name: String,
    pub model: Option<ModelRef>,
    pub title: Option<String>,
    /// Memory that it takes (load) or gives back (unload), in bytes.
    pub bytes: Option<u64>,
    /// By earlier loads.
    pub seconds: Option<f64>,
}

/// Something that would make a scene fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SceneOffer {
    /// "Without background", "Unload Qwen2.5 3B first", "critical with context 8192".
    pub what: String,
    /// The role that is left out; `None`: it is not about a role.
    pub without_role: Option<String>,
    /// A model that would leave, although somebody else has loaded it or it is pinned.
    pub unload: Option<ModelRef>,
    /// A role that would be loaded with less; such an offer is always enough alone.
    pub smaller: Option<SmallerRole>,
    pub frees_bytes: u64,
    /// It is enough alone.
    pub enough: bool,
}

/// A role with smaller settings of its load; what is left out stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SmallerRole {
    pub role: String,
    /// Tokens per request.
    pub context: Option<u64>,
    pub kv_type: Option<KvType>,
}

impl SceneOffer {
    pub fn of_smaller(smaller: SmallerRole, frees_bytes: u64) -> Self {
        let context = smaller.context.map(|tokens| format!("context {tokens}"));
        let kv = smaller.kv_type.map(|kv| format!("KV type {}", kv.name()));
        let settings: Vec<String> = context.into_iter().chain(kv).collect();
        let what = format!("{} with {}", smaller.role, settings.join(" and "));
        Self { what, without_role: None, unload: None, smaller: Some(smaller), frees_bytes, enough: true }
    }

    /// As it stands in the middle of a sentence.
    fn inside(&self) -> String {
        // A role is written as its owner writes it.
        if self.smaller.is_some() {
            return self.what.clone();
        }
        let mut letters = self.what.chars();
        letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
    }
}

/// So many offers are named in a hint.
const NAMED: usize = 3;

/// What would make it fit, as the hint of a refusal. `None`: no single change would.
pub fn hint_of(offers: &[SceneOffer]) -> Option<String> {
    let enough = offers.iter().filter(|offer| offer.enough).take(NAMED).map(SceneOffer::inside);
    let enough: Vec<String> = enough.collect();
    let (last, before) = enough.split_last()?;
    let named = if before.is_empty() { last.clone() } else { format!("{} or {last}", before.join(", ")) };
    Some(format!("It would fit this way: {named}."))
}

/// What applying a scene would do, or why it cannot be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ScenePlan {
    /// `None`: not known.
    pub fits: Option<bool>,
    /// Why not, with the arithmetic.
    pub refusal: Option<ApiError>,
    /// By how many bytes it does not fit; `None`: it fits, is refused for another reason, or is not known.
    pub shortfall_bytes: Option<u64>,
    pub offers: Vec<SceneOffer>,
    pub steps: Vec<ScenePlanStep>,
    /// Memory of each role's model in bytes, by role. Two roles with one model share it.
    pub role_bytes: BTreeMap<String, Option<u64>>,
    /// All of them together, each model once.
    pub needed_bytes: Option<u64>,
    /// What stays free for further models, once it is applied.
    pub free_bytes: Option<u64>,
    pub takes_s: Option<f64>,
    /// What leaves memory.
    pub evicted: Vec<ModelRef>,
    /// Roles whose model stays in memory as it is.
    pub untouched: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_names_what_is_enough_alone_and_no_more_than_a_person_reads() {
        let smaller = |role: &str, context, kv_type| {
            SceneOffer::of_smaller(SmallerRole { role: role.into(), context, kv_type }, 1)
        };
        let other = |what: &str, enough| SceneOffer {
            what: what.into(),
            without_role: None,
            unload: None,
            smaller: None,
            frees_bytes: 1,
            enough,
        };
        let (q8, context) = (Some(KvType::Q8_0), Some(8192));
        for (offers, hint) in [
            (vec![], None),
            (vec![other("Without small", false)], None),
            (vec![other("Without small", true)], Some("without small")),
            (
                vec![smaller("Critical", context, None), other("Without small", false)],
                Some("Critical with context 8192"),
            ),
            (
                vec![
                    smaller("a", None, q8),
                    smaller("b", context, q8),
                    other("Unload Qwen first", true),
                    other("Without a", true),
                ],
                Some("a with KV type q8_0, b with context 8192 and KV type q8_0 or unload Qwen first"),
            ),
        ] {
            let expected = hint.map(|hint| format!("It would fit this way: {hint}."));
            assert_eq!(hint_of(&offers), expected, "{offers:?}");
        }
    }
}
