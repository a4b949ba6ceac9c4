use pilothouse_domain::{
    gauge::GaugeHistory,
    gauge_history::{Bucket, GaugeTiers, Moment, Resolution, Values},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The gauges' past in memory. The sampler writes, clones read.
#[derive(Debug, Clone, Default)]
pub struct GaugePast(Arc<Mutex<GaugeTiers>>);

impl GaugePast {
    fn tiers(&self) -> MutexGuard<'_, GaugeTiers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a sample in; returns the minutes that are over.
    pub fn push(&self, moment: Moment, values: &Values) -> Vec<Bucket> {
        self.tiers().push(moment, values)
    }

    /// Ends what is open; returns the minutes among it.
    pub fn flush(&self) -> Vec<Bucket> {
        self.tiers().flush()
    }

    /// The samples of a span back from the newest; with `since_ms` only newer ones.
    pub fn samples(&self, span_ms: i64, since_ms: Option<i64>) -> GaugeHistory {
        self.tiers().samples(span_ms, since_ms)
    }

    /// The buckets that begin at or after a moment.
    pub fn buckets(&self, resolution: Resolution, from_ms: i64) -> Vec<Bucket> {
        self.tiers().buckets(resolution, from_ms)
    }

    /// What the gauges showed between two moments.
    pub fn trace(&self, from_ms: i64, to_ms: i64) -> GaugeHistory {
        self.tiers().trace(from_ms, to_ms)
    }
}
