//! What instances took at their loads.

use super::{
    Store,
    rows::{decode, integer, unsigned},
};
use pilothouse_domain::{
    Timestamp,
    error::ApiError,
    learned::{LoadKey, MeasuredLoad},
    server::ServerId,
};
use sqlx::{Row, query, sqlite::SqliteRow};

/// More loads of one model than this teach nothing new.
const KEPT: i64 = 200;
/// So many of all models are taken up at a start.
pub(super) const REMEMBERED: i64 = 2000;
pub(super) const NEWEST_LOADS: &str = "SELECT * FROM load ORDER BY id DESC LIMIT ?";

impl Store {
    /// Writes a load, or its new peak when `row` says where it stands; returns its row.
    pub async fn keep_load(&self, row: Option<i64>, load: &MeasuredLoad) -> Result<i64, ApiError> {
        match row {
            Some(row) => self.patiently(|| self.raise_peak(row, load.peak_bytes)).await.map(|()| row),
            None => self.patiently(|| self.insert_load(load)).await,
        }
    }

    async fn raise_peak(&self, row: i64, peak_bytes: u64) -> Result<(), sqlx::Error> {
        query("UPDATE load SET peak_bytes = max(peak_bytes, ?) WHERE id = ?")
            .bind(integer(peak_bytes))
            .bind(row)
            .execute(&self.writer)
            .await
            .map(|_| ())
    }

    async fn insert_load(&self, load: &MeasuredLoad) -> Result<i64, sqlx::Error> {
        let key = &load.key;
        let done = query(
            "INSERT INTO load (at_ms, server, server_version, model, size_bytes, context, parallel, kv, on_gpu, \
             peak_bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(load.at.as_millisecond())
        .bind(key.server.as_str())
        .bind(&key.server_version)
        .bind(&key.model)
        .bind(key.size_bytes.map(integer))
        .bind(integer(key.wish.context))
        .bind(key.wish.parallel)
        .bind(key.kv())
        .bind(key.on_gpu)
        .bind(integer(load.peak_bytes))
        .execute(&self.writer)
        .await?;
        query(
            "DELETE FROM load WHERE server = ?1 AND model = ?2 AND id NOT IN \
             (SELECT id FROM load WHERE server = ?1 AND model = ?2 ORDER BY id DESC LIMIT ?3)",
        )
        .bind(key.server.as_str())
        .bind(&key.model)
        .bind(KEPT)
        .execute(&self.writer)
        .await?;
        Ok(done.last_insert_rowid())
    }

    /// The newest loads, newest first.
    pub async fn loads(&self) -> Result<Vec<MeasuredLoad>, ApiError> {
        let rows = query(NEWEST_LOADS).bind(REMEMBERED).fetch_all(&self.readers).await;
        let loads = rows.and_then(|rows| rows.iter().map(load_of).collect());
        loads.map_err(|error| self.cannot("read", &error))
    }
}

fn load_of(row: &SqliteRow) -> Result<MeasuredLoad, sqlx::Error> {
    let at = Timestamp::from_millisecond(row.try_get("at_ms")?);
    let kv: String = row.try_get("kv")?;
    let number = |column| -> Result<u64, sqlx::Error> { Ok(unsigned(row, column)?.unwrap_or_default()) };
    let parallel = unsigned(row, "parallel")?.unwrap_or(1u32);
    Ok(MeasuredLoad {
        key: LoadKey {
            server: ServerId::new(row.try_get::<String, _>("server")?),
            server_version: row.try_get("server_version")?,
            model: row.try_get("model")?,
            size_bytes: unsigned(row, "size_bytes")?,
            wish: LoadKey::wish_of(number("context")?, parallel, &kv),
            on_gpu: row.try_get("on_gpu")?,
        },
        at: at.map_err(|error| decode("at_ms", error))?,
        peak_bytes: number("peak_bytes")?,
    })
}
