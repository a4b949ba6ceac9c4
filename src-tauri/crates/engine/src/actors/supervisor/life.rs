//! Where a server stands, since when, and what was lost on the way: the table of `domain::lifecycle` with its times.

use pilothouse_domain::{
    Timestamp,
    backoff::RestartPolicy,
    error::ApiError,
    lifecycle::{Effect, Event, Life, Reason, ServerState},
};
use pilothouse_system::process::Exit;
use std::time::Duration;
use tokio::time::Instant;

/// State and reason change by events only; each instant is set by the event that it belongs to.
pub(super) struct TimedLife {
    life: Life,
    /// When the state was entered, for people.
    since: Timestamp,
    /// The zero of the clock by which crashes are counted.
    clock: Instant,
    starting_since: Instant,
    stopping_since: Instant,
    ready_since: Option<Instant>,
    /// When and why our process was lost, until it is back.
    lost: Option<(Instant, String)>,
    /// Why we killed it, until its end is seen.
    hung: Option<String>,
    /// Somebody wants it to run, whatever holds it up.
    wanted: bool,
}

/// What an event led to.
pub(super) struct Turn {
    pub from: ServerState,
    pub to: ServerState,
    /// State, reason or hint is another one.
    pub changed: bool,
    pub effects: Vec<Effect>,
}

impl Turn {
    /// Whether this state was entered just now.
    pub fn enters(&self, state: ServerState) -> bool {
        self.to == state && self.from != state
    }
}

/// A server that was lost and answers again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Back {
    pub reason: String,
    pub away: Duration,
}

impl TimedLife {
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            life: Life::new(ServerState::Stopped),
            since: Timestamp::now(),
            clock: now,
            starting_since: now,
            stopping_since: now,
            ready_since: None,
            lost: None,
            hung: None,
            wanted: false,
        }
    }

    pub fn take(&mut self, event: Event, policy: &RestartPolicy) -> Turn {
        match &event {
            Event::StartWanted => self.wanted = true,
            Event::StopWanted => self.wanted = false,
            Event::Hung { reason } => self.hung = Some(reason.text.clone()),
            _ => {}
        }
        let (from, reason) = (self.life.state(), self.life.reason().cloned());
        let effects = self.life.on(event, policy);
        let to = self.life.state();
        let turn = Turn { from, to, changed: (from, reason.as_ref()) != (to, self.life.reason()), effects };
        if from != to {
            self.since = Timestamp::now();
        }
        if turn.enters(ServerState::Starting) {
            self.begin_start();
        }
        if turn.enters(ServerState::Stopping) {
            self.stopping_since = Instant::now();
        }
        if turn.enters(ServerState::GaveUp) {
            self.lost = None;
        }
        turn
    }

    /// Our process has ended: the event for it. Whoever asked for that end lost nothing.
    pub fn exited(&mut self, exit: &Exit, jitter: f64) -> Event {
        let reason = self.hung.take().unwrap_or_else(|| exit.to_string());
        if !self.is_leaving() && self.lost.is_none() {
            self.lost = Some((Instant::now(), reason.clone()));
        }
        let now_ms = self.clock_ms();
        Event::Exited { reason: reason.into(), now_ms, jitter }
    }

    /// A probe was answered. Gives what was lost before, once.
    pub fn answered(&mut self, policy: &RestartPolicy) -> Option<Back> {
        let ready_for = self.ready_since.get_or_insert_with(Instant::now).elapsed();
        self.life.healthy_for(ready_for.as_millis() as u64, policy);
        let (at, reason) = self.lost.take()?;
        Some(Back { reason, away: at.elapsed() })
    }

    /// The time that a start may take begins now.
    pub fn begin_start(&mut self) {
        self.starting_since = Instant::now();
    }

    /// The way to it is closed: it has to be well anew.
    pub fn disconnected(&mut self) {
        self.ready_since = None;
    }

    /// Another one of its kind runs: nothing is missed any more.
    pub fn replaced(&mut self) {
        self.lost = None;
    }

    pub fn state(&self) -> ServerState {
        self.life.state()
    }

    pub fn is_up(&self) -> bool {
        self.life.state().is_up()
    }

    /// Whether its end is wanted, or over.
    pub fn is_leaving(&self) -> bool {
        matches!(self.life.state(), ServerState::Stopping | ServerState::Stopped)
    }

    /// Whether it rests in a state in which one that runs all the same may be taken in.
    pub fn is_idle(&self) -> bool {
        use ServerState as S;
        matches!(self.life.state(), S::Stopped | S::NotInstalled | S::Failed | S::GaveUp | S::NotOurs)
    }

    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    pub fn restarts(&self) -> u32 {
        self.life.restarts()
    }

    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Why it stands there, in words that say something.
    pub fn reason(&self) -> Option<&str> {
        self.life.reason().map(|reason| reason.text.as_str()).filter(|text| !text.is_empty())
    }

    pub fn hint(&self) -> Option<&str> {
        self.life.reason().and_then(|reason: &Reason| reason.hint.as_deref())
    }

    /// Whether this error is the reason that is shown.
    pub fn says(&self, error: &ApiError) -> bool {
        self.reason() == Some(error.message.as_str())
    }

    pub fn starting_for(&self) -> Duration {
        self.starting_since.elapsed()
    }

    pub fn stopping_for(&self) -> Duration {
        self.stopping_since.elapsed()
    }

    /// A monotonic clock.
    pub fn clock_ms(&self) -> u64 {
        self.clock.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const KILLED: Exit = Exit { code: None, signal: Some(9) };

    fn feed(life: &mut TimedLife, events: &[Event]) {
        for event in events {
            life.take(event.clone(), &RestartPolicy::default());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_is_told_once_with_the_time_that_it_took_unless_it_was_wanted() {
        let hung = || Event::Hung { reason: "it hung".into() };
        let table: [(&[Event], Option<&str>); 3] =
            [(&[], Some("ended by signal 9")), (&[hung()], Some("it hung")), (&[Event::StopWanted], None)];
        for (before, told) in table {
            let mut life = TimedLife::new();
            feed(&mut life, &[Event::StartWanted, Event::Answered]);
            feed(&mut life, before);
            let exited = life.exited(&KILLED, 0.0);
            feed(&mut life, &[exited]);
            tokio::time::advance(SECOND).await;
            let back = told.map(|reason| Back { reason: reason.into(), away: SECOND });
            assert_eq!(life.answered(&RestartPolicy::default()), back, "{before:?}");
            assert_eq!(life.answered(&RestartPolicy::default()), None, "told once");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_gave_up_or_was_replaced_is_not_told_to_be_back() {
        let policy = RestartPolicy::default();
        let mut life = TimedLife::new();
        feed(&mut life, &[Event::StartWanted]);
        for _ in 0..policy.max_crashes {
            let exited = life.exited(&KILLED, 0.0);
            feed(&mut life, &[exited]);
        }
        assert_eq!((life.state(), life.answered(&policy)), (ServerState::GaveUp, None));
        assert!(life.hint().is_some_and(|hint| hint.contains("log")));
        let mut life = TimedLife::new();
        feed(&mut life, &[Event::StartWanted]);
        let _ = life.exited(&KILLED, 0.0);
        life.replaced();
        assert_eq!(life.answered(&policy), None);
    }

    #[tokio::test(start_paused = true)]
    async fn every_state_counts_its_own_time() {
        let mut life = TimedLife::new();
        tokio::time::advance(SECOND).await;
        feed(&mut life, &[Event::StartWanted]);
        tokio::time::advance(SECOND).await;
        assert_eq!((life.starting_for(), life.clock_ms()), (SECOND, 2000));
        feed(&mut life, &[Event::StopWanted]);
        tokio::time::advance(SECOND).await;
        assert_eq!((life.stopping_for(), life.starting_for()), (SECOND, 2 * SECOND));
        // Still on its way down: asking again does not begin anew.
        feed(&mut life, &[Event::StopWanted]);
        assert_eq!(life.stopping_for(), SECOND);
    }

    #[tokio::test]
    async fn only_what_is_shown_otherwise_counts_as_a_change() {
        let held = |text: &str| Event::PortHeld { reason: text.into() };
        let hinted = Event::PortHeld { reason: Reason { text: "a".into(), hint: Some("b".into()) } };
        let mut life = TimedLife::new();
        let table = [
            (held("a"), true),
            (held("a"), false),
            (hinted, true),
            (held("c"), true),
            (Event::Spawned, false),
        ];
        for (event, changed) in table {
            let shown = format!("{event:?}");
            assert_eq!(life.take(event, &RestartPolicy::default()).changed, changed, "{shown}");
        }
        assert_eq!((life.reason(), life.is_wanted()), (Some("c"), false));
        feed(&mut life, &[Event::PortFree]);
        assert_eq!((life.reason(), life.is_idle()), (None, true));
    }
}
