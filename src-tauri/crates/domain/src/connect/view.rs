//! What views get to see of the apps.

use super::{AppGroup, Dialect};
use crate::{Timestamp, error::ApiError};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// How an app's configuration file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export, rename = "AppFileState")]
pub enum FileState {
    /// It says all that is wanted.
    SetUp,
    /// It says something else.
    Differs,
    /// There is none.
    NoFile,
    /// It cannot be read or changed.
    Refused,
}

/// One app in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct AppView {
    pub id: String,
    pub title: String,
    pub group: AppGroup,
    pub dialect: Dialect,
    /// It mostly runs in a container, and the address is as seen from there.
    pub in_container: bool,
    /// The file that Pilothouse can set it up in. `None`: it has none that can be edited faithfully.
    pub file: Option<String>,
    /// How that stands. `None`: there is no such file, or no address that it could name.
    pub state: Option<FileState>,
    /// When Pilothouse wrote it, as long as that can be taken back.
    #[ts(type = "string | null")]
    pub written_at: Option<Timestamp>,
}

/// Lines to copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Snippet {
    /// Where they belong ("Terminal", "~/.codex/config.toml").
    pub title: String,
    /// By which they are coloured: "json", "toml", "yaml", "sh", "python", "javascript" or "text".
    pub language: String,
    pub text: String,
}

/// A change of an app's configuration file, made or only shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export, rename = "AppFileChange")]
pub struct FileChange {
    pub path: String,
    /// The unified difference; empty: nothing changes.
    pub diff: String,
    /// Of the bytes that the difference was made from, "absent" where there is no file: names what was seen when it is written.
    pub digest: String,
    /// It was done, not only shown.
    pub written: bool,
}

/// How an app is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Connection {
    pub app: AppView,
    /// In the form that the app wants.
    pub address: Option<String>,
    /// Why there is none: the app speaks Ollama's own API, which has a port of its own.
    pub address_absent: Option<String>,
    /// The port that the setting `gateway.ollama_port` may get, where the app needs one and none is set.
    pub ollama_port: Option<u16>,
    /// What the lines hold: the key that was named, else a placeholder.
    pub key: String,
    /// Its file holds a key that was not named here, and keeps it.
    pub key_kept: bool,
    /// Programs have to show a key at the address, and neither call nor file has one.
    pub key_missing: bool,
    /// The name that it asks by.
    pub model: String,
    /// The name for its small tasks. `None`: it has none.
    pub small: Option<String>,
    /// Context of the model as it is loaded, in tokens.
    pub context: Option<u64>,
    /// Why it is not known.
    pub context_absent: Option<String>,
    pub snippets: Vec<Snippet>,
    /// What to know, a sentence each.
    pub notes: Vec<String>,
    /// What would change in its file.
    pub change: Option<FileChange>,
    /// Why its file is not changed.
    pub refused: Option<ApiError>,
}

/// What came back when the address was asked as the app asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export, rename = "AppTestReport")]
pub struct TestReport {
    /// It answered with text, and to the end.
    pub ok: bool,
    pub dialect: Dialect,
    /// Where it was asked. `None`: nowhere, because no address speaks as the app does.
    pub url: Option<String>,
    /// The HTTP status. `None`: no answer came at all.
    pub status: Option<u16>,
    /// How the answer begins, at most 80 characters.
    pub words: Option<String>,
    /// Until its first word, reasoning included, from the moment of asking.
    pub first_token_ms: Option<u64>,
    pub took_ms: u64,
    /// Server and model that answered, as the gateway tells.
    pub answered_by: Option<String>,
    /// All of it in a sentence.
    pub detail: String,
}
