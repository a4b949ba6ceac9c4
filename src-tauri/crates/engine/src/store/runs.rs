//! Benchmark runs and their trials. Summaries are computed from the trials each time, never stored.

use super::{
    Store,
    rows::{decode, from_json, from_word, integer, json, unsigned, word},
};
use pilothouse_domain::{
    Timestamp,
    bench::{BenchPlan, Fingerprint, METRICS_VERSION, Run, RunDetail, RunState, Trial},
    error::ApiError,
    server::ServerId,
};
use sqlx::{Row, query, sqlite::SqliteRow};
use std::collections::HashMap;

/// What is known when a run begins.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    pub started_at: Timestamp,
    pub plan: BenchPlan,
    pub server: ServerId,
    pub model: String,
    pub server_version: Option<String>,
    pub fingerprint: Fingerprint,
}

/// Which runs to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFilter {
    /// Only models whose name contains this, without regard to (ASCII) case.
    pub model: Option<String>,
    pub server: Option<ServerId>,
    /// At most so many, the newest ones.
    pub limit: u32,
}

impl Default for RunFilter {
    fn default() -> Self {
        Self { model: None, server: None, limit: 50 }
    }
}

/// In the order of the numbers, so that it ends with the last one that is wanted.
pub(super) const NEWEST_RUNS: &str = "SELECT * FROM run WHERE (?1 IS NULL OR instr(lower(model), lower(?1)) > 0) \
     AND (?2 IS NULL OR server = ?2) ORDER BY id DESC LIMIT ?3";

impl Store {
    /// Writes that a run has begun; returns its number.
    pub async fn begin_run(&self, run: &NewRun) -> Result<i64, ApiError> {
        self.patiently(|| self.insert_run(run)).await
    }

    async fn insert_run(&self, run: &NewRun) -> Result<i64, sqlx::Error> {
        let done = query(
            "INSERT INTO run (started_ms, state, plan, server, model, server_version, fingerprint, metrics_version) \
             VALUES (?, 'running', ?, ?, ?, ?, ?, ?)",
        )
        .bind(run.started_at.as_millisecond())
        .bind(json(&run.plan)?)
        .bind(run.server.as_str())
        .bind(&run.model)
        .bind(&run.server_version)
        .bind(json(&run.fingerprint)?)
        .bind(METRICS_VERSION)
        .execute(&self.writer)
        .await?;
        Ok(done.last_insert_rowid())
    }

    /// Adds one request of a run. Figures that are not finite are kept as absent.
    pub async fn add_trial(&self, run_id: i64, trial: &Trial) -> Result<(), ApiError> {
        self.patiently(|| self.insert_trial(run_id, trial)).await
    }

    async fn insert_trial(&self, run_id: i64, trial: &Trial) -> Result<(), sqlx::Error> {
        let finite = |figure: Option<f64>| figure.filter(|f| f.is_finite());
        query(
            "INSERT INTO trial (run, seq, phase, ttft_ms, decode_tok_s, prefill_tok_s, total_ms, output_tokens, \
             prompt_tokens, cached_tokens, server_decode_tok_s, server_prefill_tok_s, finish, flaw) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(run_id)
        .bind(trial.seq)
        .bind(word(&trial.phase)?)
        .bind(finite(trial.ttft_ms))
        .bind(finite(trial.decode_tok_s))
        .bind(finite(trial.prefill_tok_s))
        .bind(trial.total_ms)
        .bind(trial.output_tokens)
        .bind(trial.prompt_tokens)
        .bind(trial.cached_tokens)
        .bind(finite(trial.server_decode_tok_s))
        .bind(finite(trial.server_prefill_tok_s))
        .bind(&trial.finish)
        .bind(&trial.flaw)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Writes how a run ended. Errors: not_found, store_unavailable.
    pub async fn end_run(
        &self,
        run_id: i64,
        state: RunState,
        note: Option<&str>,
        peak_memory_bytes: Option<u64>,
    ) -> Result<(), ApiError> {
        let state = word(&state).map_err(|e| self.cannot("write", &e))?;
        let end = || {
            query("UPDATE run SET ended_ms = ?, state = ?, note = ?, peak_memory_bytes = ? WHERE id = ?")
                .bind(Timestamp::now().as_millisecond())
                .bind(&state)
                .bind(note)
                .bind(peak_memory_bytes.map(integer))
                .bind(run_id)
                .execute(&self.writer)
        };
        let done = self.patiently(end).await?;
        if done.rows_affected() == 0 {
            return Err(no_run(run_id));
        }
        Ok(())
    }

    /// Past runs and the one under way, newest first.
    pub async fn runs(&self, filter: &RunFilter) -> Result<Vec<Run>, ApiError> {
        let rows = query(NEWEST_RUNS)
            .bind(&filter.model)
            .bind(filter.server.as_ref().map(ServerId::as_str))
            .bind(filter.limit)
            .fetch_all(&self.readers)
            .await
            .map_err(|e| self.cannot("read", &e))?;
        let details = self.details(rows).await?;
        Ok(details.into_iter().map(|detail| detail.run).collect())
    }

    /// The newest done runs of each model on one server, newest first.
    pub async fn newest_runs(&self, server: &ServerId, of_each: u32) -> Result<Vec<Run>, ApiError> {
        let rows = query(
            "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY model ORDER BY id DESC) AS place FROM run \
             WHERE server = ? AND state = 'done') WHERE place <= ? ORDER BY id DESC",
        )
        .bind(server.as_str())
        .bind(of_each)
        .fetch_all(&self.readers)
        .await
        .map_err(|e| self.cannot("read", &e))?;
        let details = self.details(rows).await?;
        Ok(details.into_iter().map(|detail| detail.run).collect())
    }

    /// One run with its trials and its trace. Errors: not_found, store_unavailable.
    pub async fn run(&self, run_id: i64) -> Result<RunDetail, ApiError> {
        let rows = query("SELECT * FROM run WHERE id = ?")
            .bind(run_id)
            .fetch_all(&self.readers)
            .await
            .map_err(|e| self.cannot("read", &e))?;
        let mut detail = self.details(rows).await?.pop().ok_or_else(|| no_run(run_id))?;
        detail.trace = self.trace(run_id).await?;
        Ok(detail)
    }

    /// The runs of these rows with their trials, in the rows' order.
    async fn details(&self, rows: Vec<SqliteRow>) -> Result<Vec<RunDetail>, ApiError> {
        let runs = rows.iter().map(run_of).collect::<Result<Vec<_>, _>>();
        let runs = runs.map_err(|e| self.cannot("read", &e))?;
        let mut trials = self.trials(&runs).await.map_err(|e| self.cannot("read", &e))?;
        // The intervals of many runs are work for whole milliseconds; other tasks go on meanwhile.
        let details = tokio::task::spawn_blocking(move || {
            let detail = |run: Run| {
                let trials = trials.remove(&run.run_id).unwrap_or_default();
                detail_of(run, trials)
            };
            runs.into_iter().map(detail).collect()
        });
        details.await.map_err(|error| ApiError::internal(format!("Summarising the runs broke off: {error}.")))
    }

    async fn trials(&self, runs: &[Run]) -> Result<HashMap<i64, Vec<Trial>>, sqlx::Error> {
        let ids: Vec<i64> = runs.iter().map(|run| run.run_id).collect();
        let rows = query(
            "SELECT * FROM trial WHERE run IN (SELECT value FROM json_each(?)) \
             ORDER BY run, phase = 'measured', seq",
        )
        .bind(json(&ids)?)
        .fetch_all(&self.readers)
        .await?;
        let mut trials: HashMap<i64, Vec<Trial>> = HashMap::new();
        for row in &rows {
            trials.entry(row.try_get("run")?).or_default().push(trial_of(row)?);
        }
        Ok(trials)
    }
}

fn no_run(run_id: i64) -> ApiError {
    ApiError::not_found(format!("There is no run {run_id}.")).hint("Look at the history for the numbers.")
}

/// The run without what its trials say.
fn run_of(row: &SqliteRow) -> Result<Run, sqlx::Error> {
    let started = Timestamp::from_millisecond(row.try_get("started_ms")?);
    let started_at = started.map_err(|e| decode("started_ms", e))?;
    let server = ServerId::new(row.try_get::<String, _>("server")?);
    let model: String = row.try_get("model")?;
    let mut run = Run::begun(row.try_get("id")?, started_at, from_json(row, "plan")?, server, model);
    run.state = from_word(row, "state")?;
    run.server_version = row.try_get("server_version")?;
    run.peak_memory_bytes = unsigned(row, "peak_memory_bytes")?;
    run.fingerprint = from_json(row, "fingerprint")?;
    run.note = row.try_get("note")?;
    Ok(run)
}

fn trial_of(row: &SqliteRow) -> Result<Trial, sqlx::Error> {
    Ok(Trial {
        seq: unsigned(row, "seq")?.unwrap_or_default(),
        phase: from_word(row, "phase")?,
        ttft_ms: row.try_get("ttft_ms")?,
        decode_tok_s: row.try_get("decode_tok_s")?,
        prefill_tok_s: row.try_get("prefill_tok_s")?,
        total_ms: row.try_get("total_ms")?,
        output_tokens: unsigned(row, "output_tokens")?,
        prompt_tokens: unsigned(row, "prompt_tokens")?,
        cached_tokens: unsigned(row, "cached_tokens")?,
        server_decode_tok_s: row.try_get("server_decode_tok_s")?,
        server_prefill_tok_s: row.try_get("server_prefill_tok_s")?,
        finish: row.try_get("finish")?,
        flaw: row.try_get("flaw")?,
        ..Trial::default()
    })
}

fn detail_of(mut run: Run, trials: Vec<Trial>) -> RunDetail {
    run.sum_up(&trials);
    RunDetail { run, trials, trace: None }
}
