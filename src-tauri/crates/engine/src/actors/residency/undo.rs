//! How the last change is taken back: a switch, a scene, a deactivation.

use super::{
    Wanted,
    actor::Residency,
    ended,
    rearranging::{Order, Purpose},
    requests::{Back, Undo, Undone, Waiter},
    transaction::Cause,
};
use crate::hub::Report;
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    model::{LoadSettings, ModelRef},
    residency::Arrangement,
    scene::UndoView,
    switch::{Active, SwitchOutcome, SwitchReport},
};
use std::time::Duration;
use tokio::{sync::oneshot, time::Instant};

/// How long a switch or a scene can be taken back.
const UNDO_FOR: Duration = Duration::from_secs(60);

impl Residency {
    /// What has changed can be taken back; until when. `None`: it is nothing that a person asked for.
    pub(super) fn note_undo(&mut self, purpose: &Purpose, before: &Arrangement) -> Option<Timestamp> {
        let snapshot = self.around.hub.now();
        let title = |active: &Active| snapshot.model_title(&active.server, &active.model);
        match purpose {
            Purpose::Switch(to) => {
                let title_of = |model: &ModelRef| snapshot.model_title(&model.server, &model.model);
                let done = format!("{} is active", title_of(to));
                let is_reload = before.active.as_ref().is_some_and(|active| active.reference() == *to);
                let back_to = before.active.as_ref().map(title).map(|title| match is_reload {
                    true => format!("{title} as it was loaded"),
                    false => title,
                });
                Some(self.can_undo(Back::to(before), done, back_to))
            }
            Purpose::Scene(scene) => {
                let done = match scene {
                    Some(name) => format!("{name} is in force"),
                    None => "The roles are in force".into(),
                };
                let back_to = before.scene.clone().or_else(|| before.active.as_ref().map(title));
                Some(self.can_undo(Back::Arrangement(Box::new(before.clone())), done, back_to))
            }
            Purpose::Restore => {
                let back_to = before.scene.clone().or_else(|| before.active.as_ref().map(title));
                let done = "What was before is back".into();
                Some(self.can_undo(Back::Arrangement(Box::new(before.clone())), done, back_to))
            }
            Purpose::Unload(_) | Purpose::Deactivate => {
                let active = before.active.as_ref().filter(|_| self.active.is_none())?;
                let back = match before.roles.is_empty() {
                    true => Back::To(Some(active.reference())),
                    false => Back::Arrangement(Box::new(before.clone())),
                };
                Some(self.can_undo(back, "No model is active".into(), Some(title(active))))
            }
            Purpose::Wish(_) | Purpose::Again(_) | Purpose::Copy(..) | Purpose::Idle(_) => None,
        }
    }

    /// Answers until when.
    fn can_undo(&mut self, back: Back, done: String, back_to: Option<String>) -> Timestamp {
        let until = Timestamp::now() + jiff_seconds(UNDO_FOR);
        self.undo = Some(Undo { back, until: Instant::now() + UNDO_FOR });
        self.around.hub.report(Report::Undo(Some(UndoView { back_to, done, until })));
        until
    }

    pub(super) fn forget_undo(&mut self) {
        if self.undo.take().is_some() {
            self.around.hub.report(Report::Undo(None));
        }
    }

    pub(super) fn take_back(&mut self, reply: oneshot::Sender<Result<Undone, ApiError>>) {
        let Some(undo) = self.undo.clone() else {
            let error = ApiError::not_found("There is nothing to undo.");
            let error = error.hint("A switch or a scene can be taken back for a minute.");
            return drop(reply.send(Err(error)));
        };
        if self.lent.is_some() {
            return drop(reply.send(Err(self.busy())));
        }
        if self.is_changing() {
            let text = "A change of what is in memory is under way.";
            let error =
                ApiError::new(ErrorCode::Busy, text).hint("Cancel it, which puts back what was there.");
            return drop(reply.send(Err(error.retryable())));
        }
        match undo.back {
            Back::To(Some(model)) => {
                let (inner, answer) = oneshot::channel();
                hand_on(answer, reply, |report| Undone::Switch(Box::new(report)));
                self.forget_undo();
                self.undoing = true;
                self.resolve(Wanted { model: model.id(), server: None, dry_run: false, now: false }, inner);
            }
            Back::To(None) => {
                let (inner, answer) = oneshot::channel();
                hand_on(answer, reply, Undone::Unloaded);
                self.forget_undo();
                self.undoing = true;
                self.take_out_for_a_person(None, false, false, inner);
                // It was refused, or has taken note of that.
                self.undoing = false;
            }
            Back::Active(to, before) => match self.order_back(*before, false) {
                Ok(order) => {
                    let (inner, answer) = oneshot::channel();
                    hand_on(answer, reply, |report| Undone::Switch(Box::new(report)));
                    self.forget_undo();
                    let order = Order { purpose: Purpose::Switch(to), ..order };
                    self.rearrange(order, vec![Waiter::Switch(inner)], true);
                }
                Err(error) => drop(reply.send(Err(error))),
            },
            Back::Arrangement(before) => match self.order_back(*before, false) {
                Ok(order) => {
                    let (inner, answer) = oneshot::channel();
                    hand_on(answer, reply, Undone::Scene);
                    self.forget_undo();
                    self.rearrange(order, vec![Waiter::Scene(inner)], true);
                }
                Err(error) => drop(reply.send(Err(error))),
            },
        }
    }

    /// A switch has ended: the role that leads stands for what is active now, and it can be taken back. `before`: what was held.
    /// Answers until when; `None`: it cannot.
    pub(super) fn after_switch(
        &mut self,
        cause: &Cause,
        result: &Result<SwitchReport, ApiError>,
        before: &Arrangement,
    ) -> Option<Timestamp> {
        let undoing = std::mem::take(&mut self.undoing);
        let report = result.as_ref().ok().filter(|report| report.outcome == SwitchOutcome::Committed)?;
        let to = report.to.clone();
        self.holding.on_request.remove(&to);
        if let Some(active) = self.active.clone() {
            let mut arrangement = self.arrangement();
            arrangement.lead_with(&active);
            self.arrangement = Arrangement { active: None, ..arrangement };
        }
        // What another role or a pin keeps is there as it was loaded.
        let stays =
            |model: &ModelRef| self.arrangement.models().contains(model) || self.holding.pins.contains(model);
        if let Some(from) = report.from.as_ref().filter(|from| **from != to && !stays(from)) {
            self.holding.gone(from);
        }
        let is_new = matches!(cause, Cause::Asked(_)) && report.from.as_ref() != Some(&to) && !undoing;
        let undo = is_new.then(|| {
            let snapshot = self.around.hub.now();
            let title = |model: &ModelRef| snapshot.model_title(&model.server, &model.model);
            let done = format!("{} is active", title(&to));
            let back_to = report.from.as_ref().map(title);
            // What was loaded as its server does it by itself comes back so.
            let back = match before.active_with() == LoadSettings::default() {
                true => Back::To(report.from.clone()),
                false => Back::to(before),
            };
            self.can_undo(back, done, back_to)
        });
        self.tell_held();
        undo
    }
}

/// Hands an answer on under another name.
fn hand_on<T: Send + 'static, U: Send + 'static>(
    answer: oneshot::Receiver<Result<T, ApiError>>,
    reply: oneshot::Sender<Result<U, ApiError>>,
    name: impl FnOnce(T) -> U + Send + 'static,
) {
    tokio::spawn(async move {
        let answer = answer.await.unwrap_or_else(|_| Err(ended()));
        drop(reply.send(answer.map(name)));
    });
}

fn jiff_seconds(duration: Duration) -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(duration).unwrap_or_default()
}
