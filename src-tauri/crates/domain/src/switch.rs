//! The switch: a transaction that makes another model active, or puts everything back.

use crate::{Timestamp, error::ApiError, model::ModelRef};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// What the gateway answers with under the name `active`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Active {
    pub server: crate::server::ServerId,
    pub model: String,
    /// The server's identifier of the loaded copy.
    pub instance: String,
}

impl Active {
    pub fn reference(&self) -> ModelRef {
        ModelRef { server: self.server.clone(), model: self.model.clone() }
    }
}

/// Where a switch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum SwitchPhase {
    /// Starting the server, if it is not up, and looking what is loaded.
    Preparing,
    /// Waiting for answers under way.
    Draining,
    Unloading,
    Loading,
    /// Asking the new model for one real token.
    Proving,
    Committing,
    /// Something failed: the previous model is made active again.
    PuttingBack,
}

/// A switch under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Switching {
    pub switch_id: i64,
    pub from: Option<ModelRef>,
    pub to: ModelRef,
    pub phase: SwitchPhase,
    /// Fraction of the load that is done, 0–1, where the server tells it.
    pub progress: Option<f64>,
    /// Seconds left, a guess from earlier loads of the same model on the same server.
    pub eta_s: Option<f64>,
    #[ts(type = "string")]
    pub started_at: Timestamp,
}

/// How a switch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum SwitchOutcome {
    Committed,
    RolledBack,
    Cancelled,
}

/// One step and how long it took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct StepTiming {
    pub name: String,
    pub ms: u64,
}

/// A switch that ended, with its begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct PastSwitch {
    #[ts(type = "string")]
    pub started_at: Timestamp,
    #[serde(flatten)]
    pub report: SwitchReport,
}

/// What a switch did. With `dry_run` nothing was done: the steps are the plan with 0 ms and the id is 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SwitchReport {
    pub switch_id: i64,
    pub from: Option<ModelRef>,
    pub to: ModelRef,
    pub outcome: SwitchOutcome,
    pub dry_run: bool,
    pub took_ms: u64,
    /// `None` when the model was loaded already.
    pub load_ms: Option<u64>,
    pub first_token_ms: Option<u64>,
    pub steps: Vec<StepTiming>,
    /// Answers of the previous model that were cut, because they went on beyond the limit of the drain.
    #[serde(default)]
    pub answers_cut: u32,
    /// Whether it was written down as it went on, so that a start after our death knows what to put back. `false`: the database
    /// did not take it in time; the switch went on without.
    #[serde(default = "yes")]
    pub journalled: bool,
    pub reason: Option<String>,
    pub error: Option<ApiError>,
}

/// Reports of before this was told were written down.
fn yes() -> bool {
    true
}
