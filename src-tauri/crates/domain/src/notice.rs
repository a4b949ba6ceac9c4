//! Which happenings deserve a desktop notification, and in which words: a cause and a consequence.

use crate::{
    Timestamp,
    container::{self, ContainerProblem, ContainerReading},
    error::{ApiError, about},
    model::ModelRef,
    server::ServerId,
};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// How much a notice should stand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum NoticeLevel {
    Info,
    Attention,
    Problem,
}

/// Something that happened while a person may have looked elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Notice {
    pub id: u64,
    #[ts(type = "string")]
    pub at: Timestamp,
    pub level: NoticeLevel,
    /// What happened, in a few words.
    pub title: String,
    /// Why, and what holds now.
    pub body: String,
    pub hint: Option<String>,
    /// The server it is about.
    pub server: Option<ServerId>,
}

/// The happenings that can become a notice.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    Switched {
        to: ModelRef,
        title: String,
        server_title: String,
        took_ms: u64,
        first_token_ms: Option<u64>,
    },
    PutBack {
        to: ModelRef,
        title: String,
        kept: Option<String>,
        error: ApiError,
    },
    CrashedAndBack {
        server: ServerId,
        server_title: String,
        reason: String,
        away_ms: u64,
    },
    GaveUp {
        server: ServerId,
        server_title: String,
        reason: String,
    },
    CannotStart {
        server: ServerId,
        server_title: String,
        error: ApiError,
    },
    BenchDone {
        title: String,
        server_title: String,
        decode_tok_s: Option<f64>,
        ttft_ms: Option<f64>,
    },
    BenchFailed {
        title: String,
        error: ApiError,
    },
    /// Three runs in a row were worse than those before.
    GrewWorse {
        title: String,
        server_title: String,
        /// The evidence in words.
        words: String,
        /// The first run that was worse.
        since_run: i64,
    },
    Trouble {
        error: ApiError,
    },
    /// A model left memory by itself while its server went on.
    LostModel {
        server: ServerId,
        server_title: String,
        title: String,
    },
    /// A server of ours neither answered nor spoke, and was killed.
    Hung {
        server: ServerId,
        server_title: String,
        reason: String,
    },
    /// Our own end came in the middle of a switch, before or after its commit.
    CutOffSwitch {
        to: ModelRef,
        committed: bool,
        active: Option<String>,
    },
    /// Its server is not in the settings any more.
    ActiveForgotten {
        server: ServerId,
        title: String,
    },
    /// Found in the same look at the Docker engine.
    ContainersInTrouble {
        problem: ContainerProblem,
        containers: Vec<ContainerReading>,
    },
}

/// A notice before it has a number and a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    pub level: NoticeLevel,
    pub title: String,
    pub body: String,
    pub hint: Option<String>,
    pub server: Option<ServerId>,
    /// Happenings with the same key within a short time are one incident.
    pub incident: String,
}

/// The words for a happening.
pub fn draft(happening: &Happening) -> Draft {
    match happening {
        Happening::Switched { to, title, server_title, took_ms, first_token_ms } => {
            let first = first_token_ms.map(|ms| format!(", first token {ms} ms")).unwrap_or_default();
            Draft {
                level: NoticeLevel::Info,
                title: format!("{title} is active"),
                body: format!("On {server_title}, after {}{first}.", seconds(*took_ms)),
                hint: None,
                server: Some(to.server.clone()),
                incident: format!("switch:{}", to.id()),
            }
        }
        Happening::PutBack { to, title, kept, error } => Draft {
            level: NoticeLevel::Attention,
            title: match kept {
                Some(kept) => format!("Put back {kept}"),
                None => format!("{title} could not be made active"),
            },
            body: about(title, &[title, &to.model], &error.message),
            hint: error.hint.clone(),
            server: Some(to.server.clone()),
            incident: format!("put-back:{}", to.id()),
        },
        Happening::CrashedAndBack { server, server_title, reason, away_ms } => Draft {
            level: NoticeLevel::Attention,
            title: format!("{server_title} is back"),
            body: format!("It ended by itself ({reason}) and answers again after {}.", seconds(*away_ms)),
            hint: None,
            server: Some(server.clone()),
            incident: format!("back:{server}"),
        },
        Happening::GaveUp { server, server_title, reason } => Draft {
            level: NoticeLevel::Problem,
            title: format!("{server_title} keeps stopping; not restarting"),
            body: format!("{reason}."),
            hint: Some("Look at its log, then start it again.".into()),
            server: Some(server.clone()),
            incident: format!("gave-up:{server}"),
        },
        Happening::CannotStart { server, server_title, error } => Draft {
            level: NoticeLevel::Problem,
            title: format!("{server_title} could not be started"),
            body: error.message.clone(),
            hint: error.hint.clone(),
            server: Some(server.clone()),
            incident: format!("start:{server}"),
        },
        Happening::LostModel { server, server_title, title } => Draft {
            level: NoticeLevel::Attention,
            title: format!("{title} left memory by itself"),
            body: format!(
                "Its process at {server_title} has ended. If it is the active model, it is loaded again."
            ),
            hint: Some("Look at the server's log; memory may have run out.".into()),
            server: Some(server.clone()),
            incident: format!("lost:{server}:{title}"),
        },
        Happening::Hung { server, server_title, reason } => Draft {
            level: NoticeLevel::Attention,
            title: format!("{server_title} hung"),
            body: format!("{reason}. It was ended and is started again."),
            hint: None,
            server: Some(server.clone()),
            incident: format!("hung:{server}"),
        },
        Happening::BenchDone { title, server_title, decode_tok_s, ttft_ms } => {
            let rate = decode_tok_s.map_or("no decode rate".into(), |r| format!("{r:.1} tok/s"));
            let first = ttft_ms.map(|ms| format!(", first token {ms:.0} ms")).unwrap_or_default();
            Draft {
                level: NoticeLevel::Info,
                title: format!("Benchmark of {title} is done"),
                body: format!("On {server_title}: {rate}{first}."),
                hint: None,
                server: None,
                incident: format!("bench:{title}"),
            }
        }
        Happening::BenchFailed { title, error } => Draft {
            level: NoticeLevel::Attention,
            title: format!("Benchmark of {title} stopped"),
            body: error.message.clone(),
            hint: error.hint.clone(),
            server: None,
            incident: format!("bench-failed:{title}"),
        },
        Happening::GrewWorse { title, server_title, words, since_run } => Draft {
            level: NoticeLevel::Attention,
            title: format!("{title} grew worse at {server_title}"),
            body: words.clone(),
            hint: Some(format!("If that is as it shall be: pilothouse baseline accept {since_run}")),
            server: None,
            incident: format!("worse:{title}:{since_run}"),
        },
        Happening::Trouble { error } => Draft {
            level: NoticeLevel::Attention,
            title: "Needs attention".into(),
            body: error.message.clone(),
            hint: error.hint.clone(),
            server: None,
            incident: format!("trouble:{:?}:{}", error.code, error.message),
        },
        Happening::ActiveForgotten { server, title } => Draft {
            level: NoticeLevel::Attention,
            title: "No model is active".into(),
            body: format!("{title} was, and its server {server} is not in the settings any more."),
            hint: Some("Switch to another model.".into()),
            // There is no such server to look at.
            server: None,
            incident: format!("forgotten:{server}"),
        },
        Happening::ContainersInTrouble { problem, containers } => container::draft(*problem, containers),
        Happening::CutOffSwitch { to, committed, active } => Draft {
            level: NoticeLevel::Attention,
            title: "A switch was cut off".into(),
            body: match (committed, active) {
                (true, _) => {
                    format!("Pilothouse ended after the switch to {} was made; it stays active.", to.model)
                }
                (false, Some(active)) => format!(
                    "Pilothouse ended before the switch to {} was made; {active} stays active.",
                    to.model
                ),
                (false, None) => {
                    format!(
                        "Pilothouse ended before the switch to {} was made; no model is active.",
                        to.model
                    )
                }
            },
            hint: None,
            server: Some(to.server.clone()),
            incident: format!("cut-off:{}", to.id()),
        },
    }
}

/// Whether an incident should be shown, given when the same one was shown last (milliseconds of one clock).
pub fn is_new(last_ms: Option<u64>, now_ms: u64) -> bool {
    const SAME_INCIDENT_MS: u64 = 10_000;
    last_ms.is_none_or(|last| now_ms.saturating_sub(last) >= SAME_INCIDENT_MS)
}

/// Milliseconds in words: "850 ms", "2.4 s", "1 min 20 s".
pub fn seconds(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn a_put_back_names_what_holds_and_why() {
        let happening = Happening::PutBack {
            to: ModelRef::new("ollama", "gemma3"),
            title: "Gemma 3".into(),
            kept: Some("SmolLM2".into()),
            error: ApiError::new(ErrorCode::LoadFailed, "Ollama could not load it: out of memory.")
                .hint("Unload something first."),
        };
        let draft = draft(&happening);
        assert_eq!(draft.title, "Put back SmolLM2");
        assert_eq!(draft.body, "Gemma 3: Ollama could not load it: out of memory.");
        assert_eq!(draft.hint.as_deref(), Some("Unload something first."));
    }

    #[test]
    fn the_same_incident_is_shown_once_in_ten_seconds() {
        assert!(is_new(None, 5));
        assert!(!is_new(Some(1000), 10_999));
        assert!(is_new(Some(1000), 11_000));
    }

    #[test]
    fn times_are_read_as_people_say_them() {
        assert_eq!(seconds(850), "850 ms");
        assert_eq!(seconds(2_440), "2.4 s");
        assert_eq!(seconds(80_000), "1 min 20 s");
    }
}
