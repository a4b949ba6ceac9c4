//! Counters and histograms of requests that have ended, by server and model.

use pilothouse_domain::traffic::{RequestRecord, RequestState};
use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, histogram::Histogram},
};
use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Pairs of server and model that have a series of their own; all further ones share one.
const MOST_SERIES: usize = 64;
const OTHER: &str = "other";
const OUTCOMES: [(RequestState, &str); 4] = [
    (RequestState::Done, "done"),
    (RequestState::Failed, "failed"),
    (RequestState::Cancelled, "cancelled"),
    (RequestState::Cut, "cut"),
];
const KINDS: [&str; 3] = ["input", "cached", "output"];
/// Seconds. From an answer of a small model in memory to a load from a slow disk.
const TTFT_BUCKETS: [f64; 14] =
    [0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0];
const QUEUE_BUCKETS: [f64; 9] = [0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0];
const TOTAL_BUCKETS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];

/// Of one model.
#[derive(Debug)]
struct Series {
    server: String,
    model: String,
    outcomes: [AtomicU64; OUTCOMES.len()],
    tokens: [AtomicU64; KINDS.len()],
    ttft: Histogram,
    queued: Histogram,
    total: Histogram,
}

impl Series {
    fn new(server: &str, model: &str) -> Self {
        Self {
            server: escaped(server),
            model: escaped(model),
            outcomes: Default::default(),
            tokens: Default::default(),
            ttft: Histogram::new(TTFT_BUCKETS),
            queued: Histogram::new(QUEUE_BUCKETS),
            total: Histogram::new(TOTAL_BUCKETS),
        }
    }

    fn count(&self, record: &RequestRecord) {
        for ((state, _), count) in OUTCOMES.iter().zip(&self.outcomes) {
            if *state == record.state {
                count.fetch_add(1, Relaxed);
            }
        }
        let told = record.tokens;
        for (tokens, count) in [told.input, told.cached, told.output].into_iter().zip(&self.tokens) {
            count.fetch_add(tokens.unwrap_or_default().into(), Relaxed);
        }
        for (ms, histogram) in
            [(record.ttft_ms, &self.ttft), (record.queued_ms, &self.queued), (record.total_ms, &self.total)]
        {
            ms.iter().for_each(|ms| histogram.observe(f64::from(*ms) / 1000.0));
        }
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<HashMap<String, HashMap<String, Arc<Series>>>>);

impl Metrics {
    /// Counts a request that has ended.
    pub fn count(&self, record: &RequestRecord) {
        // Where no server was reached, both labels are empty: to Prometheus they are not there then.
        let server = record.server.as_ref().map_or("", |server| server.as_str());
        self.series(server, record.model.as_deref().unwrap_or_default()).count(record);
    }

    fn series(&self, server: &str, model: &str) -> Arc<Series> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = all.get(server).and_then(|models| models.get(model)) {
            return series.clone();
        }
        let count: usize = all.values().map(HashMap::len).sum();
        let (server, model) = if count < MOST_SERIES { (server, model) } else { (OTHER, OTHER) };
        let models = all.entry(server.to_owned()).or_default();
        models.entry(model.to_owned()).or_insert_with(|| Arc::new(Series::new(server, model))).clone()
    }

    fn all(&self) -> Vec<Arc<Series>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut series: Vec<Arc<Series>> = all.values().flat_map(HashMap::values).cloned().collect();
        series.sort_by(|a, b| (&a.server, &a.model).cmp(&(&b.server, &b.model)));
        series
    }
}

impl Metrics {
    /// Writes the families of requests, with OpenMetrics' names and units. `under_way`: those that wait, load and are answered;
    /// `lost`: records.
    pub fn encode(
        &self,
        [waiting, loading, answering]: [u32; 3],
        lost: u64,
        out: &mut DescriptorEncoder,
    ) -> Result<(), fmt::Error> {
        let states = [("waiting", waiting), ("loading", loading), ("answering", answering)];
        let lines = states
            .map(|(state, count)| (vec![("state", state.to_owned())], ConstGauge::new(u64::from(count))));
        family(out, "requests_in_flight", "Requests under way", MetricType::Gauge, lines)?;
        let lost = [(vec![], ConstCounter::new(lost))];
        family(out, "records_lost", "Records of requests that could not be kept", MetricType::Counter, lost)?;
        let all = self.all();
        let requests = all.iter().flat_map(|series| {
            series.outcomes.iter().zip(OUTCOMES).map(|(count, (_, outcome))| {
                let labels = with(series, Some(("outcome", outcome)));
                (labels, ConstCounter::new(count.load(Relaxed)))
            })
        });
        family(out, "requests", "Requests that have ended", MetricType::Counter, requests)?;
        let tokens = all.iter().flat_map(|series| {
            series.tokens.iter().zip(KINDS).map(|(count, kind)| {
                (with(series, Some(("kind", kind))), ConstCounter::new(count.load(Relaxed)))
            })
        });
        let help = "Tokens of requests that have ended; cached ones are part of the input";
        family(out, "tokens", help, MetricType::Counter, tokens)?;
        type Read = fn(&Series) -> &Histogram;
        let histograms: [(&str, &str, Read); 3] = [
            ("time_to_first_token_seconds", "From the request to its first token", |one| &one.ttft),
            ("queue_seconds", "The wait for a turn or for a switch", |one| &one.queued),
            ("request_seconds", "From the request to its end", |one| &one.total),
        ];
        for (name, help, read) in histograms {
            let lines = all.iter().map(|series| (with(series, None), read(series).clone()));
            family(out, name, help, MetricType::Histogram, lines)?;
        }
        Ok(())
    }
}

fn with(series: &Series, more: Option<(&'static str, &str)>) -> Vec<(&'static str, String)> {
    let mut labels = vec![("server", series.server.clone()), ("model", series.model.clone())];
    labels.extend(more.map(|(label, value)| (label, value.to_owned())));
    labels
}

/// Writes a family under "pilothouse_…"; nothing where there is no line. One without labels has one line. Labels are written as they
/// are: see [`escaped`].
pub fn family<M: EncodeMetric>(
    out: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    kind: MetricType,
    lines: impl IntoIterator<Item = (Vec<(&'static str, String)>, M)>,
) -> Result<(), fmt::Error> {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_none() {
        return Ok(());
    }
    let name = format!("pilothouse_{name}");
    let mut family = out.encode_descriptor(&name, help, None, kind)?;
    for (labels, metric) in lines {
        if labels.is_empty() {
            return metric.encode(family);
        }
        metric.encode(family.encode_family(&labels.as_slice())?)?;
    }
    Ok(())
}

/// A label's value as the text wants it; prometheus-client 0.24 writes labels as they are.
pub fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
