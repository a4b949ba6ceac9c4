//! The order in which a switch works, and the way back.

use crate::switch::{Active, SwitchPhase};

/// One thing to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make sure that the server of the target is up.
    EnsureServer,
    /// Let new requests to the active model wait until the outcome is known.
    Hold,
    /// Let answers under way end, then take the previous model's instance out of memory.
    UnloadPrevious,
    /// Take idle models out that were loaded on request: without their memory it does not fit.
    Evict,
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
            Self::Evict => "evict",
            Self::Load => "load",
            Self::Prove => "prove",
            Self::Commit => "commit",
        }
    }

    pub fn phase(&self) -> SwitchPhase {
        match self {
            Self::EnsureServer | Self::Hold => SwitchPhase::Preparing,
            Self::UnloadPrevious | Self::Evict => SwitchPhase::Unloading,
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
    /// The previous model answers now: until the commit requests go to it, unless it must leave first.
    pub answers: bool,
    /// The previous model is the one that is wanted.
    pub same_model: bool,
    /// The previous model stays in memory whatever is active: another role stands for it, or it is pinned.
    pub previous_stays: bool,
    /// There are idle models whose memory is needed as well.
    pub evicts: bool,
    /// The target is in memory already.
    pub target_loaded: bool,
    /// What the target will need, if that can be told: reckoned, or its weights and a quarter.
    pub needed_bytes: Option<u64>,
    /// What one more model may take now, if known.
    pub free_bytes: Option<u64>,
}

/// The steps of a switch. Both models are in memory for a moment when they fit together, so that a failed load costs
/// nothing and requests are answered all the time; when they do not, the previous one goes first. Requests are held only
/// while nothing can answer them.
pub fn plan(situation: &Situation) -> Vec<Step> {
    let mut steps = Vec::new();
    if !situation.answers {
        steps.push(Step::Hold);
    }
    steps.push(Step::EnsureServer);
    let leaves = situation.previous.is_some() && !situation.same_model && !situation.previous_stays;
    let evict = situation.evicts.then_some(Step::Evict);
    let tight = situation.needed_bytes.zip(situation.free_bytes).is_some_and(|(needed, free)| needed > free);
    if situation.target_loaded {
        steps.extend([Step::Prove, Step::Commit]);
    } else if leaves && tight {
        if situation.answers {
            steps.push(Step::Hold);
        }
        steps.push(Step::UnloadPrevious);
        steps.extend(evict);
        steps.extend([Step::Load, Step::Prove, Step::Commit]);
        return steps;
    } else {
        steps.extend(evict);
        steps.extend([Step::Load, Step::Prove, Step::Commit]);
    }
    if leaves {
        steps.push(Step::UnloadPrevious);
    }
    steps
}

/// The way on when a load was refused for want of memory. LM Studio's guardrail counts what the previous model holds,
/// although the switch is about to free it (seen in its message: "Model loading was stopped due to insufficient system resources"): that model goes first after all, and the
/// load is tried once more.
///
/// `done` as for [`undo`]; `in_the_way`: the load was refused for want of memory, and the previous model is in memory on
/// the same server. `None`: nothing is left to try.
pub fn make_room(done: &[Step], in_the_way: bool) -> Option<Vec<Step>> {
    let untried = done.last() == Some(&Step::Load) && !done.contains(&Step::UnloadPrevious);
    (in_the_way && untried)
        .then(|| vec![Step::Hold, Step::UnloadPrevious, Step::Load, Step::Prove, Step::Commit])
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
            answers: true,
            same_model: false,
            previous_stays: false,
            evicts: false,
            target_loaded: false,
            needed_bytes: Some(4),
            free_bytes: Some(100),
        }
    }

    fn names(situation: &Situation) -> Vec<&'static str> {
        plan(situation).iter().map(Step::name).collect()
    }

    #[test]
    fn with_room_the_previous_model_answers_until_the_commit_and_leaves_last() {
        assert_eq!(names(&situation()), ["ensure_server", "load", "prove", "commit", "unload_previous"]);
    }

    #[test]
    fn without_room_the_previous_model_leaves_first() {
        let tight = Situation { needed_bytes: Some(101), ..situation() };
        assert_eq!(names(&tight), ["ensure_server", "hold", "unload_previous", "load", "prove", "commit"]);
    }

    #[test]
    fn a_previous_model_that_another_role_needs_stays_and_idle_ones_give_their_memory() {
        let stays = Situation { previous_stays: true, ..situation() };
        assert_eq!(names(&stays), ["ensure_server", "load", "prove", "commit"]);
        let tight = Situation { needed_bytes: Some(101), evicts: true, ..situation() };
        assert_eq!(
            names(&tight),
            ["ensure_server", "hold", "unload_previous", "evict", "load", "prove", "commit"]
        );
        let both = Situation { previous_stays: true, ..tight };
        assert_eq!(names(&both), ["ensure_server", "evict", "load", "prove", "commit"]);
        let loaded = Situation { target_loaded: true, ..both };
        assert_eq!(names(&loaded), ["ensure_server", "prove", "commit"]);
    }

    #[test]
    fn a_loaded_target_is_only_proved() {
        let loaded = Situation { target_loaded: true, ..situation() };
        assert_eq!(names(&loaded), ["ensure_server", "prove", "commit", "unload_previous"]);
        let same = Situation { same_model: true, ..loaded };
        assert_eq!(names(&same), ["ensure_server", "prove", "commit"]);
    }

    #[test]
    fn while_nothing_can_answer_requests_are_held_from_the_start() {
        let first = Situation { previous: None, answers: false, ..situation() };
        assert_eq!(names(&first), ["hold", "ensure_server", "load", "prove", "commit"]);
        let away = Situation { answers: false, ..situation() };
        assert_eq!(names(&away), ["hold", "ensure_server", "load", "prove", "commit", "unload_previous"]);
    }

    /// Over all situations: requests are never held without need, and never go to a model that has left.
    #[test]
    fn requests_are_held_exactly_while_nothing_can_answer_them() {
        for bits in 0..128u8 {
            let on = |bit: u8| bits & (1 << bit) != 0;
            let situation = Situation {
                previous: on(0).then(|| situation().previous).flatten(),
                answers: on(0) && on(1),
                same_model: on(0) && on(2),
                previous_stays: on(5),
                evicts: on(6),
                target_loaded: on(3),
                needed_bytes: Some(if on(4) { 101 } else { 4 }),
                free_bytes: Some(100),
            };
            let steps = plan(&situation);
            let at = |step: &Step| steps.iter().position(|one| one == step);
            let commit = at(&Step::Commit).unwrap();
            let leaves_first = at(&Step::UnloadPrevious).is_some_and(|place| place < commit);
            assert_eq!(
                at(&Step::Hold).is_some(),
                !situation.answers || leaves_first,
                "{situation:?}: {steps:?}"
            );
            assert!(at(&Step::Hold).is_none_or(|hold| hold < commit), "{steps:?}");
            if leaves_first {
                assert!(at(&Step::Hold) < at(&Step::UnloadPrevious), "{steps:?}");
            }
            assert!(at(&Step::Prove).unwrap() < commit, "{steps:?}");
        }
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
        let mut done = plan(&situation())[..2].to_vec();
        assert_eq!(done.last(), Some(&Step::Load));
        assert_eq!(make_room(&done, false), None, "another reason, or another server");
        let again = make_room(&done, true).unwrap();
        let names: Vec<&str> = again.iter().map(Step::name).collect();
        assert_eq!(
            names,
            ["hold", "unload_previous", "load", "prove", "commit"],
            "and it is not unloaded twice"
        );
        for (position, step) in again.into_iter().enumerate() {
            done.push(step);
            assert_eq!(make_room(&done, true), None, "once is enough: {done:?}");
            let undo = undo(&done);
            assert!(undo.unload_target, "cut after {position} more: {undo:?}");
            assert_eq!(undo.reload_previous, position >= 1, "cut after {position} more: {undo:?}");
        }
    }

    #[test]
    fn what_was_planned_without_the_previous_model_is_not_tried_again() {
        let tight = plan(&Situation { needed_bytes: Some(101), ..situation() });
        assert_eq!(tight[3], Step::Load);
        assert_eq!(make_room(&tight[..4], true), None, "it has left already");
        let loaded = plan(&Situation { target_loaded: true, ..situation() });
        assert_eq!(make_room(&loaded[..2], true), None, "that was no load");
    }
}
