//! Scenes, unloading and undo: what is asked of residency beside switches, from its coming to its end.

use super::{
    actor::{Next, Residency, Running},
    holding::Holding,
    rearranging::{Handed, Order, Purpose, Rearranged, Rearrangement, as_switch, plan_view},
    requests::{Aim, Rearranging, Request, Waiter},
};
use crate::hub::{Report, Standing};
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    model::{Instance, ModelRef},
    residency::{Arrangement, became_active},
    scene::{ScenePlan, SceneReport},
    switch::{Active, StepTiming, SwitchOutcome},
};
use std::collections::BTreeSet;
use tokio_util::sync::CancellationToken;

impl Residency {
    /// What is held now, the active model included.
    pub(super) fn arrangement(&self) -> Arrangement {
        let own = self.active.as_ref().filter(|_| self.arrangement.lead.is_none());
        let with = own.and_then(|active| self.holding.loaded_with.get(&active.reference()).copied());
        let (active, with) = (self.active.clone(), with.unwrap_or_default());
        Arrangement { active, with, ..self.arrangement.clone() }
    }

    pub(super) fn on_request(&mut self, request: Request) {
        match request {
            Request::Apply { aim, now, dry_run, waiter } => {
                if !dry_run {
                    // A switch that was asked for before and is still being resolved is too late.
                    self.numbers += 1;
                    self.latest = self.numbers;
                }
                self.apply(aim, now, dry_run, waiter);
            }
            Request::Plan { aim, reply } => {
                let plan = self.order(aim, false).map(|order| self.preview(order));
                drop(reply.send(plan));
            }
            Request::Unload { model, now, dry_run, reply } => {
                self.take_out_for_a_person(model, now, dry_run, reply)
            }
            Request::UnloadCopy { server, instance, reply } => self.take_out_a_copy(server, instance, reply),
            Request::Undo(reply) => self.take_back(reply),
            Request::Pin { model, pinned, reply } => {
                self.pin(model, pinned);
                drop(reply.send(Ok(())));
            }
        }
    }

    fn preview(&self, mut order: Order) -> ScenePlan {
        self.with_instances(&mut order);
        plan_view(&self.around, &order, &self.arrangement(), &self.holding)
    }

    /// What is listed now, for a plan that asks nobody.
    pub(super) fn with_instances(&self, order: &mut Order) {
        let snapshot = self.around.hub.now();
        for target in &mut order.targets {
            let of_it = |one: &&Instance| one.server == target.model.server && one.model == target.model.name;
            target.instance = snapshot.instances.iter().find(of_it).cloned();
        }
    }

    fn apply(&mut self, aim: Aim, now: bool, dry_run: bool, waiter: Waiter) {
        let order = match self.order(aim.clone(), now) {
            Ok(order) => order,
            Err(error) => return waiter.refuse(error),
        };
        if dry_run {
            let switch = order.purpose.switch().cloned();
            let report = self.rehearse(order);
            let from = self.active.as_ref().map(Active::reference);
            let switch = switch.zip(report.as_ref().ok()).map(|(to, report)| as_switch(from, to, report));
            return waiter.tell(&report, switch.as_ref(), &[], None);
        }
        let waiter = match (self.is_active_so(&order), waiter) {
            (Some(report), Waiter::Switch(reply)) => return drop(reply.send(Ok(report))),
            (_, waiter) => waiter,
        };
        if self.lent.is_some() {
            return waiter.refuse(self.busy());
        }
        if let Some(rearranging) = &mut self.rearranging
            && rearranging.purpose == order.purpose
            && rearranging.after == order.after
            && !rearranging.cancel.is_cancelled()
        {
            if now {
                rearranging.now.cancel();
            }
            rearranging.waiters.push(waiter);
            return self.replace_next(None);
        }
        if self.is_changing() {
            self.cancel_all();
            return self.replace_next(Some(Next::Arrange { aim, now, waiter }));
        }
        self.rearrange(order, vec![waiter], false);
    }

    /// The plan as a report; nothing is done. Errors: does_not_fit, not_ours, unsupported.
    fn rehearse(&self, order: Order) -> Result<SceneReport, ApiError> {
        let scene = match &order.purpose {
            Purpose::Scene(name) => name.clone(),
            _ => None,
        };
        let plan = self.preview(order);
        if let Some(refusal) = plan.refusal {
            return Err(refusal);
        }
        let loads = plan.steps.iter().filter(|step| step.name == "load");
        Ok(SceneReport {
            scene,
            outcome: SwitchOutcome::Committed,
            dry_run: true,
            took_ms: 0,
            loaded: loads.filter_map(|step| step.model.clone()).collect(),
            steps: plan.steps.iter().map(|step| StepTiming { name: step.name.clone(), ms: 0 }).collect(),
            evicted: plan.evicted,
            answers_cut: 0,
            journalled: true,
            reason: None,
            error: None,
        })
    }

    pub(super) fn rearrange(&mut self, order: Order, waiters: Vec<Waiter>, is_undo: bool) {
        let cancel = CancellationToken::new();
        let (purpose, after) = (order.purpose.clone(), order.after.clone());
        let strays = match purpose {
            // Only what is loaded anew wants the memory of strays.
            Purpose::Unload(_) | Purpose::Copy(..) | Purpose::Idle(_) => vec![],
            _ => std::mem::take(&mut self.strays),
        };
        let joined =
            order.targets.iter().filter_map(|target| self.late_load(&target.model.reference())).collect();
        let rearrangement = Rearrangement::new(
            order,
            Handed {
                around: self.around.clone(),
                holding: self.holding.clone(),
                before: self.arrangement(),
                standing: self.standing.clone(),
                cancel: cancel.clone(),
                ending: self.ending.clone(),
                strays,
                joined,
                clearing: self.clearing.clone(),
            },
        );
        let now = rearrangement.now.clone();
        let task = tokio::spawn(rearrangement.run());
        self.rearranging = Some(Rearranging { purpose, after, cancel, now, task, waiters, is_undo });
    }

    pub(super) async fn on_rearranged(&mut self, ended: Option<(Rearranged, Holding)>) {
        let Some(rearranging) = self.rearranging.take() else { return };
        let Some((rearranged, holding)) = ended else {
            let error = ApiError::internal("The change of what is in memory ended unexpectedly.");
            let error = error.hint("Look at Pilothouse's log.");
            self.around.hub.report(Report::Arranging(None));
            self.around.hub.report(Report::Switching(None));
            // Whoever was told to wait is not left waiting.
            self.tell_held();
            for waiter in rearranging.waiters {
                waiter.refuse(error.clone());
            }
            return self.go_on();
        };
        let Rearranged { purpose, result, switch, arrangement, standing, absent, unloaded, strays, late } =
            rearranged;
        let before = self.arrangement();
        self.active.clone_from(&arrangement.active);
        self.arrangement = Arrangement { active: None, ..arrangement };
        self.standing = standing;
        let pins = std::mem::take(&mut self.holding.pins);
        let had_taken_out = !holding.taken_out.is_empty();
        self.holding = Holding { pins, absent, taken_out: vec![], ..holding };
        self.note_recent();
        self.strays.extend(strays);
        for late in late {
            self.follow_late(late);
        }
        if self.active.is_some() {
            self.ever_used = true;
            self.first_choices.clear();
        }
        self.tried_at = (self.standing != Standing::Open).then(Timestamp::now);
        self.tell_held();
        let committed = matches!(&result, Ok(report) if report.outcome == SwitchOutcome::Committed);
        if before != self.arrangement() || committed || had_taken_out {
            self.keep().await;
        }
        let undo = match committed && !rearranging.is_undo {
            true => self.note_undo(&purpose, &before),
            false => None,
        };
        match &switch {
            Some(report) => self.tell(true, false, report, undo),
            None => self.tell_rearranged(&purpose, &result, undo),
        }
        let left = |active: &Active| unloaded.contains(active) || purpose == Purpose::Deactivate;
        let deactivated = before.active.filter(|active| self.active.is_none() && left(active));
        self.end_wish(&purpose, &result);
        for waiter in rearranging.waiters {
            waiter.tell(&result, switch.as_ref(), &unloaded, deactivated.as_ref());
        }
        self.go_on();
    }

    /// Whatever waited for the end of a change begins.
    pub(super) fn go_on(&mut self) {
        if self.ending.is_cancelled() {
            return;
        }
        match self.next.take() {
            Some(Next::Switch { model, now, replies }) => return self.follow_up(model, now, replies),
            Some(Next::Arrange { aim, now, waiter }) => self.apply(aim, now, false, waiter),
            None => {}
        }
        if !self.is_changing() {
            self.tell_available(&Err(ApiError::new(ErrorCode::NoActiveModel, "No model is active.")));
            self.on_snapshot(&self.around.hub.now());
            self.next_wish();
        }
    }

    /// What is active now is offered again once it is not.
    pub(super) fn note_recent(&mut self) {
        if let Some(active) = &self.active {
            became_active(&mut self.holding.recent, &active.reference());
        }
    }

    /// Tells views what is held.
    pub(super) fn tell_held(&self) {
        let hub = &self.around.hub;
        hub.report(Report::Active { active: self.active.clone(), standing: self.standing.clone() });
        let view = self.holding.view(&self.arrangement(), &BTreeSet::new());
        hub.report(Report::Arrangement(view));
        hub.report(Report::Pins(self.holding.pins.iter().cloned().collect()));
        let idle_s = self.around.memory.borrow().idle_s;
        hub.report(Report::OnRequest(self.holding.on_request(idle_s)));
    }

    /// Writes down what is held.
    pub(super) async fn keep(&self) {
        let kept = self.holding.kept(&self.arrangement());
        if let Some(journal) = &self.around.journal
            && let Err(error) = journal.keep(&kept, &[]).await
        {
            tracing::warn!(%error, "what is held is written down later");
        }
    }

    fn pin(&mut self, model: ModelRef, pinned: bool) {
        match pinned {
            true => drop(self.holding.pins.insert(model)),
            false => {
                self.holding.pins.remove(&model);
                for held in self.arrangement.roles.values_mut().filter(|held| held.model == model) {
                    held.pinned = false;
                }
            }
        }
        self.tell_held();
        self.to_keep = true;
    }

    /// Whether anything changes what is in memory, or is about to.
    pub(super) fn is_changing(&self) -> bool {
        self.running.is_some() || self.rearranging.is_some() || self.next.is_some()
    }

    /// Cancels what is under way; it is put back.
    pub(super) fn cancel_all(&self) -> bool {
        let running = self.running.as_ref().map(|Running { cancel, .. }| cancel);
        let rearranging = self.rearranging.as_ref().map(|one| &one.cancel);
        let under_way = running.or(rearranging);
        under_way.map(CancellationToken::cancel).is_some()
    }
}
