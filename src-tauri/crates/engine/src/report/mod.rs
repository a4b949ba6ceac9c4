//! What was measured, put on paper: tables, the owner's two questions, one page to open anywhere, and files to pass on.
//!
//! Everything here is computed from runs that were read already: no clock, no files, no SQL.

mod csv;
pub mod exchange;
mod figures;
mod markdown;
pub mod owner;
mod page;
mod results;
#[cfg(test)]
pub(crate) mod seeds;

pub use csv::{runs as runs_csv, trial_head, trial_rows};
pub use figures::{MachineKey, machine_of};
pub use markdown::runs as runs_markdown;
pub use page::page;
pub use results::{Results, results, spread};

use pilothouse_domain::Timestamp;

/// Where and when a report was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    pub at: Timestamp,
    /// Of Pilothouse.
    pub version: String,
}
