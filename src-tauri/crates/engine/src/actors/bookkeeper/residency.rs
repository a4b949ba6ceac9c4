//! What each instance takes while it is in memory.

use pilothouse_domain::{
    Timestamp,
    estimate::{Place, Wish},
    fit::{Known, place, usual},
    learned::{LoadKey, MeasuredLoad},
    machine::{Machine, MemoryKind},
    model::Instance,
    server::ServerId,
    settings::Settings,
    snapshot::Snapshot,
};
use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

/// A peak that grows is written this often at most.
const WRITE_EVERY: Duration = Duration::from_secs(10);
/// Growth of less than this share teaches nothing.
const GROWTH: f64 = 1.01;

/// Server and id of an instance.
type InstanceKey = (ServerId, String);

#[derive(Default)]
pub(super) struct Residency {
    instances: HashMap<InstanceKey, Tracked>,
    /// Servers that compute on the processor although there is a card.
    off_card: BTreeSet<ServerId>,
    /// Samples in a row in which an instance held nothing of any card.
    without_card: HashMap<InstanceKey, u32>,
}

/// A load reaches the card within so many samples.
const SAMPLES: u32 = 3;

struct Tracked {
    load: MeasuredLoad,
    /// The process that holds it, once that is known: in another one it is another load.
    pid: Option<u32>,
    /// Where it stands in the store, and with which peak.
    row: Option<i64>,
    written_bytes: u64,
    /// When it was seen first, or written last.
    since: Instant,
}

/// A load that shall be written.
pub(super) struct Due {
    pub instance: InstanceKey,
    /// Its row, when it was written before.
    pub row: Option<i64>,
    pub load: MeasuredLoad,
}

impl Residency {
    /// Takes one sample; tells what is worth writing now: peaks that have grown, and instances that have left.
    pub fn see(&mut self, snapshot: &Snapshot, machine: &Machine, settings: &Settings) -> Vec<Due> {
        let (mut here, mut due) = (Vec::new(), Vec::new());
        for instance in &snapshot.instances {
            let key = (instance.server.clone(), instance.id.clone());
            here.push(key.clone());
            let Some(place) = placed(snapshot, machine, settings, &self.off_card, instance) else { continue };
            // A reading that is missing for once is no unload: it would count as one more load.
            let Some(bytes) = held(snapshot, machine, instance, place) else { continue };
            if self.instances.get(&key).is_some_and(|tracked| tracked.is_another(instance.pid, place)) {
                due.extend(self.instances.remove(&key).and_then(|tracked| tracked.due(key.clone())));
            }
            match self.instances.get_mut(&key) {
                Some(tracked) => {
                    tracked.pid = tracked.pid.or(instance.pid);
                    tracked.load.peak_bytes = tracked.load.peak_bytes.max(bytes);
                }
                None => {
                    if let Some(load_key) = load_key(snapshot, machine, settings, instance, place) {
                        let at = snapshot.gauges.as_ref().map_or(snapshot.at, |gauges| gauges.at);
                        self.instances.insert(key, Tracked::new(load_key, at, instance.pid, bytes));
                    }
                }
            }
        }
        let gone = self.instances.extract_if(|key, _| !here.contains(key));
        due.extend(gone.filter_map(|(key, tracked)| tracked.due(key)));
        for (key, tracked) in &mut self.instances {
            if tracked.since.elapsed() >= WRITE_EVERY {
                due.extend(tracked.due(key.clone()));
                tracked.since = Instant::now();
                tracked.written_bytes = tracked.load.peak_bytes;
            }
        }
        due
    }

    /// Servers that have been seen to compute on the processor although there is a card. Takes one sample. What the settings
    /// keep off the card says nothing of its server.
    pub fn look_for_cards(
        &mut self,
        snapshot: &Snapshot,
        machine: &Machine,
        settings: &Settings,
    ) -> &BTreeSet<ServerId> {
        let key = |instance: &Instance| (instance.server.clone(), instance.id.clone());
        self.without_card.retain(|known, _| snapshot.instances.iter().any(|one| key(one) == *known));
        let meant = |instance: &&Instance| {
            let nobody = BTreeSet::new();
            placed(snapshot, machine, settings, &nobody, instance).is_some_and(Place::on_gpu)
        };
        let (mut on, mut off) = (BTreeSet::new(), BTreeSet::new());
        for instance in snapshot.instances.iter().filter(meant) {
            match snapshot.is_off_card(instance) {
                Some(true) => {
                    let samples = self.without_card.entry(key(instance)).or_default();
                    *samples = samples.saturating_add(1);
                    if *samples >= SAMPLES {
                        off.insert(instance.server.clone());
                    }
                }
                Some(false) => {
                    self.without_card.remove(&key(instance));
                    on.insert(instance.server.clone());
                }
                None => {}
            }
        }
        self.off_card.extend(off);
        // One that is on it proves that the server finds it.
        self.off_card.retain(|server| !on.contains(server));
        &self.off_card
    }

    /// Everything that is not written yet.
    pub fn end(&mut self) -> Vec<Due> {
        self.instances.drain().filter_map(|(key, tracked)| tracked.due(key)).collect()
    }

    pub fn written(&mut self, instance: &InstanceKey, row: i64) {
        if let Some(tracked) = self.instances.get_mut(instance) {
            tracked.row = Some(row);
        }
    }
}

impl Tracked {
    fn new(key: LoadKey, at: Timestamp, pid: Option<u32>, bytes: u64) -> Self {
        let load = MeasuredLoad { key, at, peak_bytes: bytes };
        Self { load, pid, row: None, written_bytes: 0, since: Instant::now() }
    }

    /// In another process, or in another memory than was thought.
    fn is_another(&self, pid: Option<u32>, place: Place) -> bool {
        self.pid.zip(pid).is_some_and(|(old, new)| old != new) || self.load.key.on_gpu != place.on_gpu()
    }

    fn due(&self, instance: InstanceKey) -> Option<Due> {
        let grown = self.load.peak_bytes as f64 > self.written_bytes as f64 * GROWTH;
        grown.then(|| Due { instance, row: self.row, load: self.load.clone() })
    }
}

/// What an instance holds where models are placed, as far as it is measured. What a server says counts where the system
/// does not tell it.
fn held(snapshot: &Snapshot, machine: &Machine, instance: &Instance, place: Place) -> Option<u64> {
    let gauges = snapshot.gauges.as_ref()?;
    let usage = gauges.servers.iter().find(|usage| usage.id == instance.server)?;
    let runner = usage.runners.iter().find(|runner| runner.instance == instance.id);
    // What is left to another process with the same weights is needed again where that one is not there.
    let of_process = runner.and_then(|one| Some(one.memory_bytes? + one.shared_bytes.unwrap_or_default()));
    let by = |pid| gauges.gpus.iter().filter_map(|gpu| gpu.held_by(pid)).reduce(|a, b| a + b);
    let on_gpu = instance.pid.and_then(by);
    match (place.on_gpu(), machine.memory_kind) {
        (false, _) => of_process,
        // Neither mapped weights nor buffers of the driver need be in what the process is charged with (reference:
        // telemetry, section 5.1).
        (true, MemoryKind::Unified) => {
            let both = of_process.zip(on_gpu).map(|(process, gpu)| process + gpu);
            of_process.max(instance.memory_bytes).max(both)
        }
        (true, MemoryKind::Separate) => on_gpu.or(instance.gpu_memory_bytes),
    }
}

/// Where the settings put it. `None`: its server is gone.
fn placed(
    snapshot: &Snapshot,
    machine: &Machine,
    settings: &Settings,
    off_card: &BTreeSet<ServerId>,
    instance: &Instance,
) -> Option<Place> {
    let server = snapshot.server(&instance.server)?;
    Some(place(settings, server.kind, &instance.model, machine, off_card.contains(&instance.server)))
}

fn load_key(
    snapshot: &Snapshot,
    machine: &Machine,
    settings: &Settings,
    instance: &Instance,
    place: Place,
) -> Option<LoadKey> {
    let server = snapshot.server(&instance.server)?;
    let of_model = |view: &&pilothouse_domain::snapshot::ModelView| {
        view.model.server == instance.server && view.model.name == instance.model
    };
    let model = &snapshot.models.iter().find(of_model)?.model;
    let ceiling = machine.ceiling();
    let known = Known { context_max: model.context_max, whole: None };
    let usual = usual(settings, server.kind, &model.name, known, &ceiling);
    let wish = Wish { context: instance.context.unwrap_or(usual.context), ..usual };
    Some(LoadKey::of(model, server.version.clone(), wish, place))
}

#[cfg(test)]
mod tests;
