//! A machine with servers and models in its memory, for the tests of the ledger.

use super::*;
use crate::{
    gauge::{Gauges, MemoryMeasure, OwnUsage, RunnerUsage, ServerUsage},
    lifecycle::ServerState,
    machine::{Cores, Gpu, MemoryKind},
    model::{Expiry, Instance, Model, ModelPurpose},
    server::{Abilities, Ownership, ServerKind},
    snapshot::{EngineView, ModelView, ServerView, Snapshot},
};

pub const GB: u64 = 1_000_000_000;

/// As the hub draws it up.
pub fn ledger(snapshot: &Snapshot, machine: &Machine) -> Option<Ledger> {
    super::ledger(&snapshot.readings()?, machine)
}

pub fn machine(memory: u64, kind: MemoryKind, gpus: Vec<Gpu>) -> Machine {
    Machine {
        model: None,
        chip: "test".into(),
        cores: Cores::default(),
        cpu_features: None,
        memory_bytes: memory,
        memory_limit: None,
        memory_kind: kind,
        bandwidth_gb_s: None,
        bandwidth_gb_s_absent: Some("not told".into()),
        gpus,
        neural_engine: None,
        metal: None,
        os: None,
        driver: None,
        gpu_limit_override_bytes: None,
    }
}

pub fn card(vendor: &str, memory_bytes: Option<u64>) -> Gpu {
    Gpu {
        name: "card".into(),
        vendor: vendor.into(),
        cores: Some(32),
        memory_bytes,
        memory_shared: memory_bytes.is_none(),
        ..Gpu::default()
    }
}

pub fn server(id: &str, kind: ServerKind, ownership: Ownership, pid: Option<u32>) -> ServerView {
    ServerView {
        id: id.into(),
        kind,
        title: kind.title().into(),
        ownership: Some(ownership),
        state: ServerState::Ready,
        reason: None,
        hint: None,
        endpoint: None,
        version: None,
        pid,
        keeper: None,
        program: None,
        backend: None,
        restarts: 0,
        abilities: Abilities::default(),
        since: Timestamp::UNIX_EPOCH,
        standing: Default::default(),
    }
}

pub fn model(server: &str, name: &str, size_bytes: Option<u64>) -> ModelView {
    let model = Model {
        server: server.into(),
        name: name.into(),
        title: name.to_uppercase(),
        purpose: ModelPurpose::Llm,
        format: None,
        quantization: None,
        parameters: None,
        size_bytes,
        context_max: None,
        damaged: None,
    };
    ModelView {
        id: model.reference().id(),
        model,
        loaded: true,
        active: false,
        fits: None,
        fits_reason: String::new(),
        needed_bytes: None,
        off_card: false,
        standing: Default::default(),
    }
}

pub fn instance(server: &str, name: &str, memory: Option<u64>, gpu: Option<u64>) -> Instance {
    Instance {
        id: name.into(),
        server: server.into(),
        model: name.into(),
        memory_bytes: memory,
        gpu_memory_bytes: gpu,
        context: None,
        expiry: Expiry::Never,
        pid: None,
        port: None,
        slots: None,
        orphaned_answers: None,
    }
}

pub fn usage(id: &str, memory: Option<u64>, mapped: u64, runners: Vec<RunnerUsage>) -> ServerUsage {
    ServerUsage {
        id: id.into(),
        memory_bytes: memory,
        memory_bytes_absent: memory.is_none().then(|| "permission denied".into()),
        mapped_bytes: memory.map(|_| mapped),
        cpu_percent: None,
        measure: Some(MemoryMeasure::Pss),
        processes: 2,
        pids: vec![7, 8],
        runners,
    }
}

pub fn runner(instance: &str, memory: u64, mapped: u64) -> RunnerUsage {
    RunnerUsage {
        instance: instance.into(),
        pid: 8,
        memory_bytes: Some(memory),
        mapped_bytes: Some(mapped),
        shared_bytes: None,
        measure: Some(MemoryMeasure::Pss),
    }
}

/// A machine of 24 GB with 10 in use, and an Ollama with one model.
pub fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot::empty(EngineView::default(), Timestamp::UNIX_EPOCH);
    snapshot.servers = vec![server("ollama", ServerKind::Ollama, Ownership::Ours, Some(7))];
    snapshot.models = vec![model("ollama", "qwen", Some(4 * GB))];
    snapshot.instances = vec![instance("ollama", "qwen", None, None)];
    snapshot.gauges = Some(Gauges {
        at: Timestamp::UNIX_EPOCH,
        interval_ms: Some(1000),
        cpu_percent: None,
        cpu_cores: 2,
        memory_used_bytes: Some(10 * GB),
        memory_total_bytes: Some(24 * GB),
        swap_used_bytes: None,
        swap_total_bytes: None,
        memory_limit: None,
        memory_pressure: None,
        gpus: vec![],
        gpus_absent: Some("no GPU found".into()),
        servers: vec![usage("ollama", Some(7 * GB), 4 * GB, vec![runner("qwen", 6 * GB, 4 * GB)])],
        orphans: vec![],
        own: OwnUsage { cpu_percent: None, memory_bytes: Some(GB / 10), measure: None },
        silent: vec![],
    });
    snapshot
}

pub fn parts(pool: &Pool) -> Vec<(TenantKind, &str, u64)> {
    pool.tenants.iter().map(|tenant| (tenant.kind, tenant.title.as_str(), tenant.bytes / 1_000_000)).collect()
}

pub fn adds_up(ledger: &Ledger) {
    for pool in &ledger.pools {
        let sum: u64 = pool.tenants.iter().map(|tenant| tenant.bytes).sum();
        assert_eq!(sum, pool.used_bytes, "{pool:#?}");
        assert_eq!(pool.used_bytes + pool.free_bytes, pool.total_bytes, "{pool:#?}");
    }
    assert_eq!(ledger.pools.iter().filter(|pool| pool.for_models).count(), 1);
    assert!(ledger.pools[0].for_models);
}
