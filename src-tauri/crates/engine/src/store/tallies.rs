//! What requests add up to, by minutes, hours and days.

use super::{
    Store,
    rows::{from_json, integer, json, unsigned},
};
use pilothouse_domain::{
    error::ApiError,
    traffic::{Cell, CellKey, MINUTES_KEPT_MS, OTHERS, Piece, RequestRecord, Span, Tally},
};
use sqlx::{Row, SqliteConnection, query, query_scalar, sqlite::SqliteRow};
use std::{collections::BTreeMap, sync::Arc};

/// Clients and models that one span tells apart; of further clients only that they are others.
pub(super) const MOST_CELLS: i64 = 200;
/// Rows that one step of a clean-up takes out.
const TAKEN_AT_ONCE: i64 = 2000;

const COLUMNS: &str = "client, server, model, requests, failed, cancelled, tokens_in, tokens_cached, tokens_out, estimated, ttft, decode";

/// Counts records in the sums of their spans.
pub(super) async fn add(
    connection: &mut SqliteConnection,
    records: &[Arc<RequestRecord>],
) -> Result<(), sqlx::Error> {
    let mut sums: BTreeMap<(Span, i64, CellKey), Tally> = BTreeMap::new();
    for record in records {
        for span in Span::ALL {
            let begin = span.begin_of(record.at.as_millisecond());
            sums.entry((span, begin, CellKey::of(record))).or_default().add(record);
        }
    }
    for ((span, begin_ms, mut key), mut tally) in sums {
        let mut before = read(&mut *connection, span, begin_ms, &key).await?;
        if before.is_none() && is_full(&mut *connection, span, begin_ms).await? {
            key.client = OTHERS.to_owned();
            before = read(&mut *connection, span, begin_ms, &key).await?;
        }
        before.iter().for_each(|cell| tally.merge(&cell.tally));
        write(&mut *connection, span, begin_ms, &Cell { key, tally }).await?;
    }
    Ok(())
}

async fn read(
    connection: &mut SqliteConnection,
    span: Span,
    begin_ms: i64,
    key: &CellKey,
) -> Result<Option<Cell>, sqlx::Error> {
    let sql = sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM request_tally WHERE span = ? AND begin_ms = ? AND client = ? AND server = ? AND model = ?"
    ));
    let row = query(sql)
        .bind(span.as_str())
        .bind(begin_ms)
        .bind(&key.client)
        .bind(&key.server)
        .bind(&key.model)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(cell_of).transpose()
}

async fn is_full(connection: &mut SqliteConnection, span: Span, begin_ms: i64) -> Result<bool, sqlx::Error> {
    let count: i64 = query_scalar("SELECT count(*) FROM request_tally WHERE span = ? AND begin_ms = ?")
        .bind(span.as_str())
        .bind(begin_ms)
        .fetch_one(connection)
        .await?;
    Ok(count >= MOST_CELLS)
}

async fn write(
    connection: &mut SqliteConnection,
    span: Span,
    begin_ms: i64,
    cell: &Cell,
) -> Result<(), sqlx::Error> {
    let sql = sqlx::AssertSqlSafe(format!(
        "INSERT OR REPLACE INTO request_tally (span, begin_ms, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    ));
    let Cell { key, tally } = cell;
    query(sql)
        .bind(span.as_str())
        .bind(begin_ms)
        .bind(&key.client)
        .bind(&key.server)
        .bind(&key.model)
        .bind(integer(tally.requests))
        .bind(integer(tally.failed))
        .bind(integer(tally.cancelled))
        .bind(tally.tokens_in.map(integer))
        .bind(tally.tokens_cached.map(integer))
        .bind(tally.tokens_out.map(integer))
        .bind(integer(tally.estimated))
        .bind(json(&tally.ttft)?)
        .bind(json(&tally.decode)?)
        .execute(connection)
        .await?;
    Ok(())
}

fn cell_of(row: &SqliteRow) -> Result<Cell, sqlx::Error> {
    let count = |column: &str| Ok::<u64, sqlx::Error>(unsigned(row, column)?.unwrap_or_default());
    Ok(Cell {
        key: CellKey {
            client: row.try_get("client")?,
            server: row.try_get("server")?,
            model: row.try_get("model")?,
        },
        tally: Tally {
            requests: count("requests")?,
            failed: count("failed")?,
            cancelled: count("cancelled")?,
            tokens_in: unsigned(row, "tokens_in")?,
            tokens_cached: unsigned(row, "tokens_cached")?,
            tokens_out: unsigned(row, "tokens_out")?,
            estimated: count("estimated")?,
            ttft: from_json(row, "ttft")?,
            decode: from_json(row, "decode")?,
        },
    })
}

impl Store {
    /// The sums of a period, of each span those of its own. Errors: store_unavailable.
    pub async fn request_cells(&self, pieces: &[Piece]) -> Result<Vec<Cell>, ApiError> {
        let mut all = Vec::new();
        for piece in pieces {
            let sql = sqlx::AssertSqlSafe(format!(
                "SELECT {COLUMNS} FROM request_tally WHERE span = ? AND begin_ms >= ? AND begin_ms < ?"
            ));
            let rows = query(sql)
                .bind(piece.span.as_str())
                .bind(piece.from_ms)
                .bind(piece.to_ms)
                .fetch_all(&self.readers)
                .await;
            let cells = rows.and_then(|rows| rows.iter().map(cell_of).collect::<Result<Vec<_>, _>>());
            all.extend(cells.map_err(|error| self.cannot("read", &error))?);
        }
        Ok(all)
    }

    /// Takes out some records of before a moment, or else some of their sums; `false`: there are none. Single minutes go once nobody
    /// asks by them any more. `None`: records are kept for ever.
    pub(super) async fn take_old_requests(
        &self,
        before_ms: Option<i64>,
        now_ms: i64,
    ) -> Result<bool, sqlx::Error> {
        let some = |sql: &'static str, before: i64| async move {
            let taken = query(sql).bind(before).bind(TAKEN_AT_ONCE).execute(&self.writer).await?;
            Ok::<bool, sqlx::Error>(taken.rows_affected() > 0)
        };
        if some(TAKE_MINUTES, now_ms - MINUTES_KEPT_MS).await? {
            return Ok(true);
        }
        let Some(before_ms) = before_ms else { return Ok(false) };
        // A day's sum goes with its last record.
        Ok(some(TAKE_REQUESTS, before_ms).await?
            || some(TAKE_HOURS, Span::Hour.begin_of(before_ms)).await?
            || some(TAKE_DAYS, Span::Day.begin_of(before_ms)).await?)
    }
}

const TAKE_REQUESTS: &str = "DELETE FROM request WHERE id IN \
     (SELECT id FROM request WHERE at_ms < ?1 ORDER BY at_ms LIMIT ?2)";
const TAKE_MINUTES: &str = "DELETE FROM request_tally WHERE (span, begin_ms, client, server, model) IN \
     (SELECT span, begin_ms, client, server, model FROM request_tally WHERE span = 'minute' AND begin_ms < ?1 LIMIT ?2)";
const TAKE_HOURS: &str = "DELETE FROM request_tally WHERE (span, begin_ms, client, server, model) IN \
     (SELECT span, begin_ms, client, server, model FROM request_tally WHERE span = 'hour' AND begin_ms < ?1 LIMIT ?2)";
const TAKE_DAYS: &str = "DELETE FROM request_tally WHERE (span, begin_ms, client, server, model) IN \
     (SELECT span, begin_ms, client, server, model FROM request_tally WHERE span = 'day' AND begin_ms < ?1 LIMIT ?2)";
