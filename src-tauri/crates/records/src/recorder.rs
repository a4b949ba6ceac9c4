use crate::{
    asker::Asker,
    counts::Counts,
    inner::Inner,
    metrics::Metrics,
    open::OpenRecord,
    table::{Live, MOST_LIVE, Table},
};
use pilothouse_domain::traffic::{RequestRecord, TrafficNow};
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};
use tokio::sync::{Notify, mpsc};

/// Records that wait at most for the history: about 4 MB of them.
const WAITING: usize = 4096;

/// Records that have ended, to be kept; each once.
pub type Ended = mpsc::Receiver<Arc<RequestRecord>>;

/// Where requests are recorded; cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder(pub(crate) Arc<Inner>);

impl Recorder {
    /// `last`: the number of the newest record that was ever kept; 0: there is none.
    pub fn new(last: u64) -> (Self, Ended) {
        let (queue, ended) = mpsc::channel(WAITING);
        let inner = Inner {
            next: AtomicU64::new(last.saturating_add(1)),
            table: Table::default(),
            counts: Counts::default(),
            metrics: Metrics::default(),
            queue,
            lost: AtomicU64::new(0),
            told_before: AtomicU64::new(0),
            stirred: Notify::new(),
        };
        (Self(Arc::new(inner)), ended)
    }

    /// Opens the record of a request whose head has arrived; its id is given here. It ends with what is returned, which has to be
    /// held as long as the answer lasts: when that is dropped before its end, the client has left.
    pub fn begin(&self, record: RequestRecord) -> OpenRecord {
        self.begin_by(record, Asker::default())
    }

    /// The same, by a program that is being looked for.
    pub fn begin_by(&self, mut record: RequestRecord, asker: Asker) -> OpenRecord {
        let inner = &self.0;
        record.id = inner.next.fetch_add(1, Relaxed);
        record.shorten();
        let (id, state) = (record.id, record.state);
        let live = Arc::new(Live { record: Mutex::new(record), told: AtomicU32::new(0), asker });
        inner.table.enter(id, &live);
        let was_idle = inner.counts.now() == [0; 3];
        inner.counts.enter(state);
        if was_idle {
            inner.stirred.notify_one();
        }
        OpenRecord::new(self.0.clone(), id, live)
    }

    /// Writes the families of requests for scrapers.
    pub fn encode(&self, out: &mut DescriptorEncoder) -> Result<(), fmt::Error> {
        self.0.metrics.encode(self.0.counts.now(), self.lost(), out)
    }

    /// So many records could not be kept.
    pub fn count_lost(&self, records: u64) {
        self.0.lost.fetch_add(records, Relaxed);
    }

    /// Records that could not be kept so far.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Relaxed)
    }

    /// Waits until a request begins while none is under way.
    pub async fn stirred(&self) {
        self.0.stirred.notified().await;
    }

    /// How many are under way, and the newest so many of them. The rate is for whoever measures it.
    pub fn now(&self, most: usize) -> TrafficNow {
        let [waiting, loading, answering] = self.0.counts.now();
        let (live, _) = self.0.table.live(most);
        let live: Vec<RequestRecord> = live.iter().map(|live| live.now()).collect();
        let in_flight = waiting.saturating_add(loading).saturating_add(answering);
        let left_out = in_flight.saturating_sub(u32::try_from(live.len()).unwrap_or(u32::MAX));
        TrafficNow { in_flight, waiting, loading, answering, tok_s: None, live, left_out, lost: self.lost() }
    }

    /// Whether no request is under way.
    pub fn is_idle(&self) -> bool {
        self.0.counts.now() == [0; 3]
    }

    /// Tokens that all answers have told so far, by their events or, where one came in one piece, by its own count.
    pub fn told(&self) -> u64 {
        let (live, _) = self.0.table.live(MOST_LIVE);
        let under_way: u64 = live.iter().map(|live| u64::from(live.told.load(Relaxed))).sum();
        self.0.told_before.load(Relaxed) + under_way
    }

    /// All that are in memory: under way, and those that ended last, the newest first.
    pub fn in_memory(&self) -> Vec<RequestRecord> {
        let (live, _) = self.0.table.live(MOST_LIVE);
        // After those under way: one that ends between is in both, and its end is what holds.
        let mut all: Vec<RequestRecord> =
            self.0.table.recent().iter().map(|record| (**record).clone()).collect();
        all.extend(live.iter().map(|live| live.now()).filter(|record| record.state.is_under_way()));
        all.sort_by_key(|record| (std::cmp::Reverse(record.id), record.state.is_under_way()));
        all.dedup_by_key(|record| record.id);
        all
    }

    /// One that is in memory.
    pub fn one(&self, id: u64) -> Option<RequestRecord> {
        self.0.table.one(id)
    }
}
