//! Scripted fakes for the tests of actors: a server that exists only in memory, with its adapter and client in one.
//!
//! Every wait is one of tokio's, so that paused time runs through them. What a test wants to know afterwards (who loaded
//! what, how often, what was in memory at any time) is written down by the fake.

#![allow(dead_code, unused_imports, reason = "the tests of each actor use another part of it")]

mod client;
mod faults;
mod journal;
mod scene;
mod slots;
mod wiring;
mod world;

pub use faults::{Fault, Faults, Shape};
pub use journal::FakeJournal;
pub use scene::{Scene, active, wanted};
pub use wiring::{Quiet, hub, notifier, supervisor_wiring};
pub use world::{Act, FakeServer, Memory};
