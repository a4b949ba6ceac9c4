//! Programs that only know Ollama, on the listener that is theirs.

use super::{
    ollama,
    switch_tests::{Scene, text},
    translated_tests::{Chat, Say, hello},
};
use axum::{
    Json,
    body::Body,
    http::{Response, StatusCode},
    response::IntoResponse,
};
use pilothouse_domain::{model::ModelRef, server::ServerId};
use pilothouse_leases::{About, ActiveRoute, Routes};
use serde_json::{Value, json};

/// A model `a` that is active, another one of Ollama's own on disk, an alias and a rule.
async fn scene(say: Say) -> (Chat, Scene) {
    let chat = Chat::start("a", say).await;
    let own = ModelRef::new("s", "a");
    let about = About {
        quantization: Some("Q4_K_M".into()),
        size_bytes: Some(9),
        context: Some(8192),
        ..About::default()
    };
    let vectors = About { embeds: true, ..About::default() };
    let routes = Routes {
        active: ActiveRoute::Open(chat.target.clone()),
        loaded: vec![chat.target.clone()],
        known: vec![own.clone(), ModelRef::new("s", "embed:latest")],
        aliases: [("gpt-4o-mini".into(), "active".into()), ("llama3*".into(), "active".into())].into(),
        about: [(own, about), (ModelRef::new("s", "embed:latest"), vectors)].into(),
        kinds: [(ServerId::new("s"), pilothouse_domain::server::ServerKind::LlamaServer)].into(),
        ..Routes::default()
    };
    (chat, Scene::also(routes, ollama::routes()))
}

async fn json_of(answer: Response<Body>) -> Value {
    serde_json::from_str(&text(answer).await.unwrap()).unwrap()
}

#[tokio::test]
async fn what_a_program_looks_at_first_is_there() {
    let (_chat, scene) = scene(hello).await;
    let root = scene.send("GET", "/", "").await;
    assert_eq!(text(root).await.unwrap(), "Ollama is running");
    assert_eq!(scene.send("HEAD", "/", "").await.status(), StatusCode::OK);
    assert!(json_of(scene.send("GET", "/api/version", "").await).await["version"].is_string());
    let tags = json_of(scene.send("GET", "/api/tags", "").await).await;
    let names: Vec<&str> =
        tags["models"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["active:latest", "gpt-4o-mini:latest", "a:latest", "embed:latest"], "{tags}");
    assert_eq!(tags["models"][2]["details"]["quantization_level"], "Q4_K_M", "{tags}");
    let there = json_of(scene.send("GET", "/api/ps", "").await).await;
    let there: Vec<&str> =
        there["models"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(there, ["active:latest", "gpt-4o-mini:latest", "a:latest"]);
    for (asked, ability) in [("a", "completion"), ("active:latest", "completion"), ("embed", "embedding")] {
        let shown = scene.send("POST", "/api/show", &json!({ "model": asked }).to_string()).await;
        assert_eq!(shown.status(), StatusCode::OK, "{asked}");
        let shown = json_of(shown).await;
        assert_eq!(shown["capabilities"][0], ability, "{shown}");
    }
    let none = scene.send("POST", "/api/show", r#"{"name":"nobody"}"#).await;
    assert_eq!(none.status(), StatusCode::NOT_FOUND);
    assert!(json_of(none).await["error"].as_str().unwrap().contains("nobody"));
}

#[tokio::test]
async fn chat_and_generate_are_answered_by_whatever_the_name_means() {
    let (chat, scene) = scene(hello).await;
    for name in
        ["active", "active:latest", "a", "a:latest", "gpt-4o-mini:latest", "llama3.2:3b", "llama3.2:latest"]
    {
        let asked = json!({ "model": name, "messages": [{ "role": "user", "content": "Hi" }], "keep_alive": "24h",
            "options": { "num_ctx": 2048, "temperature": 0 } });
        let answer = scene.send("POST", "/api/chat", &asked.to_string()).await;
        assert_eq!(answer.status(), StatusCode::OK, "{name}");
        assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
        assert_eq!(answer.headers()["x-pilothouse-model"], "a");
        assert_eq!(answer.headers()["x-pilothouse-governed"], "num_ctx, keep_alive");
        let said = text(answer).await.unwrap();
        let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told: String = lines.iter().filter_map(|line| line["message"]["content"].as_str()).collect();
        assert_eq!(told, "Hello", "{said}");
        let last = lines.last().unwrap();
        assert_eq!(
            (&last["done"], &last["model"], &last["eval_count"]),
            (&json!(true), &json!(name), &json!(2))
        );
        let (path, sent) = chat.last();
        assert_eq!((path.as_str(), &sent["model"]), ("/v1/chat/completions", &json!("a")));
        assert!(sent.get("keep_alive").is_none() && sent.get("options").is_none(), "{sent}");
    }
    let whole = json!({ "model": "active", "prompt": "Hi", "stream": false }).to_string();
    let whole = json_of(scene.send("POST", "/api/generate", &whole).await).await;
    assert_eq!((&whole["response"], &whole["done_reason"]), (&json!("Hello"), &json!("stop")), "{whole}");
}

#[tokio::test]
async fn a_model_is_neither_let_go_nor_loaded_otherwise_because_a_client_says_so() {
    let (chat, scene) = scene(hello).await;
    for (path, keep, reason) in [
        ("/api/generate", json!(0), "unload"),
        ("/api/chat", json!("0s"), "unload"),
        ("/api/generate", json!(-1), "load"),
        ("/api/chat", json!(null), "load"),
    ] {
        let said = json!({ "model": "a", "keep_alive": keep }).to_string();
        let said = json_of(scene.send("POST", path, &said).await).await;
        assert_eq!((&said["done"], &said["done_reason"]), (&json!(true), &json!(reason)), "{said}");
    }
    assert!(
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| chat.last())).is_err(),
        "no server heard of it"
    );
    let unknown = scene.send("POST", "/api/generate", r#"{"model":"nobody"}"#).await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn embeddings_come_as_ollama_has_them() {
    let vectors: Say = |_, _| {
        let data =
            [json!({ "index": 1, "embedding": [0.0, 2.0] }), json!({ "index": 0, "embedding": [3.0, 4.0] })];
        Json(json!({ "data": data, "usage": { "prompt_tokens": 5 } })).into_response()
    };
    let (chat, scene) = scene(vectors).await;
    let asked = json!({ "model": "a:latest", "input": ["x", "y"] }).to_string();
    let answer = scene.send("POST", "/api/embed", &asked).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["x-pilothouse-model"], "a");
    let said = json_of(answer).await;
    assert_eq!(said["embeddings"], json!([[3.0, 4.0], [0.0, 2.0]]));
    assert_eq!((&said["model"], &said["prompt_eval_count"]), (&json!("a:latest"), &json!(5)));
    assert_eq!(chat.last().0, "/v1/embeddings");
    assert_eq!(chat.last().1["model"], "a");
    let broken: Say = |_, _| {
        (StatusCode::NOT_IMPLEMENTED, Json(json!({ "error": { "message": "no vectors here" } })))
            .into_response()
    };
    let (_chat, scene) = self::scene(broken).await;
    let refused = scene.send("POST", "/api/embeddings", r#"{"model":"a","prompt":"x"}"#).await;
    assert_eq!(refused.status(), StatusCode::NOT_IMPLEMENTED);
    assert_eq!(json_of(refused).await["error"], "no vectors here");
}

#[tokio::test]
async fn what_is_refused_is_said_as_ollama_says_it() {
    let (_chat, scene) = scene(hello).await;
    for (method, path, body, status) in [
        ("POST", "/api/chat", "{", 400),
        ("POST", "/api/chat", r#"{"model":"nobody","messages":[{"role":"user","content":"x"}]}"#, 404),
        ("POST", "/api/pull", r#"{"model":"x"}"#, 501),
        ("DELETE", "/api/delete", r#"{"model":"x"}"#, 501),
        ("GET", "/api/chat", "", 405),
        ("POST", "/api/nothing", "{}", 404),
    ] {
        let refused = scene.send(method, path, body).await;
        assert_eq!(refused.status().as_u16(), status, "{method} {path}");
        let said = json_of(refused).await;
        assert!(said["error"].as_str().is_some_and(|text| text.len() > 5), "{method} {path}: {said}");
    }
    // OpenAI's own words are there too, as at Ollama.
    let chat = scene.send("POST", "/v1/chat/completions", r#"{"model":"active","messages":[]}"#).await;
    assert_eq!(chat.status(), StatusCode::OK);
    // Not at the address that speaks OpenAI's alone: there it says where.
    let elsewhere = Scene::with(Routes::default());
    for (method, path) in [("POST", "/api/chat"), ("GET", "/api/tags"), ("GET", "/api/chat")] {
        let refused = elsewhere.send(method, path, "{}").await;
        assert_eq!(refused.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(json_of(refused).await["error"].as_str().unwrap().contains("gateway.ollama_port"));
    }
}
