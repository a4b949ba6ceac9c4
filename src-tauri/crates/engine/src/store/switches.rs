//! The journal of switches, and which model is active.

use super::{
    Store,
    rows::{decode, from_json, from_word, integer, json, unsigned, word},
};
use crate::ports::Journal;
use async_trait::async_trait;
use pilothouse_domain::{
    Timestamp,
    error::ApiError,
    model::ModelRef,
    residency::{CutOffSwitch, Kept},
    server::ServerId,
    switch::{Active, PastSwitch, SwitchPhase, SwitchReport},
};
use sqlx::{Row, query, query_as, query_scalar, sqlite::SqliteRow};

#[async_trait]
impl Journal for Store {
    async fn begin(&self, from: Option<&Active>, to: &ModelRef, at: Timestamp) -> Result<i64, ApiError> {
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
        .execute(&self.writer)
        .await
        .map_err(|e| self.cannot("write", &e))?;
        Ok(done.last_insert_rowid())
    }

    async fn mark(&self, id: i64, phase: SwitchPhase, to_was_loaded: Option<bool>) -> Result<(), ApiError> {
        let phase = word(&phase).map_err(|e| self.cannot("write", &e))?;
        query("UPDATE switch SET phase = ?, to_was_loaded = coalesce(?, to_was_loaded) WHERE id = ?")
            .bind(phase)
            .bind(to_was_loaded.map(i64::from))
            .bind(id)
            .execute(&self.writer)
            .await
            .map_err(|e| self.cannot("write", &e))?;
        Ok(())
    }

    async fn commit(&self, id: i64, active: &Active, clearing: bool) -> Result<(), ApiError> {
        self.write_commit(id, active, clearing).await.map_err(|e| self.cannot("write", &e))
    }

    async fn end(&self, report: &SwitchReport) -> Result<(), ApiError> {
        self.write_end(report).await.map_err(|e| self.cannot("write", &e))
    }

    async fn cut_off(&self) -> Result<Vec<CutOffSwitch>, ApiError> {
        let rows = query(CUT_OFF).fetch_all(&self.readers).await.map_err(|e| self.cannot("read", &e))?;
        let switches = rows.iter().map(cut_off_of).collect::<Result<_, _>>();
        switches.map_err(|e| self.cannot("read", &e))
    }

    /// How long they took is not known.
    async fn close_cut_off(&self, reason: &str) -> Result<(), ApiError> {
        query(
            "UPDATE switch SET outcome = coalesce(outcome, 'rolled_back'), clearing = 0, reason = coalesce(reason, ?) \
             WHERE outcome IS NULL OR clearing = 1",
        )
        .bind(reason)
        .execute(&self.writer)
        .await
        .map_err(|e| self.cannot("write", &e))?;
        Ok(())
    }

    async fn set_active(&self, active: Option<&Active>) -> Result<(), ApiError> {
        let done = match active {
            Some(active) => keep_active(active).execute(&self.writer).await,
            None => query("DELETE FROM active").execute(&self.writer).await,
        };
        done.map(drop).map_err(|e| self.cannot("write", &e))
    }

    async fn active(&self) -> Result<Option<Active>, ApiError> {
        let row = query("SELECT server, model, instance FROM active")
            .fetch_optional(&self.readers)
            .await
            .map_err(|e| self.cannot("read", &e))?;
        let active = row.map(|row| active_of(&row, "server", "model", "instance"));
        Ok(active.transpose().map_err(|e| self.cannot("read", &e))?.flatten())
    }

    async fn has_switches(&self) -> Result<bool, ApiError> {
        let row = query("SELECT 1 FROM switch LIMIT 1").fetch_optional(&self.readers).await;
        Ok(row.map_err(|e| self.cannot("read", &e))?.is_some())
    }

    /// The last five, newest first.
    async fn load_times(&self, to: &ModelRef) -> Result<Vec<u64>, ApiError> {
        let times: Vec<i64> = query_scalar(
            "SELECT load_ms FROM switch WHERE to_server = ? AND to_model = ? AND outcome = 'committed' \
             AND load_ms IS NOT NULL ORDER BY id DESC LIMIT 5",
        )
        .bind(to.server.as_str())
        .bind(&to.model)
        .fetch_all(&self.readers)
        .await
        .map_err(|e| self.cannot("read", &e))?;
        Ok(times.into_iter().filter_map(|ms| u64::try_from(ms).ok()).collect())
    }

    async fn set_stray(&self, model: &ModelRef, stray: bool) -> Result<(), ApiError> {
        let sql = match stray {
            true => "INSERT OR IGNORE INTO stray (server, model) VALUES (?, ?)",
            false => "DELETE FROM stray WHERE server = ? AND model = ?",
        };
        let done = query(sql).bind(model.server.as_str()).bind(&model.model).execute(&self.writer).await;
        done.map(drop).map_err(|e| self.cannot("write", &e))
    }

    async fn keep(&self, kept: &Kept, strays: &[(ModelRef, bool)]) -> Result<(), ApiError> {
        self.write_kept(kept, strays).await.map_err(|e| self.cannot("write", &e))
    }

    async fn kept(&self) -> Result<Kept, ApiError> {
        let row = query("SELECT document FROM held").fetch_optional(&self.readers).await;
        let row = row.map_err(|e| self.cannot("read", &e))?;
        let kept = row.map(|row| from_json(&row, "document")).transpose();
        Ok(kept.map_err(|e| self.cannot("read", &e))?.unwrap_or_default())
    }

    async fn try_to_write(&self) -> Result<(), ApiError> {
        // An immediate transaction takes the right to write, which is what others may hold.
        let tried = async { self.writer.begin_with("BEGIN IMMEDIATE").await?.rollback().await };
        tried.await.map_err(|e| self.cannot("write", &e))
    }

    async fn strays(&self) -> Result<Vec<ModelRef>, ApiError> {
        let rows = query_as("SELECT server, model FROM stray").fetch_all(&self.readers).await;
        let models = rows.map_err(|e| self.cannot("read", &e))?.into_iter();
        Ok(models
            .map(|(server, model): (String, String)| ModelRef { server: ServerId(server), model })
            .collect())
    }
}

/// Found by an index that holds switches under way only.
pub(super) const CUT_OFF: &str = "SELECT * FROM switch WHERE outcome IS NULL OR clearing = 1 ORDER BY id";

type Write = sqlx::query::Query<'static, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn keep_active(active: &Active) -> Write {
    query(
        "INSERT INTO active (only_row, server, model, instance, since_ms) VALUES (1, ?, ?, ?, ?) \
         ON CONFLICT (only_row) DO UPDATE SET server = excluded.server, model = excluded.model, \
         instance = excluded.instance, since_ms = excluded.since_ms",
    )
    .bind(active.server.to_string())
    .bind(active.model.clone())
    .bind(active.instance.clone())
    .bind(Timestamp::now().as_millisecond())
}

impl Store {
    async fn write_kept(&self, kept: &Kept, strays: &[(ModelRef, bool)]) -> Result<(), sqlx::Error> {
        let document = json(kept)?;
        let mut work = self.writer.begin().await?;
        match &kept.arrangement.active {
            Some(active) => keep_active(active).execute(&mut *work).await?,
            None => query("DELETE FROM active").execute(&mut *work).await?,
        };
        query(
            "INSERT INTO held (only_row, document) VALUES (1, ?) \
             ON CONFLICT (only_row) DO UPDATE SET document = excluded.document",
        )
        .bind(document)
        .execute(&mut *work)
        .await?;
        for (model, stray) in strays {
            let sql = match stray {
                true => "INSERT OR IGNORE INTO stray (server, model) VALUES (?, ?)",
                false => "DELETE FROM stray WHERE server = ? AND model = ?",
            };
            query(sql).bind(model.server.as_str()).bind(&model.model).execute(&mut *work).await?;
        }
        work.commit().await
    }

    async fn write_commit(&self, id: i64, active: &Active, clearing: bool) -> Result<(), sqlx::Error> {
        let mut transaction = self.writer.begin().await?;
        query("UPDATE switch SET outcome = 'committed', phase = 'committing', clearing = ? WHERE id = ?")
            .bind(i64::from(clearing))
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        keep_active(active).execute(&mut *transaction).await?;
        transaction.commit().await
    }

    async fn write_end(&self, report: &SwitchReport) -> Result<(), sqlx::Error> {
        query(
            "UPDATE switch SET outcome = coalesce(outcome, ?), clearing = 0, took_ms = ?, load_ms = ?, \
             first_token_ms = ?, steps = ?, answers_cut = ?, reason = ?, error = ? WHERE id = ?",
        )
        .bind(word(&report.outcome)?)
        .bind(integer(report.took_ms))
        .bind(report.load_ms.map(integer))
        .bind(report.first_token_ms.map(integer))
        .bind(json(&report.steps)?)
        .bind(i64::from(report.answers_cut))
        .bind(&report.reason)
        .bind(report.error.as_ref().map(json).transpose()?)
        .bind(report.switch_id)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Switches that ended, newest first, with their begins.
    pub async fn past_switches(&self, limit: u32) -> Result<Vec<PastSwitch>, ApiError> {
        let rows = query("SELECT * FROM switch WHERE outcome IS NOT NULL ORDER BY id DESC LIMIT ?")
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(|e| self.cannot("read", &e))?;
        let switches = rows.iter().map(past_of).collect::<Result<_, _>>();
        switches.map_err(|e| self.cannot("read", &e))
    }

    /// Switches that ended, newest first.
    pub async fn switches(&self, limit: u32) -> Result<Vec<SwitchReport>, ApiError> {
        let past = self.past_switches(limit).await?;
        Ok(past.into_iter().map(|one| one.report).collect())
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
        committed: row.try_get::<Option<String>, _>("outcome")?.is_some(),
        to_was_loaded: row.try_get::<Option<i64>, _>("to_was_loaded")?.map(|was| was != 0),
    })
}

fn target_of(row: &SqliteRow) -> Result<ModelRef, sqlx::Error> {
    Ok(ModelRef { server: ServerId(row.try_get("to_server")?), model: row.try_get("to_model")? })
}

fn past_of(row: &SqliteRow) -> Result<PastSwitch, sqlx::Error> {
    let started = Timestamp::from_millisecond(row.try_get("started_ms")?);
    let started_at = started.map_err(|e| decode("started_ms", e))?;
    Ok(PastSwitch { started_at, report: report_of(row)? })
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
        answers_cut: u32::try_from(row.try_get::<i64, _>("answers_cut")?).unwrap_or_default(),
        journalled: true,
        reason: row.try_get("reason")?,
        error: has_error.then(|| from_json(row, "error")).transpose()?,
    })
}
