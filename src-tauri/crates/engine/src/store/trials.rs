//! Requests of runs, and the gaps between the events of their answers.

use super::{
    Store,
    rows::{decode, from_word, json, unsigned, word},
};
use pilothouse_domain::{
    bench::{Trial, TrialPhase, gaps},
    error::ApiError,
};
use sqlx::{Row, SqliteConnection, ValueRef, query, sqlite::SqliteRow};
use std::collections::HashMap;

pub(super) const TRIALS: &str = "SELECT * FROM trial WHERE run IN (SELECT value FROM json_each(?1)) \
     ORDER BY run, phase = 'measured', seq";
pub(super) const GAPS: &str = "SELECT seq, gaps FROM trial_gap WHERE run = ?1";

impl Store {
    /// Adds one request of a run. Figures that are not finite are kept as absent.
    pub async fn add_trial(&self, run_id: i64, trial: &Trial) -> Result<(), ApiError> {
        self.patiently(|| self.insert_trial(run_id, trial)).await
    }

    async fn insert_trial(&self, run_id: i64, trial: &Trial) -> Result<(), sqlx::Error> {
        let mut transaction = self.writer.begin().await?;
        insert(&mut transaction, run_id, trial).await?;
        transaction.commit().await
    }

    pub(super) async fn trials(&self, runs: &[i64]) -> Result<HashMap<i64, Vec<Trial>>, sqlx::Error> {
        if runs.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = query(TRIALS).bind(json(&runs)?).fetch_all(&self.readers).await?;
        let mut trials: HashMap<i64, Vec<Trial>> = HashMap::new();
        for row in &rows {
            trials.entry(row.try_get("run")?).or_default().push(trial_of(row)?);
        }
        Ok(trials)
    }

    /// Puts the gaps of a run to its measured trials, as far as they are kept.
    pub(super) async fn add_gaps(&self, run_id: i64, trials: &mut [Trial]) -> Result<(), sqlx::Error> {
        let rows = query(GAPS).bind(run_id).fetch_all(&self.readers).await?;
        let mut kept: HashMap<u32, Vec<u32>> = HashMap::new();
        for row in &rows {
            let seq = unsigned(row, "seq")?.unwrap_or_default();
            let bytes: Vec<u8> = row.try_get("gaps")?;
            let gaps = gaps::decode(&bytes).ok_or_else(|| decode("gaps", "these are no gaps"))?;
            kept.insert(seq, gaps);
        }
        for trial in trials.iter_mut().filter(|trial| trial.is_measured()) {
            trial.gaps_us = kept.remove(&trial.seq);
        }
        Ok(())
    }
}

/// Writes a request and its gaps.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    run_id: i64,
    trial: &Trial,
) -> Result<(), sqlx::Error> {
    let finite = |figure: Option<f64>| figure.filter(|f| f.is_finite());
    query(
        "INSERT INTO trial (run, seq, phase, ttft_ms, decode_tok_s, prefill_tok_s, total_ms, output_tokens, \
         prompt_tokens, cached_tokens, server_decode_tok_s, server_prefill_tok_s, finish, flaw, block, \
         concurrency, begun_ms, late_ms, turn, prefix) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
    .bind(trial.block)
    .bind(trial.concurrency)
    .bind(finite(trial.begun_ms))
    .bind(finite(trial.late_ms))
    .bind(trial.turn)
    .bind(trial.prefix.as_ref().map(word).transpose()?)
    .execute(&mut *connection)
    .await?;
    let gaps = trial.gaps_us.as_ref().filter(|gaps| trial.phase == TrialPhase::Measured && !gaps.is_empty());
    let Some(gaps_us) = gaps else { return Ok(()) };
    query("INSERT INTO trial_gap (run, seq, gaps) VALUES (?, ?, ?)")
        .bind(run_id)
        .bind(trial.seq)
        .bind(gaps::encode(gaps_us))
        .execute(&mut *connection)
        .await?;
    let mark = query("UPDATE run SET has_gaps = 1 WHERE id = ? AND has_gaps = 0").bind(run_id);
    mark.execute(connection).await?;
    Ok(())
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
        block: unsigned(row, "block")?,
        concurrency: unsigned(row, "concurrency")?,
        begun_ms: row.try_get("begun_ms")?,
        late_ms: row.try_get("late_ms")?,
        turn: unsigned(row, "turn")?,
        prefix: match row.try_get_raw("prefix")?.is_null() {
            true => None,
            false => Some(from_word(row, "prefix")?),
        },
        gaps_us: None,
    })
}
