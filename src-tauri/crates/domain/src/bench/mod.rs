//! What a benchmark measures: plans, trials, runs, and what may be concluded from them.

pub mod after_update;
pub mod arrivals;
pub mod change_point;
mod compared;
pub mod comparison;
pub mod conversation;
pub mod cooling;
pub mod copies;
pub mod drift;
pub mod expected;
pub mod gaps;
mod knee;
mod limits;
pub mod load;
mod mark;
mod matching;
mod metrics;
pub mod open_loop;
mod paired;
pub mod percentiles;
pub mod plan;
mod plan_asked;
pub mod quiet;
#[cfg(test)]
mod recorded_tests;
pub mod regression;
pub mod replay;
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
pub use plan_asked::PlanAsked;
pub use quiet::Disturbance;
pub use run::{BenchProgress, Fingerprint, Run, RunDetail, RunState};
pub use stats::{Interval, Summary};
pub use trace::RunTrace;
pub use trial::{PrefixUse, RawTrial, Trial, TrialPhase, decode_tok_s, flaw, prefill_tok_s, ttft_ms};

/// The version of the formulas in this room; kept with each run, so that rows under other rules are never compared.
pub const METRICS_VERSION: u32 = 1;
