use super::{
    Certainty, RESERVE, TenantKind,
    fixtures::{GB, adds_up, card, instance, ledger, machine, parts, runner, server, snapshot, usage},
};
use crate::{
    container::{
        ContainerReading,
        tests::{container, containers},
    },
    gauge::{GpuProcess, GpuReading, MemoryMeasure, OrphanedRunner, RunnerUsage},
    machine::MemoryKind,
    model::Instance,
    server::{Ownership, ServerKind},
    snapshot::Snapshot,
};

#[test]
fn mapped_weights_stand_beside_what_is_in_use_and_are_counted_once() {
    let ledger = ledger(&snapshot(), &machine(24 * GB, MemoryKind::Separate, vec![])).unwrap();
    adds_up(&ledger);
    assert_eq!(
        parts(&ledger.pools[0]),
        [
            (TenantKind::Instance, "QWEN", 2000),
            (TenantKind::MappedFiles, "QWEN, mapped files", 4000),
            (TenantKind::Server, "Ollama", 1000),
            (TenantKind::Pilothouse, "Pilothouse", 100),
            // 10 in use, of which 3.1 are named; the mapped files are not among the 10.
            (TenantKind::Other, "System and other programs", 6900),
        ]
    );
    assert_eq!(ledger.pools[0].free_bytes, 10 * GB);
    assert_eq!(ledger.headroom_bytes, 10 * GB - RESERVE);
    assert_eq!(ledger.in_use_bytes + ledger.reserve_bytes + ledger.headroom_bytes, ledger.ceiling.bytes);
    assert_eq!(ledger.residents()[0].bytes, 6 * GB, "without the model its files go too");
}

#[test]
fn a_server_that_cannot_be_read_is_taken_at_its_word_or_at_the_size_of_its_weights() {
    let mut snapshot = snapshot();
    snapshot.gauges.as_mut().unwrap().servers = vec![usage("ollama", None, 0, vec![])];
    let this = machine(24 * GB, MemoryKind::Separate, vec![]);
    let of = |snapshot: &Snapshot| {
        let ledger = ledger(snapshot, &this).unwrap();
        adds_up(&ledger);
        let first = ledger.pools[0].tenants[0].clone();
        (first.kind, first.certainty, first.bytes, ledger.unknown.len())
    };
    assert_eq!(of(&snapshot), (TenantKind::Instance, Certainty::Estimated, 4 * GB, 0));
    snapshot.instances[0].memory_bytes = Some(5 * GB);
    assert_eq!(of(&snapshot), (TenantKind::Instance, Certainty::Reported, 5 * GB, 0));
    snapshot.instances[0].memory_bytes = None;
    snapshot.models[0].model.size_bytes = None;
    let (kind, .., unknown) = of(&snapshot);
    assert_eq!((kind, unknown), (TenantKind::Pilothouse, 1), "what nobody knows is said, not guessed");
}

#[test]
fn what_runs_on_another_machine_holds_nothing_here() {
    let mut snapshot = snapshot();
    snapshot.servers = vec![server("ollama", ServerKind::OpenAi, Ownership::Remote, None)];
    snapshot.instances[0].memory_bytes = Some(5 * GB);
    snapshot.gauges.as_mut().unwrap().servers = vec![usage("ollama", None, 0, vec![])];
    let ledger = ledger(&snapshot, &machine(24 * GB, MemoryKind::Separate, vec![])).unwrap();
    assert!(ledger.residents().is_empty() && ledger.unknown.is_empty(), "{ledger:#?}");
}

#[test]
fn on_unified_memory_the_limit_of_the_gpu_and_the_free_memory_both_bind() {
    let mut snapshot = snapshot();
    let apple = machine(36 << 30, MemoryKind::Unified, vec![card("apple", None)]);
    let gauges = snapshot.gauges.as_mut().unwrap();
    gauges.memory_total_bytes = Some(36 << 30);
    gauges.gpus = vec![GpuReading {
        name: "Apple M4 Max".into(),
        vendor: "apple".into(),
        memory_used_bytes: Some(3 * GB),
        memory_total_bytes: Some(36 << 30),
        memory_shared: true,
        ..GpuReading::default()
    }];
    let roomy = ledger(&snapshot, &apple).unwrap();
    adds_up(&roomy);
    assert_eq!(roomy.pools.len(), 1, "a GPU buffer is part of the one memory");
    // 38.65 GB less 10 in use and 4 mapped leave 24.65; the limit of 30.15 less 3 on the GPU would leave 27.15.
    assert_eq!(roomy.headroom_bytes, (36 << 30) - 14 * GB - RESERVE);
    snapshot.gauges.as_mut().unwrap().gpus[0].memory_used_bytes = Some(20 * GB);
    let bound = ledger(&snapshot, &apple).unwrap();
    assert_eq!(bound.headroom_bytes, bound.ceiling.bytes - 20 * GB - RESERVE);
}

#[test]
fn a_gpu_with_memory_of_its_own_is_a_pool_of_its_own_and_comes_first() {
    let mut snapshot = snapshot();
    snapshot.instances[0] = instance("ollama", "qwen", Some(6 * GB), Some(5 * GB));
    let gauges = snapshot.gauges.as_mut().unwrap();
    gauges.servers = vec![usage("ollama", Some(2 * GB), 0, vec![])];
    gauges.gpus = vec![GpuReading {
        name: "H100".into(),
        vendor: "nvidia".into(),
        memory_used_bytes: Some(8 * GB),
        memory_total_bytes: Some(80 * GB),
        ..GpuReading::default()
    }];
    let this = machine(24 * GB, MemoryKind::Separate, vec![card("nvidia", Some(80 * GB))]);
    let ledger = ledger(&snapshot, &this).unwrap();
    adds_up(&ledger);
    assert_eq!(ledger.pools[0].title, "H100");
    assert_eq!(
        parts(&ledger.pools[0]),
        [(TenantKind::Instance, "QWEN", 5000), (TenantKind::Other, "Driver and other programs", 3000),]
    );
    // Its part in the machine's memory is the rest of what Ollama reports.
    assert_eq!(parts(&ledger.pools[1])[0], (TenantKind::Instance, "QWEN", 1000));
    assert_eq!(ledger.headroom_bytes, 72 * GB - RESERVE);
}

#[test]
fn what_the_driver_tells_of_a_process_goes_before_what_the_server_says() {
    let mut snapshot = snapshot();
    snapshot.instances[0] =
        Instance { pid: Some(8), ..instance("ollama", "qwen", Some(6 * GB), Some(5 * GB)) };
    let gauges = snapshot.gauges.as_mut().unwrap();
    let held = |pid, bytes| GpuProcess { pid, memory_bytes: Some(bytes) };
    let one = GpuReading {
        name: "A".into(),
        memory_used_bytes: Some(8 * GB),
        memory_total_bytes: Some(80 * GB),
        ..GpuReading::default()
    };
    gauges.gpus = vec![
        GpuReading { processes: vec![held(8, 4 * GB), held(7, GB), held(99, GB)], ..one.clone() },
        GpuReading { name: "B".into(), processes: vec![held(8, 2 * GB)], ..one },
    ];
    let this = machine(24 * GB, MemoryKind::Separate, vec![card("nvidia", Some(80 * GB))]);
    let ledger = ledger(&snapshot, &this).unwrap();
    adds_up(&ledger);
    let of = |title: &str| parts(ledger.pools.iter().find(|pool| pool.title == title).unwrap());
    let rest = "Driver and other programs";
    assert_eq!(
        of("A"),
        [
            (TenantKind::Instance, "QWEN", 4000),
            (TenantKind::Server, "Ollama", 1000),
            (TenantKind::Other, rest, 3000)
        ]
    );
    assert_eq!(of("B"), [(TenantKind::Instance, "QWEN", 2000), (TenantKind::Other, rest, 6000)]);
}

#[test]
fn containers_are_one_tenant_and_a_server_in_one_of_them_is_not_counted_again() {
    let mut snapshot = snapshot();
    let with = |bytes| ContainerReading { memory_bytes: Some(bytes), ..container("search") };
    snapshot.containers = Some(containers(vec![with(4 * GB)]));
    let this = machine(24 * GB, MemoryKind::Separate, vec![]);
    let held = |snapshot: &Snapshot, kind| {
        let ledger = ledger(snapshot, &this).unwrap();
        adds_up(&ledger);
        let of_kind = ledger.pools[0].tenants.iter().filter(|tenant| tenant.kind == kind);
        of_kind.map(|tenant| tenant.bytes).sum::<u64>()
    };
    assert_eq!(held(&snapshot, TenantKind::Containers), 4 * GB);
    // 10 in use, less 3 of Ollama, 0.1 of Pilothouse and 4 of the containers.
    assert_eq!(held(&snapshot, TenantKind::Other), 2 * GB + 9 * GB / 10);
    snapshot.servers[0].keeper = Some("in a container".into());
    assert_eq!(held(&snapshot, TenantKind::Containers), GB, "3 of the 4 are Ollama's");
    snapshot.containers = Some(containers(vec![ContainerReading { memory_bytes: None, ..with(0) }]));
    assert_eq!(held(&snapshot, TenantKind::Containers), 0);
}

#[test]
fn without_a_reading_of_memory_there_is_no_ledger() {
    let mut snapshot = snapshot();
    snapshot.gauges.as_mut().unwrap().memory_used_bytes = None;
    assert_eq!(ledger(&snapshot, &machine(24 * GB, MemoryKind::Separate, vec![])), None);
}

proptest::proptest! {
    /// Readings of different moments and sources may contradict each other; the pool still adds up.
    #[test]
    fn every_pool_adds_up(
        used in 0u64..30 * GB,
        tree in 0u64..30 * GB,
        mapped in 0u64..30 * GB,
        of_runner in 0u64..30 * GB,
        mapped_of_runner in 0u64..30 * GB,
        orphan in 0u64..30 * GB,
    ) {
        let mut snapshot = snapshot();
        let gauges = snapshot.gauges.as_mut().unwrap();
        gauges.memory_used_bytes = Some(used);
        gauges.servers = vec![usage("ollama", Some(tree), mapped, vec![runner("qwen", of_runner, mapped_of_runner)])];
        gauges.orphans = vec![OrphanedRunner {
            pid: 9,
            memory_bytes: Some(orphan),
            memory_bytes_absent: None,
            measure: None,
        }];
        let ledger = ledger(&snapshot, &machine(24 * GB, MemoryKind::Separate, vec![])).unwrap();
        adds_up(&ledger);
    }
}

#[test]
fn what_the_driver_keeps_for_itself_is_not_free() {
    let mut snapshot = snapshot();
    let reading = |reserved| GpuReading {
        name: "H100".into(),
        vendor: "nvidia".into(),
        memory_used_bytes: Some(0),
        memory_total_bytes: Some(80 * GB),
        memory_reserved_bytes: reserved,
        source: "NVML".into(),
        ..GpuReading::default()
    };
    let this = machine(24 * GB, MemoryKind::Separate, vec![card("nvidia", Some(80 * GB))]);
    let mut free = |reserved| {
        snapshot.gauges.as_mut().unwrap().gpus = vec![reading(reserved)];
        let ledger = ledger(&snapshot, &this).unwrap();
        adds_up(&ledger);
        (ledger.pools[0].free_bytes, ledger.headroom_bytes)
    };
    assert_eq!(free(None), (80 * GB, 80 * GB - RESERVE));
    assert_eq!(free(Some(GB / 2)), (80 * GB - GB / 2, 80 * GB - GB / 2 - RESERVE));
}

#[test]
fn a_model_kept_off_the_card_is_held_against_the_memory_of_the_machine() {
    let mut snapshot = snapshot();
    let plain = machine(24 * GB, MemoryKind::Separate, vec![]);
    let without = ledger(&snapshot, &plain).unwrap();
    assert_eq!(without.on_processor(), None, "models are there anyway");
    snapshot.gauges.as_mut().unwrap().gpus = vec![GpuReading {
        name: "card".into(),
        vendor: "nvidia".into(),
        memory_used_bytes: Some(7 * GB),
        memory_total_bytes: Some(8 * GB),
        ..GpuReading::default()
    }];
    let this = machine(24 * GB, MemoryKind::Separate, vec![card("nvidia", Some(8 * GB))]);
    let on_card = ledger(&snapshot, &this).unwrap();
    let beside = on_card.on_processor().unwrap();
    adds_up(&beside);
    assert_eq!(beside.headroom_bytes, without.headroom_bytes);
    assert!(!beside.ceiling.on_gpu && beside.pools[0].title == "Memory" && beside.pools[1].title == "card");
    assert_eq!(beside.residents().len(), 1, "the one in the machine's memory");
}

#[test]
fn a_footprint_without_the_weights_is_made_up_by_what_is_told_of_them() {
    let mut snapshot = snapshot();
    let apple = machine(24 * GB, MemoryKind::Unified, vec![card("apple", None)]);
    let held = |snapshot: &Snapshot| {
        let ledger = ledger(snapshot, &apple).unwrap();
        adds_up(&ledger);
        let files =
            ledger.pools[0].tenants.iter().find(|tenant| tenant.kind == TenantKind::MappedFiles).cloned();
        (ledger.residents()[0].bytes, files.map(|files| (files.bytes, files.certainty)))
    };
    let footprint =
        |bytes| RunnerUsage { measure: Some(MemoryMeasure::Footprint), ..runner("qwen", bytes, 0) };
    let mut with = |bytes| {
        let gauges = snapshot.gauges.as_mut().unwrap();
        gauges.servers = vec![usage("ollama", Some(bytes + GB), 0, vec![footprint(bytes)])];
        held(&snapshot)
    };
    // 4 GB of weights on disk.
    assert_eq!(with(GB), (4 * GB, Some((3 * GB, Certainty::Estimated))));
    assert_eq!(with(5 * GB), (5 * GB, None), "they are in it");
}

/// In a memory group the machine's own memory is out of reach.
#[test]
fn a_limit_of_memory_is_the_pool_and_the_ceiling() {
    let mut snapshot = snapshot();
    let gauges = snapshot.gauges.as_mut().unwrap();
    let source = "limit of the memory group /a (memory.max)".to_owned();
    gauges.memory_limit = Some(crate::machine::Sourced { value: 9 * GB, source: source.clone() });
    // As the gauges give it: 2 GB are left under the limit.
    (gauges.memory_used_bytes, gauges.memory_total_bytes) = (Some(7 * GB), Some(9 * GB));
    // The hardware was read before the limit was set.
    let ledger = ledger(&snapshot, &machine(24 * GB, MemoryKind::Separate, vec![])).unwrap();
    adds_up(&ledger);
    assert_eq!((ledger.ceiling.bytes, ledger.ceiling.source.as_str()), (9 * GB, source.as_str()));
    assert_eq!(ledger.pools[0].total_bytes, 9 * GB);
    assert!(ledger.headroom_bytes < 2 * GB, "{}", ledger.headroom_bytes);
}
