//! A reader on a thread of its own that is asked again and again.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

/// A reading of so long ago is shown where the next one is late: a driver may take a second now and then.
const KEPT: Duration = Duration::from_secs(5);

/// Why there is no reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// Asked so long ago, and without an answer since.
    Waiting(Duration),
    /// The thread is gone: whoever reads there has panicked, or the system has no thread left.
    Ended,
}

/// Asks and waits for a bounded time. While a question is without an answer no other is put.
pub struct Reader<Q, A> {
    asks: Option<mpsc::SyncSender<Q>>,
    answers: mpsc::Receiver<A>,
    /// The question that is under way was put then.
    asked: Option<Instant>,
    /// It was waited for in vain: it is not waited for again.
    late: bool,
    last: Option<(Instant, A)>,
}

impl<Q: Send + 'static, A: Clone + Send + 'static> Reader<Q, A> {
    /// `make` is called on the thread, and what it gives reads there. The thread ends with this value, once it has answered.
    pub fn start<F: FnMut(Q) -> A>(name: &str, make: impl FnOnce() -> F + Send + 'static) -> Self {
        let (asks, questions) = mpsc::sync_channel(1);
        let (results, answers) = mpsc::channel();
        let spawned = std::thread::Builder::new().name(name.into()).spawn(move || {
            let mut read = make();
            while let Ok(question) = questions.recv() {
                if results.send(read(question)).is_err() {
                    return;
                }
            }
        });
        let asks =
            spawned.inspect_err(|error| tracing::error!(%error, name, "has no thread")).ok().map(|_| asks);
        Self { asks, answers, asked: None, late: false, last: None }
    }

    /// Puts a question, unless one is under way.
    pub fn ask(&mut self, question: Q) {
        if self.asked.is_none()
            && let Some(asks) = &self.asks
            && asks.try_send(question).is_ok()
        {
            self.asked = Some(Instant::now());
        }
    }

    /// The answer, waited for until `deadline`, or the last one where that is not old. Errors: why there is none.
    pub fn answer(&mut self, deadline: Instant) -> Result<A, Silence> {
        let Some(asked) = self.asked else { return Err(Silence::Ended) };
        let wait = match self.late {
            true => Duration::ZERO,
            false => deadline.saturating_duration_since(Instant::now()),
        };
        match self.answers.recv_timeout(wait) {
            Ok(answer) => {
                (self.asked, self.late) = (None, false);
                self.last = Some((Instant::now(), answer.clone()));
                Ok(answer)
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                self.late = true;
                let kept = self.last.as_ref().filter(|(at, _)| at.elapsed() < KEPT);
                kept.map(|(_, answer)| answer.clone()).ok_or_else(|| Silence::Waiting(asked.elapsed()))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                (self.asks, self.asked) = (None, None);
                Err(Silence::Ended)
            }
        }
    }

    /// Asks and waits.
    pub fn read(&mut self, question: Q, deadline: Instant) -> Result<A, Silence> {
        self.ask(question);
        self.answer(deadline)
    }

    /// The last answer, however old.
    pub fn last(&self) -> Option<&A> {
        self.last.as_ref().map(|(_, answer)| answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    fn in_time() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn one_that_hangs_is_waited_for_once_and_never_asked_beside() {
        let (go, gate) = mpsc::channel::<u32>();
        let asked = Arc::new(AtomicU32::new(0));
        let counter = asked.clone();
        let mut reader = Reader::start("test", move || {
            move |add: u32| {
                counter.fetch_add(1, Ordering::Relaxed);
                gate.recv().unwrap_or_default() + add
            }
        });
        assert!(matches!(reader.read(1, soon()), Err(Silence::Waiting(_))));
        for _ in 0..100 {
            // Would take 100 minutes if it waited.
            assert!(matches!(reader.read(1, in_time()), Err(Silence::Waiting(_))));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1, "one question is under way");
        go.send(40).unwrap();
        let deadline = in_time();
        let back = loop {
            match reader.read(2, in_time()) {
                Ok(value) => break value,
                Err(_) => assert!(Instant::now() < deadline, "it did not come back"),
            }
            std::thread::yield_now();
        };
        assert_eq!(back, 41, "the answer to the question that hung");
        go.send(50).unwrap();
        assert_eq!(reader.read(2, in_time()), Ok(52), "it is waited for again");
        assert_eq!(reader.read(3, soon()), Ok(52), "late again: the last reading is not old");
    }

    #[test]
    fn one_that_panics_has_ended() {
        fn read(_: ()) -> u32 {
            panic!("a chip that nobody knows")
        }
        let mut reader = Reader::start("panics", || read as fn(()) -> u32);
        assert_eq!(reader.read((), in_time()), Err(Silence::Ended));
        assert_eq!(reader.read((), in_time()), Err(Silence::Ended));
    }

    #[test]
    fn dropping_it_waits_for_nobody() {
        let (_go, gate) = mpsc::channel::<u32>();
        let mut reader = Reader::start("hangs", move || move |()| gate.recv().unwrap_or_default());
        assert!(reader.read((), soon()).is_err());
        drop(reader);
    }
}
