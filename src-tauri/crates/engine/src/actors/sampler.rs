//! Takes samples on a thread of its own and keeps the last minutes.

use crate::{
    gauges::GaugeRing,
    hub::{Hub, Report},
    ports::{GaugeSource, Watched},
};
use pilothouse_domain::{gauge::GaugeHistory, server::ServerId};
use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

/// The sampler's thread and its ring.
pub struct Sampler {
    ring: Arc<Mutex<GaugeRing>>,
    /// A new interval; closing it ends the thread.
    intervals: Option<mpsc::Sender<Duration>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Sampler {
    /// Starts sampling. Errors: the system has no thread left.
    pub fn start(
        hub: Hub,
        mut source: impl GaugeSource + 'static,
        interval: Duration,
    ) -> std::io::Result<Self> {
        let ring = Arc::new(Mutex::new(GaugeRing::new()));
        let (intervals, changes) = mpsc::channel();
        let kept = ring.clone();
        let thread = thread::Builder::new().name("sampler".into()).spawn(move || {
            let mut interval = interval;
            loop {
                let gauges = source.sample(&watched(&hub));
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(&gauges);
                hub.report(Report::Gauges(gauges));
                match changes.recv_timeout(interval) {
                    Ok(changed) => interval = changed,
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(Self { ring, intervals: Some(intervals), thread: Some(thread) })
    }

    pub fn set_interval(&self, interval: Duration) {
        if let Some(intervals) = &self.intervals {
            let _ = intervals.send(interval);
        }
    }

    /// The last minutes; with `since_ms` only newer points.
    pub fn history(&self, since_ms: Option<i64>) -> GaugeHistory {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).history(since_ms)
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.intervals = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watched(hub: &Hub) -> Vec<Watched> {
    let snapshot = hub.now();
    let runners = |server: &ServerId| {
        let of_it = snapshot.instances.iter().filter(|instance| instance.server == *server);
        of_it.filter_map(|instance| Some((instance.pid?, instance.id.clone()))).collect()
    };
    snapshot
        .servers
        .iter()
        .map(|server| Watched { id: server.id.clone(), pid: server.pid, runners: runners(&server.id) })
        .collect()
}
