//! How many requests are in which state.

use pilothouse_domain::traffic::RequestState;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// One count for each state of a request under way.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    waiting: AtomicU32,
    loading: AtomicU32,
    answering: AtomicU32,
}

impl Counts {
    fn of(&self, state: RequestState) -> Option<&AtomicU32> {
        match state {
            RequestState::Waiting => Some(&self.waiting),
            RequestState::Loading => Some(&self.loading),
            RequestState::Answering => Some(&self.answering),
            RequestState::Done | RequestState::Failed | RequestState::Cancelled | RequestState::Cut => None,
        }
    }

    /// A request comes into a state.
    pub fn enter(&self, state: RequestState) {
        if let Some(count) = self.of(state) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// It leaves a state that it came into.
    pub fn leave(&self, state: RequestState) {
        if let Some(count) = self.of(state) {
            count.fetch_sub(1, Relaxed);
        }
    }

    /// Waiting, loading, answering.
    pub fn now(&self) -> [u32; 3] {
        [&self.waiting, &self.loading, &self.answering].map(|count| count.load(Relaxed))
    }
}
