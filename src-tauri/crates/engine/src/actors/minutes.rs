//! Writes the gauges' minutes to the store and forgets those that are too old.

use crate::store::Store;
use pilothouse_domain::{
    Timestamp,
    gauge_history::{Bucket, LONGEST_S},
};
use std::time::{Duration, Instant};
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    task::JoinHandle,
};

/// Minutes that wait at most for a database that does not answer.
const WAITING: usize = 60;
/// The time between two looks for minutes that are too old.
const SWEEP_EVERY: Duration = Duration::from_secs(86_400);

/// A task that ends when the sender is dropped and everything is written.
pub(super) struct MinuteWriter {
    pub minutes: Sender<Bucket>,
    pub task: JoinHandle<()>,
}

pub(super) fn keep(store: Store) -> MinuteWriter {
    let (minutes, received) = mpsc::channel(WAITING);
    MinuteWriter { minutes, task: tokio::spawn(serve(store, received)) }
}

async fn serve(store: Store, mut minutes: Receiver<Bucket>) {
    let mut swept: Option<Instant> = None;
    let mut failed = false;
    loop {
        let mut result = Ok(());
        if swept.is_none_or(|at| at.elapsed() >= SWEEP_EVERY) {
            swept = Some(Instant::now());
            result = store.forget_minutes(oldest_ms()).await;
        }
        let mut batch = Vec::new();
        let more = minutes.recv_many(&mut batch, WAITING).await > 0;
        if more {
            result = result.and(store.add_minutes(&batch).await);
        }
        // Said once: the next minute would only say the same again.
        match result {
            Err(error) if !failed => {
                failed = true;
                tracing::warn!(%error, "the gauges' minutes are not kept");
            }
            Err(_) => {}
            Ok(()) if more => failed = false,
            Ok(()) => {}
        }
        if !more {
            return;
        }
    }
}

/// The begin of what is kept.
fn oldest_ms() -> i64 {
    Timestamp::now().as_millisecond() - i64::try_from(LONGEST_S * 1000).unwrap_or(i64::MAX)
}
