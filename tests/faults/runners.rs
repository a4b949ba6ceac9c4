//! The process that holds a model dies, and its server goes on as if nothing had happened.

use crate::{
    answers::ask,
    scene::{NO_LLAMA, until_notice},
};
use futures_util::StreamExt;
use pilothouse_domain::Timestamp;
use pilothouse_tests::sandbox::{
    EMBEDDED_MODEL, Group, OLLAMA_MODEL, Sandbox, Tools, parent, server, signal, until,
};
use serde_json::{Value, json};
use std::time::Instant;

/// A person is to hear of a loss within this time.
const NOTICED_MS: i128 = 2000;

/// From a loss to the notice about it, by the notice's own time: when we come to read it is another matter.
fn noticed_after_ms(notice: &Value, lost: Timestamp) -> i128 {
    let noticed: Timestamp = notice["at"].as_str().unwrap().parse().unwrap();
    noticed.duration_since(lost).as_millis()
}

fn runner_of(sandbox: &Sandbox, leader: i32) -> Option<i32> {
    sandbox.running().into_iter().map(|(pid, _)| pid).find(|pid| parent(*pid) == Some(leader))
}

/// The process that Pilothouse knows as the holder of Ollama's model. The command line does not tell it, the snapshot does.
async fn known_runner(sandbox: &Sandbox) -> Option<i32> {
    let status = sandbox.ask(&["status"])?;
    let (address, token) = status["web_url"].as_str()?.split_once("/#token=")?;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let call = http.post(format!("{address}/api/call")).json(&json!({ "call": "snapshot" }));
    let reply: Value = call.bearer_auth(token).send().await.ok()?.json().await.ok()?;
    let instance =
        reply["snapshot"]["instances"].as_array()?.iter().find(|instance| instance["server"] == "ollama")?;
    i32::try_from(instance["pid"].as_i64()?).ok()
}

async fn ollama_with_its_model() -> Option<(Sandbox, Group, i32)> {
    let tools = Tools::find()?;
    let sandbox = Sandbox::new(&tools, NO_LLAMA);
    let mut engine = sandbox.serve().await;
    sandbox.add_ollama_model(&mut engine).await;
    assert_eq!(sandbox.switch(OLLAMA_MODEL, "ollama").code, Some(0));
    let leader = sandbox.until_ready(&mut engine, "ollama").await.unwrap();
    // The supervisor must have seen the process, or its end would be none.
    until("the runner to be known", crate::scene::LIMIT, || async {
        known_runner(&sandbox).await.filter(|known| runner_of(&sandbox, leader) == Some(*known))
    })
    .await;
    Some((sandbox, engine, leader))
}

/// Ollama itself goes on listing the model until the next request stumbles over it.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_runner_of_a_real_ollama_is_noticed_and_its_model_loaded_again() {
    let Some((sandbox, mut engine, leader)) = ollama_with_its_model().await else { return };
    let runner = runner_of(&sandbox, leader).unwrap();
    let killed = Timestamp::now();
    signal(runner, libc::SIGKILL);
    let notice = until_notice(&sandbox, &mut engine, "left memory by itself").await;
    let ms = noticed_after_ms(&notice, killed);
    println!("noticed after {ms} ms");
    assert!(ms < NOTICED_MS, "noticed after {ms} ms");
    let fresh = until("another runner", crate::scene::LIMIT, || async {
        runner_of(&sandbox, leader).filter(|pid| *pid != runner)
    })
    .await;
    sandbox.until_active(&mut engine, "ollama").await;
    let status = sandbox.ask(&["status"]).unwrap();
    assert_eq!(server(&status, "ollama").unwrap()["restarts"], 0, "the server itself went on: {status:#}");
    assert_eq!(ask(&sandbox).await.status(), 200);
    let runners: Vec<i32> = sandbox
        .running()
        .into_iter()
        .map(|(pid, _)| pid)
        .filter(|pid| parent(*pid) == Some(leader))
        .collect();
    assert_eq!(runners, [fresh], "one process holds the model");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_is_killed_in_the_middle_of_an_answer_ends_it_and_is_replaced() {
    let Some((sandbox, mut engine, leader)) = ollama_with_its_model().await else { return };
    let runner = runner_of(&sandbox, leader).unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = json!({
        "model": "active", "stream": true, "max_tokens": 4000,
        "messages": [{ "role": "user", "content": "Tell a very long story about a ship." }],
    });
    let address = format!("http://127.0.0.1:{}/v1/chat/completions", sandbox.gateway_port);
    let mut pieces = http.post(address).json(&body).send().await.unwrap().bytes_stream();
    assert!(pieces.next().await.unwrap().is_ok());
    let killed = Timestamp::now();
    signal(runner, libc::SIGKILL);
    // The client hears the end of it, as an error or as an end: nothing is left waiting.
    let rest =
        tokio::time::timeout(crate::scene::LIMIT, async { while let Some(Ok(_)) = pieces.next().await {} });
    assert!(rest.await.is_ok(), "the answer hangs");
    let notice = until_notice(&sandbox, &mut engine, "left memory by itself").await;
    let ms = noticed_after_ms(&notice, killed);
    println!("noticed after {ms} ms in the middle of an answer");
    assert!(ms < NOTICED_MS, "noticed after {ms} ms");
    sandbox.until_active(&mut engine, "ollama").await;
    assert_eq!(ask(&sandbox).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_in_the_middle_of_an_answer_ends_it_and_comes_back() {
    let Some((sandbox, mut engine, leader)) = ollama_with_its_model().await else { return };
    let runner = runner_of(&sandbox, leader).unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = json!({ "model": "active", "stream": true, "max_tokens": 4000, "prompt": "Once" });
    let address = format!("http://127.0.0.1:{}/v1/completions", sandbox.gateway_port);
    let mut pieces = http.post(address).json(&body).send().await.unwrap().bytes_stream();
    assert!(pieces.next().await.unwrap().is_ok());
    let killed = Instant::now();
    signal(leader, libc::SIGKILL);
    sandbox
        .until(&mut engine, "the loss to be noticed", |status| {
            (server(status, "ollama")?["pid"] != leader).then_some(())
        })
        .await;
    println!("noticed after {} ms", killed.elapsed().as_millis());
    let rest =
        tokio::time::timeout(crate::scene::LIMIT, async { while let Some(Ok(_)) = pieces.next().await {} });
    assert!(rest.await.is_ok(), "the answer hangs");
    until_notice(&sandbox, &mut engine, "Ollama is back").await;
    assert!(!sandbox.running().iter().any(|(pid, _)| *pid == runner), "the old runner holds its memory");
    sandbox.until_active(&mut engine, "ollama").await;
    assert_eq!(ask(&sandbox).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_runner_of_llama_server_is_replaced_too() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let leader = sandbox.until_ready(&mut engine, "llama-server").await.unwrap();
    let runner = runner_of(&sandbox, leader).unwrap();
    signal(runner, libc::SIGKILL);
    until("another runner", crate::scene::LIMIT, || async {
        runner_of(&sandbox, leader).filter(|pid| *pid != runner)
    })
    .await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let answer = until("an answer", crate::scene::LIMIT, || async {
        Some(ask(&sandbox).await).filter(|answer| answer.status() == 200)
    })
    .await;
    assert_eq!(answer.headers()["x-pilothouse-model"], EMBEDDED_MODEL);
}
