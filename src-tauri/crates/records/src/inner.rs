use crate::{counts::Counts, metrics::Metrics, table::Table};
use pilothouse_domain::traffic::RequestRecord;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use tokio::sync::{Notify, mpsc};

/// What all clones of a recorder share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub next: AtomicU64,
    pub table: Table,
    pub counts: Counts,
    pub metrics: Metrics,
    pub queue: mpsc::Sender<Arc<RequestRecord>>,
    pub lost: AtomicU64,
    /// Tokens that ended answers have told.
    pub told_before: AtomicU64,
    /// A request has begun while none was under way.
    pub stirred: Notify,
}

impl Inner {
    /// Hands a record that has ended on.
    pub fn hand_on(&self, record: RequestRecord) {
        self.metrics.count(&record);
        let record = Arc::new(record);
        self.table.end(&record);
        if self.queue.try_send(record).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }
}
