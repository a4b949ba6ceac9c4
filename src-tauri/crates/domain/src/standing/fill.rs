//! Fills a snapshot's standings in. The types know nothing of a snapshot, which holds them.

use super::{Circumstances, ServerStanding, Standing, active, row, server};
use crate::snapshot::Snapshot;

/// Fills in what holds, for the active model, all models and all servers.
pub fn fill(snapshot: &mut Snapshot, circumstances: &Circumstances) {
    let servers: Vec<ServerStanding> = snapshot.servers.iter().map(server::of).collect();
    for (view, standing) in snapshot.servers.iter_mut().zip(servers) {
        view.standing = standing;
    }
    snapshot.standing = active::of(snapshot, circumstances);
    let rows: Vec<Standing> = snapshot.models.iter().map(|view| row::of(view, snapshot)).collect();
    for (view, standing) in snapshot.models.iter_mut().zip(rows) {
        view.standing = standing;
    }
}
