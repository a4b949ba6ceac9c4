use pilothouse_domain::gauge::{GaugeHistory, Gauges};
use std::collections::VecDeque;

/// How far back the ring reaches.
const SPAN_MS: i64 = 15 * 60 * 1000;

struct Point {
    at_ms: i64,
    cpu_percent: Option<f64>,
    memory_used_bytes: Option<u64>,
    swap_used_bytes: Option<u64>,
    gpu_load_percent: Option<f64>,
    gpu_memory_used_bytes: Option<u64>,
    servers_memory_bytes: Option<u64>,
}

/// The samples of the last 15 minutes.
#[derive(Default)]
pub struct GaugeRing(VecDeque<Point>);

impl GaugeRing {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn push(&mut self, gauges: &Gauges) {
        let at_ms = gauges.at.as_millisecond();
        self.0.push_back(Point {
            at_ms,
            cpu_percent: gauges.cpu_percent,
            memory_used_bytes: gauges.memory_used_bytes,
            swap_used_bytes: gauges.swap_used_bytes,
            gpu_load_percent: gauges.gpus.iter().filter_map(|gpu| gpu.load_percent).reduce(f64::max),
            gpu_memory_used_bytes: sum(gauges.gpus.iter().map(|gpu| gpu.memory_used_bytes)),
            servers_memory_bytes: sum(gauges.servers.iter().map(|server| server.memory_bytes)),
        });
        // A clock set back leaves points of the future behind; they go too.
        self.0.retain(|point| (0..=SPAN_MS).contains(&(at_ms - point.at_ms)));
    }

    /// The points as columns, oldest first; with `since_ms` only newer ones.
    pub fn history(&self, since_ms: Option<i64>) -> GaugeHistory {
        let mut history = GaugeHistory::default();
        for point in self.0.iter().filter(|point| since_ms.is_none_or(|since| point.at_ms > since)) {
            history.at_ms.push(point.at_ms);
            history.cpu_percent.push(point.cpu_percent);
            history.memory_used_bytes.push(point.memory_used_bytes);
            history.swap_used_bytes.push(point.swap_used_bytes);
            history.gpu_load_percent.push(point.gpu_load_percent);
            history.gpu_memory_used_bytes.push(point.gpu_memory_used_bytes);
            history.servers_memory_bytes.push(point.servers_memory_bytes);
        }
        history
    }
}

/// The sum of what is known; `None` when nothing is.
fn sum(values: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    values.flatten().fold(None, |sum, value| Some(sum.unwrap_or(0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::{Timestamp, gauge::OwnUsage};

    fn gauges(at_s: i64, cpu: Option<f64>) -> Gauges {
        Gauges {
            at: Timestamp::from_second(at_s).unwrap(),
            cpu_percent: cpu,
            cpu_cores: 2,
            memory_used_bytes: Some(5),
            memory_total_bytes: Some(10),
            swap_used_bytes: None,
            swap_total_bytes: None,
            gpus: vec![],
            gpus_absent: Some("no GPU found".into()),
            orphans: vec![],
            servers: vec![],
            own: OwnUsage::default(),
        }
    }

    #[test]
    fn the_ring_keeps_fifteen_minutes_and_holes_stay_holes() {
        let mut ring = GaugeRing::new();
        for second in 0..2000 {
            ring.push(&gauges(second, (second % 2 == 0).then_some(1.0)));
        }
        let history = ring.history(None);
        assert_eq!(history.at_ms.len(), 901);
        assert_eq!(history.at_ms.len(), history.cpu_percent.len());
        assert_eq!(history.cpu_percent[history.cpu_percent.len() - 1], None);
        assert_eq!(history.servers_memory_bytes[0], None, "absent is not zero");
        assert_eq!(ring.history(Some(1_998_000)).at_ms, [1_999_000]);
    }
}
