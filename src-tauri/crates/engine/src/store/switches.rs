//! The journal of switches, and which model is active.

use super::{
    Store,
    rows::{from_json, from_word, integer, json, unsigned, word},
};
use pilothouse_domain::{
    Timestamp,
    error::ApiError,
    model::ModelRef,
    server::ServerId,
    switch::{Active, SwitchPhase, SwitchReport},
};
use sqlx::{Row, query, query_scalar, sqlite::SqliteRow};

/// A switch that a dead engine left under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutOffSwitch {
    pub id: i64,
    /// What was active before.
    pub from: Option<Active>,
    pub to: ModelRef,
}

impl Store {
    /// Writes that a switch has begun; returns its number.
    pub async fn begin_switch(
        &self,
        from: Option<&Active>,
        to: &ModelRef,
        at: Timestamp,
    ) -> Result<i64, ApiError> {
        let done = query(
            "INSERT INTO switch (started_ms, from_server, from_model, from_instance, to_server, to_model, phase) \
             VALUES (?, ?, ?, ?, ?, ?, 'preparing')",
        )
        .bind(at.as_millisecond())
        .bind(from.map(|active| active.server.as_str()))
        .bind(from.map(|active| active.model.as_str()))
        .bind(from.map(|active| active.instance.as_str()))
        .bind(to.server.as_str())
        .bind(&to.model)
        .execute(&self.pool)
        .await
        .map_err(|e| self.cannot("write", &e))?;
        Ok(done.last_insert_rowid())
    }

    /// Writes the phase that a switch enters.
    pub async fn mark_switch(&self, id: i64, phase: SwitchPhase) -> Result<(), ApiError> {
        let phase = word(&phase).map_err(|e| self.cannot("write", &e))?;
        query("UPDATE switch SET phase = ? WHERE id = ? AND outcome IS NULL")
            .bind(phase)
            .bind(id)
            .execute(&self.pool)
            .await
            .map_err(|e| self.cannot("write", &e))?;
        Ok(())
    }

    /// Writes how a switch ended. A dry run is not kept.
    pub async fn end_switch(&self, report: &SwitchReport) -> Result<(), ApiError> {
        if report.dry_run {
            return Ok(());
        }
        self.update_switch(report).await.map_err(|e| self.cannot("write", &e))
    }

    async fn update_switch(&self, report: &SwitchReport) -> Result<(), sqlx::Error> {
        query(
            "UPDATE switch SET outcome = ?, took_ms = ?, load_ms = ?, first_token_ms = ?, steps = ?, reason = ?, \
             error = ? WHERE id = ?",
        )
        .bind(word(&report.outcome)?)
        .bind(integer(report.took_ms))
        .bind(report.load_ms.map(integer))
        .bind(report.first_token_ms.map(integer))
        .bind(json(&report.steps)?)
        .bind(&report.reason)
        .bind(report.error.as_ref().map(json).transpose()?)
        .bind(report.switch_id)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Switches without an outcome, oldest first. Right after the start these were cut off with the last engine.
    pub async fn unfinished_switches(&self) -> Result<Vec<CutOffSwitch>, ApiError> {
        let rows = query("SELECT * FROM switch WHERE outcome IS NULL ORDER BY id")
            .fetch_all(&self.pool)
            .await
            .map_err(|e| self.cannot("read", &e))?;
        let switches = rows.iter().map(cut_off_of).collect::<Result<_, _>>();
        switches.map_err(|e| self.cannot("read", &e))
    }

    /// Closes a switch that was cut off, as rolled back: whatever was active is looked up anew. How long it took is
    /// not known.
    pub async fn close_cut_off_switch(&self, id: i64) -> Result<(), ApiError> {
        query(
            "UPDATE switch SET outcome = 'rolled_back', reason = 'Pilothouse ended while it was under way.' \
             WHERE id = ? AND outcome IS NULL",
        )
        .bind(id)
        .execute(&self.pool)
        .await
        .map_err(|e| self.cannot("write", &e))?;
        Ok(())
    }

    /// Switches that ended, newest first.
    pub async fn switches(&self, limit: u32) -> Result<Vec<SwitchReport>, ApiError> {
        let rows = query("SELECT * FROM switch WHERE outcome IS NOT NULL ORDER BY id DESC LIMIT ?")
            .bind(limit)
            .fetch_all(&self.pool)
            .await
            .map_err(|e| self.cannot("read", &e))?;
        let reports = rows.iter().map(report_of).collect::<Result<_, _>>();
        reports.map_err(|e| self.cannot("read", &e))
    }

    /// How long the last five committed loads of a model took, in milliseconds, newest first.
    pub async fn load_times(&self, server: &ServerId, model: &str) -> Result<Vec<u64>, ApiError> {
        let times: Vec<i64> = query_scalar(
            "SELECT load_ms FROM switch WHERE to_server = ? AND to_model = ? AND outcome = 'committed' \
             AND load_ms IS NOT NULL ORDER BY id DESC LIMIT 5",
        )
        .bind(server.as_str())
        .bind(model)
        .fetch_all(&self.pool)
        .await
        .map_err(|e| self.cannot("read", &e))?;
        Ok(times.into_iter().filter_map(|ms| u64::try_from(ms).ok()).collect())
    }

    /// Remembers which model is active, for the next start.
    pub async fn set_active(&self, active: Option<&Active>) -> Result<(), ApiError> {
        let done =
            match active {
                Some(active) => query(
                    "INSERT INTO active (only_row, server, model, instance, since_ms) VALUES (1, ?, ?, ?, ?) \
                     ON CONFLICT (only_row) DO UPDATE SET server = excluded.server, model = excluded.model, \
                     instance = excluded.instance, since_ms = excluded.since_ms",
                )
                .bind(active.server.as_str())
                .bind(&active.model)
                .bind(&active.instance)
                .bind(Timestamp::now().as_millisecond())
                .execute(&self.pool)
                .await,
                None => query("DELETE FROM active").execute(&self.pool).await,
            };
        done.map(drop).map_err(|e| self.cannot("write", &e))
    }

    /// The model that was active last.
    pub async fn active(&self) -> Result<Option<Active>, ApiError> {
        let row = query("SELECT server, model, instance FROM active")
            .fetch_optional(&self.pool)
            .await
            .map_err(|e| self.cannot("read", &e))?;
        let active = row.map(|row| active_of(&row, "server", "model", "instance"));
        Ok(active.transpose().map_err(|e| self.cannot("read", &e))?.flatten())
    }
}

/// `None` when the columns are NULL.
fn active_of(
    row: &SqliteRow,
    server: &str,
    model: &str,
    instance: &str,
) -> Result<Option<Active>, sqlx::Error> {
    let Some(server) = row.try_get::<Option<String>, _>(server)? else {
        return Ok(None);
    };
    Ok(Some(Active {
        server: ServerId(server),
        model: row.try_get(model)?,
        instance: row.try_get(instance)?,
    }))
}

fn cut_off_of(row: &SqliteRow) -> Result<CutOffSwitch, sqlx::Error> {
    Ok(CutOffSwitch {
        id: row.try_get("id")?,
        from: active_of(row, "from_server", "from_model", "from_instance")?,
        to: target_of(row)?,
    })
}

fn target_of(row: &SqliteRow) -> Result<ModelRef, sqlx::Error> {
    Ok(ModelRef { server: ServerId(row.try_get("to_server")?), model: row.try_get("to_model")? })
}

fn report_of(row: &SqliteRow) -> Result<SwitchReport, sqlx::Error> {
    let from = active_of(row, "from_server", "from_model", "from_instance")?;
    let has_error = row.try_get::<Option<String>, _>("error")?.is_some();
    Ok(SwitchReport {
        switch_id: row.try_get("id")?,
        from: from.map(|active| active.reference()),
        to: target_of(row)?,
        outcome: from_word(row, "outcome")?,
        dry_run: false,
        // The report has no "not known"; a cut-off switch says so in its reason.
        took_ms: unsigned(row, "took_ms")?.unwrap_or_default(),
        load_ms: unsigned(row, "load_ms")?,
        first_token_ms: unsigned(row, "first_token_ms")?,
        steps: from_json(row, "steps")?,
        reason: row.try_get("reason")?,
        error: has_error.then(|| from_json(row, "error")).transpose()?,
    })
}
