use crate::{
    document,
    output::{Output, table},
    session::Session,
};
use pilothouse_domain::{
    Timestamp,
    container::ContainerReading,
    gauge::{Gauges, GpuReading, MemoryPressure},
    snapshot::Snapshot,
    units::gigabytes,
};
use pilothouse_engine::api::{ApiError, ErrorCode};
use std::time::Duration;

/// How often a new sample is looked for.
const LOOK: Duration = Duration::from_millis(250);

pub async fn run(watch: bool, output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    let (mut last, mut known) = (None, None);
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    loop {
        if let Some(snapshot) = session.news(known).await? {
            known = Some(snapshot.revision);
            match &snapshot.gauges {
                Some(gauges) if last != Some(gauges.at) || gauges.stale_s(Timestamp::now()).is_some() => {
                    last = Some(gauges.at);
                    output.answer(document::gauges(gauges, &snapshot), || text(gauges, &snapshot));
                }
                None if !watch => {
                    let error = ApiError::new(ErrorCode::Busy, "No sample was taken yet.");
                    return Err(error.hint("Ask again in a second.").retryable());
                }
                _ => {}
            }
        }
        if !watch || output.is_lost() {
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

fn text(gauges: &Gauges, snapshot: &Snapshot) -> String {
    let told = |value: Option<u64>| value.map_or_else(|| "not reported".into(), gigabytes);
    let percent = |value: Option<f64>| value.map_or_else(|| "–".into(), |value| format!("{value:.0} %"));
    let mut lines: Vec<String> = gauges
        .stale_s(Timestamp::now())
        .map(|seconds| format!("Stale: no sample has come for {seconds} s.\n"))
        .into_iter()
        .collect();
    lines.extend([
        format!("CPU     {} of {} cores", percent(gauges.cpu_percent), gauges.cpu_cores),
        format!("Memory  {} of {}", told(gauges.memory_used_bytes), told(gauges.memory_total_bytes)),
        format!("Swap    {}", told(gauges.swap_used_bytes)),
    ]);
    lines.extend(gauges.memory_limit.as_ref().map(|limit| format!("        {}", limit.source)));
    if let Some(pressure) = gauges.memory_pressure {
        lines.push(format!("        pressure {}", pressure_word(pressure)));
    }
    for gpu in &gauges.gpus {
        lines.extend(gpu_lines(gpu));
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
    lines.push(String::new());
    lines.push(containers(snapshot));
    lines.join("\n")
}

fn pressure_word(pressure: MemoryPressure) -> &'static str {
    match pressure {
        MemoryPressure::Normal => "normal",
        MemoryPressure::Warning => "warning",
        MemoryPressure::Critical => "critical",
    }
}

/// What is not known is left out of the second line; in the first it is the point.
fn gpu_lines(gpu: &GpuReading) -> Vec<String> {
    if let (Some(reason), None) = (&gpu.absent, gpu.load_percent) {
        return vec![format!("GPU     {}: {reason}", gpu.name)];
    }
    let bytes = |value: Option<u64>| value.map_or_else(|| "not reported".into(), gigabytes);
    let load = gpu.load_percent.map_or_else(|| "load not reported".into(), |load| format!("{load:.0} %"));
    let active = gpu.active_percent.map(|active| format!(" ({active:.0} % of the time at some clock)"));
    let whose = if gpu.memory_shared { " of the machine" } else { "" };
    let memory = format!("{} of {}{whose}", bytes(gpu.memory_used_bytes), bytes(gpu.memory_total_bytes));
    let first =
        format!("GPU     {} {load}{}, {memory} ({})", gpu.name, active.unwrap_or_default(), gpu.source);
    let power = match (gpu.power_w, gpu.power_limit_w) {
        (Some(power), Some(limit)) => Some(format!("{power:.0} W of {limit:.0} W")),
        (Some(power), None) => Some(format!("{power:.0} W")),
        (None, limit) => limit.map(|limit| format!("at most {limit:.0} W")),
    };
    let parts = [
        power,
        gpu.temperature_c.map(|degrees| format!("{degrees:.0} °C")),
        gpu.clock_mhz.map(|clock| format!("{clock} MHz")),
        gpu.memory_clock_mhz.map(|clock| format!("memory {clock} MHz")),
        gpu.throttle.as_ref().filter(|why| !why.is_empty()).map(|why| format!("slowed: {}", why.join(", "))),
    ];
    let second: Vec<String> = parts.into_iter().flatten().collect();
    let mut lines = vec![first];
    lines.extend((!second.is_empty()).then(|| format!("        {}", second.join(" · "))));
    lines.extend(gpu.processes.iter().map(|process| {
        let held = process.memory_bytes.map_or_else(|| "not reported".into(), gigabytes);
        format!("        pid {} {held}", process.pid)
    }));
    lines
}

fn containers(snapshot: &Snapshot) -> String {
    let Some(containers) = &snapshot.containers else {
        let reason = snapshot.containers_absent.as_deref().unwrap_or("not looked at yet");
        return format!("Containers    {reason}");
    };
    let row = |one: &ContainerReading| {
        let cpu = one.cpu_percent.map_or_else(|| "–".into(), |value| format!("{value:.1} %"));
        let memory = one.memory_bytes.map_or_else(|| "–".into(), gigabytes);
        vec![one.name.clone(), one.words(), memory, cpu, one.ports.join(", ")]
    };
    let rows: Vec<Vec<String>> = containers.list.iter().map(row).collect();
    let mut text = match rows.is_empty() {
        true => "Containers    none".into(),
        false => table(&["CONTAINER", "STATE", "MEMORY", "CPU", "PORTS"], rows),
    };
    if let Some(reason) = &containers.incomplete {
        text.push_str(&format!("\n{reason}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::gauge::GpuProcess;

    #[test]
    fn a_gpu_has_a_line_of_what_it_does_and_leaves_out_what_is_unknown() {
        let gpu = GpuReading {
            name: "NVIDIA H100".into(),
            load_percent: Some(58.4),
            memory_used_bytes: Some(262_144_000),
            memory_total_bytes: Some(85_520_809_984),
            power_w: Some(145.2),
            power_limit_w: Some(700.0),
            temperature_c: Some(62.0),
            clock_mhz: Some(1980),
            throttle: Some(vec!["power limit".into()]),
            processes: vec![GpuProcess { pid: 7, memory_bytes: None }],
            source: "NVML".into(),
            ..GpuReading::default()
        };
        let lines = gpu_lines(&gpu);
        assert_eq!(lines[1], "        145 W of 700 W · 62 °C · 1980 MHz · slowed: power limit");
        assert_eq!(lines[2], "        pid 7 not reported");
        let unknown = GpuReading { throttle: Some(vec![]), power_limit_w: None, power_w: None, ..gpu };
        assert_eq!(gpu_lines(&unknown)[1], "        62 °C · 1980 MHz");
        let asleep = GpuReading { name: "A".into(), absent: Some("asleep".into()), ..GpuReading::default() };
        assert_eq!(gpu_lines(&asleep), ["GPU     A: asleep"]);
    }
}
