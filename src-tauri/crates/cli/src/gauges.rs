use crate::{document, output::Output, session::Session};
use pilothouse_domain::{fit::gigabytes, gauge::Gauges};
use pilothouse_engine::api::{ApiError, ErrorCode};
use std::time::Duration;

/// How often a new sample is looked for.
const LOOK: Duration = Duration::from_millis(250);

pub async fn run(watch: bool, output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    let mut last = None;
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    loop {
        let snapshot = session.snapshot().await?;
        match &snapshot.gauges {
            Some(gauges) if last != Some(gauges.at) => {
                last = Some(gauges.at);
                output.answer(document::gauges(gauges), || text(gauges));
            }
            None if !watch => {
                let error = ApiError::new(ErrorCode::Busy, "No sample was taken yet.");
                return Err(error.hint("Ask again in a second.").retryable());
            }
            _ => {}
        }
        if !watch {
            return Ok(0);
        }
        tokio::select! {
            heard = &mut interrupt => return heard.map(|()| 130).map_err(|error| {
                ApiError::new(ErrorCode::System, format!("Ctrl-C could not be heard: {error}."))
            }),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn text(gauges: &Gauges) -> String {
    let told = |value: Option<u64>| value.map_or_else(|| "not reported".into(), gigabytes);
    let percent = |value: Option<f64>| value.map_or_else(|| "–".into(), |value| format!("{value:.0} %"));
    let mut lines = vec![
        format!("CPU     {} of {} cores", percent(gauges.cpu_percent), gauges.cpu_cores),
        format!("Memory  {} of {}", told(gauges.memory_used_bytes), told(gauges.memory_total_bytes)),
        format!("Swap    {}", told(gauges.swap_used_bytes)),
    ];
    for gpu in &gauges.gpus {
        let memory = format!("{} of {}", told(gpu.memory_used_bytes), told(gpu.memory_total_bytes));
        lines.push(format!("GPU     {} {}, {memory} ({})", gpu.name, percent(gpu.load_percent), gpu.source));
    }
    lines.extend(gauges.gpus_absent.iter().map(|reason| format!("GPU     {reason}")));
    for server in &gauges.servers {
        let memory = match (server.memory_bytes, &server.memory_bytes_absent) {
            (Some(bytes), _) => gigabytes(bytes),
            (None, reason) => reason.clone().unwrap_or_else(|| "not reported".into()),
        };
        lines.push(format!("{:<13} {memory}", server.id.as_str()));
    }
    for orphan in &gauges.orphans {
        let memory = orphan.memory_bytes.map_or_else(|| "not reported".into(), gigabytes);
        lines.push(format!("left over     {memory} (pid {}, of an Ollama that died)", orphan.pid));
    }
    let own = gauges
        .own
        .memory_bytes
        .map_or_else(|| "not reported".into(), |b| format!("{:.0} MB", b as f64 / 1e6));
    let cpu = gauges.own.cpu_percent.map_or_else(|| "–".into(), |value| format!("{value:.1} %"));
    lines.push(format!("Pilothouse    {own}, {cpu} of a core"));
    lines.join("\n")
}
