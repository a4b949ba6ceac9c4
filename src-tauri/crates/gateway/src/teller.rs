//! The one who tells an answer in the dialect that it was asked in, shared by whoever has something to say: the wait for a model, the
//! answer itself, and what goes wrong with it.

use super::refusal::Refusal;
use bytes::Bytes;
use pilothouse_dialects::{Answer, chat::Chunk};
use std::sync::{Arc, Mutex, PoisonError};

/// Clones tell the same answer.
#[derive(Clone)]
pub(super) struct Teller(Arc<Mutex<Telling>>);

struct Telling {
    answer: Box<dyn Answer>,
    /// The first event is out.
    begun: bool,
}

impl Teller {
    pub fn new(answer: Box<dyn Answer>) -> Self {
        Self(Arc::new(Mutex::new(Telling { answer, begun: false })))
    }

    /// A sign of life.
    pub fn beat(&self) -> Bytes {
        self.say(|answer| answer.beat())
    }

    /// Pieces of the answer, as events.
    pub fn take(&self, chunks: &[Chunk]) -> Bytes {
        self.say(|answer| chunks.iter().flat_map(|chunk| answer.take(chunk)).collect())
    }

    /// Pieces of an answer that is wanted whole.
    pub fn note(&self, chunks: &[Chunk]) {
        let mut telling = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in chunks {
            telling.answer.take(chunk);
        }
    }

    pub fn end(&self) -> Bytes {
        self.say(|answer| answer.end())
    }

    pub fn fail(&self, why: &Refusal) -> Bytes {
        self.say(|answer| answer.fail(&why.into()))
    }

    /// The document of all that was noted.
    pub fn whole(&self) -> Bytes {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).answer.whole().into()
    }

    /// Begins, if nobody has, and says something.
    fn say(&self, what: impl FnOnce(&mut dyn Answer) -> Vec<u8>) -> Bytes {
        let mut telling = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut said = if telling.begun { vec![] } else { telling.answer.begin() };
        telling.begun = true;
        said.extend(what(&mut *telling.answer));
        said.into()
    }
}
