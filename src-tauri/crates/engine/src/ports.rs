//! Small traits between the actors and the outside world, so that actors can be tested with fakes. Those of servers stand in
//! `pilothouse_servers`, those of processes and gauges in `pilothouse_system`.

use async_trait::async_trait;
use pilothouse_domain::{
    Timestamp,
    error::ApiError,
    model::ModelRef,
    notice::{Notice, NoticeAct},
    residency::{CutOffSwitch, Kept},
    server::ServerId,
    switch::{Active, SwitchPhase, SwitchReport},
};

/// What residency writes down before it acts, so that the next start knows what our own death has left behind. Errors:
/// store_unavailable.
#[async_trait]
pub trait Journal: Send + Sync {
    /// A switch begins; returns its number.
    async fn begin(&self, from: Option<&Active>, to: &ModelRef, at: Timestamp) -> Result<i64, ApiError>;
    /// It enters a phase. `to_was_loaded`: whether its target was in memory before, once that is known.
    async fn mark(&self, id: i64, phase: SwitchPhase, to_was_loaded: Option<bool>) -> Result<(), ApiError>;
    /// Outcome and active model in one transaction. `clearing`: the previous model is still in memory and shall leave.
    async fn commit(&self, id: i64, active: &Active, clearing: bool) -> Result<(), ApiError>;
    /// It is over, with everything that belongs to it. An outcome that was written stays.
    async fn end(&self, report: &SwitchReport) -> Result<(), ApiError>;
    /// What a dead engine left under way, oldest first.
    async fn cut_off(&self) -> Result<Vec<CutOffSwitch>, ApiError>;
    /// Those are dealt with.
    async fn close_cut_off(&self, reason: &str) -> Result<(), ApiError>;
    /// Which model is active, for the next start.
    async fn set_active(&self, active: Option<&Active>) -> Result<(), ApiError>;
    async fn active(&self) -> Result<Option<Active>, ApiError>;
    /// Whether any switch was ever begun.
    async fn has_switches(&self) -> Result<bool, ApiError>;
    /// How long the last committed loads of a model took, in milliseconds.
    async fn load_times(&self, to: &ModelRef) -> Result<Vec<u64>, ApiError>;
    /// A model that only we have loaded must leave memory (after a measurement, or because it could not be taken out); or it
    /// has left.
    async fn set_stray(&self, model: &ModelRef, stray: bool) -> Result<(), ApiError>;
    async fn strays(&self) -> Result<Vec<ModelRef>, ApiError>;
    /// What is held in memory, its active model included, and which models must leave memory or have taken up their place, all in one
    /// transaction.
    async fn keep(&self, kept: &Kept, strays: &[(ModelRef, bool)]) -> Result<(), ApiError>;
    /// What was held, without the active model.
    async fn kept(&self) -> Result<Kept, ApiError>;
    /// Whether it can be written now; writes nothing.
    async fn try_to_write(&self) -> Result<(), ApiError>;
}

/// Shows desktop notifications.
#[async_trait]
pub trait NotifyDesktop: Send + Sync {
    /// Shows a notice, with a button for each of `buttons` where the desktop has buttons; answers with what hears of clicks on
    /// them. Errors when no notification server answers; the caller says so once and goes on.
    async fn show(
        &self,
        notice: &Notice,
        buttons: &[NoticeAct],
    ) -> Result<Option<Box<dyn ShownButtons>>, String>;
}

/// The buttons of a notification on the screen.
#[async_trait]
pub trait ShownButtons: Send + Sync {
    /// Waits for a click, however long. `None`: the notification has gone.
    async fn clicked(&self) -> Option<NoticeAct>;
    /// Takes the notification off the screen.
    async fn close(self: Box<Self>);
    /// Leaves its words on the screen, without the buttons.
    async fn take_buttons_away(self: Box<Self>);
}

/// Shows a page of Pilothouse's own window where a person asked for it from outside.
pub trait OpenPanel: Send + Sync {
    /// What a server has said.
    fn show_log(&self, server: &ServerId);
}
