//! Servers that run and answer nonsense. The server is simulated; what it says cannot be had from a real one.

use crate::scene::{reason, until_state};
use pilothouse_tests::{
    sandbox::{EMBEDDED_MODEL, Group, Sandbox, Tools, server},
    sims::ollama::{Fault, MODEL, OllamaSim},
};
use serde_json::{Value, json};
use std::time::Duration;

/// A question to the active model through the gateway.
pub async fn ask(sandbox: &Sandbox) -> reqwest::Response {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
    let address = format!("http://127.0.0.1:{}/v1/completions", sandbox.gateway_port);
    let body = json!({ "model": "active", "prompt": "Hello", "max_tokens": 2 });
    http.post(address).json(&body).send().await.unwrap()
}

/// A Pilothouse whose active model is the embedded one, beside a simulated Ollama that it has adopted.
struct Beside {
    sandbox: Sandbox,
    engine: Group,
    theirs: OllamaSim,
}

impl Beside {
    async fn start(fault: Fault) -> Option<Self> {
        let tools = Tools::find()?;
        let sandbox = Sandbox::new(&tools, "");
        let theirs = OllamaSim::start(sandbox.ollama_port, Fault::None).await.unwrap();
        let mut engine = sandbox.serve().await;
        sandbox.until_active(&mut engine, "llama-server").await;
        sandbox.until_listed(MODEL).await;
        theirs.set(fault);
        Some(Self { sandbox, engine, theirs })
    }

    /// A switch to the simulated model fails with these words, and the embedded model is active again.
    async fn switch_is_put_back(&mut self, words: &str) {
        let failed = self.sandbox.switch(MODEL, "ollama");
        assert!(matches!(failed.code, Some(1 | 5)), "{failed:?}");
        let said = format!("{}{}", failed.stdout, failed.stderr);
        assert!(said.contains(words), "{words:?} in {said}");
        self.sandbox.until_active(&mut self.engine, "llama-server").await;
        let status = self.sandbox.ask(&["status"]).unwrap();
        assert_eq!(status["active"]["model"], EMBEDDED_MODEL, "{status:#}");
        assert_eq!(ask(&self.sandbox).await.status(), 200);
    }

    fn ollama(&self) -> Value {
        server(&self.sandbox.ask(&["status"]).unwrap(), "ollama").unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_instead_of_a_list_keeps_the_old_one_simulated() {
    let Some(mut beside) = Beside::start(Fault::Garbage).await else { return };
    beside.switch_is_put_back("answer").await;
    let models = beside.sandbox.ask(&["models"]).unwrap();
    assert!(models["models"].as_array().unwrap().iter().any(|one| one["name"] == MODEL), "{models:#}");
    beside.theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_list_is_cut_off_and_fills_no_memory_simulated() {
    let Some(mut beside) = Beside::start(Fault::Flood).await else { return };
    beside.switch_is_put_back("").await;
    let gauges = beside.sandbox.ask(&["gauges"]).unwrap();
    let own = gauges["self"]["memory_bytes"].as_u64().unwrap();
    assert!(own < 250 << 20, "Pilothouse itself takes {own} bytes");
    beside.theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_no_proof_simulated() {
    let Some(mut beside) = Beside::start(Fault::Truncated).await else { return };
    beside.switch_is_put_back("").await;
    beside.theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_inside_a_good_status_is_an_error_simulated() {
    let Some(mut beside) = Beside::start(Fault::ErrorInStream).await else { return };
    beside.switch_is_put_back("encountered while running").await;
    beside.theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_without_memory_for_it_says_so_simulated() {
    let Some(mut beside) = Beside::start(Fault::NoMemory).await else { return };
    beside.switch_is_put_back("memory").await;
    beside.theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_gone_since_it_was_listed_is_named_simulated() {
    let Some(mut beside) = Beside::start(Fault::Vanished).await else { return };
    let failed = beside.sandbox.switch(MODEL, "ollama");
    assert_eq!(failed.code, Some(4), "{failed:?}");
    let said = failed.json["error"]["message"].as_str().unwrap_or_default();
    assert!(said.contains(MODEL) && said.contains("not found"), "{failed:?}");
    beside.sandbox.until_active(&mut beside.engine, "llama-server").await;
    let status = beside.sandbox.ask(&["status"]).unwrap();
    assert_eq!(status["active"]["model"], EMBEDDED_MODEL, "{status:#}");
    assert_eq!(ask(&beside.sandbox).await.status(), 200);
    beside.theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_only_fails_is_shown_as_troubled_simulated() {
    let Some(mut beside) = Beside::start(Fault::AlwaysFails).await else { return };
    let shown = until_state(&beside.sandbox, &mut beside.engine, "ollama", "degraded").await;
    assert!(reason(&shown).contains("something is broken in here"), "{shown}");
    beside.theirs.set(Fault::None);
    until_state(&beside.sandbox, &mut beside.engine, "ollama", "ready").await;
    beside.theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_is_shown_and_forgiven_simulated() {
    let Some(mut beside) = Beside::start(Fault::Silent).await else { return };
    until_state(&beside.sandbox, &mut beside.engine, "ollama", "degraded").await;
    assert_eq!(ask(&beside.sandbox).await.status(), 200, "the active model is on another server");
    beside.theirs.set(Fault::None);
    until_state(&beside.sandbox, &mut beside.engine, "ollama", "ready").await;
    beside.theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_server_that_is_gone_is_said_to_be_gone_and_found_again_simulated() {
    let Some(mut beside) = Beside::start(Fault::None).await else { return };
    let port = beside.theirs.port;
    beside.theirs.stop().await;
    let shown = until_state(&beside.sandbox, &mut beside.engine, "ollama", "stopped").await;
    assert!(reason(&shown).contains("somebody else"), "{shown}");
    let again = OllamaSim::start(port, Fault::None).await.unwrap();
    let shown = until_state(&beside.sandbox, &mut beside.engine, "ollama", "ready").await;
    assert_eq!(shown["ownership"], "adopted", "{shown}");
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_server_is_not_stopped_on_request_simulated() {
    let Some(beside) = Beside::start(Fault::None).await else { return };
    let refused = beside.sandbox.run(&["servers", "stop", "ollama"]);
    assert_eq!(refused.code, Some(5), "{refused:?}");
    let error = &refused.json["error"];
    assert_eq!(error["code"], "not_ours", "{error:#}");
    assert!(error["message"].as_str().unwrap().contains("was not started by Pilothouse"), "{error:#}");
    assert!(error["hint"].as_str().unwrap().contains("where it was started"), "{error:#}");
    assert_eq!(beside.ollama()["state"], "ready");
    beside.theirs.stop().await;
}
