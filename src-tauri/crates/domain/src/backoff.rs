//! When a crashed server is started again, and when that stops.

/// The rules of restarting.
#[derive(Debug, Clone, PartialEq)]
pub struct RestartPolicy {
    /// Wait before the first restart, in milliseconds; doubles with each crash.
    pub first_ms: u64,
    /// The longest wait.
    pub max_ms: u64,
    /// Crashes within `window_ms` after which nobody restarts it any more.
    pub max_crashes: u32,
    pub window_ms: u64,
    /// Time in good health after which old crashes are forgotten.
    pub reset_after_ms: u64,
    /// Time without an answer or a token after which a process of ours is killed and started again; 0: never.
    pub hang_ms: u64,
    /// How long a single token may take when a server is under suspicion.
    pub token_ms: u64,
    /// Longest time from a start to the first answer; 0: as the kind of server needs.
    pub start_ms: u64,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            first_ms: 500,
            max_ms: 30_000,
            max_crashes: 5,
            window_ms: 120_000,
            reset_after_ms: 300_000,
            hang_ms: 60_000,
            token_ms: 15_000,
            start_ms: 0,
        }
    }
}

/// What a crash leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    RestartAfter { ms: u64 },
    GiveUp { crashes: u32, within_ms: u64 },
}

/// The recent crashes of one server, as instants of a monotonic clock in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Crashes(Vec<u64>);

impl Crashes {
    /// Notes a crash and says what follows. `jitter` in -1.0..=1.0 moves the wait by up to a quarter, so that
    /// several servers that died together do not all return in the same instant.
    pub fn note(&mut self, now_ms: u64, jitter: f64, policy: &RestartPolicy) -> Verdict {
        self.0.retain(|at| now_ms.saturating_sub(*at) <= policy.window_ms);
        self.0.push(now_ms);
        let crashes = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        if crashes >= policy.max_crashes {
            let first = self.0.first().copied().unwrap_or(now_ms);
            return Verdict::GiveUp { crashes, within_ms: now_ms.saturating_sub(first) };
        }
        let doubled = policy.first_ms.saturating_mul(1 << (crashes - 1).min(16)).min(policy.max_ms);
        let moved = doubled as f64 * (1.0 + 0.25 * jitter.clamp(-1.0, 1.0));
        Verdict::RestartAfter { ms: moved.round() as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let policy = RestartPolicy { max_crashes: 100, max_ms: 3000, ..RestartPolicy::default() };
        let mut crashes = Crashes::default();
        let waits: Vec<Verdict> = (0..5).map(|n| crashes.note(n, 0.0, &policy)).collect();
        let ms = |ms| Verdict::RestartAfter { ms };
        assert_eq!(waits, [ms(500), ms(1000), ms(2000), ms(3000), ms(3000)]);
    }

    #[test]
    fn old_crashes_fall_out_of_the_window() {
        let policy = RestartPolicy::default();
        let mut crashes = Crashes::default();
        for n in 0..50 {
            let verdict = crashes.note(n * (policy.window_ms + 1), 0.0, &policy);
            assert_eq!(verdict, Verdict::RestartAfter { ms: policy.first_ms });
        }
    }

    proptest::proptest! {
        #[test]
        fn jitter_moves_a_wait_by_at_most_a_quarter(jitter in -2.0f64..2.0) {
            let policy = RestartPolicy::default();
            let Verdict::RestartAfter { ms } = Crashes::default().note(0, jitter, &policy) else {
                panic!("one crash never gives up")
            };
            proptest::prop_assert!((375..=625).contains(&ms));
        }
    }
}
