//! The one who tells an answer in the dialect that it was asked in, shared by whoever has something to say: the wait for a model, the
//! answer itself, and what goes wrong with it.

use super::{refusal::Refusal, translated::Kept};
use bytes::Bytes;
use pilothouse_dialects::{Answer, Took, chat::Chunk};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// Clones tell the same answer.
#[derive(Clone)]
pub(super) struct Teller(Arc<Mutex<Telling>>);

struct Telling {
    answer: Box<dyn Answer>,
    /// The first event is out.
    begun: bool,
    kept: Kept,
    since: Instant,
    /// When the first piece that says something came.
    first: Option<Instant>,
}

impl Teller {
    /// `kept`: where answers are kept that programs may go on from.
    pub fn new(answer: Box<dyn Answer>, kept: Kept) -> Self {
        let since = Instant::now();
        Self(Arc::new(Mutex::new(Telling { answer, begun: false, kept, since, first: None })))
    }

    /// A sign of life.
    pub fn beat(&self) -> Bytes {
        self.say(|answer| answer.beat())
    }

    /// Pieces of the answer, as events.
    pub fn take(&self, chunks: &[Chunk]) -> Bytes {
        self.noticed(chunks);
        self.say(|answer| chunks.iter().flat_map(|chunk| answer.take(chunk)).collect())
    }

    /// Pieces of an answer that is wanted whole.
    pub fn note(&self, chunks: &[Chunk]) {
        self.noticed(chunks);
        let mut telling = self.telling();
        for chunk in chunks {
            telling.answer.take(chunk);
        }
    }

    /// Its last events; the dialect's failure where what was said cannot be told in it.
    pub fn end(&self) -> Bytes {
        self.finished();
        let said = self.say(|answer| match answer.untellable() {
            Some(why) => answer.fail(&why),
            None => answer.end(),
        });
        self.keep();
        said
    }

    pub fn fail(&self, why: &Refusal) -> Bytes {
        self.say(|answer| answer.fail(&why.into()))
    }

    /// The document of all that was noted. Errors: it cannot be told in this dialect.
    pub fn whole(&self) -> Result<Bytes, Refusal> {
        self.finished();
        let mut telling = self.telling();
        if let Some(why) = telling.answer.untellable() {
            return Err(why.into());
        }
        let said = telling.answer.whole().into();
        drop(telling);
        self.keep();
        Ok(said)
    }

    fn telling(&self) -> MutexGuard<'_, Telling> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn noticed(&self, chunks: &[Chunk]) {
        if chunks.iter().any(Chunk::says_something) {
            self.telling().first.get_or_insert_with(Instant::now);
        }
    }

    /// Tells it how long it took.
    fn finished(&self) {
        let mut telling = self.telling();
        let ns = |at: Instant| u64::try_from((at - telling.since).as_nanos()).unwrap_or(u64::MAX);
        let took = Took { loaded_ns: None, first_ns: telling.first.map(ns), total_ns: ns(Instant::now()) };
        telling.answer.took(took);
    }

    fn keep(&self) {
        let mut telling = self.telling();
        if let Some(stored) = telling.answer.kept() {
            telling.kept.keep(stored);
        }
    }

    /// Begins, if nobody has, and says something.
    fn say(&self, what: impl FnOnce(&mut dyn Answer) -> Vec<u8>) -> Bytes {
        let mut telling = self.telling();
        let mut said = if telling.begun { vec![] } else { telling.answer.begin() };
        telling.begun = true;
        said.extend(what(&mut *telling.answer));
        said.into()
    }
}
