//! Whether somebody looks at a page.

use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// When a page last asked for what is new, which it does only while it is visible. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Watching(Arc<Mutex<Option<Instant>>>);

impl Watching {
    /// A page has asked.
    pub fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// How long ago that was, in milliseconds; `None`: never.
    pub fn ago_ms(&self) -> Option<u64> {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.map(|last| u64::try_from(last.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}
