//! Servers that somebody else started: found, used, taken over when a person wants it, and left alone otherwise.

use crate::{
    answers::ask,
    scene::{NO_LLAMA, until_state, without_ollama},
};
use pilothouse_domain::Timestamp;
use pilothouse_tests::sandbox::{
    EMBEDDED_MODEL, GGUF, Group, OLLAMA_MODEL, Sandbox, Tools, command, create_in_ollama, free_port, named,
    or_skip, parent, pid, server, until,
};
use std::{process::Stdio, time::Duration};

/// `ollama serve` as a person starts it in a terminal.
async fn their_ollama(tools: &Tools, sandbox: &Sandbox) -> Group {
    let port = sandbox.ollama_port;
    let folder = sandbox.home().parent().unwrap();
    let log = std::fs::File::create(folder.join("their-ollama.log")).unwrap();
    let mut serve = command(&tools.ollama);
    serve.arg("serve").env("OLLAMA_HOST", format!("127.0.0.1:{port}"));
    serve.env("OLLAMA_MODELS", folder.join("ollama-models")).env("HOME", folder.join("home"));
    serve.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let group = Group::spawn(&mut serve);
    answers(&format!("http://127.0.0.1:{port}/api/version")).await;
    group
}

async fn answers(url: &str) {
    until(url, Duration::from_secs(60), || async {
        reqwest::get(url).await.ok().filter(|answer| answer.status().is_success()).map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ollama_of_somebody_else_is_taken_over_when_a_person_wants_it() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, NO_LLAMA);
    let mut theirs = their_ollama(&tools, &sandbox).await;
    create_in_ollama(sandbox.ollama_port, &tools.embedded.join(GGUF));
    let mut engine = sandbox.serve().await;
    let adopted = until_state(&sandbox, &mut engine, "ollama", "ready").await;
    assert_eq!(
        (&adopted["ownership"], pid(&adopted)),
        (&"adopted".into(), Some(theirs.pid())),
        "{adopted:#}"
    );
    sandbox.until_listed(OLLAMA_MODEL).await;
    assert_eq!(sandbox.switch(OLLAMA_MODEL, "ollama").code, Some(0));

    let taken = sandbox.run(&["servers", "take-over", "ollama"]);
    assert_eq!(taken.code, Some(0), "{taken:?}");
    assert!(theirs.ended().is_some(), "it was asked to end");
    let ours = until_state(&sandbox, &mut engine, "ollama", "ready").await;
    assert_eq!(ours["ownership"], "ours", "{ours:#}");
    sandbox.until_active(&mut engine, "ollama").await;
    until("an answer of the active model", Duration::from_secs(60), || async {
        (ask(&sandbox).await.status() == 200).then_some(())
    })
    .await;
    let refused = sandbox.run(&["servers", "take-over", "ollama"]);
    assert_eq!(refused.code, Some(5), "it is ours already: {refused:?}");
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_ollama_of_somebody_else_is_used_its_log_is_read_and_it_survives_our_end() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, NO_LLAMA);
    let mut theirs = their_ollama(&tools, &sandbox).await;
    create_in_ollama(sandbox.ollama_port, &tools.embedded.join(GGUF));
    let mut engine = sandbox.serve().await;
    until_state(&sandbox, &mut engine, "ollama", "ready").await;
    sandbox.until_listed(OLLAMA_MODEL).await;
    assert_eq!(sandbox.switch(OLLAMA_MODEL, "ollama").code, Some(0));
    assert_eq!(ask(&sandbox).await.status(), 200);
    let stopped = sandbox.run(&["servers", "stop", "ollama"]);
    assert_eq!(stopped.code, Some(5), "it is not ours to stop: {stopped:?}");

    // What it wrote before we came, in its own time, then what we say.
    let log = sandbox.run(&["logs", "ollama", "-n", "2000"]).stdout;
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let place = |text: &str| {
        lines.iter().position(|line| line["line"].as_str().unwrap().contains(text)).unwrap_or_else(|| {
            panic!("no {text:?} in {log}");
        })
    };
    assert_eq!(lines[place("Listening on 127.0.0.1")]["source"], "server");
    assert!(place("Listening on 127.0.0.1") < place("found running"), "{log}");
    let times: Vec<Timestamp> =
        lines.iter().map(|line| line["at"].as_str().unwrap().parse().unwrap()).collect();
    assert!(times.is_sorted(), "one time axis: {times:#?}");
    assert!(log.contains("their-ollama.log"), "where it stands: {log}");
    until("its line about our request", Duration::from_secs(30), || async {
        let found = sandbox.run(&["logs", "ollama", "--search", "/V1/Completions"]).stdout;
        found.contains("[GIN]").then_some(())
    })
    .await;

    engine.terminate();
    until("our end", Duration::from_secs(20), || async { sandbox.running().is_empty().then_some(()) }).await;
    assert!(theirs.ended().is_none(), "somebody else's server outlives us");
    let listed = reqwest::get(format!("http://127.0.0.1:{}/api/ps", sandbox.ollama_port)).await.unwrap();
    assert!(listed.text().await.unwrap().contains(OLLAMA_MODEL), "with what it had in memory");
    theirs.terminate();
}

/// What it leaves holds its memory until somebody ends it: Ollama makes no arrangement for its own death.
#[tokio::test(flavor = "multi_thread")]
async fn the_runner_that_a_killed_ollama_leaves_behind_is_found_counted_and_ended_on_request() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, &format!("{NO_LLAMA}[gauges]\ninterval_ms = 300\n\n"));
    let mut theirs = their_ollama(&tools, &sandbox).await;
    create_in_ollama(sandbox.ollama_port, &tools.embedded.join(GGUF));
    let mut engine = sandbox.serve().await;
    until_state(&sandbox, &mut engine, "ollama", "ready").await;
    sandbox.until_listed(OLLAMA_MODEL).await;
    assert_eq!(sandbox.switch(OLLAMA_MODEL, "ollama").code, Some(0));
    let runner = child_of(theirs.pid()).expect("the process with the model");
    let orphan = || {
        let gauges = sandbox.ask(&["gauges"])?;
        gauges["orphans"].as_array()?.iter().find(|one| one["pid"] == runner).cloned()
    };
    assert_eq!(orphan(), None, "it has its server");
    // One that still writes to the pipe of its dead server dies of that line: it is left behind only when it is idle.
    until("an idle runner", Duration::from_secs(30), || async {
        let before = processor_time(runner);
        tokio::time::sleep(Duration::from_millis(500)).await;
        (processor_time(runner) == before).then_some(())
    })
    .await;

    theirs.kill_leader();
    let found = until("the orphan", Duration::from_secs(30), || async { orphan() }).await;
    // The weights are a mapped file, and others that run now may share its pages.
    assert!(found["memory_bytes"].as_u64().unwrap() > 10_000_000, "the model is in it: {found}");
    let doctor = sandbox.run(&["doctor"]).stdout;
    assert!(doctor.contains(&format!("process {runner} of an Ollama that died")), "{doctor}");
    assert_eq!(sandbox.run(&["servers", "end-orphans"]).code, Some(0));
    until("its end", Duration::from_secs(30), || async { parent(runner).is_none().then_some(()) }).await;
    until("the gauges to know", Duration::from_secs(30), || async { orphan().is_none().then_some(()) }).await;
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}

/// Ticks of user and system time so far.
fn processor_time(pid: i32) -> Vec<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    after_name.split_whitespace().skip(11).take(2).map(str::to_owned).collect()
}

fn child_of(wanted: i32) -> Option<i32> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find(|pid| parent(*pid) == Some(wanted))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_llama_server_that_somebody_else_runs_is_found_and_used_and_left_alone() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let port = free_port();
    let mut serve = command(tools.embedded.join("llama-server/bin/llama-server"));
    serve.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--ctx-size", "1024", "--model"]);
    serve.arg(tools.embedded.join(GGUF)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut theirs = Group::spawn(&mut serve);
    answers(&format!("http://127.0.0.1:{port}/health")).await;
    let address = format!("http://127.0.0.1:{port}");

    let sandbox = Sandbox::new(&tools, NO_LLAMA);
    let mut engine = sandbox.serve().await;
    let found = sandbox.ask(&["servers", "discover"]).unwrap();
    let one = |found: &serde_json::Value| {
        let all = found["discovered"].as_array().unwrap();
        all.iter().find(|one| one["address"] == address).cloned().unwrap()
    };
    let stranger = one(&found);
    assert_eq!(
        (&stranger["product"], &stranger["known_as"]),
        (&"llama-server".into(), &().into()),
        "{stranger:#}"
    );
    assert!(stranger["process"].as_str().unwrap().contains(&theirs.pid().to_string()), "{stranger:#}");

    // What it says is what `servers add` wants, and that needs no restart.
    let id = format!("llama-{port}");
    assert_eq!(stranger["add_as"], id);
    let added = sandbox.run(&["servers", "add", &id, stranger["openai"].as_str().unwrap()]);
    assert_eq!(added.code, Some(0), "{added:?}");
    let twice = sandbox.run(&["servers", "add", &id, "http://127.0.0.1:1/v1"]);
    assert_eq!((twice.code, &twice.json["error"]["code"]), (Some(5), &"busy".into()), "{twice:?}");
    let known = until_state(&sandbox, &mut engine, &id, "ready").await;
    assert_eq!(pid(&known), Some(theirs.pid()), "its memory can be told: {known:#}");
    assert_eq!(one(&sandbox.ask(&["servers", "discover"]).unwrap())["known_as"], id);
    let models = sandbox.ask(&["models", "--server", &id]).or_else(|| sandbox.ask(&["models"])).unwrap();
    let model =
        models["models"].as_array().unwrap().iter().find(|model| model["server"] == id).unwrap().clone();
    assert_eq!(model["context_max"], 8192, "{model:#}");
    assert!(model["name"].as_str().unwrap().contains(EMBEDDED_MODEL), "{model:#}");
    assert_eq!(sandbox.switch(model["name"].as_str().unwrap(), &id).code, Some(0));
    assert_eq!(ask(&sandbox).await.status(), 200);
    assert_eq!(sandbox.run(&["servers", "remove", &id]).code, Some(0));
    sandbox
        .until(&mut engine, "the server to be forgotten", |status| {
            server(status, &id).is_none().then_some(())
        })
        .await;
    assert_eq!(ask(&sandbox).await.status(), 503, "its model can be had no more");
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
    assert!(theirs.ended().is_none(), "somebody else's server outlives us");
    theirs.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ollama_whose_own_llama_server_is_too_old_fails_to_load_and_says_why() {
    let Some(tools) = Tools::find() else { return };
    let Some(ollama) = or_skip(named("PILOTHOUSE_TEST_OLLAMA_TOO_NEW")) else { return };
    let tools = Tools { ollama, ..tools };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    sandbox.add_ollama_model(&mut engine).await;
    let failed = sandbox.switch(OLLAMA_MODEL, "ollama");
    assert_eq!((failed.code, &failed.json["outcome"]), (Some(1), &"rolled_back".into()), "{failed:?}");
    assert!(failed.stdout.contains("--load-mode"), "its own words: {failed:?}");
    sandbox.until_active(&mut engine, "llama-server").await;
    assert_eq!(ask(&sandbox).await.status(), 200);
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}
