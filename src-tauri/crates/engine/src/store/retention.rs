//! What is old grows less: in small steps, each of which leaves a history that can be read, so that it may end after any of them.

use super::{Store, rows::json, traces};
use pilothouse_domain::{
    Timestamp,
    bench::retention::{Cutoffs, by_minute, cards_by_minute},
    error::ApiError,
};
use sqlx::{SqliteConnection, query, query_scalar};

/// Runs whose gaps or warm-ups one step takes.
const RUNS_AT_ONCE: i64 = 50;
/// Pages that one step gives back to the disk: 1 MiB.
const PAGES_AT_ONCE: i64 = 256;
/// Fewer free pages stay for the next runs.
const PAGES_KEPT: i64 = 256;

pub(super) const OLD_GAPS: &str =
    "SELECT id FROM run WHERE has_gaps = 1 AND started_ms < ?1 AND state <> 'running' LIMIT ?2";
pub(super) const OLD_WARMUPS: &str =
    "SELECT id FROM run WHERE has_warmups = 1 AND started_ms < ?1 AND state <> 'running' LIMIT ?2";
pub(super) const OLD_TRACES: &str =
    "SELECT id FROM run WHERE trace_kept = ?3 AND started_ms < ?1 AND state <> 'running' LIMIT ?2";

const TAKE_GAPS: [&str; 2] = [
    "DELETE FROM trial_gap WHERE run IN (SELECT value FROM json_each(?))",
    "UPDATE run SET has_gaps = 0 WHERE id IN (SELECT value FROM json_each(?))",
];
const TAKE_WARMUPS: [&str; 2] = [
    "DELETE FROM trial WHERE run IN (SELECT value FROM json_each(?)) AND phase = 'warmup'",
    "UPDATE run SET has_warmups = 0 WHERE id IN (SELECT value FROM json_each(?))",
];

impl Store {
    /// Takes one small step towards what `cutoffs` say; `false`: there is nothing left to do.
    pub async fn forget_some(&self, cutoffs: &Cutoffs) -> Result<bool, ApiError> {
        self.patiently(|| self.step(*cutoffs)).await
    }

    async fn step(&self, cutoffs: Cutoffs) -> Result<bool, sqlx::Error> {
        if let Some(before) = cutoffs.gaps_ms {
            let runs = self.old(OLD_GAPS, before, RUNS_AT_ONCE, None).await?;
            if !runs.is_empty() {
                self.take_out(&runs, TAKE_GAPS).await?;
                return Ok(true);
            }
        }
        if let Some(before) = cutoffs.warmups_ms {
            let runs = self.old(OLD_WARMUPS, before, RUNS_AT_ONCE, None).await?;
            if !runs.is_empty() {
                self.take_out(&runs, TAKE_WARMUPS).await?;
                return Ok(true);
            }
        }
        // Minutes first: what is older than both ages need not be folded.
        if let Some(before) = cutoffs.minutes_ms {
            for kept in ["minutes", "samples"] {
                // Samples that are kept for ever are not taken out because minutes are not.
                if kept == "samples" && cutoffs.samples_ms.is_none() {
                    continue;
                }
                if let [run] = self.old(OLD_TRACES, before, 1, Some(kept)).await?[..] {
                    self.forget_trace(run).await?;
                    return Ok(true);
                }
            }
        }
        if let Some(before) = cutoffs.samples_ms
            && let [run] = self.old(OLD_TRACES, before, 1, Some("samples")).await?[..]
        {
            self.fold_trace(run).await?;
            return Ok(true);
        }
        self.take_old_requests(cutoffs.requests_ms, Timestamp::now().as_millisecond()).await
    }

    async fn old(
        &self,
        sql: &'static str,
        before_ms: i64,
        most: i64,
        kept: Option<&str>,
    ) -> Result<Vec<i64>, sqlx::Error> {
        let mut old = query_scalar(sql).bind(before_ms).bind(most);
        if let Some(kept) = kept {
            old = old.bind(kept);
        }
        old.fetch_all(&self.readers).await
    }

    async fn take_out(&self, runs: &[i64], statements: [&'static str; 2]) -> Result<(), sqlx::Error> {
        let ids = json(&runs)?;
        let mut transaction = self.writer.begin().await?;
        for statement in statements {
            query(statement).bind(&ids).execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }

    async fn forget_trace(&self, run: i64) -> Result<(), sqlx::Error> {
        let mut transaction = self.writer.begin().await?;
        for delete in [
            "DELETE FROM run_gauge WHERE run = ?",
            "DELETE FROM run_gauge_minute WHERE run = ?",
            "DELETE FROM run_cards WHERE run = ?",
            "UPDATE run SET trace_kept = NULL, trace_step_ms = NULL WHERE id = ?",
        ] {
            query(delete).bind(run).execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }

    /// Samples of one run become minutes.
    async fn fold_trace(&self, run: i64) -> Result<(), sqlx::Error> {
        let mut transaction = self.writer.begin().await?;
        fold(&mut transaction, run).await?;
        transaction.commit().await
    }

    /// Gives free pages back to the disk, a few at a time; `false`: few are left, or the file keeps its size.
    pub async fn give_room_back(&self) -> Result<bool, ApiError> {
        self.patiently(|| self.give_pages_back()).await
    }

    async fn give_pages_back(&self) -> Result<bool, sqlx::Error> {
        let mut connection = self.writer.acquire().await?;
        let before = free_pages(&mut connection).await?;
        if before <= PAGES_KEPT {
            return Ok(false);
        }
        let pages = (before - PAGES_KEPT).min(PAGES_AT_ONCE);
        // A pragma takes no parameters; the number is ours. It works as its rows are fetched.
        let sql = sqlx::AssertSqlSafe(format!("PRAGMA incremental_vacuum({pages})"));
        query(sql).fetch_all(&mut *connection).await?;
        Ok(free_pages(&mut connection).await? < before)
    }
}

async fn free_pages(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    query_scalar("PRAGMA freelist_count").fetch_one(connection).await
}

async fn fold(connection: &mut SqliteConnection, run: i64) -> Result<(), sqlx::Error> {
    let started_ms: i64 =
        query_scalar("SELECT started_ms FROM run WHERE id = ?").bind(run).fetch_one(&mut *connection).await?;
    let samples = traces::trace(&mut *connection, run).await?;
    query("DELETE FROM run_gauge WHERE run = ?").bind(run).execute(&mut *connection).await?;
    if let Some(samples) = samples {
        traces::insert_trace(&mut *connection, run, &by_minute(&samples, started_ms)).await?;
    }
    if let Some(cards) = traces::cards(&mut *connection, run).await? {
        traces::insert_cards(&mut *connection, run, &cards_by_minute(&cards)).await?;
    }
    // Also of one of which only the cards are known.
    let mark = query("UPDATE run SET trace_kept = 'minutes' WHERE id = ?").bind(run);
    mark.execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
