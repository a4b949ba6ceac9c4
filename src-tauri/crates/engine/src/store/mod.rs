//! History in one SQLite file: runs with their trials, switches, events, the gauges' minutes, and which model was active.
//!
//! Every method errors with `store_unavailable` when the file cannot be read or written; callers say so and go on.

mod loads;
mod minutes;
#[cfg(test)]
mod minutes_tests;
mod open;
mod rows;
mod runs;
mod switches;
#[cfg(test)]
mod tests;

pub use open::Opened;
pub use runs::{NewRun, RunFilter};

use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    server::ServerId,
};
use sqlx::{SqlitePool, query};
use std::path::PathBuf;

/// The history file, open. Clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
    path: PathBuf,
}

impl Store {
    /// Notes something that happened ("crashed", "started", …) for later reading.
    pub async fn add_event(
        &self,
        at: Timestamp,
        server: Option<&ServerId>,
        kind: &str,
        detail: &str,
    ) -> Result<(), ApiError> {
        query("INSERT INTO event (at_ms, server, kind, detail) VALUES (?, ?, ?, ?)")
            .bind(at.as_millisecond())
            .bind(server.map(ServerId::as_str))
            .bind(kind)
            .bind(detail)
            .execute(&self.pool)
            .await
            .map_err(|error| self.cannot("write", &error))?;
        Ok(())
    }

    /// Waits for writes under way and closes the file. Later calls error.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    fn cannot(&self, verb: &str, error: &sqlx::Error) -> ApiError {
        unavailable(&self.path, format!("Pilothouse cannot {verb} its history: {error}."))
    }
}

fn unavailable(path: &std::path::Path, message: String) -> ApiError {
    ApiError::new(ErrorCode::StoreUnavailable, message).hint(format!(
        "Everything else goes on. Check that the disk has room and that {} can be read and written.",
        path.display()
    ))
}
