//! Benchmark runs and their trials. A run's summary is computed when it ends, and kept; of rows from before that, when they
//! are read.

use super::{
    Store,
    rows::{decode, from_json, from_word, integer, json, unsigned, word},
    traces,
};
use pilothouse_domain::{
    Timestamp,
    bench::{
        BenchPlan, Fingerprint, GapSpread, METRICS_VERSION, Run, RunDetail, Summary,
        conversation::Conversation, copies::Copies, load::Loads, open_loop::OpenLoop, replay::Replay,
        sweep::Sweep,
    },
    error::ApiError,
    server::ServerId,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sqlx::{Row, ValueRef, query, sqlite::SqliteRow};
use std::sync::Arc;

/// What is known when a run begins.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    pub started_at: Timestamp,
    pub plan: BenchPlan,
    pub server: ServerId,
    pub model: String,
    pub server_version: Option<String>,
    pub fingerprint: Fingerprint,
    /// The first side of the comparison that it is the second of.
    pub against: Option<i64>,
}

impl NewRun {
    /// As it is begun.
    pub fn of(run: &Run) -> Self {
        Self {
            started_at: run.started_at,
            plan: run.plan.clone(),
            server: run.server.clone(),
            model: run.model.clone(),
            server_version: run.server_version.clone(),
            fingerprint: run.fingerprint.clone(),
            against: run.against,
        }
    }
}

pub(super) const ONE_RUN: &str = "SELECT * FROM run WHERE id = ?1";

impl Store {
    /// Writes that a run has begun; returns its number.
    pub async fn begin_run(&self, run: &NewRun) -> Result<i64, ApiError> {
        self.patiently(|| self.insert_run(run)).await
    }

    async fn insert_run(&self, run: &NewRun) -> Result<i64, sqlx::Error> {
        let done = query(
            "INSERT INTO run (started_ms, state, plan, server, model, server_version, fingerprint, against, \
             metrics_version, plan_name, machine) VALUES (?1, 'running', ?2, ?3, ?4, ?5, ?6, ?7, ?8, \
             coalesce(json_extract(?2, '$.name'), ''), json_array(json_extract(?6, '$.machine'), \
             json_extract(?6, '$.chip'), json_extract(?6, '$.memory_bytes')))",
        )
        .bind(run.started_at.as_millisecond())
        .bind(json(&run.plan)?)
        .bind(run.server.as_str())
        .bind(&run.model)
        .bind(&run.server_version)
        .bind(json(&run.fingerprint)?)
        .bind(run.against)
        .bind(METRICS_VERSION)
        .execute(&self.writer)
        .await?;
        // Each side knows the other from its begin, so that both go on together after a death of ours.
        query("UPDATE run SET against = ? WHERE id = ?")
            .bind(done.last_insert_rowid())
            .bind(run.against)
            .execute(&self.writer)
            .await?;
        Ok(done.last_insert_rowid())
    }

    /// Writes that a run that was cut off goes on. Errors: not_found (there is none such), store_unavailable.
    pub async fn reopen_run(&self, run_id: i64) -> Result<(), ApiError> {
        let reopen = || {
            query(
                "UPDATE run SET state = 'running', ended_ms = NULL, note = NULL, summary = NULL WHERE id = ? \
                 AND state IN ('cut_off', 'cancelled')",
            )
            .bind(run_id)
            .execute(&self.writer)
        };
        match self.patiently(reopen).await?.rows_affected() {
            0 => Err(no_run(run_id)),
            _ => Ok(()),
        }
    }

    /// Writes how a run ended, with its summary. Errors: not_found, store_unavailable.
    pub async fn end_run(&self, detail: &RunDetail) -> Result<(), ApiError> {
        let run_id = detail.run.run_id;
        if self.patiently(|| self.update_run(detail)).await? == 0 {
            return Err(no_run(run_id));
        }
        if let Some(trace) = &detail.trace {
            self.add_trace(run_id, trace).await?;
        }
        Ok(())
    }

    async fn update_run(&self, detail: &RunDetail) -> Result<u64, sqlx::Error> {
        let run = &detail.run;
        let done = query(
            "UPDATE run SET ended_ms = ?, state = ?, note = ?, peak_memory_bytes = ?, summary = ?, disturbed = ?, \
             against = ? WHERE id = ?",
        )
        .bind(Timestamp::now().as_millisecond())
        .bind(word(&run.state)?)
        .bind(&run.note)
        .bind(run.peak_memory_bytes.map(integer))
        .bind(json(&StoredSummary::of(run))?)
        .bind(json(&run.disturbed)?)
        .bind(run.against)
        .bind(run.run_id)
        .execute(&self.writer)
        .await?;
        if let Some(cards) = &detail.cards {
            traces::insert_cards(&mut *self.writer.acquire().await?, run.run_id, cards).await?;
        }
        Ok(done.rows_affected())
    }

    /// One run with its trials and its trace. Errors: not_found, store_unavailable.
    pub async fn run(&self, run_id: i64) -> Result<RunDetail, ApiError> {
        let mut detail = self.run_without_trace(run_id).await?;
        let read = async {
            self.add_gaps(run_id, &mut detail.trials).await?;
            detail.trace = self.trace(run_id).await?;
            detail.cards = self.cards(run_id).await?;
            Ok::<(), sqlx::Error>(())
        };
        read.await.map_err(|e| self.cannot("read", &e))?;
        Ok(detail)
    }

    /// One run with its trials: what a comparison needs. Errors: not_found, store_unavailable.
    pub async fn run_without_trace(&self, run_id: i64) -> Result<RunDetail, ApiError> {
        let rows = query(ONE_RUN).bind(run_id).fetch_all(&self.readers).await;
        let rows = rows.map_err(|e| self.cannot("read", &e))?;
        self.details(rows).await?.pop().ok_or_else(|| no_run(run_id))
    }

    /// The runs of these rows, in their order. Only of those that keep no summary the trials are read.
    pub(super) async fn summaries(&self, rows: Vec<SqliteRow>) -> Result<Vec<Run>, ApiError> {
        let runs: Result<Vec<(Run, bool)>, sqlx::Error> = {
            let mut same = Same::default();
            rows.iter().map(|row| run_of(row, &mut same)).collect()
        };
        let runs = runs.map_err(|e| self.cannot("read", &e))?;
        let of_before: Vec<i64> = runs.iter().filter(|(_, bare)| *bare).map(|(run, _)| run.run_id).collect();
        let mut trials = self.trials(&of_before).await.map_err(|e| self.cannot("read", &e))?;
        let summed = tokio::task::spawn_blocking(move || {
            let sum = |(mut run, bare): (Run, bool)| {
                if bare {
                    run.sum_up(&trials.remove(&run.run_id).unwrap_or_default());
                }
                run
            };
            runs.into_iter().map(sum).collect()
        });
        summed.await.map_err(|error| ApiError::internal(format!("Summarising the runs broke off: {error}.")))
    }

    /// The runs of these rows with their trials, in the rows' order.
    async fn details(&self, rows: Vec<SqliteRow>) -> Result<Vec<RunDetail>, ApiError> {
        let runs = self.summaries(rows).await?;
        let ids: Vec<i64> = runs.iter().map(|run| run.run_id).collect();
        let mut trials = self.trials(&ids).await.map_err(|e| self.cannot("read", &e))?;
        let detail = |run: Run| {
            let trials = trials.remove(&run.run_id).unwrap_or_default();
            RunDetail { run, trials, trace: None, cards: None }
        };
        Ok(runs.into_iter().map(detail).collect())
    }
}

pub(super) fn no_run(run_id: i64) -> ApiError {
    ApiError::not_found(format!("There is no run {run_id}.")).hint("Look at the history for the numbers.")
}

/// `None`: none is kept, or one of other formulas or another shape: then the trials say it again.
fn summary_of(row: &SqliteRow) -> Result<Option<StoredSummary>, sqlx::Error> {
    let version: u32 = row.try_get("metrics_version")?;
    if version != METRICS_VERSION || row.try_get_raw("summary")?.is_null() {
        return Ok(None);
    }
    Ok(from_json(row, "summary").ok())
}

/// A document that neighbouring runs of a list mostly share, so that it is read once.
#[derive(Debug)]
pub(super) struct Shared<T>(Option<(String, Arc<T>)>);

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: DeserializeOwned> Shared<T> {
    /// The document of a column, read anew only where it is another one than in the row before.
    pub(super) fn read(&mut self, row: &SqliteRow, column: &str) -> Result<Arc<T>, sqlx::Error> {
        let text: &str = row.try_get(column)?;
        if let Some((_, document)) = self.0.as_ref().filter(|(same, _)| same == text) {
            return Ok(Arc::clone(document));
        }
        let document: Arc<T> = Arc::new(serde_json::from_str(text).map_err(|e| decode(column, e))?);
        self.0 = Some((text.to_owned(), Arc::clone(&document)));
        Ok(document)
    }
}

/// The documents of a list of runs.
#[derive(Default)]
struct Same {
    plan: Shared<BenchPlan>,
    fingerprint: Shared<Fingerprint>,
}

/// The run with its summary, and whether it has none: then its trials are to be read.
fn run_of(row: &SqliteRow, same: &mut Same) -> Result<(Run, bool), sqlx::Error> {
    let started = Timestamp::from_millisecond(row.try_get("started_ms")?);
    let started_at = started.map_err(|e| decode("started_ms", e))?;
    let server = ServerId::new(row.try_get::<String, _>("server")?);
    let model: String = row.try_get("model")?;
    let mut run =
        Run::begun(row.try_get("id")?, started_at, (*same.plan.read(row, "plan")?).clone(), server, model);
    run.state = from_word(row, "state")?;
    run.server_version = row.try_get("server_version")?;
    run.peak_memory_bytes = unsigned(row, "peak_memory_bytes")?;
    run.fingerprint = (*same.fingerprint.read(row, "fingerprint")?).clone();
    run.note = row.try_get("note")?;
    run.against = row.try_get("against")?;
    if !row.try_get_raw("disturbed")?.is_null() {
        run.disturbed = from_json(row, "disturbed")?;
    }
    let summary = summary_of(row)?;
    let is_bare = summary.is_none();
    if let Some(summary) = summary {
        summary.put_into(&mut run);
    }
    Ok((run, is_bare))
}

/// What the trials of a run say together, as it is kept.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredSummary {
    trials: u32,
    warmups: u32,
    ttft_ms: Option<Summary>,
    decode_tok_s: Option<Summary>,
    prefill_tok_s: Option<Summary>,
    e2e_ms: Option<Summary>,
    server_decode_tok_s: Option<Summary>,
    server_prefill_tok_s: Option<Summary>,
    /// Kept since it is noted.
    #[serde(default)]
    gaps: Option<GapSpread>,
    peak_gpu_memory_bytes: Option<u64>,
    energy_j_per_token: Option<f64>,
    sweep: Option<Sweep>,
    open_loop: Option<OpenLoop>,
    conversation: Option<Conversation>,
    replay: Option<Replay>,
    #[serde(default)]
    loads: Option<Loads>,
    #[serde(default)]
    copies: Option<Copies>,
    reasons: Vec<String>,
    /// Kept since it is noted.
    #[serde(default)]
    unsettled: bool,
}

impl StoredSummary {
    pub(super) fn of(run: &Run) -> Self {
        Self {
            trials: run.trials,
            warmups: run.warmups,
            ttft_ms: run.ttft_ms.clone(),
            decode_tok_s: run.decode_tok_s.clone(),
            prefill_tok_s: run.prefill_tok_s.clone(),
            e2e_ms: run.e2e_ms.clone(),
            server_decode_tok_s: run.server_decode_tok_s.clone(),
            server_prefill_tok_s: run.server_prefill_tok_s.clone(),
            gaps: run.gaps,
            peak_gpu_memory_bytes: run.peak_gpu_memory_bytes,
            energy_j_per_token: run.energy_j_per_token,
            sweep: run.sweep.clone(),
            open_loop: run.open_loop.clone(),
            conversation: run.conversation.clone(),
            replay: run.replay.clone(),
            loads: run.loads.clone(),
            copies: run.copies.clone(),
            reasons: run.reasons.clone(),
            unsettled: run.unsettled,
        }
    }

    fn put_into(self, run: &mut Run) {
        run.trials = self.trials;
        run.warmups = self.warmups;
        run.ttft_ms = self.ttft_ms;
        run.decode_tok_s = self.decode_tok_s;
        run.prefill_tok_s = self.prefill_tok_s;
        run.e2e_ms = self.e2e_ms;
        run.server_decode_tok_s = self.server_decode_tok_s;
        run.server_prefill_tok_s = self.server_prefill_tok_s;
        run.gaps = self.gaps;
        run.peak_gpu_memory_bytes = self.peak_gpu_memory_bytes;
        run.energy_j_per_token = self.energy_j_per_token;
        run.sweep = self.sweep;
        run.open_loop = self.open_loop;
        run.conversation = self.conversation;
        run.replay = self.replay;
        run.loads = self.loads;
        run.copies = self.copies;
        run.reasons = self.reasons;
        run.unsettled = self.unsettled;
    }
}
