//! Divides one memory among its tenants.

use super::{
    readings::Readings,
    tenants::{Certainty, Pool, Tenant, TenantKind, divided, sum},
};
use crate::{
    gauge::{GpuReading, MemoryMeasure, ServerUsage},
    model::Instance,
    server::ServerId,
    units::gigabytes,
};

/// The title of the machine's own memory.
pub(super) const MEMORY: &str = "Memory";

/// Where a server's own figure comes from.
const THEIR_LIST: &str = "its own list of what is in memory";

/// The memory of the machine.
pub(super) fn memory(readings: &Readings<'_>, unknown: &mut Vec<String>) -> Option<Pool> {
    let gauges = readings.gauges;
    let (total, in_use) = gauges.memory_used_bytes.zip(gauges.memory_total_bytes).map(|(u, t)| (t, u))?;
    let mut tenants = Vec::new();
    for usage in &gauges.servers {
        match usage.memory_bytes {
            Some(bytes) => measured_server(readings, usage, bytes, &mut tenants),
            None => told_instances(readings, &usage.id, &mut tenants, unknown),
        }
    }
    for orphan in &gauges.orphans {
        if let Some(bytes) = orphan.memory_bytes {
            let title = format!("Left over, pid {}", orphan.pid);
            let source = "the process of an Ollama that has died";
            tenants.push(tenant(TenantKind::Orphan, title, bytes, Certainty::Measured, source));
        }
    }
    tenants.extend(containers(readings, &tenants));
    if let Some(bytes) = gauges.own.memory_bytes {
        let source = measured_by(gauges.own.measure);
        tenants.push(tenant(TenantKind::Pilothouse, "Pilothouse".into(), bytes, Certainty::Measured, source));
    }
    let known = sum(&tenants, |kind| kind != TenantKind::MappedFiles);
    let title = "System and other programs".to_owned();
    let source = "in use, says the system, less all that is named here";
    tenants.push(tenant(
        TenantKind::Other,
        title,
        in_use.saturating_sub(known),
        Certainty::Remainder,
        source,
    ));
    Some(divided(MEMORY, total, tenants))
}

/// Memory of its own of one GPU; `None`: it has none, or does not tell.
pub(super) fn gpu(readings: &Readings<'_>, gpu: &GpuReading) -> Option<Pool> {
    let gauges = readings.gauges;
    let (total, in_use) = gpu.own_memory_bytes().zip(gpu.memory_used_bytes)?;
    let mut tenants = Vec::new();
    // What a server reports of an instance says nothing of which GPU holds it.
    let alone = gauges.gpus.iter().filter(|gpu| gpu.own_memory_bytes().is_some()).count() == 1;
    for instance in readings.instances.iter().filter(|one| !readings.is_elsewhere(&one.server)) {
        let measured = instance.pid.and_then(|pid| Some((pid, gpu.held_by(pid)?)));
        let (bytes, certainty, source) = match (measured, instance.gpu_memory_bytes.filter(|_| alone)) {
            (Some((pid, bytes)), told) => {
                let source = format!("process {pid}, {}{}", gpu.source, also_told(told));
                (bytes, Certainty::Measured, source)
            }
            (None, Some(bytes)) => (bytes, Certainty::Reported, THEIR_LIST.to_owned()),
            (None, None) => continue,
        };
        tenants.push(of_instance(readings, instance, bytes, certainty, source));
    }
    for usage in &gauges.servers {
        let of_runner = |pid: &&u32| usage.runners.iter().any(|runner| runner.pid == **pid);
        let beside = usage.pids.iter().filter(|pid| !of_runner(pid)).filter_map(|pid| gpu.held_by(*pid));
        let source = format!("its processes without an instance of their own, {}", gpu.source);
        let title = readings.server_title(&usage.id);
        let server = tenant(TenantKind::Server, title, beside.sum(), Certainty::Measured, source);
        tenants.push(Tenant { server: Some(usage.id.clone()), ..server });
    }
    let known = sum(&tenants, |_| true);
    if let Some(bytes) = gpu.memory_reserved_bytes {
        let source = format!("kept by the driver for itself, says {}: neither in use nor free", gpu.source);
        tenants.push(tenant(
            TenantKind::Other,
            "Driver, reserved".into(),
            bytes,
            Certainty::Measured,
            source,
        ));
    }
    let source = format!("in use, says {}, less all that is named here", gpu.source);
    tenants.push(tenant(
        TenantKind::Other,
        "Driver and other programs".into(),
        in_use.saturating_sub(known),
        Certainty::Remainder,
        source,
    ));
    Some(divided(&gpu.name, total, tenants))
}

/// All containers together. A server of ours to watch that runs in one is a tenant of its own already.
fn containers(readings: &Readings<'_>, others: &[Tenant]) -> Option<Tenant> {
    let containers = readings.containers?;
    let inside = |id: &ServerId| {
        let keeper = readings.server(id).and_then(|server| server.keeper);
        keeper.is_some_and(|keeper| keeper.contains("container"))
    };
    let counted: u64 = others
        .iter()
        .filter(|tenant| tenant.kind != TenantKind::MappedFiles && tenant.server.as_ref().is_some_and(inside))
        .map(|tenant| tenant.bytes)
        .sum();
    let bytes = containers.memory_bytes()?.saturating_sub(counted);
    let up = containers.list.iter().filter(|one| one.state.is_up()).count();
    let count =
        if up == 1 { "1 container that is up".into() } else { format!("{up} containers that are up") };
    let source = format!("{count}, as Docker tells it, without the file cache that is not in use");
    Some(tenant(TenantKind::Containers, "Containers".into(), bytes, Certainty::Measured, source))
}

/// A server whose processes can be read: its instances, the files that they map, and the rest of its own.
fn measured_server(readings: &Readings<'_>, usage: &ServerUsage, bytes: u64, tenants: &mut Vec<Tenant>) {
    let title = readings.server_title(&usage.id);
    let here = |instance: &&Instance| instance.server == usage.id;
    let how = measured_by(usage.measure);
    let (mut of_instances, mut mapped_of_instances) = (0, 0);
    for runner in &usage.runners {
        let Some(instance) = readings.instances.iter().filter(here).find(|one| one.id == runner.instance)
        else {
            continue;
        };
        let Some(all) = runner.memory_bytes else { continue };
        let mapped = runner.mapped_bytes.unwrap_or_default().min(all);
        let beside = also_told(instance.memory_bytes);
        let source = format!("process {}, {}{beside}", runner.pid, measured_by(runner.measure));
        tenants.push(of_instance(readings, instance, all - mapped, Certainty::Measured, source));
        let source = format!(
            "process {}: files that it maps, mostly weights; the system counts them as available",
            runner.pid
        );
        let files = |bytes, certainty, source| {
            let files = of_instance(readings, instance, bytes, certainty, source);
            let title = format!("{}, mapped files", files.title);
            Tenant { kind: TenantKind::MappedFiles, title, ..files }
        };
        tenants.push(files(mapped, Certainty::Measured, source));
        // A footprint need not hold the weights that the GPU reads from the file (reference: telemetry, section 5.1).
        let told = told(readings, instance).filter(|_| runner.measure == Some(MemoryMeasure::Footprint));
        if let Some((bytes, certainty, source)) = told.filter(|(bytes, ..)| *bytes > all) {
            tenants.push(files(bytes - all, certainty, format!("{source}; less its footprint")));
        }
        of_instances += all - mapped;
        mapped_of_instances += mapped;
    }
    let mapped = usage.mapped_bytes.unwrap_or_default().min(bytes);
    let mut left = (bytes - mapped).saturating_sub(of_instances);
    // Instances without a process of their own live in the server's.
    let unseen = |instance: &&Instance| !usage.runners.iter().any(|runner| runner.instance == instance.id);
    for instance in readings.instances.iter().filter(here).filter(unseen) {
        if let Some((bytes, certainty, source)) = told(readings, instance) {
            let bytes = bytes.min(left);
            left -= bytes;
            tenants.push(of_instance(readings, instance, bytes, certainty, source));
        }
    }
    let own = |kind, title, bytes, source: String| Tenant {
        server: Some(usage.id.clone()),
        ..tenant(kind, title, bytes, Certainty::Measured, source)
    };
    let processes = match usage.processes {
        1 => "1 process".to_owned(),
        count => format!("{count} processes"),
    };
    let source = format!("{processes}, {how}, less its instances");
    tenants.push(own(TenantKind::Server, title.clone(), left, source));
    let source = "files that its processes map; the system counts them as available".to_owned();
    let rest = mapped.saturating_sub(mapped_of_instances);
    tenants.push(own(TenantKind::MappedFiles, format!("{title}, mapped files"), rest, source));
}

/// A server whose processes cannot be read, or that runs elsewhere: what it says of its instances counts.
fn told_instances(
    readings: &Readings<'_>,
    server: &ServerId,
    tenants: &mut Vec<Tenant>,
    unknown: &mut Vec<String>,
) {
    if readings.is_elsewhere(server) {
        return;
    }
    for instance in readings.instances.iter().filter(|instance| instance.server == *server) {
        match told(readings, instance) {
            Some((bytes, certainty, source)) => {
                tenants.push(of_instance(readings, instance, bytes, certainty, source));
            }
            None => unknown.push(format!(
                "{} on {}: neither the system nor the server tells its memory",
                readings.model_title(server, &instance.model),
                readings.server_title(server)
            )),
        }
    }
}

/// Bytes in the machine's memory as far as the server or the size of the weights tells.
fn told(readings: &Readings<'_>, instance: &Instance) -> Option<(u64, Certainty, String)> {
    if let Some(bytes) = instance.memory_bytes {
        let own_gpu = readings.gauges.gpus.iter().any(|gpu| gpu.own_memory_bytes().is_some());
        let elsewhere = instance.gpu_memory_bytes.filter(|_| own_gpu).unwrap_or_default();
        return Some((bytes.saturating_sub(elsewhere), Certainty::Reported, THEIR_LIST.to_owned()));
    }
    let model = readings.model(&instance.server, &instance.model)?;
    let source = "the size of its weights on disk: neither system nor server tells its memory".to_owned();
    Some((model.size_bytes?, Certainty::Estimated, source))
}

fn of_instance(
    readings: &Readings<'_>,
    instance: &Instance,
    bytes: u64,
    certainty: Certainty,
    source: String,
) -> Tenant {
    Tenant {
        kind: TenantKind::Instance,
        title: readings.model_title(&instance.server, &instance.model),
        server: Some(instance.server.clone()),
        model: Some(instance.model.clone()),
        bytes,
        certainty,
        source,
    }
}

fn tenant(
    kind: TenantKind,
    title: String,
    bytes: u64,
    certainty: Certainty,
    source: impl Into<String>,
) -> Tenant {
    Tenant { kind, title, server: None, model: None, bytes, certainty, source: source.into() }
}

fn measured_by(measure: Option<MemoryMeasure>) -> &'static str {
    match measure {
        Some(MemoryMeasure::Pss) => "proportional set size",
        Some(MemoryMeasure::Rss) => "resident set size: shared pages count in each process",
        Some(MemoryMeasure::Footprint) => "physical footprint",
        None => "as the system tells it",
    }
}

/// What the server itself says of an instance that was measured.
fn also_told(bytes: Option<u64>) -> String {
    bytes.map(|bytes| format!("; its server says {}", gigabytes(bytes))).unwrap_or_default()
}
