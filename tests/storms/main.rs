//! Storms: Pilothouse killed at every instant of a switch, crowds of clients through switches, servers that fall silent, and
//! answers without an end. Real processes and real models; each test prints what it measured as a table.
//!
//! By default each of them is as small as its point allows. `PILOTHOUSE_STORM=full` makes them as large as they are told of.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "all of it is a test")]

mod answers;
mod crowd;
mod journal;
mod kills;
mod long_answer;
mod memory;
mod scene;
mod silence;
mod table;
mod timeline;
mod watch;

/// Whether everything is wanted.
fn full() -> bool {
    std::env::var_os("PILOTHOUSE_STORM").is_some_and(|value| value == "full")
}
