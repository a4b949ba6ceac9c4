//! What standings are told from besides a snapshot, and words that several of them have.

use crate::{
    model::ModelRef,
    switch::{SwitchPhase, Switching},
};
use std::collections::BTreeMap;

/// What the snapshot itself does not say.
#[derive(Debug, Clone, Default)]
pub struct Circumstances<'a> {
    /// Answers of the active model that are under way.
    pub answering: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// Requests for the active model are held until a switch or a measurement has ended.
    pub held: bool,
    /// Seconds that the last loads of a model took, by `<server>/<name>`.
    pub load_s: Option<&'a BTreeMap<String, f64>>,
}

impl Circumstances<'_> {
    pub(super) fn load_s(&self, model: &ModelRef) -> Option<f64> {
        self.load_s?.get(&model.id()).copied().filter(|seconds| seconds.is_finite() && *seconds > 0.0)
    }
}

/// A phase in a word for a row that has little room.
pub(super) fn phase_word(switching: &Switching) -> &'static str {
    match switching.phase {
        SwitchPhase::Preparing => "preparing",
        SwitchPhase::Draining => "waiting for answers to end",
        SwitchPhase::Unloading => "unloading",
        SwitchPhase::Loading => "loading",
        SwitchPhase::Proving => "asking for a first token",
        SwitchPhase::Committing => "making it active",
        SwitchPhase::PuttingBack => "putting back",
    }
}

/// Seconds as people say them of something to come: "about 4 s".
pub(super) fn about(seconds: f64) -> String {
    match seconds.max(1.0).round() {
        seconds if seconds < 90.0 => format!("about {seconds:.0} s"),
        seconds => format!("about {:.0} min", seconds / 60.0),
    }
}
