//! Requests under way and those that ended last.

use crate::Asker;
use pilothouse_domain::traffic::RequestRecord;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

/// Requests under way that are listed at most. More are answered and recorded all the same.
pub(crate) const MOST_LIVE: usize = 10_000;
/// Those that ended last, until they can be read from the history; without one they are all there is.
pub(crate) const MOST_RECENT: usize = 512;

/// A request under way.
#[derive(Debug)]
pub(crate) struct Live {
    pub record: Mutex<RequestRecord>,
    /// Tokens of its answer so far, as far as its events tell.
    pub told: AtomicU32,
    pub asker: Asker,
}

impl Live {
    pub fn lock(&self) -> MutexGuard<'_, RequestRecord> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As it is now, with the tokens that its events tell where nobody has counted them.
    pub fn now(&self) -> RequestRecord {
        let mut record = self.lock().clone();
        let told = self.told.load(Relaxed);
        if told > 0 && record.tokens.output.is_none() {
            record.tokens.output = Some(told);
        }
        self.asker.note(&mut record);
        record
    }
}

#[derive(Debug, Default)]
struct Rows {
    live: BTreeMap<u64, Arc<Live>>,
    recent: VecDeque<Arc<RequestRecord>>,
}

/// See the module's text. Every lock of it is short: what is read is cloned as pointers.
#[derive(Debug, Default)]
pub(crate) struct Table(Mutex<Rows>);

impl Table {
    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn enter(&self, id: u64, live: &Arc<Live>) {
        let mut rows = self.lock();
        if rows.live.len() < MOST_LIVE {
            rows.live.insert(id, live.clone());
        }
    }

    pub fn end(&self, ended: &Arc<RequestRecord>) {
        let oldest = {
            let mut rows = self.lock();
            rows.live.remove(&ended.id);
            rows.recent.push_back(ended.clone());
            (rows.recent.len() > MOST_RECENT).then(|| rows.recent.pop_front())
        };
        // Its texts are given back outside of the lock.
        drop(oldest);
    }

    /// The newest requests under way, newest first, and how many there are in the table.
    pub fn live(&self, most: usize) -> (Vec<Arc<Live>>, usize) {
        let rows = self.lock();
        (rows.live.values().rev().take(most).cloned().collect(), rows.live.len())
    }

    /// Those that ended last, in the order of their ends.
    pub fn recent(&self) -> Vec<Arc<RequestRecord>> {
        self.lock().recent.iter().cloned().collect()
    }

    pub fn one(&self, id: u64) -> Option<RequestRecord> {
        let (live, recent) = {
            let rows = self.lock();
            (rows.live.get(&id).cloned(), rows.recent.iter().find(|record| record.id == id).cloned())
        };
        live.map(|live| live.now()).or_else(|| recent.map(|record| (*record).clone()))
    }
}
