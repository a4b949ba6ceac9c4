//! The levels that a person has accepted.

use super::{Store, runs::no_run};
use pilothouse_domain::error::ApiError;
use sqlx::{Row, query};

impl Store {
    /// Takes the level that begins with a run for the right one. Errors: not_found, store_unavailable.
    pub async fn accept_level(&self, run_id: i64) -> Result<(), ApiError> {
        let accept = || {
            query("INSERT OR IGNORE INTO accepted_level (run) SELECT id FROM run WHERE id = ?")
                .bind(run_id)
                .execute(&self.writer)
        };
        let done = self.patiently(accept).await?;
        let known = self.accepted_levels().await?.contains(&run_id);
        if done.rows_affected() == 0 && !known { Err(no_run(run_id)) } else { Ok(()) }
    }

    pub async fn accepted_levels(&self) -> Result<Vec<i64>, ApiError> {
        let rows = query("SELECT run FROM accepted_level").fetch_all(&self.readers).await;
        let rows = rows.map_err(|e| self.cannot("read", &e))?;
        rows.iter()
            .map(|row| row.try_get("run"))
            .collect::<Result<_, _>>()
            .map_err(|e| self.cannot("read", &e))
    }
}
