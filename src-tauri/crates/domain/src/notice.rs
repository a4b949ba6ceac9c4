//! Which happenings deserve a desktop notification, and in which words: a cause and a consequence.

mod desktop;
mod draft;

pub use desktop::{Occasion, QuietHours, WATCHED_MS, buttons, shown_on_desktop};
pub use draft::draft;

use crate::{
    Timestamp,
    container::{ContainerProblem, ContainerReading},
    error::ApiError,
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

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum NoticeKind {
    Switch,
    Server,
    Benchmark,
    Container,
    Pilothouse,
}

/// What a person can do about it, besides taking it off the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "act", rename_all = "snake_case")]
#[ts(export)]
pub enum NoticeAct {
    ShowLog {
        server: ServerId,
    },
    StartAgain {
        server: ServerId,
    },
    ShowRun {
        run_id: i64,
    },
    /// Where the containers are.
    ShowContainers,
    /// Takes back what the notice tells of. Only as long as the snapshot's `undo` has this same end: later there is nothing to
    /// take back any more, or it is something else.
    Undo {
        #[ts(type = "string")]
        until: Timestamp,
    },
}

impl NoticeAct {
    /// As buttons and links say it.
    pub fn words(&self) -> &'static str {
        match self {
            Self::ShowLog { .. } => "Show log",
            Self::StartAgain { .. } => "Start again",
            Self::ShowRun { .. } => "Show run",
            Self::ShowContainers => "Show containers",
            Self::Undo { .. } => "Undo",
        }
    }
}

/// Something that happened while a person may have looked elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Notice {
    /// Grows with each notice, over restarts too.
    pub id: u64,
    #[ts(type = "string")]
    pub at: Timestamp,
    pub level: NoticeLevel,
    pub kind: NoticeKind,
    /// What happened, in a few words.
    pub title: String,
    /// Why, and what holds now.
    pub body: String,
    pub hint: Option<String>,
    /// The server it is about.
    pub server: Option<ServerId>,
    /// Most wanted first.
    pub acts: Vec<NoticeAct>,
    /// It is what came of a click, so that it stands where that was, and not once more among what came by itself.
    pub own: bool,
}

/// The happenings that can become a notice.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// A model is active that nobody has just asked for: it was restored, or a first start took it.
    Switched {
        to: ModelRef,
        title: String,
        server_title: String,
        took_ms: u64,
        first_token_ms: Option<u64>,
        /// It had left memory, or we had ended.
        again: bool,
        /// Somebody asked for it: seen where that was, and told where nobody looks.
        own: bool,
        /// Until when it can be taken back; `None`: it cannot.
        undo: Option<Timestamp>,
    },
    PutBack {
        to: ModelRef,
        title: String,
        kept: Option<String>,
        error: ApiError,
        /// Somebody had asked for it.
        own: bool,
    },
    /// A scene, or roles without a name, are in force.
    SceneApplied {
        scene: Option<String>,
        took_ms: u64,
        /// Until when it can be taken back; `None`: it cannot.
        undo: Option<Timestamp>,
    },
    /// Memory ran short, and an idle model gave way.
    GaveWay {
        title: String,
        why: String,
    },
    /// It could not be applied; what was before is back.
    ScenePutBack {
        scene: Option<String>,
        error: ApiError,
        /// It was refused before anything was changed.
        refused: bool,
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
        run_id: i64,
        title: String,
        server_title: String,
        decode_tok_s: Option<f64>,
        ttft_ms: Option<f64>,
        /// What is known against its figures.
        mark: Option<String>,
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
    /// The last window was closed on a desktop that shows no tray icons.
    OutOfSight,
    /// Keys asked for the previous model, and nothing was begun.
    NotSwitched {
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
    pub kind: NoticeKind,
    pub title: String,
    pub body: String,
    pub hint: Option<String>,
    pub server: Option<ServerId>,
    pub acts: Vec<NoticeAct>,
    pub own: bool,
    /// Happenings with the same key within a short time are one incident.
    pub incident: String,
}

impl Draft {
    pub fn new(level: NoticeLevel, kind: NoticeKind, title: String, body: String, incident: String) -> Self {
        Self { level, kind, title, body, hint: None, server: None, acts: vec![], own: false, incident }
    }

    #[must_use]
    pub fn hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }

    #[must_use]
    pub fn server(self, server: &ServerId) -> Self {
        Self { server: Some(server.clone()), ..self }
    }

    #[must_use]
    pub fn acts(self, acts: impl Into<Vec<NoticeAct>>) -> Self {
        Self { acts: acts.into(), ..self }
    }

    #[must_use]
    pub fn own(self, own: bool) -> Self {
        Self { own, ..self }
    }

    /// The notice of this, once it has its number and its time.
    pub fn numbered(self, id: u64, at: Timestamp) -> Notice {
        let Self { level, kind, title, body, hint, server, acts, own, incident: _ } = self;
        Notice { id, at, level, kind, title, body, hint, server, acts, own }
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
            own: true,
        };
        let draft = draft(&happening);
        assert_eq!(draft.title, "Put back SmolLM2");
        assert_eq!(draft.body, "Gemma 3: Ollama could not load it: out of memory.");
        assert_eq!(draft.hint.as_deref(), Some("Unload something first."));
    }

    /// What stands in the band, what came of a click, and what can be done about it.
    #[test]
    fn each_notice_has_its_level_and_its_acts() {
        use {NoticeAct as A, NoticeLevel as L};
        let server = ServerId::new("ollama");
        let log = || A::ShowLog { server: server.clone() };
        let again = || A::StartAgain { server: server.clone() };
        let error = || ApiError::new(ErrorCode::LoadFailed, "No.");
        let to = || ModelRef::new("ollama", "m");
        let named = || (server.clone(), "Ollama".to_owned(), "because".to_owned());
        let switched = |own: bool| Happening::Switched {
            to: to(),
            title: "M".into(),
            server_title: "O".into(),
            took_ms: 1,
            first_token_ms: None,
            again: !own,
            own,
            undo: own.then_some(Timestamp::UNIX_EPOCH),
        };
        let undo = || A::Undo { until: Timestamp::UNIX_EPOCH };
        let applied = |undo| Happening::SceneApplied { scene: Some("Hybrid".into()), took_ms: 1, undo };
        let put_back =
            |own| Happening::PutBack { to: to(), title: "M".into(), kept: None, error: error(), own };
        let (id, server_title, reason) = named();
        let table = [
            (
                Happening::CrashedAndBack { server: id, server_title, reason, away_ms: 1 },
                (L::Info, vec![log()], false),
            ),
            (
                Happening::GaveUp { server: server.clone(), server_title: "O".into(), reason: "r".into() },
                (L::Problem, vec![log(), again()], false),
            ),
            (
                Happening::CannotStart { server: server.clone(), server_title: "O".into(), error: error() },
                (L::Problem, vec![log(), again()], false),
            ),
            (put_back(true), (L::Attention, vec![log()], true)),
            (put_back(false), (L::Attention, vec![log()], false)),
            (switched(false), (L::Info, vec![], false)),
            (switched(true), (L::Info, vec![undo()], true)),
            (applied(Some(Timestamp::UNIX_EPOCH)), (L::Info, vec![undo()], true)),
            (applied(None), (L::Info, vec![], true)),
            (
                Happening::BenchDone {
                    run_id: 7,
                    title: "M".into(),
                    server_title: "O".into(),
                    decode_tok_s: Some(50.0),
                    ttft_ms: None,
                    mark: Some("disturbed".into()),
                },
                (L::Info, vec![A::ShowRun { run_id: 7 }], true),
            ),
            (
                Happening::GrewWorse {
                    title: "M".into(),
                    server_title: "O".into(),
                    words: "w".into(),
                    since_run: 3,
                },
                (L::Attention, vec![A::ShowRun { run_id: 3 }], false),
            ),
        ];
        for (happening, wanted) in table {
            let told = draft(&happening);
            assert_eq!((told.level, told.acts, told.own), wanted, "{happening:?}");
            assert!(!told.title.contains("Something happened"), "{happening:?}");
        }
    }

    #[test]
    fn a_figure_in_a_notice_has_its_mark() {
        let done = |mark: Option<&str>| {
            draft(&Happening::BenchDone {
                run_id: 1,
                title: "M".into(),
                server_title: "Ollama".into(),
                decode_tok_s: Some(50.04),
                ttft_ms: Some(196.4),
                mark: mark.map(str::to_owned),
            })
            .body
        };
        assert_eq!(done(Some("disturbed")), "On Ollama: 50.0 tok/s, first token 196 ms (disturbed).");
        assert_eq!(done(None), "On Ollama: 50.0 tok/s, first token 196 ms.");
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
