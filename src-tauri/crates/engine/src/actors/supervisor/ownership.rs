//! Whose a server is, and what that allows.

use pilothouse_domain::{Timestamp, server::Ownership};
use pilothouse_servers::Found;
use pilothouse_system::process::{Identity, OutputTail, OwnedProcess, ProcessSpec};
use std::path::PathBuf;

/// A process of ours.
pub(super) struct Own {
    pub process: OwnedProcess,
    /// Files that live as long as it.
    pub files: Vec<PathBuf>,
    /// An earlier life of ours started it at this time, and it has not answered this one yet.
    pub unheard: Option<Timestamp>,
}

/// One of somebody else, on this machine or elsewhere.
pub(super) struct Theirs {
    ownership: Ownership,
    pid: Option<u32>,
    /// The same process for sure, where the system shows it.
    identity: Option<Identity>,
    /// Who keeps that process, in words.
    keeper: Option<String>,
    /// Only its owner can end it.
    left_to_owner: bool,
    /// How it can be asked to stop.
    stop_commands: Option<Vec<ProcessSpec>>,
    /// Its log is followed while it is used.
    _log: Option<OutputTail>,
}

impl Theirs {
    pub fn new(
        ownership: Ownership,
        found: &Found,
        stop_commands: Option<Vec<ProcessSpec>>,
        log: Option<OutputTail>,
    ) -> Self {
        Self {
            ownership,
            pid: found.pid,
            identity: found.pid.and_then(Identity::of),
            keeper: found.keeper.clone(),
            left_to_owner: found.left_to_owner,
            stop_commands,
            _log: log,
        }
    }
}

/// Whose the server is that is connected. There is a process of ours, or somebody else's, never both.
#[derive(Default)]
pub(super) enum Owner {
    /// None runs that we know.
    #[default]
    Nobody,
    Ours(Own),
    Somebody(Theirs),
}

/// How a server is ended.
pub(super) enum WayDown {
    Process(OwnedProcess),
    Commands(Vec<ProcessSpec>),
    /// There is nothing to end.
    None,
}

impl Owner {
    pub fn ownership(&self) -> Option<Ownership> {
        match self {
            Self::Nobody => None,
            Self::Ours(_) => Some(Ownership::Ours),
            Self::Somebody(theirs) => Some(theirs.ownership),
        }
    }

    pub fn is(&self, ownership: Ownership) -> bool {
        self.ownership() == Some(ownership)
    }

    pub fn process(&self) -> Option<&OwnedProcess> {
        match self {
            Self::Ours(own) => Some(&own.process),
            _ => None,
        }
    }

    /// The process that answers, whosoever it is.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::Nobody => None,
            Self::Ours(own) => Some(own.process.pid()),
            Self::Somebody(theirs) => theirs.pid,
        }
    }

    /// The process of somebody else, for sure: it may have ended while another one has its number.
    pub fn foreign_process(&self) -> Option<Identity> {
        match self {
            Self::Somebody(theirs) => theirs.identity,
            _ => None,
        }
    }

    pub fn keeper(&self) -> Option<&str> {
        match self {
            Self::Somebody(theirs) => theirs.keeper.as_deref(),
            _ => None,
        }
    }

    /// Since when one of an earlier life of ours has not been heard.
    pub fn unheard(&self) -> Option<Timestamp> {
        match self {
            Self::Ours(own) => own.unheard,
            _ => None,
        }
    }

    pub fn heard(&mut self) {
        if let Self::Ours(own) = self {
            own.unheard = None;
        }
    }

    /// Takes our process out, for whoever ends it.
    pub fn take_own(&mut self) -> Option<Own> {
        match std::mem::take(self) {
            Self::Ours(own) => Some(own),
            other => {
                *self = other;
                None
            }
        }
    }

    pub fn way_down(&self) -> WayDown {
        match self {
            Self::Ours(own) => WayDown::Process(own.process.clone()),
            Self::Somebody(Theirs { stop_commands: Some(commands), .. }) => {
                WayDown::Commands(commands.clone())
            }
            _ => WayDown::None,
        }
    }

    /// Whether a person is offered to stop it. `ours`: whether that is so for one of ours.
    pub fn may_be_stopped(&self, ours: bool) -> bool {
        match self {
            Self::Ours(_) => ours,
            Self::Somebody(theirs) => {
                theirs.ownership == Ownership::Adopted && theirs.stop_commands.is_some()
            }
            Self::Nobody => false,
        }
    }

    /// Why it is not stopped although somebody asks, as the end of a sentence. `up`: whether it answers.
    pub fn refuses_stop(&self, up: bool) -> Option<&'static str> {
        let Self::Somebody(theirs) = self else { return None };
        match theirs.ownership {
            Ownership::Remote => Some("belongs to somebody else"),
            Ownership::Adopted if up && theirs.stop_commands.is_none() => {
                Some("was not started by Pilothouse")
            }
            _ => None,
        }
    }

    /// Whether a person is offered to take it over: not where only its owner can end it, whose command stands with its keeper.
    pub fn may_be_taken_over(&self) -> bool {
        match self {
            Self::Somebody(theirs) => {
                theirs.ownership == Ownership::Adopted && theirs.pid.is_some() && !theirs.left_to_owner
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::endpoint::Endpoint;

    fn somebody(ownership: Ownership, pid: Option<u32>, left: bool, stops: bool) -> Owner {
        let endpoint = Endpoint { base_url: "http://127.0.0.1:1".into(), key: None };
        let keeper = Some("kept by somebody".to_owned());
        let found = Found { endpoint, version: None, pid, keeper, left_to_owner: left, log: None };
        Owner::Somebody(Theirs::new(ownership, &found, stops.then(Vec::new), None))
    }

    /// This very process stands for one of ours; it is only looked at.
    fn ours(unheard: Option<Timestamp>) -> Owner {
        let identity = Identity::of(std::process::id()).unwrap();
        let process = OwnedProcess::readopt(identity).unwrap();
        Owner::Ours(Own { process, files: vec!["a".into()], unheard })
    }

    #[tokio::test]
    async fn what_may_be_done_follows_from_whose_it_is() {
        use Ownership::{Adopted, Remote};
        let foreign = Some("was not started by Pilothouse");
        let elsewhere = Some("belongs to somebody else");
        // Whose; whether a stop is offered; why it is refused while up; whether a take-over is offered.
        let table = [
            (Owner::Nobody, false, None, false),
            (ours(None), true, None, false),
            (somebody(Adopted, Some(7), false, true), true, None, true),
            (somebody(Adopted, Some(7), false, false), false, foreign, true),
            (somebody(Adopted, Some(7), true, false), false, foreign, false),
            (somebody(Adopted, None, false, false), false, foreign, false),
            (somebody(Remote, None, false, false), false, elsewhere, false),
            (somebody(Remote, Some(7), false, true), false, elsewhere, false),
        ];
        for (row, (owner, stop, refused, take_over)) in table.iter().enumerate() {
            assert_eq!(owner.may_be_stopped(true), *stop, "row {row}");
            assert_eq!(owner.refuses_stop(true), *refused, "row {row}");
            assert_eq!(owner.may_be_taken_over(), *take_over, "row {row}");
        }
        assert!(!ours(None).may_be_stopped(false), "not where its product cannot");
        assert_eq!(somebody(Adopted, None, false, false).refuses_stop(false), None, "it is down already");
    }

    #[tokio::test]
    async fn only_a_process_of_ours_is_ended_by_us() {
        let own = ours(None);
        assert!(matches!(own.way_down(), WayDown::Process(_)));
        assert_eq!((own.pid(), own.keeper()), (Some(std::process::id()), None));
        assert_eq!(own.foreign_process(), None);
        let here = somebody(Ownership::Adopted, Some(std::process::id()), false, false);
        assert_eq!(here.foreign_process(), Identity::of(std::process::id()));
        let stops = somebody(Ownership::Adopted, Some(7), false, true);
        assert!(matches!(stops.way_down(), WayDown::Commands(_)));
        assert_eq!((stops.pid(), stops.keeper()), (Some(7), Some("kept by somebody")));
        for mut owner in [Owner::Nobody, somebody(Ownership::Adopted, Some(7), false, false)] {
            let before = owner.ownership();
            assert!(matches!(owner.way_down(), WayDown::None) && owner.process().is_none());
            assert!(owner.take_own().is_none());
            assert_eq!(owner.ownership(), before, "nothing was taken");
        }
    }

    #[tokio::test]
    async fn one_that_was_taken_out_is_nobodys_and_one_that_was_heard_is_known() {
        let mut owner = ours(Some(Timestamp::UNIX_EPOCH));
        assert_eq!(owner.unheard(), Some(Timestamp::UNIX_EPOCH));
        owner.heard();
        assert_eq!(owner.unheard(), None);
        assert_eq!(owner.take_own().unwrap().files, [PathBuf::from("a")]);
        assert_eq!(owner.ownership(), None);
    }
}
