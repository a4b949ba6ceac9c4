//! Whether the failure of the last switch is still worth a warning.

use crate::{
    error::ErrorCode,
    lifecycle::ServerState,
    model::ModelRef,
    notice::NoticeLevel,
    snapshot::{ModelView, Snapshot},
    switch::{SwitchOutcome, SwitchReport},
};

/// The last switch, while its warning still stands: it was put back, nobody has taken its notice off the list, and what
/// it failed for still holds, as far as that can be told. The next switch ends it in any case.
pub fn failure(snapshot: &Snapshot) -> Option<&SwitchReport> {
    snapshot.last_switch.as_ref().filter(|last| stands(last, snapshot))
}

/// Why the last switch to this model failed, while that stands.
pub(super) fn failure_of(snapshot: &Snapshot, model: &ModelRef) -> Option<String> {
    let last = failure(snapshot).filter(|last| last.to == *model)?;
    last.error.as_ref().map(|error| error.message.clone()).or_else(|| last.reason.clone())
}

fn stands(last: &SwitchReport, snapshot: &Snapshot) -> bool {
    if last.outcome != SwitchOutcome::RolledBack {
        return false;
    }
    let told = snapshot
        .notices
        .iter()
        .any(|notice| notice.level != NoticeLevel::Info && notice.server.as_ref() == Some(&last.to.server));
    told && !is_over(last, snapshot)
}

fn is_over(last: &SwitchReport, snapshot: &Snapshot) -> bool {
    // Its server is not used any more: nobody can be helped by a warning.
    let Some(server) = snapshot.server(&last.to.server) else { return true };
    let up = server.state == ServerState::Ready;
    let view = snapshot.models.iter().find(|view| view.model.reference() == last.to);
    // It is in memory after all, or its file is gone.
    if view.map_or(up, |view| view.loaded) {
        return true;
    }
    match last.error.as_ref().map(|error| error.code) {
        // What was missing was the server.
        Some(
            ErrorCode::NotInstalled
            | ErrorCode::NotOurs
            | ErrorCode::PortTaken
            | ErrorCode::ServerCrashed
            | ErrorCode::Unreachable
            | ErrorCode::Unauthorized
            | ErrorCode::CpuTooOld,
        ) => up,
        Some(ErrorCode::DoesNotFit) => view.is_some_and(|view| has_room(view, snapshot)),
        // A load or a proof that failed is better only once it is tried again.
        _ => false,
    }
}

/// Whether a model fits beside what is in memory now. What a switch would free does not count: it was not enough before.
fn has_room(view: &ModelView, snapshot: &Snapshot) -> bool {
    let free = snapshot.ledger.as_ref().and_then(|ledger| match view.off_card {
        true => ledger.on_processor().map(|ledger| ledger.headroom_bytes),
        false => Some(ledger.headroom_bytes),
    });
    view.needed_bytes.or(view.model.size_bytes).zip(free).is_some_and(|(needed, free)| needed <= free)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Timestamp,
        error::ApiError,
        ledger::Ledger,
        notice::{Notice, NoticeKind},
        tray::fixtures::snapshot,
    };

    /// A switch to `llama-server/model-0` was put back for this reason, and that was told.
    fn put_back(code: ErrorCode) -> Snapshot {
        let mut snapshot = snapshot(1);
        let error = ApiError::new(code, "It went wrong.");
        snapshot.last_switch = Some(SwitchReport {
            switch_id: 1,
            from: None,
            to: ModelRef::new("llama-server", "model-0"),
            outcome: SwitchOutcome::RolledBack,
            dry_run: false,
            took_ms: 1,
            load_ms: None,
            first_token_ms: None,
            steps: vec![],
            journalled: true,
            answers_cut: 0,
            reason: None,
            error: Some(error),
        });
        snapshot.notices.push(Notice {
            id: 1,
            at: Timestamp::UNIX_EPOCH,
            level: NoticeLevel::Attention,
            title: "Put back Model 0".into(),
            body: "It went wrong.".into(),
            hint: None,
            server: Some("llama-server".into()),
            kind: NoticeKind::Switch,
            acts: vec![],
            own: true,
        });
        snapshot
    }

    fn free(bytes: u64) -> Option<Ledger> {
        let ledger = serde_json::json!({
            "at": "1970-01-01T00:00:00Z", "pools": [], "in_use_bytes": 0, "reserve_bytes": 0,
            "ceiling": { "bytes": 1, "source": "", "on_gpu": false }, "headroom_bytes": bytes, "unknown": [],
        });
        Some(serde_json::from_value(ledger).unwrap())
    }

    #[test]
    fn the_warning_of_a_switch_that_was_put_back_goes_with_its_cause() {
        use ErrorCode as E;
        type Change = fn(&mut Snapshot);
        let same: Change = |_| {};
        let down: Change = |s| s.servers[0].state = ServerState::Stopped;
        let loaded: Change = |s| s.models[0].loaded = true;
        let unlisted: Change = |s| drop(s.models.remove(0));
        let dismissed: Change = |s| s.notices.clear();
        let removed: Change = |s| drop(s.servers.remove(0));
        let told_otherwise: Change = |s| s.notices[0].level = NoticeLevel::Info;
        let done: Change = |s| s.last_switch.as_mut().unwrap().outcome = SwitchOutcome::Committed;
        let taken_back: Change = |s| s.last_switch.as_mut().unwrap().outcome = SwitchOutcome::Cancelled;
        let room: Change = |s| (s.models[0].needed_bytes, s.ledger) = (Some(5), free(5));
        let short: Change = |s| (s.models[0].needed_bytes, s.ledger) = (Some(5), free(4));
        for (code, what, change, wanted) in [
            (E::LoadFailed, "a damaged file", same, true),
            (E::ProofFailed, "no token", same, true),
            (E::TimedOut, "too slow", same, true),
            (E::Internal, "a mistake of ours", same, true),
            (E::LoadFailed, "loaded by its owner", loaded, false),
            (E::LoadFailed, "the file was removed", unlisted, false),
            (E::LoadFailed, "its server was removed", removed, false),
            (E::LoadFailed, "its server is down", down, true),
            (E::LoadFailed, "dismissed", dismissed, false),
            (E::LoadFailed, "only good news of it", told_otherwise, false),
            (E::LoadFailed, "switched again", done, false),
            (E::LoadFailed, "cancelled since", taken_back, false),
            (E::ServerCrashed, "the server is down", down, true),
            (E::ServerCrashed, "the server is back", same, false),
            (E::NotInstalled, "it was installed and started", same, false),
            (E::PortTaken, "it has its port", same, false),
            (E::DoesNotFit, "nothing is known of memory", same, true),
            (E::DoesNotFit, "still short", short, true),
            (E::DoesNotFit, "memory was freed", room, false),
            (E::LoadFailed, "memory helps no damaged file", room, true),
        ] {
            let mut snapshot = put_back(code);
            change(&mut snapshot);
            assert_eq!(failure(&snapshot).is_some(), wanted, "{code:?}, {what}");
        }
    }
}
