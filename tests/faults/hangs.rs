//! Processes that live and do nothing: SIGSTOP stands for a deadlock.

use crate::{
    answers::ask,
    scene::{NO_LLAMA, QUICK, until_notice, until_state},
};
use pilothouse_tests::{
    sandbox::{EMBEDDED_MODEL, OLLAMA_MODEL, Sandbox, Tools, parent, pid, server, signal, until},
    sims::ollama::{Fault, MODEL, OllamaSim},
};
use std::time::Duration;

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
    theirs.set(Fault::NoTokens);
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
