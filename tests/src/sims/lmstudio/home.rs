//! The files that the product keeps in its home folder.

use super::options::LmsQuirks;
use crate::program;
use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    io::Write,
    path::{Path, PathBuf},
};

fn internal(home: &Path) -> PathBuf {
    home.join(".internal")
}

/// Where the port of the internal listener is told.
pub fn internal_server_file(home: &Path) -> PathBuf {
    internal(home).join("http-server.json")
}

/// The same for the stand-in of `lms` alone, of versions that do not tell it: the real one tries five fixed ports.
fn untold_server_file(home: &Path) -> PathBuf {
    internal(home).join("sim-internal-server.json")
}

/// The port of the internal listener, told or not.
pub fn internal_port(home: &Path) -> Option<u16> {
    let noted = [internal_server_file(home), untold_server_file(home)].iter().find_map(|file| read(file))?;
    noted["port"].as_u64().and_then(|port| u16::try_from(port).ok())
}

/// Adds a record to the log of the public server. Only its first line carries the time; the others may be a prompt.
pub fn log(home: &Path, record: &str) {
    let now = jiff::Zoned::now();
    let folder = home.join("server-logs").join(now.strftime("%Y-%m").to_string());
    let file = folder.join(format!("{}.1.log", now.strftime("%Y-%m-%d")));
    let written = std::fs::create_dir_all(folder).and_then(|()| {
        let mut file = std::fs::File::options().create(true).append(true).open(file)?;
        writeln!(file, "[{}][INFO] {record}", now.strftime("%Y-%m-%d %H:%M:%S"))
    });
    // A log that cannot be written stops nobody.
    drop(written);
}

/// The configuration of the public server. Missing until it was started once.
pub fn server_config_file(home: &Path) -> PathBuf {
    internal(home).join("http-server-config.json")
}

/// How `lms` starts the daemon.
pub fn llmster_location_file(home: &Path) -> PathBuf {
    internal(home).join("llmster-install-location.json")
}

/// How `lms` starts the desktop app.
pub fn app_location_file(home: &Path) -> PathBuf {
    internal(home).join("app-install-location.json")
}

pub fn write_internal_server(home: &Path, port: u16, told: bool) -> anyhow::Result<()> {
    let body = json!({ "host": "127.0.0.1", "pid": std::process::id(), "port": port });
    let file = if told { internal_server_file(home) } else { untold_server_file(home) };
    write(&file, &body)
}

/// Removes the file if it is about `port`; a later backend may have written its own.
pub fn remove_internal_server(home: &Path, port: u16) {
    for file in [internal_server_file(home), untold_server_file(home)] {
        if read(&file).is_some_and(|body| body["port"] == json!(port)) {
            // What cannot be removed is stale, as after a crash of the real one.
            let _ = std::fs::remove_file(file);
        }
    }
}

pub fn write_server_config(home: &Path, port: u16, bind: &str, cors: bool, jit: bool) -> anyhow::Result<()> {
    let body = json!({
        "autoStartOnLaunch": false,
        "port": port,
        "cors": cors,
        "logSensitiveData": true,
        "logIncomingTokens": false,
        "verbose": false,
        "logLinesLimit": 500,
        "networkInterface": bind,
        "justInTimeModelLoading": jit,
        "fileLoggingMode": "succinct",
    });
    write(&server_config_file(home), &body)
}

/// The file as JSON. `None`: missing, or half written.
pub fn read(file: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

/// Writes through a second name, so that nobody reads half a file.
fn write(file: &Path, body: &impl Serialize) -> anyhow::Result<()> {
    let whole = || format!("cannot write {}", file.display());
    let folder = file.parent().context("a file without a folder")?;
    std::fs::create_dir_all(folder).with_context(whole)?;
    let draft = file.with_extension("draft");
    std::fs::write(&draft, serde_json::to_vec(body)?).with_context(whole)?;
    std::fs::rename(&draft, file).with_context(whole)
}

fn lms_quirks_file(home: &Path) -> PathBuf {
    internal(home).join("sim-lms.json")
}

/// How the stand-in for `lms` of this home misbehaves from now on.
pub fn write_lms_quirks(home: &Path, quirks: LmsQuirks) -> anyhow::Result<()> {
    write(&lms_quirks_file(home), &quirks)
}

pub fn lms_quirks(home: &Path) -> LmsQuirks {
    read(&lms_quirks_file(home)).and_then(|quirks| serde_json::from_value(quirks).ok()).unwrap_or_default()
}

/// Makes `<home>/bin/lms` from the built `fake-lms`, and tells it how to start the built `sim-lmstudio`, whose
/// arguments after `--home <home>` are `arguments`.
pub fn install(home: &Path, fake_lms: &Path, sim_lmstudio: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let bin = home.join("bin");
    std::fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    let lms = bin.join(format!("lms{}", std::env::consts::EXE_SUFFIX));
    program::place(fake_lms, &lms)?;
    let mut argv = vec!["--home".to_owned(), home.display().to_string()];
    argv.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    write(&llmster_location_file(home), &json!({ "path": sim_lmstudio, "argv": argv, "cwd": home }))
}
