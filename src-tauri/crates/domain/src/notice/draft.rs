//! The words for each happening.

use super::{Draft, Happening, NoticeAct, NoticeKind, NoticeLevel, seconds};
use crate::{
    Timestamp, container,
    error::{ApiError, about},
    model::ModelRef,
    server::ServerId,
};

/// The words for a happening.
pub fn draft(happening: &Happening) -> Draft {
    use Happening as H;
    match happening {
        H::Switched { to, title, server_title, took_ms, first_token_ms, again, own, undo } => {
            let first = first_token_ms.map(|ms| format!(", first token {ms} ms")).unwrap_or_default();
            let body = format!("On {server_title}, after {}{first}.", seconds(*took_ms));
            let incident = format!("{}:{}", if *again { "again" } else { "switch" }, deed(&to.id(), *undo));
            let title = format!("{title} is active{}", if *again { " again" } else { "" });
            Draft::new(NoticeLevel::Info, NoticeKind::Switch, title, body, incident)
                .server(&to.server)
                .acts(take_back(*undo))
                .own(*own)
        }
        H::PutBack { to, title, kept, error, own } => {
            let head = match kept {
                Some(kept) => format!("Put back {kept}"),
                None => format!("{title} could not be made active"),
            };
            let body = about(title, &[title, &to.model], &error.message);
            let incident = format!("put-back:{}", to.id());
            Draft::new(NoticeLevel::Attention, NoticeKind::Switch, head, body, incident)
                .hint(error.hint.clone())
                .server(&to.server)
                .acts([show_log(&to.server)])
                .own(*own)
        }
        H::SceneApplied { scene, took_ms, undo } => {
            let name = scene.as_deref().unwrap_or("A set of roles");
            let incident = format!("scene:{}", deed(name, *undo));
            let (title, body) = (format!("{name} is in force"), format!("After {}.", seconds(*took_ms)));
            Draft::new(NoticeLevel::Info, NoticeKind::Switch, title, body, incident)
                .acts(take_back(*undo))
                .own(true)
        }
        H::GaveWay { title, why } => {
            let body = format!("It was idle, and {why}. It comes back with the next request.");
            let head = format!("{title} left memory");
            Draft::new(NoticeLevel::Info, NoticeKind::Switch, head, body, "gave-way".into())
        }
        H::ScenePutBack { scene, error, refused } => {
            let name = scene.as_deref().unwrap_or("The set of roles");
            let title = format!("{name} could not be applied");
            let after = if *refused { "Nothing was changed." } else { "What was before is back." };
            let body = format!("{} {after}", error.message);
            Draft::new(NoticeLevel::Attention, NoticeKind::Switch, title, body, format!("scene-back:{name}"))
                .hint(error.hint.clone())
                .own(true)
        }
        H::ActiveForgotten { server, title } => {
            let body = format!("{title} was, and its server {server} is not in the settings any more.");
            let (head, incident) = ("No model is active".into(), format!("forgotten:{server}"));
            // There is no such server to look at.
            Draft::new(NoticeLevel::Attention, NoticeKind::Switch, head, body, incident)
                .hint(Some("Switch to another model.".into()))
        }
        H::CutOffSwitch { to, committed, active } => cut_off(to, *committed, active.as_deref()),
        H::CrashedAndBack { server, server_title, reason, away_ms } => of_server(
            // It is over: nothing is left to be done.
            NoticeLevel::Info,
            server,
            format!("{server_title} is back"),
            format!("It ended by itself ({reason}) and answers again after {}.", seconds(*away_ms)),
            "back",
        ),
        H::GaveUp { server, server_title, reason } => of_server(
            NoticeLevel::Problem,
            server,
            format!("{server_title} keeps stopping; not restarting"),
            format!("{reason}."),
            "gave-up",
        )
        .hint(Some("Look at its log, then start it again.".into()))
        .acts([show_log(server), start_again(server)]),
        H::CannotStart { server, server_title, error } => of_server(
            NoticeLevel::Problem,
            server,
            format!("{server_title} could not be started"),
            error.message.clone(),
            "start",
        )
        .hint(error.hint.clone())
        .acts([show_log(server), start_again(server)]),
        H::LostModel { server, server_title, title } => {
            let lost = of_server(
                NoticeLevel::Attention,
                server,
                format!("{title} left memory by itself"),
                format!(
                    "Its process at {server_title} has ended. If it is the active model, it is loaded again."
                ),
                "lost",
            );
            Draft { incident: format!("lost:{server}:{title}"), ..lost }
                .hint(Some("Look at the server's log; memory may have run out.".into()))
        }
        H::Hung { server, server_title, reason } => of_server(
            NoticeLevel::Attention,
            server,
            format!("{server_title} hung"),
            format!("{reason}. It was ended and is started again."),
            "hung",
        ),
        H::BenchDone { run_id, title, server_title, decode_tok_s, ttft_ms, mark } => {
            let rate = decode_tok_s.map_or("no decode rate".into(), |rate| format!("{rate:.1} tok/s"));
            let first = ttft_ms.map(|ms| format!(", first token {ms:.0} ms")).unwrap_or_default();
            let mark = mark.as_ref().map(|mark| format!(" ({mark})")).unwrap_or_default();
            let body = format!("On {server_title}: {rate}{first}{mark}.");
            of_benchmark(
                NoticeLevel::Info,
                format!("Benchmark of {title} is done"),
                body,
                format!("bench:{title}"),
            )
            .acts([NoticeAct::ShowRun { run_id: *run_id }])
            .own(true)
        }
        H::BenchFailed { title, error } => {
            let head = format!("Benchmark of {title} stopped");
            of_benchmark(NoticeLevel::Attention, head, error.message.clone(), format!("bench-failed:{title}"))
                .hint(error.hint.clone())
                .own(true)
        }
        H::GrewWorse { title, server_title, words, since_run } => {
            let (head, incident) =
                (format!("{title} grew worse at {server_title}"), format!("worse:{title}:{since_run}"));
            of_benchmark(NoticeLevel::Attention, head, words.clone(), incident)
                .hint(Some(format!("If that is as it shall be: pilothouse baseline accept {since_run}")))
                .acts([NoticeAct::ShowRun { run_id: *since_run }])
        }
        H::ContainersInTrouble { problem, containers } => container::draft(*problem, containers),
        H::Trouble { error } => of_trouble(error),
        H::OutOfSight => {
            let body = "This desktop shows no tray icons, so nothing of it is to be seen.".into();
            let (title, incident) = ("Pilothouse goes on".into(), "out-of-sight".into());
            Draft::new(NoticeLevel::Info, NoticeKind::Pilothouse, title, body, incident)
                .hint(Some("To see it, start Pilothouse again or run “pilothouse open”.".into()))
        }
        H::NotSwitched { error } => {
            let incident = format!("not-switched:{}", error.message);
            let (title, body) = ("Not switched".into(), error.message.clone());
            Draft::new(NoticeLevel::Attention, NoticeKind::Switch, title, body, incident)
                .hint(error.hint.clone())
        }
    }
}

/// What can be taken back is a deed of its own each time, however soon it follows the last one.
fn deed(of: &str, undo: Option<Timestamp>) -> String {
    undo.map_or_else(|| of.to_owned(), |until| format!("{of}:{until}"))
}

fn take_back(until: Option<Timestamp>) -> Vec<NoticeAct> {
    until.map(|until| NoticeAct::Undo { until }).into_iter().collect()
}

fn show_log(server: &ServerId) -> NoticeAct {
    NoticeAct::ShowLog { server: server.clone() }
}

fn start_again(server: &ServerId) -> NoticeAct {
    NoticeAct::StartAgain { server: server.clone() }
}

fn of_server(level: NoticeLevel, server: &ServerId, title: String, body: String, incident: &str) -> Draft {
    let incident = format!("{incident}:{server}");
    Draft::new(level, NoticeKind::Server, title, body, incident).server(server).acts([show_log(server)])
}

fn of_benchmark(level: NoticeLevel, title: String, body: String, incident: String) -> Draft {
    Draft::new(level, NoticeKind::Benchmark, title, body, incident)
}

fn cut_off(to: &ModelRef, committed: bool, active: Option<&str>) -> Draft {
    let model = &to.model;
    let body = match (committed, active) {
        (true, _) => format!("Pilothouse ended after the switch to {model} was made; it stays active."),
        (false, Some(active)) => {
            format!("Pilothouse ended before the switch to {model} was made; {active} stays active.")
        }
        (false, None) => {
            format!("Pilothouse ended before the switch to {model} was made; no model is active.")
        }
    };
    let (title, incident) = ("A switch was cut off".into(), format!("cut-off:{}", to.id()));
    Draft::new(NoticeLevel::Attention, NoticeKind::Switch, title, body, incident).server(&to.server)
}

fn of_trouble(error: &ApiError) -> Draft {
    let incident = format!("trouble:{:?}:{}", error.code, error.message);
    let (title, body) = ("Needs attention".into(), error.message.clone());
    Draft::new(NoticeLevel::Attention, NoticeKind::Pilothouse, title, body, incident).hint(error.hint.clone())
}
