//! What a start takes up from the journal, and what it takes out of memory.

use super::{ResidencyWiring, actor::Residency, bounded, holding::Asked};
use crate::{
    hub::{Report, Standing},
    ports::Journal,
};
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    model::ModelRef,
    notice::Happening,
    residency::{Arrangement, Kept, Resumption, resume},
    switch::Active,
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Reading a few rows; requests wait for it.
const JOURNAL_LIMIT: Duration = Duration::from_secs(3);
/// A server takes up to 30 s to let go of a model, and its list is read before and after.
const TAKE_OUT_LIMIT: Duration = Duration::from_secs(60);

impl Residency {
    /// Takes up what was active before our last end, however it came.
    pub(super) async fn resume(&mut self) {
        let Some(journal) = self.around.journal.clone() else {
            self.ever_used = false;
            return;
        };
        let read = tokio::time::timeout(JOURNAL_LIMIT, read(&journal)).await;
        let read = read.unwrap_or_else(|_| {
            Err(ApiError::new(ErrorCode::TimedOut, "The journal of switches could not be read in time."))
        });
        let (resumption, kept, ever_used, held) = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(%error, "what was active before is not known");
                self.around.hub.report(Report::Trouble(unknown(&error)));
                return;
            }
        };
        self.ever_used = ever_used;
        self.strays = resumption.strays;
        self.take_up(held);
        if let Some((to, committed)) = resumption.cut_off {
            let active = resumption.active.as_ref().map(|active| active.model.clone());
            let told = Happening::CutOffSwitch { to, committed, active };
            self.around.notifier.tell(told);
        }
        let Some(to) = resumption.active else { return };
        let instance =
            kept.filter(|kept| kept.reference() == to).map_or_else(|| to.model.clone(), |kept| kept.instance);
        let active = Active { server: to.server.clone(), model: to.model.clone(), instance };
        if self.arrangement.lead.is_some() {
            // A commit is written before the roles are.
            self.arrangement.lead_with(&active);
            self.arrangement.active = None;
        }
        self.active = Some(active);
        // Nobody knows yet whether it is in memory: requests wait for what the restoration finds.
        self.standing = Standing::Held;
        let (active, standing) = (self.active.clone(), self.standing.clone());
        self.around.hub.report(Report::Active { active, standing });
        self.restore(to);
    }
}

impl Residency {
    /// What was held beside it. Whether it is still there is found once its servers answer.
    fn take_up(&mut self, held: Kept) {
        let Kept { arrangement, before, pins, on_request, taken_out, loaded_with, recent } = held;
        self.owed = taken_out.into_iter().collect();
        self.arrangement = Arrangement { active: None, ..arrangement };
        self.holding.before = before;
        self.holding.recent = recent;
        self.holding.pins = pins.into_iter().collect();
        self.holding.loaded_with = loaded_with.into_iter().collect();
        let (used, used_at) = (Instant::now(), Timestamp::now());
        let asked = |model: ModelRef| {
            let instance = model.model.clone();
            (model, Asked { instance, used, used_at })
        };
        self.holding.on_request = on_request.into_iter().map(asked).collect();
        self.tell_held();
    }
}

type Read = (Resumption, Option<Active>, bool, Kept);

async fn read(journal: &Arc<dyn Journal>) -> Result<Read, ApiError> {
    let cut_off = journal.cut_off().await?;
    let kept = journal.active().await?;
    let ever_used = journal.has_switches().await? || kept.is_some();
    let mut resumption = resume(&cut_off, kept.as_ref());
    // Noted before the rows are closed: we may die again before they have left.
    for stray in &resumption.strays {
        written(journal.set_stray(stray, true).await);
    }
    for stray in journal.strays().await? {
        if Some(&stray) == resumption.active.as_ref() {
            written(journal.set_stray(&stray, false).await);
        } else if !resumption.strays.contains(&stray) {
            resumption.strays.push(stray);
        }
    }
    if !cut_off.is_empty() {
        written(journal.close_cut_off("Pilothouse ended while it was under way.").await);
    }
    let held = journal.kept().await?;
    Ok((resumption, kept, ever_used, held))
}

/// What cannot be written now is written later; what was read counts all the same.
fn written(result: Result<(), ApiError>) {
    if let Err(error) = result {
        tracing::warn!(%error, "the journal is written later");
    }
}

fn unknown(error: &ApiError) -> ApiError {
    let text = format!("Which model was active before is not known: {}", error.message);
    ApiError::new(ErrorCode::StoreUnavailable, text).hint("Switch to a model.")
}

impl ResidencyWiring {
    /// Takes every instance of a model out of memory. Errors: what the server says, timed_out, cancelled.
    pub(super) async fn take_out(
        &self,
        model: &ModelRef,
        cancel: &CancellationToken,
    ) -> Result<(), ApiError> {
        let supervisor = self.supervisor(&model.server)?;
        let work = async {
            let connection = supervisor.ensure_ready().await?;
            let instances = connection.client.instances().await?;
            let own: Vec<String> =
                instances.into_iter().filter(|one| one.model == model.model).map(|one| one.id).collect();
            // What is still being loaded is not listed, and a load goes on after the death of whoever asked for it.
            let own = if own.is_empty() { vec![model.model.clone()] } else { own };
            for instance in own {
                self.unload(&model.server, &*connection.client, &instance).await?;
            }
            Ok(())
        };
        let result = bounded("Taking a model out of memory", TAKE_OUT_LIMIT, cancel, work).await;
        supervisor.refresh().await;
        if result.is_ok() {
            self.note_stray(model, false).await;
        }
        result
    }

    /// Writes down that a model must leave memory, or has left.
    pub(super) async fn note_stray(&self, model: &ModelRef, stray: bool) {
        if let Some(journal) = &self.journal
            && let Err(error) = journal.set_stray(model, stray).await
        {
            tracing::warn!(%error, %model, "what must leave memory was not written down");
        }
    }
}
