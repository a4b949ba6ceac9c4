//! Histories of single models, and the levels that a person has accepted.

use super::{Store, runs::no_run};
use pilothouse_domain::{
    Timestamp,
    bench::{Run, comparison::NoiseFloor},
    error::ApiError,
    server::ServerId,
};
use sqlx::{Row, query};

/// Comparisons of a model with itself that tell the noise of a machine.
const NOISE_RUNS: i64 = 40;

impl Store {
    /// The newest done runs of a model under a plan, newest first.
    pub async fn series(
        &self,
        server: &ServerId,
        model: &str,
        plan: &str,
        limit: u32,
    ) -> Result<Vec<Run>, ApiError> {
        let rows = query(
            "SELECT * FROM run WHERE server = ? AND model = ? AND state = 'done' \
             AND json_extract(plan, '$.name') = ? ORDER BY id DESC LIMIT ?",
        )
        .bind(server.as_str())
        .bind(model)
        .bind(plan)
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(|e| self.cannot("read", &e))?;
        self.summaries(rows).await
    }

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

    /// Whether a model was compared with itself since then, on however busy a machine.
    pub async fn scattering_was_measured(&self, since: Timestamp) -> Result<bool, ApiError> {
        let row = query(
            "SELECT EXISTS (SELECT 1 FROM run JOIN run AS other ON other.id = run.against \
             AND other.server = run.server AND other.model = run.model \
             WHERE run.state = 'done' AND run.started_ms >= ?) AS found",
        )
        .bind(since.as_millisecond())
        .fetch_one(&self.readers)
        .await;
        row.and_then(|row| row.try_get("found")).map_err(|e| self.cannot("read", &e))
    }

    /// What comparisons of a model with itself show here; `None`: there was none.
    pub async fn noise_floor(&self) -> Result<Option<NoiseFloor>, ApiError> {
        let rows = query(
            "SELECT run.* FROM run JOIN run AS other ON other.id = run.against AND other.server = run.server \
             AND other.model = run.model WHERE run.state = 'done' ORDER BY run.id DESC LIMIT ?",
        )
        .bind(NOISE_RUNS)
        .fetch_all(&self.readers)
        .await
        .map_err(|e| self.cannot("read", &e))?;
        let runs = self.summaries(rows).await?;
        let median = |run: &Run| run.decode_tok_s.as_ref().map(|decode| decode.median);
        let of_pair = |run: &Run| {
            // Each pair is told by its second side.
            let other =
                runs.iter().find(|other| Some(other.run_id) == run.against && other.run_id < run.run_id)?;
            Some(median(run)? / median(other)?)
        };
        let ratios: Vec<f64> =
            runs.iter().filter(|run| run.disturbed.is_empty()).filter_map(of_pair).collect();
        Ok((!ratios.is_empty()).then(|| NoiseFloor::measured(&ratios)))
    }
}
