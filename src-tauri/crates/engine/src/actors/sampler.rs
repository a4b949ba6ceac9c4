//! Takes samples on a thread of its own, at a pace that follows who looks, and keeps their past.

use super::{
    minutes::{self, MinuteWriter},
    silences::Silences,
};
use crate::{
    hub::{Hub, Report},
    store::Store,
};
use pilothouse_domain::{
    Timestamp,
    gauge::SilentSource,
    gauge_history::{Bucket, Moment, values_of},
    lifecycle::ServerState,
    pace::{Attention, LOOKS_FOR_MS},
    server::ServerId,
    settings::Settings,
    snapshot::Snapshot,
};
use pilothouse_system::gauges::{GaugePast, GaugeSource, Watched};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

/// The end of the thread is waited for at most so long: one sample and a minute of history.
const END_LIMIT: Duration = Duration::from_millis(1500);
/// How often it is looked whether samples come.
const OVERSEEN_EVERY: Duration = Duration::from_secs(2);
/// A sample that is so much later than two of its intervals is told of. Seconds.
const LATE_S: u64 = 10;

/// What the settings say about the pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub interval_ms: u64,
    pub hang_ms: u64,
}

impl From<&Settings> for Pace {
    fn from(settings: &Settings) -> Self {
        Self {
            interval_ms: settings.gauges.interval_ms,
            hang_ms: settings.restart.hang_s.saturating_mul(1000),
        }
    }
}

enum Order {
    Pace(Pace),
    /// Something has changed: is a sample due earlier now?
    Rethink,
    End,
}

/// The sampler's thread and what it has seen.
pub struct Sampler {
    past: GaugePast,
    orders: mpsc::Sender<Order>,
    looks: Arc<Looks>,
    /// Closed when the thread has ended.
    ended: Mutex<Option<oneshot::Receiver<()>>>,
    follower: JoinHandle<()>,
    overseer: JoinHandle<()>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Sampler {
    /// Starts sampling. With a store, each minute is kept there. Errors: the system has no thread left.
    pub fn start(
        hub: Hub,
        source: impl GaugeSource + 'static,
        pace: Pace,
        store: Option<Store>,
        silences: Silences,
    ) -> std::io::Result<Self> {
        let past = GaugePast::default();
        let looks = Arc::new(Looks::default());
        let (orders, received) = mpsc::channel();
        let writer = store.map(minutes::keep);
        let (minutes, writer) =
            writer.map_or((None, None), |MinuteWriter { minutes, task }| (Some(minutes), Some(task)));
        let mut snapshots = hub.snapshots();
        let overseer = tokio::spawn(oversee(hub.clone(), silences.clone()));
        let (alive, ended) = oneshot::channel();
        let (past_of_work, looks_of_work) = (past.clone(), looks.clone());
        let work = Work {
            hub,
            source,
            past: past_of_work,
            looks: looks_of_work,
            orders: received,
            pace,
            minutes,
            silences,
            _alive: alive,
        };
        // Before the thread looks for the first time, so that no change falls between the two.
        let seen = Concern::of(&snapshots.borrow_and_update());
        thread::Builder::new().name("sampler".into()).spawn(move || work.run())?;
        let follower = tokio::spawn(follow(snapshots, seen, orders.clone()));
        Ok(Self {
            past,
            orders,
            looks,
            ended: Mutex::new(Some(ended)),
            follower,
            overseer,
            writer: Mutex::new(writer),
        })
    }

    pub fn set_pace(&self, pace: Pace) {
        let _ = self.orders.send(Order::Pace(pace));
    }

    /// A view asked for what changes from sample to sample: the next ones come faster for a while.
    pub fn look(&self) {
        if self.looks.note() {
            let _ = self.orders.send(Order::Rethink);
        }
    }

    pub fn past(&self) -> GaugePast {
        self.past.clone()
    }

    /// Ends the thread and waits until its last minute is written; a thread that hangs is left behind.
    pub async fn shutdown(&self) {
        self.overseer.abort();
        let _ = self.orders.send(Order::End);
        if let Some(ended) = take(&self.ended)
            && tokio::time::timeout(END_LIMIT, ended).await.is_err()
        {
            tracing::warn!("the gauges hang and are left behind");
            return;
        }
        if let Some(writer) = take(&self.writer) {
            let _ = writer.await;
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.follower.abort();
        self.overseer.abort();
        let _ = self.orders.send(Order::End);
    }
}

fn take<T>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// When somebody looked last.
struct Looks {
    started: Instant,
    /// Milliseconds since the start, plus one; 0: never.
    last: AtomicU64,
}

impl Default for Looks {
    fn default() -> Self {
        Self { started: Instant::now(), last: AtomicU64::new(0) }
    }
}

impl Looks {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    /// Notes a look; whether it is the first after a while.
    fn note(&self) -> bool {
        let now = self.now_ms();
        !Self::is_recent(self.last.swap(now + 1, Ordering::Relaxed), now)
    }

    fn are_recent(&self) -> bool {
        Self::is_recent(self.last.load(Ordering::Relaxed), self.now_ms())
    }

    fn is_recent(last: u64, now: u64) -> bool {
        last != 0 && now + 1 < last + LOOKS_FOR_MS
    }
}

/// The thread's own things.
struct Work<S> {
    hub: Hub,
    source: S,
    past: GaugePast,
    looks: Arc<Looks>,
    orders: mpsc::Receiver<Order>,
    pace: Pace,
    minutes: Option<tokio::sync::mpsc::Sender<Bucket>>,
    silences: Silences,
    /// Dropped with the thread's end.
    _alive: oneshot::Sender<()>,
}

impl<S: GaugeSource> Work<S> {
    fn run(mut self) {
        let mut planned = self.interval_ms();
        loop {
            let begun = Instant::now();
            let mut gauges = self.source.sample(&watched(&self.hub));
            let moment = Moment {
                at_ms: gauges.at.as_millisecond(),
                clock_ms: self.looks.now_ms(),
                interval_ms: planned,
            };
            let closed = self.past.push(moment, &values_of(&gauges));
            self.keep(closed);
            planned = self.interval_ms();
            gauges.interval_ms = Some(planned);
            self.silences.tell("gauges", &gauges.silent);
            self.hub.report(Report::Gauges(gauges));
            if !self.wait(begun, planned) {
                let closed = self.past.flush();
                return self.keep(closed);
            }
        }
    }

    /// Waits for the next sample; an order may bring it forward, never put it off. False: there shall be none.
    fn wait(&mut self, begun: Instant, mut interval_ms: u64) -> bool {
        loop {
            let left = Duration::from_millis(interval_ms).saturating_sub(begun.elapsed());
            match self.orders.recv_timeout(left) {
                Ok(Order::Pace(pace)) => self.pace = pace,
                Ok(Order::Rethink) => {}
                Err(mpsc::RecvTimeoutError::Timeout) => return true,
                Ok(Order::End) | Err(mpsc::RecvTimeoutError::Disconnected) => return false,
            }
            interval_ms = interval_ms.min(self.interval_ms());
        }
    }

    fn interval_ms(&self) -> u64 {
        let Concern { bench, tense } = Concern::of(&self.hub.now());
        let Pace { interval_ms, hang_ms } = self.pace;
        Attention { interval_ms, hang_ms, watched: self.looks.are_recent(), bench, tense }.interval_ms()
    }

    fn keep(&self, closed: Vec<Bucket>) {
        let Some(minutes) = &self.minutes else { return };
        for minute in closed {
            // Full only when the database has not taken anything for an hour; that is said by its writer.
            let _ = minutes.try_send(minute);
        }
    }
}

/// What of the snapshot decides about the pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Concern {
    bench: bool,
    tense: bool,
}

impl Concern {
    fn of(snapshot: &Snapshot) -> Self {
        let silent = snapshot.servers.iter().any(|server| server.state == ServerState::Degraded);
        Self { bench: snapshot.bench.is_some(), tense: silent || snapshot.switching.is_some() }
    }
}

/// Says so when no sample comes any more, whatever the thread hangs in.
async fn oversee(hub: Hub, silences: Silences) {
    let mut tick = tokio::time::interval(OVERSEEN_EVERY);
    loop {
        tick.tick().await;
        let snapshot = hub.now();
        let late = snapshot.gauges.as_ref().filter(|gauges| {
            let pause_s = gauges.interval_ms.unwrap_or_default() / 1000;
            gauges.stale_s(Timestamp::now()).is_some_and(|age_s| age_s > 2 * pause_s + LATE_S)
        });
        let silent = late.map(|gauges| SilentSource {
            source: "gauges".into(),
            what: "the reader of the gauges".into(),
            since: gauges.at,
        });
        silences.tell("sampler", silent.as_slice());
    }
}

/// Wakes the thread when the pace may change.
async fn follow(
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    mut last: Concern,
    orders: mpsc::Sender<Order>,
) {
    while snapshots.changed().await.is_ok() {
        let now = Concern::of(&snapshots.borrow_and_update());
        if now != last && orders.send(Order::Rethink).is_err() {
            return;
        }
        last = now;
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

#[cfg(test)]
mod tests;
