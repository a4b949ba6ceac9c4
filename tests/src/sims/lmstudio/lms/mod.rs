//! A stand-in for the command `lms`: its text, its exit codes and its traps. It asks the simulator's internal listener.

mod arguments;
mod backend;
mod daemon;
mod load;
mod models;
mod server;

use super::{LmsQuirks, home::lms_quirks as quirks_of};
use arguments::{Arguments, Command};
use backend::Reach;
use clap::Parser;
use serde_json::Value;
use std::{io::Write, path::PathBuf, time::Duration};

/// What makes `lms` exit with 1: the text for stderr.
pub(crate) type Failed = String;

/// Runs one command and returns the exit code.
pub async fn run(arguments: impl IntoIterator<Item = String>) -> u8 {
    let arguments: Vec<String> = arguments.into_iter().collect();
    let home = home(arguments.first().map_or("", String::as_str));
    let parsed = match Arguments::try_parse_from(arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            // The real one exits with 1, where clap would take 2.
            let _ = error.print();
            return u8::from(error.use_stderr());
        }
    };
    if parsed.version {
        say_out(&format!("CLI commit: {CLI_COMMIT}"));
        return 0;
    }
    let Some(command) = parsed.command else {
        say("Error: no command was given");
        return 1;
    };
    let quirks = quirks_of(&home);
    if quirks.banner {
        say_out("A new version of lms is there. Run it with --version to see which. (simulated)");
    }
    let code = match execute(command, home, quirks).await {
        Ok(()) => 0,
        Err(text) => {
            say(&format!("Error: {text}"));
            1
        }
    };
    if quirks.lingers {
        tokio::time::sleep(LINGERS).await;
    }
    code
}

/// `lms load` and `lms server start` of some builds did not end.
const LINGERS: Duration = Duration::from_secs(600);

/// A git commit of the CLI, never the version of the app.
const CLI_COMMIT: &str = "51b0000";

async fn execute(command: Command, home: PathBuf, quirks: LmsQuirks) -> Result<(), Failed> {
    let reach = &Reach { home };
    match command {
        Command::Server(command) => server::run(command, reach, quirks).await,
        Command::Daemon(command) => daemon::run(command, reach).await,
        Command::Ls(list) => models::ls(list, reach).await,
        Command::Ps(list) => models::ps(list, reach).await,
        Command::Load(load) => load::run(load, reach).await,
        Command::Unload(unload) => models::unload(unload, reach).await,
        Command::Version { json } => {
            let text = format!("CLI commit: {CLI_COMMIT}");
            say_out(&if json { serde_json::json!({ "version": CLI_COMMIT }).to_string() } else { text });
            Ok(())
        }
    }
}

/// The folder above the `bin` in which this program lies, so that a test which forgets to set HOME does not touch a
/// real installation; else the home folder as the real `lms` finds it.
fn home(program: &str) -> PathBuf {
    let program = PathBuf::from(program);
    let bin = program.parent().filter(|folder| folder.ends_with("bin"));
    if let Some(home) = bin.and_then(|bin| bin.parent()).filter(|home| home.join(".internal").is_dir()) {
        return home.to_owned();
    }
    let user_home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let pointer = std::fs::read_to_string(user_home.join(".lmstudio-home-pointer")).unwrap_or_default();
    let cache = user_home.join(".cache/lm-studio");
    match pointer.trim() {
        "" if cache.is_dir() => cache,
        "" => user_home.join(".lmstudio"),
        pointed => PathBuf::from(pointed),
    }
}

/// A line on stderr: text for people, warnings, errors.
fn say(text: &str) {
    // Nobody reads it any more: nothing is lost.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A line on stdout: JSON and tables.
fn say_out(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A text field of a row of the simulator.
fn field<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_default()
}

/// Several answers are possible: the real one opens a picker. Without a terminal that waits until stdin ends.
fn prompt(question: &str) -> Failed {
    say(question);
    // Whatever is typed, the stand-in has no picker.
    let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    "User force closed the prompt".into()
}
