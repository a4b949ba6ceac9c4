//! What is in memory, as the servers themselves and the processes say.

use pilothouse_tests::sandbox::Sandbox;
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

/// Models in memory as `<server>/<name>`.
pub type Models = BTreeSet<String>;

const LLAMA: &str = "llama-server";

/// Asks the servers, not Pilothouse. A model that is not wholly there is named with its state.
pub async fn in_memory(sandbox: &Sandbox) -> Models {
    let mut models = Models::new();
    if let Some((base, key)) = llama_server(sandbox)
        && let Some(list) = get(&format!("{base}/models"), &key).await
    {
        for entry in list["data"].as_array().into_iter().flatten() {
            let id = entry["id"].as_str().unwrap_or_default();
            match entry["status"]["value"].as_str().unwrap_or_default() {
                "unloaded" => {}
                "loaded" | "sleeping" => drop(models.insert(format!("{LLAMA}/{id}"))),
                other => drop(models.insert(format!("{LLAMA}/{id} ({other})"))),
            }
        }
    }
    if let Some(list) = get(&format!("{}/api/ps", ollama(sandbox)), "").await {
        for entry in list["models"].as_array().into_iter().flatten() {
            models.insert(format!("ollama/{}", entry["name"].as_str().unwrap_or_default()));
        }
    }
    models
}

/// The processes that hold models: every program of llama.cpp but the router.
pub fn runners(sandbox: &Sandbox) -> usize {
    let holds = |pid: i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let program = words.first().map(|word| String::from_utf8_lossy(word).into_owned());
        program.is_some_and(|program| program.ends_with("llama-server"))
            && !words.contains(&b"--models-dir".as_slice())
            && !words.contains(&b"--help".as_slice())
    };
    sandbox.running().iter().filter(|(pid, _)| holds(*pid)).count()
}

/// Takes a model out of memory behind Pilothouse's back, so that the next row of a table begins as the first did.
pub async fn unload(sandbox: &Sandbox, id: &str) {
    let (server, model) = id.split_once('/').unwrap();
    let model = model.split(' ').next().unwrap();
    match (server, llama_server(sandbox)) {
        (LLAMA, Some((base, key))) => {
            post(&format!("{base}/models/unload"), &key, &json!({ "model": model })).await;
        }
        _ => {
            let body = json!({ "model": model, "keep_alive": 0, "stream": false });
            post(&format!("{}/api/generate", ollama(sandbox)), "", &body).await;
        }
    }
}

/// Loads a model into Ollama as a program of somebody else would.
pub async fn load_as_a_stranger(sandbox: &Sandbox, model: &str) {
    let body = json!({ "model": model, "keep_alive": "30m", "stream": false });
    let answer = post(&format!("{}/api/generate", ollama(sandbox)), "", &body).await;
    assert!(answer.is_some_and(|answer| answer["error"].is_null()), "{model} was not loaded");
}

/// Until when a model stays in Ollama, as it says.
pub async fn stays_until(sandbox: &Sandbox, model: &str) -> Option<jiff::Timestamp> {
    let list = get(&format!("{}/api/ps", ollama(sandbox)), "").await?;
    let entry = list["models"].as_array()?.iter().find(|entry| entry["name"] == model)?;
    entry["expires_at"].as_str()?.parse().ok()
}

fn ollama(sandbox: &Sandbox) -> String {
    format!("http://127.0.0.1:{}", sandbox.ollama_port)
}

/// Address and key of the llama-server that Pilothouse started, from the record that outlives Pilothouse.
fn llama_server(sandbox: &Sandbox) -> Option<(String, String)> {
    let text = std::fs::read(sandbox.home().join("run/server-llama-server.json")).ok()?;
    let record: Value = serde_json::from_slice(&text).ok()?;
    Some((record["base_url"].as_str()?.to_owned(), record["key"].as_str().unwrap_or_default().to_owned()))
}

fn http() -> reqwest::Client {
    // A connection of its own each time: what was kept open may lead to a server that has died since.
    let limit = Duration::from_secs(20);
    reqwest::Client::builder().no_proxy().timeout(limit).pool_max_idle_per_host(0).build().unwrap()
}

async fn get(address: &str, key: &str) -> Option<Value> {
    http().get(address).bearer_auth(key).send().await.ok()?.json().await.ok()
}

async fn post(address: &str, key: &str, body: &Value) -> Option<Value> {
    http().post(address).bearer_auth(key).json(body).send().await.ok()?.json().await.ok()
}
