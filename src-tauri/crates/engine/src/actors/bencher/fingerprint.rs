//! What a run was measured on: two runs with the same fingerprint may be compared.

use pilothouse_domain::{
    bench::Fingerprint,
    machine::{Gpu, Machine, MemoryKind},
    model::{Instance, Model},
    snapshot::Snapshot,
};
use pilothouse_system::hardware::Power;

/// `instance`: the one that is measured. What is not known is said to be so.
pub(super) fn fingerprint(
    snapshot: &Snapshot,
    model: &Model,
    instance: &Instance,
    machine: &Machine,
    power: &Power,
) -> Fingerprint {
    let mut fingerprint = Fingerprint::new();
    let mut note = |key: &str, value: Option<String>| {
        fingerprint.insert(key.into(), value.unwrap_or_else(|| "not reported".into()));
    };
    let server = snapshot.server(&model.server);
    note("pilothouse", Some(snapshot.engine.version.clone()));
    note("server", Some(model.server.to_string()));
    note("server_version", server.and_then(|s| s.version.clone()));
    note("server_ownership", server.and_then(|s| s.ownership).map(|o| format!("{o:?}").to_lowercase()));
    note("model", Some(model.name.clone()));
    note("format", model.format.clone());
    note("quantization", model.quantization.clone());
    note("parameters", model.parameters.clone());
    note("size_bytes", model.size_bytes.map(|bytes| bytes.to_string()));
    note("context", instance.context.map(|tokens| tokens.to_string()));
    note("parallel", instance.slots.map(|slots| slots.to_string()));
    // Its supervisor knows these of a server of ours.
    for key in [
        "weights_digest",
        "bits_per_weight",
        "kv_type",
        "flash_attention",
        "gpu_layers",
        "batch",
        "draft_model",
    ] {
        note(key, None);
    }
    // Every server gets the words as they are.
    note("template", Some("none".into()));
    note("power_source", power.on_battery.map(|on| if on { "battery" } else { "mains" }.into()));
    note("power_mode", power.mode.clone());
    note("os", machine.os.clone().or_else(|| sysinfo::System::long_os_version().ok()));
    note("kernel", sysinfo::System::kernel_version().ok());
    note("architecture", Some(std::env::consts::ARCH.into()));
    note("machine", machine.model.clone());
    note("chip", Some(machine.chip.clone()));
    note("performance_cores", machine.cores.performance.map(|cores| cores.to_string()));
    note("efficiency_cores", machine.cores.efficiency.map(|cores| cores.to_string()));
    note("cpu_cores", snapshot.gauges.as_ref().map(|gauges| gauges.cpu_cores.to_string()));
    note("memory_bytes", (machine.memory_bytes > 0).then(|| machine.memory_bytes.to_string()));
    let kind = if machine.memory_kind == MemoryKind::Unified { "unified" } else { "separate" };
    note("memory_kind", Some(kind.into()));
    note(
        "bandwidth_gb_s",
        machine.bandwidth().map(|sourced| format!("{} ({})", sourced.value, sourced.source)),
    );
    note("gpus", Some(gpus(&machine.gpus)));
    let of_model = |one: &&Instance| one.server == model.server && one.model == model.name;
    let off_card = snapshot.instances.iter().find(of_model).and_then(|one| snapshot.is_off_card(one));
    note("computes_on", off_card.map(|off| if off { "processor" } else { "card" }.into()));
    note("gpu_driver", machine.driver.clone());
    note("metal", machine.metal.clone());
    let others =
        snapshot.instances.iter().filter(|i| i.server != model.server || i.model != model.name).count();
    note("other_instances", Some(others.to_string()));
    fingerprint
}

fn gpus(gpus: &[Gpu]) -> String {
    let one = |gpu: &Gpu| match gpu.cores {
        Some(cores) => format!("{} ({cores} cores)", gpu.name),
        None => gpu.name.clone(),
    };
    let names: Vec<String> = gpus.iter().map(one).collect();
    if names.is_empty() { "none found".to_owned() } else { names.join(", ") }
}
