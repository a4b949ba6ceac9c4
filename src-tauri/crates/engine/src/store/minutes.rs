//! The gauges' past: minutes of the last 30 days.

use super::{
    Store,
    rows::{decode, unsigned},
};
use pilothouse_domain::{
    error::ApiError,
    gauge_history::{Bucket, SERIES, Stat},
};
use sqlx::{AssertSqlSafe, Row, query, sqlite::SqliteRow};

/// Rows that are deleted by one write.
const FORGOTTEN_AT_ONCE: i64 = 500;

impl Store {
    /// Keeps minutes. Of two with the same begin, the one with more samples stays: after a restart, or when the clock was
    /// set back.
    pub async fn add_minutes(&self, minutes: &[Bucket]) -> Result<(), ApiError> {
        self.patiently(|| self.insert_minutes(minutes)).await
    }

    async fn insert_minutes(&self, minutes: &[Bucket]) -> Result<(), sqlx::Error> {
        let names = each_series(|name| format!("{name}_low, {name}_mean, {name}_high"));
        let marks = marks(1..=4 + 3 * SERIES.len());
        let sql = format!(
            "INSERT OR REPLACE INTO gauge_minute (at_ms, count, covered_ms, after_gap, {names}) \
             SELECT {marks} WHERE NOT EXISTS \
             (SELECT 1 FROM gauge_minute WHERE at_ms = ?1 AND count > ?2)"
        );
        let mut transaction = self.writer.begin().await?;
        for minute in minutes {
            // The text is made of our own names.
            let mut insert = query(AssertSqlSafe(sql.clone()))
                .bind(minute.at_ms)
                .bind(minute.count)
                // It weighs the means, so it must not be 0.
                .bind(minute.covered_ms.max(1))
                .bind(minute.after_gap);
            for stat in &minute.stats {
                let known = |figure: f32| stat.is_known().then_some(f64::from(figure));
                insert = insert.bind(known(stat.low)).bind(known(stat.mean)).bind(known(stat.high));
            }
            insert.execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }

    /// The minutes that begin in `from_ms..to_ms`, folded into buckets of `step_ms` (whole minutes), oldest first.
    pub async fn minutes(&self, from_ms: i64, to_ms: i64, step_ms: i64) -> Result<Vec<Bucket>, ApiError> {
        self.read_minutes(from_ms, to_ms, step_ms).await.map_err(|e| self.cannot("read", &e))
    }

    async fn read_minutes(&self, from: i64, to: i64, step: i64) -> Result<Vec<Bucket>, sqlx::Error> {
        let folded = each_series(|name| {
            format!(
                "min({name}_low) AS {name}_low, max({name}_high) AS {name}_high, \
                 sum({name}_mean * covered_ms) / sum(iif({name}_mean IS NULL, NULL, covered_ms)) AS {name}_mean"
            )
        });
        // A line may not lead over what was not sampled before the first minute of a bucket; that one knows.
        let sql = format!(
            "SELECT folded.*, first.after_gap FROM (\
               SELECT at_ms / ?3 * ?3 AS at_ms, min(at_ms) AS first_ms, sum(count) AS count, \
               sum(covered_ms) AS covered_ms, {folded} \
               FROM gauge_minute WHERE at_ms >= ?1 AND at_ms < ?2 GROUP BY at_ms / ?3\
             ) AS folded JOIN gauge_minute AS first ON first.at_ms = folded.first_ms ORDER BY folded.at_ms"
        );
        let rows =
            query(AssertSqlSafe(sql)).bind(from).bind(to).bind(step.max(1)).fetch_all(&self.readers).await?;
        rows.iter().map(bucket_of).collect()
    }

    /// Deletes the minutes before a moment, a few at a time: who else writes goes between.
    pub async fn forget_minutes(&self, before_ms: i64) -> Result<(), ApiError> {
        loop {
            let delete = || {
                query(
                    "DELETE FROM gauge_minute WHERE at_ms IN \
                     (SELECT at_ms FROM gauge_minute WHERE at_ms < ? ORDER BY at_ms LIMIT ?)",
                )
                .bind(before_ms)
                .bind(FORGOTTEN_AT_ONCE)
                .execute(&self.writer)
            };
            if self.patiently(delete).await?.rows_affected() < FORGOTTEN_AT_ONCE.unsigned_abs() {
                return Ok(());
            }
        }
    }
}

fn each_series(text: impl Fn(&str) -> String) -> String {
    SERIES.map(text).join(", ")
}

/// "?3, ?4, …"
fn marks(numbers: std::ops::RangeInclusive<usize>) -> String {
    numbers.map(|number| format!("?{number}")).collect::<Vec<_>>().join(", ")
}

fn bucket_of(row: &SqliteRow) -> Result<Bucket, sqlx::Error> {
    let covered_ms: u32 = unsigned(row, "covered_ms")?.unwrap_or_default();
    let mut stats = [Stat::NONE; SERIES.len()];
    for (stat, name) in stats.iter_mut().zip(SERIES) {
        let figure =
            |part: &str| -> Result<Option<f64>, sqlx::Error> { row.try_get(&*format!("{name}_{part}")) };
        if let Some(mean) = figure("mean")? {
            let lost = || decode(name, "its least or greatest value is missing");
            let (low, high) = (figure("low")?.ok_or_else(lost)?, figure("high")?.ok_or_else(lost)?);
            let (low, mean, high) = (low as f32, mean as f32, high as f32);
            *stat = Stat { weight_ms: covered_ms.max(1), low, mean: mean.max(low).min(high), high };
        }
    }
    Ok(Bucket {
        at_ms: row.try_get("at_ms")?,
        count: unsigned(row, "count")?.unwrap_or_default(),
        covered_ms,
        after_gap: row.try_get("after_gap")?,
        stats,
    })
}
