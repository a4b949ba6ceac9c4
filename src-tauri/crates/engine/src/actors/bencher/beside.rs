//! What the gauges show while a run measures.

use super::BencherWiring;
use crate::hub::Hub;
use pilothouse_domain::{
    Timestamp,
    bench::trace::{CardTrace, MOST_ROWS, RunTrace},
    gauge::{GaugeHistory, Gauges},
    model::ModelRef,
};
use pilothouse_system::gauges::GaugePast;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Follows the samples from the begin of a run to its end.
pub(super) struct Beside {
    past: GaugePast,
    since: Timestamp,
    watch: JoinHandle<Watch>,
    under_way: DropGuard,
}

/// What was seen. `None` of what was never sampled.
#[derive(Default)]
pub(super) struct Seen {
    pub peak_memory_bytes: Option<u64>,
    pub peak_gpu_memory_bytes: Option<u64>,
    pub trace: Option<GaugeHistory>,
    pub cards: RunTrace,
}

impl Beside {
    pub fn begin(around: &BencherWiring, model: &ModelRef, instance: String, since: Timestamp) -> Self {
        let end = CancellationToken::new();
        let watch = Watch {
            model: model.clone(),
            instance,
            since,
            peak: None,
            gpu_peak: None,
            cards: RunTrace::default(),
            last: None,
        };
        let watch = tokio::spawn(watch.follow(around.hub.clone(), end.clone()));
        Self { past: around.past.clone(), since, watch, under_way: end.drop_guard() }
    }

    pub async fn end(self) -> Seen {
        drop(self.under_way);
        let trace = self.past.trace(self.since.as_millisecond(), Timestamp::now().as_millisecond());
        let trace = Some(trace).filter(|trace| !trace.at_ms.is_empty());
        match self.watch.await {
            Ok(watch) => Seen {
                peak_memory_bytes: watch.peak,
                peak_gpu_memory_bytes: watch.gpu_peak,
                trace,
                cards: watch.cards,
            },
            Err(_) => Seen { trace, ..Seen::default() },
        }
    }
}

struct Watch {
    model: ModelRef,
    instance: String,
    since: Timestamp,
    peak: Option<u64>,
    gpu_peak: Option<u64>,
    cards: RunTrace,
    last: Option<Timestamp>,
}

impl Watch {
    async fn follow(mut self, hub: Hub, end: CancellationToken) -> Self {
        let mut snapshots = hub.snapshots();
        loop {
            {
                let snapshot = snapshots.borrow_and_update();
                // A sample of before may show what was in memory before.
                let fresh = |gauges: &&Gauges| gauges.at >= self.since && self.last != Some(gauges.at);
                if let Some(gauges) = snapshot.gauges.as_ref().filter(fresh) {
                    self.last = Some(gauges.at);
                    self.take(gauges);
                }
            }
            tokio::select! {
                () = end.cancelled() => return self,
                changed = snapshots.changed() => if changed.is_err() { return self },
            }
        }
    }

    fn take(&mut self, gauges: &Gauges) {
        let usage = gauges.servers.iter().find(|usage| usage.id == self.model.server);
        let runner = usage.and_then(|usage| usage.runners.iter().find(|one| one.instance == self.instance));
        let memory = match (runner, usage) {
            (Some(runner), _) => runner.memory_bytes,
            (None, usage) => usage.and_then(|usage| usage.memory_bytes),
        };
        self.peak = self.peak.max(memory);
        let pids = match (runner, usage) {
            (Some(runner), _) => vec![runner.pid],
            (None, usage) => usage.map(|usage| usage.pids.clone()).unwrap_or_default(),
        };
        let held = gauges.gpus.iter().filter(|gpu| !gpu.memory_shared);
        let held = held.flat_map(|gpu| pids.iter().filter_map(|pid| gpu.held_by(*pid)));
        self.gpu_peak = self.gpu_peak.max(held.reduce(|sum, bytes| sum + bytes));
        if self.cards.at_ms.len() < MOST_ROWS {
            self.row(gauges, memory);
        }
    }

    fn row(&mut self, gauges: &Gauges, memory: Option<u64>) {
        let rows = self.cards.at_ms.len();
        let at_ms = gauges.at.duration_since(self.since).as_millis() as f64;
        self.cards.at_ms.push(at_ms);
        self.cards.instance_memory_bytes.push(memory);
        // A card that shows up late has nothing to tell of before.
        while self.cards.cards.len() < gauges.gpus.len() {
            self.cards.cards.push(CardTrace::default());
        }
        for (card, gpu) in
            self.cards.cards.iter_mut().zip(gauges.gpus.iter().map(Some).chain(std::iter::repeat(None)))
        {
            if let Some(gpu) = gpu {
                card.name.clone_from(&gpu.name);
            }
            card.load_percent.resize(rows, None);
            card.memory_used_bytes.resize(rows, None);
            card.power_w.resize(rows, None);
            card.temperature_c.resize(rows, None);
            card.clock_mhz.resize(rows, None);
            card.throttle.resize(rows, None);
            card.load_percent.push(gpu.and_then(|gpu| gpu.load_percent));
            card.memory_used_bytes.push(gpu.and_then(|gpu| gpu.memory_used_bytes));
            card.power_w.push(gpu.and_then(|gpu| gpu.power_w));
            card.temperature_c.push(gpu.and_then(|gpu| gpu.temperature_c));
            card.clock_mhz.push(gpu.and_then(|gpu| gpu.clock_mhz));
            card.throttle.push(gpu.and_then(|gpu| gpu.throttle.clone()));
        }
    }
}
