//! What the gauges show while a run measures.

use super::BencherWiring;
use crate::hub::Hub;
use pilothouse_domain::{Timestamp, gauge::GaugeHistory, server::ServerId};
use pilothouse_system::gauges::GaugePast;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Follows the samples from the begin of a run to its end.
pub(super) struct Beside {
    past: GaugePast,
    since: Timestamp,
    peak: JoinHandle<Option<u64>>,
    under_way: DropGuard,
}

impl Beside {
    pub fn begin(around: &BencherWiring, server: &ServerId, since: Timestamp) -> Self {
        let end = CancellationToken::new();
        let peak = peak_memory(around.hub.clone(), server.clone(), since, end.clone());
        let (past, peak) = (around.past.clone(), tokio::spawn(peak));
        Self { past, since, peak, under_way: end.drop_guard() }
    }

    /// The greatest memory of the server's process tree in bytes, and the trace; `None` of what was never sampled.
    pub async fn end(self) -> (Option<u64>, Option<GaugeHistory>) {
        drop(self.under_way);
        let peak = self.peak.await.ok().flatten();
        let trace = self.past.trace(self.since.as_millisecond(), Timestamp::now().as_millisecond());
        (peak, Some(trace).filter(|trace| !trace.at_ms.is_empty()))
    }
}

async fn peak_memory(hub: Hub, server: ServerId, since: Timestamp, end: CancellationToken) -> Option<u64> {
    let mut snapshots = hub.snapshots();
    let mut peak = None;
    loop {
        {
            let snapshot = snapshots.borrow_and_update();
            // A sample of before may show what was in memory before.
            let gauges = snapshot.gauges.as_ref().filter(|gauges| gauges.at >= since);
            let usage = gauges.and_then(|gauges| gauges.servers.iter().find(|usage| usage.id == server));
            peak = peak.max(usage.and_then(|usage| usage.memory_bytes));
        }
        tokio::select! {
            () = end.cancelled() => return peak,
            changed = snapshots.changed() => if changed.is_err() { return peak },
        }
    }
}
