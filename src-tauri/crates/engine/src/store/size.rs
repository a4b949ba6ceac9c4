//! How large the history is, what of it is kept for how long, and what the next clean-up takes out.

use super::{Store, rows::json};
use crate::api::{HistorySize, Kept, KeptKind, TableSize};
use pilothouse_domain::{Timestamp, bench::retention::Cutoffs, error::ApiError, settings::HistorySettings};
use sqlx::{Row, query, query_scalar, sqlite::SqliteRow};

/// A file of up to so many bytes is measured while somebody waits. Of a larger one it is told how large it was when it was last
/// measured, since each of its pages would have to be read.
const MEASURED_AT_ONCE: u64 = 8 << 20;

const TABLES: &str = "SELECT coalesce(tbl_name, dbstat.name) AS name, sum(pgsize) AS bytes FROM dbstat \
     LEFT JOIN sqlite_schema ON sqlite_schema.name = dbstat.name WHERE aggregate = TRUE GROUP BY 1 ORDER BY bytes DESC, name";
const COUNT_RUNS: &str = "SELECT coalesce(sum(runs), 0) FROM series";
const COUNT_WARMUPS: &str = "SELECT count(*) FROM trial WHERE phase = 'warmup'";
const DUE_WARMUPS: &str = "SELECT count(*) FROM run CROSS JOIN trial ON trial.run = run.id AND phase = 'warmup' \
     WHERE has_warmups = 1 AND started_ms < ?1 AND state <> 'running'";
const DUE_GAPS: &str = "SELECT count(*) FROM run CROSS JOIN trial_gap ON trial_gap.run = run.id \
     WHERE has_gaps = 1 AND started_ms < ?1 AND state <> 'running'";
const DUE_SAMPLES: &str = "SELECT count(*) FROM run CROSS JOIN run_gauge ON run_gauge.run = run.id \
     WHERE trace_kept = 'samples' AND started_ms < ?1 AND state <> 'running'";
const DUE_MINUTES: &str = "SELECT count(*) FROM run CROSS JOIN run_gauge_minute ON run_gauge_minute.run = run.id \
     WHERE trace_kept = 'minutes' AND started_ms < ?1 AND state <> 'running'";

const COUNT_REQUESTS: &str = "SELECT count(*) FROM request";
const DUE_REQUESTS: &str = "SELECT count(*) FROM request WHERE at_ms < ?1";

impl Store {
    /// How large the history is, table by table with their indices, and kind by kind. `keep`: how long what is kept; of a
    /// large file sizes and what is due are those of its last measurement.
    pub async fn size(&self, keep: &HistorySettings) -> Result<HistorySize, ApiError> {
        match self.read_size(keep).await.map_err(|e| self.cannot("read", &e))? {
            Some(size) => Ok(size),
            // Nobody has measured it so far.
            None => self.measure_size(keep).await,
        }
    }

    async fn read_size(&self, keep: &HistorySettings) -> Result<Option<HistorySize>, sqlx::Error> {
        let (file_bytes, free_bytes) = self.file_size().await?;
        if file_bytes <= MEASURED_AT_ONCE {
            return self.measured_size(keep).await.map(Some);
        }
        let kept = query("SELECT size FROM measured_size").fetch_optional(&self.readers).await?;
        let kept: Option<String> = kept.map(|row| row.try_get("size")).transpose()?;
        // What another version has kept in another shape is measured again.
        let Some(mut size) = kept.and_then(|kept| serde_json::from_str::<HistorySize>(&kept).ok()) else {
            return Ok(None);
        };
        (size.file_bytes, size.free_bytes) = (file_bytes, free_bytes);
        size.runs = self.count(COUNT_RUNS).await?;
        for kind in &mut size.kinds {
            kind.days = days(kind.kind, keep);
        }
        Ok(Some(size))
    }

    /// Measures and keeps it: reads each page of the file. Errors: store_unavailable.
    pub async fn measure_size(&self, keep: &HistorySettings) -> Result<HistorySize, ApiError> {
        let mut size = self.measured_size(keep).await.map_err(|e| self.cannot("read", &e))?;
        let now = Timestamp::now();
        size.measured_at = Some(now);
        let text = json(&size).map_err(|e| self.cannot("write", &e))?;
        let write = || {
            query("INSERT OR REPLACE INTO measured_size (only_row, at_ms, size) VALUES (1, ?, ?)")
                .bind(now.as_millisecond())
                .bind(&text)
                .execute(&self.writer)
        };
        self.patiently(write).await?;
        Ok(size)
    }

    async fn file_size(&self) -> Result<(u64, u64), sqlx::Error> {
        Ok((
            self.count("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").await?,
            self.count("SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size")
                .await?,
        ))
    }

    async fn count(&self, sql: &'static str) -> Result<u64, sqlx::Error> {
        let count: i64 = query_scalar(sql).fetch_one(&self.readers).await?;
        Ok(count.unsigned_abs())
    }

    /// Rows that the next clean-up takes out.
    async fn due(&self, sql: &'static str, before_ms: Option<i64>) -> Result<u64, sqlx::Error> {
        let Some(before_ms) = before_ms else { return Ok(0) };
        let count: i64 = query_scalar(sql).bind(before_ms).fetch_one(&self.readers).await?;
        Ok(count.unsigned_abs())
    }

    async fn measured_size(&self, keep: &HistorySettings) -> Result<HistorySize, sqlx::Error> {
        let (file_bytes, free_bytes) = self.file_size().await?;
        let rows = query(TABLES).fetch_all(&self.readers).await?;
        let table = |row: &SqliteRow| {
            let bytes: i64 = row.try_get("bytes")?;
            Ok(TableSize { name: row.try_get("name")?, bytes: bytes.unsigned_abs() })
        };
        let tables = rows.iter().map(table).collect::<Result<Vec<_>, sqlx::Error>>()?;
        let of = |names: &[&str]| -> u64 {
            tables.iter().filter(|table| names.contains(&table.name.as_str())).map(|table| table.bytes).sum()
        };
        let cutoffs = Cutoffs::at(Timestamp::now(), keep);
        let runs = self.count(COUNT_RUNS).await?;
        let trials = self.count("SELECT count(*) FROM trial").await?;
        let warmups = self.count(COUNT_WARMUPS).await?;
        let samples = self.count("SELECT count(*) FROM run_gauge").await?;
        let minutes = self.count("SELECT count(*) FROM run_gauge_minute").await?;
        let gaps = self.count("SELECT count(*) FROM trial_gap").await?;
        let of_trials = of(&["trial"]);
        let of_warmups = share(of_trials, warmups, trials);
        let kind = |kind: Kept, rows: u64, bytes: u64, next_rows: u64| KeptKind {
            kind,
            rows,
            bytes,
            days: days(kind, keep),
            next_rows,
            next_bytes: share(bytes, next_rows, rows),
        };
        let kinds = vec![
            kind(Kept::Runs, runs, of(&["run", "series"]), 0),
            kind(Kept::Trials, trials - warmups, of_trials - of_warmups, 0),
            kind(Kept::Warmups, warmups, of_warmups, self.due(DUE_WARMUPS, cutoffs.warmups_ms).await?),
            kind(Kept::Gaps, gaps, of(&["trial_gap"]), self.due(DUE_GAPS, cutoffs.gaps_ms).await?),
            kind(
                Kept::Samples,
                samples,
                of(&["run_gauge", "run_cards"]),
                self.due(DUE_SAMPLES, cutoffs.samples_ms).await?,
            ),
            kind(
                Kept::Minutes,
                minutes,
                of(&["run_gauge_minute"]),
                self.due(DUE_MINUTES, cutoffs.minutes_ms).await?,
            ),
            kind(
                Kept::Requests,
                self.count(COUNT_REQUESTS).await?,
                of(&["request", "request_tally"]),
                self.due(DUE_REQUESTS, cutoffs.requests_ms).await?,
            ),
        ];
        Ok(HistorySize { file_bytes, free_bytes, runs, trials, samples, tables, kinds, measured_at: None })
    }
}

/// How long something is kept; `None`: for ever.
fn days(kind: Kept, keep: &HistorySettings) -> Option<u32> {
    let days = match kind {
        Kept::Runs | Kept::Trials => 0,
        Kept::Warmups => keep.warmups_days,
        Kept::Gaps => keep.gaps_days,
        Kept::Samples => keep.traces_days,
        Kept::Minutes => keep.trace_minutes_days,
        Kept::Requests => keep.requests_days,
    };
    (days > 0).then_some(days)
}

/// The part of these bytes that so many of the rows take, as if each took the same.
fn share(bytes: u64, rows: u64, of: u64) -> u64 {
    if of == 0 { 0 } else { (u128::from(bytes) * u128::from(rows) / u128::from(of)) as u64 }
}
