//! The life of one server as a state machine: `(State, Event) -> (State, Vec<Effect>)`.
//!
//! The supervisor actor feeds events in and carries effects out; nothing here waits, spawns or asks the time.

use crate::backoff::{Crashes, RestartPolicy, Verdict};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Where a server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum ServerState {
    /// Its program is not on this machine and nothing answers at its address.
    NotInstalled,
    /// Not running, and that is wanted (or nobody asked yet).
    Stopped,
    /// Process started or about to be restarted; not answering yet.
    Starting,
    /// Answers.
    Ready,
    /// Alive but did not answer the last probes.
    Degraded,
    /// On its way down because somebody asked.
    Stopping,
    /// Could not be started or was lost; the reason says why.
    Failed,
    /// Crashed too often in a short time; waits for a person.
    GaveUp,
    /// Another program holds its address; the reason names it.
    NotOurs,
}

impl ServerState {
    /// Whether a request could be answered.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded)
    }
}

/// Something that happened to a server.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A person or the switcher wants it up.
    StartWanted,
    /// A person or our own end wants it down.
    StopWanted,
    /// The program was looked for and is not there.
    ProgramMissing,
    /// The program is there (again).
    ProgramFound,
    /// A running server that is not ours answers at the address.
    FoundRunning,
    /// Our process was spawned.
    Spawned,
    /// It could not be spawned or never became ready.
    StartFailed { reason: String },
    /// A probe was answered.
    Answered,
    /// A probe was not answered.
    Silent { reason: String },
    /// The process ended. `wanted` is false when nobody asked for it. `now_ms` is a monotonic clock.
    Exited { reason: String, now_ms: u64, jitter: f64 },
    /// The backoff is over.
    BackoffOver,
    /// It was asked to stop and goes on.
    StopFailed,
    /// An adopted server no longer answers at all.
    Gone { reason: String },
    /// A program that is not this server holds the address.
    PortHeld { reason: String },
    /// Nobody holds the address any more.
    PortFree,
    /// It answers its API, but a model in its memory gave no token.
    Mute { reason: String },
    /// A model in its memory gave a token.
    Spoke,
    /// A process of ours has been silent or mute for longer than the policy allows.
    Hung { reason: String },
}

/// What the supervisor must do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Spawn,
    Stop,
    /// Wait this long, then report `BackoffOver`.
    RestartAfter {
        ms: u64,
    },
    CancelRestart,
    /// End the process without asking: it does not listen any more. Its end comes back as `Exited`.
    Kill,
}

/// State plus the memory that decisions need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    pub state: ServerState,
    /// Why it stands there, in words; empty when nothing needs saying.
    pub reason: Option<String>,
    /// Restarts after a crash since Pilothouse started.
    pub restarts: u32,
    crashes: Crashes,
    silent: u32,
    /// Why it counts as degraded although it answers; until it speaks again.
    mute: Option<String>,
}

/// Probes in a row that may stay unanswered before a ready server counts as degraded.
const SILENT_PROBES: u32 = 2;

impl Life {
    pub fn new(state: ServerState) -> Self {
        Self { state, reason: None, restarts: 0, crashes: Crashes::default(), silent: 0, mute: None }
    }

    /// Takes one event; returns what must be done. Events that mean nothing in the present state change nothing.
    pub fn on(&mut self, event: Event, policy: &RestartPolicy) -> Vec<Effect> {
        use ServerState as S;
        match (self.state, event) {
            (S::Stopped | S::Failed | S::GaveUp | S::NotOurs, Event::StartWanted) => {
                self.crashes = Crashes::default();
                self.to(S::Starting, None);
                vec![Effect::Spawn]
            }
            (S::Starting | S::Ready | S::Degraded, Event::StopWanted) => {
                self.to(S::Stopping, None);
                vec![Effect::CancelRestart, Effect::Stop]
            }
            (S::Failed | S::GaveUp | S::NotOurs, Event::StopWanted) => {
                self.to(S::Stopped, None);
                vec![Effect::CancelRestart]
            }
            (S::Stopped | S::Failed | S::NotInstalled | S::Starting, Event::ProgramMissing) => {
                self.to(S::NotInstalled, None);
                vec![Effect::CancelRestart]
            }
            (S::NotInstalled, Event::ProgramFound) => {
                self.to(S::Stopped, None);
                vec![]
            }
            (S::Stopping, Event::FoundRunning) => vec![],
            (_, Event::FoundRunning) => {
                self.silent = 0;
                self.to(S::Ready, None);
                vec![Effect::CancelRestart]
            }
            (S::Degraded, Event::Answered) if self.mute.is_some() => {
                self.silent = 0;
                self.reason.clone_from(&self.mute);
                vec![]
            }
            (S::Starting | S::Degraded, Event::Answered) => {
                self.silent = 0;
                self.to(S::Ready, None);
                vec![]
            }
            (S::Ready | S::Degraded, Event::Mute { reason }) => {
                self.mute = Some(reason.clone());
                self.to(S::Degraded, Some(reason));
                vec![]
            }
            (S::Degraded, Event::Spoke) => {
                self.mute = None;
                self.to(S::Ready, None);
                vec![]
            }
            (S::Ready | S::Degraded, Event::Hung { reason }) => {
                self.to(S::Degraded, Some(reason));
                vec![Effect::Kill]
            }
            (
                S::Stopped | S::Failed | S::NotInstalled | S::Starting | S::NotOurs,
                Event::PortHeld { reason },
            ) => {
                self.to(S::NotOurs, Some(reason));
                vec![Effect::CancelRestart]
            }
            (S::NotOurs, Event::PortFree) => {
                self.to(S::Stopped, None);
                vec![]
            }
            (S::Ready, Event::Answered) => {
                self.silent = 0;
                vec![]
            }
            (S::Ready | S::Degraded, Event::Silent { reason }) => {
                self.silent += 1;
                if self.silent >= SILENT_PROBES {
                    self.to(S::Degraded, Some(reason));
                }
                vec![]
            }
            (S::Stopping, Event::StopFailed) => {
                self.to(S::Ready, None);
                vec![]
            }
            (S::Starting, Event::StartFailed { reason }) => {
                self.to(S::Failed, Some(reason));
                vec![Effect::CancelRestart]
            }
            (S::Stopping, Event::Exited { .. } | Event::Gone { .. }) => {
                self.to(S::Stopped, None);
                vec![]
            }
            (S::Starting | S::Ready | S::Degraded, Event::Exited { reason, now_ms, jitter }) => {
                self.crashed(reason, now_ms, jitter, policy)
            }
            (S::Starting, Event::BackoffOver) => {
                self.restarts += 1;
                vec![Effect::Spawn]
            }
            (S::Ready | S::Degraded | S::Starting, Event::Gone { reason }) => {
                self.to(S::Stopped, Some(reason));
                vec![]
            }
            _ => vec![],
        }
    }

    /// Tells that the server has been well for a while, so that old crashes count no longer.
    pub fn healthy_for(&mut self, ms: u64, policy: &RestartPolicy) {
        if self.state == ServerState::Ready && ms >= policy.reset_after_ms {
            self.crashes = Crashes::default();
        }
    }

    fn crashed(&mut self, reason: String, now_ms: u64, jitter: f64, policy: &RestartPolicy) -> Vec<Effect> {
        match self.crashes.note(now_ms, jitter, policy) {
            Verdict::RestartAfter { ms } => {
                self.to(ServerState::Starting, Some(reason));
                vec![Effect::RestartAfter { ms }]
            }
            Verdict::GiveUp { crashes, within_ms } => {
                let text = format!("{reason}; stopped {crashes} times within {} s", within_ms.div_ceil(1000));
                self.to(ServerState::GaveUp, Some(text));
                vec![]
            }
        }
    }

    fn to(&mut self, state: ServerState, reason: Option<String>) {
        if !state.is_up() {
            self.mute = None;
        }
        self.state = state;
        self.reason = reason;
    }
}

#[cfg(test)]
mod tests;
