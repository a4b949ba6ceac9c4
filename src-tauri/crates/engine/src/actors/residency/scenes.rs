//! Scenes, unloading and undo: what is asked of residency beside switches, from its coming to its end.

use super::{
    Wanted,
    actor::{Next, Residency, Running},
    ended,
    holding::Holding,
    rearranging::{Handed, Order, Purpose, Rearranged, Rearrangement, Target, plan_view},
    transaction::{Beside, Cause},
};
use crate::hub::{Report, Standing};
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    model::{Instance, LoadSettings, Model, ModelPurpose, ModelRef},
    notice::Happening,
    residency::{Arrangement, Circumstances, InMemory, Leaver, Piece, Spare, arrange},
    scene::{Held, ScenePlan, SceneReport, UndoView, lead},
    switch::{Active, StepTiming, SwitchOutcome, SwitchReport},
};
use std::{collections::BTreeSet, time::Duration};
use tokio::{sync::oneshot, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

/// How long a switch or a scene can be taken back.
const UNDO_FOR: Duration = Duration::from_secs(60);

/// A role as it shall be held, and what is known of its model.
#[derive(Debug, Clone)]
pub struct RoleWanted {
    pub role: String,
    pub held: Held,
    pub model: Model,
    /// What it takes with these settings, in bytes.
    pub bytes: Option<u64>,
}

/// What shall be held.
#[derive(Debug, Clone)]
pub enum Aim {
    Roles {
        scene: Option<String>,
        roles: Vec<RoleWanted>,
    },
    /// What was there before the last scene.
    Before,
}

/// What has left memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Unloaded {
    pub unloaded: Vec<Active>,
    pub answers_cut: u32,
    pub deactivated: Option<Active>,
    pub took_ms: u64,
}

/// What an undo was.
#[derive(Debug, Clone, PartialEq)]
pub enum Undone {
    Switch(Box<SwitchReport>),
    Scene(SceneReport),
    Unloaded(Unloaded),
}

type SceneReply = oneshot::Sender<Result<SceneReport, ApiError>>;
type UnloadReply = oneshot::Sender<Result<Unloaded, ApiError>>;

/// What is asked for.
pub(super) enum Request {
    Apply {
        aim: Aim,
        now: bool,
        dry_run: bool,
        reply: SceneReply,
    },
    Plan {
        aim: Aim,
        reply: oneshot::Sender<Result<ScenePlan, ApiError>>,
    },
    /// `None`: the active one.
    Unload {
        model: Option<ModelRef>,
        now: bool,
        dry_run: bool,
        reply: UnloadReply,
    },
    Undo(oneshot::Sender<Result<Undone, ApiError>>),
    Pin {
        model: ModelRef,
        pinned: bool,
        reply: oneshot::Sender<Result<(), ApiError>>,
    },
}

/// Who waits for the end of a rearrangement.
pub(super) enum Waiter {
    Scene(SceneReply),
    Unload(UnloadReply),
}

/// A rearrangement under way.
pub(super) struct Rearranging {
    pub purpose: Purpose,
    pub after: Arrangement,
    pub cancel: CancellationToken,
    pub now: CancellationToken,
    pub task: JoinHandle<(Rearranged, Holding)>,
    pub waiters: Vec<Waiter>,
    /// It takes something back, and is not taken back itself.
    pub is_undo: bool,
}

/// How something is taken back.
#[derive(Debug, Clone)]
pub(super) enum Back {
    To(Option<ModelRef>),
    Arrangement(Box<Arrangement>),
}

#[derive(Debug, Clone)]
pub(super) struct Undo {
    pub back: Back,
    pub until: Instant,
}

impl Residency {
    /// What is held now, the active model included.
    pub(super) fn arrangement(&self) -> Arrangement {
        Arrangement { active: self.active.clone(), ..self.arrangement.clone() }
    }

    pub(super) fn on_request(&mut self, request: Request) {
        match request {
            Request::Apply { aim, now, dry_run, reply } => self.apply(aim, now, dry_run, reply),
            Request::Plan { aim, reply } => {
                let plan = self.order(aim, false).map(|order| self.preview(order));
                drop(reply.send(plan));
            }
            Request::Unload { model, now, dry_run, reply } => {
                self.take_out_for_a_person(model, now, dry_run, reply)
            }
            Request::Undo(reply) => self.undo(reply),
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
    fn with_instances(&self, order: &mut Order) {
        let snapshot = self.around.hub.now();
        for target in &mut order.targets {
            let of_it = |one: &&Instance| one.server == target.model.server && one.model == target.model.name;
            target.instance = snapshot.instances.iter().find(of_it).cloned();
        }
    }

    fn apply(&mut self, aim: Aim, now: bool, dry_run: bool, reply: SceneReply) {
        let order = match self.order(aim.clone(), now) {
            Ok(order) => order,
            Err(error) => return drop(reply.send(Err(error))),
        };
        if dry_run {
            return drop(reply.send(self.rehearse(order)));
        }
        if self.lent.is_some() {
            return drop(reply.send(Err(self.busy())));
        }
        if let Some(rearranging) = &mut self.rearranging
            && rearranging.after == order.after
            && !rearranging.cancel.is_cancelled()
        {
            if now {
                rearranging.now.cancel();
            }
            rearranging.waiters.push(Waiter::Scene(reply));
            return self.replace_next(None);
        }
        if self.is_changing() {
            self.cancel_all();
            return self.replace_next(Some(Next::Arrange { aim, now, reply }));
        }
        self.rearrange(order, vec![Waiter::Scene(reply)], false);
    }

    /// The plan as a report; nothing is done. Errors: does_not_fit, not_ours.
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

    /// Errors: not_found.
    pub(super) fn order(&self, aim: Aim, now: bool) -> Result<Order, ApiError> {
        match aim {
            Aim::Roles { scene, roles } => Ok(self.order_of_roles(scene, roles, now)),
            Aim::Before => {
                let before = self.holding.before.as_ref().map(|(_, before)| before.clone());
                let nothing = || {
                    ApiError::not_found("There is nothing to restore: no scene was applied yet.")
                        .hint("“Restore” brings back what was there before the last scene.")
                };
                self.order_back(before.ok_or_else(nothing)?, now)
            }
        }
    }

    fn order_of_roles(&self, scene: Option<String>, roles: Vec<RoleWanted>, now: bool) -> Order {
        let chats: BTreeSet<&str> = roles
            .iter()
            .filter(|wanted| wanted.model.purpose == ModelPurpose::Llm)
            .map(|wanted| wanted.role.as_str())
            .collect();
        let priorities = roles.iter().map(|wanted| (wanted.role.as_str(), wanted.held.priority));
        let lead = lead(priorities, |role| chats.contains(role));
        let leading = roles.iter().find(|wanted| Some(&wanted.role) == lead.as_ref());
        let active = leading.map(|wanted| self.active_of(&wanted.model.reference()));
        let mut targets: Vec<Target> = vec![];
        for wanted in &roles {
            let model = wanted.model.reference();
            match targets.iter_mut().find(|target| target.model.reference() == model) {
                Some(target) => target.roles.push(wanted.role.clone()),
                None => targets.push(Target {
                    model: wanted.model.clone(),
                    with: wanted.held.with,
                    bytes: wanted.bytes,
                    load_s: self.load_s(&model),
                    instance: None,
                    roles: vec![wanted.role.clone()],
                }),
            }
        }
        // Those that lead or matter most are loaded first.
        let rank = |target: &Target| {
            let of_it = roles.iter().filter(|wanted| wanted.model.reference() == target.model.reference());
            of_it.map(|wanted| wanted.held.priority).min()
        };
        targets.sort_by_key(rank);
        let roles = roles.into_iter().map(|wanted| (wanted.role, wanted.held)).collect();
        let after = Arrangement { scene: scene.clone(), active, lead, roles };
        Order { purpose: Purpose::Scene(scene), after, targets, spare: self.spare(true), now }
    }

    /// An arrangement that was there before. Errors: not_found, where one of its models is gone.
    fn order_back(&self, before: Arrangement, now: bool) -> Result<Order, ApiError> {
        let listed = self.around.listed();
        let mut targets = vec![];
        for reference in before.models() {
            let model =
                listed.iter().find(|model| model.reference() == reference).cloned().ok_or_else(|| {
                    ApiError::not_found(format!(
                        "{} has no model {} any more.",
                        reference.server, reference.model
                    ))
                    .hint("Choose another scene, or switch to a model.")
                })?;
            let held = before.roles.iter().filter(|(_, held)| held.model == reference);
            let with = held.clone().map(|(_, held)| held.with).next().unwrap_or_default();
            // What had left because nobody asked comes back when somebody asks.
            let is_active = before.active.as_ref().is_some_and(|active| active.reference() == reference);
            if !is_active && held.clone().all(|(_, held)| held.instance.is_none()) {
                continue;
            }
            let roles = held.map(|(role, _)| role.clone()).collect();
            targets.push(Target {
                bytes: self.usual_bytes(&reference, with),
                load_s: self.load_s(&reference),
                model,
                with,
                instance: None,
                roles,
            });
        }
        Ok(Order { purpose: Purpose::Restore, after: before, targets, spare: self.spare(true), now })
    }

    /// As it stands in memory, or as it will be found there.
    fn active_of(&self, model: &ModelRef) -> Active {
        let known = self.active.clone().filter(|active| active.reference() == *model);
        known.unwrap_or_else(|| Active {
            server: model.server.clone(),
            model: model.model.clone(),
            instance: model.model.clone(),
        })
    }

    pub(super) fn load_s(&self, model: &ModelRef) -> Option<f64> {
        self.around.hub.load_time(model)
    }

    /// What a model takes as its server loads it; with settings of its own that is not known here.
    pub(super) fn usual_bytes(&self, model: &ModelRef, with: LoadSettings) -> Option<u64> {
        let snapshot = self.around.hub.now();
        let view = snapshot.models.iter().find(|view| view.model.reference() == *model)?;
        view.needed_bytes.filter(|_| with == LoadSettings::default()).or(view.needed_bytes)
    }

    /// Models that were loaded on request and may leave for others: idle, not pinned. `idle`: whether only those without answers.
    pub(super) fn spare(&self, idle: bool) -> Vec<Spare> {
        let snapshot = self.around.hub.now();
        let held = self.arrangement().models();
        let residents = snapshot.ledger.as_ref().map(|ledger| ledger.residents()).unwrap_or_default();
        let free = self.holding.on_request.iter().filter(|(model, asked)| {
            !self.holding.pins.contains(model)
                && !held.contains(model)
                && (!idle || self.around.leases.count(&model.server, &asked.instance) == 0)
        });
        free.map(|(model, asked)| Spare {
            leaver: Leaver {
                model: model.clone(),
                instance: asked.instance.clone(),
                bytes: residents
                    .iter()
                    .find(|one| one.model == *model)
                    .map(|one| one.bytes)
                    .or_else(|| self.usual_bytes(model, LoadSettings::default())),
            },
            idle_s: asked.used.elapsed().as_secs_f64(),
            load_s: self.load_s(model),
        })
        .collect()
    }

    pub(super) fn rearrange(&mut self, order: Order, waiters: Vec<Waiter>, is_undo: bool) {
        let cancel = CancellationToken::new();
        let (purpose, after) = (order.purpose.clone(), order.after.clone());
        let strays = match purpose {
            // Only what is loaded anew wants the memory of strays.
            Purpose::Unload(_) | Purpose::Idle(_) => vec![],
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
            for waiter in rearranging.waiters {
                waiter.refuse(error.clone());
            }
            return self.go_on();
        };
        let Rearranged { purpose, result, arrangement, standing, absent, unloaded, strays, late, .. } =
            rearranged;
        let before = self.arrangement();
        self.active.clone_from(&arrangement.active);
        self.arrangement = Arrangement { active: None, ..arrangement };
        self.standing = standing;
        self.holding = Holding { pins: std::mem::take(&mut self.holding.pins), absent, ..holding };
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
        if before != self.arrangement() || committed {
            self.keep().await;
        }
        let undo = match committed && !rearranging.is_undo {
            true => self.note_undo(&purpose, &before),
            false => None,
        };
        self.tell_rearranged(&purpose, &result, undo);
        let deactivated = before.active.filter(|active| self.active.is_none() && unloaded.contains(active));
        self.end_wish(&purpose, &result);
        for waiter in rearranging.waiters {
            waiter.tell(&result, &unloaded, deactivated.as_ref());
        }
        self.go_on();
    }

    /// Whatever waited for the end of a change begins.
    pub(super) fn go_on(&mut self) {
        if self.ending.is_cancelled() {
            return;
        }
        match self.next.take() {
            Some(Next::Switch { model, now, replies }) => self.follow_up(model, now, replies),
            Some(Next::Arrange { aim, now, reply }) => self.apply(aim, now, false, reply),
            None => {
                self.tell_available(&Err(ApiError::new(ErrorCode::NoActiveModel, "No model is active.")));
                self.on_snapshot(&self.around.hub.now());
                self.next_wish();
            }
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

    /// `undo`: until when it can be taken back.
    fn tell_rearranged(
        &self,
        purpose: &Purpose,
        result: &Result<SceneReport, ApiError>,
        undo: Option<Timestamp>,
    ) {
        let scene = match purpose {
            Purpose::Scene(name) => name.clone(),
            Purpose::Restore => Some(pilothouse_domain::scene::RESTORE.to_owned()),
            _ => return,
        };
        let (error, refused) = match result {
            Ok(report) => match &report.error {
                None => {
                    // What is back has a name of its own.
                    let back = matches!(purpose, Purpose::Restore);
                    let named = if back { self.arrangement.scene.clone().or(scene) } else { scene };
                    let applied = self.applied(named, back, report.took_ms, undo);
                    return self.around.notifier.tell(applied);
                }
                Some(error) => (error, false),
            },
            Err(error) => (error, true),
        };
        if error.code == ErrorCode::Cancelled {
            return;
        }
        let happening = Happening::ScenePutBack { scene, error: error.clone(), refused };
        self.around.notifier.tell(happening);
    }

    /// What has come about, in the words for it: without a scene and without roles it is the active model. `back`: it was there before.
    fn applied(&self, scene: Option<String>, back: bool, took_ms: u64, undo: Option<Timestamp>) -> Happening {
        let has_name = self.arrangement.scene.is_some() || !(back || scene.is_none());
        match &self.active {
            Some(active) if !has_name && self.arrangement.roles.is_empty() => {
                let snapshot = self.around.hub.now();
                Happening::Switched {
                    to: active.reference(),
                    title: snapshot.model_title(&active.server, &active.model),
                    server_title: snapshot.server_title(&active.server),
                    took_ms,
                    first_token_ms: None,
                    again: back,
                    own: true,
                    undo,
                }
            }
            _ => Happening::SceneApplied { scene, took_ms, undo },
        }
    }

    fn take_out_for_a_person(
        &mut self,
        model: Option<ModelRef>,
        now: bool,
        dry_run: bool,
        reply: UnloadReply,
    ) {
        let refuse = |reply: UnloadReply, error: ApiError| drop(reply.send(Err(error)));
        let active = self.active.as_ref().map(Active::reference);
        let none = || {
            ApiError::new(ErrorCode::NoActiveModel, "No model is active.")
                .hint("“pilothouse unload MODEL” takes another one out of memory.")
        };
        let (Some(model), deactivate) = (model.clone().or_else(|| active.clone()), model.is_none()) else {
            return refuse(reply, none());
        };
        if self.lent.is_some() {
            return refuse(reply, self.busy());
        }
        if self.is_changing() {
            let text = "A change of what is in memory is under way.";
            return refuse(
                reply,
                ApiError::new(ErrorCode::Busy, text).hint("Wait for its end, or cancel it.").retryable(),
            );
        }
        let snapshot = self.around.hub.now();
        let title = snapshot.model_title(&model.server, &model.model);
        let of_it = |one: &&Instance| one.server == model.server && one.model == model.model;
        let there: Vec<Active> = snapshot
            .instances
            .iter()
            .filter(of_it)
            .map(|one| Active {
                server: one.server.clone(),
                model: one.model.clone(),
                instance: one.id.clone(),
            })
            .collect();
        let is_active = active.as_ref() == Some(&model);
        let mut after = self.arrangement();
        let pinned = self.holding.pins.contains(&model) || after.is_pinned(&model);
        if pinned && !deactivate {
            let error = ApiError::new(ErrorCode::Pinned, format!("{title} is pinned; it stays in memory."));
            return refuse(reply, error.hint(format!("“pilothouse unpin {}” lets go of it.", model.model)));
        }
        if there.is_empty() && !is_active {
            let error = ApiError::not_found(format!("{title} is not in memory."));
            return refuse(reply, error.hint("“pilothouse models” shows what is."));
        }
        // Another role may need it, or a pin: then it is only not active any more.
        let stays = deactivate && (pinned || after.keeps(&model));
        if is_active {
            after.active = None;
            after.lead = None;
        }
        if !stays {
            for held in after.roles.values_mut().filter(|held| held.model == model) {
                held.instance = None;
            }
        }
        if dry_run {
            let unloaded = if stays { vec![] } else { there };
            let deactivated = self.active.clone().filter(|_| is_active);
            return drop(reply.send(Ok(Unloaded { unloaded, answers_cut: 0, deactivated, took_ms: 0 })));
        }
        let purpose = Purpose::Unload(model);
        let waiter = Waiter::Unload(reply);
        let is_undo = std::mem::take(&mut self.undoing);
        let mut order = Order { purpose, after, targets: vec![], spare: vec![], now };
        if stays {
            order.purpose = Purpose::Scene(order.after.scene.clone());
            order.targets =
                self.order_back(order.after.clone(), now).map(|order| order.targets).unwrap_or_default();
        }
        self.rearrange(order, vec![waiter], is_undo);
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

    /// What has changed can be taken back; until when. `None`: it is nothing that a person asked for.
    fn note_undo(&mut self, purpose: &Purpose, before: &Arrangement) -> Option<Timestamp> {
        let snapshot = self.around.hub.now();
        let title = |active: &Active| snapshot.model_title(&active.server, &active.model);
        match purpose {
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
            Purpose::Unload(model) => {
                let active = before.active.as_ref().filter(|active| active.reference() == *model)?;
                let back = match before.roles.is_empty() {
                    true => Back::To(Some(model.clone())),
                    false => Back::Arrangement(Box::new(before.clone())),
                };
                Some(self.can_undo(back, "No model is active".into(), Some(title(active))))
            }
            Purpose::Wish(_) | Purpose::Again(_) | Purpose::Idle(_) => None,
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

    fn undo(&mut self, reply: oneshot::Sender<Result<Undone, ApiError>>) {
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
            }
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

    /// What a switch must know of what is held besides.
    pub(super) fn beside(&self, to: &ModelRef) -> Beside {
        let previous = self.active.as_ref().map(Active::reference);
        let pinned =
            |model: &ModelRef| self.holding.pins.contains(model) || self.arrangement.is_pinned(model);
        let previous_stays =
            previous.as_ref().is_some_and(|model| self.arrangement.keeps(model) || pinned(model));
        let with_of = |model: &ModelRef| {
            let of_role =
                self.arrangement.roles.values().find(|held| held.model == *model).map(|held| held.with);
            of_role.or_else(|| self.holding.loaded_with.get(model).copied()).unwrap_or_default()
        };
        let bytes = |model: &ModelRef| self.usual_bytes(model, LoadSettings::default());
        let snapshot = self.around.hub.now();
        let target = Piece {
            model: to.clone(),
            with: with_of(to),
            bytes: bytes(to),
            load_s: None,
            in_memory: match snapshot.instances.iter().any(|i| i.server == to.server && i.model == to.model) {
                true => InMemory::Yes,
                false => InMemory::No,
            },
            roles: vec![],
        };
        let leaves = previous.iter().filter(|model| !previous_stays && *model != to).map(|model| Leaver {
            model: model.clone(),
            instance: model.model.clone(),
            bytes: bytes(model),
        });
        let now = Circumstances {
            wanted: vec![target],
            leaves: leaves.collect(),
            spare: self.spare(true).into_iter().filter(|spare| spare.leaver.model != *to).collect(),
            free_bytes: snapshot.ledger.as_ref().map(|ledger| ledger.headroom_bytes),
            others: vec![],
        };
        // What does not fit even so is tried all the same, as a person wishes.
        let evicted = arrange(&now).map(|plan| plan.evicted).unwrap_or_default();
        let active = |model: &ModelRef| {
            let asked = self.holding.on_request.get(model)?;
            let (server, instance) = (model.server.clone(), asked.instance.clone());
            Some((Active { server, model: model.model.clone(), instance }, with_of(model)))
        };
        Beside {
            previous_stays,
            evict: evicted.iter().filter_map(active).collect(),
            with: with_of(to),
            previous_with: previous.as_ref().map(with_of).unwrap_or_default(),
            held: self.arrangement(),
            holding: self.holding.clone(),
        }
    }

    /// A switch has ended: the role that leads stands for what is active now, and it can be taken back. Answers until when;
    /// `None`: it cannot.
    pub(super) fn after_switch(
        &mut self,
        cause: &Cause,
        result: &Result<SwitchReport, ApiError>,
    ) -> Option<Timestamp> {
        let report = result.as_ref().ok().filter(|report| report.outcome == SwitchOutcome::Committed)?;
        let to = report.to.clone();
        self.holding.on_request.remove(&to);
        if let Some(active) = self.active.clone() {
            let mut arrangement = self.arrangement();
            arrangement.lead_with(&active);
            self.arrangement = Arrangement { active: None, ..arrangement };
        }
        if let Some(from) = report.from.as_ref().filter(|from| **from != to) {
            self.holding.gone(from);
        }
        let undoing = std::mem::take(&mut self.undoing);
        let is_new = matches!(cause, Cause::Asked(_)) && report.from.as_ref() != Some(&to) && !undoing;
        let undo = is_new.then(|| {
            let snapshot = self.around.hub.now();
            let title = |model: &ModelRef| snapshot.model_title(&model.server, &model.model);
            let done = format!("{} is active", title(&to));
            let back_to = report.from.as_ref().map(title);
            self.can_undo(Back::To(report.from.clone()), done, back_to)
        });
        self.tell_held();
        undo
    }
}

impl Waiter {
    fn refuse(self, error: ApiError) {
        match self {
            Self::Scene(reply) => drop(reply.send(Err(error))),
            Self::Unload(reply) => drop(reply.send(Err(error))),
        }
    }

    fn tell(self, result: &Result<SceneReport, ApiError>, unloaded: &[Active], deactivated: Option<&Active>) {
        match (self, result) {
            (Self::Scene(reply), result) => drop(reply.send(result.clone())),
            (Self::Unload(reply), Ok(SceneReport { error: None, answers_cut, took_ms, .. })) => {
                let unloaded = Unloaded {
                    unloaded: unloaded.to_vec(),
                    answers_cut: *answers_cut,
                    deactivated: deactivated.cloned(),
                    took_ms: *took_ms,
                };
                drop(reply.send(Ok(unloaded)));
            }
            (Self::Unload(reply), Ok(SceneReport { error: Some(error), .. }) | Err(error)) => {
                drop(reply.send(Err(error.clone())));
            }
        }
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
