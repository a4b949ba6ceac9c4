//! In what words a server gets a request: the client's own, or the same said again in chat's.

use super::{events::Events, splice::Named, teller::Teller, voice::Voice};
use bytes::Bytes;
use pilothouse_dialects::Question;
use std::sync::{Arc, atomic::AtomicBool};

/// What its server gets.
pub(super) enum Wording {
    /// The client's own words, but for the model's name.
    Own { body: Bytes, named: Named },
    /// The same said in chat's words, and told back by this one.
    Chat {
        question: Arc<dyn Question>,
        teller: Teller,
        /// The template has not refused that the system speaks in the middle.
        late_system: AtomicBool,
        /// What it says that is not for clients to say, by name; never sent on.
        governed: Option<String>,
    },
}

impl Wording {
    /// A question that is said again in chat's words.
    pub fn told(question: Arc<dyn Question>, teller: Teller, governed: Option<String>) -> Self {
        Self::Chat { question, teller, late_system: AtomicBool::new(true), governed }
    }

    /// As the client names it.
    pub fn model(&self) -> Option<&str> {
        match self {
            Self::Own { named, .. } => named.model.as_deref(),
            Self::Chat { question, .. } => question.model(),
        }
    }

    pub fn streams(&self) -> bool {
        match self {
            Self::Own { named, .. } => named.streams,
            Self::Chat { question, .. } => question.streams(),
        }
    }

    /// The most tokens that the client wants.
    pub fn most_output(&self) -> Option<u64> {
        match self {
            Self::Own { named, .. } => named.most_output,
            Self::Chat { question, .. } => question.most_output(),
        }
    }

    /// Who speaks in a stream before the answer does. `None`: no stream is wanted.
    pub fn voice(&self, path: &str) -> Option<Voice> {
        match self {
            Self::Own { named, .. } => Events::of(path).filter(|_| named.streams).map(Voice::Own),
            Self::Chat { question, teller, .. } => question.streams().then(|| Voice::Told(teller.clone())),
        }
    }
}
