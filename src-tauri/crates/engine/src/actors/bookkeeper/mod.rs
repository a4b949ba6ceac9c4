//! Keeps the books of memory: tells the hub what the machine has and what each model would take, measures what instances
//! really took, and corrects the one by the other.

mod needs;
mod residency;

use super::supervisors::Supervisors;
use crate::{
    hub::{Hub, Report},
    settings::InForce,
    store::Store,
};
use needs::Needs;
use pilothouse_domain::{
    Timestamp,
    anatomy::Anatomy,
    learned::{Correction, LoadKey, MeasuredLoad},
    machine::Machine,
    server::ServerId,
    snapshot::Snapshot,
};
use pilothouse_system::hardware::{look_again, this_machine};
use residency::Residency;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{spawn, sync::watch};
use tokio_util::sync::CancellationToken;

/// How often the hardware is read again: little of it changes, and seldom.
const READ_AGAIN: Duration = Duration::from_secs(60);

/// What the bookkeeper works with.
pub struct BookkeeperWiring {
    pub hub: Hub,
    pub store: Option<Store>,
    pub supervisors: Supervisors,
    /// Those by which the servers start and load.
    pub settings: InForce,
}

/// A way to the bookkeeper. What loads have shown can be read by anybody.
pub struct Bookkeeper {
    loads: watch::Receiver<Arc<Vec<MeasuredLoad>>>,
    off_card: watch::Receiver<BTreeSet<ServerId>>,
    builds: watch::Receiver<Arc<BTreeMap<String, Anatomy>>>,
    end: CancellationToken,
    ended: CancellationToken,
}

impl Bookkeeper {
    pub fn start(around: BookkeeperWiring) -> Self {
        let (publish, loads) = watch::channel(Arc::default());
        let (tell_off_card, off_card) = watch::channel(BTreeSet::new());
        let (tell_builds, builds) = watch::channel(Arc::default());
        let (end, ended) = (CancellationToken::new(), CancellationToken::new());
        let (ending, over) = (end.clone(), ended.clone().drop_guard());
        spawn(async move {
            run(around, Told { publish, off_card: tell_off_card, builds: tell_builds }, ending).await;
            drop(over);
        });
        Self { loads, off_card, builds, end, ended }
    }

    /// What earlier loads with this key have shown.
    pub fn correction(&self, key: &LoadKey) -> Option<Correction> {
        correction(&self.loads.borrow(), key)
    }

    /// Whether a server has been seen to compute on the processor although there is a card.
    pub fn is_off_card(&self, server: &ServerId) -> bool {
        self.off_card.borrow().contains(server)
    }

    /// The builds of the models of this machine, by `<server>/<name>`, as far as their files could be read.
    pub fn builds(&self) -> Arc<BTreeMap<String, Anatomy>> {
        Arc::clone(&self.builds.borrow())
    }

    /// Writes what is in memory now and ends.
    pub async fn shutdown(&self) {
        self.end.cancel();
        self.ended.cancelled().await;
    }
}

/// `loads`: newest first.
fn correction(loads: &[MeasuredLoad], key: &LoadKey) -> Option<Correction> {
    let peaks: Vec<u64> = loads.iter().filter(|load| load.key == *key).map(|load| load.peak_bytes).collect();
    Correction::of(&peaks)
}

/// What others read here at any time.
struct Told {
    publish: watch::Sender<Arc<Vec<MeasuredLoad>>>,
    off_card: watch::Sender<BTreeSet<ServerId>>,
    builds: watch::Sender<Arc<BTreeMap<String, Anatomy>>>,
}

struct Books {
    around: BookkeeperWiring,
    machine: Machine,
    residency: Residency,
    needs: Needs,
    told: Told,
    /// The sample that was taken into account last.
    seen: Option<Timestamp>,
    /// When the hardware was read.
    read: Instant,
    /// GPUs that the gauges had at that moment.
    gpus: usize,
}

async fn run(around: BookkeeperWiring, told: Told, end: CancellationToken) {
    let mut snapshots = around.hub.snapshots();
    let Some(machine) = end.run_until_cancelled(this_machine()).await else { return };
    around.hub.report(Report::Machine(machine.clone()));
    let mut books = Books {
        residency: Residency::default(),
        needs: Needs::default(),
        machine,
        told,
        seen: None,
        read: Instant::now(),
        gpus: 0,
        around,
    };
    books.remember().await;
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let look = async {
            books.look(&snapshot).await;
            snapshots.changed().await
        };
        match end.run_until_cancelled(look).await {
            Some(Ok(())) => {}
            Some(Err(_)) => return,
            None => break,
        }
    }
    let due = books.residency.end();
    books.keep(due).await;
}

impl Books {
    /// Takes up what earlier lives have measured.
    async fn remember(&mut self) {
        let Some(store) = &self.around.store else { return };
        match store.loads().await {
            Ok(loads) => {
                self.told.publish.send_replace(Arc::new(loads));
            }
            Err(error) => tracing::warn!(%error, "what earlier loads took is not known"),
        }
    }

    async fn look(&mut self, snapshot: &Snapshot) {
        let sampled = snapshot.gauges.as_ref().map(|gauges| gauges.at);
        let fresh = self.seen != sampled;
        self.seen = sampled;
        let settings = self.around.settings.now();
        // First where they are, then what they hold there.
        let moved = fresh && {
            let seen = self.residency.look_for_cards(snapshot, &self.machine, &settings);
            self.told.off_card.send_if_modified(|known| {
                let news = known != seen;
                known.clone_from(seen);
                news
            })
        };
        let due = match fresh {
            true => self.residency.see(snapshot, &self.machine, &settings),
            false => Vec::new(),
        };
        let learned = !due.is_empty();
        self.keep(due).await;
        let again = self.read.elapsed() >= READ_AGAIN && self.needs.may_be_mended();
        let changed = self.look_at_the_machine(snapshot).await || moved || again;
        if self.needs.differ(snapshot) || learned || changed {
            let off_card = self.told.off_card.borrow().clone();
            let needs = self
                .needs
                .reckon(snapshot, &self.machine, &settings, &off_card, &self.around.supervisors, |key| {
                    correction(&self.told.publish.borrow(), key)
                })
                .await;
            self.told.builds.send_replace(Arc::new(self.needs.builds()));
            self.around.hub.report(Report::Needs(needs));
        }
    }

    /// Whether something of the machine has changed on which the ceiling or a place depends.
    async fn look_at_the_machine(&mut self, snapshot: &Snapshot) -> bool {
        if self.read.elapsed() < READ_AGAIN {
            return false;
        }
        self.read = Instant::now();
        let gpus = snapshot.gauges.as_ref().map_or(0, |gauges| gauges.gpus.len());
        // One that the profile lacks for good is no reason to ask its driver every minute.
        let news = if std::mem::replace(&mut self.gpus, gpus) == gpus { 0 } else { gpus };
        let Some(machine) = look_again(news).await else { return false };
        tracing::info!(ceiling = machine.ceiling().bytes, "the hardware is told anew");
        self.machine = machine.clone();
        self.around.hub.report(Report::Machine(machine));
        true
    }

    /// Writes loads and their new peaks. Without a store they are remembered until the end.
    async fn keep(&mut self, due: Vec<residency::Due>) {
        for residency::Due { instance, row, load } in due {
            if let Some(store) = &self.around.store {
                match store.keep_load(row, &load).await {
                    Ok(row) => self.residency.written(&instance, row),
                    Err(error) => tracing::warn!(%error, "what a load took is not kept"),
                }
            }
            self.told.publish.send_modify(|loads| {
                let mut next = Vec::clone(loads);
                next.retain(|old| (&old.key, old.at) != (&load.key, load.at));
                next.insert(0, load);
                *loads = Arc::new(next);
            });
        }
    }
}
