use crate::{inner::Inner, table::Live};
use pilothouse_domain::traffic::{RequestRecord, RequestState};
use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

/// The record of a request under way. Dropped before [`OpenRecord::end`], it ends as cancelled: whoever answers is dropped when
/// the client leaves.
pub struct OpenRecord {
    inner: Arc<Inner>,
    id: u64,
    live: Arc<Live>,
    begun: Instant,
    first_token: OnceLock<Instant>,
    ended: AtomicBool,
    when_ended: Mutex<Option<WhenEnded>>,
}

/// Hears how it ended.
type WhenEnded = Box<dyn FnOnce(&RequestRecord) + Send>;

impl fmt::Debug for OpenRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenRecord({})", self.id)
    }
}

impl OpenRecord {
    pub(crate) fn new(inner: Arc<Inner>, id: u64, live: Arc<Live>) -> Self {
        let (first_token, ended) = (OnceLock::new(), AtomicBool::new(false));
        Self { inner, id, live, begun: Instant::now(), first_token, ended, when_ended: Mutex::default() }
    }

    /// The number by which it is found later.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// When the request began.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Changes what is known of it. Id and begin stay as they are. A state that says that it has ended holds with `end` only.
    pub fn update(&self, change: impl FnOnce(&mut RequestRecord)) {
        let mut record = self.live.lock();
        // One that has ended is empty.
        if self.ended.load(Relaxed) {
            return;
        }
        let before = (record.id, record.at, record.state);
        change(&mut record);
        (record.id, record.at) = (before.0, before.1);
        if !record.state.is_under_way() {
            record.state = before.2;
        }
        if record.state != before.2 {
            self.inner.counts.leave(before.2);
            self.inner.counts.enter(record.state);
        }
    }

    /// The first token has come. Later calls change nothing.
    pub fn first_token(&self) {
        if self.first_token.get().is_none() && self.first_token.set(Instant::now()).is_ok() {
            let ttft = self.since_begin_ms(self.first_token.get());
            self.update(|record| {
                record.state = RequestState::Answering;
                record.ttft_ms = record.ttft_ms.or(ttft.map(|ms| ms.round() as u32));
            });
        }
    }

    /// So many more tokens have come, by the events of the answer. One addition; shown while it goes on.
    pub fn tokens(&self, more: u32) {
        self.live.told.fetch_add(more, Relaxed);
    }

    /// Who hears how it ended, once, in the moment of its end; whoever is named later takes the place. When it has ended already,
    /// nobody does, and what is given is dropped.
    pub fn when_ended(&self, hears: impl FnOnce(&RequestRecord) + Send + 'static) {
        let mut when_ended = self.when_ended.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.ended.load(Relaxed) {
            *when_ended = Some(Box::new(hears));
        }
    }

    /// Ends it; later calls change nothing. What `change` leaves under way is done; what nobody counted is what the events told, as
    /// an estimate.
    pub fn end(&self, change: impl FnOnce(&mut RequestRecord)) {
        self.finish(change);
    }

    fn finish(&self, change: impl FnOnce(&mut RequestRecord)) {
        if self.ended.swap(true, Relaxed) {
            return;
        }
        let (before, mut record) = {
            let mut record = self.live.lock();
            (record.state, std::mem::take(&mut *record))
        };
        let (id, at) = (record.id, record.at);
        change(&mut record);
        self.live.asker.note(&mut record);
        (record.id, record.at) = (id, at);
        let told = self.live.told.load(Relaxed);
        if told > 0 && record.tokens.output.is_none() {
            record.tokens.output = Some(told);
            record.tokens.counted = false;
        }
        let ttft_ms = self.since_begin_ms(self.first_token.get());
        record.close(ttft_ms, self.begun.elapsed().as_secs_f64() * 1000.0);
        let hears = self.when_ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(hears) = hears {
            hears(&record);
        }
        let inner = &self.inner;
        let told = if told > 0 { told } else { record.tokens.output.unwrap_or_default() };
        // Before it leaves the table, where its own count is: the sum of both may be a moment too high, never too low.
        inner.told_before.fetch_add(told.into(), Relaxed);
        inner.hand_on(record);
        inner.counts.leave(before);
    }

    fn since_begin_ms(&self, at: Option<&Instant>) -> Option<f64> {
        at.map(|at| at.duration_since(self.begun).as_secs_f64() * 1000.0)
    }
}

impl Drop for OpenRecord {
    fn drop(&mut self) {
        self.finish(|record| record.state = RequestState::Cancelled);
    }
}
