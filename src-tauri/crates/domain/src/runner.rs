//! Which models a server still lists although the process that held them has died. Ollama goes on listing such a
//! model until the next request stumbles over it (seen with 0.32.0).

use crate::{
    Timestamp,
    model::{Expiry, Instance},
};
use std::collections::BTreeMap;

/// Remembers which child process of a server holds which instance, as far as that could be seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Runners {
    /// By pid: the id of the instance that appeared together with the process.
    holds: BTreeMap<u32, Option<String>>,
    lost: Vec<String>,
}

/// What a look at children and list says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The instances that are really in memory.
    pub there: Vec<Instance>,
    /// Ids of instances whose process has died since the last look.
    pub newly_lost: Vec<String>,
}

impl Runners {
    /// Takes the pids of the children that hold models, and the server's own list of a moment later.
    pub fn see(&mut self, pids: &[u32], listed: Vec<Instance>, now: Timestamp) -> Seen {
        let had_runners = !self.holds.is_empty();
        let gone: Vec<Option<String>> =
            self.holds.extract_if(.., |pid, _| !pids.contains(pid)).map(|(_, id)| id).collect();
        let fresh: Vec<u32> = pids.iter().copied().filter(|pid| !self.holds.contains_key(pid)).collect();
        let mut newly_lost: Vec<String> = Vec::new();
        for instance in &listed {
            // Unloading is wanted: the process is allowed to be gone.
            let leaving = matches!(instance.expiry, Expiry::At(at) if at <= now);
            let died = gone.contains(&Some(instance.id.clone())) || (had_runners && pids.is_empty());
            if died && !leaving && !self.lost.contains(&instance.id) {
                newly_lost.push(instance.id.clone());
            }
        }
        self.lost.extend(newly_lost.iter().cloned());
        self.lost.retain(|id| listed.iter().any(|instance| instance.id == *id));
        let held: Vec<&String> = self.holds.values().flatten().collect();
        let mut unheld = listed.iter().map(|instance| &instance.id).filter(|id| !held.contains(id));
        // One new process and one instance without a process belong together; more of either cannot be told apart.
        let owner = match (fresh.as_slice(), unheld.next(), unheld.next()) {
            ([_], Some(id), None) => Some(id.clone()),
            _ => None,
        };
        if owner.is_some() || (!fresh.is_empty() && listed.len() <= pids.len()) {
            self.lost.retain(|id| owner.as_ref().is_some_and(|owner| owner != id));
        }
        for pid in fresh {
            self.holds.insert(pid, owner.clone());
        }
        let there = listed.into_iter().filter(|instance| !self.lost.contains(&instance.id)).collect();
        Seen { there, newly_lost }
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
        }
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
        assert_eq!(ids(&runners.see(&[7], vec![instance("a")], now())), ["a"]);
        let seen = runners.see(&[], vec![instance("a")], now());
        assert_eq!((ids(&seen), seen.newly_lost.as_slice()), (vec![], ["a".to_owned()].as_slice()));
        let seen = runners.see(&[], vec![instance("a")], now());
        assert!(seen.there.is_empty() && seen.newly_lost.is_empty(), "told once");
        assert_eq!(ids(&runners.see(&[8], vec![instance("a")], now())), ["a"]);
    }

    #[test]
    fn of_two_models_only_the_one_that_died_is_lost() {
        let mut runners = Runners::default();
        runners.see(&[7], vec![instance("a")], now());
        runners.see(&[7, 8], vec![instance("a"), instance("b")], now());
        let seen = runners.see(&[8], vec![instance("a"), instance("b")], now());
        assert_eq!((ids(&seen), seen.newly_lost.as_slice()), (vec!["b"], ["a".to_owned()].as_slice()));
    }

    #[test]
    fn an_unload_is_no_loss() {
        let mut runners = Runners::default();
        runners.see(&[7], vec![instance("a")], now());
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
}
