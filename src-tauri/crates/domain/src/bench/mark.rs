//! What makes the figures of a run doubtful, in few words that stand beside them wherever they are shown.

use super::{
    quiet::DisturbedBy,
    run::{Run, RunState},
};

impl Run {
    /// Why its figures are not those of a quiet machine, worst first: "cut off", "throttled", "disturbed", "not settled". Empty:
    /// nothing is known against them. A run under way has no figures yet.
    pub fn marks(&self) -> Vec<&'static str> {
        let held_down = self.disturbed.iter().any(|one| one.what == DisturbedBy::Heat);
        let by_others = self.disturbed.iter().any(|one| one.what != DisturbedBy::Heat);
        [
            (self.state == RunState::CutOff, "cut off"),
            (self.state == RunState::Cancelled, "cancelled"),
            (held_down, "throttled"),
            (by_others, "disturbed"),
            (self.unsettled, "not settled"),
        ]
        .into_iter()
        .filter_map(|(holds, words)| holds.then_some(words))
        .collect()
    }

    /// The same in one piece; `None`: nothing is known against its figures.
    pub fn mark(&self) -> Option<String> {
        let marks = self.marks();
        (!marks.is_empty()).then(|| marks.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Timestamp,
        bench::{plan::BenchPlan, quiet::Disturbance},
    };

    #[test]
    fn a_figure_is_marked_by_all_that_is_known_against_it() {
        let by = |what| Disturbance { what, name: "x".into(), pid: None, percent: None, seconds: 1.0 };
        let run = |state, disturbed: &[DisturbedBy], unsettled| {
            let plan = BenchPlan::named("quick", None).unwrap();
            let mut run = Run::begun(1, Timestamp::UNIX_EPOCH, plan, "ollama".into(), "m");
            (run.state, run.unsettled) = (state, unsettled);
            run.disturbed = disturbed.iter().map(|what| by(*what)).collect();
            run.mark()
        };
        use {DisturbedBy as D, RunState as S};
        for (state, disturbed, unsettled, wanted) in [
            (S::Done, &[] as &[D], false, None),
            (S::Running, &[], false, None),
            (S::Done, &[D::Processor], false, Some("disturbed")),
            (S::Done, &[D::Heat], false, Some("throttled")),
            (S::Done, &[D::Heat, D::Requests], true, Some("throttled, disturbed, not settled")),
            (S::Done, &[], true, Some("not settled")),
            (S::CutOff, &[D::Swap], false, Some("cut off, disturbed")),
            (S::Cancelled, &[], false, Some("cancelled")),
        ] {
            assert_eq!(run(state, disturbed, unsettled).as_deref(), wanted);
        }
    }
}
