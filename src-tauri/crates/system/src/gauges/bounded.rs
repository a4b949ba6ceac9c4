//! A source of readings that is left behind where it hangs.

use crate::apart::{Reader, Silence};
use pilothouse_domain::{Timestamp, gauge::SilentSource};
use std::time::Instant;

/// A reader with its name, and since when it is silent.
pub(super) struct BoundedSource<Q, A> {
    reader: Reader<Q, A>,
    /// "nvidia".
    id: &'static str,
    /// "the NVIDIA driver".
    what: &'static str,
    since: Option<Timestamp>,
}

impl<Q: Send + 'static, A: Clone + Send + 'static> BoundedSource<Q, A> {
    /// `make` is called on the thread of its own, and what it gives reads there.
    pub fn start<F: FnMut(Q) -> A>(
        id: &'static str,
        what: &'static str,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> Self {
        Self { reader: Reader::start(id, make), id, what, since: None }
    }

    pub fn ask(&mut self, question: Q) {
        self.reader.ask(question);
    }

    /// The reading, waited for until `deadline`. Errors: it is silent, and since when.
    pub fn answer(&mut self, deadline: Instant) -> Result<A, SilentSource> {
        let silence = match self.reader.answer(deadline) {
            Ok(answer) => {
                if let Some(since) = self.since.take() {
                    let seconds = Timestamp::now().duration_since(since).as_secs();
                    tracing::info!(source = self.id, seconds, "answers again");
                }
                return Ok(answer);
            }
            Err(silence) => silence,
        };
        let now = Timestamp::now();
        let since = *self.since.get_or_insert_with(|| match silence {
            Silence::Waiting(so_long) => now.checked_sub(so_long).unwrap_or(now),
            Silence::Ended => now,
        });
        Err(SilentSource { source: self.id.into(), what: self.what.into(), since })
    }

    /// The last reading, however old.
    #[cfg(not(target_os = "macos"))]
    pub fn last(&self) -> Option<&A> {
        self.reader.last()
    }
}
