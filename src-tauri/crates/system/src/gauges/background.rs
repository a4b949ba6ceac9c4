//! Readings that take long are taken on a thread of their own, so that a sample never waits for them.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

/// What is older than this and than two looks is not shown any more.
const OLD: Duration = Duration::from_secs(10);

/// A reading that is taken when it is asked for, and is there some time later. Nobody asks: nothing is read.
pub(super) struct Background<T> {
    every: Duration,
    asks: mpsc::SyncSender<()>,
    answers: mpsc::Receiver<(Instant, T)>,
    latest: Option<(Instant, T)>,
    looked: Option<Instant>,
    asked: Option<Instant>,
    /// The thread is gone: whoever reads there has panicked.
    ended: bool,
}

impl<T: Send + 'static> Background<T> {
    /// Reads at most so often. `make` runs on the thread and gives what reads there; the thread ends with the value.
    /// Errors: the system has no thread left.
    pub fn start<F: FnMut() -> T>(
        name: &str,
        every: Duration,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> std::io::Result<Self> {
        // One question may wait while one is answered; more would only pile up.
        let (asks, questions) = mpsc::sync_channel::<()>(1);
        let (results, answers) = mpsc::channel();
        std::thread::Builder::new().name(name.into()).spawn(move || {
            let mut read = make();
            while questions.recv().is_ok() {
                let value = read();
                if results.send((Instant::now(), value)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { every, asks, answers, latest: None, looked: None, asked: None, ended: false })
    }

    /// How long it has been asked without an answer.
    pub fn unanswered(&self, now: Instant) -> Option<Duration> {
        let asked = self.asked?;
        let answered = self.latest.as_ref().is_some_and(|(at, _)| *at >= asked);
        (!answered).then(|| now.saturating_duration_since(asked))
    }

    /// Nothing will be read any more.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The last reading, unless it is old, and asks for the next one.
    pub fn latest(&mut self, now: Instant) -> Option<(Instant, &T)> {
        self.latest = self.answers.try_iter().last().or(self.latest.take());
        let between = self.looked.replace(now).map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        if self.asked.is_none_or(|at| now.saturating_duration_since(at) >= self.every) {
            match self.asks.try_send(()) {
                Ok(()) => self.asked = Some(now),
                Err(mpsc::TrySendError::Full(())) => {}
                Err(mpsc::TrySendError::Disconnected(())) => self.ended = true,
            }
        }
        let limit = OLD.max(between * 2);
        let fresh = self.latest.as_ref().filter(|(at, _)| now.saturating_duration_since(*at) <= limit)?;
        Some((fresh.0, &fresh.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_never_waits_and_brings_what_is_there() {
        let (go, gate) = mpsc::channel::<u32>();
        let (done, finished) = mpsc::channel();
        let mut reading = Background::start("test", Duration::from_secs(3), move || {
            move || {
                let value = gate.recv().unwrap_or_default();
                let _ = done.send(());
                value
            }
        })
        .unwrap();
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        assert_eq!(reading.latest(at(0)), None, "it is still being read");
        assert!(reading.unanswered(at(20)).is_some_and(|silent| silent >= Duration::from_secs(19)));
        go.send(7).unwrap();
        finished.recv().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let seven = loop {
            match reading.latest(at(1)) {
                Some((_, value)) => break *value,
                None => assert!(Instant::now() < deadline, "it did not come"),
            }
            std::thread::yield_now();
        };
        assert_eq!(seven, 7);
        assert_eq!(reading.unanswered(at(1)), None, "it has answered");
        let mut look = |s| reading.latest(at(s)).map(|(_, value)| *value);
        assert_eq!(look(9), Some(7), "a second reading hangs");
        assert_eq!(look(60), Some(7), "seldom looked at: the last reading is the one before");
        assert_eq!(look(61), None, "too old");
    }

    #[test]
    fn a_reader_that_panics_is_known_to_have_ended() {
        fn read() -> u32 {
            panic!("a chip that nobody knows")
        }
        let make = || read as fn() -> u32;
        let mut reader = Background::start("panics", Duration::ZERO, make).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !reader.has_ended() {
            assert_eq!(reader.latest(Instant::now()), None);
            assert!(Instant::now() < deadline, "its end is not seen");
            std::thread::yield_now();
        }
    }
}
