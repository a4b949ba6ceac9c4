//! Runs out of the history and into it, and deleted from it.

use super::{
    Store,
    rows::{decode, integer, json, word},
    runs::StoredSummary,
    traces, trials,
};
use crate::report::exchange::{Exchanged, Identity};
use pilothouse_domain::{
    Timestamp,
    bench::Fingerprint,
    error::{ApiError, ErrorCode},
    server::ServerId,
};
use sqlx::{Row, SqliteConnection, query, query_scalar, sqlite::SqliteRow};
use std::collections::{HashMap, HashSet};

/// What an import came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    pub imported: u32,
    pub already_there: u32,
}

impl Store {
    /// Numbers of runs that have ended, in their order, above one of them.
    pub async fn run_ids(&self, above: i64, limit: u32) -> Result<Vec<i64>, ApiError> {
        query_scalar("SELECT id FROM run WHERE id > ? AND state <> 'running' ORDER BY id LIMIT ?")
            .bind(above)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(|e| self.cannot("read", &e))
    }

    /// A run as it travels. Errors: not_found, store_unavailable.
    pub async fn exchanged(&self, run_id: i64) -> Result<Exchanged, ApiError> {
        let detail = self.run(run_id).await?;
        let row = query("SELECT metrics_version, ended_ms FROM run WHERE id = ?")
            .bind(run_id)
            .fetch_one(&self.readers)
            .await
            .map_err(|e| self.cannot("read", &e))?;
        let ended = || -> Result<(u32, Option<Timestamp>), sqlx::Error> {
            let ended_ms: Option<i64> = row.try_get("ended_ms")?;
            let at = ended_ms.map(Timestamp::from_millisecond).transpose();
            Ok((row.try_get("metrics_version")?, at.map_err(|e| decode("ended_ms", e))?))
        };
        let (metrics_version, ended_at) = ended().map_err(|e| self.cannot("read", &e))?;
        Ok(Exchanged::new(detail, metrics_version, ended_at))
    }

    /// Adds runs of elsewhere, all of them or none; those that are here already are passed over.
    pub async fn import_runs(&self, runs: &[Exchanged]) -> Result<Imported, ApiError> {
        self.patiently(|| self.insert_runs(runs)).await
    }

    async fn insert_runs(&self, runs: &[Exchanged]) -> Result<Imported, sqlx::Error> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let mut here = known(&mut transaction, runs).await?;
        // Numbers in the file and in this history.
        let mut numbers = HashMap::new();
        let mut done = Imported::default();
        for run in runs {
            let identity = Identity::of(&run.run);
            let number = match here.get(&identity) {
                Some(number) => {
                    done.already_there += 1;
                    *number
                }
                None => {
                    done.imported += 1;
                    let number = insert_run(&mut transaction, run).await?;
                    here.insert(identity, number);
                    number
                }
            };
            numbers.insert(run.run.run_id, number);
        }
        for run in runs.iter().map(|run| &run.run) {
            let other = run.against.and_then(|other| numbers.get(&other));
            if let (Some(number), Some(other)) = (numbers.get(&run.run_id), other) {
                query("UPDATE run SET against = coalesce(against, ?) WHERE id = ?")
                    .bind(other)
                    .bind(number)
                    .execute(&mut *transaction)
                    .await?;
            }
        }
        transaction.commit().await?;
        Ok(done)
    }

    /// Takes runs out with all that belongs to them, all of these or none. Errors: not_found, busy (it is under way),
    /// store_unavailable.
    pub async fn delete_runs(&self, runs: &[i64]) -> Result<u32, ApiError> {
        let wanted: HashSet<i64> = runs.iter().copied().collect();
        let ids = json(&wanted.iter().collect::<Vec<_>>()).map_err(|e| self.cannot("write", &e))?;
        let rows = query("SELECT id, state FROM run WHERE id IN (SELECT value FROM json_each(?))")
            .bind(&ids)
            .fetch_all(&self.readers)
            .await
            .map_err(|e| self.cannot("read", &e))?;
        let state =
            |row: &SqliteRow| Ok::<(i64, String), sqlx::Error>((row.try_get("id")?, row.try_get("state")?));
        let found = rows.iter().map(state).collect::<Result<HashMap<_, _>, _>>();
        let found = found.map_err(|e| self.cannot("read", &e))?;
        if let Some(missing) = runs.iter().find(|run| !found.contains_key(run)) {
            return Err(ApiError::not_found(format!("There is no run {missing}. Nothing was deleted."))
                .hint("Look at the history for the numbers."));
        }
        if let Some(busy) = runs.iter().find(|run| found.get(run).is_some_and(|state| state == "running")) {
            let text = format!("Run {busy} is still under way. Nothing was deleted.");
            return Err(ApiError::new(ErrorCode::Busy, text).hint("Cancel it first, or wait for its end."));
        }
        let delete = || {
            query("DELETE FROM run WHERE id IN (SELECT value FROM json_each(?)) AND state <> 'running'")
                .bind(&ids)
                .execute(&self.writer)
        };
        let deleted = self.patiently(delete).await?.rows_affected();
        Ok(u32::try_from(deleted).unwrap_or(u32::MAX))
    }
}

/// The runs of this history that may be among these, by their identity.
async fn known(
    connection: &mut SqliteConnection,
    runs: &[Exchanged],
) -> Result<HashMap<Identity, i64>, sqlx::Error> {
    let mut starts: HashMap<(&str, &str), Vec<i64>> = HashMap::new();
    for run in runs.iter().map(|run| &run.run) {
        let of_model = starts.entry((run.server.as_str(), &run.model)).or_default();
        of_model.push(run.started_at.as_millisecond());
    }
    let mut known = HashMap::new();
    for ((server, model), started) in starts {
        let rows = query(
            "SELECT id, started_ms, fingerprint FROM run WHERE server = ? AND model = ? \
             AND started_ms IN (SELECT value FROM json_each(?))",
        )
        .bind(server)
        .bind(model)
        .bind(json(&started)?)
        .fetch_all(&mut *connection)
        .await?;
        for row in &rows {
            let at = Timestamp::from_millisecond(row.try_get("started_ms")?);
            let at = at.map_err(|e| decode("started_ms", e))?;
            let fingerprint: Fingerprint = super::rows::from_json(row, "fingerprint")?;
            let identity = Identity::new(at, &ServerId::new(server), model, &fingerprint);
            known.insert(identity, row.try_get("id")?);
        }
    }
    Ok(known)
}

async fn insert_run(connection: &mut SqliteConnection, exchanged: &Exchanged) -> Result<i64, sqlx::Error> {
    let run = &exchanged.run;
    let done = query(
        "INSERT INTO run (started_ms, ended_ms, state, plan, server, model, server_version, note, peak_memory_bytes, \
         fingerprint, metrics_version, summary, disturbed, plan_name, machine) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, coalesce(json_extract(?4, '$.name'), ''), \
         json_array(json_extract(?10, '$.machine'), json_extract(?10, '$.chip'), \
         json_extract(?10, '$.memory_bytes')))",
    )
    .bind(run.started_at.as_millisecond())
    .bind(exchanged.ended_at.map(|at| at.as_millisecond()))
    .bind(word(&run.state)?)
    .bind(json(&run.plan)?)
    .bind(run.server.as_str())
    .bind(&run.model)
    .bind(&run.server_version)
    .bind(&run.note)
    .bind(run.peak_memory_bytes.map(integer))
    .bind(json(&run.fingerprint)?)
    .bind(exchanged.metrics_version)
    .bind(json(&StoredSummary::of(run))?)
    .bind(json(&run.disturbed)?)
    .execute(&mut *connection)
    .await?;
    let run_id = done.last_insert_rowid();
    for trial in &exchanged.trials {
        trials::insert(connection, run_id, trial).await?;
    }
    if let Some(trace) = &exchanged.trace {
        traces::insert_trace(connection, run_id, trace).await?;
    }
    if let Some(cards) = &exchanged.cards {
        traces::insert_cards(connection, run_id, cards).await?;
    }
    Ok(run_id)
}

#[cfg(test)]
mod tests;
