//! One owner per piece of state. Each actor has a mailbox; nothing outside changes what it owns.
//!
//! `supervisor`: one server each · `residency`: what is in memory · `bencher`: the run under way · `sampler`: the gauges
//! · `minutes`: their past in the store · `containers`: Docker · `answers`: what "Try it" asked · `fetcher`: the embedded default
//! · `tuner`: a setting that a measurement found · `forgetting`: what grows old of the history · `update_check`: models after an
//! update of their server · `notifier`: notices · `traffic`: how many answers are under way · `recorder`: requests, and what is kept of
//! them · `tracer`: an OpenTelemetry collector that is told of them · `client_keys`: the keys of client programs.

pub mod answers;
pub mod bencher;
pub mod bookkeeper;
mod bounds;
pub(crate) mod client_keys;
pub mod containers;
pub mod fetcher;
pub(crate) mod forgetting;
mod minutes;
pub mod notifier;
pub(crate) mod recorder;
pub mod residency;
pub mod sampler;
pub mod silences;
pub mod supervisor;
pub mod supervisors;
pub(crate) mod tracer;
pub(crate) mod traffic;
pub mod tuner;
pub(crate) mod update_check;
