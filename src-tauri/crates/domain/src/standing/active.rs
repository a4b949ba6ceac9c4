use super::{
    ActiveStanding, Holds, RowAct, Tone,
    circumstances::{Circumstances, about},
    server::can_be_started,
};
use crate::{
    lifecycle::ServerState,
    snapshot::{ServerView, Snapshot},
    switch::{Active, SwitchPhase, Switching},
};

/// What holds for the active model. The servers of the snapshot have their standing already.
pub(super) fn of(snapshot: &Snapshot, circumstances: &Circumstances) -> ActiveStanding {
    let Circumstances { answering, waiting, .. } = *circumstances;
    let Some(active) = &snapshot.active else {
        let none = ActiveStanding { word: "No active model".into(), ..ActiveStanding::default() };
        return ActiveStanding { answering, waiting, first: behind_switch(snapshot), ..none };
    };
    let found = match &snapshot.switching {
        Some(switching) => switched(snapshot, active, switching, circumstances.held),
        None => None,
    };
    let held = circumstances.held.then(|| {
        let reason = "Requests wait until a measurement has ended.";
        ActiveStanding { reason: Some(reason.into()), ..told(Holds::Waiting, Tone::Waiting, "Waiting") }
    });
    let server = snapshot.server(&active.server);
    let standing = found.or_else(|| down(server)).or(held).unwrap_or_else(|| up(snapshot, active, answering));
    let first = first(snapshot, active, &standing, circumstances);
    ActiveStanding { answering, waiting, first, ..standing }
}

fn told(holds: Holds, tone: Tone, word: &str) -> ActiveStanding {
    ActiveStanding { holds, tone, word: word.into(), ..ActiveStanding::default() }
}

/// What a switch under way means for what is active; `None`: nothing yet.
fn switched(
    snapshot: &Snapshot,
    active: &Active,
    switching: &Switching,
    held: bool,
) -> Option<ActiveStanding> {
    if switching.to == active.reference() {
        let up = snapshot.server(&active.server).is_some_and(|server| server.state.is_up());
        let standing = match switching.phase {
            SwitchPhase::Preparing if !up => told(Holds::Starting, Tone::Busy, "Starting its server"),
            SwitchPhase::PuttingBack => told(Holds::PuttingBack, Tone::Busy, "Putting back"),
            _ => told(Holds::Loading, Tone::Busy, "Loading"),
        };
        return Some(ActiveStanding { act: RowAct::Cancel, ..standing });
    }
    if switching.phase == SwitchPhase::PuttingBack && held {
        return Some(told(Holds::PuttingBack, Tone::Busy, "Putting back"));
    }
    held.then(|| {
        let to = snapshot.model_title(&switching.to.server, &switching.to.model);
        let reason = Some(format!("Requests wait until {to} answers."));
        ActiveStanding { reason, ..told(Holds::Waiting, Tone::Waiting, "Waiting") }
    })
}

/// Its server does not answer at all; `None`: it does.
fn down(server: Option<&ServerView>) -> Option<ActiveStanding> {
    let Some(server) = server else {
        let reason = Some("Its server is not in the settings any more.".into());
        return Some(ActiveStanding { reason, ..told(Holds::CannotAnswer, Tone::Broken, "Cannot answer") });
    };
    if server.state.is_up() {
        return None;
    }
    let holds = if server.state == ServerState::Starting { Holds::Starting } else { Holds::Stopped };
    let act = if can_be_started(server) { RowAct::StartAndLoad } else { RowAct::None };
    let standing = told(holds, server.standing.tone, &server.standing.word);
    Some(ActiveStanding { act, reason: server.reason.clone(), ..standing })
}

/// Its server answers.
fn up(snapshot: &Snapshot, active: &Active, answering: u32) -> ActiveStanding {
    if let Some(why) = &snapshot.active_absent {
        let standing = told(Holds::CannotAnswer, Tone::Attention, "Cannot answer");
        return ActiveStanding { reason: Some(why.clone()), act: RowAct::Load, ..standing };
    }
    if !in_memory(snapshot, active) {
        return ActiveStanding { act: RowAct::Load, ..told(Holds::NotLoaded, Tone::Idle, "Not loaded") };
    }
    let server = snapshot.server(&active.server).filter(|server| server.state == ServerState::Degraded);
    if let Some(server) = server {
        let standing = told(Holds::Disturbed, Tone::Attention, "Ready with trouble");
        return ActiveStanding { reason: server.reason.clone(), ..standing };
    }
    let measured =
        |bench: &crate::bench::BenchProgress| bench.server == active.server && bench.model == active.model;
    if snapshot.bench.as_ref().is_some_and(measured) {
        return told(Holds::Measuring, Tone::Busy, "Measuring");
    }
    match answering {
        0 => told(Holds::Ready, Tone::Good, "Ready"),
        1 => told(Holds::Answering, Tone::Busy, "Answering"),
        several => told(Holds::Answering, Tone::Busy, &format!("Answering {several}")),
    }
}

/// Whether it can be asked without a load; where that is not told, it can.
fn in_memory(snapshot: &Snapshot, active: &Active) -> bool {
    snapshot.is_remote(&active.server)
        || snapshot.instances.iter().any(|one| one.server == active.server && one.id == active.instance)
}

/// What a question has to wait for.
fn first(
    snapshot: &Snapshot,
    active: &Active,
    standing: &ActiveStanding,
    circumstances: &Circumstances,
) -> Option<String> {
    if snapshot.switching.is_some() {
        return behind_switch(snapshot);
    }
    let title = snapshot.model_title(&active.server, &active.model);
    let takes = match circumstances.load_s(&active.reference()) {
        Some(seconds) => format!("; the load takes {}", about(seconds)),
        None => String::new(),
    };
    match standing.act {
        RowAct::StartAndLoad => {
            let server = snapshot.server_title(&active.server);
            Some(format!("Starts {server} and loads {title} first{takes}."))
        }
        RowAct::Load => Some(format!("Loads {title} first{takes}.")),
        _ => None,
    }
}

/// A question waits for the switch under way.
fn behind_switch(snapshot: &Snapshot) -> Option<String> {
    let switching = snapshot.switching.as_ref()?;
    let title = snapshot.model_title(&switching.to.server, &switching.to.model);
    let left = switching.eta_s.map_or_else(String::new, |eta| format!(", {}", about(eta)));
    let again = snapshot.active.as_ref().is_some_and(|active| active.reference() == switching.to);
    Some(match again {
        true => format!("Waits until {title} is loaded{left}."),
        false => format!("Waits for the switch to {title}{left}."),
    })
}
