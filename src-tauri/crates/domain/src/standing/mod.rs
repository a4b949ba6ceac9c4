//! What holds right now, said once: for the active model, for each model of the list, and for each server.
//!
//! Head, rows, rail, tray, menu, Ask and command line draw this and derive nothing of their own, so that they cannot say
//! different things. The hub fills it in with each snapshot that it publishes.

mod active;
#[cfg(test)]
mod cases;
mod circumstances;
mod fill;
mod last_switch;
mod row;
mod server;
#[cfg(test)]
mod tests;

pub use circumstances::Circumstances;
pub use fill::fill;
pub use last_switch::failure as failed_last;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// What a colour and a shape may mean. A word stands beside it always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum Tone {
    /// It answers.
    Good,
    /// Something is under way.
    Busy,
    /// Somebody waits for it.
    Waiting,
    /// Nothing is under way, and nothing is wrong.
    #[default]
    Idle,
    /// It goes on, but wants a look.
    Attention,
    /// It does not go on by itself.
    Broken,
}

/// What holds for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum Holds {
    /// No model is active.
    #[default]
    NoModel,
    /// It is active and answers.
    Ready,
    /// It gives answers just now.
    Answering,
    /// A benchmark measures it.
    Measuring,
    /// Requests for it wait until a switch has ended.
    Waiting,
    /// Its server is on its way up.
    Starting,
    /// It is on its way into memory.
    Loading,
    /// A switch to it failed and is being undone.
    PuttingBack,
    /// It is active, and its server answers badly.
    Disturbed,
    /// It is active, and its server does not run.
    Stopped,
    /// It is active, its server runs, and it is not in memory.
    NotLoaded,
    /// It is active and cannot answer; the reason says why.
    CannotAnswer,
    /// In memory, and not active.
    Loaded,
    OnDisk,
    /// On a server that does not tell what it has in memory.
    Remote,
    /// The last switch to it failed, and what it failed for still holds as far as that can be told.
    Failed,
    DoesNotFit,
    Damaged,
    /// No language model, so that it cannot become active.
    Other,
}

/// What a click on a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum RowAct {
    /// Nothing: it is what answers, or it cannot.
    #[default]
    None,
    Switch,
    /// It is active already, and comes into memory again.
    Load,
    /// Its server is started first.
    StartAndLoad,
    /// Ends the switch to it.
    Cancel,
}

impl RowAct {
    /// As a button says it; empty where there is nothing to do.
    pub fn words(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Switch => "Switch",
            Self::Load => "Load",
            Self::StartAndLoad => "Start and load",
            Self::Cancel => "Cancel",
        }
    }
}

/// What holds for one model of the list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Standing {
    pub holds: Holds,
    pub tone: Tone,
    /// In few words: "active", "loaded", "stopped".
    pub word: String,
    /// Why, in one sentence, where the word does not say it.
    pub reason: Option<String>,
    pub act: RowAct,
}

/// What holds for the active model.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ActiveStanding {
    pub holds: Holds,
    pub tone: Tone,
    /// In few words: "Ready", "Answering 2", "Stopped".
    pub word: String,
    /// Why, in one sentence, where the word does not say it.
    pub reason: Option<String>,
    /// What makes it answer again.
    pub act: RowAct,
    /// Answers of it that are under way.
    pub answering: u32,
    /// Requests that wait, for whatever model.
    pub waiting: u32,
    /// What a question asked now has to wait for, as a sentence; `None`: the answer begins at once, or there is none.
    pub first: Option<String>,
}

/// What holds for a server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ServerStanding {
    pub tone: Tone,
    /// In few words: "Ready", "Stopped".
    pub word: String,
}

/// A word that stood at the beginning of a line, within one.
pub fn in_a_line(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}
