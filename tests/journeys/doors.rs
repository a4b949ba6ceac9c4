//! Who is let in.

use crate::address::Client;
use pilothouse_tests::sandbox::{Group, Sandbox, Tools, command, free_port};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    net::TcpListener,
    process::Stdio,
};

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

/// Another Pilothouse of the same person, or a program that takes its time to end.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_was_taken_at_the_start_is_tried_again_until_it_is_had() {
    let Some(tools) = Tools::find() else { return };
    let tools = Tools { ollama: "/no/ollama".into(), ..tools };
    let web_port = free_port();
    let settings = format!("[servers.llama-server]\nautostart = false\n\n[web]\nport = {web_port}\n");
    let sandbox = Sandbox::new(&tools, &settings);
    let taken = [sandbox.gateway_port, web_port].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    let mut command = command(&sandbox.cli);
    sandbox.surround(&mut command);
    command.arg("serve").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut engine = Group::spawn(&mut command);
    let mut first = String::new();
    BufReader::new(engine.child().stdout.take().unwrap()).read_line(&mut first).unwrap();
    let first: Value = serde_json::from_str(&first).unwrap();
    assert!(first["url"].is_null() && first["gateway"].is_null(), "{first}");
    assert_eq!(sandbox.run(&["status"]).code, Some(3), "nobody can be asked yet");

    let [gateway, web] = taken;
    drop(web);
    let trouble = sandbox
        .until(&mut engine, "the web door, and the trouble of the other", |status| {
            let trouble = status["troubles"].as_array()?.first()?.clone();
            (!trouble["message"].as_str()?.contains(&web_port.to_string())).then_some(trouble)
        })
        .await;
    assert_eq!(trouble["code"], "port_taken", "{trouble:#}");
    assert!(trouble["message"].as_str().unwrap().contains(&sandbox.gateway_port.to_string()), "{trouble:#}");
    assert!(trouble["hint"].as_str().unwrap().contains("tried again"), "{trouble:#}");
    drop(gateway);
    let address = sandbox
        .until(&mut engine, "the gateway", |status| {
            status["troubles"].as_array()?.is_empty().then_some(())?;
            Some(status["gateway"].as_str()?.to_owned())
        })
        .await;
    assert_eq!(address, format!("http://127.0.0.1:{}/v1", sandbox.gateway_port));
    let client = Client::new(&sandbox);
    assert!(client.http.get(client.url("/models")).send().await.unwrap().status().is_success());
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}
