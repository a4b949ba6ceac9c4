//! What is in a server's memory: instances, the processes that hold them, and the ports of those.

use pilothouse_domain::{
    Timestamp,
    hang::{Slot, orphaned},
    model::Instance,
    runner::{RunnerProcess, Runners},
};
use std::collections::{BTreeMap, BTreeSet};

/// Slots by the port that told them.
pub(super) type SlotsByPort = BTreeMap<u16, Vec<Slot>>;

/// As the hub shows it, with what is known beside that.
#[derive(Default)]
pub(super) struct Memory {
    instances: Vec<Instance>,
    /// Where the processes that hold models listen themselves, with the ids of their instances as far as those are known.
    ports: Vec<(Option<String>, u16)>,
    runners: Runners,
    /// Processes with models whose end is waited for.
    watched: BTreeSet<u32>,
    /// The slots as they were read last.
    slots: SlotsByPort,
}

/// What the supervisor has to do about a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Names of models whose process has died.
    pub lost: Vec<String>,
    /// Processes whose end is to be waited for from now on.
    pub to_watch: Vec<u32>,
}

impl Memory {
    /// Takes the server's own list, and the processes that hold models, which were looked for after it; `None`: those are not
    /// told. What a dead process held is not in memory any more.
    pub fn take(
        &mut self,
        runners: Option<Vec<RunnerProcess>>,
        listed: Vec<Instance>,
        now: Timestamp,
    ) -> News {
        let (mut there, news) = self.really_there(runners, listed, now);
        for instance in &mut there {
            let before = self.instances.iter().find(|before| before.id == instance.id);
            instance.orphaned_answers = before.and_then(|before| before.orphaned_answers);
        }
        let told = there.iter().filter_map(|one| Some((Some(one.id.clone()), one.port?)));
        let told: Vec<(Option<String>, u16)> = told.collect();
        self.ports.retain(|(_, port)| !told.iter().any(|(_, known)| known == port));
        self.ports.extend(told);
        self.instances = there;
        news
    }

    fn really_there(
        &mut self,
        runners: Option<Vec<RunnerProcess>>,
        listed: Vec<Instance>,
        now: Timestamp,
    ) -> (Vec<Instance>, News) {
        let Some(runners) = runners else {
            self.ports.clear();
            return (listed, News::default());
        };
        self.ports = runners.iter().filter_map(|one| Some((one.names.clone(), one.port?))).collect();
        let pids = runners.iter().map(|runner| runner.pid);
        let to_watch = pids.filter(|pid| self.watched.insert(*pid)).collect();
        self.watched.retain(|pid| runners.iter().any(|runner| runner.pid == *pid));
        let models: BTreeMap<String, String> =
            listed.iter().map(|one| (one.id.clone(), one.model.clone())).collect();
        let seen = self.runners.see(&runners, listed, now);
        let lost = seen.newly_lost.into_iter().map(|id| models.get(&id).cloned().unwrap_or(id));
        (seen.there, News { lost: lost.collect(), to_watch })
    }

    pub fn instances(&self) -> &[Instance] {
        &self.instances
    }

    pub fn ports(&self) -> Vec<u16> {
        self.ports.iter().map(|(_, port)| *port).collect()
    }

    /// Where the process that holds an instance tells its slots.
    pub fn port_of(&self, instance: &str) -> Option<u16> {
        let named = self.ports.iter().find(|(id, _)| id.as_deref() == Some(instance));
        match (named, &self.ports[..]) {
            (Some((_, port)), _) | (None, [(None, port)]) => Some(*port),
            _ => None,
        }
    }

    /// An instance is about to be unloaded by us.
    pub fn leaving(&mut self, instance: &str) {
        self.runners.leaving(instance);
    }

    /// It stays after all, or has been loaded by us.
    pub fn staying(&mut self, instance: &str) {
        self.runners.staying(instance);
    }

    /// Counts answers that nobody waits for by slots as they are now. `awaited`: the most answers of an instance that were waited
    /// for here meanwhile; `None`: others may wait for them too, so that nothing can be told. Whether something changed.
    pub fn count_orphans(&mut self, slots: SlotsByPort, awaited: Option<impl Fn(&str) -> usize>) -> bool {
        let before = std::mem::replace(&mut self.slots, slots);
        let mut changed = false;
        for instance in &mut self.instances {
            let orphans = awaited.as_ref().zip(instance.port).and_then(|(awaited, port)| {
                let before = before.get(&port).map(Vec::as_slice).unwrap_or_default();
                Some(orphaned(before, self.slots.get(&port)?, awaited(&instance.id)))
            });
            changed |= std::mem::replace(&mut instance.orphaned_answers, orphans) != orphans;
        }
        changed
    }

    pub fn has_orphans(&self) -> bool {
        self.instances.iter().any(|one| one.orphaned_answers.is_some_and(|count| count > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::model::Expiry;

    fn instance(id: &str, port: Option<u16>) -> Instance {
        Instance {
            server: "a".into(),
            id: id.into(),
            model: format!("model {id}"),
            memory_bytes: None,
            gpu_memory_bytes: None,
            context: None,
            expiry: Expiry::Never,
            pid: None,
            port,
            slots: None,
            orphaned_answers: None,
        }
    }

    fn runner(pid: u32, names: Option<&str>, port: Option<u16>) -> RunnerProcess {
        RunnerProcess { pid, names: names.map(str::to_owned), port, slots: None }
    }

    fn busy(task: i64) -> Slot {
        Slot { id: 0, busy: true, task: Some(task), done: 0 }
    }

    #[test]
    fn a_port_is_the_instances_own_or_the_only_one_of_nobody() {
        let a = || runner(1, Some("a"), Some(11));
        let nobodys = |pid: u32| runner(pid, None, Some(10 + pid as u16));
        // The processes; where "a" tells its slots.
        let table: [(Option<Vec<RunnerProcess>>, Option<u16>); 6] = [
            (None, None),
            (Some(vec![]), None),
            (Some(vec![a()]), Some(11)),
            (Some(vec![nobodys(2)]), Some(12)),
            (Some(vec![nobodys(2), nobodys(3)]), None),
            (Some(vec![a(), nobodys(2)]), Some(11)),
        ];
        for (runners, port) in table {
            let mut memory = Memory::default();
            let shown = format!("{runners:?}");
            memory.take(runners, vec![instance("a", None), instance("b", None)], Timestamp::UNIX_EPOCH);
            assert_eq!(memory.port_of("a"), port, "{shown}");
        }
    }

    #[test]
    fn a_process_is_watched_once_and_its_death_is_told_by_the_models_name() {
        let mut memory = Memory::default();
        let mut take = |runners: Vec<RunnerProcess>| {
            memory.take(Some(runners), vec![instance("a", None)], Timestamp::UNIX_EPOCH)
        };
        let one = || vec![runner(1, Some("a"), None)];
        assert_eq!(take(one()), News { lost: vec![], to_watch: vec![1] });
        assert_eq!(take(one()), News::default());
        assert_eq!(take(vec![]), News { lost: vec!["model a".into()], to_watch: vec![] });
        assert_eq!(take(vec![]), News::default(), "told once");
        assert!(memory.instances().is_empty());
    }

    #[test]
    fn answers_of_nobody_are_told_where_nobody_else_can_wait_for_them() {
        let nobody = |_: &str| 0;
        let somebody = |_: &str| 1;
        // Slots at two looks; who waits; what is told.
        type Waits = Option<fn(&str) -> usize>;
        let table: [(i64, Option<i64>, Waits, Option<u32>); 5] = [
            (1, Some(1), Some(nobody), Some(1)),
            (1, Some(2), Some(nobody), Some(0)),
            (1, Some(1), Some(somebody), Some(0)),
            (1, Some(1), None, None),
            (1, None, Some(nobody), None),
        ];
        for (row, (before, now, awaited, told)) in table.into_iter().enumerate() {
            let mut memory = Memory::default();
            memory.take(None, vec![instance("a", Some(11))], Timestamp::UNIX_EPOCH);
            memory.count_orphans([(11, vec![busy(before)])].into(), awaited);
            let slots = now.map(|task| (11, vec![busy(task)]));
            memory.count_orphans(slots.into_iter().collect(), awaited);
            assert_eq!(memory.instances()[0].orphaned_answers, told, "row {row}");
            assert_eq!(memory.has_orphans(), told == Some(1), "row {row}");
            // The next list does not tell them; they are kept until slots are read again.
            memory.take(None, vec![instance("a", Some(11))], Timestamp::UNIX_EPOCH);
            assert_eq!(memory.instances()[0].orphaned_answers, told, "row {row}");
        }
    }
}
