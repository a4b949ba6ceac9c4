//! Models that programs ask for and that are not in memory, idle ones that leave it, and what got lost.

use super::{
    actor::Residency,
    rearranging::{Order, Purpose, Target},
};
use crate::hub::Report;
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    lifecycle::ServerState,
    model::{Expiry, LoadSettings, ModelPurpose, ModelRef},
    notice::Happening,
    residency::{IdleRole, gives_way, shortage},
    scene::SceneReport,
    server::Ownership,
    settings::LoadOnRequest,
    snapshot::Snapshot,
    switch::SwitchOutcome,
};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::Instant;

/// A role or pin that was lost is brought back so often within `AGAIN_WINDOW`, then it is left to the next request.
const AGAIN: usize = 3;
const AGAIN_WINDOW: Duration = Duration::from_secs(120);
/// The time between two that give way, so that the memory of the first is seen.
const GIVE_WAY_EVERY: Duration = Duration::from_secs(20);
/// The time between two tries to tell a server that a model stays, and the limit of one.
const HOLD_ON_EVERY: Duration = Duration::from_secs(60);
const HOLD_ON_LIMIT: Duration = Duration::from_secs(15);
/// A server that has just come back tells what it has in memory a moment after it is ready: what is missing for so long is lost.
const MISSING_FOR: Duration = Duration::from_secs(5);

impl Residency {
    /// A program has asked for a model that is not in memory.
    pub(super) fn wish(&mut self, model: ModelRef) {
        if !self.wishes.contains(&model) {
            self.wishes.push_back(model);
        }
        self.next_wish();
    }

    /// Begins to load what was asked for first, unless something else is under way.
    pub(super) fn next_wish(&mut self) {
        while !self.is_changing() && !self.ending.is_cancelled() {
            let Some(model) = self.wishes.pop_front() else { return };
            // Whoever waited for it may have left meanwhile.
            if self.around.leases.wished(&model) == 0 {
                continue;
            }
            if self.lent.is_some() {
                let error = self.busy();
                self.around.leases.refuse_wish(&model, error);
                continue;
            }
            match self.order_for(&model, Purpose::Wish(model.clone())) {
                Ok(order) => self.rearrange(order, vec![], false),
                Err(error) => self.around.leases.refuse_wish(&model, error),
            }
        }
    }

    /// One model beside everything that is held. Errors: not_found, unsupported.
    fn order_for(&self, model: &ModelRef, purpose: Purpose) -> Result<Order, ApiError> {
        let listed = self.around.listed().into_iter().find(|one| one.reference() == *model);
        let found = listed.ok_or_else(|| {
            ApiError::not_found(format!("{} has no model {} any more.", model.server, model.model))
        })?;
        if found.purpose == ModelPurpose::Other {
            let text = format!("{} cannot be loaded.", found.title);
            return Err(found.damage().unwrap_or_else(|| ApiError::new(ErrorCode::Unsupported, text)));
        }
        let after = self.arrangement();
        let role = after.roles.iter().filter(|(_, held)| held.model == *model);
        let with = role.clone().map(|(_, held)| held.with).next().unwrap_or_else(|| {
            self.holding.loaded_with.get(model).copied().unwrap_or_else(LoadSettings::default)
        });
        let roles = role.map(|(role, _)| role.clone()).collect();
        let evicts = self.around.memory.borrow().load_on_request == LoadOnRequest::EvictIdle;
        let is_held = after.models().contains(model) || self.holding.pins.contains(model);
        // A role may take the memory of what was loaded on request, whatever the setting says of other wishes.
        let spare = if evicts || is_held { self.spare(true) } else { vec![] };
        let target = Target {
            bytes: self.usual_bytes(model, with),
            load_s: self.load_s(model),
            model: found,
            with,
            instance: None,
            roles,
        };
        Ok(Order { purpose, after, targets: vec![target], spare, now: false })
    }

    /// What came of a wish, for those who wait for it.
    pub(super) fn end_wish(&mut self, purpose: &Purpose, result: &Result<SceneReport, ApiError>) {
        let (Purpose::Wish(model) | Purpose::Again(model)) = purpose else { return };
        let error = match result {
            Ok(SceneReport { outcome: SwitchOutcome::Committed, .. }) => return,
            Ok(report) => report.error.clone(),
            Err(error) => Some(error.clone()),
        };
        let error = error.unwrap_or_else(|| ApiError::internal("It could not be loaded."));
        if error.code == ErrorCode::Cancelled && self.next.is_some() && matches!(purpose, Purpose::Wish(_)) {
            // A person's switch came between; it is tried again after that.
            self.wishes.push_back(model.clone());
            return;
        }
        let error = match (error.code, self.around.memory.borrow().load_on_request) {
            (ErrorCode::DoesNotFit, LoadOnRequest::WhenItFits) => {
                error.hint("Switch to it in Pilothouse, or let memory.load_on_request be evict_idle.")
            }
            _ => error,
        };
        if matches!(purpose, Purpose::Again(_)) {
            for (role, held) in &self.arrangement.roles {
                if held.model == *model {
                    self.holding.absent.insert(role.clone(), error.message.clone());
                }
            }
            self.tell_held();
        }
        self.around.leases.refuse_wish(model, error);
    }

    /// Looks who has been idle for its time, and takes one of them out.
    pub(super) fn idle_round(&mut self) {
        self.note_use();
        if self.is_changing() || self.lent.is_some() || self.ending.is_cancelled() {
            return;
        }
        let idle_s = self.around.memory.borrow().idle_s;
        let limit = Duration::from_secs(idle_s);
        let held = self.arrangement();
        let pinned = |model: &ModelRef| self.holding.pins.contains(model) || held.is_pinned(model);
        let free = |model: &ModelRef, instance: &str| self.around.leases.count(&model.server, instance) == 0;
        let asked = self.holding.on_request.iter().find(|(model, asked)| {
            let old = idle_s > 0 && asked.used.elapsed() >= limit;
            old && !pinned(model) && !held.models().contains(model) && free(model, &asked.instance)
        });
        let asked = asked.map(|(model, _)| model.clone());
        let of_role = || {
            let idle = held.roles.iter().find(|(role, one)| {
                let (Some(limit), Some(instance)) = (one.idle_s, &one.instance) else { return false };
                let used = self.role_used.get(*role).copied().unwrap_or(self.begun);
                let active = held.active.as_ref().is_some_and(|active| active.reference() == one.model);
                let shared =
                    held.roles.values().any(|other| other.model == one.model && other.idle_s.is_none());
                let old = used.elapsed() >= Duration::from_secs(limit);
                old && !active && !shared && !pinned(&one.model) && free(&one.model, instance)
            });
            idle.map(|(_, one)| one.model.clone())
        };
        if let Some(model) = asked.or_else(of_role) {
            self.let_go(&model);
        }
    }

    /// Memory runs short: who is idle gives way, one after the other.
    pub(super) fn give_way(&mut self) {
        let lately = self.gave_way_at.is_some_and(|at| at.elapsed() < GIVE_WAY_EVERY);
        if lately
            || self.is_changing()
            || self.lent.is_some()
            || !self.around.memory.borrow().yield_under_pressure
        {
            return;
        }
        let snapshot = self.around.hub.now();
        let Some(why) = shortage(snapshot.gauges.as_ref(), snapshot.ledger.as_ref()) else {
            self.told_short = false;
            return;
        };
        let held = self.arrangement();
        let active = held.active.as_ref().map(|active| active.reference());
        let idle = held.roles.iter().filter_map(|(role, one)| {
            let instance = one.instance.as_ref()?;
            let pinned = held.is_pinned(&one.model) || self.holding.pins.contains(&one.model);
            let matters =
                held.roles.values().any(|other| other.model == one.model && other.priority < one.priority);
            let busy = self.around.leases.count(&one.model.server, instance) > 0;
            let stays = pinned || matters || busy || active.as_ref() == Some(&one.model);
            let used = self.role_used.get(role).copied().unwrap_or(self.begun);
            let idle_s = used.elapsed().as_secs_f64();
            (!stays).then(|| IdleRole { model: one.model.clone(), priority: one.priority, idle_s })
        });
        let Some(model) = gives_way(&self.spare(true), &idle.collect::<Vec<_>>()) else { return };
        self.gave_way_at = Some(Instant::now());
        // Once an incident, however many have to leave.
        if !std::mem::replace(&mut self.told_short, true) {
            let title = snapshot.model_title(&model.server, &model.model);
            self.around.notifier.tell(Happening::GaveWay { title, why });
        }
        self.let_go(&model);
    }

    /// Somebody's keep-alive would let go of what is pinned or of a role: its server is told again that it stays.
    pub(super) fn hold_on(&mut self) {
        let snapshot = self.around.hub.now();
        let now = Instant::now();
        self.held_on.retain(|_, at| now.duration_since(*at) < HOLD_ON_EVERY);
        let held = self.arrangement();
        let of_role =
            |model: &ModelRef| held.roles.values().any(|one| one.model == *model && one.instance.is_some());
        for one in snapshot.instances.iter().filter(|one| matches!(one.expiry, Expiry::At(_))) {
            let model = ModelRef { server: one.server.clone(), model: one.model.clone() };
            let ours = self.holding.pins.contains(&model) || of_role(&model);
            if !ours || self.held_on.contains_key(&model) {
                continue;
            }
            let Ok(supervisor) = self.around.supervisor(&model.server) else { continue };
            self.held_on.insert(model, now);
            let (instance, server) = (one.id.clone(), one.server.clone());
            tokio::spawn(async move {
                let keeping = async {
                    let connection = supervisor.ensure_ready().await?;
                    connection.client.keep(&instance).await
                };
                match tokio::time::timeout(HOLD_ON_LIMIT, keeping).await {
                    Ok(Ok(_)) => supervisor.refresh().await,
                    Ok(Err(error)) => tracing::debug!(%error, %server, "cannot be told that a model stays"),
                    Err(_) => tracing::debug!(%server, "did not answer in time that a model stays"),
                }
            });
        }
    }

    /// Takes an idle model out; it comes back with the next request.
    fn let_go(&mut self, model: &ModelRef) {
        tracing::info!(%model, "is idle, taking it out of memory");
        let mut after = self.arrangement();
        for held in after.roles.values_mut().filter(|held| held.model == *model) {
            held.instance = None;
        }
        let purpose = Purpose::Idle(model.clone());
        self.rearrange(Order { purpose, after, targets: vec![], spare: vec![], now: false }, vec![], false);
    }

    /// When each was last used, by its leases.
    fn note_use(&mut self) {
        let leases = &self.around.leases;
        let mut changed = false;
        for (model, asked) in &mut self.holding.on_request {
            let busy = leases.count(&model.server, &asked.instance) > 0;
            let used = busy.then(Instant::now).or_else(|| leases.last_used(&model.server, &asked.instance));
            if let Some(used) = used.filter(|used| *used > asked.used) {
                asked.used = used;
                let ago = jiff::SignedDuration::try_from(used.elapsed()).unwrap_or_default();
                asked.used_at = Timestamp::now() - ago;
                changed = true;
            }
        }
        for (role, held) in &self.arrangement.roles {
            let Some(instance) = &held.instance else { continue };
            let busy = leases.count(&held.model.server, instance) > 0;
            let used = busy.then(Instant::now).or_else(|| leases.last_used(&held.model.server, instance));
            let place = self.role_used.entry(role.clone()).or_insert_with(Instant::now);
            *place = used.map_or(*place, |used| used.max(*place));
        }
        self.role_used
            .retain(|role, _| self.arrangement.roles.get(role).is_some_and(|held| held.instance.is_some()));
        if changed {
            let idle_s = self.around.memory.borrow().idle_s;
            self.around.hub.report(Report::OnRequest(self.holding.on_request(idle_s)));
        }
    }

    /// Somebody unloaded beside us, or a server has lost what it had: mended where the server is ours, told where it is not.
    pub(super) fn look_for_losses(&mut self, snapshot: &Snapshot) {
        if self.is_changing() || self.lent.is_some() {
            return;
        }
        let missing = self.long_missing(snapshot);
        let lost = |model: &ModelRef, instance: &str| {
            let ours = snapshot.server(&model.server)?.ownership == Some(Ownership::Ours);
            missing.contains(&(model.clone(), instance.to_owned())).then_some(ours)
        };
        let mut again: Option<ModelRef> = None;
        let mut told = false;
        let lead = self.arrangement.lead.clone();
        for (role, held) in &mut self.arrangement.roles {
            // The active model has its own way back.
            if Some(role) == lead.as_ref() {
                continue;
            }
            let Some(ours) = held.instance.as_deref().and_then(|instance| lost(&held.model, instance)) else {
                continue;
            };
            held.instance = None;
            // What we took out ourselves we bring back, whoever's server it is.
            match ours || self.owed.remove(&held.model) {
                true if held.idle_s.is_none() || held.pinned => {
                    again = again.or_else(|| Some(held.model.clone()))
                }
                true => {}
                // Its supervisor tells it.
                false => told = true,
            }
        }
        let gone: Vec<ModelRef> = self
            .holding
            .on_request
            .iter()
            .filter(|(model, asked)| lost(model, &asked.instance).is_some())
            .map(|(model, _)| model.clone())
            .collect();
        let changed = again.is_some() || told || !gone.is_empty();
        for model in &gone {
            self.holding.gone(model);
        }
        if changed {
            self.to_keep = true;
            self.tell_held();
        }
        if let Some(model) = again.or_else(|| self.missing_pin(snapshot)) {
            self.bring_back(&model);
        }
    }

    /// What is held by roles or requests and has not been listed for a while by its server, which is ready.
    fn long_missing(&mut self, snapshot: &Snapshot) -> BTreeSet<(ModelRef, String)> {
        let roles = self.arrangement.roles.values();
        let of_roles = roles.filter_map(|held| Some((held.model.clone(), held.instance.clone()?)));
        let asked = self.holding.on_request.iter();
        let held: Vec<_> =
            of_roles.chain(asked.map(|(model, asked)| (model.clone(), asked.instance.clone()))).collect();
        let missing: BTreeSet<(ModelRef, String)> = held
            .into_iter()
            .filter(|(model, instance)| {
                let ready = snapshot.server(&model.server).is_some_and(|server| {
                    server.state == ServerState::Ready && !snapshot.is_remote(&server.id)
                });
                ready
                    && !snapshot.instances.iter().any(|one| one.server == model.server && one.id == *instance)
            })
            .collect();
        self.missing_since.retain(|one, _| missing.contains(one));
        for one in missing {
            self.missing_since.entry(one).or_insert_with(Instant::now);
        }
        let long = self.missing_since.iter().filter(|(_, since)| since.elapsed() >= MISSING_FOR);
        long.map(|(one, _)| one.clone()).collect()
    }

    /// A pinned model that a server of ours has lost.
    fn missing_pin(&self, snapshot: &Snapshot) -> Option<ModelRef> {
        let was_there = |model: &&ModelRef| self.pinned_there.contains(*model);
        let lost = |model: &&ModelRef| {
            let server = snapshot.server(&model.server);
            let ours = server.is_some_and(|server| {
                server.state == ServerState::Ready && server.ownership == Some(Ownership::Ours)
            });
            ours && !snapshot
                .instances
                .iter()
                .any(|one| one.server == model.server && one.model == model.model)
        };
        let active = self.active.as_ref().map(|active| active.reference());
        self.holding
            .pins
            .iter()
            .filter(was_there)
            .find(|model| lost(model) && Some(*model) != active.as_ref())
            .cloned()
    }

    /// Pins hold what is in memory once it is there.
    pub(super) fn note_pinned(&mut self, snapshot: &Snapshot) {
        for one in &snapshot.instances {
            let model = ModelRef { server: one.server.clone(), model: one.model.clone() };
            if self.holding.pins.contains(&model) {
                self.pinned_there.insert(model);
            }
        }
        self.pinned_there.retain(|model| self.holding.pins.contains(model));
    }

    fn bring_back(&mut self, model: &ModelRef) {
        let now = Instant::now();
        self.agains.retain(|(_, at)| now.duration_since(*at) < AGAIN_WINDOW);
        if self.agains.iter().filter(|(one, _)| one == model).count() >= AGAIN {
            tracing::warn!(%model, "left memory too often, it comes back with the next request");
            self.pinned_there.remove(model);
            return;
        }
        self.agains.push((model.clone(), now));
        match self.order_for(model, Purpose::Again(model.clone())) {
            Ok(order) => self.rearrange(order, vec![], false),
            Err(error) => tracing::warn!(%error, %model, "cannot be brought back"),
        }
    }
}
