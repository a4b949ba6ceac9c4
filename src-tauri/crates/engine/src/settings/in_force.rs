//! The settings by which the servers start and load: those of our start, and what was changed since by a person's wish.

use pilothouse_domain::settings::Settings;
use std::sync::Arc;
use tokio::sync::watch;

/// A clone is the same settings.
#[derive(Clone)]
pub struct InForce(Arc<watch::Sender<Settings>>);

impl InForce {
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(watch::Sender::new(settings)))
    }

    /// As they are now.
    pub fn now(&self) -> Settings {
        self.0.borrow().clone()
    }

    pub fn change(&self, change: impl FnOnce(&mut Settings)) {
        self.0.send_modify(change);
    }

    /// Those of now, and each change.
    pub fn follow(&self) -> watch::Receiver<Settings> {
        self.0.subscribe()
    }
}
