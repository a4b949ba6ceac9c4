//! What a start makes of the journal that the engine before has left.

use crate::{model::ModelRef, switch::Active};

/// A switch that a dead engine left under way, as its journal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutOffSwitch {
    pub id: i64,
    /// What was active before.
    pub from: Option<Active>,
    pub to: ModelRef,
    /// Its outcome and the new active model were written: only the model before may still be in memory.
    pub committed: bool,
    /// Whether the target was in memory before the switch; `None`: that was not yet looked at, so nothing was loaded.
    pub to_was_loaded: Option<bool>,
}

/// What is active from now on, and what must leave memory for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resumption {
    pub active: Option<ModelRef>,
    /// Models that only a cut-off switch can have left in memory.
    pub strays: Vec<ModelRef>,
    /// Of the last switch that was cut off: its target, and whether that is active now.
    pub cut_off: Option<(ModelRef, bool)>,
}

/// `kept`: the active model as it was written last, which a commit does in one transaction with its outcome. So exactly one
/// of two sets can come out of a cut-off switch: the one before it, or the one after it.
pub fn resume(cut_off: &[CutOffSwitch], kept: Option<&Active>) -> Resumption {
    // Of databases without the commit in one transaction, the row alone may know what was active.
    let before = cut_off.iter().find(|switch| !switch.committed).and_then(|switch| switch.from.as_ref());
    let active = kept.or(before).map(Active::reference);
    let mut strays: Vec<ModelRef> = Vec::new();
    for switch in cut_off {
        let stray = match switch.committed {
            true => switch.from.as_ref().map(Active::reference),
            false => (switch.to_was_loaded == Some(false)).then(|| switch.to.clone()),
        };
        strays.extend(stray);
    }
    strays.retain(|stray| Some(stray) != active.as_ref());
    strays.dedup();
    let last = cut_off.last().map(|switch| (switch.to.clone(), switch.committed));
    Resumption { active, strays, cut_off: last }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active(name: &str) -> Active {
        Active { server: "ollama".into(), model: name.into(), instance: name.into() }
    }

    fn switch(committed: bool, to_was_loaded: Option<bool>) -> CutOffSwitch {
        let to = active("b").reference();
        CutOffSwitch { id: 1, from: Some(active("a")), to, committed, to_was_loaded }
    }

    #[test]
    fn before_the_commit_the_old_set_comes_back_and_after_it_the_new_one_stays() {
        let cases = [
            (switch(false, None), "a", vec![]),
            (switch(false, Some(false)), "a", vec!["b"]),
            // Somebody else's, or one that was there before: it stays.
            (switch(false, Some(true)), "a", vec![]),
            (switch(true, Some(false)), "b", vec!["a"]),
            (switch(true, Some(true)), "b", vec!["a"]),
        ];
        for (cut_off, expected, strays) in cases {
            let kept = if cut_off.committed { active("b") } else { active("a") };
            let resumed = resume(std::slice::from_ref(&cut_off), Some(&kept));
            assert_eq!(resumed.active.unwrap().model, expected, "{cut_off:?}");
            let names: Vec<String> = resumed.strays.into_iter().map(|stray| stray.model).collect();
            assert_eq!(names, strays, "{cut_off:?}");
        }
    }

    #[test]
    fn without_a_cut_off_switch_what_was_kept_is_active() {
        assert_eq!(resume(&[], Some(&active("a"))).active, Some(active("a").reference()));
        assert_eq!(resume(&[], None), Resumption::default());
        let first = CutOffSwitch { from: None, ..switch(false, Some(false)) };
        let resumed = resume(&[first], None);
        assert_eq!((resumed.active, resumed.strays.len()), (None, 1), "the first switch ever was cut off");
    }

    #[test]
    fn what_is_active_is_never_a_stray() {
        let back = CutOffSwitch {
            to: active("a").reference(),
            from: Some(active("b")),
            ..switch(false, Some(false))
        };
        let resumed = resume(&[switch(true, Some(false)), back], Some(&active("b")));
        assert_eq!(
            (resumed.active, resumed.strays),
            (Some(active("b").reference()), vec![active("a").reference()])
        );
    }
}
