//! What is known of requests under way, and where their records go when they end.
//!
//! Whoever answers requests opens a record with [`Recorder::begin`] and ends it; the engine shows those under way and keeps
//! those that have ended. Nothing here waits: a record for which the queue has no room is counted as lost, and that is said.
//! Per request there are two short locks of one table and a few counters, per token one addition without a lock.

mod asker;
mod counts;
mod inner;
mod metrics;
mod open;
mod page;
mod recorder;
mod table;
#[cfg(test)]
mod tests;

pub use asker::Asker;
pub use metrics::{escaped, family};
pub use open::OpenRecord;
pub use page::MetricsPage;
pub use recorder::{Ended, Recorder};
