//! What may go wrong around a benchmark: busy neighbours, our own end in the middle of one, servers that die or refuse.

use crate::{
    answers::ask,
    scene::{LIMIT, NO_LLAMA, simulated, without_ollama},
};
use pilothouse_tests::{
    program,
    sandbox::{EMBEDDED_MODEL, Group, Sandbox, Tools, command, free_port, server, signal, until},
    sims::{
        front::{Front, Rules},
        lmstudio::{LmStudioSim, Options},
        ollama::MODEL as SECOND,
    },
};
use serde_json::Value;
use sqlx::{Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};
use std::{path::Path, process::Stdio, sync::Arc};

/// A model of the simulator.
const MODEL: &str = "simulated/alpha-2b";

/// The newest run of the history.
fn newest(sandbox: &Sandbox) -> Option<Value> {
    sandbox.ask(&["history", "--limit", "1"])?["runs"].as_array()?.first().cloned()
}

/// Waits until the run under way has so many trials that count.
async fn until_trials(sandbox: &Sandbox, least: u64) -> Value {
    until("trials of the run under way", LIMIT, || async {
        newest(sandbox).filter(|run| run["state"] == "running" && run["trials"].as_u64() >= Some(least))
    })
    .await
}

fn is_loaded(sandbox: &Sandbox, model: &str) -> Option<bool> {
    let models = sandbox.ask(&["models"])?;
    models["models"].as_array()?.iter().find(|one| one["name"] == model)?["loaded"].as_bool()
}

/// A program that does nothing but compute, under a name of its own.
fn busy(folder: &Path, name: &str) -> Group {
    let file = folder.join(name);
    program::script(&file, "while :; do :; done").unwrap();
    Group::spawn(&mut command(file))
}

/// The server is simulated, the gate and the neighbours are real: each has a core of two, or what this machine leaves it.
#[tokio::test(flavor = "multi_thread")]
async fn busy_programs_beside_a_benchmark_stop_it_or_are_named_in_it_simulated() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port().to_string());
    let home = folder.path().display().to_string();
    // A process of its own: the children of a server's process count as its own.
    let mut theirs = command(env!("CARGO_BIN_EXE_sim-lmstudio"));
    theirs.args(["--home", &home, "--port", &port, "--load-seconds", "0.1", "--tokens-per-second", "500"]);
    let theirs = Group::spawn(theirs.stdout(Stdio::null()));
    let settings =
        format!("{NO_LLAMA}[servers.lmstudio]\naddress = \"http://127.0.0.1:{port}\"\nhome = {home:?}\n");
    let sandbox = Sandbox::new(&tools, &settings);
    let mut engine = sandbox.serve().await;
    sandbox.until_ready(&mut engine, "lmstudio").await;
    sandbox.until_listed(MODEL).await;
    let loops = ["busy-neighbour", "busy-stranger"].map(|name| (name, busy(sandbox.folder(), name)));
    let named = |name: &Value, pid: &Value| {
        loops.iter().any(|(own, group)| name == own && pid.as_i64() == Some(group.pid().into()))
    };

    // The three are named that compute most: beside other busy programs that may be those for once.
    let stopped = until("one of ours to be named", LIMIT, || async {
        let stopped = sandbox.run(&["bench", MODEL, "--when-disturbed", "stop", "--quiet-wait", "1"]);
        let error = &stopped.json["error"];
        assert_eq!((stopped.code, &error["code"]), (Some(5), &"not_quiet".into()), "{stopped:?}");
        let message = error["message"].as_str().unwrap();
        let says = |(name, group): &(&str, Group)| message.contains(&format!("{name} (pid {})", group.pid()));
        loops.iter().any(says).then_some(stopped)
    })
    .await;
    let error = &stopped.json["error"];
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("End what disturbs")), "{error:#}");
    let run = newest(&sandbox).unwrap();
    assert_eq!(
        (&run["state"], &run["trials"], &run["warmups"]),
        (&"cut_off".into(), &0.into(), &0.into()),
        "{run:#}"
    );
    assert_eq!(is_loaded(&sandbox, MODEL), Some(false), "what was loaded for it has left");

    let marked = sandbox.run(&["bench", MODEL, "--trials", "10", "--quiet-wait", "0"]);
    assert_eq!(marked.code, Some(0), "{marked:?}");
    let disturbed = marked.json["disturbed"].as_array().unwrap();
    let ours = disturbed.iter().find(|one| named(&one["name"], &one["pid"]));
    let ours = ours.unwrap_or_else(|| panic!("neither is named: {disturbed:#?}"));
    assert_eq!(ours["what"], "processor", "{ours:#}");
    assert!(ours["percent"].as_f64() >= Some(5.0) && ours["seconds"].as_f64() > Some(0.0), "{ours:#}");
    assert_eq!(newest(&sandbox).unwrap()["disturbed"], marked.json["disturbed"], "it is kept");
    drop((loops, theirs));
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}

async fn check_of(sandbox: &Sandbox) -> String {
    let options = SqliteConnectOptions::new().filename(sandbox.database()).read_only(true);
    let mut database = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("PRAGMA integrity_check").fetch_one(&mut database).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_kill_during_a_benchmark_of_another_model_keeps_its_trials_and_takes_that_model_out_simulated()
 {
    let Some(tools) = Tools::find().and_then(|tools| simulated(&tools)) else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    sandbox.until_listed(SECOND).await;
    let mut bench =
        sandbox.begin(&["bench", SECOND, "--server", "ollama", "--trials", "20", "--quiet-wait", "0"]);
    let run = until_trials(&sandbox, 2).await;
    assert_eq!(is_loaded(&sandbox, SECOND), Some(true));
    engine.kill_leader();
    bench.stop();
    assert_eq!(check_of(&sandbox).await, "ok");

    let mut again = sandbox.serve().await;
    sandbox.until_active(&mut again, "llama-server").await;
    let kept = newest(&sandbox).unwrap();
    assert_eq!((&kept["run_id"], &kept["state"]), (&run["run_id"], &"cut_off".into()), "{kept:#}");
    assert!(kept["trials"].as_u64() >= Some(2) && kept["decode_tok_s"]["median"].is_f64(), "{kept:#}");
    until("the model of the benchmark to leave memory", LIMIT, || async {
        (is_loaded(&sandbox, SECOND) == Some(false)).then_some(())
    })
    .await;
    assert_eq!(is_loaded(&sandbox, EMBEDDED_MODEL), Some(true));
    assert_eq!(ask(&sandbox).await.status(), 200, "the active model answers");
    let resumed = sandbox.run(&["bench", "--resume", &run["run_id"].to_string()]);
    assert_eq!((resumed.code, &resumed.json["run_id"]), (Some(0), &run["run_id"]), "{resumed:?}");
    assert_eq!(
        (&resumed.json["trials"], &resumed.json["state"]),
        (&20.into(), &"done".into()),
        "{resumed:?}"
    );
    assert_eq!(is_loaded(&sandbox, SECOND), Some(false), "memory is as before");
    assert_eq!(check_of(&sandbox).await, "ok");
    again.terminate();
    sandbox.assert_clean_end(&mut again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_during_a_benchmark_ends_it_with_its_words_and_the_next_one_is_well_simulated() {
    let Some(tools) = Tools::find().and_then(|tools| simulated(&tools)) else { return };
    let sandbox = Arc::new(Sandbox::new(&tools, NO_LLAMA));
    let mut engine = sandbox.serve().await;
    let pid = sandbox.until_ready(&mut engine, "ollama").await.unwrap();
    sandbox.until_listed(SECOND).await;
    assert_eq!(sandbox.switch(SECOND, "ollama").code, Some(0));
    let bench = tokio::task::spawn_blocking({
        let sandbox = sandbox.clone();
        move || sandbox.run(&["bench", "--trials", "100", "--quiet-wait", "0"])
    });
    let run = until_trials(&sandbox, 1).await;
    signal(pid, libc::SIGKILL);
    let ended = bench.await.unwrap();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let message = ended.json["error"]["message"].as_str().unwrap();
    // Whichever comes first: three failures, or its being back as another process.
    let ended_with = ["one after another failed", "ended during the benchmark and was started again"];
    assert!(ended_with.iter().any(|words| message.contains(words)), "{ended:?}");
    assert!(
        ended.json["error"]["hint"].as_str().is_some_and(|hint| hint.contains("logs ollama")),
        "{ended:?}"
    );
    let kept = newest(&sandbox).unwrap();
    assert_eq!((&kept["run_id"], &kept["state"]), (&run["run_id"], &"cut_off".into()), "{kept:#}");
    assert!(kept["trials"].as_u64() >= Some(1), "{kept:#}");
    assert!(kept["note"].as_str().is_some_and(|note| note.contains(message)), "{kept:#}");

    sandbox
        .until(&mut engine, "another process of the server", |status| {
            let server = server(status, "ollama")?;
            (server["state"] == "ready" && server["pid"].is_i64() && server["pid"] != pid).then_some(())
        })
        .await;
    sandbox.until_active(&mut engine, "ollama").await;
    until("the active model to be back", LIMIT, || async {
        (is_loaded(&sandbox, SECOND) == Some(true) && ask(&sandbox).await.status() == 200).then_some(())
    })
    .await;
    let next = sandbox.run(&["bench", "--trials", "5", "--quiet-wait", "0"]);
    assert_eq!((next.code, &next.json["trials"]), (Some(0), &5.into()), "{next:?}");
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}

/// Nobody of ours started it, and it is back before a probe could miss it: cold, and with the model to be loaded anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_somebody_else_that_is_replaced_during_a_benchmark_ends_it_simulated() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port().to_string());
    let home = folder.path().display().to_string();
    let start = || {
        let mut theirs = command(env!("CARGO_BIN_EXE_sim-lmstudio"));
        theirs.args([
            "--home",
            &home,
            "--port",
            &port,
            "--load-seconds",
            "0.1",
            "--tokens-per-second",
            "500",
        ]);
        Group::spawn(theirs.stdout(Stdio::null()))
    };
    let mut first = start();
    let settings =
        format!("{NO_LLAMA}[servers.lmstudio]\naddress = \"http://127.0.0.1:{port}\"\nhome = {home:?}\n");
    let sandbox = Arc::new(Sandbox::new(&tools, &settings));
    let mut engine = sandbox.serve().await;
    sandbox.until_ready(&mut engine, "lmstudio").await;
    sandbox.until_listed(MODEL).await;
    assert_eq!(sandbox.switch(MODEL, "lmstudio").code, Some(0));
    let bench = tokio::task::spawn_blocking({
        let sandbox = sandbox.clone();
        move || sandbox.run(&["bench", "--trials", "100", "--quiet-wait", "0"])
    });
    until_trials(&sandbox, 2).await;
    first.stop();
    let mut second = start();
    let ended = bench.await.unwrap();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let message = ended.json["error"]["message"].as_str().unwrap();
    assert_eq!(message, "LM Studio ended during the benchmark and was started again.", "{ended:?}");
    assert_eq!(newest(&sandbox).unwrap()["state"], "cut_off");
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
    second.stop();
}

/// One answer of four is HTTP 500. What the server takes was known before: nothing else is tried, and its count of tokens stays.
#[tokio::test(flavor = "multi_thread")]
async fn single_requests_that_fail_are_flawed_trials_of_a_run_that_is_done_simulated() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let folder = tempfile::tempdir().unwrap();
    let options = Options { tokens_per_second: 500.0, ..Options::new(folder.path()) };
    let behind = LmStudioSim::start(options).await.unwrap();
    let front = Front::open(0, &format!("{}/v1", behind.base_url().unwrap()), None).await.unwrap();
    front.set(Rules { fails_every: Some(4), ..Rules::default() });
    let settings =
        format!("{NO_LLAMA}[servers.remote.studio]\naddress = \"http://127.0.0.1:{}\"\n", front.port);
    let sandbox = Sandbox::new(&tools, &settings);
    let mut engine = sandbox.serve().await;
    sandbox.until_ready(&mut engine, "studio").await;
    sandbox.until_listed(MODEL).await;
    let run = sandbox.run(&["bench", MODEL, "--server", "studio", "--trials", "10", "--quiet-wait", "0"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let trials = run.json["trials"].as_u64().unwrap();
    assert!((7..10).contains(&trials), "two or three of ten: {run:?}");
    assert_eq!(run.json["state"], "done");
    let note = format!("{} of 10 trials do not count.", 10 - trials);
    assert!(run.json["note"].as_str().is_some_and(|told| told.ends_with(&note)), "{run:?}");
    assert_eq!(run.json["decode_tok_s"]["n"], trials, "each that counts has a rate: {run:?}");

    front.set(Rules { fails_every: Some(1), ..Rules::default() });
    let ended = sandbox.run(&["bench", MODEL, "--server", "studio", "--trials", "10", "--quiet-wait", "0"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let message = ended.json["error"]["message"].as_str().unwrap();
    assert!(message.contains("3 requests") && message.contains("out of luck"), "{message}");
    assert_eq!(newest(&sandbox).unwrap()["state"], "cut_off");
    front.set(Rules::default());
    let next = sandbox.run(&["bench", MODEL, "--server", "studio", "--trials", "5", "--quiet-wait", "0"]);
    assert_eq!((next.code, &next.json["trials"]), (Some(0), &5.into()), "{next:?}");
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
    front.close().await;
    behind.stop().await;
}

/// Where no Pilothouse runs, `bench` starts an engine of its own. Whoever ends it ends all of that, however.
#[tokio::test(flavor = "multi_thread")]
async fn a_benchmark_with_an_engine_of_its_own_that_is_ended_leaves_nothing_running() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    for end in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let sandbox = Sandbox::new(&tools, "");
        let mut bench = sandbox.begin(&["bench", "--trials", "100", "--quiet-wait", "0"]);
        // On a busy machine its warm-up alone may take minutes.
        until("the run under way", LIMIT, || async {
            newest(&sandbox).filter(|run| run["state"] == "running")
        })
        .await;
        signal(bench.pid(), end);
        let status = sandbox.assert_clean_end(&mut bench).await;
        assert_eq!(status.code(), Some(130), "signal {end}");
        let mut engine = sandbox.serve().await;
        let run = newest(&sandbox).unwrap();
        assert_eq!(run["state"], "cancelled", "signal {end}: {run:#}");
        engine.terminate();
        sandbox.assert_clean_end(&mut engine).await;
    }
}
