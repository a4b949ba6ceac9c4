//! Pilothouse itself is killed beside a server that is neither ready nor starting (`processes.rs` has those two): between
//! two restarts, on its way down, hanging, given up, somebody else's.

use crate::{
    answers::ask,
    scene::{LIMIT, NO_LLAMA, QUICK, environment, llama_script, reason, simulated, until_state},
};
use pilothouse_tests::{
    sandbox::{Group, Sandbox, Tools, command, pid, server, signal, until},
    sims::ollama::MODEL,
};
use std::{
    net::{TcpListener, TcpStream},
    process::Stdio,
};

/// An Ollama of ours, simulated, with the active model in it; gives its process.
async fn with_the_active_model(settings: &str) -> Option<(Sandbox, Group, i32)> {
    let tools = simulated(&Tools::find()?)?;
    let sandbox = Sandbox::new(&tools, settings);
    let mut engine = sandbox.serve().await;
    make_active(&sandbox).await;
    let process = sandbox.until_ready(&mut engine, "ollama").await.unwrap();
    Some((sandbox, engine, process))
}

async fn make_active(sandbox: &Sandbox) {
    sandbox.until_listed(MODEL).await;
    let switched = sandbox.switch(MODEL, "ollama");
    assert_eq!(switched.code, Some(0), "{switched:?}");
}

/// Kills Pilothouse without a word to its servers, and starts it again.
async fn killed_and_started_again(sandbox: &Sandbox, engine: &mut Group) -> Group {
    let settings = std::fs::read_to_string(sandbox.settings_file()).unwrap();
    engine.kill_leader();
    let again = sandbox.serve().await;
    assert_eq!(std::fs::read_to_string(sandbox.settings_file()).unwrap(), settings, "the person's file");
    again
}

/// The simulated servers that Pilothouse started and that still run.
fn started(sandbox: &Sandbox) -> Vec<i32> {
    let all = sandbox.running().into_iter();
    all.filter(|(_, name)| name == "sim-ollama").map(|(process, _)| process).collect()
}

/// One process serves, it is ours, and the choice of before is in force; gives its process.
async fn one_of_ours(sandbox: &Sandbox, engine: &mut Group) -> i32 {
    sandbox.until_active(engine, "ollama").await;
    let ready = until_state(sandbox, engine, "ollama", "ready").await;
    assert_eq!(ready["ownership"], "ours", "{ready:#}");
    let process = pid(&ready).unwrap();
    assert_eq!(started(sandbox), [process], "{ready:#}");
    assert_eq!(sandbox.ask(&["status"]).unwrap()["active"]["model"], MODEL);
    assert_eq!(ask(sandbox).await.status(), 200);
    process
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_kill_between_two_restarts_leaves_one_server_with_its_model() {
    // Longer than the test goes on: nobody but the next Pilothouse starts it again.
    let settings = format!("{NO_LLAMA}[restart]\nfirst_ms = 25000\n\n");
    let Some((sandbox, mut engine, first)) = with_the_active_model(&settings).await else { return };
    signal(first, libc::SIGKILL);
    let waiting = sandbox
        .until(&mut engine, "the time between two restarts", |status| {
            let server = server(status, "ollama")?;
            (server["state"] == "starting" && pid(server).is_none()).then(|| server.clone())
        })
        .await;
    assert!(reason(&waiting).contains("signal 9"), "{waiting:#}");
    let mut again = killed_and_started_again(&sandbox, &mut engine).await;
    assert_ne!(one_of_ours(&sandbox, &mut again).await, first);
    again.terminate();
    sandbox.assert_clean_end(&mut again).await;
}

/// Its end was never reached, so it is found again; whoever wanted it down says so once more.
#[tokio::test(flavor = "multi_thread")]
async fn our_own_kill_during_a_stop_finds_the_same_server_and_it_can_be_stopped() {
    // SIGTERM changes nothing: it is on its way down until the bound is over.
    let settings = format!("{NO_LLAMA}{}", environment(&[("SIM_IGNORE_TERM", "true")]));
    let Some((sandbox, mut engine, before)) = with_the_active_model(&settings).await else { return };
    let mut client = sandbox.begin(&["servers", "stop", "ollama"]);
    until_state(&sandbox, &mut engine, "ollama", "stopping").await;
    let mut again = killed_and_started_again(&sandbox, &mut engine).await;
    client.stop();
    assert_eq!(one_of_ours(&sandbox, &mut again).await, before, "the same process");
    let stopped = sandbox.run(&["servers", "stop", "ollama"]);
    assert_eq!(stopped.json["servers"][0]["state"], "stopped", "{stopped:?}");
    assert_eq!(started(&sandbox), Vec::<i32>::new());
    again.terminate();
    sandbox.assert_clean_end(&mut again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_kill_beside_a_server_that_hangs_replaces_it() {
    let settings = format!("{NO_LLAMA}[restart]\nstart_s = 5\n\n");
    let Some((sandbox, mut engine, hung)) = with_the_active_model(&settings).await else { return };
    signal(hung, libc::SIGSTOP);
    let shown = until_state(&sandbox, &mut engine, "ollama", "degraded").await;
    assert!(reason(&shown).contains("did not answer"), "{shown:#}");
    assert_eq!(pid(&shown), Some(hung), "{shown:#}");
    // It is young and may be looking for GPUs: it is given the time of a start, and no more.
    let mut again = killed_and_started_again(&sandbox, &mut engine).await;
    assert_ne!(one_of_ours(&sandbox, &mut again).await, hung);
    again.terminate();
    sandbox.assert_clean_end(&mut again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_kill_beside_a_server_that_was_given_up_tries_it_again_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let settings = format!("{}{QUICK}", llama_script(folder.path(), "exit 7"));
    let Some((sandbox, mut engine, before)) = with_the_active_model(&settings).await else { return };
    until_state(&sandbox, &mut engine, "llama-server", "gave_up").await;
    let mut again = killed_and_started_again(&sandbox, &mut engine).await;
    let given_up = until_state(&sandbox, &mut again, "llama-server", "gave_up").await;
    assert!(reason(&given_up).contains("code 7"), "{given_up:#}");
    assert!(reason(&given_up).contains("3 times"), "counted anew: {given_up:#}");
    assert_eq!(one_of_ours(&sandbox, &mut again).await, before, "the other one goes on");
    again.terminate();
    sandbox.assert_clean_end(&mut again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_kill_leaves_a_server_of_somebody_else_untouched_simulated() {
    let Some(tools) = Tools::find().and_then(|tools| simulated(&tools)) else { return };
    let sandbox = Sandbox::new(&tools, NO_LLAMA);
    let address = ("127.0.0.1", sandbox.ollama_port);
    let mut serve = command(&tools.ollama);
    serve.arg("serve").env("OLLAMA_HOST", format!("127.0.0.1:{}", sandbox.ollama_port));
    serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut theirs = Group::spawn(&mut serve);
    until("somebody else's server", LIMIT, || async { TcpStream::connect(address).ok().map(drop) }).await;
    let mut engine = sandbox.serve().await;
    make_active(&sandbox).await;

    let mut again = killed_and_started_again(&sandbox, &mut engine).await;
    sandbox.until_active(&mut again, "ollama").await;
    let found = until_state(&sandbox, &mut again, "ollama", "ready").await;
    assert_eq!((&found["ownership"], pid(&found)), (&"adopted".into(), Some(theirs.pid())), "{found:#}");
    assert_eq!(started(&sandbox), Vec::<i32>::new(), "none beside it");
    assert_eq!(sandbox.ask(&["status"]).unwrap()["active"]["model"], MODEL);
    assert_eq!(ask(&sandbox).await.status(), 200);
    again.terminate();
    until("our end", LIMIT, || async { sandbox.running().is_empty().then_some(()) }).await;
    assert!(theirs.ended().is_none(), "it is not ours to end");
}

/// The stranger is this test itself.
#[tokio::test(flavor = "multi_thread")]
async fn our_own_kill_beside_a_stranger_at_the_port_forgets_no_choice() {
    let Some((sandbox, mut engine, _)) = with_the_active_model(NO_LLAMA).await else { return };
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
    let stranger = TcpListener::bind(("127.0.0.1", sandbox.ollama_port)).unwrap();
    let mut engine = sandbox.serve().await;
    until_state(&sandbox, &mut engine, "ollama", "not_ours").await;
    let mut again = killed_and_started_again(&sandbox, &mut engine).await;
    let shown = until_state(&sandbox, &mut again, "ollama", "not_ours").await;
    // By which pid is left open: a child that another test here is just starting has the same socket until it is itself.
    assert!(reason(&shown).contains("is held by"), "{shown:#}");
    assert_eq!(started(&sandbox), Vec::<i32>::new());
    drop(stranger);
    one_of_ours(&sandbox, &mut again).await;
    again.terminate();
    sandbox.assert_clean_end(&mut again).await;
}
