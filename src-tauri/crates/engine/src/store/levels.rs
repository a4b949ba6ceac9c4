//! The levels that a person has accepted, and the models that are measured after an update because of that.

use super::{Store, runs::no_run};
use pilothouse_domain::{
    Timestamp,
    bench::after_update::{Checked, Watched},
    error::ApiError,
    server::ServerId,
};
use sqlx::{query, query_as, query_scalar};
use std::collections::BTreeSet;

pub(super) const WATCHED: &str = "SELECT one.server, one.model, (SELECT newest.server_version FROM run AS newest \
     WHERE newest.server = one.server AND newest.model = one.model AND newest.state = 'done' \
     ORDER BY newest.started_ms DESC, newest.id DESC LIMIT 1) AS version \
     FROM (SELECT DISTINCT run.server, run.model FROM accepted_level CROSS JOIN run ON run.id = accepted_level.run) AS one \
     ORDER BY one.server, one.model";

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
        let runs = query_scalar("SELECT run FROM accepted_level").fetch_all(&self.readers).await;
        runs.map_err(|e| self.cannot("read", &e))
    }

    /// Models with an accepted level, and the version of their server in their newest run.
    pub async fn watched_models(&self) -> Result<Vec<Watched>, ApiError> {
        let rows = query_as(WATCHED).fetch_all(&self.readers).await.map_err(|e| self.cannot("read", &e))?;
        let watched = |(server, model, version): (String, String, Option<String>)| Watched {
            server: ServerId::new(server),
            model,
            version,
        };
        Ok(rows.into_iter().map(watched).collect())
    }

    /// Models that were measured because their server was updated.
    pub async fn update_checks(&self) -> Result<BTreeSet<Checked>, ApiError> {
        let rows = query_as("SELECT server, server_version, model FROM update_check");
        let rows = rows.fetch_all(&self.readers).await.map_err(|e| self.cannot("read", &e))?;
        let checked = |(server, version, model): (String, String, String)| Checked {
            server: ServerId::new(server),
            version,
            model,
        };
        Ok(rows.into_iter().map(checked).collect())
    }

    /// Writes that such a measurement was begun, or that it is still to be made.
    pub async fn note_update_check(&self, check: &Checked, made: bool) -> Result<(), ApiError> {
        self.patiently(|| self.write_update_check(check, made)).await
    }

    async fn write_update_check(&self, check: &Checked, made: bool) -> Result<(), sqlx::Error> {
        let sql = match made {
            true => {
                "INSERT OR IGNORE INTO update_check (server, server_version, model, at_ms) VALUES (?, ?, ?, ?)"
            }
            false => "DELETE FROM update_check WHERE server = ? AND server_version = ? AND model = ?",
        };
        let mut write = query(sql).bind(check.server.as_str()).bind(&check.version).bind(&check.model);
        if made {
            write = write.bind(Timestamp::now().as_millisecond());
        }
        write.execute(&self.writer).await?;
        Ok(())
    }
}
