//! Programs that speak Anthropic's or OpenAI's newer dialect, asked through the one address of the real servers, and what is kept of it.

use crate::address::Client;
use pilothouse_tests::sandbox::{EMBEDDED_MODEL, LIMIT, OLLAMA_MODEL, Sandbox, Tools, free_port, until};
use serde_json::{Value, json};
use std::time::Duration;

/// A question of each dialect that a few tokens answer.
fn question(dialect: &str, model: &str, streams: bool) -> Value {
    match dialect {
        "messages" => json!({ "model": model, "max_tokens": 12, "stream": streams,
            "system": "Be brief.", "messages": [{ "role": "user", "content": [{ "type": "text", "text": "Say hello." }] }] }),
        _ => {
            json!({ "model": model, "max_output_tokens": 12, "stream": streams, "instructions": "Be brief.", "input": "Say hello." })
        }
    }
}

/// The documents of the events of a stream, each of which is named by its type.
fn events(text: &str) -> Vec<Value> {
    let mut events = vec![];
    for block in text.split("\n\n").filter(|block| !block.is_empty()) {
        let (name, data) = block.split_once('\n').unwrap_or_else(|| panic!("no event: {block}"));
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str(), "{block}");
        events.push(data);
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn both_servers_answer_in_both_dialects_and_each_answer_leaves_a_record() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "[gateway.aliases]\n\"claude-*\" = \"active\"\n");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    sandbox.add_ollama_model(&mut engine).await;
    let client = Client::new(&sandbox);
    let ask = async |dialect: &str, model: &str, streams: bool| {
        let request =
            client.http.post(client.url(&format!("/{dialect}"))).json(&question(dialect, model, streams));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{dialect} {model}");
        let server = answer.headers()["x-pilothouse-server"].to_str().unwrap().to_owned();
        let record: u64 = answer.headers()["x-pilothouse-record"].to_str().unwrap().parse().unwrap();
        (server, record, answer.text().await.unwrap())
    };
    // In memory before it is asked for a stream: one that waits for a load has its headers before it is known who answers.
    assert_eq!(client.chat(OLLAMA_MODEL).await.status, 200);
    let mut records = vec![];
    for (model, wanted) in [("claude-sonnet-4-5", "llama-server"), (OLLAMA_MODEL, "ollama")] {
        for dialect in ["messages", "responses"] {
            let (server, record, said) = ask(dialect, model, true).await;
            assert_eq!(server, wanted, "{dialect}");
            records.push(record);
            let events = events(&said);
            let (first, last) = (&events[0], events.last().unwrap());
            let (usage, text) = match dialect {
                "messages" => {
                    assert_eq!(
                        (&first["type"], &last["type"]),
                        (&json!("message_start"), &json!("message_stop"))
                    );
                    let text: String =
                        events.iter().filter_map(|one| one["delta"]["text"].as_str()).collect();
                    (events[events.len() - 2]["usage"].clone(), text)
                }
                _ => {
                    assert_eq!(first["type"], "response.created");
                    assert!(
                        ["response.completed", "response.incomplete"]
                            .contains(&last["type"].as_str().unwrap())
                    );
                    let text: String = events.iter().filter_map(|one| one["delta"].as_str()).collect();
                    (last["response"]["usage"].clone(), text)
                }
            };
            assert!(!text.is_empty(), "{dialect} of {wanted}: {said}");
            assert!(usage["output_tokens"].as_u64().unwrap() > 0, "{usage}");
            let (_, record, whole) = ask(dialect, model, false).await;
            records.push(record);
            let whole: Value = serde_json::from_str(&whole).unwrap();
            assert!(whole["usage"]["output_tokens"].as_u64().unwrap() > 0, "{whole}");
        }
    }
    let refused =
        client.http.post(client.url("/messages")).json(&question("messages", "nobody", true)).send().await;
    let refused = refused.unwrap();
    assert_eq!(refused.status(), 404);
    assert_eq!(refused.json::<Value>().await.unwrap()["error"]["type"], "not_found_error");

    let traffic = sandbox.run(&["traffic", "--limit", "50"]).json;
    let kept = traffic["requests"].as_array().unwrap();
    for record in records {
        let one = kept
            .iter()
            .find(|one| one["id"] == record)
            .unwrap_or_else(|| panic!("no {record} in {traffic:#}"));
        assert_eq!((&one["state"], &one["counted"]), (&json!("done"), &json!(true)), "{one:#}");
        assert!(one["tokens_in"].as_u64().unwrap() > 0 && one["first_token_ms"].is_u64(), "{one:#}");
        assert_eq!(one["most_output"], 12, "{one:#}");
    }
    let by_rule = kept.iter().filter(|one| one["reason"] == "rule").count();
    assert_eq!(by_rule, 4, "{traffic:#}");
    assert_eq!((&kept[0]["state"], &kept[0]["error"]), (&json!("failed"), &json!("model_not_found")));
    assert!(!traffic.to_string().contains("Say hello"), "what was asked is not kept");

    let metrics = client.url("").replace("/v1", "/metrics");
    assert_eq!(client.http.get(&metrics).send().await.unwrap().status(), 404, "closed by default");
    assert_eq!(sandbox.run(&["settings", "set", "gateway.metrics", "true"]).code, Some(0));
    let open = || async { (client.http.get(&metrics).send().await.unwrap().status() == 401).then_some(()) };
    until("the metrics to be open", Duration::from_secs(30), open).await;
    let token = std::fs::read_to_string(sandbox.home().join("data/metrics-token")).unwrap();
    let text =
        client.http.get(&metrics).bearer_auth(token.trim()).send().await.unwrap().text().await.unwrap();
    let line = format!(
        "pilothouse_requests_total{{server=\"llama-server\",model=\"{EMBEDDED_MODEL}\",outcome=\"done\"}} 4"
    );
    assert!(text.contains(&line), "{text}");

    // Of 9,000 words Ollama would answer the end, and llama-server refuses them itself: in each dialect both say it alike.
    let long = "word ".repeat(9000);
    for model in ["active", OLLAMA_MODEL] {
        for (dialect, said) in
            [("chat/completions", "tokens"), ("messages", "prompt is too long"), ("responses", "tokens")]
        {
            let body = match dialect {
                "responses" => json!({ "model": model, "input": long, "max_output_tokens": 16 }),
                _ => {
                    json!({ "model": model, "max_tokens": 16, "messages": [{ "role": "user", "content": long }] })
                }
            };
            let answer =
                client.http.post(client.url(&format!("/{dialect}"))).json(&body).send().await.unwrap();
            assert_eq!(answer.status(), 400, "{model} {dialect}");
            let error: Value = answer.json().await.unwrap();
            assert!(error["error"]["message"].as_str().unwrap().contains(said), "{model} {dialect}: {error}");
            // llama-server's own words have a type of its own.
            let known = ["context_length_exceeded", "exceed_context_size_error", "invalid_request_error"];
            let of = |field: &str| known.iter().any(|known| error["error"][field] == *known);
            assert!(of("code") || of("type"), "{model} {dialect}: {error}");
        }
    }
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_about_billing_is_left_out_unless_the_settings_keep_it() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let client = Client::new(&sandbox);
    let bill = "x-anthropic-billing-header: cc_version=2.1.62.a1b; cc_entrypoint=cli; cch=0a1b2;";
    let counted = async |system: Value| {
        let asked = json!({ "model": "active", "system": system, "messages": [{ "role": "user", "content": "Say hello." }] });
        let answer =
            client.http.post(client.url("/messages/count_tokens")).json(&asked).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["input_tokens"].as_u64().unwrap()
    };
    let texts = |billed: bool| {
        let bill = billed.then(|| json!({ "type": "text", "text": bill }));
        json!(bill.into_iter().chain([json!({ "type": "text", "text": "Be brief." })]).collect::<Vec<_>>())
    };
    let bare = counted(texts(false)).await;
    assert_eq!(counted(texts(true)).await, bare);
    assert_eq!(sandbox.run(&["settings", "set", "gateway.mask_billing", "false"]).code, Some(0));
    until("the text to be kept", LIMIT, || async { (counted(texts(true)).await > bare + 10).then_some(()) })
        .await;
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_only_knows_ollama_follows_the_switch_and_is_known_by_its_name() {
    let Some(tools) = Tools::find() else { return };
    let port = free_port();
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    sandbox.add_ollama_model(&mut engine).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let address = |path: &str| format!("http://127.0.0.1:{port}{path}");
    // It opens when it is set, and closes so.
    assert_eq!(sandbox.run(&["settings", "set", "gateway.ollama_port", &port.to_string()]).code, Some(0));
    let root = until("the port for Ollama's words", LIMIT, || async {
        http.get(address("/")).send().await.ok()?.text().await.ok()
    })
    .await;
    assert_eq!(root, "Ollama is running");
    let tags: Value = http.get(address("/api/tags")).send().await.unwrap().json().await.unwrap();
    let listed = |name: &str| tags["models"].as_array().unwrap().iter().any(|one| one["name"] == *name);
    assert!(listed("active:latest") && listed(&format!("{EMBEDDED_MODEL}:latest")), "{tags:#}");
    assert!(listed(OLLAMA_MODEL), "{tags:#}");

    let mut records = vec![];
    for server in ["llama-server", "ollama"] {
        if server == "ollama" {
            assert_eq!(sandbox.switch(OLLAMA_MODEL, server).code, Some(0));
        }
        let asked = json!({ "model": "active:latest", "keep_alive": "5m", "options": { "num_predict": 8 },
            "messages": [{ "role": "user", "content": "Say hello." }] });
        let answer = http.post(address("/api/chat")).json(&asked).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{server}");
        assert_eq!(answer.headers()["x-pilothouse-server"], server);
        assert_eq!(answer.headers()["x-pilothouse-governed"], "keep_alive");
        records.push(answer.headers()["x-pilothouse-record"].to_str().unwrap().parse::<u64>().unwrap());
        let said = answer.text().await.unwrap();
        let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let text: String = lines.iter().filter_map(|line| line["message"]["content"].as_str()).collect();
        let last = lines.last().unwrap();
        assert!(!text.is_empty() && last["done"] == true && last["eval_count"].as_u64() > Some(0), "{said}");
    }
    // The app that is connected so is pointed at this port, as its container sees it, and answers there.
    let told = sandbox.run(&["connect", "home-assistant", "--test"]);
    assert_eq!((told.code, &told.json["test"]["ok"]), (Some(0), &json!(true)), "{told:?}");
    assert_eq!(told.json["address"], format!("http://host.docker.internal:{port}"));
    assert_eq!(told.json["test"]["url"], address("/api/chat"));
    let status = sandbox.run(&["status"]).json;
    assert_eq!(status["gateway_ollama"], address(""), "{status:#}");
    let pull = http.post(address("/api/pull")).json(&json!({ "model": "x" })).send().await.unwrap();
    assert_eq!(pull.status(), 501);

    let kept = sandbox.run(&["traffic", "--limit", "20"]).json;
    for record in records {
        let one = kept["requests"].as_array().unwrap().iter().find(|one| one["id"] == record);
        let one = one.unwrap_or_else(|| panic!("no {record} in {kept:#}"));
        assert_eq!((&one["dialect"], &one["state"]), (&json!("ollama"), &json!("done")), "{one:#}");
        assert_eq!(one["most_output"], 8, "{one:#}");
        // It is this test that asked.
        assert_eq!(one["pid"], std::process::id(), "{one:#}");
        assert!(one["client"].as_str().unwrap().starts_with("journeys"), "{one:#}");
    }
    assert_eq!(sandbox.run(&["settings", "set", "gateway.ollama_port", "0"]).code, Some(0));
    until("the port to close", LIMIT, || async { http.get(address("/")).send().await.err() }).await;
    until("the address to be no more", LIMIT, || async {
        let status = sandbox.ask(&["status"])?;
        (status["gateway_ollama"].is_null() && status["gateway_ollama_absent"].is_string()).then_some(())
    })
    .await;
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
}
