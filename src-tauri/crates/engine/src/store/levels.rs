//! The levels that a person has accepted, and the models that are measured after an update because of that.

use super::{Store, runs::no_run};
use pilothouse_domain::{
    Timestamp,
    bench::after_update::{Checked, Watched},
    error::ApiError,
    server::ServerId,
};
use sqlx::{Row, query, sqlite::SqliteRow};
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
        let rows = query("SELECT run FROM accepted_level").fetch_all(&self.readers).await;
        let rows = rows.map_err(|e| self.cannot("read", &e))?;
        rows.iter()
            .map(|row| row.try_get("run"))
            .collect::<Result<_, _>>()
            .map_err(|e| self.cannot("read", &e))
    }

    /// Models with an accepted level, and the version of their server in their newest run.
    pub async fn watched_models(&self) -> Result<Vec<Watched>, ApiError> {
        let rows = query(WATCHED).fetch_all(&self.readers).await.map_err(|e| self.cannot("read", &e))?;
        let watched = |row: &SqliteRow| {
            let server = ServerId::new(row.try_get::<String, _>("server")?);
            Ok(Watched { server, model: row.try_get("model")?, version: row.try_get("version")? })
        };
        rows.iter().map(watched).collect::<Result<_, sqlx::Error>>().map_err(|e| self.cannot("read", &e))
    }

    /// Models that were measured because their server was updated.
    pub async fn update_checks(&self) -> Result<BTreeSet<Checked>, ApiError> {
        let rows =
            query("SELECT server, server_version, model FROM update_check").fetch_all(&self.readers).await;
        let rows = rows.map_err(|e| self.cannot("read", &e))?;
        let checked = |row: &SqliteRow| {
            let server = ServerId::new(row.try_get::<String, _>("server")?);
            Ok(Checked { server, version: row.try_get("server_version")?, model: row.try_get("model")? })
        };
        rows.iter().map(checked).collect::<Result<_, sqlx::Error>>().map_err(|e| self.cannot("read", &e))
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
