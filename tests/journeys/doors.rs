//! Who is let in.

use crate::address::Client;
use pilothouse_tests::sandbox::{Sandbox, Tools};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_and_callers_without_the_token_stay_outside() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    let url = sandbox
        .until(&mut engine, "the address", |status| Some(status["web_url"].as_str()?.to_owned()))
        .await;
    let (address, token) = url.split_once("/#token=").unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let call = || http.post(format!("{address}/api/call")).json(&serde_json::json!({ "call": "snapshot" }));

    let page = http.get(address).send().await.unwrap().error_for_status().unwrap().text().await.unwrap();
    let script = page.split("src=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let script =
        http.get(format!("{address}/{}", script.trim_start_matches(['.', '/']))).send().await.unwrap();
    assert!(script.status().is_success(), "the page's own script: {}", script.status());

    let well: Value =
        call().bearer_auth(token).send().await.unwrap().error_for_status().unwrap().json().await.unwrap();
    assert!(well.is_object(), "{well}");
    assert_eq!(call().send().await.unwrap().status(), 401, "no token");
    assert_eq!(call().bearer_auth("wrong").send().await.unwrap().status(), 401, "a wrong token");
    let foreign = call().bearer_auth(token).header("origin", "https://example.org").send().await.unwrap();
    assert_eq!(foreign.status(), 403, "a page of another origin");
    let rebound = call().bearer_auth(token).header("host", "example.org").send().await.unwrap();
    assert_eq!(rebound.status(), 403, "a name that was bent to this machine");

    let client = Client::new(&sandbox);
    let page =
        client.http.get(client.url("/models")).header("origin", "https://example.org").send().await.unwrap();
    assert_eq!(page.status(), 403, "a page of another origin at the gateway");
    assert!(client.http.get(client.url("/models")).send().await.unwrap().status().is_success());
}

/// "Try it" in the panel: the active model of a stopped server is started and loaded for it, and that is said meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn asking_the_active_model_of_a_stopped_server_starts_it_and_says_so() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    assert_eq!(sandbox.run(&["servers", "stop", "llama-server"]).code, Some(0));
    let url = sandbox.ask(&["status"]).unwrap()["web_url"].as_str().unwrap().to_owned();
    let (address, token) = url.split_once("/#token=").unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let call = async |call: Value| -> Value {
        let request = http.post(format!("{address}/api/call")).bearer_auth(token).json(&call);
        request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    };
    let asked = call(json!({ "call": "ask", "prompt": "Hello", "max_tokens": 4 })).await;
    let mut said = BTreeSet::new();
    let mut text = String::new();
    loop {
        let offset = text.chars().count();
        let read = call(json!({ "call": "read_answer", "answer": asked["answer"], "offset": offset })).await;
        let chunk = &read["chunk"];
        said.extend(chunk["waiting"].as_str().map(str::to_owned));
        text += chunk["text"].as_str().unwrap();
        if chunk["done"] == true {
            assert!(chunk["error"].is_null(), "{chunk:#}");
            break;
        }
    }
    assert!(!text.is_empty());
    assert!(said.iter().any(|words| words.starts_with("Starting llama-server and loading")), "{said:?}");
}
