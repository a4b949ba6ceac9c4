//! How the previous model leaves: its answers end or are cut, then it is taken out of memory.

use super::Transaction;
use crate::actors::residency::{UNLOAD_LIMIT, at_last, bounded};
use pilothouse_domain::{
    error::ApiError,
    switch::{Active, SwitchPhase},
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

impl Transaction {
    /// Before the commit a failure ends the switch; after it the old model merely stays in memory, and that is said.
    pub(super) async fn unload_previous(&mut self) -> Result<(), ApiError> {
        let Some(previous) = self.previous.clone() else { return Ok(()) };
        self.enter(SwitchPhase::Draining).await;
        let leases = self.around.leases.clone();
        leases.close(&previous.server, &previous.instance);
        let result = self.drain_and_unload(&previous).await;
        if let Ok(supervisor) = self.supervisor(&previous.server)
            && !self.ending.is_cancelled()
        {
            supervisor.refresh().await;
        }
        leases.reopen(&previous.server, &previous.instance);
        match result {
            Err(error) if self.is_committed() => {
                tracing::warn!(%error, model = %previous.model, "is still in memory after the switch");
                self.reasons.push(format!("{} is still in memory: {error}", previous.model));
                self.leave(previous.reference()).await;
                Ok(())
            }
            result => result,
        }
    }

    /// Idle models that were loaded on request give their memory. One that answers again stays: the load says whether it fits.
    pub(super) async fn evict(&mut self) -> Result<(), ApiError> {
        for (model, with) in std::mem::take(&mut self.beside.evict) {
            let leases = self.around.leases.clone();
            leases.close(&model.server, &model.instance);
            let idle = leases.count(&model.server, &model.instance) == 0;
            let taken = match idle {
                true => {
                    let (around, what) =
                        (self.around.clone(), format!("Taking {} out of memory", model.model));
                    let supervisor = self.supervisor(&model.server)?;
                    let work = async {
                        let connection = supervisor.ensure_ready().await?;
                        around.unload(&model.server, &*connection.client, &model.instance).await
                    };
                    let never = CancellationToken::new();
                    self.until_cancelled(bounded(&what, UNLOAD_LIMIT, &never, work)).await.map(|()| true)
                }
                false => Ok(false),
            };
            leases.reopen(&model.server, &model.instance);
            if let Ok(supervisor) = self.supervisor(&model.server)
                && !self.ending.is_cancelled()
            {
                supervisor.refresh().await;
            }
            if !matches!(taken, Ok(false)) {
                self.evicted.push((model, with));
            }
            taken?;
        }
        Ok(())
    }

    async fn drain_and_unload(&mut self, previous: &Active) -> Result<(), ApiError> {
        let (committed, limit) = (self.is_committed(), self.drain_limit());
        let cut = self.around.leases.drain(&previous.server, &previous.instance, limit, &self.now);
        let cut = match committed {
            // Nobody takes the switch back any more; our own end cuts short what it waits for.
            true => tokio::select! {
                cut = cut => Ok(cut),
                () = self.ending.cancelled() => Ok(0),
            },
            false => self.until_cancelled(async { Ok(cut.await) }).await,
        }?;
        if cut > 0 {
            let answers = if cut == 1 { "1 answer was".to_owned() } else { format!("{cut} answers were") };
            let after = if self.now.is_cancelled() { 0 } else { limit.as_secs() };
            let when = if after == 0 { "at once".to_owned() } else { format!("after {after} s") };
            self.reasons.push(format!("{answers} cut {when}."));
            self.answers_cut += cut;
        }
        // Its server may be down or gone by now: then there is nothing in memory.
        let up = self.around.hub.now().server(&previous.server).is_some_and(|server| server.state.is_up());
        if !up {
            return Ok(());
        }
        self.enter(SwitchPhase::Unloading).await;
        let supervisor = self.supervisor(&previous.server)?;
        let instance = previous.instance.clone();
        let work = async {
            let connection = supervisor.ensure_ready().await?;
            self.around.unload(&previous.server, &*connection.client, &instance).await
        };
        let what = format!("Taking {} out of memory", previous.model);
        match committed {
            false => {
                self.until_cancelled(bounded(&what, UNLOAD_LIMIT, &CancellationToken::new(), work)).await
            }
            true => at_last(&what, &self.ending, work).await,
        }
    }

    fn drain_limit(&self) -> Duration {
        Duration::from_secs(self.around.settings.borrow().drain_s)
    }
}
