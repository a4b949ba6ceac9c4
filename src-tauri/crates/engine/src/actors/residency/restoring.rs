//! How the active model comes back when it has left memory, and how strays leave it.

use super::{actor::Residency, event::Event, transaction::Cause};
use crate::hub::{Report, Standing};
use futures_util::FutureExt;
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    lifecycle::ServerState,
    model::ModelRef,
    notice::Happening,
    server::{Ownership, ServerId},
    snapshot::Snapshot,
    switch::{Active, SwitchReport},
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// So many restorations within `RESTORE_WINDOW` are enough.
const RESTORES: usize = 4;
const RESTORE_WINDOW: Duration = Duration::from_secs(120);
/// The time between two tries to take the same stray out of memory.
const CLEAR_EVERY: Duration = Duration::from_secs(30);
/// When a restoration that failed is tried again: a server that has just come up, or that is still letting go of another
/// model, often needs a moment.
const RETRY_AFTER: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(15), Duration::from_secs(60)];

impl Residency {
    /// Brings the active model back when its server came back without it, and sees when it is there again by itself.
    pub(super) fn on_snapshot(&mut self, snapshot: &Arc<Snapshot>) {
        if self.is_changing() || self.lent.is_some() {
            return;
        }
        self.clear_stray(snapshot);
        self.note_pinned(snapshot);
        self.look_for_losses(snapshot);
        if self.is_changing() {
            return;
        }
        let Some(active) = &self.active else { return };
        let Some(server) = snapshot.server(&active.server) else { return };
        let there = self.is_there(active, snapshot);
        if server.state != ServerState::Ready {
            return;
        }
        let back = self.tried_at.is_none_or(|at| server.since > at);
        match (&self.standing, there) {
            (Standing::Refusing(_), Some(true)) => self.open_again(),
            (Standing::Refusing(_), _) if back => self.restore_if_it_may(),
            // Somebody else's server decides by itself what it keeps in memory.
            (Standing::Open, Some(false)) if server.ownership == Some(Ownership::Ours) => {
                self.restore_if_it_may();
            }
            _ => {}
        }
    }

    /// Its server was taken out of the settings: nobody can answer for it any more, and nothing would bring it back.
    pub(super) async fn forget_active_without_server(&mut self) {
        let known = |id: &ServerId| self.servers.as_ref().is_none_or(|servers| servers.contains(id));
        if self.is_changing() || self.active.as_ref().is_none_or(|active| known(&active.server)) {
            return;
        }
        let Some(active) = self.active.take() else { return };
        tracing::info!(model = %active.reference(), "is not active any more: its server is gone");
        self.standing = Standing::Open;
        (self.tried_at, self.retry_at, self.vain) = (None, None, 0);
        self.around.hub.report(Report::Active { active: None, standing: Standing::Open });
        if let Some(journal) = &self.around.journal
            && let Err(error) = journal.set_active(None).await
        {
            tracing::warn!(%error, "that no model is active was not kept");
        }
        self.around.notifier.tell(Happening::ActiveForgotten {
            title: self.around.hub.now().model_title(&active.server, &active.model),
            server: active.server,
        });
    }

    /// It is in memory after all: whoever loaded it, requests can go there.
    fn open_again(&mut self) {
        tracing::info!("the active model is in memory again");
        self.standing = Standing::Open;
        self.tried_at = None;
        let active = self.active.clone();
        self.around.hub.report(Report::Active { active, standing: Standing::Open });
    }

    fn restore_if_it_may(&mut self) {
        let Some(to) = self.active.as_ref().map(Active::reference) else { return };
        if self.may_restore() {
            tracing::info!(model = %to, "is not in memory any more, loading it again");
            return self.restore(to);
        }
        if matches!(self.standing, Standing::Refusing(_)) {
            return;
        }
        let text =
            format!("{} left memory {RESTORES} times in two minutes; it is not loaded again.", to.model);
        tracing::warn!(model = %to, "{text}");
        self.standing = Standing::Refusing(text.clone());
        self.tried_at = Some(Timestamp::now());
        let (active, standing) = (self.active.clone(), self.standing.clone());
        self.around.hub.report(Report::Active { active, standing });
        self.around.notifier.tell(Happening::Trouble {
            error: ApiError::new(ErrorCode::ServerError, text)
                .hint("Look at the server's log, then switch to a model again."),
        });
    }

    /// A load that hung, or a model that is gone, will not get better by being tried again.
    pub(super) fn plan_retry(&mut self, cause: &Cause, result: &Result<SwitchReport, ApiError>) {
        self.retry_at = None;
        if self.standing == Standing::Open {
            self.vain = 0;
            return;
        }
        let error = match result {
            Ok(report) => report.error.as_ref(),
            Err(error) => Some(error),
        };
        let hopeless = |error: &ApiError| {
            matches!(error.code, ErrorCode::TimedOut | ErrorCode::Cancelled | ErrorCode::NotFound)
        };
        if !matches!(cause, Cause::Restore(_)) || error.is_some_and(hopeless) {
            return;
        }
        self.retry_at = RETRY_AFTER.get(self.vain).map(|after| Instant::now() + *after);
        self.vain += 1;
    }

    /// Tries once more, unless something else has begun or its server is away: then that comes first.
    pub(super) fn retry(&mut self) {
        let idle = !self.is_changing() && self.lent.is_none();
        let Some(to) = self.active.as_ref().map(Active::reference).filter(|_| idle) else { return };
        let up = self.around.hub.now().server(&to.server).is_some_and(|server| server.state.is_up());
        if up && matches!(self.standing, Standing::Refusing(_)) {
            self.restore(to);
        }
    }

    /// Counts one restoration, unless there were too many lately.
    fn may_restore(&mut self) -> bool {
        let now = Instant::now();
        self.restores.retain(|at| now.duration_since(*at) < RESTORE_WINDOW);
        let may = self.restores.len() < RESTORES;
        if may {
            self.restores.push_back(now);
        }
        may
    }

    /// Takes out of memory what a transaction of ours had to leave there, once its server answers again.
    fn clear_stray(&mut self, snapshot: &Snapshot) {
        let lately = self.cleared_at.is_some_and(|at| at.elapsed() < CLEAR_EVERY);
        if self.clearing.is_some() || lately {
            return;
        }
        let active = self.active.as_ref().map(Active::reference);
        self.strays.retain(|stray| Some(stray) != active.as_ref());
        let ready = |stray: &&ModelRef| {
            snapshot.server(&stray.server).is_some_and(|server| server.state == ServerState::Ready)
        };
        let Some(stray) = self.strays.iter().find(ready).cloned() else { return };
        let (around, events, ending) = (self.around.clone(), self.events.clone(), self.ending.clone());
        let clearing = tokio::spawn(async move {
            let result = around.take_out(&stray, &ending).await;
            drop(events.send(Event::Cleared(stray, result)).await);
        });
        self.clearing = Some(clearing.map(drop).boxed().shared());
    }
}
