//! Whether a machine is quiet enough to measure on, and who disturbs it.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Something that took the machine's strength while a run measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Disturbance {
    pub what: DisturbedBy,
    /// The program, the card, or the words of the system.
    pub name: String,
    pub pid: Option<u32>,
    /// Of one core, of one card's time, or of memory; the highest that was seen. `None`: it has no measure.
    pub percent: Option<f64>,
    /// How long it was seen.
    pub seconds: f64,
}

/// The kinds of disturbance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum DisturbedBy {
    /// Another program computes.
    Processor,
    /// Another program keeps a card busy.
    Gpu,
    /// Memory is short.
    Memory,
    /// Memory is written out to the disk.
    Swap,
    /// The clock is held down.
    Heat,
    /// Not on mains power.
    Battery,
    /// Other requests are at the same server.
    Requests,
}
