//! Lists of runs: pages of the history, the newest of each model, series over time. Which runs are in a list is told by indices
//! and by the counts of `series` alone; whole rows are read only of those that are shown.

use super::{Store, rows::word};
use pilothouse_domain::{
    Timestamp,
    bench::{Run, RunState, comparison::NoiseFloor},
    error::ApiError,
    server::ServerId,
};
use sqlx::{query, query_as, query_scalar};

/// Which runs to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFilter {
    /// Only models whose name contains this, without regard to (ASCII) case.
    pub model: Option<String>,
    pub server: Option<ServerId>,
    /// By its name.
    pub plan: Option<String>,
    pub state: Option<RunState>,
    /// Only those that began then or later.
    pub since: Option<Timestamp>,
    /// Only those that began before.
    pub until: Option<Timestamp>,
    /// At most so many, the newest ones.
    pub limit: u32,
    /// Passes over so many newer ones.
    pub offset: u32,
}

impl Default for RunFilter {
    fn default() -> Self {
        Self {
            model: None,
            server: None,
            plan: None,
            state: None,
            since: None,
            until: None,
            limit: 50,
            offset: 0,
        }
    }
}

/// A part of the runs that a filter lets through, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct RunPage {
    pub runs: Vec<Run>,
    /// How many it lets through altogether.
    pub total: u64,
}

/// All runs of one model on one server under one plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesKey {
    pub server: ServerId,
    pub model: String,
    pub plan: String,
}

/// A series that has done runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesView {
    pub key: SeriesKey,
    /// Another number: its runs may say something else together.
    pub changes: i64,
}

/// Comparisons of a model with itself that tell the noise of a machine.
const NOISE_RUNS: i64 = 40;

/// Counts of each kind of run, filtered. The parameters of all filtered statements: model, server, plan, state.
pub(super) const COUNTED: &str = "SELECT coalesce(sum(runs), 0) AS matching, (SELECT coalesce(sum(runs), 0) FROM series) AS every \
     FROM series WHERE (?1 IS NULL OR instr(lower(model), lower(?1)) > 0) AND (?2 IS NULL OR server = ?2) \
     AND (?3 IS NULL OR plan = ?3) AND (?4 IS NULL OR state = ?4)";

/// Where many match: from the newest on, until as many are found as are wanted.
pub(super) const NEWEST_RUNS: &str = "SELECT run.* FROM (SELECT id, started_ms FROM run \
     WHERE (?1 IS NULL OR instr(lower(model), lower(?1)) > 0) AND (?2 IS NULL OR server = ?2) \
     AND (?3 IS NULL OR plan_name = ?3) AND (?4 IS NULL OR state = ?4) \
     ORDER BY started_ms DESC, id DESC LIMIT ?5 OFFSET ?6) AS page \
     CROSS JOIN run ON run.id = page.id ORDER BY page.started_ms DESC, page.id DESC";

/// Between two moments, found by the index that a page of them is read from. ?7 and ?8: from and before, in milliseconds.
pub(super) const NEWEST_BETWEEN: &str = "SELECT run.* FROM (SELECT id, started_ms FROM run \
     WHERE started_ms >= ?7 AND started_ms < ?8 \
     AND (?1 IS NULL OR instr(lower(model), lower(?1)) > 0) AND (?2 IS NULL OR server = ?2) \
     AND (?3 IS NULL OR plan_name = ?3) AND (?4 IS NULL OR state = ?4) \
     ORDER BY started_ms DESC, id DESC LIMIT ?5 OFFSET ?6) AS page \
     CROSS JOIN run ON run.id = page.id ORDER BY page.started_ms DESC, page.id DESC";

/// How many there are between two moments: by the index alone. ?5 and ?6: from and before, in milliseconds.
pub(super) const COUNTED_BETWEEN: &str = "SELECT count(*) FROM run WHERE started_ms >= ?5 AND started_ms < ?6 \
     AND (?1 IS NULL OR instr(lower(model), lower(?1)) > 0) AND (?2 IS NULL OR server = ?2) \
     AND (?3 IS NULL OR plan_name = ?3) AND (?4 IS NULL OR state = ?4)";

/// Where few match: all that match, kind by kind, of which the newest are taken.
pub(super) const NEWEST_OF_FEW: &str = "SELECT run.* FROM (SELECT listed.id, listed.started_ms \
     FROM (SELECT DISTINCT server, model, state FROM series WHERE runs > 0 \
       AND (?1 IS NULL OR instr(lower(model), lower(?1)) > 0) AND (?2 IS NULL OR server = ?2) \
       AND (?3 IS NULL OR plan = ?3) AND (?4 IS NULL OR state = ?4)) AS one \
     CROSS JOIN run AS listed ON listed.server = one.server AND listed.model = one.model AND listed.state = one.state \
     WHERE (?3 IS NULL OR listed.plan_name = ?3) \
     ORDER BY listed.started_ms DESC, listed.id DESC LIMIT ?5 OFFSET ?6) AS page \
     CROSS JOIN run ON run.id = page.id ORDER BY page.started_ms DESC, page.id DESC";

pub(super) const NEWEST_OF_MODELS: &str = "SELECT run.* FROM (SELECT DISTINCT model FROM series \
     WHERE server = ?1 AND state = 'done' AND runs > 0) AS one CROSS JOIN run ON run.id IN \
     (SELECT newest.id FROM run AS newest WHERE newest.server = ?1 AND newest.model = one.model \
     AND newest.state = 'done' ORDER BY newest.started_ms DESC, newest.id DESC LIMIT ?2) \
     ORDER BY run.started_ms DESC, run.id DESC";

pub(super) const ALL_SERIES: &str = "SELECT server, model, plan, sum(changes) AS changes FROM series \
     WHERE (?1 IS NULL OR instr(lower(model), lower(?1)) > 0) AND (?2 IS NULL OR server = ?2) \
     AND (?3 IS NULL OR plan = ?3) GROUP BY server, model, plan HAVING sum(runs * (state = 'done')) > 0 \
     ORDER BY max(newest_ms) DESC, server, model, plan LIMIT ?4";

pub(super) const OF_ITSELF: &str = "SELECT run.* FROM (SELECT id, started_ms FROM run \
     WHERE of_itself = 1 AND state = 'done' ORDER BY started_ms DESC, id DESC LIMIT ?1) AS page \
     CROSS JOIN run ON run.id = page.id ORDER BY page.started_ms DESC, page.id DESC";

pub(super) const ITSELF_SINCE: &str =
    "SELECT EXISTS (SELECT 1 FROM run WHERE of_itself = 1 AND state = 'done' AND started_ms >= ?1)";

pub(super) const NEWEST_OF_EACH: &str = "SELECT run.id FROM (SELECT (SELECT newest.id FROM run AS newest \
     WHERE newest.server = one.server AND newest.model = one.model AND newest.state = 'done' \
     AND newest.plan_name = one.plan AND newest.machine = one.machine \
     AND EXISTS (SELECT 1 FROM trial WHERE trial.run = newest.id AND phase = 'measured' AND flaw IS NULL) \
     ORDER BY newest.started_ms DESC, newest.id DESC LIMIT 1) AS id \
     FROM series AS one WHERE one.state = 'done' AND one.runs > 0) AS newest \
     CROSS JOIN run ON run.id = newest.id ORDER BY run.started_ms DESC, run.id DESC LIMIT ?1";

/// Whether it costs less to look at all runs that match than to look, from the newest on, for a page of them. Where they lie
/// evenly among the others, that takes `wanted * every / matching` looks.
fn are_few(matching: u64, every: u64, wanted: u64) -> bool {
    u128::from(matching) * u128::from(matching) < u128::from(wanted) * u128::from(every)
}

impl Store {
    /// Past runs and the one under way, newest first.
    pub async fn runs(&self, filter: &RunFilter) -> Result<RunPage, ApiError> {
        if filter.since.is_some() || filter.until.is_some() {
            return self.runs_between(filter).await;
        }
        let wanted = u64::from(filter.limit) + u64::from(filter.offset);
        let (total, every) = self.counted(filter).await.map_err(|e| self.cannot("read", &e))?;
        let sql = if are_few(total, every, wanted) { NEWEST_OF_FEW } else { NEWEST_RUNS };
        let rows = query(sql)
            .bind(&filter.model)
            .bind(filter.server.as_ref().map(ServerId::as_str))
            .bind(&filter.plan)
            .bind(filter.state.as_ref().map(word).transpose().map_err(|e| self.cannot("read", &e))?)
            .bind(filter.limit)
            .bind(filter.offset)
            .fetch_all(&self.readers)
            .await
            .map_err(|e| self.cannot("read", &e))?;
        Ok(RunPage { runs: self.summaries(rows).await?, total })
    }

    async fn runs_between(&self, filter: &RunFilter) -> Result<RunPage, ApiError> {
        let from = filter.since.map_or(i64::MIN, |since| since.as_millisecond());
        let before = filter.until.map_or(i64::MAX, |until| until.as_millisecond());
        let read = async {
            let server = filter.server.as_ref().map(ServerId::as_str);
            let state = filter.state.as_ref().map(word).transpose()?;
            let total: i64 = query_scalar(COUNTED_BETWEEN)
                .bind(&filter.model)
                .bind(server)
                .bind(&filter.plan)
                .bind(&state)
                .bind(from)
                .bind(before)
                .fetch_one(&self.readers)
                .await?;
            let page = query(NEWEST_BETWEEN).bind(&filter.model).bind(server).bind(&filter.plan).bind(&state);
            let page = page.bind(filter.limit).bind(filter.offset).bind(from).bind(before);
            Ok::<_, sqlx::Error>((page.fetch_all(&self.readers).await?, total.unsigned_abs()))
        };
        let (rows, total) = read.await.map_err(|e| self.cannot("read", &e))?;
        Ok(RunPage { runs: self.summaries(rows).await?, total })
    }

    /// How many runs match, and how many there are.
    async fn counted(&self, filter: &RunFilter) -> Result<(u64, u64), sqlx::Error> {
        let (matching, every): (i64, i64) = query_as(COUNTED)
            .bind(&filter.model)
            .bind(filter.server.as_ref().map(ServerId::as_str))
            .bind(&filter.plan)
            .bind(filter.state.as_ref().map(word).transpose()?)
            .fetch_one(&self.readers)
            .await?;
        Ok((matching.unsigned_abs(), every.unsigned_abs()))
    }

    /// The newest done runs of each model on one server, newest first.
    pub async fn newest_runs(&self, server: &ServerId, of_each: u32) -> Result<Vec<Run>, ApiError> {
        let rows = query(NEWEST_OF_MODELS).bind(server.as_str()).bind(of_each);
        let rows = rows.fetch_all(&self.readers).await.map_err(|e| self.cannot("read", &e))?;
        self.summaries(rows).await
    }

    /// Which series there are, those with the newest runs first.
    pub async fn all_series(&self, filter: &RunFilter) -> Result<Vec<SeriesView>, ApiError> {
        let rows = query_as(ALL_SERIES)
            .bind(&filter.model)
            .bind(filter.server.as_ref().map(ServerId::as_str))
            .bind(&filter.plan)
            .bind(filter.limit)
            .fetch_all(&self.readers)
            .await
            .map_err(|e| self.cannot("read", &e))?;
        let view = |(server, model, plan, changes): (String, String, String, i64)| SeriesView {
            key: SeriesKey { server: ServerId::new(server), model, plan },
            changes,
        };
        Ok(rows.into_iter().map(view).collect())
    }

    /// The newest done run with figures of each model on each server, by plan and machine; newest first.
    pub async fn newest_of_each(&self, limit: u32) -> Result<Vec<i64>, ApiError> {
        let rows = query_scalar(NEWEST_OF_EACH).bind(limit);
        rows.fetch_all(&self.readers).await.map_err(|e| self.cannot("read", &e))
    }

    /// Whether a model was compared with itself since then, on however busy a machine.
    pub async fn scattering_was_measured(&self, since: Timestamp) -> Result<bool, ApiError> {
        let found = query_scalar(ITSELF_SINCE).bind(since.as_millisecond());
        found.fetch_one(&self.readers).await.map_err(|e| self.cannot("read", &e))
    }

    /// What comparisons of a model with itself show here; `None`: there was none.
    pub async fn noise_floor(&self) -> Result<Option<NoiseFloor>, ApiError> {
        let rows = query(OF_ITSELF).bind(NOISE_RUNS);
        let rows = rows.fetch_all(&self.readers).await.map_err(|e| self.cannot("read", &e))?;
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

#[cfg(test)]
mod tests;
