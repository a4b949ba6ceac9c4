//! Processes with models whose server has died without them.

use super::process_tree::ProcessTable;
use crate::process::command_line;
use std::collections::HashMap;

/// A process may still carry its parent's command line when it is seen first.
const LOOKS: u8 = 3;

/// By which command lines the processes of a server are known that may outlive it.
#[derive(Debug, Clone, Copy)]
pub struct CommandLines {
    /// One that holds a model.
    pub is_runner: fn(&[String]) -> bool,
    /// The server that such a one belongs to.
    pub is_server: fn(&[String]) -> bool,
}

/// Remembers which processes are runners: their command lines are read a few times only.
pub(super) struct Orphans {
    lines: CommandLines,
    known: HashMap<u32, Looked>,
}

#[derive(Default)]
struct Looked {
    times: u8,
    runner: bool,
}

impl Orphans {
    pub fn new(lines: CommandLines) -> Self {
        Self { lines, known: HashMap::new() }
    }

    /// The runners whose parent is no server of theirs.
    pub fn find(&mut self, table: &ProcessTable) -> Vec<u32> {
        self.known.retain(|pid, _| table.parent(*pid).is_some());
        for pid in table.pids() {
            let looked = self.known.entry(pid).or_default();
            if looked.times < LOOKS && !looked.runner {
                looked.times += 1;
                looked.runner = command_line(pid).is_some_and(|line| (self.lines.is_runner)(&line));
            }
        }
        let runners = self.known.iter().filter(|(_, looked)| looked.runner).map(|(pid, _)| *pid);
        let mut orphans: Vec<u32> = runners
            .filter(|pid| {
                let parent = table.parent(*pid).and_then(command_line);
                !parent.is_some_and(|line| (self.lines.is_server)(&line))
            })
            .collect();
        orphans.sort_unstable();
        orphans
    }
}
