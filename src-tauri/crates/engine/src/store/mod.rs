//! History in one SQLite file: runs with their trials, switches, events, records of requests, the gauges' minutes, which model was
//! active, and the keys of client programs.
//!
//! Every method errors with `store_unavailable` when the file cannot be read or written; callers say so and go on.

mod client_keys;
mod damage;
mod events;
mod exchange;
mod levels;
mod lists;
mod loads;
mod minutes;
#[cfg(test)]
mod minutes_tests;
mod open;
mod past;
mod requests;
mod retention;
mod rows;
mod runs;
mod series;
mod size;
#[cfg(test)]
mod start_tests;
mod switches;
mod tallies;
#[cfg(test)]
mod tests;
mod traces;
mod trials;

pub use events::{EVENTS_KEPT, EventFilter, EventPage};
pub use exchange::Imported;
pub use lists::{RunFilter, RunPage, SeriesKey, SeriesView};
pub use open::Opened;
pub use requests::REQUESTS_KEPT;
pub use runs::NewRun;

use pilothouse_domain::error::{ApiError, ErrorCode};
use sqlx::SqlitePool;
use std::{path::PathBuf, time::Duration};

/// The history file, open. Clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    /// One connection: SQLite takes one write at a time anyway, and whoever writes waits for its turn here, where that has a
    /// bound.
    writer: SqlitePool,
    /// These cannot write, and never wait for who does.
    readers: SqlitePool,
    path: PathBuf,
}

/// Longest wait for a write: for the turn, and again for another program that holds the file.
const WRITE_LIMIT: Duration = Duration::from_secs(1);
/// What is not the journal of switches can wait longer, letting the journal go first between its tries.
const TRIES: u32 = 5;

impl Store {
    /// Waits for writes under way and closes the file. Later calls error.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Writes what nobody waits for. Errors: store_unavailable, when another program holds the file for several seconds.
    async fn patiently<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        let mut tries = 1;
        loop {
            match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) if tries < TRIES && is_busy(&error) => tries += 1,
                Err(error) => return Err(self.cannot("write", &error)),
            }
        }
    }

    fn cannot(&self, verb: &str, error: &sqlx::Error) -> ApiError {
        if damage::is_damage(error) {
            damage::remember(&self.path);
        }
        if is_busy(error) {
            let text = "Pilothouse cannot write its history: another program holds the file.";
            return unavailable(&self.path, text.into()).retryable();
        }
        unavailable(&self.path, format!("Pilothouse cannot {verb} its history: {error}."))
    }
}

fn unavailable(path: &std::path::Path, message: String) -> ApiError {
    ApiError::new(ErrorCode::StoreUnavailable, message).hint(format!(
        "Everything else goes on. Check that the disk has room and that {} can be read and written.",
        path.display()
    ))
}

/// Somebody else writes, here or in another program.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    // Extended codes hold SQLITE_BUSY (5) or SQLITE_LOCKED (6) in their lowest byte.
    let busy =
        code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| matches!(code & 0xff, 5 | 6));
    busy || matches!(error, sqlx::Error::PoolTimedOut)
}
