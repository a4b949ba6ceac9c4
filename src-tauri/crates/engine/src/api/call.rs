use super::BenchCall;
use pilothouse_domain::{
    bench::{RunState, series::SeriesMetric},
    client_key::KeyScope,
    machine::Machine,
    model::LoadSettings,
    notice::{NoticeKind, NoticeLevel},
    scene::RoleSettings,
    server::{KeyText, ServerId},
    traffic::TrafficFilter,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use ts_rs::TS;

/// In which form runs are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum ReportForm {
    /// A table in llama-bench's shape.
    Markdown,
    /// A row for each run.
    Csv,
    /// One page that needs nothing else.
    Html,
    /// The owner's two tables, from all runs of this machine; takes no runs.
    Owner,
}

/// In which form runs leave the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum ExportForm {
    /// A line for each run, which `Import` takes.
    #[default]
    JsonLines,
    /// A row for each request.
    Csv,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Everything that can be asked of the engine. In JSON: `{"call": "switch", "model": "…"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "call", rename_all = "snake_case", deny_unknown_fields)]
#[ts(export)]
pub enum Call {
    /// The present snapshot. With `known`, answers `Unchanged` when the revision is still that one. With `parts` as well,
    /// answers `Parts` where the known one is of this engine. Errors: none.
    Snapshot {
        #[serde(default)]
        #[ts(optional)]
        known: Option<u64>,
        /// The known one is at hand: only what has changed since is wanted. Asked by pages while they are visible; what they show
        /// needs no notification.
        #[serde(default, skip_serializing_if = "is_false")]
        #[ts(optional, as = "Option<bool>")]
        parts: bool,
        /// With `parts`: the samples of the gauges that are newer than this, beside them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional)]
        gauges_since_ms: Option<i64>,
    },
    /// Asks every server again for its models and instances, then answers with the snapshot.
    Refresh,
    /// Looks for language-model servers that run on this machine, known or not. Wakes nothing up.
    Discover,
    /// Starts a server and waits until it answers or failed.
    /// Errors: not_found, not_installed, unsupported, port_taken, server_crashed, timed_out, cpu_too_old.
    StartServer {
        server: ServerId,
    },
    /// Stops a server and waits until it is gone. Errors: not_found, not_ours, unsupported, timed_out.
    StopServer {
        server: ServerId,
    },
    /// Stop, then start. Errors: as both.
    RestartServer {
        server: ServerId,
    },
    /// Looks again for the program of a server that is not installed, and answers with the server. One that is installed is left
    /// as it is. Errors: not_found.
    LocateServer {
        server: ServerId,
    },
    /// Looks at a server's port and API and asks for one real token, unless an answer is under way. Answers with `doctor`.
    /// Errors: not_found.
    CheckServer {
        server: ServerId,
    },
    /// Ends somebody else's server and starts one of Pilothouse's in its place. Waits until that one answers. To call this
    /// is the consent. Errors: not_found, unsupported, not_ours (only its owner can end it), timed_out, as `StartServer`.
    TakeOver {
        server: ServerId,
    },
    /// Puts a server of another owner into the settings file and waits until it is known. Errors: invalid_call (name or
    /// address), busy (the name is taken), settings_invalid, system.
    AddServer {
        /// Its id from now on: 1 to 32 of a-z, 0-9 and -.
        server: ServerId,
        /// Base of its OpenAI-compatible API: "http://studio.local:11434/v1".
        address: String,
        #[serde(default)]
        #[ts(optional)]
        title: Option<String>,
    },
    /// Takes a server of another owner out of the settings file. Errors: not_found, settings_invalid, system.
    RemoveServer {
        server: ServerId,
    },
    /// Ends the processes with models whose Ollama has died without them, as the gauges list them. To call this is the
    /// consent. Errors: not_found (there is none).
    EndOrphans,
    /// Keeps the key or token of a server and connects to it anew. Errors: not_found, unsupported (it takes none),
    /// invalid_call, system.
    SetKey {
        server: ServerId,
        key: KeyText,
    },
    /// Forgets the key of a server and connects to it anew. Errors: not_found, unsupported, system.
    RemoveKey {
        server: ServerId,
    },
    /// The keys of client programs, and how each is used. Never a key itself. Errors: none.
    ClientKeys,
    /// Makes a key for a client program, in force at once, and answers with its secret, which nobody can ever read again.
    /// Errors: invalid_call (with what is allowed, or because there are 256), busy (there is one of that name, in whatever case),
    /// store_unavailable.
    AddClientKey {
        /// 1 to 60 characters: who asks, in lists and in `Traffic`.
        name: String,
        #[serde(default)]
        #[ts(optional, as = "Option<KeyScope>")]
        scope: KeyScope,
        /// Names that it may ask by and models that may answer it; `*` stands for any characters. None: all.
        #[serde(default)]
        #[ts(optional, as = "Option<Vec<String>>")]
        models: Vec<String>,
        /// Requests under way at a time, 1 to 10,000; absent: as many as come.
        #[serde(default)]
        #[ts(optional)]
        at_once: Option<u32>,
        /// Tokens by the minute, of prompts and answers together, 1 to 10^9; absent: as many as come.
        #[serde(default)]
        #[ts(optional)]
        tokens_per_minute: Option<u32>,
    },
    /// Takes a key back: from now on it opens nothing, for good. Answers under way go on. Errors: not_found, store_unavailable.
    RevokeClientKey {
        /// In whatever case.
        name: String,
    },
    /// Makes a model active and waits for the outcome. A switch to the same model under way is joined, another one is taken
    /// over (cancelled and put back first); for the active model nothing is done, and the reason says so. Errors: not_found,
    /// ambiguous, unsupported, busy (a benchmark); everything later is an outcome in the report. With `with` besides, before anything
    /// is disturbed: invalid_call (a number out of range), unsupported (its server cannot be given that with a load, or the context is
    /// beyond the model's own), does_not_fit, not_ours (somebody else has loaded it otherwise).
    Switch {
        /// A model's name, `<server>/<name>`, or an unambiguous part of one.
        model: String,
        #[serde(default)]
        #[ts(optional)]
        server: Option<ServerId>,
        #[serde(default)]
        dry_run: bool,
        /// Cuts answers of the previous model at once instead of waiting for them.
        #[serde(default)]
        now: bool,
        /// With what it shall be loaded; a model that is in memory otherwise, also the active one, is loaded again. What is left out
        /// in it is as its server loads it by itself. Absent: what is in memory is taken as it is.
        #[serde(default)]
        #[ts(optional)]
        with: Option<LoadSettings>,
    },
    /// Takes a model out of memory, once its answers have ended. The active one is deactivated. Errors: not_found (no such model, or
    /// not in memory), ambiguous, busy, refused (pinned), and what the server says.
    Unload {
        model: String,
        #[serde(default)]
        #[ts(optional)]
        server: Option<ServerId>,
        /// Cuts answers under way at once.
        #[serde(default)]
        now: bool,
        #[serde(default)]
        dry_run: bool,
    },
    /// Makes no model active and takes the active one out of memory. Errors: no_active_model, busy.
    Deactivate {
        #[serde(default)]
        now: bool,
        #[serde(default)]
        dry_run: bool,
    },
    /// Takes the last switch, scene or deactivation back, within a minute of it. Errors: not_found (nothing to undo), and as those.
    Undo,
    /// Keeps a model in memory: it leaves for no other, and comes back when it is lost; or lets go of it. Pinning loads nothing.
    /// Errors: not_found, ambiguous.
    Pin {
        model: String,
        #[serde(default)]
        #[ts(optional)]
        server: Option<ServerId>,
        pinned: bool,
    },
    /// Applies a scene of the settings, a built-in one, or roles without a name, and waits for the outcome. Errors: not_found,
    /// invalid_call (roles), busy, does_not_fit (nothing was changed), unsupported (a server that cannot load so); later failures are
    /// outcomes in the report.
    ApplyScene {
        #[serde(default)]
        #[ts(optional)]
        name: Option<String>,
        /// Instead of those of the settings: what an editor shows and has not saved.
        #[serde(default)]
        #[ts(optional)]
        roles: Option<BTreeMap<String, RoleSettings>>,
        #[serde(default)]
        dry_run: bool,
        /// Cuts answers under way at once where models leave.
        #[serde(default)]
        now: bool,
    },
    /// What applying a scene would do, or why it cannot be done. Errors: not_found, invalid_call.
    PlanScene {
        #[serde(default)]
        #[ts(optional)]
        name: Option<String>,
        #[serde(default)]
        #[ts(optional)]
        roles: Option<BTreeMap<String, RoleSettings>>,
    },
    /// Takes one copy of a model out of memory that nobody needs beside another one of it, as LM Studio's twins. Errors: not_found,
    /// invalid_call (it is the copy that answers), busy, and what its server says.
    UnloadCopy {
        server: ServerId,
        /// The server's identifier of the copy.
        instance: String,
    },
    /// Writes a scene into the settings file, new or instead of the one of that name. Errors: invalid_call (name or roles, with what
    /// is allowed), settings_invalid, system.
    SaveScene {
        name: String,
        /// Without: what is in memory now, the active model as `active`.
        #[serde(default)]
        #[ts(optional)]
        roles: Option<BTreeMap<String, RoleSettings>>,
        /// The name that it had: it is renamed.
        #[serde(default)]
        #[ts(optional)]
        renames: Option<String>,
        /// Only says what would be written, as `SceneToSave`.
        #[serde(default, skip_serializing_if = "is_false")]
        #[ts(optional, as = "Option<bool>")]
        dry_run: bool,
    },
    /// Takes a scene out of the settings file; memory stays as it is. Errors: not_found, settings_invalid, system.
    DeleteScene {
        name: String,
        /// Only says whether it could be.
        #[serde(default, skip_serializing_if = "is_false")]
        #[ts(optional, as = "Option<bool>")]
        dry_run: bool,
    },
    /// Puts the scenes into this order; those that are not named come after. Errors: not_found, settings_invalid, system.
    OrderScenes {
        names: Vec<String>,
    },
    /// Another name that programs may ask by, for a role or a model; without `to` it means nothing any more. Errors: invalid_call,
    /// not_found (nothing to remove), settings_invalid, system.
    SetAlias {
        alias: String,
        #[serde(default)]
        #[ts(optional)]
        to: Option<String>,
    },
    /// The apps that can be connected, and how their files stand. Errors: timed_out (the disk does not answer).
    Apps,
    /// How an app is connected: address, names, lines to copy, what would change in its file. Errors: not_found, invalid_call
    /// (a name or key), unreachable (there is no gateway), timed_out.
    Connect {
        /// Its id or title: "claude-code".
        app: String,
        /// The name that it shall ask by; default `active`.
        #[serde(default)]
        #[ts(optional)]
        model: Option<String>,
        /// The same for its small tasks; by default a role that is meant for them, else as `model`.
        #[serde(default)]
        #[ts(optional)]
        small: Option<String>,
        /// The key that it shall show: a line of 1 to 200 signs of ASCII without spaces. By default a placeholder, and a key that
        /// stands in its file stays there.
        #[serde(default)]
        #[ts(optional)]
        key: Option<KeyText>,
    },
    /// Writes an app's configuration file; everything else in it stays byte for byte. Errors: as `Connect`, unsupported (it has no
    /// such file, or it cannot be changed faithfully), busy (it has changed since `digest`), system. Nothing is written then.
    ConnectWrite {
        app: String,
        #[serde(default)]
        #[ts(optional)]
        model: Option<String>,
        #[serde(default)]
        #[ts(optional)]
        small: Option<String>,
        /// As in `Connect`.
        #[serde(default)]
        #[ts(optional)]
        key: Option<KeyText>,
        /// Of the file that was seen; by default the one that is there now.
        #[serde(default)]
        #[ts(optional)]
        digest: Option<String>,
        #[serde(default)]
        dry_run: bool,
    },
    /// Puts back, byte for byte, what stood in an app's file before Pilothouse wrote it first. Errors: not_found (no such app, or
    /// nothing was written), busy (somebody has changed it since), system, timed_out.
    ConnectUndo {
        app: String,
        #[serde(default)]
        dry_run: bool,
    },
    /// Asks the gateway as an app asks, and waits for the answer, 60 s at most. What goes wrong there is in the report. Errors:
    /// not_found, invalid_call, unreachable (there is no gateway), timed_out.
    ConnectTest {
        app: String,
        #[serde(default)]
        #[ts(optional)]
        model: Option<String>,
        /// By default the one that stands in the app's file, else the placeholder.
        #[serde(default)]
        #[ts(optional)]
        key: Option<KeyText>,
    },
    /// The hardware profile of this machine.
    Machine,
    /// Whether models fit in memory together, with the arithmetic, before anything is loaded. Names that no server has may
    /// be typical sizes ("7b", "70b:q2_k"). Errors: not_found, ambiguous, invalid_call, unsupported (the file of the model
    /// cannot be read).
    Fit {
        models: Vec<String>,
        #[serde(default)]
        #[ts(optional)]
        server: Option<ServerId>,
        /// Tokens per request; by default as the settings of llama-server say.
        #[serde(default)]
        #[ts(optional)]
        context: Option<u64>,
        /// Requests at a time; 1 by default.
        #[serde(default)]
        #[ts(optional)]
        parallel: Option<u32>,
        /// f32, f16, q8_0, q5_1 or q4_0; f16 by default.
        #[serde(default)]
        #[ts(optional)]
        kv: Option<String>,
        /// Another machine, empty but for its system; by default this one as it is now.
        #[serde(default)]
        #[ts(optional)]
        machine: Option<Machine>,
    },
    /// Which models that can be active fit in memory together, everything else on this machine as it is now: all sets to
    /// which no further one could be added. Errors: invalid_call.
    FitTogether {
        #[serde(default)]
        #[ts(optional)]
        context: Option<u64>,
        #[serde(default)]
        #[ts(optional)]
        parallel: Option<u32>,
        #[serde(default)]
        #[ts(optional)]
        kv: Option<String>,
        #[serde(default)]
        #[ts(optional)]
        machine: Option<Machine>,
    },
    /// What the past of this machine says of each listed model: measured or forecast speed, loads, last use. Errors:
    /// store_unavailable.
    ModelFacts,
    /// Cancels the switch or the scene under way; what was before is put back. Errors: not_found when none is under way.
    CancelSwitch,
    /// Runs a benchmark and waits for its end. Without a model: the active one. Answers with the run, or with the comparison
    /// where there is a side to measure against. Errors: busy, not_found, ambiguous, no_active_model, does_not_fit, cancelled,
    /// server_error, unreachable; not_quiet where it shall stop then.
    Bench(BenchCall),
    /// Lets a model answer so many requests at a time, 1 to 64, from now on: its server of ours is started again with it, the model
    /// proved by a token, memory as before; then the settings file is written. Errors: not_found, ambiguous, invalid_call,
    /// does_not_fit, not_ours and unsupported (with what its owner has to set), busy, cancelled, and why it could not be loaded or
    /// gave no token; settings and memory are as before then.
    UseParallel {
        model: String,
        #[serde(default)]
        #[ts(optional)]
        server: Option<ServerId>,
        parallel: u32,
    },
    /// Takes the last `UseParallel` back, within a minute of it. Errors: not_found (nothing to undo), and as `UseParallel`.
    UndoParallel,
    /// Cancels the `UseParallel` or `UndoParallel` under way. Errors: not_found.
    CancelParallel,
    /// How a figure of each model went over its last 400 runs, and whether it grew worse; those with the newest runs first.
    /// Errors: not_found (unknown server or model), store_unavailable.
    Trends {
        /// Only models whose name contains this.
        #[serde(default)]
        #[ts(optional)]
        model: Option<String>,
        #[serde(default)]
        #[ts(optional)]
        server: Option<ServerId>,
        #[serde(default)]
        #[ts(optional)]
        plan: Option<String>,
        /// By default those that are watched: decode and the time to the first token.
        #[serde(default)]
        #[ts(optional)]
        metric: Option<SeriesMetric>,
        /// The most models, each by its server and plan; at most and by default 200.
        #[serde(default)]
        #[ts(optional)]
        limit: Option<u32>,
        /// The most points of each, the newest ones; by default all.
        #[serde(default)]
        #[ts(optional)]
        points: Option<u32>,
    },
    /// Takes the level that begins with a run for the right one: what was before is no baseline any more.
    /// Errors: not_found, store_unavailable.
    AcceptLevel {
        run_id: i64,
    },
    /// Holds two runs against each other, the first being side A. Errors: not_found, store_unavailable.
    Compare {
        a: i64,
        b: i64,
    },
    /// Cancels the benchmark under way. Errors: not_found when none is under way.
    CancelBench,
    /// Past runs, newest first. Errors: store_unavailable.
    History {
        /// Only models whose name contains this.
        #[serde(default)]
        #[ts(optional)]
        model: Option<String>,
        #[serde(default)]
        #[ts(optional)]
        server: Option<ServerId>,
        /// By its name.
        #[serde(default)]
        #[ts(optional)]
        plan: Option<String>,
        #[serde(default)]
        #[ts(optional)]
        state: Option<RunState>,
        /// Only those that began then or later, in Unix milliseconds.
        #[serde(default)]
        #[ts(optional, type = "number")]
        since_ms: Option<i64>,
        /// Only those that began before.
        #[serde(default)]
        #[ts(optional, type = "number")]
        until_ms: Option<i64>,
        /// 1 to 1000; default 50.
        #[serde(default)]
        #[ts(optional)]
        limit: Option<u32>,
        /// Passes over so many newer ones.
        #[serde(default)]
        #[ts(optional)]
        offset: Option<u32>,
    },
    /// One run with its trials and what the gauges showed meanwhile. Errors: not_found, store_unavailable.
    Run {
        run_id: i64,
    },
    /// Runs put on paper. Errors: not_found, invalid_call (more than 100 runs, or runs with `owner`), store_unavailable.
    Report {
        /// Without any: the newest of each model on each server, by plan and machine.
        #[serde(default)]
        runs: Vec<i64>,
        form: ReportForm,
    },
    /// Ended runs as text to keep elsewhere, in pieces of about a mebibyte. Errors: not_found, store_unavailable.
    Export {
        /// Without any: all.
        #[serde(default)]
        runs: Vec<i64>,
        #[serde(default)]
        form: ExportForm,
        /// Goes on behind a piece, by the `next` of its answer.
        #[serde(default)]
        #[ts(optional)]
        after: Option<i64>,
    },
    /// Takes in runs that were exported, all of them or none. A file that is longer than a call may be comes in pieces of up to
    /// 128 KiB: each but the last with `more`, each but the first with the number that the first was answered with.
    /// Errors: invalid_call (with the line), unsupported (of a newer format), busy (another import is under way),
    /// not_found (no such upload), store_unavailable.
    Import {
        text: String,
        #[serde(default)]
        #[ts(optional)]
        upload: Option<u64>,
        #[serde(default)]
        more: bool,
    },
    /// Takes runs out of the history, all of these or none. Errors: not_found, busy (one is under way), store_unavailable.
    DeleteRuns {
        runs: Vec<i64>,
    },
    /// How large the history is. Errors: store_unavailable.
    HistorySize,
    /// Past switches, newest first. Errors: store_unavailable.
    Switches {
        #[serde(default)]
        #[ts(optional)]
        limit: Option<u32>,
    },
    /// What was told in notices, newest first, also before the last start; the newest 2000 are kept.
    /// Errors: not_found (unknown server that no event is about), store_unavailable.
    Events {
        #[serde(default)]
        #[ts(optional)]
        server: Option<ServerId>,
        #[serde(default)]
        #[ts(optional)]
        level: Option<NoticeLevel>,
        #[serde(default)]
        #[ts(optional)]
        kind: Option<NoticeKind>,
        /// 1 to 500; default 50.
        #[serde(default)]
        #[ts(optional)]
        limit: Option<u32>,
        /// Passes over so many newer ones.
        #[serde(default)]
        #[ts(optional)]
        offset: Option<u32>,
    },
    /// Requests through the one address, newest first: those under way, and those that are kept. Errors: not_found (no such client,
    /// server or model), store_unavailable.
    Traffic {
        #[serde(default)]
        filter: TrafficFilter,
    },
    /// One of them. Errors: not_found (never kept, or not any more), store_unavailable.
    TrafficRecord {
        id: u64,
    },
    /// What those that have ended add up to, by client and by model, and the rate of the last quarter of an hour.
    /// Errors: store_unavailable.
    TrafficTotals {
        /// How far back, in seconds; default 3600, at most 366 days.
        #[serde(default)]
        #[ts(optional)]
        span_s: Option<u32>,
    },
    /// The gauges' past as columns. Up to 15 minutes: every sample; up to an hour: means over 10 s; up to a day: over a
    /// minute; beyond: over half an hour at most. With `since_ms`, only newer points.
    GaugeHistory {
        #[serde(default)]
        #[ts(optional)]
        since_ms: Option<i64>,
        /// How far back, in seconds; default 900, at most 30 days.
        #[serde(default)]
        #[ts(optional)]
        span_s: Option<u64>,
    },
    /// A server's output, oldest first, joined with Pilothouse's own events about it. With `after`, only lines with a
    /// greater number. Errors: not_found.
    Logs {
        server: ServerId,
        #[serde(default)]
        #[ts(optional)]
        after: Option<u64>,
        /// The last so many lines; default 200, at most 2000.
        #[serde(default)]
        #[ts(optional)]
        limit: Option<u32>,
    },
    /// The lines of a server's log that contain a text, oldest first, also those of earlier starts. Upper and lower case are
    /// the same. Errors: not_found, invalid_call (empty text).
    SearchLogs {
        server: ServerId,
        text: String,
        /// The last so many; default 200, at most 2000.
        #[serde(default)]
        #[ts(optional)]
        limit: Option<u32>,
    },
    /// Asks the active model; the answer is then read with `ReadAnswer`. Errors: no_active_model, busy.
    Ask {
        prompt: String,
        /// Default 256, at most 4096.
        #[serde(default)]
        #[ts(optional)]
        max_tokens: Option<u32>,
    },
    /// Reads on in an answer from a character offset; waits up to a second for something new.
    /// Errors: not_found.
    ReadAnswer {
        answer: u64,
        offset: u64,
    },
    /// Stops an answer. Errors: not_found.
    CancelAnswer {
        answer: u64,
    },
    /// Fetches the embedded server and its model, unless they are there. Waits until done.
    /// Errors: busy, download_failed, hash_mismatch, system, cancelled.
    Setup {
        /// Build llama-server from source instead of taking the prebuilt one.
        #[serde(default)]
        from_source: bool,
    },
    CancelSetup,
    /// The settings file: every key with its value, and what waits for a restart.
    Settings,
    /// Writes a setting into the file, where it is in force as after a person's edit, and answers with all settings. Errors: not_found
    /// (with the key that was probably meant), invalid_call (with what is allowed), unsupported (a table), busy (somebody else has
    /// changed the file since `digest`), settings_invalid (the file has a mistake already), system. Nothing is written then.
    SetSetting {
        /// Dotted: "gateway.wait_s".
        key: String,
        /// `null`: the default.
        #[ts(type = "unknown")]
        value: serde_json::Value,
        /// Of the text that was seen; by default the one that is there now.
        #[serde(default)]
        #[ts(optional)]
        digest: Option<String>,
    },
    /// Looks at everything that may be wrong and says what to do.
    Doctor,
    /// Takes a notice off the list; without an id, all of them.
    DismissNotice {
        #[serde(default)]
        #[ts(optional)]
        id: Option<u64>,
    },
}

impl Call {
    /// The present snapshot, whatever is known.
    pub fn whole_snapshot() -> Self {
        Self::Snapshot { known: None, parts: false, gauges_since_ms: None }
    }

    /// Whether a visible page asks for what is new: only pages keep a snapshot at hand and want no more than what has changed.
    pub fn is_of_a_page(&self) -> bool {
        matches!(self, Self::Snapshot { known: Some(_), parts: true, .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_told_from_whoever_looks_once() {
        let asked = |text: &str| serde_json::from_str::<Call>(text).unwrap().is_of_a_page();
        assert!(asked(r#"{"call":"snapshot","known":7,"parts":true}"#));
        assert!(asked(r#"{"call":"snapshot","known":7,"parts":true,"gauges_since_ms":5}"#));
        for other in [
            r#"{"call":"snapshot"}"#,
            r#"{"call":"snapshot","known":7}"#,
            r#"{"call":"snapshot","parts":true}"#,
            r#"{"call":"refresh"}"#,
            r#"{"call":"undo"}"#,
        ] {
            assert!(!asked(other), "{other}");
        }
        assert!(!Call::whole_snapshot().is_of_a_page());
    }
}
