//! What scrapers read (OpenMetrics 1.0), and the token by which they may. A value that is not known has no line.

mod token;

pub use token::metrics_token;

use pilothouse_domain::{gauge::GpuReading, snapshot::Snapshot};
use pilothouse_records::{Recorder, escaped};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use std::{fmt, sync::Arc};

/// The text of this moment. `switches`: how many have ended: committed, put back, cancelled. `wrong_keys`: how many were shown.
pub fn text(
    snapshot: Arc<Snapshot>,
    recorder: Recorder,
    switches: [u64; 3],
    wrong_keys: u64,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Shown(snapshot)));
    registry.register_collector(Box::new(Counted { recorder, switches, wrong_keys }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// What happened since the start, as families of counters and histograms.
#[derive(Debug)]
struct Counted {
    recorder: Recorder,
    switches: [u64; 3],
    wrong_keys: u64,
}

impl Collector for Counted {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let outcomes = ["committed", "rolled_back", "cancelled"].into_iter().zip(self.switches);
        let lines = outcomes
            .map(|(outcome, count)| (vec![("outcome", outcome.to_owned())], ConstCounter::new(count)));
        let help = "Switches of the active model that have ended";
        pilothouse_records::family(&mut encoder, "switches", help, MetricType::Counter, lines)?;
        let wrong = [(vec![], ConstCounter::new(self.wrong_keys))];
        let help = "Keys that client programs have shown and that are none";
        pilothouse_records::family(&mut encoder, "wrong_client_keys", help, MetricType::Counter, wrong)?;
        self.recorder.encode(&mut encoder)
    }
}

/// A snapshot as families of gauges.
#[derive(Debug)]
struct Shown(Arc<Snapshot>);

/// A line of a family: its labels and its value.
type Line<'a> = (Vec<(&'static str, &'a str)>, f64);

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let out = &mut encoder;
        let Snapshot { servers, active, gauges, .. } = &*self.0;
        let up = |server: &pilothouse_domain::snapshot::ServerView| f64::from(u8::from(server.state.is_up()));
        let of_server = |value: &dyn Fn(&_) -> f64| -> Vec<Line> {
            servers.iter().map(|server| (vec![("server", server.id.as_str())], value(server))).collect()
        };
        family(out, "server_up", "Whether the server answers", of_server(&up))?;
        let restarts = of_server(&|server| server.restarts.into());
        family(out, "server_restarts", "Restarts after a crash since Pilothouse started", restarts)?;
        let active = active
            .as_ref()
            .map(|active| (vec![("server", active.server.as_str()), ("model", active.model.as_str())], 1.0));
        family(out, "active_model_info", "The active model; the value is always 1", active)?;
        let Some(gauges) = gauges else { return Ok(()) };
        let bytes = |value: Option<u64>| value.map(|bytes| bytes as f64);
        for (name, help, value) in [
            ("cpu_percent", "All cores together, 0 to 100", gauges.cpu_percent),
            ("memory_used_bytes", "Memory in use", bytes(gauges.memory_used_bytes)),
            ("memory_total_bytes", "Memory of the machine", bytes(gauges.memory_total_bytes)),
            ("swap_used_bytes", "Swap in use", bytes(gauges.swap_used_bytes)),
            ("own_cpu_percent", "Pilothouse itself; 100 is one core", gauges.own.cpu_percent),
            ("own_memory_bytes", "Pilothouse itself", bytes(gauges.own.memory_bytes)),
        ] {
            family(out, name, help, value.map(|value| (vec![], value)))?;
        }
        let memory = gauges
            .servers
            .iter()
            .filter_map(|usage| Some((vec![("server", usage.id.as_str())], bytes(usage.memory_bytes)?)));
        family(out, "server_memory_bytes", "Memory of the server's process tree", memory)?;
        gpus(out, &gauges.gpus)
    }
}

/// Two cards may have one name: their number tells them apart.
fn gpus(out: &mut DescriptorEncoder, gpus: &[GpuReading]) -> Result<(), fmt::Error> {
    type Read = fn(&GpuReading) -> Option<f64>;
    let families: [(&str, &str, Read); 5] = [
        ("gpu_load_percent", "Share of time in which the GPU had work", |gpu| gpu.load_percent),
        ("gpu_memory_used_bytes", "Memory of the GPU in use", |gpu| {
            gpu.memory_used_bytes.map(|bytes| bytes as f64)
        }),
        ("gpu_power_watts", "Power that the GPU takes", |gpu| gpu.power_w),
        ("gpu_temperature_celsius", "Temperature of the GPU", |gpu| gpu.temperature_c),
        ("gpu_clock_mhz", "Clock of the GPU's cores", |gpu| gpu.clock_mhz.map(f64::from)),
    ];
    let numbers: Vec<String> = (0..gpus.len()).map(|index| index.to_string()).collect();
    for (name, help, read) in families {
        let lines = gpus.iter().zip(&numbers).filter_map(|(gpu, index)| {
            Some((vec![("gpu", gpu.name.as_str()), ("index", index.as_str())], read(gpu)?))
        });
        family(out, name, help, lines)?;
    }
    Ok(())
}

fn family<'a>(
    out: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    lines: impl IntoIterator<Item = Line<'a>>,
) -> Result<(), fmt::Error> {
    let lines = lines.into_iter().map(|(labels, value)| {
        let labels = labels.into_iter().map(|(label, value)| (label, escaped(value))).collect();
        (labels, ConstGauge::new(value))
    });
    pilothouse_records::family(out, name, help, MetricType::Gauge, lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::{Timestamp, snapshot::EngineView, switch::Active, traffic::RequestRecord};

    #[test]
    fn what_is_known_has_a_line_and_names_may_hold_anything() {
        let mut snapshot = Snapshot::empty(EngineView::default(), Timestamp::UNIX_EPOCH);
        let model = "a \"quoted\" \\ name\nof two lines".to_owned();
        snapshot.active = Some(Active { server: "ollama".into(), model: model.clone(), instance: model });
        let (recorder, _ended) = Recorder::new(0);
        recorder.begin(RequestRecord { model: Some("m".into()), ..RequestRecord::default() }).end(|_| {});
        let shown = text(Arc::new(snapshot), recorder, [3, 0, 1], 5).unwrap();
        assert!(shown.contains("# TYPE pilothouse_active_model_info gauge\n"), "{shown}");
        let line =
            r#"pilothouse_active_model_info{server="ollama",model="a \"quoted\" \\ name\nof two lines"} 1.0"#;
        assert!(shown.lines().any(|one| one == line), "{shown}");
        assert!(!shown.contains("pilothouse_cpu_percent") && !shown.contains("gpu"), "{shown}");
        for line in [
            r#"pilothouse_switches_total{outcome="committed"} 3"#,
            r#"pilothouse_requests_total{server="",model="m",outcome="done"} 1"#,
            r#"pilothouse_requests_in_flight{state="waiting"} 0"#,
            "pilothouse_records_lost_total 0",
            "pilothouse_wrong_client_keys_total 5",
        ] {
            assert!(shown.lines().any(|one| one == line), "{line}\n{shown}");
        }
        assert!(shown.ends_with("# EOF\n"), "{shown}");
    }
}
