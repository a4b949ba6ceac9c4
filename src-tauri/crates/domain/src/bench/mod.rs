//! What a benchmark measures: plans, trials, runs, and what may be concluded from them.

pub mod after_update;
pub mod change_point;
mod compared;
pub mod comparison;
pub mod drift;
pub mod gaps;
mod knee;
mod matching;
mod metrics;
mod paired;
pub mod plan;
pub mod quiet;
#[cfg(test)]
mod recorded_tests;
pub mod regression;
pub mod retention;
pub mod run;
pub mod series;
pub mod stats;
mod student;
pub mod sweep;
pub mod trace;
pub mod trace_reasons;
pub mod trend;
pub mod trial;
mod unpaired;
mod verdict_words;
pub mod warmup;
mod words;

pub use comparison::{Comparison, Verdict};
pub use gaps::GapSpread;
pub use plan::{BenchPlan, MAX_TRIALS, MIN_TRIALS};
pub use quiet::Disturbance;
pub use run::{BenchProgress, Fingerprint, Run, RunDetail, RunState};
pub use stats::{Interval, Summary};
pub use trace::RunTrace;
pub use trial::{RawTrial, Trial, TrialPhase, decode_tok_s, flaw, prefill_tok_s, ttft_ms};

/// The version of the formulas in this room; kept with each run, so that rows under other rules are never compared.
pub const METRICS_VERSION: u32 = 1;
