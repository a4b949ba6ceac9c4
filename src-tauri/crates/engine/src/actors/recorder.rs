//! Keeps the records of requests that have ended, and tells the hub of those under way.
//!
//! Two tasks, so that a history that stands still does not hold up what is shown: the writer takes records from their queue and
//! writes them in batches; the teller looks once a second while a request is under way, and sleeps otherwise.

use crate::{
    actors::tracer::Tracer,
    hub::{Hub, Report},
    store::Store,
};
use pilothouse_domain::{
    Timestamp,
    error::ApiError,
    traffic::{RequestRecord, TokenRates},
};
use pilothouse_records::{Ended, Recorder};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Records that one write takes at most.
const BATCH: usize = 256;
/// A record waits for others so long at most.
const GATHER: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_secs(1);
/// Rates that are held: a quarter of an hour.
const RATES: usize = 900;
/// Requests under way that the snapshot shows.
const SHOWN: usize = 20;
/// Losses are said no more often.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// Longest wait for the last writes at our own end.
const END_LIMIT: Duration = Duration::from_secs(2);

/// Both tasks, and what they share with those who ask.
pub(crate) struct Recording {
    pub recorder: Recorder,
    rates: Arc<Mutex<Rates>>,
    end: CancellationToken,
    tasks: Mutex<Option<[JoinHandle<()>; 2]>>,
    tracer: Arc<Tracer>,
}

impl Recording {
    /// Numbers go on behind the last one kept. Without a store the last records are in memory only.
    pub async fn start(hub: Hub, store: Option<Store>, tracer: Tracer) -> Self {
        let (store, last) = match store {
            Some(store) => match store.newest_request().await {
                Ok(last) => (Some(store), last),
                // Numbers from the beginning would take the places of records that are kept.
                Err(error) => {
                    tracing::warn!(%error, "records of requests are not kept until the next start");
                    (None, 0)
                }
            },
            None => (None, 0),
        };
        let (recorder, ended) = Recorder::new(last);
        let (rates, end) = (Arc::<Mutex<Rates>>::default(), CancellationToken::new());
        let tracer = Arc::new(tracer);
        let traced = tracer.clone();
        let keep = move |records: Vec<Arc<RequestRecord>>| {
            traced.tell(&records);
            let store = store.clone();
            async move {
                match store {
                    Some(store) => store.add_requests(&records).await,
                    // That there is no history has been said.
                    None => Ok(()),
                }
            }
        };
        let writer = tokio::spawn(write(ended, recorder.clone(), end.clone(), keep));
        let teller = tokio::spawn(tell(hub, recorder.clone(), rates.clone()));
        Self { recorder, rates, end, tasks: Mutex::new(Some([writer, teller])), tracer }
    }

    /// Output tokens per second of the last quarter of an hour.
    pub fn rates(&self) -> TokenRates {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner).view(Instant::now(), Timestamp::now())
    }

    /// Writes what has ended and takes nothing more. At most three seconds.
    pub async fn shutdown(&self) {
        self.end.cancel();
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some([mut writer, teller]) = tasks else { return };
        teller.abort();
        if timeout(END_LIMIT, &mut writer).await.is_err() {
            writer.abort();
            tracing::warn!("the last records of requests were not kept: the history takes too long");
        }
        self.tracer.shutdown().await;
    }
}

/// Writes until the queue is closed and empty. Batches that cannot be written are lost, and counted.
async fn write<F>(
    mut ended: Ended,
    recorder: Recorder,
    end: CancellationToken,
    keep: impl Fn(Vec<Arc<RequestRecord>>) -> F,
) where
    F: Future<Output = Result<(), ApiError>>,
{
    let mut failed = false;
    loop {
        let batch = gather(&mut ended, &end).await;
        if batch.is_empty() {
            return;
        }
        let count = batch.len() as u64;
        match keep(batch).await {
            Ok(()) => failed = false,
            Err(error) => {
                recorder.count_lost(count);
                // Said once: the next batch would only say the same again.
                if !failed {
                    tracing::warn!(%error, "records of requests are not kept");
                }
                failed = true;
            }
        }
    }
}

/// The next batch; an empty one is the last.
async fn gather(ended: &mut Ended, end: &CancellationToken) -> Vec<Arc<RequestRecord>> {
    let mut batch = Vec::new();
    let mut enough = None;
    loop {
        let room = BATCH - batch.len();
        let waits = async {
            match enough {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = end.cancelled(), if !ended.is_closed() => ended.close(),
            taken = ended.recv_many(&mut batch, room) => {
                if taken == 0 || batch.len() >= BATCH {
                    return batch;
                }
                enough.get_or_insert_with(|| Instant::now() + GATHER);
            }
            () = waits => return batch,
        }
    }
}

/// Tells the hub once a second while a request is under way, and says what was lost.
async fn tell(hub: Hub, recorder: Recorder, rates: Arc<Mutex<Rates>>) {
    let mut losses = Losses::default();
    loop {
        let measured = {
            let mut rates = rates.lock().unwrap_or_else(PoisonError::into_inner);
            rates.note(Instant::now(), recorder.told())
        };
        let mut now = recorder.now(SHOWN);
        now.tok_s = measured;
        let is_quiet = now.in_flight == 0 && measured.is_none_or(|rate| rate == 0.0);
        let lost = now.lost;
        hub.report(Report::Requests(now));
        if let Some(more) = losses.due(lost, Instant::now()) {
            tracing::warn!(lost = more, "records of requests were lost: more came than could be kept");
        }
        if is_quiet && !losses.is_behind(lost) {
            recorder.stirred().await;
        } else {
            sleep(LOOK).await;
        }
    }
}

/// How many losses have been said, and when.
#[derive(Debug, Default)]
struct Losses {
    said: u64,
    at: Option<Instant>,
}

impl Losses {
    fn is_behind(&self, lost: u64) -> bool {
        lost > self.said
    }

    /// How many more are to be said now.
    fn due(&mut self, lost: u64, now: Instant) -> Option<u64> {
        let is_time = self.at.is_none_or(|at| now.duration_since(at) >= SAY_EVERY);
        if !self.is_behind(lost) || !is_time {
            return None;
        }
        let more = lost - self.said;
        (self.said, self.at) = (lost, Some(now));
        Some(more)
    }
}

/// Rates by the second, and what they are reckoned from.
#[derive(Debug, Default)]
struct Rates {
    tok_s: VecDeque<f32>,
    /// When the last one ended, and how many tokens had been told by then.
    last: Option<(Instant, u64)>,
}

impl Rates {
    /// Takes in how many tokens have been told so far: the rate since the last whole second is that of each second since then.
    /// `None`: nothing was measured yet.
    fn note(&mut self, now: Instant, told: u64) -> Option<f64> {
        let Some((at, before)) = self.last else {
            self.last = Some((now, told));
            return None;
        };
        let elapsed = now.duration_since(at);
        // A tick comes a little early or late.
        let seconds = (elapsed.as_secs_f64() + 0.05) as usize;
        if seconds > 0 {
            let rate = told.saturating_sub(before) as f64 / elapsed.as_secs_f64();
            // Nobody looked because nothing was under way: what there is now has just begun.
            let slept = seconds.saturating_sub(2);
            let rate = if slept > 0 { rate * elapsed.as_secs_f64() } else { rate };
            self.tok_s.extend(std::iter::repeat_n(0.0, slept.min(RATES)));
            let of = if slept > 0 { 1 } else { seconds };
            self.tok_s.extend(std::iter::repeat_n(rate as f32, of));
            while self.tok_s.len() > RATES {
                self.tok_s.pop_front();
            }
            self.last = Some((now, told));
        }
        self.tok_s.back().map(|rate| f64::from(*rate))
    }

    fn view(&self, now: Instant, at: Timestamp) -> TokenRates {
        let mut tok_s: Vec<f32> = self.tok_s.iter().copied().collect();
        // Asleep since: nothing was under way.
        let slept = self.last.map_or(0, |(last, _)| now.duration_since(last).as_secs());
        let zeros = usize::try_from(slept).unwrap_or(RATES).min(RATES);
        if zeros > 1 {
            tok_s.extend(std::iter::repeat_n(0.0, zeros));
            tok_s.drain(..tok_s.len().saturating_sub(RATES));
        }
        TokenRates { step_ms: 1000, until: at, tok_s }
    }
}

#[cfg(test)]
mod tests;
