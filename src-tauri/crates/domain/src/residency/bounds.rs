//! How long a load may take.

use crate::settings::SwitchingSettings;
use std::time::Duration;

/// Loads vary with what the disk has in its cache: the first after a start of the machine takes several times as long as
/// the next one. A limit below that would call a slow load a failed one.
const GENEROUS: u64 = 5;

/// The longest time for a load whose committed loads took `learned_ms`; without any, the ceiling of the settings.
pub fn load_limit(learned_ms: &[u64], settings: &SwitchingSettings) -> Duration {
    let floor = settings.load_floor_s.saturating_mul(1000);
    let ceiling = settings.load_ceiling_s.saturating_mul(1000).max(floor);
    let learned = learned_ms.iter().max().map(|ms| ms.saturating_mul(GENEROUS));
    Duration::from_millis(learned.map_or(ceiling, |ms| ms.clamp(floor, ceiling)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_is_stretched_and_kept_between_floor_and_ceiling() {
        let settings = SwitchingSettings { load_floor_s: 60, load_ceiling_s: 900, ..Default::default() };
        let limit = |learned: &[u64]| load_limit(learned, &settings).as_secs();
        assert_eq!(limit(&[]), 900, "nothing is known");
        assert_eq!(limit(&[800]), 60, "a second counts as the floor");
        assert_eq!(limit(&[20_000, 40_000]), 200, "the slowest counts");
        assert_eq!(limit(&[u64::MAX]), 900);
        let crossed = SwitchingSettings { load_floor_s: 60, load_ceiling_s: 10, ..settings };
        assert_eq!(load_limit(&[], &crossed).as_secs(), 60);
    }
}
