//! Servers that somebody else started: found, used, taken over when a person wants it, and left alone otherwise.

use crate::{
    answers::ask,
    scene::{NO_LLAMA, until_state, without_ollama},
};
use pilothouse_tests::sandbox::{
    EMBEDDED_MODEL, GGUF, Group, OLLAMA_MODEL, Sandbox, Tools, command, create_in_ollama, free_port, named,
    or_skip, pid, until,
};
use std::{path::Path, process::Stdio, time::Duration};

/// `ollama serve` as a person starts it in a terminal.
async fn their_ollama(tools: &Tools, port: u16, models: &Path) -> Group {
    let mut serve = command(&tools.ollama);
    serve.arg("serve").env("OLLAMA_HOST", format!("127.0.0.1:{port}")).env("OLLAMA_MODELS", models);
    serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
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
    let models = sandbox.home().parent().unwrap().join("ollama-models");
    let mut theirs = their_ollama(&tools, sandbox.ollama_port, &models).await;
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
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;

    // The lines it gave are settings.
    let lines = stranger["settings"].as_str().unwrap();
    let sandbox = Sandbox::new(&tools, &format!("{NO_LLAMA}{lines}"));
    let mut engine = sandbox.serve().await;
    let id = format!("llama-{port}");
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
