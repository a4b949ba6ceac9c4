use super::SettingsView;
use crate::report::owner::OwnerTables;
use pilothouse_domain::{
    Timestamp,
    bench::{Comparison, Run, RunDetail, trend::Trend},
    client_key::ClientKey,
    connect::{AppView, Connection, FileChange, TestReport},
    discovery::Discovered,
    fit::{FitReport, Together},
    gauge::GaugeHistory,
    machine::Machine,
    model::ModelRef,
    model_facts::ModelFacts,
    notice::Notice,
    scene::{RoleSettings, ScenePlan, SceneReport},
    server::{KeyPlace, KeyText},
    settings::parallel::ParallelReport,
    snapshot::{ServerView, Snapshot},
    switch::{Active, PastSwitch, SwitchReport},
    traffic::{RequestRecord, TokenRates, TrafficTotals},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc};
use ts_rs::TS;

/// The answer to a call. In JSON: `{"reply": "snapshot", "snapshot": {…}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "reply", rename_all = "snake_case")]
#[ts(export)]
pub enum Reply {
    Snapshot {
        #[ts(as = "Snapshot")]
        snapshot: Arc<Snapshot>,
        /// The engine's clock at the answer: by it readings are old, although the snapshot may be of long ago.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional, type = "string")]
        now: Option<Timestamp>,
    },
    /// The snapshot still has the revision that the caller knows.
    Unchanged {
        revision: u64,
        /// As in `Snapshot`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional, type = "string")]
        now: Option<Timestamp>,
    },
    /// What has changed since the revision that the caller knows: fields of the snapshot that take the place of those of the
    /// same name; all others are as they were.
    Parts {
        revision: u64,
        #[ts(type = "string")]
        at: Timestamp,
        #[ts(type = "Partial<Snapshot>")]
        parts: Map<String, Value>,
        /// As `gauge_history` would have answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional)]
        history: Option<GaugeHistory>,
        /// As in `Snapshot`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional, type = "string")]
        now: Option<Timestamp>,
    },
    Server {
        server: ServerView,
    },
    Switch {
        report: SwitchReport,
    },
    Scene {
        report: SceneReport,
    },
    ScenePlan {
        plan: ScenePlan,
    },
    /// What would be written into the settings file.
    SceneToSave {
        name: String,
        roles: BTreeMap<String, RoleSettings>,
        /// A scene of that name stands there.
        replaces: bool,
    },
    /// What has left memory, or would.
    Unloaded {
        unloaded: Vec<Active>,
        /// Answers that were cut.
        answers_cut: u32,
        /// Of them the one that was active.
        deactivated: Option<Active>,
        took_ms: u64,
        dry_run: bool,
    },
    Pinned {
        model: ModelRef,
        pinned: bool,
    },
    Run {
        detail: RunDetail,
    },
    Runs {
        runs: Vec<Run>,
        /// How many the filter lets through altogether.
        #[serde(default)]
        total: u64,
    },
    Comparison {
        comparison: Comparison,
    },
    Parallel {
        report: ParallelReport,
    },
    Trends {
        trends: Vec<Trend>,
    },
    Report {
        text: String,
        /// What it is about.
        runs: Vec<Run>,
        /// Of the form `owner`.
        owner: Option<OwnerTables>,
    },
    Exported {
        text: String,
        /// What `after` goes on from; `None`: this was the last piece.
        next: Option<i64>,
    },
    /// A piece of a file was taken; nothing is in the history yet.
    Upload {
        upload: u64,
    },
    Imported {
        imported: u32,
        already_there: u32,
    },
    Deleted {
        deleted: u32,
    },
    HistorySize {
        size: HistorySize,
    },
    Switches {
        switches: Vec<PastSwitch>,
    },
    Events {
        events: Vec<Notice>,
        /// How many the filter lets through altogether.
        total: u64,
    },
    Traffic {
        /// Newest first.
        requests: Vec<RequestRecord>,
        /// Older ones follow: `before` the last of these.
        more: bool,
    },
    TrafficRecord {
        record: RequestRecord,
    },
    TrafficTotals {
        totals: TrafficTotals,
        rates: TokenRates,
    },
    GaugeHistory {
        history: GaugeHistory,
    },
    Apps {
        apps: Vec<AppView>,
        /// The gateway without a path.
        address: Option<String>,
        /// Why there is none.
        address_absent: Option<String>,
    },
    Connection {
        connection: Connection,
    },
    /// What was written into an app's file or put back, or would be.
    AppFile {
        change: FileChange,
    },
    AppTest {
        test: TestReport,
    },
    Machine {
        machine: Machine,
    },
    Fit {
        report: FitReport,
    },
    Together {
        together: Together,
    },
    ModelFacts {
        models: Vec<ModelFacts>,
    },
    Logs {
        lines: Vec<LogLine>,
    },
    LogMatches {
        matches: Vec<LogMatch>,
    },
    Asked {
        answer: u64,
    },
    Answer {
        chunk: AnswerChunk,
    },
    Setup {
        fetched: Vec<Fetched>,
        skipped: Vec<Fetched>,
    },
    Doctor {
        checks: Vec<Check>,
    },
    Discovered {
        servers: Vec<Discovered>,
    },
    Settings {
        settings: SettingsView,
    },
    ClientKeys {
        /// In the order in which they were made.
        keys: Vec<ClientKeyView>,
        /// Programs of this machine need one too (`gateway.require_key`).
        required: bool,
        /// Wrong keys that were shown since the start.
        wrong: u64,
        /// When the last one was. `None`: there was none.
        #[ts(type = "string | null")]
        wrong_at: Option<Timestamp>,
    },
    ClientKeyMade {
        key: ClientKey,
        /// The key itself. Only here and only now: nobody keeps it.
        secret: KeyText,
    },
    /// Where a key is kept now.
    KeyKept {
        place: KeyPlace,
    },
    Done,
}

/// A key of a client program, and how it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ClientKeyView {
    #[serde(flatten)]
    #[ts(flatten)]
    pub key: ClientKey,
    /// Requests with it that go on.
    pub under_way: u32,
    /// Requests that were refused because of its limits since the start.
    pub limited: u64,
}

/// One line on the time axis of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct LogLine {
    /// Grows by one per line of the same server.
    pub number: u64,
    #[ts(type = "string")]
    pub at: Timestamp,
    pub source: LogSource,
    pub line: String,
}

/// A line that a search found, in memory or in the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct LogMatch {
    #[ts(type = "string")]
    pub at: Timestamp,
    pub source: LogSource,
    pub line: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum LogSource {
    /// The server's own output.
    Server,
    /// What Pilothouse did or saw.
    Pilothouse,
}

/// What has come of an answer since the caller's offset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct AnswerChunk {
    pub answer: u64,
    pub text: String,
    /// The offset to read on from, in characters.
    pub offset: u64,
    pub done: bool,
    /// What is waited for before it begins: "Starting Ollama and loading qwen3:8b".
    pub waiting: Option<String>,
    /// Who answered; until it begins, who was active.
    pub server: pilothouse_domain::server::ServerId,
    pub model: String,
    /// Time to the first token, client clock.
    pub ttft_ms: Option<f64>,
    /// Decode rate so far, client clock.
    pub decode_tok_s: Option<f64>,
    pub output_tokens: Option<u32>,
    pub error: Option<pilothouse_domain::error::ApiError>,
}

/// How large the history is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct HistorySize {
    /// The database file, without what its log has not passed on yet.
    pub file_bytes: u64,
    /// The part of it that is free for new rows.
    pub free_bytes: u64,
    pub runs: u64,
    /// Requests of all runs.
    pub trials: u64,
    /// Samples of the gauges that belong to runs.
    pub samples: u64,
    /// Each table with its indices, the largest first.
    pub tables: Vec<TableSize>,
    /// What is kept, and for how long.
    pub kinds: Vec<KeptKind>,
    /// When tables, kinds and all counts but that of the runs were measured; `None`: just now. A large file is measured once a
    /// day.
    #[ts(type = "string | null")]
    pub measured_at: Option<Timestamp>,
}

/// What a history is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum Kept {
    Runs,
    /// Measured requests.
    Trials,
    Warmups,
    /// The time between the events of answers; a row for each.
    Gaps,
    /// Samples of traces.
    Samples,
    /// Minutes of traces.
    Minutes,
    /// Records of requests through the one address, and their sums.
    Requests,
}

/// One part of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct KeptKind {
    pub kind: Kept,
    pub rows: u64,
    /// About: a table's bytes are shared out by rows.
    pub bytes: u64,
    /// After so many days it is taken out; `None`: never.
    pub days: Option<u32>,
    /// What the next clean-up takes out.
    pub next_rows: u64,
    /// About, and without the minutes that samples become.
    pub next_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct TableSize {
    pub name: String,
    pub bytes: u64,
}

/// A thing that the embedded default needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Fetched {
    pub what: String,
    pub version: String,
    pub bytes: u64,
    pub sha256: String,
    pub path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum CheckResult {
    Ok,
    Warn,
    Fail,
    Skipped,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Check {
    pub name: String,
    pub result: CheckResult,
    pub detail: String,
    pub hint: Option<String>,
}
