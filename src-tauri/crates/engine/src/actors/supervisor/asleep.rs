//! Whether the machine slept.

use pilothouse_domain::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// By so much the wall clock runs ahead only when the machine slept.
const SLEPT: Duration = Duration::from_secs(30);

/// When the last round was, by both clocks.
pub(super) struct LastRound {
    at: Instant,
    wall: Timestamp,
}

impl LastRound {
    pub fn now() -> Self {
        Self { at: Instant::now(), wall: Timestamp::now() }
    }

    /// Begins a round. Whether the machine slept since the last one, after which a server may have lost its GPU or its network.
    /// The monotonic clock stands still meanwhile, the wall clock does not; a clock that somebody sets looks the same and does no
    /// harm.
    pub fn slept_since(&mut self) -> bool {
        let before = std::mem::replace(self, Self::now());
        slept(self.at.duration_since(before.at), self.wall.duration_since(before.wall).as_millis())
    }
}

/// `by_wall_ms` is below zero where the clock was set back.
fn slept(by_monotonic: Duration, by_wall_ms: i128) -> bool {
    let awake_ms = i128::try_from(by_monotonic.as_millis()).unwrap_or(i128::MAX);
    by_wall_ms.saturating_sub(awake_ms) > SLEPT.as_millis() as i128
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_runs_ahead_of_the_other_only_over_a_sleep() {
        for (awake_s, wall_s, asleep) in [
            (2, 2, false),
            (2, 32, false),
            (2, 33, true),
            (2, 8 * 3600, true),
            (600, 601, false),
            (2, -3600, false),
            (0, 0, false),
        ] {
            assert_eq!(slept(Duration::from_secs(awake_s), wall_s * 1000), asleep, "{awake_s} s, {wall_s} s");
        }
    }
}
