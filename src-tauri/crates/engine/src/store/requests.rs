//! Records of requests through the one address.

use super::{
    Store,
    rows::{decode, from_word, integer, json, unsigned, word},
};
use pilothouse_domain::{
    Timestamp,
    error::ApiError,
    server::ServerId,
    traffic::{Client, RequestRecord, StateFilter, Tokens, TrafficFilter},
};
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, query, query_scalar, sqlite::SqliteRow};
use std::sync::Arc;

/// So many are kept, the newest, whatever their age.
pub const REQUESTS_KEPT: u64 = 200_000;
/// Old ones that one write takes out: more than it brings, so that a table that is too long becomes shorter.
const TAKEN_AT_ONCE: i64 = 1000;

pub(super) const NEWEST_REQUEST: &str = "SELECT max(id) FROM request";
const INSERT: &str = "INSERT OR REPLACE INTO request (id, at_ms, client, key, program, pid, dialect, asked, server, model, role, \
     why, state, queued_ms, load_ms, ttft_ms, total_ms, tokens_in, tokens_cached, tokens_out, counted, most_output, \
     decode_tok_s, finish, status, error, detail, streamed, governed, changed) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
const TAKE_BEYOND: &str = "DELETE FROM request WHERE id IN \
     (SELECT id FROM request WHERE id <= (SELECT max(id) FROM request) - ?1 ORDER BY id LIMIT ?2)";

impl Store {
    /// Keeps records that have ended and what they add up to, all of them or none, and lets go of what is beyond the newest
    /// [`REQUESTS_KEPT`]. Errors: store_unavailable.
    pub async fn add_requests(&self, records: &[Arc<RequestRecord>]) -> Result<(), ApiError> {
        self.patiently(|| self.insert_requests(records)).await
    }

    async fn insert_requests(&self, records: &[Arc<RequestRecord>]) -> Result<(), sqlx::Error> {
        let mut transaction = self.writer.begin().await?;
        for record in records {
            insert(&mut transaction, record).await?;
        }
        super::tallies::add(&mut transaction, records).await?;
        query(TAKE_BEYOND)
            .bind(integer(REQUESTS_KEPT))
            .bind(TAKEN_AT_ONCE)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }

    /// Those that a filter lets through, newest first, at most `most`. Errors: store_unavailable.
    pub async fn requests(&self, filter: &TrafficFilter, most: u32) -> Result<Vec<RequestRecord>, ApiError> {
        // What is under way is not kept.
        if filter.state == Some(StateFilter::UnderWay) {
            return Ok(Vec::new());
        }
        let mut asked = wanted(filter, most).map_err(|error| self.cannot("read", &error))?;
        let rows = asked.build().fetch_all(&self.readers).await;
        let records = rows.and_then(|rows| rows.iter().map(record_of).collect());
        records.map_err(|error| self.cannot("read", &error))
    }

    /// One of them; `None`: it was never kept, or is not any more. Errors: store_unavailable.
    pub async fn request(&self, id: u64) -> Result<Option<RequestRecord>, ApiError> {
        let row =
            query("SELECT * FROM request WHERE id = ?").bind(integer(id)).fetch_optional(&self.readers).await;
        row.and_then(|row| row.as_ref().map(record_of).transpose())
            .map_err(|error| self.cannot("read", &error))
    }

    /// The number of the newest one; 0: there is none. Errors: store_unavailable.
    pub async fn newest_request(&self) -> Result<u64, ApiError> {
        let newest = query_scalar::<_, Option<i64>>(NEWEST_REQUEST).fetch_one(&self.readers).await;
        let newest = newest.map_err(|error| self.cannot("read", &error))?;
        Ok(newest.and_then(|id| u64::try_from(id).ok()).unwrap_or_default())
    }
}

async fn insert(connection: &mut SqliteConnection, record: &RequestRecord) -> Result<(), sqlx::Error> {
    let fields = |names: &Vec<String>| (!names.is_empty()).then(|| json(names)).transpose();
    let Client { key, program, pid } = &record.client;
    let tokens = record.tokens;
    query(INSERT)
        .bind(integer(record.id))
        .bind(record.at.as_millisecond())
        .bind(record.client.name())
        .bind(key)
        .bind(program)
        .bind(pid)
        .bind(word(&record.dialect)?)
        .bind(&record.asked)
        .bind(record.server.as_ref().map(ServerId::as_str))
        .bind(&record.model)
        .bind(&record.role)
        .bind(record.why.as_ref().map(word).transpose()?)
        .bind(word(&record.state)?)
        .bind(record.queued_ms)
        .bind(record.load_ms)
        .bind(record.ttft_ms)
        .bind(record.total_ms)
        .bind(tokens.input)
        .bind(tokens.cached)
        .bind(tokens.output)
        .bind(tokens.counted)
        .bind(record.most_output)
        .bind(record.decode_tok_s)
        .bind(&record.finish)
        .bind(record.status)
        .bind(&record.error)
        .bind(&record.detail)
        .bind(record.streamed)
        .bind(fields(&record.governed)?)
        .bind(fields(&record.changed)?)
        .execute(connection)
        .await?;
    Ok(())
}

/// The same as `TrafficFilter::lets_through`. Rows come by their numbers, with the index of a client or model where one is named.
fn wanted(filter: &TrafficFilter, most: u32) -> Result<QueryBuilder<Sqlite>, sqlx::Error> {
    let mut sql = QueryBuilder::new("SELECT * FROM request WHERE true");
    for (column, value) in [
        (" AND client = ", &filter.client),
        (" AND model = ", &filter.model),
        (" AND server = ", &filter.server.as_ref().map(|server| server.0.clone())),
    ] {
        if let Some(value) = value {
            sql.push(column).push_bind(value.clone());
        }
    }
    if let Some(state) = filter.state {
        // Spelled out: else the index of those that failed is not used.
        let states = state.states().iter().map(word).collect::<Result<Vec<_>, _>>()?;
        sql.push(format!(" AND state IN ('{}')", states.join("', '")));
    }
    // With a sign, no index: they are in the order of their numbers already.
    for (column, value) in [
        (" AND +at_ms >= ", filter.since_ms),
        (" AND +at_ms < ", filter.until_ms),
        (" AND ttft_ms >= ", filter.slower_than_ms.map(i64::from)),
        (" AND id < ", filter.before.map(integer)),
    ] {
        if let Some(value) = value {
            sql.push(column).push_bind(value);
        }
    }
    if let Some(text) = &filter.find {
        sql.push(" AND (false");
        for column in ["client", "program", "asked", "model"] {
            sql.push(format!(" OR instr(lower({column}), "))
                .push_bind(text.to_ascii_lowercase())
                .push(") > 0");
        }
        sql.push(")");
    }
    sql.push(" ORDER BY id DESC LIMIT ").push_bind(most);
    Ok(sql)
}

fn record_of(row: &SqliteRow) -> Result<RequestRecord, sqlx::Error> {
    let at = Timestamp::from_millisecond(row.try_get("at_ms")?);
    let has_why = row.try_get::<Option<String>, _>("why")?.is_some();
    let fields = |column: &str| -> Result<Vec<String>, sqlx::Error> {
        let names: Option<String> = row.try_get(column)?;
        names.map_or_else(
            || Ok(Vec::new()),
            |names| serde_json::from_str(&names).map_err(|error| decode(column, error)),
        )
    };
    Ok(RequestRecord {
        id: unsigned(row, "id")?.unwrap_or_default(),
        at: at.map_err(|error| decode("at_ms", error))?,
        client: Client {
            key: row.try_get("key")?,
            program: row.try_get("program")?,
            pid: unsigned(row, "pid")?,
        },
        dialect: from_word(row, "dialect")?,
        asked: row.try_get("asked")?,
        server: row.try_get::<Option<String>, _>("server")?.map(ServerId::new),
        model: row.try_get("model")?,
        role: row.try_get("role")?,
        why: has_why.then(|| from_word(row, "why")).transpose()?,
        state: from_word(row, "state")?,
        queued_ms: unsigned(row, "queued_ms")?,
        load_ms: unsigned(row, "load_ms")?,
        ttft_ms: unsigned(row, "ttft_ms")?,
        total_ms: unsigned(row, "total_ms")?,
        tokens: Tokens {
            input: unsigned(row, "tokens_in")?,
            cached: unsigned(row, "tokens_cached")?,
            output: unsigned(row, "tokens_out")?,
            counted: row.try_get("counted")?,
        },
        most_output: unsigned(row, "most_output")?,
        decode_tok_s: row.try_get("decode_tok_s")?,
        finish: row.try_get("finish")?,
        status: unsigned(row, "status")?,
        error: row.try_get("error")?,
        detail: row.try_get("detail")?,
        streamed: row.try_get("streamed")?,
        governed: fields("governed")?,
        changed: fields("changed")?,
        parent: None,
    })
}

#[cfg(test)]
mod tests;
