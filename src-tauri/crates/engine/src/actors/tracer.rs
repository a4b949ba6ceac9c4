//! Tells an OpenTelemetry collector of requests that have ended, where the settings name one (`gateway.otlp`).
//!
//! Nothing waits for it: batches for which the queue has no room are lost, and so are those that the collector does not take in
//! time. That is said; the history has them all the same.

mod span;
#[cfg(test)]
mod tests;

use crate::hub::{Hub, Report};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::trace::SpanExporter as _;
use pilothouse_domain::{
    endpoint::parsed,
    error::{ApiError, ErrorCode},
    settings::Settings,
    traffic::RequestRecord,
};
use pilothouse_system::connect::client_for;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

/// Batches of at most 256 requests that wait for the collector.
const WAITING: usize = 16;
/// Longest wait for the collector to take one.
const LIMIT: Duration = Duration::from_secs(10);
/// And for the last ones at our own end.
const END_LIMIT: Duration = Duration::from_secs(1);

/// Whoever keeps records tells it of them.
pub(crate) struct Tracer {
    settings: watch::Receiver<Settings>,
    /// `None`: it takes no more.
    queue: Mutex<Option<mpsc::Sender<Vec<Arc<RequestRecord>>>>>,
    /// Requests that the collector was not told of.
    lost: Arc<AtomicU64>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Tracer {
    pub fn start(hub: Hub, settings: watch::Receiver<Settings>) -> Self {
        let (queue, batches) = mpsc::channel(WAITING);
        let lost = Arc::<AtomicU64>::default();
        let teller =
            Teller { hub, settings: settings.clone(), lost: lost.clone(), exporter: None, said: None };
        let task = tokio::spawn(teller.run(batches));
        Self { settings, queue: Mutex::new(Some(queue)), lost, task: Mutex::new(Some(task)) }
    }

    /// At once, and never more than the queue holds.
    pub fn tell(&self, records: &[Arc<RequestRecord>]) {
        if self.settings.borrow().gateway.otlp.is_empty() {
            return;
        }
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = queue.as_ref().is_some_and(|queue| queue.try_send(records.to_vec()).is_ok());
        if !taken {
            self.lost.fetch_add(records.len() as u64, Relaxed);
        }
    }

    /// Tells of what waits and takes nothing more. At most a second.
    pub async fn shutdown(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut task) = task else { return };
        if timeout(END_LIMIT, &mut task).await.is_err() {
            task.abort();
        }
        let lost = self.lost.load(Relaxed);
        if lost > 0 {
            tracing::warn!(lost, "the OpenTelemetry collector was not told of some requests");
        }
    }
}

/// The one task, and what it remembers.
struct Teller {
    hub: Hub,
    settings: watch::Receiver<Settings>,
    lost: Arc<AtomicU64>,
    /// For the address that it was made for.
    exporter: Option<(String, SpanExporter)>,
    /// Why the collector does not take them, as it was said last.
    said: Option<String>,
}

impl Teller {
    async fn run(mut self, mut batches: mpsc::Receiver<Vec<Arc<RequestRecord>>>) {
        let mut is_followed = true;
        loop {
            let is_wanted = !self.settings.borrow_and_update().gateway.otlp.is_empty();
            if !is_wanted {
                self.is_well();
            }
            tokio::select! {
                batch = batches.recv() => match batch {
                    Some(batch) => self.tell(&batch).await,
                    None => return,
                },
                // At our end the settings go before the last requests.
                changed = self.settings.changed(), if is_followed => is_followed = changed.is_ok(),
            }
        }
    }

    async fn tell(&mut self, batch: &[Arc<RequestRecord>]) {
        let collector = self.settings.borrow().gateway.otlp.clone();
        if collector.is_empty() {
            return;
        }
        let spans: Vec<_> = batch.iter().filter_map(|record| span::of(record)).collect();
        if spans.is_empty() {
            return;
        }
        let count = spans.len() as u64;
        let told = match self.exporter_to(&collector) {
            Ok(exporter) => match timeout(LIMIT, exporter.export(spans)).await {
                Ok(told) => told.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
            },
            Err(why) => Err(why),
        };
        match told {
            Ok(()) => self.is_well(),
            Err(why) => {
                self.lost.fetch_add(count, Relaxed);
                self.is_ill(&collector, why);
            }
        }
    }

    fn exporter_to(&mut self, collector: &str) -> Result<&SpanExporter, String> {
        if self.exporter.as_ref().is_none_or(|(address, _)| address != collector) {
            let traces = traces_of(collector);
            let exporter = SpanExporter::builder()
                .with_http()
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(&traces)
                .with_http_client(client_for(&traces))
                .build();
            let mut exporter = exporter.map_err(|error| error.to_string())?;
            exporter.set_resource(&span::resource());
            self.exporter = Some((collector.to_owned(), exporter));
        }
        self.exporter.as_ref().map(|(_, exporter)| exporter).ok_or_else(String::new)
    }

    fn is_well(&mut self) {
        if self.said.take().is_some() {
            self.hub.report(Report::TroubleOver(ErrorCode::SpansLost));
        }
    }

    fn is_ill(&mut self, collector: &str, why: String) {
        let text = format!("The OpenTelemetry collector at {collector} is not told of requests: {why}.");
        if self.said.as_ref() != Some(&text) {
            let trouble = ApiError::new(ErrorCode::SpansLost, text.clone())
                .hint("Start it, or change gateway.otlp. The page Traffic has the requests all the same.");
            self.hub.report(Report::Trouble(trouble));
            self.said = Some(text);
        }
    }
}

/// Where a collector takes spans; whoever named that path itself is taken at his word. The scheme may be left out.
fn traces_of(collector: &str) -> String {
    let root = parsed(collector).map_or_else(|| collector.to_owned(), |url| url.to_string());
    let root = root.trim_end_matches('/');
    if root.ends_with("/v1/traces") { root.to_owned() } else { format!("{root}/v1/traces") }
}
