//! Readings that change slowly or cost much are not taken with every sample.

use std::time::{Duration, Instant};

/// A reading that is kept for a while.
#[derive(Debug, Clone)]
pub(super) struct Slow<T> {
    every: Duration,
    last: Option<(Instant, T)>,
}

impl<T> Slow<T> {
    pub const fn every(every: Duration) -> Self {
        Self { every, last: None }
    }

    /// The kept reading, or a new one where that is too old.
    pub fn get(&mut self, now: Instant, read: impl FnOnce() -> T) -> &T {
        let kept = self.last.take().filter(|(at, _)| now.saturating_duration_since(*at) < self.every);
        &self.last.insert(kept.unwrap_or_else(|| (now, read()))).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_kept_until_it_is_too_old() {
        let mut slow = Slow::every(Duration::from_secs(5));
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        assert_eq!(*slow.get(at(0), || 1), 1);
        assert_eq!(*slow.get(at(4), || 2), 1);
        assert_eq!(*slow.get(at(5), || 3), 3);
        assert_eq!(*slow.get(at(9), || 4), 3);
    }
}
