//! A client that leaves frees its slot: measured on the real servers, for each kind of request, in the log of the process
//! that holds the model. `cargo test -p pilothouse-tests --test contract leaving -- --nocapture` prints the table.
//!
//! The slots themselves are not asked here: b10068 looks for a client that has left only after a second in which nothing at
//! all was told inside it, and an answer to `/slots` is such a thing.

use crate::{
    llama_server, ollama,
    tools::{Running, tool, until},
};
use anyhow::{Context, Result};
use pilothouse_domain::{endpoint::Endpoint, settings::LlamaServerSettings};
use pilothouse_servers::LoadRequest;
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::task::AbortOnDropHandle;

/// Far more than it may take; a slot that is freed by the end of an answer of 2,000 tokens is freed later.
const LIMIT: Duration = Duration::from_secs(15);
const TOKENS: u32 = 2_000;
/// A batch of a prompt is read to its end; on a slow and busy processor that takes its time.
const LIMIT_PROMPT: Duration = Duration::from_secs(60);
/// How long the client in the queue waits before it gives up.
const PATIENCE: Duration = Duration::from_secs(1);

/// What clients ask for, by the name in the table.
fn kinds(model: &str) -> Vec<(&'static str, &'static str, Value)> {
    let messages = json!([{ "role": "user", "content": "Tell a very long story." }]);
    let tools = json!([{ "type": "function", "function": { "name": "look_up", "description": "Looks something up.",
        "parameters": { "type": "object", "properties": { "what": { "type": "string" } } } } }]);
    let chat = |stream: bool| json!({ "model": model, "messages": messages, "max_tokens": TOKENS, "stream": stream, "ignore_eos": true });
    let with_tools = |stream: bool| {
        let mut body = chat(stream);
        body["tools"] = tools.clone();
        body
    };
    let completion = |stream: bool| json!({ "model": model, "prompt": "Once upon a time", "max_tokens": TOKENS, "stream": stream, "ignore_eos": true });
    vec![
        ("chat, stream", "/v1/chat/completions", chat(true)),
        ("chat, whole", "/v1/chat/completions", chat(false)),
        ("tools, stream", "/v1/chat/completions", with_tools(true)),
        ("tools, whole", "/v1/chat/completions", with_tools(false)),
        ("completion, stream", "/v1/completions", completion(true)),
        ("completion, whole", "/v1/completions", completion(false)),
    ]
}

/// A prompt of several batches; its client leaves while it is read.
fn long_prompt(model: &str, stream: bool) -> Value {
    let prompt = "The quick brown fox jumps over the lazy dog. ".repeat(300);
    json!({ "model": model, "prompt": prompt, "max_tokens": TOKENS, "stream": stream, "ignore_eos": true })
}

/// Counts a word in what a server has printed.
fn count(running: &Running, word: &str) -> usize {
    running.said().matches(word).count()
}

fn ask(endpoint: &Endpoint, path: &str, body: &Value) -> AbortOnDropHandle<()> {
    // A client of its own each time: what leaves is the connection.
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let mut request = http.post(format!("{}{path}", endpoint.base_url)).json(body);
    if let Some(key) = &endpoint.key {
        request = request.bearer_auth(key.expose());
    }
    AbortOnDropHandle::new(tokio::spawn(async move {
        if let Ok(response) = request.send().await {
            drop(response.bytes().await);
        }
    }))
}

/// The time from leaving to a free slot. The one slot must be free at the beginning.
async fn leave(
    running: &Running,
    endpoint: &Endpoint,
    path: &str,
    body: &Value,
    limit: Duration,
) -> Duration {
    let (begun, freed) = (count(running, "| processing task"), count(running, "stop processing"));
    let client = ask(endpoint, path, body);
    until("an answer to begin", Duration::from_secs(60), || async {
        (count(running, "| processing task") > begun).then_some(())
    })
    .await;
    drop(client);
    let left = Instant::now();
    until("the slot to be free", limit, || async {
        (count(running, "stop processing") > freed).then_some(())
    })
    .await;
    left.elapsed()
}

/// One that leaves while it waits behind another never begins.
async fn leave_the_queue(running: &Running, endpoint: &Endpoint, path: &str, body: &Value) {
    let (begun, freed) = (count(running, "| processing task"), count(running, "stop processing"));
    let mut first = body.clone();
    first["max_tokens"] = json!(400);
    let first = ask(endpoint, path, &first);
    until("the first answer to begin", Duration::from_secs(60), || async {
        (count(running, "| processing task") > begun).then_some(())
    })
    .await;
    let second = tokio::time::timeout(PATIENCE, ask(endpoint, path, body)).await;
    assert!(second.is_err(), "it was answered");
    drop(first.await);
    until("the first to end", LIMIT, || async { (count(running, "stop processing") > freed).then_some(()) })
        .await;
    let third = leave(running, endpoint, path, body, LIMIT).await;
    println!("  queued behind another: the next one after it began and left in {third:?}");
    assert_eq!(count(running, "| processing task"), begun + 2, "whoever left the queue began all the same");
}

async fn table(title: &str, running: &Running, endpoint: &Endpoint, model: &str, tools: bool) -> Result<()> {
    println!("{title}");
    let kinds = kinds(model);
    // Ollama refuses tools for a model whose template has no place for them.
    for (name, path, body) in kinds.iter().filter(|(name, ..)| tools || !name.starts_with("tools")) {
        let took = leave(running, endpoint, path, body, LIMIT).await;
        println!("  {name:20} {:>6} ms", took.as_millis());
    }
    for (name, stream) in [("prompt, stream", true), ("prompt, whole", false)] {
        let body = long_prompt(model, stream);
        let took = leave(running, endpoint, "/v1/completions", &body, LIMIT_PROMPT).await;
        println!("  {name:20} {:>6} ms", took.as_millis());
    }
    let (_, path, body) = kinds.last().context("a kind")?;
    leave_the_queue(running, endpoint, path, body).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_a_llama_server_of_ours_frees_the_slot() -> Result<()> {
    let Some(embedded) = tool("PILOTHOUSE_EMBEDDED") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let adapter = llama_server::adapter(LlamaServerSettings::default(), &embedded, folder.path());
    let running = Running::start(&adapter, folder.path()).await?;
    let request = LoadRequest::usual(llama_server::MODEL);
    let instance = running.client.load(&request, Arc::new(|_| {})).await?;
    assert_eq!(instance.slots, Some(1));
    let child = running.endpoint.at_port(instance.port.context("the child's port")?);
    assert_ne!(child, running.endpoint);
    let slots = running.client.slots(instance.port.context("a port")?).await.context("its slots")?;
    assert!(slots.len() == 1 && !slots[0].busy, "{slots:?}");
    running
        .explain(table("llama-server, at the child", &running, &child, llama_server::MODEL, true).await)?;
    running.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_an_ollama_frees_the_slot() -> Result<()> {
    let Some(program) = tool("PILOTHOUSE_TEST_OLLAMA") else { return Ok(()) };
    let Some(embedded) = tool("PILOTHOUSE_EMBEDDED") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let (_adapter, running) = ollama::with_model(&program, &embedded, folder.path()).await?;
    let request = LoadRequest::usual(ollama::MODEL);
    running.client.load(&request, Arc::new(|_| {})).await?;
    running.explain(table("Ollama", &running, &running.endpoint, ollama::MODEL, false).await)?;
    running.stop().await;
    Ok(())
}
