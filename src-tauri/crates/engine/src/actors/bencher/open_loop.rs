//! Requests that come by plan, whatever the server does.

use super::{
    course::{Course, Place, broke_off, given_up},
    request::{Answered, Question, ask, has_failed},
    side::Measured,
};
use pilothouse_domain::{
    bench::{Trial, TrialPhase, arrivals::Arrivals, open_loop::MOST_UNDER_WAY},
    error::ApiError,
};
use std::time::Duration;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// So many failures one after another end it: a crowd that is refused for a moment does not.
const FAILURES: u32 = 16;
/// A request that would be sent later than this after it was due is not sent, nor is any after it: the server cannot keep the
/// rate, and the run has to end.
const MOST_LATE: Duration = Duration::from_secs(60);

/// An open loop under way.
struct UnderWay {
    begun: Instant,
    /// When each request is due, since then.
    due: Vec<Duration>,
    next: usize,
    requests: JoinSet<Result<(usize, Answered), ApiError>>,
    /// By the number of the request.
    ended: Vec<(usize, Trial)>,
    failures: u32,
}

impl Course {
    /// Sends each request when it is due. What is written down is written afterwards, so that nothing is late for it.
    pub async fn open_loop(&mut self, side: &mut Measured, arrivals: &Arrivals) -> Result<(), ApiError> {
        let due: Vec<Duration> =
            arrivals.due_ms().into_iter().map(|ms| Duration::from_secs_f64(ms / 1000.0)).collect();
        let planned = due.len();
        self.quiet(side, Place { total: planned as u32, ..Place::default() }).await?;
        let mut loop_ = UnderWay {
            begun: Instant::now(),
            due,
            next: 0,
            requests: JoinSet::new(),
            ended: vec![],
            failures: 0,
        };
        let result = self.arrive(side, &mut loop_).await;
        loop_.ended.sort_by_key(|(number, _)| *number);
        let sent = loop_.ended.len();
        for (_, trial) in loop_.ended {
            side.add(&self.around, trial).await;
        }
        if result.is_ok() && sent < planned {
            side.remark(&format!(
                "The server did not keep the rate: {} of {planned} requests were not sent, as they would have been more \
                 than {} s late.",
                planned - sent,
                MOST_LATE.as_secs()
            ));
        }
        result
    }

    async fn arrive(&mut self, side: &Measured, loop_: &mut UnderWay) -> Result<(), ApiError> {
        while let Some(due) = loop_.next_instant() {
            let may_send = loop_.next < loop_.due.len() && loop_.requests.len() < MOST_UNDER_WAY;
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(ApiError::cancelled("The benchmark was cancelled.")),
                () = sleep_until(due), if may_send => self.send(side, loop_),
                Some(answered) = loop_.requests.join_next() => {
                    let (number, answered) = answered.map_err(|error| broke_off(&error))??;
                    self.take_in(side, loop_, number, answered)?;
                }
            }
        }
        Ok(())
    }

    fn send(&self, side: &Measured, loop_: &mut UnderWay) {
        let (leases, asked) = (self.around.leases.clone(), side.asked.clone());
        let (question, cancel) = (Question::of(&self.plan, rand::random()), self.cancel.clone());
        let number = loop_.next;
        loop_.requests.spawn(async move {
            let answered = ask(&leases, &asked, &cancel, TrialPhase::Measured, question).await?;
            Ok((number, answered))
        });
        loop_.next += 1;
    }

    fn take_in(
        &self,
        side: &Measured,
        loop_: &mut UnderWay,
        number: usize,
        answered: Answered,
    ) -> Result<(), ApiError> {
        side.same_server(&self.around)?;
        let Answered { begun, mut trial, .. } = answered;
        let late = begun.saturating_duration_since(loop_.due_at(number));
        trial.begun_ms = Some(side.since_begin(begun));
        trial.late_ms = Some(late.as_secs_f64() * 1000.0);
        let failed = trial.flaw.clone().filter(|_| has_failed(&trial));
        let rate = trial.decode_tok_s;
        loop_.ended.push((number, trial));
        let left =
            loop_.due.last().map(|last| (loop_.begun + *last).saturating_duration_since(Instant::now()));
        let place = Place {
            done: loop_.ended.len() as u32,
            total: loop_.due.len() as u32,
            rate,
            left_s: left.map(|left| left.as_secs_f64()),
            ..Place::default()
        };
        self.progress(side, TrialPhase::Measured, place, &[]);
        loop_.failures = if failed.is_some() { loop_.failures + 1 } else { 0 };
        // Once it cannot keep the rate, what still waits may well take too long: that is a result, unless there is none at all.
        let goes_on = loop_.next < loop_.due.len() || !loop_.ended.iter().any(|(_, trial)| trial.counts());
        match failed.filter(|_| loop_.failures >= FAILURES && goes_on) {
            Some(flaw) => Err(given_up(&side.target.server, loop_.failures, &flaw)),
            None => Ok(()),
        }
    }
}

impl UnderWay {
    fn due_at(&self, number: usize) -> Instant {
        self.begun + self.due.get(number).copied().unwrap_or_default()
    }

    /// When the next request is due; some instant while the last ones are under way, and `None` when all have ended. Too late to
    /// be sent, the next one is the last no more.
    fn next_instant(&mut self) -> Option<Instant> {
        let is_late = Instant::now().saturating_duration_since(self.due_at(self.next)) > MOST_LATE;
        if self.next < self.due.len() && is_late {
            self.due.truncate(self.next);
        }
        (self.next < self.due.len() || !self.requests.is_empty()).then(|| self.due_at(self.next))
    }
}
