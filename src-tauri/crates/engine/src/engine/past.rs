//! The gauges' past, joined of what is in memory and what the store keeps.

use super::Inner;
use pilothouse_domain::{
    Timestamp,
    gauge::GaugeHistory,
    gauge_history::{self, LONGEST_S, Resolution, thin},
};

/// The span without one.
const DEFAULT_S: u64 = 900;
const MINUTE_MS: i64 = 60_000;

impl Inner {
    /// A span back from now. Up to 15 minutes: the samples. Beyond: means; what was before our start comes from the store. A
    /// database that is not there shortens the answer, no more: that it is not there is said as a trouble.
    pub(super) async fn gauge_history(&self, span_s: Option<u64>, since_ms: Option<i64>) -> GaugeHistory {
        let span_s = span_s.unwrap_or(DEFAULT_S).clamp(1, LONGEST_S);
        let span_ms = i64::try_from(span_s * 1000).unwrap_or(i64::MAX);
        let past = self.sampler.past();
        let Some(step_ms) = gauge_history::step_ms(span_s) else {
            return past.samples(span_ms, since_ms);
        };
        let oldest = gauge_history::begin_of(Timestamp::now().as_millisecond() - span_ms, step_ms);
        let from = oldest.max(since_ms.map_or(oldest, |since| since.saturating_add(1)));
        let resolution = if step_ms < MINUTE_MS { Resolution::TenSeconds } else { Resolution::Minutes };
        let here = past.buckets(resolution, from);
        let until = here.first().map_or(i64::MAX, |first| first.at_ms);
        let mut all = Vec::new();
        if let Some(store) = self.store.as_ref().filter(|_| from < until) {
            match store.minutes(from, until, step_ms.max(MINUTE_MS)).await {
                Ok(before) => all = before,
                Err(error) => tracing::debug!(%error, "the gauges of earlier days are not read"),
            }
        }
        all.extend(here);
        gauge_history::history(&thin(&all, step_ms), step_ms.unsigned_abs(), true)
    }
}
