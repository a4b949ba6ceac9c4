use pilothouse_domain::server::ServerId;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{broadcast, watch};

type Counts = HashMap<(ServerId, String), usize>;

/// Counts the answers under way per instance, so that a switch can let them end, and passes on what went wrong with
/// them, so that a supervisor looks at its server at once.
#[derive(Clone)]
pub struct InFlight {
    counts: Arc<Mutex<Counts>>,
    changed: watch::Sender<()>,
    troubles: broadcast::Sender<ServerId>,
}

impl Default for InFlight {
    fn default() -> Self {
        Self { counts: Arc::default(), changed: watch::Sender::new(()), troubles: broadcast::Sender::new(32) }
    }
}

impl InFlight {
    /// Counts one answer for as long as the guard lives.
    #[must_use]
    pub fn enter(&self, server: &ServerId, instance: &str) -> InFlightGuard {
        let key = (server.clone(), instance.to_owned());
        *self.lock().entry(key.clone()).or_default() += 1;
        InFlightGuard { owner: self.clone(), key }
    }

    /// Tells that an answer of this server failed, broke off, or never began.
    pub fn trouble(&self, server: &ServerId) {
        // Nobody listens only while the engine ends.
        let _ = self.troubles.send(server.clone());
    }

    /// The servers whose answers go wrong from now on.
    pub fn troubles(&self) -> broadcast::Receiver<ServerId> {
        self.troubles.subscribe()
    }

    /// Whether any answer of this server is under way.
    pub fn busy(&self, server: &ServerId) -> bool {
        self.lock().keys().any(|(one, _)| one == server)
    }

    pub fn count(&self, server: &ServerId, instance: &str) -> usize {
        self.lock().get(&(server.clone(), instance.to_owned())).copied().unwrap_or_default()
    }

    /// Waits until no answer of the instance is under way; `false` when that took longer than `limit`.
    pub async fn drained(&self, server: &ServerId, instance: &str, limit: Duration) -> bool {
        let mut changed = self.changed.subscribe();
        let empty = changed.wait_for(|()| self.count(server, instance) == 0);
        tokio::time::timeout(limit, empty).await.is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One answer under way.
pub struct InFlightGuard {
    owner: InFlight,
    key: (ServerId, String),
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        {
            let mut counts = self.owner.lock();
            if let Some(count) = counts.get_mut(&self.key) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&self.key);
                }
            }
        }
        self.owner.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_the_last_answer_and_not_for_others() {
        let in_flight = InFlight::default();
        let server = ServerId::new("ollama");
        let limit = Duration::from_secs(5);
        assert!(in_flight.drained(&server, "a", limit).await, "nothing is under way");
        let first = in_flight.enter(&server, "a");
        let second = in_flight.enter(&server, "a");
        let _other = in_flight.enter(&server, "b");
        assert_eq!(in_flight.count(&server, "a"), 2);
        assert!(!in_flight.drained(&server, "a", limit).await);
        drop(first);
        let waiting = tokio::spawn({
            let (in_flight, server) = (in_flight.clone(), server.clone());
            async move { in_flight.drained(&server, "a", Duration::from_secs(60)).await }
        });
        tokio::task::yield_now().await;
        drop(second);
        assert!(waiting.await.unwrap());
    }
}
