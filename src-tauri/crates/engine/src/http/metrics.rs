//! Prometheus text (exposition format 0.0.4). A value that is not known has no line.

use super::Shared;
use axum::{extract::State, http::header, response::IntoResponse};
use pilothouse_domain::{gauge::GpuReading, snapshot::Snapshot};
use std::fmt::Write;

pub(super) async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    let snapshot = shared.handler.snapshots().borrow().clone();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text(&snapshot))
}

fn text(snapshot: &Snapshot) -> String {
    let mut out = Lines(String::new());
    out.family("pilothouse_server_up", "Whether the server answers.");
    for server in &snapshot.servers {
        out.line(
            "pilothouse_server_up",
            &[("server", server.id.as_str())],
            f64::from(u8::from(server.state.is_up())),
        );
    }
    out.family("pilothouse_server_restarts", "Restarts after a crash since Pilothouse started.");
    for server in &snapshot.servers {
        out.line("pilothouse_server_restarts", &[("server", server.id.as_str())], server.restarts.into());
    }
    if let Some(active) = &snapshot.active {
        out.family("pilothouse_active_model_info", "The active model; the value is always 1.");
        let labels = [("server", active.server.as_str()), ("model", active.model.as_str())];
        out.line("pilothouse_active_model_info", &labels, 1.0);
    }
    let Some(gauges) = &snapshot.gauges else {
        return out.0;
    };
    let bytes = |value: Option<u64>| value.map(|bytes| bytes as f64);
    for (name, help, value) in [
        ("pilothouse_cpu_percent", "All cores together, 0 to 100.", gauges.cpu_percent),
        ("pilothouse_memory_used_bytes", "Memory in use.", bytes(gauges.memory_used_bytes)),
        ("pilothouse_memory_total_bytes", "Memory of the machine.", bytes(gauges.memory_total_bytes)),
        ("pilothouse_swap_used_bytes", "Swap in use.", bytes(gauges.swap_used_bytes)),
        ("pilothouse_own_cpu_percent", "Pilothouse itself; 100 is one core.", gauges.own.cpu_percent),
        ("pilothouse_own_memory_bytes", "Pilothouse itself.", bytes(gauges.own.memory_bytes)),
    ] {
        if let Some(value) = value {
            out.family(name, help);
            out.line(name, &[], value);
        }
    }
    out.family("pilothouse_server_memory_bytes", "Memory of the server's process tree.");
    for usage in &gauges.servers {
        if let Some(value) = usage.memory_bytes {
            out.line("pilothouse_server_memory_bytes", &[("server", usage.id.as_str())], value as f64);
        }
    }
    gpus(&mut out, &gauges.gpus);
    out.0
}

/// Two cards may have one name: their number tells them apart.
fn gpus(out: &mut Lines, gpus: &[GpuReading]) {
    type Read = fn(&GpuReading) -> Option<f64>;
    let families: [(&str, &str, Read); 5] = [
        ("pilothouse_gpu_load_percent", "Share of time in which the GPU had work.", |gpu| gpu.load_percent),
        ("pilothouse_gpu_memory_used_bytes", "Memory of the GPU in use.", |gpu| {
            gpu.memory_used_bytes.map(|bytes| bytes as f64)
        }),
        ("pilothouse_gpu_power_watts", "Power that the GPU takes.", |gpu| gpu.power_w),
        ("pilothouse_gpu_temperature_celsius", "Temperature of the GPU.", |gpu| gpu.temperature_c),
        ("pilothouse_gpu_clock_mhz", "Clock of the GPU's cores.", |gpu| gpu.clock_mhz.map(f64::from)),
    ];
    for (name, help, read) in families {
        out.family(name, help);
        for (index, gpu) in gpus.iter().enumerate() {
            if let Some(value) = read(gpu) {
                out.line(name, &[("gpu", &gpu.name), ("index", &index.to_string())], value);
            }
        }
    }
}

struct Lines(String);

impl Lines {
    fn family(&mut self, name: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} gauge");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> =
            labels.iter().map(|(key, text)| format!("{key}=\"{}\"", escape(text))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}
