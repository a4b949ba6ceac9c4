//! What can be seen of a server's work, read by the supervisor itself while there is a reason to ask for it. Nothing that
//! somebody else measured some time ago counts.

use super::{
    PROCESSES_LIMIT, actor::Supervisor, memory::SlotsByPort, outcome::Outcome, suspicion::Suspicion,
};
use crate::actors::bounds::apart;
use pilothouse_domain::{
    Timestamp,
    gauge::Gauges,
    hang::{Complaint, Finding, GpuWork, ProcessWork, Reading, gpu_work},
    lifecycle::Event,
    notice::Happening,
    server::Ownership,
};
use pilothouse_servers::ServerClient;
use pilothouse_system::process::OwnedProcess;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long a slot with an answer that nobody waits for may be free before that is noticed.
const ORPHAN_POLL: Duration = Duration::from_millis(250);
/// Gauges older than this say nothing about now.
const GAUGES_FRESH_S: i64 = 10;

impl Supervisor {
    /// Reads the work of the server's processes while somebody may be waiting for it in vain.
    pub(super) fn read_work_if_suspect(&mut self) {
        let busy = self.around.leases.busy(&self.adapter.id());
        match self.owner.pid().filter(|_| self.suspicion.is_aroused() || busy) {
            Some(pid) => self.read_work(pid, Duration::ZERO),
            None => self.stop_reading(),
        }
    }

    /// Reads it once, `after` a pause.
    fn read_work(&mut self, pid: u32, after: Duration) {
        if !self.suspicion.begin_reading() {
            return;
        }
        let lines = self.owner.is(Ownership::Ours).then(|| self.output.lines_of_work());
        let (generation, processes) = (self.contact.generation(), self.around.processes.clone());
        let client = self.contact.connection().map(|connection| connection.client.clone());
        let ports = self.memory.ports();
        let gauges = self.around.hub.now().gauges.clone();
        let awaited = self.awaited();
        self.later(async move {
            tokio::time::sleep(after).await;
            // First the processes: answering for the slots is work too.
            let work = move || processes.work(pid);
            let work = apart("the work of processes", PROCESSES_LIMIT, work).await;
            let gpu = gauges.map_or(GpuWork::NotTold, |gauges| gpu_of(&gauges, work.as_ref()));
            let slots = match client {
                Some(client) => slots(client, &ports).await,
                None => BTreeMap::new(),
            };
            let reading = Reading { processes: work, slots, lines, gpu };
            Outcome::Read { generation, reading, awaited }
        });
    }

    fn stop_reading(&mut self) {
        if self.suspicion.forget_readings() {
            self.publish();
        }
        self.count_orphans(BTreeMap::new(), &BTreeMap::new());
    }

    /// How many answers of each instance are waited for here.
    fn awaited(&self) -> BTreeMap<String, usize> {
        let (id, leases) = (self.adapter.id(), &self.around.leases);
        self.memory.instances().iter().map(|one| (one.id.clone(), leases.count(&id, &one.id))).collect()
    }

    pub(super) fn read(&mut self, reading: Reading, awaited: &BTreeMap<String, usize>) {
        let slots = reading.slots.clone();
        let forgiven = self.suspicion.read(self.life.clock_ms(), reading);
        self.count_orphans(slots, awaited);
        if forgiven {
            self.say("its answers get on; the token that did not come waited behind them");
            self.transition(Event::Spoke, true);
        }
        self.judge();
        // Somebody may wait for the slot.
        let ours = self.owner.process().map(OwnedProcess::pid);
        if let Some(pid) = ours.filter(|_| self.memory.has_orphans()) {
            self.read_work(pid, ORPHAN_POLL);
        }
    }

    /// What complaint and evidence lead to.
    fn judge(&mut self) {
        let judgement = self.suspicion.judge(self.around.policy.hang_ms);
        match judgement.finding {
            Finding::Hangs { still_ms } if self.owner.is(Ownership::Ours) => {
                self.end_hang(judgement.complaint, still_ms);
            }
            _ if judgement.changed => self.publish(),
            _ => {}
        }
    }

    /// Ends a process of ours in which nothing has moved for too long.
    fn end_hang(&mut self, complaint: Complaint, still_ms: u64) {
        if !self.life.is_up() {
            return;
        }
        let (what, ms) = match complaint {
            Complaint { silent_ms: 1.., .. } => ("did not answer", complaint.silent_ms),
            Complaint { mute_ms: 1.., .. } => ("gave no token", complaint.mute_ms),
            _ => ("did not get on with an answer", still_ms),
        };
        let reason = format!("It {what} for {} s and did nothing", ms / 1000);
        self.say(&format!("{reason}; ending it"));
        self.suspicion = Suspicion::default();
        self.happened(Happening::Hung {
            server: self.adapter.id(),
            server_title: self.title(),
            reason: reason.clone(),
        });
        self.transition(Event::Hung { reason: reason.into() }, true);
    }

    /// Busy slots for which nobody here waits. Only a server with a key of ours has no other clients that could.
    fn count_orphans(&mut self, slots: SlotsByPort, awaited: &BTreeMap<String, usize>) {
        let keyed = self.contact.connection().is_some_and(|connection| connection.endpoint.key.is_some());
        let alone = keyed && self.owner.is(Ownership::Ours);
        let (id, leases) = (self.adapter.id(), &self.around.leases);
        let waited_for = |instance: &str| {
            let begun = awaited.get(instance).copied().unwrap_or(0);
            begun.max(leases.count(&id, instance))
        };
        if self.memory.count_orphans(slots, alone.then_some(waited_for)) {
            self.publish_memory();
        }
    }
}

/// The slots of all that tell them, asked at once.
async fn slots(client: Arc<dyn ServerClient>, ports: &[u16]) -> SlotsByPort {
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
