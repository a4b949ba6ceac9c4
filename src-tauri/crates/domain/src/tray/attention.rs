//! When the icon asks for a look.

use crate::{
    lifecycle::ServerState,
    snapshot::{ServerView, Snapshot},
    standing::{Tone, failed_last},
};

/// Something needs a look: a server, the active model, Pilothouse itself, or a switch that was put back.
pub(super) fn is_wanted(snapshot: &Snapshot) -> bool {
    let troubled = |server: &ServerView| {
        matches!(
            server.state,
            ServerState::GaveUp | ServerState::Failed | ServerState::NotOurs | ServerState::Degraded
        )
    };
    snapshot.servers.iter().any(troubled)
        || matches!(snapshot.standing.tone, Tone::Attention | Tone::Broken)
        || !snapshot.troubles.is_empty()
        || failed_last(snapshot).is_some()
}
