//! How figures went over the runs. What a series says is reckoned once and kept until one of its runs changes: a view that asks
//! after each run would else read all of the history each time.

use super::Inner;
use crate::{
    api::{CallResult, Reply},
    store::{RunFilter, SeriesKey, SeriesView, Store},
};
use pilothouse_domain::{
    bench::{series::SeriesMetric, trend::Trend},
    error::ApiError,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The longest series that is looked at.
const SERIES_RUNS: u32 = 400;
/// The most series of one answer, those with the newest runs.
const MOST_SERIES: u32 = 200;
/// The figures that are watched.
const WATCHED: [SeriesMetric; 2] = [SeriesMetric::DecodeTokS, SeriesMetric::TtftMs];
/// Series that are kept: those of an answer with each of the six figures. Beyond that all are forgotten.
const MOST_KEPT: usize = 6 * MOST_SERIES as usize;

/// Which trends are asked for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub filter: RunFilter,
    /// `None`: those that are watched.
    pub metric: Option<SeriesMetric>,
    /// At most so many of the newest points of each; `None`: all that are looked at.
    pub points: Option<u32>,
}

/// One figure of a series, and for which state of its runs it was reckoned.
type Kept = (i64, Option<Arc<Trend>>);

/// What was reckoned so far.
#[derive(Debug, Default)]
pub(crate) struct TrendCache(Mutex<HashMap<(SeriesKey, SeriesMetric), Kept>>);

impl TrendCache {
    fn get(&self, key: &SeriesKey, metric: SeriesMetric, changes: i64) -> Option<Option<Arc<Trend>>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&(key.clone(), metric)).filter(|(of, _)| *of == changes).map(|(_, trend)| trend.clone())
    }

    fn put(&self, key: &SeriesKey, metric: SeriesMetric, changes: i64, trend: Option<Arc<Trend>>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert((key.clone(), metric), (changes, trend));
    }

    /// The figures of one series. Errors: store_unavailable.
    async fn of(
        &self,
        store: &Store,
        series: &SeriesView,
        metrics: &[SeriesMetric],
        accepted: &Arc<Vec<i64>>,
    ) -> Result<Vec<Arc<Trend>>, ApiError> {
        let SeriesView { key, changes } = series;
        let known: Option<Vec<Option<Arc<Trend>>>> =
            metrics.iter().map(|metric| self.get(key, *metric, *changes)).collect();
        if let Some(known) = known {
            return Ok(known.into_iter().flatten().collect());
        }
        let runs = store.series(&key.server, &key.model, &key.plan, SERIES_RUNS).await?;
        let (wanted, accepted) = (metrics.to_vec(), Arc::clone(accepted));
        let work = tokio::task::spawn_blocking(move || {
            let trend = |metric: &SeriesMetric| Trend::of(&runs, *metric, &accepted).map(Arc::new);
            wanted.iter().map(trend).collect::<Vec<_>>()
        });
        let trends =
            work.await.map_err(|error| ApiError::internal(format!("The trends broke off: {error}.")))?;
        for (metric, trend) in metrics.iter().zip(&trends) {
            self.put(key, *metric, *changes, trend.clone());
        }
        Ok(trends.into_iter().flatten().collect())
    }
}

impl Inner {
    pub(super) async fn trends(&self, asked: Asked) -> CallResult {
        let store = self.store()?;
        let filter = RunFilter { limit: asked.filter.limit.clamp(1, MOST_SERIES), ..asked.filter };
        let series = store.all_series(&filter).await?;
        if series.is_empty() {
            self.want_known(&filter)?;
        }
        let accepted = Arc::new(store.accepted_levels().await?);
        let metrics = asked.metric.map_or_else(|| WATCHED.to_vec(), |metric| vec![metric]);
        let mut trends = vec![];
        for one in &series {
            let of_series = self.trend_cache.of(store, one, &metrics, &accepted).await?;
            trends.extend(of_series.iter().map(|trend| shortened(trend, asked.points)));
        }
        Ok(Reply::Trends { trends })
    }
}

fn shortened(trend: &Trend, points: Option<u32>) -> Trend {
    let most = points.map_or(usize::MAX, |points| points as usize);
    let from = trend.points.len().saturating_sub(most);
    Trend {
        points: trend.points[from..].to_vec(),
        server: trend.server.clone(),
        model: trend.model.clone(),
        plan: trend.plan.clone(),
        metric: trend.metric,
        watch: trend.watch.clone(),
        change_points: trend.change_points.clone(),
    }
}
