//! Processes that live and do nothing: SIGSTOP stands for a deadlock.

use crate::{
    answers::ask,
    scene::{NO_LLAMA, QUICK, llama_script, reason, until_notice, until_state, without_ollama},
};
use pilothouse_tests::{
    sandbox::{EMBEDDED_MODEL, OLLAMA_MODEL, Sandbox, Tools, or_skip, parent, pid, server, signal, until},
    sims::ollama::{Fault, MODEL, OllamaSim},
};
use std::{ffi::OsStr, time::Duration};

#[tokio::test(flavor = "multi_thread")]
async fn a_llama_server_of_ours_that_hangs_is_ended_and_comes_back_with_its_model() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, QUICK);
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let before = sandbox.until_ready(&mut engine, "llama-server").await.unwrap();
    signal(before, libc::SIGSTOP);
    let after = sandbox
        .until(&mut engine, "another process with the model", |status| {
            let server = server(status, "llama-server")?;
            let now = pid(server).filter(|now| *now != before)?;
            (server["state"] == "ready" && status["active"]["model"] == EMBEDDED_MODEL).then_some(now)
        })
        .await;
    assert_ne!(after, before);
    let notice = until_notice(&sandbox, &mut engine, "llama-server hung").await;
    assert!(notice["body"].as_str().unwrap().contains("did not answer"), "{notice}");
    sandbox.until_active(&mut engine, "llama-server").await;
    assert_eq!(ask(&sandbox).await.status(), 200);
}

/// The worst kind: every health check is answered, and no token comes.
#[tokio::test(flavor = "multi_thread")]
async fn an_ollama_of_ours_whose_model_hangs_is_found_out_by_a_token() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, &format!("{NO_LLAMA}{QUICK}"));
    let mut engine = sandbox.serve().await;
    sandbox.add_ollama_model(&mut engine).await;
    assert_eq!(sandbox.switch(OLLAMA_MODEL, "ollama").code, Some(0));
    let leader = sandbox.until_ready(&mut engine, "ollama").await.unwrap();
    let runner = sandbox.running().into_iter().map(|(pid, _)| pid).find(|pid| parent(*pid) == Some(leader));
    let runner = runner.expect("the model lives in a process of its own");
    signal(runner, libc::SIGSTOP);
    // A program that asks and gives up is what arouses suspicion.
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(6)).build().unwrap();
    let body = serde_json::json!({ "model": "active", "prompt": "Hello", "max_tokens": 2 });
    let address = format!("http://127.0.0.1:{}/v1/completions", sandbox.gateway_port);
    assert!(http.post(address).json(&body).send().await.is_err_and(|error| error.is_timeout()));
    let shown = until_state(&sandbox, &mut engine, "ollama", "degraded").await;
    assert!(shown["reason"].as_str().unwrap().contains("no token"), "{shown}");
    until_notice(&sandbox, &mut engine, "Ollama hung").await;
    sandbox
        .until(&mut engine, "another process", |status| {
            let server = server(status, "ollama")?;
            (server["state"] == "ready" && pid(server)? != leader).then_some(())
        })
        .await;
    until("the hung process to be gone", crate::scene::LIMIT, || async {
        (parent(runner).is_none() || !sandbox.running().iter().any(|(pid, _)| *pid == runner)).then_some(())
    })
    .await;
    sandbox.until_active(&mut engine, "ollama").await;
    assert_eq!(ask(&sandbox).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_server_that_gives_no_tokens_is_shown_and_left_alone_simulated() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, &format!("{NO_LLAMA}{QUICK}"));
    let theirs = OllamaSim::start(sandbox.ollama_port, Fault::None).await.unwrap();
    let mut engine = sandbox.serve().await;
    sandbox.until_listed(MODEL).await;
    assert_eq!(sandbox.switch(MODEL, "ollama").code, Some(0));
    let rungs = |wanted: &[(&str, &str)]| {
        let checked = sandbox.run(&["servers", "check", "ollama"]);
        let checks = checked.json["checks"].as_array().unwrap();
        let told: Vec<(&str, &str)> = checks
            .iter()
            .map(|check| (check["name"].as_str().unwrap(), check["result"].as_str().unwrap()))
            .collect();
        assert_eq!(told, wanted, "{checked:?}");
        checked.code
    };
    // The model is in memory, but the supervisor may not have seen that yet.
    until("the model to be seen in memory", crate::scene::LIMIT, || async {
        let checked = sandbox.run(&["servers", "check", "ollama"]);
        (checked.json["checks"][2]["result"] == "ok").then_some(())
    })
    .await;
    assert_eq!(rungs(&[("port", "ok"), ("API", "ok"), ("token", "ok")]), Some(0));
    theirs.set(Fault::NoTokens);
    assert_eq!(rungs(&[("port", "ok"), ("API", "ok"), ("token", "fail")]), Some(1));
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(6)).build().unwrap();
    let body = serde_json::json!({ "model": "active", "prompt": "Hello", "max_tokens": 2 });
    let address = format!("http://127.0.0.1:{}/v1/completions", sandbox.gateway_port);
    assert!(http.post(address).json(&body).send().await.is_err());
    let shown = until_state(&sandbox, &mut engine, "ollama", "degraded").await;
    assert!(shown["reason"].as_str().unwrap().contains("no token"), "{shown}");
    theirs.set(Fault::None);
    let shown = until_state(&sandbox, &mut engine, "ollama", "ready").await;
    assert_eq!((&shown["ownership"], &shown["restarts"]), (&"adopted".into(), &0.into()), "{shown}");
    theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_gave_no_token_and_left_is_held_against_nobody_simulated() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, &format!("{NO_LLAMA}{QUICK}"));
    let theirs = OllamaSim::start(sandbox.ollama_port, Fault::NoTokens).await.unwrap();
    let mut engine = sandbox.serve().await;
    sandbox.until_listed(MODEL).await;
    // Loaded by its owner, active for nobody.
    theirs.load();
    until("the model to be seen in memory", crate::scene::LIMIT, || async {
        let models = sandbox.ask(&["models"])?;
        let loaded = |model: &serde_json::Value| model["name"] == MODEL && model["loaded"] == true;
        models["models"].as_array()?.iter().any(loaded).then_some(())
    })
    .await;
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(6)).build().unwrap();
    let body = serde_json::json!({ "model": MODEL, "prompt": "Hello", "max_tokens": 2 });
    let address = format!("http://127.0.0.1:{}/v1/completions", sandbox.gateway_port);
    assert!(http.post(address).json(&body).send().await.is_err());
    until_state(&sandbox, &mut engine, "ollama", "degraded").await;
    theirs.unload();
    let shown = until_state(&sandbox, &mut engine, "ollama", "ready").await;
    assert_eq!(shown["restarts"], 0, "{shown}");
    theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_at_its_start_is_ended_and_said() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let folder = tempfile::tempdir().unwrap();
    let settings = format!("[restart]\nstart_s = 2\n\n{}", llama_script(folder.path(), "exec sleep 1000"));
    let sandbox = Sandbox::new(&tools, &settings);
    let mut engine = sandbox.serve().await;
    let failed = until_state(&sandbox, &mut engine, "llama-server", "failed").await;
    assert!(reason(&failed).contains("did not answer within 2 s"), "{failed:#}");
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}

/// The wall clock of Pilothouse jumps ten years forth and back (libfaketime); its monotonic clock goes on, as on a machine
/// whose clock is set.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_both_ways_disturbs_nobody() {
    let Some(tools) = Tools::find() else { return };
    let Some(library) = or_skip(fake_clock()) else { return };
    let sandbox = Sandbox::new(&tools, QUICK);
    let clock = sandbox.home().join("clock");
    std::fs::write(&clock, "+0").unwrap();
    let variables = [
        ("LD_PRELOAD", library.as_os_str()),
        ("FAKETIME_TIMESTAMP_FILE", clock.as_os_str()),
        ("FAKETIME_NO_CACHE", OsStr::new("1")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", OsStr::new("1")),
    ];
    let mut engine = sandbox.serve_with(&variables).await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let before = server(&sandbox.ask(&["status"]).unwrap(), "llama-server").unwrap().clone();
    let year = || sandbox.ask(&["gauges"]).unwrap()["at"].as_str().unwrap()[..4].parse::<i32>().unwrap();
    let now = year();
    for (jump, years) in [("+10y", 10), ("-10y", -10)] {
        std::fs::write(&clock, jump).unwrap();
        // Longer than a hang may last under these settings.
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!((year() - now - years).abs() <= 1, "the clock has jumped to {}", year());
        let status = sandbox.ask(&["status"]).unwrap();
        let after = server(&status, "llama-server").unwrap();
        assert_eq!(
            (&after["state"], &after["pid"], &after["restarts"]),
            (&before["state"], &before["pid"], &before["restarts"])
        );
        assert_eq!(status["active"]["server"], "llama-server", "{status:#}");
        assert_eq!(ask(&sandbox).await.status(), 200);
    }
    // A wall clock that runs ahead of the monotonic one is how a sleep of the machine shows itself.
    let log = sandbox.run(&["logs", "llama-server", "-n", "2000"]).stdout;
    assert_eq!(log.matches("the machine was asleep, or its clock was set").count(), 1, "{log}");
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}

fn fake_clock() -> Result<std::path::PathBuf, String> {
    let folders = std::fs::read_dir("/usr/lib").map_err(|error| error.to_string())?;
    let found = folders.flatten().map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    found.into_iter().find(|file| file.exists()).ok_or("libfaketime is not installed".into())
}
