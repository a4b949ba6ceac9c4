//! Processes with models whose server has died without them. Ollama makes no arrangement for that: a killed
//! `ollama serve` leaves its runners behind with all their memory (ollama issue 5642).

use super::process_tree::ProcessTable;
use crate::{process::command_line, servers::ollama};
use std::collections::HashMap;

/// A process may still carry its parent's command line when it is seen first.
const LOOKS: u8 = 3;

/// Remembers which processes are runners: their command lines are read a few times only.
#[derive(Default)]
pub(super) struct Orphans {
    known: HashMap<u32, Looked>,
}

#[derive(Default)]
struct Looked {
    times: u8,
    runner: bool,
}

impl Orphans {
    /// The runners whose parent is no Ollama.
    pub fn find(&mut self, table: &ProcessTable) -> Vec<u32> {
        self.known.retain(|pid, _| table.parent(*pid).is_some());
        for pid in table.pids() {
            let looked = self.known.entry(pid).or_default();
            if looked.times < LOOKS && !looked.runner {
                looked.times += 1;
                looked.runner = command_line(pid).is_some_and(|line| ollama::is_runner_line(&line));
            }
        }
        let runners = self.known.iter().filter(|(_, looked)| looked.runner).map(|(pid, _)| *pid);
        let mut orphans: Vec<u32> = runners
            .filter(|pid| {
                let parent = table.parent(*pid).and_then(command_line);
                !parent.is_some_and(|line| ollama::is_server_line(&line))
            })
            .collect();
        orphans.sort_unstable();
        orphans
    }
}
