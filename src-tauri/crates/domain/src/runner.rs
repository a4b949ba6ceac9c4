//! Which models a server still lists although the process that held them has died. Ollama goes on listing such a
//! model until the next request stumbles over it (seen with 0.32.0).

use crate::{
    Timestamp,
    model::{Expiry, Instance},
};
use std::collections::BTreeMap;

/// A child process of a server that holds an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerProcess {
    pub pid: u32,
    /// The id of the instance that its command line names, if it names one of those that are listed.
    pub names: Option<String>,
    /// Where it listens, for its server's use.
    pub port: Option<u16>,
    /// Answers that it gives at a time.
    pub slots: Option<u32>,
}

/// Remembers which child process of a server holds which instance, as far as that could be seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Runners {
    /// By pid: the id of the instance that its command line names, or that appeared together with it.
    holds: BTreeMap<u32, Option<String>>,
    lost: Vec<String>,
    /// Instances that we are taking out of memory ourselves: their end is no loss. The mark stays until such a one has been seen
    /// gone and is there again; `true`: it has been seen gone.
    leaving: BTreeMap<String, bool>,
}

/// What a look at children and list says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The instances that are really in memory, with their processes as far as those are known.
    pub there: Vec<Instance>,
    /// Ids of instances whose process has died since the last look.
    pub newly_lost: Vec<String>,
}

impl Runners {
    /// An instance is about to be unloaded by us.
    pub fn leaving(&mut self, id: &str) {
        self.leaving.insert(id.to_owned(), false);
    }

    /// An instance stays or has been loaded by us: from now on its end is a loss.
    pub fn staying(&mut self, id: &str) {
        self.leaving.remove(id);
    }

    /// Takes the children that hold models, and the server's own list of a moment earlier.
    pub fn see(&mut self, runners: &[RunnerProcess], listed: Vec<Instance>, now: Timestamp) -> Seen {
        let pids: Vec<u32> = runners.iter().map(|runner| runner.pid).collect();
        let had_runners = !self.holds.is_empty();
        let gone: Vec<Option<String>> =
            self.holds.extract_if(.., |pid, _| !pids.contains(pid)).map(|(_, id)| id).collect();
        for runner in runners {
            if let (Some(held), Some(_)) = (self.holds.get_mut(&runner.pid), &runner.names) {
                held.clone_from(&runner.names);
            }
        }
        let fresh: Vec<&RunnerProcess> =
            runners.iter().filter(|runner| !self.holds.contains_key(&runner.pid)).collect();
        let mut newly_lost: Vec<String> = Vec::new();
        for instance in &listed {
            // Unloading is wanted: the process is allowed to be gone.
            let leaving = matches!(instance.expiry, Expiry::At(at) if at <= now);
            let died = gone.contains(&Some(instance.id.clone())) || (had_runners && pids.is_empty());
            let ours = self.leaving.get_mut(&instance.id);
            if died && let Some(gone) = ours {
                *gone = true;
                self.lost.push(instance.id.clone());
            } else if died && !leaving && !self.lost.contains(&instance.id) {
                newly_lost.push(instance.id.clone());
            }
        }
        for (id, gone) in &mut self.leaving {
            *gone |= !listed.iter().any(|instance| instance.id == *id);
        }
        self.lost.extend(newly_lost.iter().cloned());
        self.lost.retain(|id| listed.iter().any(|instance| instance.id == *id));
        let held: Vec<&String> = self.holds.values().flatten().collect();
        let mut unheld = listed.iter().map(|instance| &instance.id).filter(|id| !held.contains(id));
        // One new process and one instance without a process belong together; more of either cannot be told apart.
        let owner = match (fresh.as_slice(), unheld.next(), unheld.next()) {
            ([RunnerProcess { names: None, .. }], Some(id), None) => Some(id.clone()),
            ([one], ..) => one.names.clone(),
            _ => None,
        };
        if owner.is_some() || (!fresh.is_empty() && listed.len() <= pids.len()) {
            self.lost.retain(|id| owner.as_ref().is_some_and(|owner| owner != id));
        }
        for runner in fresh {
            self.holds.insert(runner.pid, runner.names.clone().or_else(|| owner.clone()));
        }
        let there: Vec<Instance> =
            listed.into_iter().filter(|instance| !self.lost.contains(&instance.id)).collect();
        // Whoever was gone and is there again was loaded anew.
        self.leaving.retain(|id, gone| !(*gone && there.iter().any(|instance| instance.id == *id)));
        Seen { there: there.into_iter().map(|one| self.with_process(one, runners)).collect(), newly_lost }
    }

    fn with_process(&self, instance: Instance, runners: &[RunnerProcess]) -> Instance {
        let mut holders = self.holds.iter().filter(|(_, id)| id.as_ref() == Some(&instance.id));
        let pid = holders.next().map(|(pid, _)| *pid);
        let runner = runners.iter().find(|runner| Some(runner.pid) == pid);
        let slots = instance.slots.or(runner.and_then(|runner| runner.slots));
        Instance { pid, slots, ..instance }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::ServerId;

    fn instance(id: &str) -> Instance {
        Instance {
            id: id.into(),
            server: ServerId::new("ollama"),
            model: id.into(),
            memory_bytes: None,
            gpu_memory_bytes: None,
            context: None,
            expiry: Expiry::Never,
            pid: None,
            port: None,
            slots: None,
            orphaned_answers: None,
        }
    }

    /// A process whose command line names nothing.
    fn at(pid: u32) -> RunnerProcess {
        RunnerProcess { pid, names: None, port: None, slots: None }
    }

    fn ids(seen: &Seen) -> Vec<&str> {
        seen.there.iter().map(|instance| instance.id.as_str()).collect()
    }

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    #[test]
    fn a_model_whose_process_died_is_lost_once_and_back_with_the_next_process() {
        let mut runners = Runners::default();
        assert_eq!(ids(&runners.see(&[at(7)], vec![instance("a")], now())), ["a"]);
        let seen = runners.see(&[], vec![instance("a")], now());
        assert_eq!((ids(&seen), seen.newly_lost.as_slice()), (vec![], ["a".to_owned()].as_slice()));
        let seen = runners.see(&[], vec![instance("a")], now());
        assert!(seen.there.is_empty() && seen.newly_lost.is_empty(), "told once");
        assert_eq!(ids(&runners.see(&[at(8)], vec![instance("a")], now())), ["a"]);
    }

    #[test]
    fn of_two_models_only_the_one_that_died_is_lost() {
        let mut runners = Runners::default();
        runners.see(&[at(7)], vec![instance("a")], now());
        runners.see(&[at(7), at(8)], vec![instance("a"), instance("b")], now());
        let seen = runners.see(&[at(8)], vec![instance("a"), instance("b")], now());
        assert_eq!((ids(&seen), seen.newly_lost.as_slice()), (vec!["b"], ["a".to_owned()].as_slice()));
    }

    #[test]
    fn an_unload_is_no_loss() {
        let mut runners = Runners::default();
        runners.see(&[at(7)], vec![instance("a")], now());
        let leaving = Instance { expiry: Expiry::At(now()), ..instance("a") };
        assert!(runners.see(&[], vec![leaving], now()).newly_lost.is_empty());
        assert!(runners.see(&[], vec![], now()).newly_lost.is_empty());
    }

    #[test]
    fn a_server_whose_children_are_never_seen_loses_nothing() {
        let mut runners = Runners::default();
        assert_eq!(ids(&runners.see(&[], vec![instance("a")], now())), ["a"]);
        assert_eq!(ids(&runners.see(&[], vec![instance("a")], now())), ["a"]);
    }

    #[test]
    fn a_command_line_says_more_than_the_order_of_appearance() {
        let mut runners = Runners::default();
        let names = |pid, id: &str| RunnerProcess { pid, names: Some(id.into()), port: None, slots: None };
        let seen = runners.see(&[names(7, "b"), names(8, "a")], vec![instance("a"), instance("b")], now());
        let pids: Vec<Option<u32>> = seen.there.iter().map(|instance| instance.pid).collect();
        assert_eq!(pids, [Some(8), Some(7)]);
        let seen = runners.see(&[names(7, "b")], vec![instance("a"), instance("b")], now());
        assert_eq!(seen.newly_lost, ["a"]);
    }

    #[test]
    fn of_processes_that_cannot_be_told_apart_no_instance_gets_one() {
        let mut runners = Runners::default();
        let seen = runners.see(&[at(7), at(8)], vec![instance("a"), instance("b")], now());
        assert!(seen.there.iter().all(|instance| instance.pid.is_none()), "{seen:?}");
    }

    #[test]
    fn our_own_unload_is_no_loss_however_the_looks_fall() {
        let gone = |seen: Seen| (seen.there.len(), seen.newly_lost);
        // Still listed although its process has ended; told before the first look had seen that process.
        let mut runners = Runners::default();
        runners.leaving("a");
        runners.see(&[at(7)], vec![instance("a")], now());
        assert_eq!(gone(runners.see(&[], vec![instance("a")], now())), (0, vec![]));
        // Loaded again, in the same breath or later, its death is a loss like any other.
        runners.see(&[at(8)], vec![instance("a")], now());
        assert_eq!(gone(runners.see(&[], vec![instance("a")], now())), (0, vec!["a".into()]));
        let mut runners = Runners::default();
        runners.see(&[at(7)], vec![instance("a")], now());
        runners.leaving("a");
        assert_eq!(gone(runners.see(&[], vec![], now())), (0, vec![]));
        runners.see(&[at(8)], vec![instance("a")], now());
        assert_eq!(gone(runners.see(&[], vec![instance("a")], now())), (0, vec!["a".into()]));
        // The unload failed, and it stays.
        let mut runners = Runners::default();
        runners.see(&[at(7)], vec![instance("a")], now());
        runners.leaving("a");
        runners.staying("a");
        assert_eq!(gone(runners.see(&[], vec![instance("a")], now())), (0, vec!["a".into()]));
    }

    #[test]
    fn the_unload_of_one_hides_no_loss_of_another() {
        let mut runners = Runners::default();
        let named = |pid, id: &str| RunnerProcess { pid, names: Some(id.into()), port: None, slots: Some(2) };
        let seen = runners.see(&[named(7, "a"), named(8, "b")], vec![instance("a"), instance("b")], now());
        assert!(seen.there.iter().all(|one| one.slots == Some(2)), "{seen:?}");
        runners.leaving("a");
        let seen = runners.see(&[], vec![instance("a"), instance("b")], now());
        assert_eq!((ids(&seen), seen.newly_lost.as_slice()), (vec![], ["b".to_owned()].as_slice()));
    }
}
