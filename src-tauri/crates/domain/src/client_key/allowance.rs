//! Tokens by the minute: a bucket that fills up steadily and holds a minute's worth.

use crate::traffic::{RequestRecord, RequestState};
use std::time::Duration;

/// Bytes of a request for one token of its prompt, about: what is counted until its server tells.
const BYTES_PER_TOKEN: usize = 4;

/// What a key may still spend. Times are since some instant, the same for all calls.
///
/// What a request will take is not known before its end. So what its prompt takes by estimate is taken at its begin, and what it
/// took beyond that at its end, by which the bucket may be in debt: then the next ones wait until that is made up for, and over the
/// minutes no more is spent than is allowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowance {
    per_minute: f64,
    left: f64,
    at: Duration,
}

impl Allowance {
    /// A full one.
    pub fn new(per_minute: u32, at: Duration) -> Self {
        let per_minute = f64::from(per_minute);
        Self { per_minute, left: per_minute, at }
    }

    /// Takes so many tokens for a request that begins. One that alone is more than a minute's worth begins when all of it is there.
    /// `Err`: not yet, but after this time, if nobody else asks; then nothing is taken.
    pub fn take(&mut self, tokens: u32, at: Duration) -> Result<(), Duration> {
        self.fill(at);
        let tokens = f64::from(tokens);
        // Not even for nothing while it is in debt.
        let needed = tokens.clamp(1.0, self.per_minute.max(1.0));
        if self.left < needed {
            let seconds = (needed - self.left) * 60.0 / self.per_minute;
            return Err(Duration::from_secs_f64(seconds));
        }
        self.left -= tokens;
        Ok(())
    }

    /// A request has ended that had taken so many tokens at its begin and has spent so many.
    pub fn settle(&mut self, taken: u32, spent: u32, at: Duration) {
        self.fill(at);
        self.left = (self.left + f64::from(taken) - f64::from(spent)).min(self.per_minute);
    }

    fn fill(&mut self, at: Duration) {
        let passed = at.saturating_sub(self.at).as_secs_f64();
        self.left = (self.left + passed * self.per_minute / 60.0).min(self.per_minute);
        self.at = self.at.max(at);
    }
}

/// What the prompt of a request of so many bytes takes, about.
pub fn estimate(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(u32::MAX)
}

/// What a request that has ended has spent, prompt and answer. What nobody counted is the estimate of its prompt, where a server
/// had begun with it; what was refused before has spent nothing.
pub fn spent(record: &RequestRecord, estimate: u32) -> u32 {
    let tokens = record.tokens;
    let refused = record.state == RequestState::Failed || record.why.is_none();
    let unknown = if refused { 0 } else { estimate };
    tokens.input.unwrap_or(unknown).saturating_add(tokens.output.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::{Tokens, Why};

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_minutes_worth_may_be_spent_at_once_and_comes_back_over_a_minute() {
        let mut allowance = Allowance::new(600, s(0));
        assert_eq!(allowance.take(500, s(0)), Ok(()));
        assert_eq!(allowance.take(200, s(0)), Err(s(10)), "100 are left, and 10 come by the second");
        assert_eq!(allowance.take(200, s(9)), Err(s(1)));
        assert_eq!(allowance.take(200, s(10)), Ok(()));
        assert_eq!(allowance.take(600, s(10_000)), Ok(()), "never more than a minute's worth is saved");
        assert_eq!(allowance.take(1, s(10_000)), Err(Duration::from_millis(100)));
    }

    #[test]
    fn what_an_answer_took_is_made_up_for_before_the_next_one() {
        let mut allowance = Allowance::new(60, s(0));
        allowance.take(10, s(0)).unwrap();
        allowance.settle(10, 110, s(0));
        assert_eq!(allowance.take(1, s(0)), Err(s(51)), "50 in debt, and one for itself");
        assert_eq!(allowance.take(0, s(50)), Err(s(1)), "not for nothing either");
        assert_eq!(allowance.take(1, s(51)), Ok(()));
        // Less than estimated comes back, up to a minute's worth.
        let mut allowance = Allowance::new(60, s(0));
        allowance.take(40, s(0)).unwrap();
        allowance.settle(40, 5, s(30));
        assert_eq!(allowance.take(60, s(30)), Ok(()));
    }

    #[test]
    fn a_request_beyond_a_minutes_worth_begins_once_all_of_it_is_there() {
        let mut allowance = Allowance::new(60, s(0));
        assert_eq!(allowance.take(600, s(0)), Ok(()));
        assert_eq!(allowance.take(600, s(60)), Err(s(540)));
        assert_eq!(allowance.take(600, s(600)), Ok(()));
        // A clock that goes back fills nothing and takes nothing.
        let mut allowance = Allowance::new(60, s(100));
        allowance.take(60, s(100)).unwrap();
        assert_eq!(allowance.take(1, s(50)), Err(s(1)));
        assert_eq!(allowance.take(1, s(101)), Ok(()));
    }

    #[test]
    fn over_the_minutes_no_more_is_spent_than_is_allowed() {
        let (mut allowance, mut spent) = (Allowance::new(600, s(0)), 0_u32);
        for second in 0..3600 {
            if allowance.take(20, s(second)).is_ok() {
                allowance.settle(20, 90, s(second));
                spent += 90;
            }
        }
        assert!((36_000..=36_700).contains(&spent), "{spent} in an hour");
    }

    #[test]
    fn what_nobody_counted_is_estimated_where_a_server_had_begun() {
        let tokens = |input, output| Tokens { input, output, ..Tokens::default() };
        for (state, why, told, wanted) in [
            (RequestState::Done, Some(Why::Role), tokens(Some(9), Some(4)), 13),
            (RequestState::Done, Some(Why::Role), tokens(None, Some(4)), 104),
            (RequestState::Done, Some(Why::Role), tokens(None, None), 100),
            (RequestState::Cancelled, Some(Why::Role), tokens(None, Some(2)), 102),
            (RequestState::Cancelled, None, tokens(None, None), 0),
            (RequestState::Cut, Some(Why::Alias), tokens(None, Some(1)), 101),
            (RequestState::Failed, Some(Why::Role), tokens(None, None), 0),
            (RequestState::Failed, None, tokens(None, None), 0),
            (RequestState::Failed, Some(Why::Role), tokens(Some(7), Some(1)), 8),
        ] {
            let record = RequestRecord { state, why, tokens: told, ..RequestRecord::default() };
            assert_eq!(spent(&record, 100), wanted, "{state:?} {why:?} {told:?}");
        }
        assert_eq!([0, 1, 4, 5, usize::MAX].map(estimate), [0, 1, 1, 2, u32::MAX]);
    }
}
