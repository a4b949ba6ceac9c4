//! Requests for another model, from their coming to their turn: what each means beside what is active and under way, and who
//! waits for what.

use super::{
    Done, SwitchReply, Wanted,
    actor::{Next, Residency},
    ended,
    event::Event,
    rearranging::Purpose,
    requests::Waiter,
    transaction::Cause,
};
use crate::hub::Standing;
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{Model, ModelPurpose},
    residency::{Arrival, UnderWay, arrive},
    server::{Ownership, ServerId, ServerKind},
    switch::{Active, SwitchOutcome, SwitchReport},
};
use std::cmp::Reverse;
use tokio_util::sync::CancellationToken;

impl Residency {
    /// The name is looked up beside everything that runs: a typo disturbs nothing.
    pub(super) fn resolve(&mut self, wanted: Wanted, reply: SwitchReply) {
        self.numbers += 1;
        let (number, around, events) = (self.numbers, self.around.clone(), self.events.clone());
        tokio::spawn(async move {
            let result = around.resolve(&wanted).await;
            drop(events.send(Event::Resolved { number, wanted, result, reply }).await);
        });
    }

    pub(super) fn resolved(
        &mut self,
        number: u64,
        wanted: &Wanted,
        result: Result<Model, ApiError>,
        reply: SwitchReply,
    ) {
        let model = match result {
            Ok(model) => model,
            Err(error) => {
                self.undoing = false;
                return drop(reply.send(Err(error)));
            }
        };
        let to = model.reference();
        if wanted.dry_run {
            let transaction = self.transaction(Cause::Asked(model), CancellationToken::new());
            return drop(reply.send(Ok(transaction.rehearse())));
        }
        if number < self.latest {
            return drop(reply.send(Err(took_over())));
        }
        self.latest = number;
        let answering = self.active.as_ref().filter(|_| self.answers()).map(Active::reference);
        let under_way = self
            .running
            .as_ref()
            .map(|running| UnderWay { to: running.to.clone(), cancelled: running.cancel.is_cancelled() });
        if let Some(rearranging) = &mut self.rearranging {
            // However it is loaded, it is the same aim.
            if rearranging.purpose == Purpose::Switch(to) && !rearranging.cancel.is_cancelled() {
                if wanted.now {
                    rearranging.now.cancel();
                }
                rearranging.waiters.push(Waiter::Switch(reply));
                self.undoing = false;
                return self.replace_next(None);
            }
            // What only takes a model out is soon over.
            if rearranging.purpose.leaves().is_none() {
                rearranging.cancel.cancel();
            }
            return self.wait_behind(model, wanted.now, reply);
        }
        let arrival = arrive(&to, answering.as_ref(), under_way.as_ref());
        if arrival == Arrival::AlreadyActive || (self.running.is_none() && self.lent.is_some()) {
            // Nothing begins that could take something back.
            self.undoing = false;
        }
        match (arrival, &mut self.running) {
            (Arrival::AlreadyActive, _) => drop(reply.send(Ok(already_active(&model)))),
            (_, None) if self.lent.is_some() => drop(reply.send(Err(self.busy()))),
            (Arrival::Join, Some(running)) => {
                if wanted.now {
                    running.now.cancel();
                }
                running.replies.push(reply);
                self.replace_next(None);
            }
            (Arrival::Begin | Arrival::Join, _) => self.begin(Cause::Asked(model), wanted.now, vec![reply]),
            (Arrival::Supersede, running) => {
                if let Some(running) = running {
                    running.cancel.cancel();
                }
                self.wait_behind(model, wanted.now, reply);
            }
        }
    }

    /// Begins when what is under way has been put back.
    fn wait_behind(&mut self, model: Model, now: bool, reply: SwitchReply) {
        match &mut self.next {
            Some(Next::Switch { model: next, now: hurry, replies })
                if next.reference() == model.reference() =>
            {
                *hurry |= now;
                replies.push(reply);
            }
            _ => self.replace_next(Some(Next::Switch { model, now, replies: vec![reply] })),
        }
    }

    pub(super) fn replace_next(&mut self, next: Option<Next>) {
        let before = std::mem::replace(&mut self.next, next);
        let error = || if self.ending.is_cancelled() { ended() } else { took_over() };
        match before {
            Some(Next::Switch { replies, .. }) => {
                for reply in replies {
                    let _ = reply.send(Err(error()));
                }
            }
            Some(Next::Arrange { waiter, .. }) => waiter.refuse(error()),
            None => {}
        }
    }

    pub(super) fn make_available(&mut self, reply: Done) {
        if self.is_changing() {
            self.available.push(reply);
            return;
        }
        let Some(active) = &self.active else {
            let error = ApiError::new(ErrorCode::NoActiveModel, "No model is active.");
            return drop(reply.send(Err(error.hint("Switch to a model first."))));
        };
        if self.answers() {
            return drop(reply.send(Ok(())));
        }
        if self.lent.is_some() {
            return drop(reply.send(Err(self.busy())));
        }
        let to = active.reference();
        self.available.push(reply);
        self.restore(to);
    }

    /// What waited for the transaction before it to be put back. By now it may be what is active.
    pub(super) fn follow_up(&mut self, model: Model, now: bool, replies: Vec<SwitchReply>) {
        let active = self.active.as_ref().is_some_and(|active| active.reference() == model.reference());
        if active && self.answers() {
            for reply in replies {
                let _ = reply.send(Ok(already_active(&model)));
            }
            return self.tell_available(&Ok(already_active(&model)));
        }
        self.begin(Cause::Asked(model), now, replies);
    }

    pub(super) fn tell_available(&mut self, result: &Result<SwitchReport, ApiError>) {
        let failed = match (&self.standing, result) {
            (Standing::Open, _) if self.active.is_some() => None,
            (_, Err(error)) => Some(error.clone()),
            (_, Ok(SwitchReport { error: Some(error), .. })) => Some(error.clone()),
            _ => Some(ApiError::new(ErrorCode::NoActiveModel, "No model is active.")),
        };
        for reply in self.available.drain(..) {
            let _ = reply.send(failed.clone().map_or(Ok(()), Err));
        }
    }

    pub(super) fn activate_first(&mut self) {
        let snapshot = self.around.hub.now();
        let embedded = |id: &ServerId| {
            snapshot.server(id).is_some_and(|server| {
                server.kind == ServerKind::LlamaServer && server.ownership == Some(Ownership::Ours)
            })
        };
        let mut choices: Vec<_> = snapshot
            .models
            .iter()
            .filter(|view| view.model.purpose == ModelPurpose::Llm && embedded(&view.model.server))
            .collect();
        choices.sort_by_key(|view| Reverse(view.model.size_bytes.unwrap_or(u64::MAX)));
        self.first_choices = choices.into_iter().map(|view| view.model.reference()).collect();
        self.try_first_choice();
    }

    pub(super) fn try_first_choice(&mut self) {
        if let Some(model) = self.first_choices.pop() {
            self.begin(Cause::First(model), false, Vec::new());
        }
    }
}

fn took_over() -> ApiError {
    ApiError::cancelled("Another switch took over.")
}

pub(super) fn already_active(model: &Model) -> SwitchReport {
    SwitchReport {
        switch_id: 0,
        from: Some(model.reference()),
        to: model.reference(),
        outcome: SwitchOutcome::Committed,
        dry_run: false,
        took_ms: 0,
        load_ms: None,
        first_token_ms: None,
        steps: Vec::new(),
        answers_cut: 0,
        journalled: true,
        reason: Some(format!("{} is already active.", model.title)),
        error: None,
    }
}
