//! What can be seen of a server's work, read by the supervisor itself while there is a reason to ask for it. Nothing that
//! somebody else measured some time ago counts.

use super::{
    PROCESSES_LIMIT,
    actor::{Inner, Supervisor},
};
use crate::hub::Report;
use pilothouse_domain::{
    Timestamp,
    gauge::Gauges,
    hang::{Complaint, Finding, GpuWork, ProcessWork, Reading, Slot, find, gpu_work, orphaned},
    lifecycle::Event,
    model::Instance,
    notice::Happening,
    server::Ownership,
};
use pilothouse_servers::ServerClient;
use pilothouse_system::{apart, process::OwnedProcess};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::Instant;

/// How long a slot with an answer that nobody waits for may be free before that is noticed.
const ORPHAN_POLL: Duration = Duration::from_millis(250);
/// Gauges older than this say nothing about now.
const GAUGES_FRESH_S: i64 = 10;

impl Supervisor {
    /// Looks at the work of the server's processes while somebody may be waiting for it in vain.
    pub(super) fn look_for_work(&mut self) {
        let pid = self.process.as_ref().map(OwnedProcess::pid).or(self.adopted_pid);
        let busy = self.around.leases.busy(&self.adapter.id());
        let Some(pid) = pid.filter(|_| self.suspicion.is_aroused() || busy) else {
            return self.stop_reading();
        };
        self.read_work(pid, Duration::ZERO);
    }

    /// Reads it once, `after` a pause.
    fn read_work(&mut self, pid: u32, after: Duration) {
        if std::mem::replace(&mut self.suspicion.reading, true) {
            return;
        }
        let ours = self.ownership == Some(Ownership::Ours);
        let lines = ours.then(|| self.lines.load(Ordering::Relaxed));
        let (generation, processes) = (self.generation, self.around.processes.clone());
        let client = self.connection.as_ref().map(|connection| connection.client.clone());
        let ports: Vec<u16> = self.ports.iter().map(|(_, port)| *port).collect();
        let gauges = self.around.hub.now().gauges.clone();
        let awaited = self.awaited();
        self.later(async move {
            tokio::time::sleep(after).await;
            // First the processes: answering for the slots is work too.
            let work = move || processes.work(pid);
            let work = apart::once("the work of processes", PROCESSES_LIMIT, work).await.ok().flatten();
            let gpu = gauges.map_or(GpuWork::NotTold, |gauges| gpu_of(&gauges, work.as_ref()));
            let slots = match client {
                Some(client) => slots(client, &ports).await,
                None => BTreeMap::new(),
            };
            let reading = Reading { processes: work, slots, lines, gpu };
            Inner::Read { generation, reading, awaited }
        });
    }

    fn stop_reading(&mut self) {
        let shown = self.suspicion.finding != Finding::Fine;
        self.suspicion.forget_readings();
        if shown {
            self.publish();
        }
        self.show_orphans(BTreeMap::new(), &BTreeMap::new());
    }

    /// How many answers of each instance are waited for here.
    fn awaited(&self) -> BTreeMap<String, usize> {
        let id = self.adapter.id();
        self.instances.iter().map(|one| (one.id.clone(), self.around.leases.count(&id, &one.id))).collect()
    }

    pub(super) fn read(&mut self, reading: Reading, awaited: &BTreeMap<String, usize>) {
        self.suspicion.reading = false;
        let slots = reading.slots.clone();
        let now_ms = self.clock.elapsed().as_millis() as u64;
        self.suspicion.evidence.see(now_ms, reading);
        self.show_orphans(slots, awaited);
        if self.suspicion.evidence.answers_get_on() && self.suspicion.mute_since.take().is_some() {
            self.say("its answers get on; the token that did not come waited behind them");
            self.transition(Event::Spoke, true);
        }
        self.judge();
        // Somebody may wait for the slot.
        let orphaned = self.instances.iter().any(|one| one.orphaned_answers.is_some_and(|count| count > 0));
        let pid = self.process.as_ref().map(OwnedProcess::pid).filter(|_| orphaned);
        if let Some(pid) = pid {
            self.read_work(pid, ORPHAN_POLL);
        }
    }

    /// What complaint and evidence lead to.
    fn judge(&mut self) {
        let ms = |since: Option<Instant>| since.map_or(0, |since| since.elapsed().as_millis() as u64);
        let complaint =
            Complaint { silent_ms: ms(self.suspicion.silent_since), mute_ms: ms(self.suspicion.mute_since) };
        let finding = find(complaint, &self.suspicion.evidence, self.around.policy.hang_ms);
        let changed = std::mem::replace(&mut self.suspicion.finding, finding) != finding;
        match finding {
            Finding::Hangs { still_ms } if self.ownership == Some(Ownership::Ours) => {
                self.end_hang(complaint, still_ms);
            }
            Finding::Works(_) | Finding::CannotTell(_) | Finding::Hangs { .. } | Finding::Fine if changed => {
                self.publish();
            }
            _ => {}
        }
    }

    /// Ends a process of ours in which nothing has moved for too long.
    fn end_hang(&mut self, complaint: Complaint, still_ms: u64) {
        if !self.life.state.is_up() {
            return;
        }
        let (what, ms) = match complaint {
            Complaint { silent_ms: 1.., .. } => ("did not answer", complaint.silent_ms),
            Complaint { mute_ms: 1.., .. } => ("gave no token", complaint.mute_ms),
            _ => ("did not get on with an answer", still_ms),
        };
        let reason = format!("It {what} for {} s and did nothing", ms / 1000);
        self.say(&format!("{reason}; ending it"));
        self.suspicion = super::suspicion::Suspicion::default();
        self.hung = Some(reason.clone());
        self.happened(Happening::Hung {
            server: self.adapter.id(),
            server_title: self.title(),
            reason: reason.clone(),
        });
        self.transition(Event::Hung { reason }, true);
    }

    /// What the last look means for a person, beside the reason for which the server is shown as troubled.
    pub(super) fn finding_in_words(&self) -> Option<String> {
        match self.suspicion.finding {
            Finding::Works(sign) => Some(format!("It is left alone, because {}.", sign.words())),
            Finding::CannotTell(why) => Some(format!(
                "Whether it works cannot be told: {why}. It is left alone; restart it if it hangs."
            )),
            Finding::Fine | Finding::Hangs { .. } => None,
        }
    }

    /// Busy slots for which nobody here waits. Only a server with a key of ours has no other clients that could.
    fn show_orphans(&mut self, slots: BTreeMap<u16, Vec<Slot>>, awaited: &BTreeMap<String, usize>) {
        let alone = self.ownership == Some(Ownership::Ours)
            && self.connection.as_ref().is_some_and(|connection| connection.endpoint.key.is_some());
        let id = self.adapter.id();
        let mut changed = false;
        let before = std::mem::replace(&mut self.suspicion.slots, slots);
        for instance in &mut self.instances {
            let port = instance.port.filter(|_| alone);
            let now = port.and_then(|port| self.suspicion.slots.get(&port));
            let before = port.and_then(|port| before.get(&port)).map(Vec::as_slice).unwrap_or_default();
            let orphans = now.map(|now| {
                let begun = awaited.get(&instance.id).copied().unwrap_or(0);
                orphaned(before, now, begun.max(self.around.leases.count(&id, &instance.id)))
            });
            changed |= std::mem::replace(&mut instance.orphaned_answers, orphans) != orphans;
        }
        if changed {
            let instances: Vec<Instance> = self.instances.clone();
            self.around.hub.report(Report::Instances { server: id, instances });
        }
    }
}

/// The slots of all that tell them, asked at once.
async fn slots(client: Arc<dyn ServerClient>, ports: &[u16]) -> BTreeMap<u16, Vec<Slot>> {
    let asked = ports.iter().map(|port| {
        let client = client.clone();
        async move { Some((*port, client.slots(*port).await?)) }
    });
    futures_util::future::join_all(asked).await.into_iter().flatten().collect()
}

fn gpu_of(gauges: &Gauges, work: Option<&ProcessWork>) -> GpuWork {
    let age = Timestamp::now().duration_since(gauges.at).as_secs();
    match age <= GAUGES_FRESH_S {
        true => gpu_work(&gauges.gpus, work),
        false => GpuWork::NotTold,
    }
}
