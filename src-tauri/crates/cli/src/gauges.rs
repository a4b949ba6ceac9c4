use crate::{
    document,
    output::{Output, quiet, table},
    session::Session,
};
use console::Term;
use pilothouse_domain::{
    Timestamp,
    container::ContainerReading,
    gauge::{Gauges, GpuReading, MemoryPressure},
    snapshot::Snapshot,
    units::gigabytes,
};
use pilothouse_engine::api::{ApiError, ErrorCode};

pub async fn run(watch: bool, output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    let (mut last, mut known) = (None, None);
    // Where nobody but a program reads, each sample is a document or a text of its own.
    let mut screen = (watch && !output.is_json()).then(Term::stdout).filter(Term::is_term).map(Redrawn::on);
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    loop {
        let news = tokio::select! {
            heard = &mut interrupt => return heard.map(|()| 130).map_err(|error| {
                ApiError::new(ErrorCode::System, format!("Ctrl-C could not be heard: {error}."))
            }),
            news = session.news(known) => news?,
        };
        if let Some(snapshot) = news {
            known = Some(snapshot.revision);
            match &snapshot.gauges {
                Some(gauges) if last != Some(gauges.at) || gauges.stale_s(Timestamp::now()).is_some() => {
                    last = Some(gauges.at);
                    match &mut screen {
                        Some(screen) => screen.show(&[bars(gauges), text(gauges, &snapshot)].join("\n"))?,
                        None => {
                            output.answer(document::gauges(gauges, &snapshot), || text(gauges, &snapshot))
                        }
                    }
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
    }
}

/// A part of a terminal that is written anew in its place.
struct Redrawn {
    terminal: Term,
    lines: usize,
}

impl Redrawn {
    fn on(terminal: Term) -> Self {
        Self { terminal, lines: 0 }
    }

    /// Takes the place of what was shown before. What has no room is left out at the end: a terminal cannot take back what has
    /// left it at its top.
    fn show(&mut self, text: &str) -> Result<(), ApiError> {
        let (height, width) = self.terminal.size();
        let room = usize::from(height).saturating_sub(2).max(1);
        let mut lines: Vec<String> = text
            .lines()
            .take(room)
            .map(|line| console::truncate_str(line, width.into(), "…").into_owned())
            .collect();
        lines.push(quiet("Ctrl-C ends this."));
        let written = self
            .terminal
            .clear_last_lines(self.lines)
            .and_then(|()| self.terminal.write_line(&lines.join("\n")));
        self.lines = lines.len();
        written.map_err(|error| {
            ApiError::new(ErrorCode::System, format!("The terminal takes nothing: {error}."))
        })
    }
}

/// Processor, memory and GPUs as bars, as far as they are told.
fn bars(gauges: &Gauges) -> String {
    let line = |name: &str, percent: Option<f64>, words: String| {
        percent.map(|percent| format!("{name:<8}{} {words}", bar(percent)))
    };
    let share = |used: Option<u64>, total: Option<u64>| {
        used.zip(total.filter(|total| *total > 0)).map(|(used, total)| 100.0 * used as f64 / total as f64)
    };
    let percent = |value: Option<f64>| value.map(|value| format!("{value:.0} %")).unwrap_or_default();
    let memory = share(gauges.memory_used_bytes, gauges.memory_total_bytes);
    let mut lines = vec![
        line("CPU", gauges.cpu_percent, percent(gauges.cpu_percent)),
        line("Memory", memory, percent(memory)),
    ];
    for gpu in &gauges.gpus {
        lines.push(line("GPU", gpu.load_percent, percent(gpu.load_percent)));
        let held = share(gpu.memory_used_bytes, gpu.memory_total_bytes).filter(|_| !gpu.memory_shared);
        lines.push(line("", held, format!("{} of its memory", percent(held))));
    }
    lines.into_iter().flatten().map(|line| line + "\n").collect()
}

/// "██████░░░░░░░░░░░░░░": a twentieth each.
fn bar(percent: f64) -> String {
    const STEPS: usize = 20;
    let full = ((percent / 100.0 * STEPS as f64).round() as usize).min(STEPS);
    format!("{}{}", "█".repeat(full), "░".repeat(STEPS - full))
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
    fn bars_are_as_long_as_their_share_and_absent_ones_are_left_out() {
        let drawn = |percent| bar(percent).chars().filter(|mark| *mark == '█').count();
        assert_eq!([0.0, 2.4, 2.6, 50.0, 100.0, 250.0].map(drawn), [0, 0, 1, 10, 20, 20]);
        let gauges = serde_json::json!({
            "at": "2026-11-20T09:00:00Z", "cpu_cores": 4, "gpus": [], "servers": [], "orphans": [], "self": {},
            "cpu_percent": 50.0, "memory_used_bytes": 1,
        });
        let gauges: Gauges = serde_json::from_value(gauges).unwrap();
        assert_eq!(bars(&gauges), "CPU     ██████████░░░░░░░░░░ 50 %\n", "of how much memory is not told");
    }

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
