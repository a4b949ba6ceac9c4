//! Messages and responses, said again in chat's words to servers that answer as they are told.

use super::switch_tests::{Scene, text};
use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{Request, Response, StatusCode, Uri, header},
    response::IntoResponse,
};
use bytes::Bytes;
use futures_util::StreamExt;
use pilothouse_domain::{
    endpoint::Endpoint,
    error::{ApiError, ErrorCode},
    model::ModelRef,
    server::{ServerId, ServerKind},
};
use pilothouse_leases::{ActiveRoute, Routes, Target};
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::net::TcpListener;

const BOTH: [&str; 2] = ["/v1/messages", "/v1/responses"];

pub(super) type Say = fn(&str, &Value) -> Response<Body>;
/// Where a request went, and what it said.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// A server of chat that notes what it is asked.
pub(super) struct Chat {
    pub target: Target,
    asked: Asked,
}

impl Chat {
    pub async fn start(name: &str, say: Say) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let asked: Asked = Arc::default();
        let answer = move |State(asked): State<Asked>, uri: Uri, body: Bytes| async move {
            let body: Value = serde_json::from_slice(&body).unwrap();
            asked.lock().unwrap().push((uri.to_string(), body.clone()));
            say(uri.path(), &body)
        };
        let app = Router::new().fallback(answer).with_state(asked.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let openai = Endpoint { base_url, key: None };
        let target = Target {
            server: ServerId::new("s"),
            model: name.into(),
            instance: name.into(),
            openai,
            slots: 4,
        };
        Self { target, asked }
    }

    pub fn last(&self) -> (String, Value) {
        self.asked.lock().unwrap().last().unwrap().clone()
    }
}

fn events(data: &[Value], done: bool, stays: bool) -> Response<Body> {
    let mut pieces: Vec<Result<Bytes, Infallible>> =
        data.iter().map(|data| Ok(format!("data: {data}\n\n").into())).collect();
    if done {
        pieces.push(Ok("data: [DONE]\n\n".into()));
    }
    let begun = futures_util::stream::iter(pieces);
    let body = if stays {
        Body::from_stream(begun.chain(futures_util::stream::pending()))
    } else {
        Body::from_stream(begun)
    };
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

fn delta(text: &str) -> Value {
    json!({ "choices": [{ "delta": { "content": text } }] })
}

fn end() -> [Value; 2] {
    [
        json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] }),
        json!({ "choices": [], "usage": { "prompt_tokens": 7, "completion_tokens": 2 } }),
    ]
}

pub(super) fn hello(_: &str, _: &Value) -> Response<Body> {
    events(&[&[delta("Hel"), delta("lo")][..], &end()[..]].concat(), true, false)
}

fn question(path: &str, model: &str, streams: bool) -> String {
    match path {
        "/v1/messages" => json!({ "model": model, "max_tokens": 9, "stream": streams,
            "messages": [{ "role": "user", "content": "Hi" }] }),
        _ => json!({ "model": model, "input": "Hi", "stream": streams }),
    }
    .to_string()
}

async fn ask(scene: &Scene, path: &str, streams: bool) -> Response<Body> {
    scene.send("POST", path, &question(path, "active", streams)).await
}

fn names(said: &str) -> Vec<&str> {
    said.lines().filter_map(|line| line.strip_prefix("event: ")).collect()
}

#[tokio::test]
async fn an_answer_in_chat_is_told_in_the_dialect_that_was_asked_in() {
    let chat = Chat::start("a", hello).await;
    let scene = Scene::new(&chat.target);
    for path in BOTH {
        let answer = ask(&scene, path, true).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let headers = answer.headers();
        assert!(headers["content-type"].to_str().unwrap().starts_with("text/event-stream"));
        assert_eq!(headers["x-pilothouse-model"], "a");
        assert_eq!(headers["x-pilothouse-asked"], "active");
        let said = text(answer).await.unwrap();
        let names = names(&said);
        let (first, last) = match path {
            "/v1/messages" => ("message_start", "message_stop"),
            _ => ("response.created", "response.completed"),
        };
        assert_eq!((names.first(), names.last()), (Some(&first), Some(&last)), "{said}");
        assert!(said.contains("Hel") && said.contains("\"lo\""), "{said}");
        let (asked, body) = chat.last();
        assert_eq!((asked.as_str(), &body["model"]), ("/v1/chat/completions", &json!("a")), "{path}");
        assert_eq!(body["messages"], json!([{ "role": "user", "content": "Hi" }]));

        let whole = ask(&scene, path, false).await;
        assert_eq!(&whole.headers()["content-type"], "application/json");
        let said: Value = serde_json::from_str(&text(whole).await.unwrap()).unwrap();
        let (texts, tokens) = match path {
            "/v1/messages" => (&said["content"][0]["text"], &said["usage"]["input_tokens"]),
            _ => (&said["output"][0]["content"][0]["text"], &said["usage"]["input_tokens"]),
        };
        assert_eq!((texts, tokens), (&json!("Hello"), &json!(7)), "{said}");
        assert_eq!(scene.leases.count(&chat.target.server, "a"), 0, "its lease came back");
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_or_breaks_off_ends_with_the_failure_of_its_dialect() {
    let stays: Say = |_, _| events(&[delta("Hel")], false, true);
    let breaks: Say = |_, _| events(&[delta("Hel")], false, false);
    let tells: Say = |_, _| {
        events(&[delta("Hel"), json!({ "error": { "message": "out of memory", "code": 500 } })], false, true)
    };
    for path in BOTH {
        for (say, is_cut, wanted) in [
            (stays, true, "switched to another model"),
            (breaks, false, "broke this answer off"),
            (tells, false, "out of memory"),
        ] {
            let chat = Chat::start("a", say).await;
            let scene = Scene::new(&chat.target);
            let answer = ask(&scene, path, true).await;
            assert_eq!(answer.status(), StatusCode::OK);
            let mut body = answer.into_body().into_data_stream();
            let mut said = String::from_utf8(body.next().await.unwrap().unwrap().to_vec()).unwrap();
            if is_cut {
                assert_eq!(scene.cut(&chat.target).await, 1);
            }
            while let Some(piece) = body.next().await {
                said.push_str(&String::from_utf8_lossy(&piece.unwrap()));
            }
            drop(body);
            let failure = if path == "/v1/messages" { "error" } else { "response.failed" };
            assert!(names(&said).contains(&failure) && said.contains(wanted), "{path}: {said}");
            assert!(!said.contains("message_stop") && !said.contains("response.completed"), "{said}");
            assert_eq!(scene.leases.count(&chat.target.server, "a"), 0, "its lease came back");
            if !is_cut {
                let whole = ask(&scene, path, false).await;
                assert!(whole.status().is_server_error(), "{path}: {}", whole.status());
                assert!(text(whole).await.unwrap().contains(wanted));
            }
        }
    }
}

#[tokio::test]
async fn what_a_server_refuses_is_said_so_that_each_client_understands() {
    let too_long: Say = |_, _| {
        let error = json!({ "error": { "code": 400, "type": "exceed_context_size_error",
            "message": "request (4565 tokens) exceeds the available context size (4096 tokens), try increasing it" } });
        (StatusCode::BAD_REQUEST, Json(error)).into_response()
    };
    let chat = Chat::start("a", too_long).await;
    let scene = Scene::new(&chat.target);
    for streams in [true, false] {
        let answer = ask(&scene, "/v1/messages", streams).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        assert!(answer.headers().contains_key("request-id"));
        let said: Value = serde_json::from_str(&text(answer).await.unwrap()).unwrap();
        assert_eq!(
            (&said["type"], &said["error"]["type"]),
            (&json!("error"), &json!("invalid_request_error"))
        );
        assert!(said["error"]["message"].as_str().unwrap().starts_with("prompt is too long"), "{said}");
        let answer = ask(&scene, "/v1/responses", streams).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        let said: Value = serde_json::from_str(&text(answer).await.unwrap()).unwrap();
        assert_eq!(said["error"]["code"], "context_length_exceeded", "{said}");
    }
    let busy: Say =
        |_, _| (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "7")], "loading model").into_response();
    let chat = Chat::start("a", busy).await;
    let scene = Scene::new(&chat.target);
    for (path, status) in [("/v1/messages", 529), ("/v1/responses", 503)] {
        let answer = ask(&scene, path, true).await;
        assert_eq!(answer.status().as_u16(), status);
        assert_eq!(answer.headers()["retry-after"], "7");
        assert!(text(answer).await.unwrap().contains("loading model"));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_hears_a_beginning_signs_of_life_and_then_the_answer_or_why_there_is_none() {
    let model = ModelRef::new("s", "qwen2.5:3b");
    for (path, fails) in BOTH.into_iter().flat_map(|path| [(path, false), (path, true)]) {
        tokio::time::resume();
        let chat = Chat::start("qwen2.5:3b", hello).await;
        tokio::time::pause();
        let known = Routes { loads_on_request: true, known: vec![model.clone()], ..Routes::default() };
        let scene = Arc::new(Scene::with(known));
        let _wishes = scene.leases.wishes();
        let asking = scene.clone();
        let asking =
            tokio::spawn(async move { asking.send("POST", path, &question(path, "qwen2.5:3b", true)).await });
        let mut body = asking.await.unwrap().into_body().into_data_stream();
        let mut said = String::new();
        for _ in 0..4 {
            said.push_str(&String::from_utf8_lossy(&body.next().await.unwrap().unwrap()));
        }
        tokio::time::resume();
        if fails {
            let why = ApiError::new(ErrorCode::DoesNotFit, "It needs 9 GB and 4 GB are free.");
            scene.leases.refuse_wish(&model, why);
        } else {
            let routes =
                Routes { loaded: vec![chat.target.clone()], known: vec![model.clone()], ..Routes::default() };
            scene.leases.set_routes(Arc::new(routes));
        }
        while let Some(piece) = body.next().await {
            said.push_str(&String::from_utf8_lossy(&piece.unwrap()));
        }
        let names = names(&said);
        let (first, beat, last) = match (path, fails) {
            ("/v1/messages", false) => ("message_start", "ping", "message_stop"),
            ("/v1/messages", true) => ("message_start", "ping", "error"),
            (_, false) => ("response.created", "response.in_progress", "response.completed"),
            (_, true) => ("response.created", "response.in_progress", "response.failed"),
        };
        assert_eq!(names.iter().filter(|name| **name == first).count(), 1, "begun once: {said}");
        assert_eq!((names[0], names.last()), (first, Some(&last)), "{said}");
        assert!(names.iter().filter(|name| **name == beat).count() >= 4, "{said}");
        assert!(said.contains(if fails { "4 GB are free" } else { "Hel" }), "{said}");
        assert!(!said.contains("\n: ") && !said.starts_with(':'), "comments are not for all: {said}");
        tokio::time::pause();
    }
}

#[tokio::test]
async fn a_program_can_go_on_from_an_answer_until_it_is_forgotten() {
    let chat = Chat::start("a", hello).await;
    let scene = Scene::new(&chat.target);
    for streams in [false, true] {
        let said = text(ask(&scene, "/v1/responses", streams).await).await.unwrap();
        let at = said.find("resp_").unwrap();
        let id: String = said[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let next = json!({ "model": "active", "input": "And?", "previous_response_id": id }).to_string();
        let answer = scene.send("POST", "/v1/responses", &next).await;
        assert_eq!(answer.status(), StatusCode::OK, "{id}");
        let messages = chat.last().1["messages"].clone();
        let texts: Vec<&str> =
            messages.as_array().unwrap().iter().filter_map(|one| one["content"].as_str()).collect();
        assert_eq!(texts, ["Hi", "Hello", "And?"], "{messages}");
        for (path, wanted) in
            [(format!("/v1/responses/{id}"), "Hello"), (format!("/responses/{id}/input_items"), "Hi")]
        {
            let kept = scene.send("GET", &path, "").await;
            assert_eq!(kept.status(), StatusCode::OK, "{path}");
            assert!(text(kept).await.unwrap().contains(wanted), "{path}");
        }
        assert_eq!(scene.send("DELETE", &format!("/v1/responses/{id}"), "").await.status(), StatusCode::OK);
        for (method, path, body) in [
            ("POST", "/v1/responses".to_owned(), next.as_str()),
            ("GET", format!("/v1/responses/{id}"), ""),
            ("DELETE", format!("/v1/responses/{id}"), ""),
        ] {
            let gone = scene.send(method, &path, body).await;
            assert_eq!(gone.status(), StatusCode::NOT_FOUND, "{method} {path}");
        }
    }
}

/// Templates of some models take a message of the system at the begin only.
#[tokio::test]
async fn a_template_that_refuses_a_late_word_of_the_system_gets_it_from_the_user() {
    let strict: Say = |path, body| {
        let late = body["messages"].as_array().unwrap().iter().skip(1).any(|one| one["role"] == "system");
        let error = json!({ "error": { "code": 500, "message": "Jinja Exception: System message must be at the beginning." } });
        if late {
            (StatusCode::INTERNAL_SERVER_ERROR, Json(error)).into_response()
        } else {
            hello(path, body)
        }
    };
    let chat = Chat::start("a", strict).await;
    let scene = Scene::new(&chat.target);
    let body = json!({ "model": "active", "max_tokens": 9, "messages": [
        { "role": "user", "content": "Hi" }, { "role": "system", "content": "Be brief." }, { "role": "user", "content": "Go." },
    ] });
    let answer = scene.send("POST", "/v1/messages", &body.to_string()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(text(answer).await.unwrap().contains("Hello"));
    assert_eq!(chat.asked.lock().unwrap().len(), 2);
    let messages = chat.last().1["messages"].to_string();
    assert!(messages.contains("Be brief.") && !messages.contains("\"system\""), "{messages}");
}

#[tokio::test]
async fn tokens_are_counted_by_a_server_that_can_and_else_estimated_and_said_to_be() {
    let counts: Say = |path, _| match path {
        "/v1/chat/completions/input_tokens" => {
            Json(json!({ "object": "response.input_tokens", "input_tokens": 42 })).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    };
    for (kind, exact) in
        [(ServerKind::LlamaServer, true), (ServerKind::Ollama, false), (ServerKind::LmStudio, false)]
    {
        let chat = Chat::start("a", counts).await;
        let routes = Routes {
            active: ActiveRoute::Open(chat.target.clone()),
            loaded: vec![chat.target.clone()],
            kinds: [(chat.target.server.clone(), kind)].into(),
            ..Routes::default()
        };
        let scene = Scene::with(routes);
        let answer =
            scene.send("POST", "/v1/messages/count_tokens", &question("/v1/messages", "active", false)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers().contains_key("x-pilothouse-estimated"), !exact, "{kind:?}");
        let said: Value = serde_json::from_str(&text(answer).await.unwrap()).unwrap();
        assert_eq!(said["input_tokens"] == json!(42), exact, "{kind:?}: {said}");
        assert!(said["input_tokens"].as_u64().unwrap() > 0);
    }
    let scene = Scene::with(Routes::default());
    let asked = question("/v1/messages", "active", false);
    let waiting = scene.send("POST", "/v1/messages/count_tokens", &asked);
    let answer = tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap();
    assert!(
        answer.headers().contains_key("x-pilothouse-estimated"),
        "nothing is loaded, and the client need not wait"
    );
}

#[tokio::test]
async fn models_are_listed_in_the_words_of_whoever_asks() {
    let chat = Chat::start("a", hello).await;
    let routes = Routes {
        active: ActiveRoute::Open(chat.target.clone()),
        loaded: vec![chat.target.clone()],
        known: vec![ModelRef::new("s", "a")],
        ..Routes::default()
    };
    let scene = Scene::with(routes);
    for path in ["/v1/models", "/v1/models/active"] {
        let request = Request::builder()
            .uri(path)
            .header("host", "localhost")
            .header("anthropic-version", "2023-06-01");
        let said = text(scene.request(request.body(Body::empty()).unwrap()).await).await.unwrap();
        let said: Value = serde_json::from_str(&said).unwrap();
        let one = if path.ends_with("active") { &said } else { &said["data"][0] };
        assert_eq!((&one["type"], &one["id"]), (&json!("model"), &json!("active")), "{said}");
        let said = text(scene.send("GET", path, "").await).await.unwrap();
        assert!(said.contains("\"object\":\"model\""), "{said}");
    }
}

#[tokio::test]
async fn a_page_of_a_named_origin_may_ask_and_read_and_no_other_page_may() {
    let chat = Chat::start("a", hello).await;
    let scene = Scene::new(&chat.target);
    let ask = |method: &str, origin: &str, preflight: bool| {
        let mut request = Request::builder().method(method).uri("/v1/chat/completions");
        request = request.header("host", "localhost").header("origin", origin);
        if preflight {
            request = request.header("access-control-request-method", "POST");
            request =
                request.header("access-control-request-headers", "authorization,content-type,x-stainless-os");
        }
        scene.request(request.body(Body::from("{\"model\":\"active\"}")).unwrap())
    };
    let page = crate::switch_tests::PAGE;
    let allowed = ask("OPTIONS", page, true).await;
    assert_eq!(allowed.status(), StatusCode::NO_CONTENT);
    assert_eq!(allowed.headers()["access-control-allow-origin"], page);
    assert_eq!(
        allowed.headers()["access-control-allow-headers"],
        "authorization,content-type,x-stainless-os"
    );
    assert!(allowed.headers().get("access-control-allow-credentials").is_none());
    let answer = ask("POST", page, false).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(
        (&answer.headers()["access-control-allow-origin"], &answer.headers()["vary"]),
        (&page.parse().unwrap(), &"origin".parse().unwrap())
    );
    assert!(
        answer.headers()["access-control-expose-headers"].to_str().unwrap().contains("x-pilothouse-model")
    );
    for other in ["https://evil.example", "null", "app://obsidian.md.evil.example"] {
        for (method, preflight) in [("OPTIONS", true), ("POST", false)] {
            let refused = ask(method, other, preflight).await;
            assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{method} {other}");
            assert!(refused.headers().get("access-control-allow-origin").is_none());
        }
    }
    assert_eq!(ask("OPTIONS", page, false).await.status(), StatusCode::METHOD_NOT_ALLOWED, "no preflight");
}
