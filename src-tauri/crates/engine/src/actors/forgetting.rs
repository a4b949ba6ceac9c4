//! Takes out of the history what is older than the settings keep it: once a day, step by step, and never beside a benchmark.

use crate::{hub::Hub, store::Store};
use pilothouse_domain::{Timestamp, bench::retention::Cutoffs, error::ApiError, settings::Settings};
use std::time::Duration;
use tokio::{sync::watch, task::JoinHandle, time::sleep};

/// After a start there is other work first.
const FIRST: Duration = Duration::from_secs(600);
const EVERY: Duration = Duration::from_secs(86_400);
/// After a benchmark that came between, or where the history could not be written.
const AGAIN: Duration = Duration::from_secs(900);
/// Who else writes goes between two steps.
const PAUSE: Duration = Duration::from_millis(50);
/// Steps of one clean-up; what is left then is for the next.
const MOST_STEPS: u32 = 20_000;

/// How a clean-up ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// Nothing that is due is left, or enough was done at once.
    Done,
    /// A benchmark is under way.
    ForARun,
}

/// Cleans up until the task is aborted, which it may be at any time.
pub(crate) fn start(store: Store, hub: Hub, settings: watch::Receiver<Settings>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut wait = FIRST;
        loop {
            sleep(wait).await;
            let keep = settings.borrow().history;
            let cutoffs = Cutoffs::at(Timestamp::now(), &keep);
            let cleaned = clean_up(&store, &cutoffs, || hub.now().bench.is_none(), PAUSE).await;
            let measured = match cleaned {
                Ok(Ended::Done) => store.measure_size(&keep).await.map(|_| Ended::Done),
                other => other,
            };
            wait = match measured {
                Ok(Ended::Done) => EVERY,
                Ok(Ended::ForARun) => AGAIN,
                Err(error) => {
                    tracing::warn!(%error, "the history was not cleaned up");
                    AGAIN
                }
            };
        }
    })
}

/// One clean-up. `quiet`: whether nothing is measured. Errors: store_unavailable.
async fn clean_up(
    store: &Store,
    cutoffs: &Cutoffs,
    quiet: impl Fn() -> bool,
    pause: Duration,
) -> Result<Ended, ApiError> {
    for _ in 0..MOST_STEPS {
        if !quiet() {
            return Ok(Ended::ForARun);
        }
        // What is taken out leaves free pages, which are given back when nothing else is left to do.
        if !store.forget_some(cutoffs).await? && !store.give_room_back().await? {
            return Ok(Ended::Done);
        }
        sleep(pause).await;
    }
    Ok(Ended::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        report::{exchange::Exchanged, seeds},
        store::Store,
    };
    use std::cell::Cell;

    async fn history() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("history.sqlite3")).await.unwrap().store;
        let runs: Vec<Exchanged> = (1..=5)
            .map(|number| Exchanged::new(seeds::detail(number, "ollama", "m", 50.0), 1, None))
            .collect();
        store.import_runs(&runs).await.unwrap();
        (folder, store)
    }

    #[tokio::test]
    async fn a_benchmark_ends_a_clean_up_between_two_steps_and_the_next_goes_on() {
        let (_folder, store) = history().await;
        let old = seeds::at(1000).as_millisecond();
        let cutoffs = Cutoffs { samples_ms: Some(old), ..Cutoffs::default() };
        let minutes = async || {
            let mut count = 0;
            for run in 1..=5 {
                count += usize::from(store.run(run).await.unwrap().trace.unwrap().low.is_some());
            }
            count
        };
        let looks = Cell::new(0);
        let twice = || {
            looks.set(looks.get() + 1);
            looks.get() <= 2
        };
        assert_eq!(clean_up(&store, &cutoffs, twice, Duration::ZERO).await.unwrap(), Ended::ForARun);
        assert_eq!(minutes().await, 2);
        assert_eq!(clean_up(&store, &cutoffs, || false, Duration::ZERO).await.unwrap(), Ended::ForARun);
        assert_eq!(minutes().await, 2, "nothing is touched beside a run");
        assert_eq!(clean_up(&store, &cutoffs, || true, Duration::ZERO).await.unwrap(), Ended::Done);
        assert_eq!(minutes().await, 5);
    }
}
