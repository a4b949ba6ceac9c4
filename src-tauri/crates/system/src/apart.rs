//! Calls that may never come back (drivers, file systems whose machine is gone, services of the desktop) run on threads of
//! their own. Whoever asks waits for a bounded time; a call that hangs is left behind, and no second one is put beside it. The
//! threads are no tasks of the runtime, whose end would wait for them.

mod reader;

pub use reader::{Reader, Silence};

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    time::{Duration, Instant},
};

/// Work under way, by what it asks: when it began, how long it may take, and its number.
type UnderWay = BTreeMap<String, Vec<(Instant, Duration, u64)>>;

static UNDER_WAY: Mutex<UnderWay> = Mutex::new(BTreeMap::new());
static NUMBERS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// What was asked has not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    what: String,
    why: Why,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Why {
    /// Within this time.
    Limit(Duration),
    /// An earlier question is still without an answer, since so long.
    Before(Duration),
    /// It ended without one, or the system has no thread for it.
    Ended(String),
}

impl fmt::Display for Unanswered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = &self.what;
        match &self.why {
            Why::Limit(limit) => {
                write!(formatter, "{what} did not answer within {:.0} s", limit.as_secs_f64())
            }
            Why::Before(since) => write!(formatter, "{what} has not answered for {} s", since.as_secs()),
            Why::Ended(reason) => write!(formatter, "{what} gave no answer: {reason}"),
        }
    }
}

impl std::error::Error for Unanswered {}

/// Does a piece of blocking work, once. `what` is asked, in words ("the folder /srv/models"): while an earlier question to it
/// hangs, none is added. Errors: no answer within `limit`.
pub async fn once<T: Send + 'static>(
    what: &str,
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unanswered> {
    let unanswered = |why| Unanswered { what: what.to_owned(), why };
    let entry = Entry::begin(what, limit).map_err(|since| unanswered(Why::Before(since)))?;
    let (reply, answer) = mpsc::sync_channel(1);
    let spawned = std::thread::Builder::new().name("apart".into()).spawn(move || {
        let value = work();
        // Before the answer is heard: the next question may come at once.
        drop(entry);
        let _ = reply.send(value);
    });
    spawned.map_err(|error| unanswered(Why::Ended(error.to_string())))?;
    // The wait is one of the runtime's threads, for it has an end, and the clock of tests stands still meanwhile.
    let waited = tokio::task::spawn_blocking(move || answer.recv_timeout(limit)).await;
    match waited.unwrap_or(Err(mpsc::RecvTimeoutError::Disconnected)) {
        Ok(value) => Ok(value),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(unanswered(Why::Ended("it broke off".into()))),
        Err(mpsc::RecvTimeoutError::Timeout) => {
            tracing::warn!(what, limit_s = limit.as_secs_f64(), "does not answer and is left behind");
            Err(unanswered(Why::Limit(limit)))
        }
    }
}

/// A question under way; over when this is dropped.
struct Entry {
    what: String,
    number: u64,
}

impl Entry {
    /// Errors: how long an earlier one hangs.
    fn begin(what: &str, limit: Duration) -> Result<Self, Duration> {
        let mut under_way = under_way();
        let entries = under_way.entry(what.to_owned()).or_default();
        let hung = entries.iter().find(|(began, limit, _)| began.elapsed() > *limit);
        if let Some((began, ..)) = hung {
            return Err(began.elapsed());
        }
        let number = NUMBERS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        entries.push((Instant::now(), limit, number));
        Ok(Self { what: what.to_owned(), number })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut under_way = under_way();
        if let Some(entries) = under_way.get_mut(&self.what) {
            entries.retain(|(.., number)| *number != self.number);
            if entries.is_empty() {
                under_way.remove(&self.what);
            }
        }
    }
}

fn under_way() -> MutexGuard<'static, UnderWay> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_answers_is_heard_also_beside_others_that_ask_the_same() {
        let both = tokio::join!(once("a list", LONG, || 1), once("a list", LONG, || 2));
        assert_eq!(both, (Ok(1), Ok(2)));
        assert!(!under_way().contains_key("a list"), "nothing is left of them");
    }

    #[tokio::test]
    async fn what_hangs_is_left_behind_and_not_asked_again_until_it_answers() {
        let (go, gate) = mpsc::channel::<()>();
        let (done, finished) = mpsc::channel::<()>();
        let hung = once("a dead mount", SHORT, move || {
            let _ = gate.recv();
            done
        })
        .await;
        assert_eq!(hung.map(drop).unwrap_err().to_string(), "a dead mount did not answer within 0 s");
        let again = once("a dead mount", LONG, || panic!("asked although the first hangs")).await;
        assert!(again.unwrap_err().to_string().starts_with("a dead mount has not answered for"));
        assert_eq!(once("another", LONG, || 3).await, Ok(3), "others are asked");
        go.send(()).unwrap();
        // The thread lets go of its end of the channel when it is over.
        let _ = finished.recv();
        assert_eq!(once("a dead mount", LONG, || 4).await, Ok(4), "it answers again");
    }

    #[tokio::test]
    async fn what_panics_is_an_error_and_nothing_more() {
        let broken = once("a chip", LONG, || panic!("unknown")).await;
        let broken: Result<(), _> = broken;
        assert_eq!(broken.unwrap_err().to_string(), "a chip gave no answer: it broke off");
        assert_eq!(once("a chip", LONG, || 1).await, Ok(1));
    }
}
