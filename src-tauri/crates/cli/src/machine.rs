use crate::{document::with_reasons, output::Output, session::Session};
use pilothouse_domain::{
    machine::{Gpu, Machine, MemoryKind, Sourced},
    units::{as_sold, exact_bytes, gigabytes},
};
use pilothouse_engine::api::{ApiError, Call, Reply};
use pilothouse_system::hardware;
use serde_json::json;

/// Needs no running engine: hardware is the same for everybody. One that runs has read it already.
pub async fn run(output: &Output) -> Result<u8, ApiError> {
    let known = match Session::connect() {
        Ok(session) => session.call(Call::Machine).await.ok(),
        Err(_) => None,
    };
    let machine = match known {
        Some(Reply::Machine { machine }) => machine,
        _ => hardware::this_machine().await,
    };
    let document = with_reasons(
        json!(machine),
        &[
            ("model", "this system does not tell it"),
            ("neural_engine", "this machine has none that is known"),
            ("metal", "not macOS, or not told"),
            ("driver", "no GPU driver that is read"),
            ("os", "this system does not tell it"),
            ("gpu_limit_override_bytes", "nobody has set it"),
        ],
    );
    output.answer(document, || text(&machine));
    Ok(0)
}

fn text(machine: &Machine) -> String {
    let cores = match (machine.cores.performance, machine.cores.efficiency) {
        (Some(fast), Some(slow)) => format!("{fast} performance, {slow} efficiency"),
        (Some(cores), None) => cores.to_string(),
        (None, _) => "not told".into(),
    };
    let bandwidth = match (&machine.bandwidth_gb_s, &machine.bandwidth_gb_s_absent) {
        (Some(known), _) => format!("{:.0} GB/s ({})", known.value, known.source),
        (None, reason) => format!("not known: {}", reason.as_deref().unwrap_or("not told")),
    };
    let shared = if machine.memory_kind == MemoryKind::Unified { ", shared with the GPU" } else { "" };
    let ceiling = machine.ceiling();
    let mut lines: Vec<String> = machine.model.iter().map(|model| format!("Model      {model}")).collect();
    lines.extend([
        format!("Chip       {}", machine.chip),
        format!("Cores      {cores}"),
        format!("Memory     {}{shared}", installed(machine.memory_bytes)),
        format!("Bandwidth  {bandwidth}"),
    ]);
    lines.extend(machine.gpus.iter().map(gpu_line));
    if machine.gpus.is_empty() {
        lines.push("GPU        none found".into());
    }
    lines.push(format!("Ceiling    {} ({})", gigabytes(ceiling.bytes), ceiling.source));
    lines.extend(machine.neural_engine.iter().map(|told| format!("Neural     {told}")));
    lines.extend(machine.metal.iter().map(|version| format!("Metal      {version}")));
    lines.extend(machine.os.iter().map(|os| format!("System     {os}")));
    lines.extend(machine.driver.iter().map(|driver| format!("Driver     {driver}")));
    lines.join("\n")
}

/// Memory as the machine was sold with it, and exactly; where the system keeps a part to itself, what it says that there is.
fn installed(bytes: u64) -> String {
    match as_sold(bytes) {
        Some(sold) => format!("{sold} ({} bytes)", exact_bytes(bytes)),
        None => format!("{} ({} bytes)", gigabytes(bytes), exact_bytes(bytes)),
    }
}

fn gpu_line(gpu: &Gpu) -> String {
    let memory = match (gpu.memory_bytes.map(gigabytes), gpu.reachable_bytes.map(gigabytes)) {
        (Some(aside), Some(more)) => Some(format!("{aside} set aside and {more} of the machine's memory")),
        (Some(aside), None) if gpu.memory_shared => {
            Some(format!("{aside} of the machine's memory set aside"))
        }
        (own, _) => own,
    };
    let rate = |known: &Sourced<f64>| format!("{:.0} GB/s ({})", known.value, known.source);
    let parts = [
        gpu.cores.map(|cores| format!("{cores} cores")),
        memory,
        gpu.bandwidth_gb_s.as_ref().map(rate),
        gpu.compute_capability.as_ref().map(|version| format!("compute capability {version}")),
    ];
    let name = std::iter::once(gpu.name.clone());
    format!("GPU        {}", name.chain(parts.into_iter().flatten()).collect::<Vec<_>>().join(", "))
}
