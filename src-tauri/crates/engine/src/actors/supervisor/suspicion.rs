//! Whether a server that runs also works: what makes it suspect, since when, and what was seen of its work meanwhile.

use pilothouse_domain::hang::{Complaint, Evidence, Finding, Reading, find};
use std::time::Duration;
use tokio::time::Instant;

/// The least time between two tokens that nobody asked for.
const TOKEN_EVERY: Duration = Duration::from_secs(10);

/// One token and one reading are under way at a time.
#[derive(Default)]
pub(super) struct Suspicion {
    /// An answer went wrong since the last token.
    aroused: bool,
    /// A token was asked for and is still to come.
    token_due: bool,
    token_asked_at: Option<Instant>,
    /// Since when it has given no token.
    mute_since: Option<Instant>,
    /// Since when it has given no answer at all.
    silent_since: Option<Instant>,
    /// What was seen of its work since there was a reason to read it.
    evidence: Evidence,
    reading: bool,
    /// What followed from the last reading.
    finding: Finding,
}

/// What complaint and evidence lead to.
pub(super) struct Judgement {
    pub finding: Finding,
    pub complaint: Complaint,
    pub changed: bool,
}

impl Suspicion {
    pub fn arouse(&mut self) {
        self.aroused = true;
    }

    /// Whether there is a reason to read its work: somebody waits for it, or a slot was busy.
    pub fn is_aroused(&self) -> bool {
        let waits = self.silent_since.is_some() || self.mute_since.is_some();
        waits || self.aroused || self.token_due || self.evidence.has_busy_slot()
    }

    pub fn answered(&mut self) {
        // Whoever was silent for a while may have lost more than its speech.
        self.aroused |= self.silent_since.take().is_some_and(|since| since.elapsed() > TOKEN_EVERY);
    }

    /// Whether the last question went unanswered.
    pub fn is_silent(&self) -> bool {
        self.silent_since.is_some()
    }

    pub fn silent(&mut self) {
        self.silent_since.get_or_insert_with(Instant::now);
    }

    /// Whether a token is to be asked for. `busy`: answers are under way; beside one that gets on, none is. `hang_ms`: beside one
    /// in which nothing has moved for so long, a token disturbs nobody and tells who is at fault.
    pub fn wants_token(&self, busy: bool, hang_ms: u64) -> bool {
        let rested = self.token_asked_at.is_none_or(|at| at.elapsed() >= TOKEN_EVERY);
        let stuck = self.evidence.still_ms() >= hang_ms.max(1);
        let reason = if busy { stuck } else { self.aroused || self.mute_since.is_some() };
        reason && rested && !self.token_due
    }

    pub fn awaits_token(&self) -> bool {
        self.token_due
    }

    /// A token is asked for.
    pub fn await_token(&mut self) {
        self.token_due = true;
        self.token_asked_at = Some(Instant::now());
    }

    /// As [`Self::await_token`], because something was suspect: that is settled by what comes.
    pub fn await_proof(&mut self) {
        self.await_token();
        self.aroused = false;
    }

    /// An answer to that has come, whatever it is.
    pub fn token_ended(&mut self) {
        self.token_due = false;
    }

    /// It spoke, or nobody is left who could. Whether it was mute before.
    pub fn spoke(&mut self) -> bool {
        self.mute_since.take().is_some()
    }

    /// There is nothing to ask: no suspicion is left. Whether it was mute before.
    pub fn cleared(&mut self) -> bool {
        self.aroused = false;
        self.spoke()
    }

    pub fn mute(&mut self) {
        self.mute_since.get_or_insert_with(Instant::now);
    }

    /// A question was not even put: time that passed so far proves nothing.
    pub fn unproven(&mut self) {
        self.silent_since = None;
        self.mute_since = None;
    }

    /// Answers of the connection before are not heard any more.
    pub fn forget_pending(&mut self) {
        self.token_due = false;
        self.reading = false;
    }

    /// Whether a reading may begin: none is under way.
    pub fn begin_reading(&mut self) -> bool {
        !std::mem::replace(&mut self.reading, true)
    }

    /// `now_ms`: a monotonic clock. Whether answers get on although a token did not come: it waited behind them.
    pub fn read(&mut self, now_ms: u64, reading: Reading) -> bool {
        self.reading = false;
        self.evidence.see(now_ms, reading);
        self.evidence.answers_get_on() && self.spoke()
    }

    /// There is no reason to read its work any more. Whether something was shown of it.
    pub fn forget_readings(&mut self) -> bool {
        self.evidence = Evidence::default();
        std::mem::take(&mut self.finding) != Finding::Fine
    }

    /// For how long nothing has moved in its processes; zero when that cannot be told.
    pub fn still_for(&self) -> Duration {
        Duration::from_millis(self.evidence.still_ms())
    }

    pub fn judge(&mut self, hang_ms: u64) -> Judgement {
        let ms = |since: Option<Instant>| since.map_or(0, |since| since.elapsed().as_millis() as u64);
        let complaint = Complaint { silent_ms: ms(self.silent_since), mute_ms: ms(self.mute_since) };
        let finding = find(complaint, &self.evidence, hang_ms);
        let changed = std::mem::replace(&mut self.finding, finding) != finding;
        Judgement { finding, complaint, changed }
    }

    /// What the last reading means for a person, beside the reason for which the server is shown as troubled.
    pub fn in_words(&self) -> Option<String> {
        match self.finding {
            Finding::Works(sign) => Some(format!("It is left alone, because {}.", sign.words())),
            Finding::CannotTell(why) => Some(format!(
                "Whether it works cannot be told: {why}. It is left alone; restart it if it hangs."
            )),
            Finding::Fine | Finding::Hangs { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::hang::{GpuWork, ProcessTime, Slot};

    const SECOND: Duration = Duration::from_secs(1);
    const HANG_MS: u64 = 60_000;

    fn reading(cpu_s: f64, done: Option<u64>) -> Reading {
        let time = ProcessTime { cpu_s, waited_pages: 0, wants: false };
        let slot = |done| Slot { id: 0, busy: true, task: Some(1), done };
        let slots = done.map(|done| (11, vec![slot(done)])).into_iter().collect();
        Reading { processes: Some([(7, time)].into()), slots, lines: Some(0), gpu: GpuWork::NotTold }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_wanted_for_a_reason_and_never_beside_an_answer_that_gets_on() {
        type Before = fn(&mut Suspicion);
        let stuck: Before = |suspicion| {
            suspicion.read(0, reading(1.0, Some(5)));
            suspicion.read(HANG_MS, reading(1.0, Some(5)));
        };
        // What happened before; whether a token is wanted while nobody else asks, and while answers are under way.
        let table: [(&str, Before, bool, bool); 7] = [
            ("nothing", |_| {}, false, false),
            ("an answer went wrong", Suspicion::arouse, true, false),
            ("it gave no token", Suspicion::mute, true, false),
            ("it is silent", Suspicion::silent, false, false),
            ("an answer stands still", stuck, false, true),
            (
                "one is asked for",
                |suspicion| {
                    suspicion.arouse();
                    suspicion.await_token();
                },
                false,
                false,
            ),
            (
                "one was asked for a moment ago",
                |suspicion| {
                    suspicion.await_proof();
                    suspicion.token_ended();
                    suspicion.mute();
                },
                false,
                false,
            ),
        ];
        for (name, before, alone, beside) in table {
            let mut suspicion = Suspicion::default();
            before(&mut suspicion);
            let wants = (suspicion.wants_token(false, HANG_MS), suspicion.wants_token(true, HANG_MS));
            assert_eq!(wants, (alone, beside), "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_silence_arouses_and_a_short_one_does_not() {
        for (seconds, aroused) in [(0, false), (9, false), (11, true), (600, true)] {
            let mut suspicion = Suspicion::default();
            suspicion.silent();
            tokio::time::advance(seconds * SECOND).await;
            suspicion.silent();
            assert!(suspicion.is_aroused(), "while it is silent");
            suspicion.answered();
            assert_eq!(suspicion.is_aroused(), aroused, "{seconds} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_it_could_not_be_asked_is_no_complaint() {
        for settle in [Suspicion::unproven, |suspicion: &mut Suspicion| *suspicion = Suspicion::default()] {
            let mut suspicion = Suspicion::default();
            suspicion.silent();
            suspicion.mute();
            tokio::time::advance(90 * SECOND).await;
            let complaint = suspicion.judge(HANG_MS).complaint;
            assert_eq!((complaint.silent_ms, complaint.mute_ms), (90_000, 90_000));
            settle(&mut suspicion);
            assert_eq!(suspicion.judge(HANG_MS).complaint, Complaint::default());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn muteness_behind_answers_that_get_on_is_forgiven_once() {
        let mut suspicion = Suspicion::default();
        suspicion.mute();
        assert!(!suspicion.read(0, reading(1.0, Some(5))), "one reading shows nothing");
        assert!(suspicion.read(4000, reading(1.0, Some(9))));
        assert!(!suspicion.read(8000, reading(1.0, Some(12))), "there is nothing left to forgive");
        let mut still = Suspicion::default();
        still.mute();
        still.read(0, reading(1.0, Some(5)));
        assert!(!still.read(4000, reading(1.0, Some(5))), "an answer that stands still forgives nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn a_finding_is_news_once_and_is_forgotten_with_its_reason() {
        let mut suspicion = Suspicion::default();
        assert!(suspicion.begin_reading() && !suspicion.begin_reading());
        suspicion.forget_pending();
        assert!(suspicion.begin_reading());
        suspicion.silent();
        suspicion.read(0, reading(1.0, None));
        tokio::time::advance(Duration::from_millis(HANG_MS)).await;
        suspicion.read(HANG_MS, reading(1.0, None));
        let first = suspicion.judge(HANG_MS);
        assert_eq!((first.finding, first.changed), (Finding::Hangs { still_ms: HANG_MS }, true));
        assert!(!suspicion.judge(HANG_MS).changed);
        assert!(suspicion.forget_readings() && !suspicion.forget_readings());
        assert_eq!(suspicion.still_for(), Duration::ZERO);
    }
}
