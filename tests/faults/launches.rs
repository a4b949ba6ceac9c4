//! Launches that somebody changes their mind about: no process is left over, and none is forgotten.

use crate::scene::{LIMIT, program_setting, script, until_state, without_ollama};
use pilothouse_tests::sandbox::{Group, Sandbox, Tools, parent, server, until};
use std::{path::Path, time::Duration};

/// The real llama-server behind a program that takes its time to tell what it can do.
fn slow_to_launch(tools: &Tools, folder: &Path) -> String {
    let real = tools.embedded.join("llama-server/bin/llama-server");
    let lines = format!("[ \"$1\" = --help ] && sleep 2\nexec {:?} \"$@\"", real.display().to_string());
    program_setting(&script(folder, &lines))
}

async fn launching(tools: &Tools, folder: &Path) -> (Sandbox, Group) {
    let sandbox = Sandbox::new(tools, &slow_to_launch(tools, folder));
    let mut engine = sandbox.serve().await;
    until_state(&sandbox, &mut engine, "llama-server", "starting").await;
    (sandbox, engine)
}

/// Servers, without the processes that they start for models.
fn servers(sandbox: &Sandbox) -> Vec<i32> {
    let named = sandbox.running().into_iter().filter(|(_, name)| name == "llama-server").map(|(pid, _)| pid);
    let all: Vec<i32> = named.collect();
    all.iter().copied().filter(|pid| parent(*pid).is_none_or(|parent| !all.contains(&parent))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_that_is_stopped_and_wanted_again_leaves_one_server() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (sandbox, mut engine) = launching(&tools, folder.path()).await;
    let stopped = sandbox.run(&["servers", "stop", "llama-server"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    // And once more in the middle of the next one.
    let mut starting = sandbox.begin(&["servers", "start", "llama-server"]);
    until_state(&sandbox, &mut engine, "llama-server", "starting").await;
    let restarted = sandbox.run(&["servers", "restart", "llama-server"]);
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    until("the end of the start that was called off", LIMIT, || {
        let ended = starting.ended();
        async move { ended }
    })
    .await;
    until_state(&sandbox, &mut engine, "llama-server", "ready").await;
    // Longer than a launch takes: an earlier one would have arrived by now.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let status = sandbox.ask(&["status"]).unwrap();
    let pid = server(&status, "llama-server").unwrap()["pid"].as_i64().unwrap();
    assert_eq!(servers(&sandbox), [i32::try_from(pid).unwrap()], "{:?}", sandbox.running());
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_that_is_stopped_stays_stopped() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (sandbox, mut engine) = launching(&tools, folder.path()).await;
    assert_eq!(sandbox.run(&["servers", "stop", "llama-server"]).code, Some(0));
    until_state(&sandbox, &mut engine, "llama-server", "stopped").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let status = sandbox.ask(&["status"]).unwrap();
    assert_eq!(server(&status, "llama-server").unwrap()["state"], "stopped", "{status:#}");
    assert_eq!(servers(&sandbox), [] as [i32; 0], "{:?}", sandbox.running());
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quit_in_the_middle_of_a_launch_leaves_nothing() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (sandbox, mut engine) = launching(&tools, folder.path()).await;
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
    // What was under way may arrive after everything else has ended.
    tokio::time::sleep(Duration::from_secs(3)).await;
    until("nothing to run any more", LIMIT, || async { sandbox.running().is_empty().then_some(()) }).await;
}
