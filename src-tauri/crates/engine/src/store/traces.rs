//! What the gauges showed during runs: each sample, of old runs least, mean and greatest of each minute.

use super::{
    Store,
    rows::{from_json, integer, json, unsigned},
};
use pilothouse_domain::{
    bench::{RunTrace, retention::MINUTE_MS},
    error::ApiError,
    gauge::{GaugeColumns, GaugeHistory},
    gauge_history::{SERIES, Values},
};
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, query, sqlite::SqliteRow};

/// Rows of one statement; SQLite takes 32,766 parameters.
const SAMPLES: usize = 1000;

pub(super) const KEPT_SAMPLES: &str = "SELECT * FROM run_gauge WHERE run = ?1 ORDER BY offset_ms";
pub(super) const KEPT_MINUTES: &str = "SELECT * FROM run_gauge_minute WHERE run = ?1 ORDER BY offset_ms";
const KEPT_CARDS: &str = "SELECT cards FROM run_cards WHERE run = ?1";

impl Store {
    /// Keeps what the gauges showed during a run. Errors: store_unavailable, also when there is no such run.
    pub async fn add_trace(&self, run_id: i64, trace: &GaugeHistory) -> Result<(), ApiError> {
        self.patiently(|| self.write_trace(run_id, trace)).await
    }

    async fn write_trace(&self, run_id: i64, trace: &GaugeHistory) -> Result<(), sqlx::Error> {
        let mut transaction = self.writer.begin().await?;
        insert_trace(&mut transaction, run_id, trace).await?;
        transaction.commit().await
    }

    /// What the gauges showed during a run; `None`: that was not kept, or not for so long.
    pub(super) async fn trace(&self, run_id: i64) -> Result<Option<GaugeHistory>, sqlx::Error> {
        trace(&mut *self.readers.acquire().await?, run_id).await
    }

    pub(super) async fn cards(&self, run_id: i64) -> Result<Option<RunTrace>, sqlx::Error> {
        cards(&mut *self.readers.acquire().await?, run_id).await
    }
}

pub(super) async fn trace(
    connection: &mut SqliteConnection,
    run_id: i64,
) -> Result<Option<GaugeHistory>, sqlx::Error> {
    let head = query("SELECT started_ms, trace_step_ms, trace_kept FROM run WHERE id = ?1").bind(run_id);
    let Some(head) = head.fetch_optional(&mut *connection).await? else { return Ok(None) };
    let started_ms: i64 = head.try_get("started_ms")?;
    let kept: Option<String> = head.try_get("trace_kept")?;
    let by_minute = kept.as_deref() == Some("minutes");
    let sql = if by_minute { KEPT_MINUTES } else { KEPT_SAMPLES };
    let rows = query(sql).bind(run_id).fetch_all(&mut *connection).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let step_ms = match by_minute {
        true => MINUTE_MS.unsigned_abs(),
        false => unsigned(&head, "trace_step_ms")?.unwrap_or_default(),
    };
    let mut trace = GaugeHistory { step_ms, ..GaugeHistory::default() };
    let (mut low, mut high) = (GaugeColumns::default(), GaugeColumns::default());
    for row in &rows {
        let offset_ms: i64 = row.try_get("offset_ms")?;
        trace.at_ms.push(started_ms + offset_ms);
        if by_minute {
            trace.columns.push(&values(row, "_mean")?);
            low.push(&values(row, "_low")?);
            high.push(&values(row, "_high")?);
        } else {
            trace.columns.push(&values(row, "")?);
        }
    }
    if by_minute {
        (trace.low, trace.high) = (Some(low), Some(high));
    }
    Ok(Some(trace))
}

fn values(row: &SqliteRow, part: &str) -> Result<Values, sqlx::Error> {
    let mut values = Values::default();
    for (value, name) in values.iter_mut().zip(SERIES) {
        *value = row.try_get(&*format!("{name}{part}"))?;
    }
    Ok(values)
}

pub(super) async fn cards(
    connection: &mut SqliteConnection,
    run_id: i64,
) -> Result<Option<RunTrace>, sqlx::Error> {
    let row = query(KEPT_CARDS).bind(run_id).fetch_optional(connection).await?;
    row.map(|row| from_json(&row, "cards")).transpose()
}

/// Writes the rows of a trace, and that the run has one. Errors: RowNotFound, when there is no such run.
pub(super) async fn insert_trace(
    connection: &mut SqliteConnection,
    run_id: i64,
    trace: &GaugeHistory,
) -> Result<(), sqlx::Error> {
    let run =
        query("SELECT started_ms FROM run WHERE id = ?").bind(run_id).fetch_one(&mut *connection).await?;
    let started_ms: i64 = run.try_get("started_ms")?;
    let by_minute = trace.low.as_ref().zip(trace.high.as_ref());
    let (table, names) = match by_minute {
        None => ("run_gauge", SERIES.join(", ")),
        Some(_) => (
            "run_gauge_minute",
            SERIES.map(|name| format!("{name}_low, {name}_mean, {name}_high")).join(", "),
        ),
    };
    let rows: Vec<usize> = (0..trace.at_ms.len()).collect();
    for part in rows.chunks(SAMPLES) {
        let mut insert: QueryBuilder<Sqlite> =
            QueryBuilder::new(format!("INSERT INTO {table} (run, offset_ms, {names}) "));
        insert.push_values(part, |mut row, index| {
            row.push_bind(run_id);
            row.push_bind(trace.at_ms[*index] - started_ms);
            let means = trace.columns.row(*index);
            match by_minute {
                None => {
                    for value in means {
                        row.push_bind(value);
                    }
                }
                Some((low, high)) => {
                    let (low, high) = (low.row(*index), high.row(*index));
                    for series in 0..SERIES.len() {
                        row.push_bind(low[series]);
                        row.push_bind(means[series]);
                        row.push_bind(high[series]);
                    }
                }
            }
        });
        insert.build().execute(&mut *connection).await?;
    }
    query("UPDATE run SET trace_step_ms = ?, trace_kept = ? WHERE id = ?")
        .bind(integer(trace.step_ms))
        .bind(if by_minute.is_some() { "minutes" } else { "samples" })
        .bind(run_id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Writes what the cards showed, in place of what was there.
pub(super) async fn insert_cards(
    connection: &mut SqliteConnection,
    run_id: i64,
    cards: &RunTrace,
) -> Result<(), sqlx::Error> {
    query("INSERT OR REPLACE INTO run_cards (run, cards) VALUES (?, ?)")
        .bind(run_id)
        .bind(json(cards)?)
        .execute(&mut *connection)
        .await?;
    // One without a trace of the machine has one of its cards.
    query("UPDATE run SET trace_kept = coalesce(trace_kept, ?) WHERE id = ?")
        .bind(if cards.by_minute.is_some() { "minutes" } else { "samples" })
        .bind(run_id)
        .execute(connection)
        .await?;
    Ok(())
}
