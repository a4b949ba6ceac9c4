//! What the tests of this folder have in common.

use pilothouse_tests::{
    program,
    sandbox::{Group, Sandbox, Tools, built, or_skip, server},
};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

pub const LIMIT: Duration = Duration::from_secs(60);
/// For tests in which the embedded server has no part.
pub const NO_LLAMA: &str = "[servers.llama-server]\nautostart = false\n\n";
/// Everything about hangs, faster than anybody would want it.
pub const QUICK: &str =
    "[restart]\nfirst_ms = 100\nmax_ms = 500\nmax_crashes = 3\nhang_s = 3\ntoken_s = 2\n\n";

/// The tools with the simulator in Ollama's place, so that "our own Ollama" can be told to misbehave.
pub fn simulated(tools: &Tools) -> Option<Tools> {
    let ollama = or_skip(built("sim-ollama"))?;
    Some(Tools { cli: tools.cli.clone(), embedded: tools.embedded.clone(), ollama })
}

/// The tools without an Ollama, for tests in which it would only take time.
pub fn without_ollama(tools: Tools) -> Tools {
    Tools { ollama: PathBuf::from("/no/ollama"), ..tools }
}

/// Settings that give an Ollama of ours these variables.
pub fn environment(variables: &[(&str, &str)]) -> String {
    let lines: Vec<String> = variables.iter().map(|(name, value)| format!("{name} = {value:?}\n")).collect();
    format!("[servers.ollama.environment]\n{}\n", lines.concat())
}

/// Waits until a server is in a state; gives its entry in the status.
pub async fn until_state(sandbox: &Sandbox, engine: &mut Group, id: &str, state: &str) -> Value {
    sandbox
        .until(engine, &format!("{id} to be {state}"), |status| {
            server(status, id).filter(|server| server["state"] == state).cloned()
        })
        .await
}

/// Waits until a notice has these words in its title or body.
pub async fn until_notice(sandbox: &Sandbox, engine: &mut Group, words: &str) -> Value {
    sandbox
        .until(engine, &format!("a notice about {words:?}"), |status| {
            let notices = status["notices"].as_array()?;
            let has = |notice: &&Value, key: &str| notice[key].as_str().unwrap_or_default().contains(words);
            notices.iter().find(|notice| has(notice, "title") || has(notice, "body")).cloned()
        })
        .await
}

/// The words of a server's reason.
pub fn reason(server: &Value) -> &str {
    server["reason"].as_str().unwrap_or_default()
}

/// A program of a few lines.
pub fn script(folder: &Path, lines: &str) -> PathBuf {
    let file = folder.join("llama-server");
    program::script(&file, lines).unwrap();
    file
}

/// A program that passes for a llama-server of today until it is asked to serve.
pub fn llama_script(folder: &Path, when_serving: &str) -> String {
    let lines = format!("[ \"$1\" = --help ] && {{ echo --models-dir; exit 0; }}\n{when_serving}");
    program_setting(&script(folder, &lines))
}

/// Settings in which llama-server is this program.
pub fn program_setting(program: &Path) -> String {
    format!("[servers.llama-server]\nprogram = {:?}\n\n", program.display().to_string())
}
