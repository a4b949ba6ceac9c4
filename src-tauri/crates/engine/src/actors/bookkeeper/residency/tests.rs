use super::*;
use pilothouse_domain::{
    estimate::OnCpu,
    gauge::GpuReading,
    server::Abilities,
    snapshot::{EngineView, ServerView},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const MB: u64 = 1_000_000;

fn from<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A machine of 24 GB; with a card of its own memory, or without.
fn machine(card: bool) -> Machine {
    let card = card.then(|| json!({ "name": "card", "vendor": "nvidia", "memory_bytes": 16_000 * MB }));
    from(json!({
        "chip": "test", "cores": {}, "memory_bytes": 24_000 * MB,
        "memory_kind": "separate", "gpus": card.into_iter().collect::<Vec<_>>(),
    }))
}

/// An Ollama with one model, whose process 8 holds it.
fn snapshot(bytes: u64) -> Snapshot {
    let mut snapshot = Snapshot::empty(EngineView::default(), Timestamp::UNIX_EPOCH);
    let server: ServerView = from(json!({
        "id": "ollama", "kind": "ollama", "title": "Ollama", "state": "ready", "restarts": 0, "version": "0.32.0",
        "abilities": Abilities::default(), "since": Timestamp::UNIX_EPOCH,
    }));
    snapshot.servers = vec![server];
    snapshot.models = from(json!([{
        "id": "ollama/qwen", "server": "ollama", "name": "qwen", "title": "Qwen", "purpose": "llm", "size_bytes": 400 * MB,
        "loaded": true, "active": false, "fits_reason": "",
    }]));
    snapshot.instances = from(json!([{
        "id": "qwen", "server": "ollama", "model": "qwen", "context": 2048, "expiry": "never", "pid": 8,
    }]));
    snapshot.gauges = from(json!({
        "at": Timestamp::UNIX_EPOCH, "cpu_cores": 8, "gpus": [], "orphans": [], "self": {},
        "servers": [{
            "id": "ollama", "processes": 2, "pids": [7, 8],
            "runners": [{ "instance": "qwen", "pid": 8, "memory_bytes": bytes }],
        }],
    }));
    snapshot
}

fn unloaded() -> Snapshot {
    let mut snapshot = snapshot(0);
    snapshot.instances.clear();
    snapshot
}

struct Books(Residency, Machine);

impl Books {
    fn new() -> Self {
        Self(Residency::default(), machine(false))
    }

    /// Row and peak in MB of each load that shall be written.
    fn see(&mut self, snapshot: &Snapshot) -> Vec<(Option<i64>, u64)> {
        let due = self.0.see(snapshot, &self.1, &Settings::default());
        due.into_iter().map(|due| (due.row, due.load.peak_bytes / MB)).collect()
    }

    /// As if the last writing were long ago.
    fn wait(&mut self) {
        for tracked in self.0.instances.values_mut() {
            tracked.since = tracked.since.checked_sub(WRITE_EVERY).unwrap();
        }
    }
}

#[test]
fn an_instance_that_leaves_is_written_with_the_most_that_it_held() {
    let mut books = Books::new();
    for megabytes in [300, 500, 450] {
        assert_eq!(books.see(&snapshot(megabytes * MB)), []);
    }
    let due = books.0.see(&unloaded(), &books.1, &Settings::default());
    let [Due { instance, row: None, load }] = &due[..] else { panic!("{} loads", due.len()) };
    assert_eq!(instance, &(ServerId::new("ollama"), "qwen".to_owned()));
    assert_eq!(load.peak_bytes, 500 * MB);
    let LoadKey { server_version, model, size_bytes, wish, on_gpu, .. } = &load.key;
    assert_eq!((server_version.as_deref(), model.as_str()), (Some("0.32.0"), "qwen"));
    assert_eq!((*size_bytes, wish.context, *on_gpu), (Some(400 * MB), 2048, false));
    assert_eq!(books.see(&unloaded()), [], "once");
}

#[test]
fn what_another_process_shares_is_no_saving() {
    let mut books = Books::new();
    let mut halved = snapshot(200 * MB);
    halved.gauges.as_mut().unwrap().servers[0].runners[0].shared_bytes = Some(150 * MB);
    assert_eq!(books.see(&halved), []);
    let due = books.0.see(&unloaded(), &books.1, &Settings::default());
    assert_eq!(due[0].load.peak_bytes, 350 * MB);
}

#[test]
fn a_peak_is_written_now_and_then_and_again_only_when_it_has_grown() {
    let mut books = Books::new();
    let key = (ServerId::new("ollama"), "qwen".to_owned());
    books.see(&snapshot(300 * MB));
    assert_eq!(books.see(&snapshot(310 * MB)), [], "not with each sample");
    books.wait();
    assert_eq!(books.see(&snapshot(310 * MB)), [(None, 310)]);
    books.0.written(&key, 5);
    books.wait();
    assert_eq!(books.see(&snapshot(312 * MB)), [], "less than a hundredth more");
    books.wait();
    assert_eq!(books.see(&snapshot(400 * MB)), [(Some(5), 400)], "the same load, the same row");
    assert!(books.0.end().is_empty(), "all is written");
    books.see(&snapshot(300 * MB));
    assert_eq!(books.0.end().len(), 1, "what is in memory at the end");
}

#[test]
fn a_reading_that_is_missing_for_once_is_no_unload() {
    let mut books = Books::new();
    books.see(&snapshot(300 * MB));
    let mut blind = snapshot(0);
    blind.gauges.as_mut().unwrap().servers[0].runners.clear();
    assert_eq!(books.see(&blind), []);
    blind.gauges = None;
    assert_eq!(books.see(&blind), []);
    books.see(&snapshot(200 * MB));
    assert_eq!(books.see(&unloaded()), [(None, 300)], "one load with one peak");
}

#[test]
fn another_process_is_another_load() {
    let mut books = Books::new();
    books.see(&snapshot(300 * MB));
    let mut again = snapshot(200 * MB);
    again.instances[0].pid = None;
    assert_eq!(books.see(&again), [], "its process could not be seen for once");
    again.instances[0].pid = Some(9);
    assert_eq!(books.see(&again), [(None, 300)]);
    assert_eq!(books.see(&unloaded()), [(None, 200)]);
}

#[test]
fn what_no_reading_tells_teaches_nothing() {
    let mut books = Books::new();
    let mut untold = snapshot(300 * MB);
    untold.gauges.as_mut().unwrap().servers[0].runners[0].memory_bytes = None;
    books.see(&untold);
    assert_eq!(books.see(&unloaded()), []);
    let mut unlisted = snapshot(300 * MB);
    unlisted.models.clear();
    books.see(&unlisted);
    assert_eq!(books.see(&unloaded()), [], "a model that is not listed has no size to be known by");
}

#[test]
fn on_a_card_its_own_memory_counts_or_what_the_server_says_of_it() {
    let card = machine(true);
    let mut snapshot = snapshot(300 * MB);
    assert_eq!(held(&snapshot, &card, &snapshot.instances[0], Place::Gpu), None);
    snapshot.instances[0].gpu_memory_bytes = Some(700 * MB);
    assert_eq!(held(&snapshot, &card, &snapshot.instances[0], Place::Gpu), Some(700 * MB));
    let holding = |pid, megabytes: u64| -> GpuReading {
        from(json!({ "processes": [{ "pid": pid, "memory_bytes": megabytes * MB }] }))
    };
    // Layers are split over two cards; process 9 is somebody else.
    snapshot.gauges.as_mut().unwrap().gpus = vec![holding(8, 400), holding(8, 350), holding(9, 5000)];
    assert_eq!(
        held(&snapshot, &card, &snapshot.instances[0], Place::Gpu),
        Some(750 * MB),
        "measured comes before told"
    );
}

#[test]
fn on_unified_memory_the_largest_of_what_is_told_counts() {
    let mut unified = machine(true);
    unified.memory_kind = MemoryKind::Unified;
    let mut snapshot = snapshot(300 * MB);
    let held = |snapshot: &Snapshot| held(snapshot, &unified, &snapshot.instances[0], Place::Metal);
    assert_eq!(held(&snapshot), Some(300 * MB), "all that is known");
    snapshot.instances[0].memory_bytes = Some(900 * MB);
    assert_eq!(held(&snapshot), Some(900 * MB), "a footprint may lack the weights");
    let gpu = from(json!({
        "name": "GB10", "vendor": "nvidia", "memory_shared": true, "source": "NVML",
        "processes": [{ "pid": 8, "memory_bytes": 800 * MB }],
    }));
    snapshot.gauges.as_mut().unwrap().gpus = vec![gpu];
    assert_eq!(held(&snapshot), Some(1100 * MB), "what the driver holds is not in the process");
}

#[test]
fn a_model_that_the_settings_keep_off_the_card_is_measured_by_its_process() {
    let snapshot = snapshot(300 * MB);
    let bytes = held(&snapshot, &machine(true), &snapshot.instances[0], Place::Cpu(OnCpu::Read));
    assert_eq!(bytes, Some(300 * MB));
}

#[test]
fn a_server_that_leaves_the_card_alone_is_seen_to_do_so() {
    let mut residency = Residency::default();
    let mut snapshot = snapshot(300 * MB);
    let (this, settings) = (machine(true), Settings::default());
    let off = |residency: &mut Residency, snapshot: &Snapshot| {
        residency.look_for_cards(snapshot, &this, &settings).len()
    };
    for _ in 0..5 {
        assert_eq!(off(&mut residency, &snapshot), 0, "without a card there is nothing to leave alone");
    }
    let card = |processes: Value| -> GpuReading {
        from(json!({ "memory_total_bytes": 16_000 * MB, "processes": processes }))
    };
    snapshot.gauges.as_mut().unwrap().gpus = vec![card(json!([]))];
    let seen: Vec<usize> = (0..4).map(|_| off(&mut residency, &snapshot)).collect();
    assert_eq!(seen, [0, 0, 1, 1], "a load takes its time");
    let on_card = snapshot.clone();
    let mut gone = snapshot.clone();
    gone.instances.clear();
    assert_eq!(off(&mut residency, &gone), 1, "it is remembered");
    let mut snapshot = on_card;
    snapshot.gauges.as_mut().unwrap().gpus = vec![card(json!([{ "pid": 8, "memory_bytes": 500 * MB }]))];
    assert_eq!(off(&mut residency, &snapshot), 0, "its driver is found again");
    let mut closed = card(json!([]));
    closed.processes_absent = Some("not told".into());
    snapshot.gauges.as_mut().unwrap().gpus = vec![closed];
    for _ in 0..5 {
        assert_eq!(off(&mut residency, &snapshot), 0, "a list with gaps says nothing");
    }
    snapshot.instances[0].gpu_memory_bytes = Some(0);
    let seen: Vec<usize> = (0..3).map(|_| off(&mut residency, &snapshot)).collect();
    assert_eq!(seen, [0, 0, 1], "the server itself says so");
}

#[test]
fn one_instance_on_the_card_proves_that_its_server_finds_it() {
    let mut residency = Residency::default();
    let (this, mut settings) = (machine(true), Settings::default());
    let mut snapshot = snapshot(300 * MB);
    snapshot.gauges.as_mut().unwrap().gpus = vec![from(json!({ "memory_total_bytes": 16_000 * MB }))];
    let mut off = snapshot.instances[0].clone();
    off.gpu_memory_bytes = Some(0);
    let on = Instance { id: "other".into(), gpu_memory_bytes: Some(500 * MB), ..off.clone() };
    for instances in [vec![off.clone(), on.clone()], vec![on, off.clone()]] {
        snapshot.instances = instances;
        for _ in 0..4 {
            assert!(residency.look_for_cards(&snapshot, &this, &settings).is_empty(), "in whatever order");
        }
    }
    // What the settings keep off the card says nothing either.
    snapshot.servers[0].kind = pilothouse_domain::server::ServerKind::LlamaServer;
    let own = pilothouse_domain::settings::LlamaModelSettings { gpu_layers: Some(0), ..Default::default() };
    settings.servers.llama_server.models.insert("qwen".into(), own);
    snapshot.instances = vec![off];
    for _ in 0..4 {
        assert!(residency.look_for_cards(&snapshot, &this, &settings).is_empty());
    }
}

#[test]
fn a_load_that_turns_out_to_be_elsewhere_is_another_load() {
    let mut books = Books::new();
    books.1 = machine(true);
    let mut snapshot = snapshot(300 * MB);
    snapshot.instances[0].gpu_memory_bytes = Some(500 * MB);
    books.0.off_card.insert("ollama".into());
    books.see(&snapshot);
    books.0.off_card.clear();
    assert_eq!(books.see(&snapshot), [(None, 300)], "what was held of the memory stands by itself");
    let mut gone = snapshot.clone();
    gone.instances.clear();
    assert_eq!(books.see(&gone), [(None, 500)], "and so does what is held of the card");
}
