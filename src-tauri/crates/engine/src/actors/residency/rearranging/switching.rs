//! A rearrangement that makes another model active is shown, told and written down as the switch that it is.

use super::{Order, Purpose, Rearrangement};
use crate::hub::Report;
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    model::ModelRef,
    residency::Arrangement,
    scene::{Arranging, SceneReport},
    switch::{Active, SwitchPhase, SwitchReport, Switching},
};

impl Order {
    /// Whether a model that was held stays in memory beside a switch: a role stands for it, or it is pinned.
    pub fn stays_beside(&self, before: &Arrangement, model: &ModelRef) -> bool {
        self.purpose.switch().is_some() && (self.after.models().contains(model) || before.is_pinned(model))
    }
}

/// What views see of it under way.
#[derive(Clone)]
pub(super) struct Shown {
    pub arranging: Arranging,
    from: Option<ModelRef>,
    /// `None`: it is no switch.
    to: Option<ModelRef>,
}

impl Shown {
    pub fn new(purpose: &Purpose, active: Option<&Active>) -> Self {
        let arranging = Arranging {
            scene: purpose.scene(),
            phase: SwitchPhase::Preparing,
            model: None,
            progress: None,
            done: 0,
            steps: 0,
            eta_s: None,
            started_at: Timestamp::now(),
        };
        Self { arranging, from: active.map(Active::reference), to: purpose.switch().cloned() }
    }

    pub fn report(&self) -> Report {
        let Some(to) = &self.to else { return Report::Arranging(Some(self.arranging.clone())) };
        let Arranging { phase, progress, eta_s, started_at, .. } = self.arranging.clone();
        Report::Switching(Some(Switching {
            switch_id: started_at.as_millisecond(),
            from: self.from.clone(),
            to: to.clone(),
            phase,
            progress,
            eta_s,
            started_at,
        }))
    }

    pub fn end(&self) -> Report {
        match self.to {
            Some(_) => Report::Switching(None),
            None => Report::Arranging(None),
        }
    }
}

/// What a change did, as a switch tells of it. It has no number as long as it is not written down.
pub(in crate::actors::residency) fn as_switch(
    from: Option<ModelRef>,
    to: ModelRef,
    report: &SceneReport,
) -> SwitchReport {
    let failed = report.error.as_ref().map(|error| error.message.clone());
    let reasons: Vec<String> = failed.into_iter().chain(report.reason.clone()).collect();
    SwitchReport {
        switch_id: 0,
        from,
        to,
        outcome: report.outcome,
        dry_run: report.dry_run,
        took_ms: report.took_ms,
        load_ms: None,
        first_token_ms: None,
        steps: report.steps.clone(),
        answers_cut: report.answers_cut,
        journalled: report.journalled,
        reason: (!reasons.is_empty()).then(|| reasons.join(" ")),
        error: report.error.clone(),
    }
}

impl Rearrangement {
    /// Whether nothing was begun. Of a switch all that comes later than what it is refused for is an outcome, as of any switch.
    pub(super) fn is_refusal(&self, error: &ApiError) -> bool {
        let is_switch = self.order.purpose.switch().is_some();
        let refuses =
            matches!(error.code, ErrorCode::Unsupported | ErrorCode::DoesNotFit | ErrorCode::NotOurs);
        let untouched = self.loaded.is_empty() && self.taken_out.is_empty() && self.late.is_empty();
        untouched && (refuses || !is_switch)
    }

    /// Among the switches of the history, from which the times of loads are learned. What the next start needs stands in what is held
    /// and its strays; so this is written at the end.
    pub(super) async fn write_down(&self, to: &ModelRef, report: &SceneReport) -> SwitchReport {
        let (active, began) = (self.before.active.as_ref(), self.shown.arranging.started_at);
        let mut switch = SwitchReport {
            switch_id: began.as_millisecond(),
            load_ms: self.load_ms,
            first_token_ms: self.first_token_ms,
            ..as_switch(active.map(Active::reference), to.clone(), report)
        };
        let Some(journal) = self.around.journal.as_ref().filter(|_| !self.ending.is_cancelled()) else {
            return SwitchReport { journalled: false, ..switch };
        };
        let written = async {
            switch.switch_id = journal.begin(active, to, began).await?;
            journal.end(&switch).await
        };
        if let Err(error) = written.await {
            tracing::warn!(%error, "the switch was not kept");
            switch.journalled = false;
        }
        switch
    }
}
