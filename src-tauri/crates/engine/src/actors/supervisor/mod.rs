//! One supervisor per server: the only one that starts, stops, adopts and lists it.
//!
//! Decisions are `domain::lifecycle`; the actor feeds events in and carries effects out. Slow work (probing, listing,
//! launching) runs in tasks whose results come back to the actor as one more event (`outcome`).
//!
//! Its state is a few structs, each of which keeps its own invariants and knows nothing of the actor: `life` (where it stands and
//! since when), `connection` (the way to it, and which probes still count), `ownership` (whose it is), `launch` (starts, and what
//! must end before them), `memory` (instances and the processes that hold them), `suspicion` (whether it works), `program`.

mod actor;
mod ask;
mod asleep;
mod checking;
mod connection;
mod ending;
mod evidence;
mod handle;
mod holders;
mod launch;
mod life;
mod looking;
mod memory;
mod outcome;
mod output;
mod ownership;
mod owning;
mod program;
mod record;
mod showing;
mod speech;
mod starting;
mod suspicion;
mod taking_over;
#[cfg(test)]
mod tests;
mod waiting;
mod wiring;
mod work;

use std::time::Duration;

pub use connection::Connection;
pub use handle::SupervisorHandle;
pub use wiring::SupervisorWiring;

/// Small files of the kernel, which may hang for a process that does.
const PROCESSES_LIMIT: Duration = Duration::from_secs(5);
