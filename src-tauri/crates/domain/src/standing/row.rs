use super::{
    Holds, RowAct, Standing, Tone, circumstances::phase_word, in_a_line, last_switch, server::can_be_started,
};
use crate::{
    model::ModelPurpose,
    snapshot::{ModelView, Snapshot},
    switch::SwitchPhase,
};

/// What holds for a model of the list. The snapshot's servers and its active model have their standing already.
pub(super) fn of(view: &ModelView, snapshot: &Snapshot) -> Standing {
    if let Some(why) = &view.model.damaged {
        let damaged = told(Holds::Damaged, Tone::Broken, "damaged", RowAct::None);
        return Standing { reason: Some(why.clone()), ..damaged };
    }
    if view.model.purpose != ModelPurpose::Llm {
        let word = if view.loaded { "loaded" } else { "on disk" };
        return told(Holds::Other, Tone::Idle, word, RowAct::None);
    }
    if let Some(switching) = &snapshot.switching
        && switching.to == view.model.reference()
    {
        let holds = match switching.phase {
            SwitchPhase::PuttingBack => Holds::PuttingBack,
            _ => Holds::Loading,
        };
        return told(holds, Tone::Busy, phase_word(switching), RowAct::Cancel);
    }
    if view.active {
        return active(snapshot);
    }
    idle(view, snapshot)
}

fn told(holds: Holds, tone: Tone, word: &str, act: RowAct) -> Standing {
    Standing { holds, tone, word: word.into(), reason: None, act }
}

/// The row of the active model says what the head says, in the middle of a line.
fn active(snapshot: &Snapshot) -> Standing {
    let head = &snapshot.standing;
    let word = match head.holds {
        Holds::Ready | Holds::Answering | Holds::Measuring | Holds::Waiting => "active".into(),
        Holds::Disturbed => "active, with trouble".into(),
        _ => in_a_line(&head.word),
    };
    // What its answers do is said in the head; here it is what answers.
    let tone = match head.holds {
        Holds::Answering | Holds::Measuring => Tone::Good,
        _ => head.tone,
    };
    Standing { holds: head.holds, tone, word, reason: head.reason.clone(), act: head.act }
}

fn idle(view: &ModelView, snapshot: &Snapshot) -> Standing {
    if let Some(why) = last_switch::failure_of(snapshot, &view.model.reference()) {
        let failed = told(Holds::Failed, Tone::Attention, "could not be made active", RowAct::Switch);
        return Standing { reason: Some(why), ..failed };
    }
    let server = snapshot.server(&view.model.server);
    if let Some(server) = server.filter(|server| !server.state.is_up()) {
        if can_be_started(server) {
            return told(Holds::OnDisk, Tone::Idle, "on disk", RowAct::StartAndLoad);
        }
        let word = in_a_line(&server.standing.word);
        return Standing {
            reason: server.reason.clone(),
            ..told(Holds::OnDisk, Tone::Idle, &word, RowAct::Switch)
        };
    }
    if view.loaded {
        return told(Holds::Loaded, Tone::Idle, "loaded", RowAct::Switch);
    }
    if snapshot.is_elsewhere(&view.model.server) {
        return told(Holds::Remote, Tone::Idle, "", RowAct::Switch);
    }
    if view.fits == Some(false) {
        let misfit = told(Holds::DoesNotFit, Tone::Attention, "does not fit", RowAct::Switch);
        return Standing { reason: Some(view.fits_reason.clone()), ..misfit };
    }
    told(Holds::OnDisk, Tone::Idle, "on disk", RowAct::Switch)
}
