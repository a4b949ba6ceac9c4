//! Closing an instance that shall leave memory, and the end of its leases.

use super::Leases;
use pilothouse_domain::server::ServerId;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long leases that were cut may take to be given back. Whoever holds one only has to end its stream.
const CUT_LIMIT: Duration = Duration::from_secs(2);

impl Leases {
    /// Gives no more leases on an instance, because it shall leave memory.
    pub fn close(&self, server: &ServerId, instance: &str) {
        // Whoever waits for it by its name is told now.
        self.change(|book| book.used.entry((server.clone(), instance.to_owned())).or_default().closed = true);
    }

    /// It stays after all, or it is gone and its name may mean another copy.
    pub fn reopen(&self, server: &ServerId, instance: &str) {
        self.change(|book| {
            if let Some(used) = book.used.get_mut(&(server.clone(), instance.to_owned())) {
                used.closed = false;
            }
            book.used.retain(|_, used| used.closed || !used.held.is_empty());
        });
    }

    /// Waits until no lease of an instance is left, and cuts those that are left after `limit` or once `now` is cancelled.
    /// Returns how many were cut.
    pub async fn drain(
        &self,
        server: &ServerId,
        instance: &str,
        limit: Duration,
        now: &CancellationToken,
    ) -> u32 {
        let mut changed = self.changed.subscribe();
        let until_empty = async |changed: &mut watch::Receiver<()>| {
            let _ = changed.wait_for(|()| self.count(server, instance) == 0).await;
        };
        let patient = async {
            tokio::select! {
                () = until_empty(&mut changed) => true,
                () = now.cancelled() => false,
            }
        };
        if tokio::time::timeout(limit, patient).await == Ok(true) {
            return 0;
        }
        let cut = {
            let book = self.lock();
            let used = book.used.get(&(server.clone(), instance.to_owned()));
            let held = used.map(|used| used.held.values().collect::<Vec<_>>()).unwrap_or_default();
            held.iter().for_each(|cut| cut.cancel());
            held.len()
        };
        let _ = tokio::time::timeout(CUT_LIMIT, until_empty(&mut self.changed.subscribe())).await;
        u32::try_from(cut).unwrap_or(u32::MAX)
    }
}
