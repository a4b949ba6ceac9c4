use super::{ServerStanding, Tone};
use crate::{lifecycle::ServerState, server::Ownership, snapshot::ServerView};

/// What holds for a server.
pub(super) fn of(view: &ServerView) -> ServerStanding {
    let (tone, word) = match (view.state, view.ownership) {
        // Nobody here could have started it.
        (ServerState::Failed, Some(Ownership::Remote)) => (Tone::Broken, "Not reached"),
        (ServerState::NotInstalled, _) => (Tone::Idle, "Not installed"),
        (ServerState::Stopped, _) => (Tone::Idle, "Stopped"),
        (ServerState::Starting, _) => (Tone::Busy, "Starting"),
        (ServerState::Ready, _) => (Tone::Good, "Ready"),
        (ServerState::Degraded, _) => (Tone::Attention, "Ready with trouble"),
        (ServerState::Stopping, _) => (Tone::Busy, "Stopping"),
        (ServerState::Failed, _) => (Tone::Broken, "Failed"),
        (ServerState::GaveUp, _) => (Tone::Broken, "Gave up restarting"),
        (ServerState::NotOurs, _) => (Tone::Attention, "Address held by another program"),
    };
    ServerStanding { tone, word: word.into() }
}

/// Whether a click may start it.
pub(super) fn can_be_started(view: &ServerView) -> bool {
    let down = matches!(
        view.state,
        ServerState::Stopped | ServerState::Failed | ServerState::GaveUp | ServerState::NotOurs
    );
    down && view.abilities.start && view.ownership != Some(Ownership::Remote)
}
