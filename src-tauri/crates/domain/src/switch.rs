//! The switch: a transaction that makes another model active, or puts everything back.

use crate::{Timestamp, error::ApiError, model::ModelRef};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// What the gateway answers with under the name `active`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Active {
    pub server: crate::server::ServerId,
    pub model: String,
    /// The server's identifier of the loaded copy.
    pub instance: String,
}

impl Active {
    pub fn reference(&self) -> ModelRef {
        ModelRef { server: self.server.clone(), model: self.model.clone() }
    }
}

/// Where a switch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum SwitchPhase {
    /// Starting the server, if it is not up, and looking what is loaded.
    Preparing,
    /// Waiting for answers under way.
    Draining,
    Unloading,
    Loading,
    /// Asking the new model for one real token.
    Proving,
    Committing,
    /// Something failed: the previous model is made active again.
    PuttingBack,
}

/// A switch under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Switching {
    pub switch_id: i64,
    pub from: Option<ModelRef>,
    pub to: ModelRef,
    pub phase: SwitchPhase,
    /// Fraction of the load that is done, 0–1, where the server tells it.
    pub progress: Option<f64>,
    /// Seconds left, a guess from earlier loads of the same model on the same server.
    pub eta_s: Option<f64>,
    #[ts(type = "string")]
    pub started_at: Timestamp,
}

/// How a switch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum SwitchOutcome {
    Committed,
    RolledBack,
    Cancelled,
}

/// One step and how long it took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct StepTiming {
    pub name: String,
    pub ms: u64,
}

/// What a switch did. With `dry_run` nothing was done: the steps are the plan with 0 ms and the id is 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SwitchReport {
    pub switch_id: i64,
    pub from: Option<ModelRef>,
    pub to: ModelRef,
    pub outcome: SwitchOutcome,
    pub dry_run: bool,
    pub took_ms: u64,
    /// `None` when the model was loaded already.
    pub load_ms: Option<u64>,
    pub first_token_ms: Option<u64>,
    pub steps: Vec<StepTiming>,
    pub reason: Option<String>,
    pub error: Option<ApiError>,
}

/// One thing to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make sure that the server of the target is up.
    EnsureServer,
    /// Let new requests to the active model wait until the outcome is known.
    Hold,
    /// Let answers under way end, then take the previous model's instance out of memory.
    UnloadPrevious,
    Load,
    Prove,
    Commit,
}

impl Step {
    pub fn name(&self) -> &'static str {
        match self {
            Self::EnsureServer => "ensure_server",
            Self::Hold => "hold",
            Self::UnloadPrevious => "unload_previous",
            Self::Load => "load",
            Self::Prove => "prove",
            Self::Commit => "commit",
        }
    }

    pub fn phase(&self) -> SwitchPhase {
        match self {
            Self::EnsureServer | Self::Hold => SwitchPhase::Preparing,
            Self::UnloadPrevious => SwitchPhase::Unloading,
            Self::Load => SwitchPhase::Loading,
            Self::Prove => SwitchPhase::Proving,
            Self::Commit => SwitchPhase::Committing,
        }
    }
}

/// What the planner must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Situation {
    pub previous: Option<Active>,
    /// The previous model is the one that is wanted.
    pub same_model: bool,
    /// The target is in memory already.
    pub target_loaded: bool,
    /// What the target will need, if that can be told: reckoned, or its weights and a quarter.
    pub needed_bytes: Option<u64>,
    /// What one more model may take now, if known.
    pub free_bytes: Option<u64>,
}

/// The steps of a switch. Both models are in memory for a moment when they fit together, so that a failed load costs
/// nothing; when they do not, the previous one goes first.
pub fn plan(situation: &Situation) -> Vec<Step> {
    let mut steps = vec![Step::EnsureServer, Step::Hold];
    let leaves = situation.previous.is_some() && !situation.same_model;
    if situation.target_loaded {
        steps.extend([Step::Prove, Step::Commit]);
        if leaves {
            steps.push(Step::UnloadPrevious);
        }
        return steps;
    }
    let tight = situation.needed_bytes.zip(situation.free_bytes).is_some_and(|(needed, free)| needed > free);
    if leaves && tight {
        steps.extend([Step::UnloadPrevious, Step::Load, Step::Prove, Step::Commit]);
    } else {
        steps.extend([Step::Load, Step::Prove, Step::Commit]);
        if leaves {
            steps.push(Step::UnloadPrevious);
        }
    }
    steps
}

/// The way on when a load was refused for want of memory. LM Studio's guardrail counts what the previous model holds,
/// although the switch is about to free it (reference/lmstudio.md section 5.11): that model goes first after all, and the
/// load is tried once more.
///
/// `done` as for [`undo`]; `in_the_way`: the load was refused for want of memory, and the previous model is in memory on
/// the same server. `None`: nothing is left to try.
pub fn make_room(done: &[Step], in_the_way: bool) -> Option<Vec<Step>> {
    let untried = done.last() == Some(&Step::Load) && !done.contains(&Step::UnloadPrevious);
    (in_the_way && untried).then(|| vec![Step::UnloadPrevious, Step::Load, Step::Prove, Step::Commit])
}

/// What must be undone after a failure, given the steps that were done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undo {
    /// Take the target out of memory again (it was not there before).
    pub unload_target: bool,
    /// The previous model was unloaded: load it again.
    pub reload_previous: bool,
}

/// Works out the way back. `done` holds the steps that were begun, the failed one included.
pub fn undo(done: &[Step]) -> Undo {
    Undo { unload_target: done.contains(&Step::Load), reload_previous: done.contains(&Step::UnloadPrevious) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn situation() -> Situation {
        Situation {
            previous: Some(Active { server: "ollama".into(), model: "a".into(), instance: "a".into() }),
            same_model: false,
            target_loaded: false,
            needed_bytes: Some(4),
            free_bytes: Some(100),
        }
    }

    fn names(situation: &Situation) -> Vec<&'static str> {
        plan(situation).iter().map(Step::name).collect()
    }

    #[test]
    fn with_room_the_previous_model_leaves_last() {
        assert_eq!(
            names(&situation()),
            ["ensure_server", "hold", "load", "prove", "commit", "unload_previous"]
        );
    }

    #[test]
    fn without_room_the_previous_model_leaves_first() {
        let tight = Situation { needed_bytes: Some(101), ..situation() };
        assert_eq!(names(&tight), ["ensure_server", "hold", "unload_previous", "load", "prove", "commit"]);
    }

    #[test]
    fn a_loaded_target_is_only_proved() {
        let loaded = Situation { target_loaded: true, ..situation() };
        assert_eq!(names(&loaded), ["ensure_server", "hold", "prove", "commit", "unload_previous"]);
        let same = Situation { same_model: true, ..loaded };
        assert_eq!(names(&same), ["ensure_server", "hold", "prove", "commit"]);
    }

    #[test]
    fn the_first_switch_has_nothing_to_unload() {
        let first = Situation { previous: None, ..situation() };
        assert_eq!(names(&first), ["ensure_server", "hold", "load", "prove", "commit"]);
    }

    #[test]
    fn the_way_back_undoes_only_what_was_begun() {
        let plan = plan(&Situation { needed_bytes: Some(101), ..situation() });
        for cut in 0..=plan.len() {
            let undo = undo(&plan[..cut]);
            assert_eq!(undo.reload_previous, cut >= 3, "cut after {cut}");
            assert_eq!(undo.unload_target, cut >= 4, "cut after {cut}");
        }
    }

    #[test]
    fn a_load_that_the_previous_model_hinders_is_tried_once_more_without_it() {
        let mut done = plan(&situation())[..3].to_vec();
        assert_eq!(done.last(), Some(&Step::Load));
        assert_eq!(make_room(&done, false), None, "another reason, or another server");
        let again = make_room(&done, true).unwrap();
        let names: Vec<&str> = again.iter().map(Step::name).collect();
        assert_eq!(names, ["unload_previous", "load", "prove", "commit"], "and it is not unloaded twice");
        for (position, step) in again.into_iter().enumerate() {
            done.push(step);
            assert_eq!(make_room(&done, true), None, "once is enough: {done:?}");
            let undo = undo(&done);
            assert!(undo.unload_target && undo.reload_previous, "cut after {position} more: {undo:?}");
        }
    }

    #[test]
    fn what_was_planned_without_the_previous_model_is_not_tried_again() {
        let tight = plan(&Situation { needed_bytes: Some(101), ..situation() });
        assert_eq!(tight[3], Step::Load);
        assert_eq!(make_room(&tight[..4], true), None, "it has left already");
        let loaded = plan(&Situation { target_loaded: true, ..situation() });
        assert_eq!(make_room(&loaded[..3], true), None, "that was no load");
    }
}
