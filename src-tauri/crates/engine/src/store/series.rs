//! The figures of a series of runs: only what is watched is read, so that a long one costs little.

use super::{
    Store,
    rows::{decode, from_json, unsigned},
    runs::Shared,
};
use pilothouse_domain::{
    Timestamp,
    bench::{
        BenchPlan, Fingerprint, METRICS_VERSION,
        quiet::Disturbance,
        series::{Figures, Series, SeriesRun},
    },
    error::ApiError,
    server::ServerId,
};
use sqlx::{Row, ValueRef, query, sqlite::SqliteRow};
use std::collections::HashMap;

pub(super) const OF_SERIES: &str = "SELECT run.id, run.started_ms, plan, fingerprint, disturbed, summary, metrics_version, \
     peak_memory_bytes FROM (SELECT id, started_ms FROM run WHERE server = ?1 AND model = ?2 \
     AND state = 'done' AND plan_name = ?3 ORDER BY started_ms DESC, id DESC LIMIT ?4) AS page \
     CROSS JOIN run ON run.id = page.id ORDER BY page.started_ms DESC, page.id DESC";

pub(super) const THESE_RUNS: &str =
    "SELECT run.* FROM json_each(?1) AS one CROSS JOIN run ON run.id = one.value";

impl Store {
    /// What the newest `limit` runs of a model on a server under a plan that are done say together. Runs that were disturbed, or
    /// whose plan asks for something else each time, are left out. Errors: store_unavailable.
    pub async fn series(
        &self,
        server: &ServerId,
        model: &str,
        plan: &str,
        limit: u32,
    ) -> Result<Series, ApiError> {
        let rows = query(OF_SERIES).bind(server.as_str()).bind(model).bind(plan).bind(limit);
        let rows = rows.fetch_all(&self.readers).await.map_err(|e| self.cannot("read", &e))?;
        let read: Result<Vec<Option<Counted>>, sqlx::Error> = {
            let (mut plans, mut fingerprints) = (Shared::default(), Shared::default());
            rows.iter().map(|row| counted(row, &mut plans, &mut fingerprints)).collect()
        };
        let counted: Vec<Counted> =
            read.map_err(|e| self.cannot("read", &e))?.into_iter().flatten().collect();
        let bare: Vec<i64> = counted.iter().filter_map(Counted::bare).collect();
        let mut summed = self.summed_up(&bare).await?;
        let runs = counted.into_iter().filter_map(|one| match one {
            Counted::Read(run) => Some(run),
            Counted::Bare(id) => summed.remove(&id),
        });
        let runs = runs.collect();
        Ok(Series { server: server.clone(), model: model.into(), plan: plan.into(), runs })
    }

    /// Runs that keep no summary, by their trials.
    async fn summed_up(&self, ids: &[i64]) -> Result<HashMap<i64, SeriesRun>, ApiError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = query(THESE_RUNS).bind(format!("{ids:?}")).fetch_all(&self.readers).await;
        let runs = self.summaries(rows.map_err(|e| self.cannot("read", &e))?).await?;
        Ok(runs.iter().filter_map(SeriesRun::of).map(|run| (run.run_id, run)).collect())
    }
}

/// A run that counts.
enum Counted {
    Read(SeriesRun),
    /// One without a summary by the formulas of today.
    Bare(i64),
}

impl Counted {
    fn bare(&self) -> Option<i64> {
        match self {
            Self::Read(_) => None,
            Self::Bare(id) => Some(*id),
        }
    }
}

/// `None`: it counts nothing.
fn counted(
    row: &SqliteRow,
    plans: &mut Shared<BenchPlan>,
    fingerprints: &mut Shared<Fingerprint>,
) -> Result<Option<Counted>, sqlx::Error> {
    let id: i64 = row.try_get("id")?;
    if !plans.read(row, "plan")?.repeats() {
        return Ok(None);
    }
    if !row.try_get_raw("disturbed")?.is_null()
        && !from_json::<Vec<Disturbance>>(row, "disturbed")?.is_empty()
    {
        return Ok(None);
    }
    let version: u32 = row.try_get("metrics_version")?;
    let summary: Option<&str> = row.try_get("summary")?;
    let figures = summary
        .filter(|_| version == METRICS_VERSION)
        .and_then(|text| serde_json::from_str::<Figures>(text).ok());
    let Some(figures) = figures else { return Ok(Some(Counted::Bare(id))) };
    let started = Timestamp::from_millisecond(row.try_get("started_ms")?);
    Ok(Some(Counted::Read(SeriesRun {
        run_id: id,
        at: started.map_err(|e| decode("started_ms", e))?,
        fingerprint: fingerprints.read(row, "fingerprint")?,
        figures: Figures { peak_memory_bytes: unsigned(row, "peak_memory_bytes")?, ..figures },
    })))
}
