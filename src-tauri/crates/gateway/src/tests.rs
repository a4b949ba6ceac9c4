//! The gateway against a fake server that says what it was asked.

mod ends;

use super::{
    Shared, body,
    path::{Dialect, PATHS},
    router,
    unpack::tests::packed,
};
use crate::door::{Caller, Guard};
use axum::{
    Json, Router,
    body::{Body, Bytes},
    http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header},
    response::IntoResponse,
};
use pilothouse_domain::{
    endpoint::{Endpoint, Secret},
    model::ModelRef,
    server::ServerId,
};
use pilothouse_leases::{ActiveRoute, Leases, Routes, Target};
use pilothouse_records::Recorder;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::{net::TcpListener, task::JoinHandle};
use tower::ServiceExt;

const HERE: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);
const KEY: &str = "the-stored-key";
const MODEL: &str = "hf.co/someone/model:Q4";

/// The fake server and a gateway before it.
struct Before {
    gateway: Router,
    recorder: Recorder,
    serving: JoinHandle<()>,
}

impl Drop for Before {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn echo(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    if headers.contains_key("x-please-redirect") {
        let to = format!("https://elsewhere.example{}", uri.path());
        return (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, to)]).into_response();
    }
    let names: Vec<&str> = headers.keys().map(header::HeaderName::as_str).collect();
    let said = json!({
        "method": method.as_str(),
        "path": uri.to_string(),
        "names": names,
        "authorization": headers.get("authorization").and_then(|value| value.to_str().ok()),
        "length": headers.get("content-length").and_then(|value| value.to_str().ok()),
        "body": String::from_utf8_lossy(&body),
    });
    let own = [
        ("set-cookie", "session=1"),
        ("access-control-allow-origin", "*"),
        ("connection", "x-internal"),
        ("x-internal", "1"),
        ("x-kept", "1"),
    ];
    (own, Json(said)).into_response()
}

impl Before {
    async fn start(budget: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/openai/v1", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            axum::serve(listener, Router::new().fallback(echo)).await.unwrap();
        });
        let target = Target {
            server: ServerId::new("studio"),
            model: MODEL.into(),
            instance: "instance-1".into(),
            openai: Endpoint { base_url, key: Some(Secret::new(KEY)) },
            slots: 64,
        };
        let routes = Routes {
            active: ActiveRoute::Open(target.clone()),
            known: vec![ModelRef { server: target.server.clone(), model: MODEL.into() }],
            loaded: vec![target],
            ..Routes::default()
        };
        let leases = Leases::default();
        leases.set_routes(Arc::new(routes));
        let recorder = Recorder::new(0).0;
        let shared = Shared {
            leases,
            bodies: body::Budget::new(budget),
            lines: Default::default(),
            kept: Default::default(),
            masking: Default::default(),
            recorder: recorder.clone(),
            metrics: None,
            keys: Default::default(),
        };
        let router = router(shared, Guard::new(), Router::new());
        let gateway = router.layer(axum::Extension(Caller::of(HERE, None)));
        Self { gateway, recorder, serving }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost:1234");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.gateway.clone().oneshot(request.body(body).unwrap()).await.unwrap()
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
        self.ask("POST", path, headers, Body::from(r#"{"model":"active","x":[1 ,2]}"#)).await
    }
}

async fn document(response: Response<Body>) -> Value {
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn a_listed_path_reaches_the_server_with_its_query_and_the_stored_key() {
    let before = Before::start(1 << 20).await;
    let sent = [("x-api-key", "mine"), ("authorization", "Bearer mine"), ("cookie", "a=b"), ("x-mine", "1")];
    let answer = before.post("/v1/chat/completions?beta=true&a=%2e%2e%2f", &sent).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let names: Vec<String> = answer.headers().keys().map(ToString::to_string).collect();
    for gone in ["set-cookie", "access-control-allow-origin", "connection", "x-internal"] {
        assert!(!names.iter().any(|name| name == gone), "{gone} in {names:?}");
    }
    assert_eq!(answer.headers()["x-kept"], "1");
    assert_eq!(answer.headers()["x-pilothouse-server"], "studio");
    let said = document(answer).await;
    assert_eq!(said["path"], "/openai/v1/chat/completions?beta=true&a=%2e%2e%2f");
    assert_eq!(said["authorization"], format!("Bearer {KEY}"));
    let body = r#"{"model":"instance-1","x":[1 ,2]}"#;
    assert_eq!((&said["body"], &said["length"]), (&body.into(), &body.len().to_string().into()));
    let names: Vec<&str> = said["names"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(names.contains(&"x-mine"), "{names:?}");
    assert!(!names.contains(&"x-api-key") && !names.contains(&"cookie"), "{names:?}");
    assert!(!names.contains(&"transfer-encoding"), "{names:?}");
}

#[tokio::test]
async fn whatever_no_dialect_names_reaches_no_server() {
    let before = Before::start(1 << 20).await;
    for path in [
        "/v1/..%2Fmodels%2Funload",
        "/v1/../models/unload",
        "/v1/%2e%2e/models/unload",
        "/v1/..%2Fkey%2Fgenerate",
        "/v1/chat/completions%3Fadmin=1",
        "/v1/%252e%252e%252fmodels",
        "/v1/models/unload",
        "/v1/models",
        "/v1/",
        "/v1//chat/completions",
        "/v1/chat/completions/",
        "/v1/completions%ff",
        "/models/unload",
        "/v1/..\\models",
    ] {
        let answer = before.post(path, &[]).await;
        let status = answer.status();
        assert!(matches!(status.as_u16(), 404 | 405), "{path}: {status}");
        let said = document(answer).await;
        let code = said["error"]["code"].as_str().unwrap();
        assert!(matches!(code, "unknown_path" | "wrong_method"), "{path}: {said}");
    }
}

/// The kind of an error in the shape of each API, and the words of the other one nowhere.
fn kind(said: &Value, dialect: Dialect) -> Option<&str> {
    match dialect {
        Dialect::Anthropic => {
            let whole = said["type"] == "error" && said["error"]["message"].is_string();
            said["error"]["type"].as_str().filter(|_| whole && said["error"].get("code").is_none())
        }
        Dialect::Ollama => said["error"].as_str(),
        Dialect::OpenAi | Dialect::Responses | Dialect::LlamaCpp => {
            said["error"]["code"].as_str().filter(|_| said.get("type").is_none())
        }
    }
}

#[tokio::test]
async fn another_method_is_refused_in_the_words_of_the_api_and_told_which_one_would_do() {
    let before = Before::start(1 << 20).await;
    for path in PATHS {
        let wanted = match path.dialect {
            Dialect::Anthropic => "invalid_request_error",
            _ => "wrong_method",
        };
        let methods = ["GET", "HEAD", "DELETE", "OPTIONS", "PUT", "PATCH", "TRACE", "QUERY"];
        for (method, root) in methods.iter().flat_map(|method| [(*method, "/v1/"), (*method, "/")]) {
            let answer = before.ask(method, &format!("{root}{}?a=b", path.text()), &[], Body::empty()).await;
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {}", path.text());
            assert_eq!(answer.headers()["allow"], "POST");
            if method != "HEAD" {
                assert_eq!(
                    kind(&document(answer).await, path.dialect),
                    Some(wanted),
                    "{method} {}",
                    path.text()
                );
            }
        }
    }
    for path in
        ["/v1/models", "/v1/models/active", "/v1/models/hf.co%2Fa", "/models", "/models/active", "/health"]
    {
        for method in ["POST", "DELETE", "OPTIONS", "PUT"] {
            let answer = before.ask(method, path, &[], Body::empty()).await;
            assert_eq!(answer.headers()["allow"], "GET, HEAD", "{method} {path}");
            assert_eq!(document(answer).await["error"]["code"], "wrong_method");
        }
    }
    for path in
        ["/v1/nonsense", "/v1/models/", "/v1/", "/v1/..%2Fmodels", "/v1", "/", "/nonsense", "/v1/v1/messages"]
    {
        for method in ["GET", "DELETE", "OPTIONS"] {
            let answer = before.ask(method, path, &[], Body::empty()).await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{method} {path}");
            assert!(answer.headers().get("allow").is_none());
            assert_eq!(document(answer).await["error"]["code"], "unknown_path");
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_opened_beforehand_is_answered_and_no_request() {
    let before = Before::start(1 << 20).await;
    for path in ["/", "/api/hello"] {
        let answer = before.ask("HEAD", path, &[], Body::empty()).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
    for path in ["/nonsense", "/api/hello/", "/api/tags"] {
        assert_eq!(
            before.ask("HEAD", path, &[], Body::empty()).await.status(),
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
}

#[tokio::test]
async fn every_path_is_there_without_v1_as_well() {
    let before = Before::start(1 << 20).await;
    // Others are said again in chat's words.
    let own = |path: &&super::path::ApiPath| matches!(path.dialect, Dialect::OpenAi | Dialect::LlamaCpp);
    for path in PATHS.iter().filter(own) {
        let said = document(before.post(&format!("/{}?beta=true", path.text()), &[]).await).await;
        assert_eq!(
            said["path"],
            format!("/openai/v1/{}?beta=true", path.text()),
            "the server has its own root"
        );
    }
    for root in ["", "/v1"] {
        let list = document(before.ask("GET", &format!("{root}/models"), &[], Body::empty()).await).await;
        assert_eq!(list["data"].as_array().map(Vec::len), Some(2), "{root}");
        let one = format!("{root}/models/hf.co%2Fsomeone%2Fmodel%3AQ4");
        assert_eq!(document(before.ask("GET", &one, &[], Body::empty()).await).await["id"], MODEL);
        let health = before.ask("GET", &format!("{root}/health"), &[], Body::empty()).await;
        assert_eq!((health.status(), document(health).await), (StatusCode::OK, json!({ "status": "ok" })));
    }
}

#[tokio::test]
async fn every_refusal_of_the_messages_api_is_in_anthropics_words() {
    let before = Before::start(200).await;
    let nobody =
        || Body::from(r#"{"model":"nobody","max_tokens":1,"messages":[{"role":"user","content":"a"}]}"#);
    let long = |bytes: usize| Body::from(format!(r#"{{"x":"{}"}}"#, "y".repeat(bytes)));
    type Case = (&'static str, &'static [(&'static str, &'static str)], Body, u16, &'static str);
    let cases: [Case; 12] = [
        ("/v1/messages", &[], Body::from("[]"), 400, "invalid_request_error"),
        ("/v1/messages", &[], nobody(), 404, "not_found_error"),
        ("/v1/messages/count_tokens", &[], Body::from(r#"{"model":3}"#), 400, "invalid_request_error"),
        ("/v1/messages/batches", &[], Body::empty(), 404, "not_found_error"),
        ("/v1/messages", &[], long(300), 529, "overloaded_error"),
        ("/v1/messages", &[], long(65 << 20), 413, "request_too_large"),
        ("/messages", &[], long(65 << 20), 413, "request_too_large"),
        ("/messages", &[], nobody(), 404, "not_found_error"),
        ("/messages/batches", &[], Body::empty(), 404, "not_found_error"),
        ("/v1/messages", &[("content-encoding", "br")], Body::from("x"), 415, "invalid_request_error"),
        ("/v1/messages", &[("origin", "https://evil.example")], Body::from("{}"), 403, "permission_error"),
        ("/v1/nothing", &[("anthropic-version", "2023-06-01")], Body::empty(), 404, "not_found_error"),
    ];
    for (path, headers, body, status, wanted) in cases {
        let answer = before.ask("POST", path, headers, body).await;
        assert_eq!(answer.status().as_u16(), status, "{path} {headers:?}");
        let said = document(answer).await;
        assert_eq!(kind(&said, Dialect::Anthropic), Some(wanted), "{path}: {said}");
    }
}

#[tokio::test]
async fn a_compressed_body_arrives_unpacked_or_is_refused_by_name() {
    let before = Before::start(1 << 20).await;
    let text = format!(r#"{{"x":"{}","model":"active"}}"#, "y".repeat(5000));
    for (coding, bytes) in packed(text.as_bytes()) {
        let answer =
            before.ask("POST", "/v1/completions", &[("content-encoding", coding)], Body::from(bytes)).await;
        assert_eq!(answer.status(), StatusCode::OK, "{coding}");
        let said = document(answer).await;
        assert!(said["body"] == text.replace("active", "instance-1"), "{coding}: {}", said["body"]);
        let names = said["names"].as_array().unwrap();
        assert!(!names.contains(&"content-encoding".into()), "{coding}: it is not packed any more");
    }
    for coding in ["br", "gzip, gzip", "snappy"] {
        let answer =
            before.ask("POST", "/v1/completions", &[("content-encoding", coding)], Body::from("x")).await;
        assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{coding}");
        assert!(answer.headers()["accept-encoding"].to_str().unwrap().contains("gzip"));
        assert_eq!(document(answer).await["error"]["code"], "unsupported_encoding");
    }
}

#[tokio::test]
async fn a_form_goes_on_as_it_came_with_its_model_renamed() {
    let before = Before::start(1 << 20).await;
    let form = |model: &str| {
        format!(
            "--b0\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF{}\r\n\
             --b0\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n--b0--\r\n",
            "\0".repeat(1000)
        )
    };
    let kind = [("content-type", "multipart/form-data; boundary=b0")];
    for path in
        ["/v1/audio/transcriptions", "/v1/audio/translations", "/v1/images/edits", "/v1/images/variations"]
    {
        let said = document(before.ask("POST", path, &kind, Body::from(form("active"))).await).await;
        assert!(said["body"] == form("instance-1"), "{path}: {said}");
        assert_eq!(said["length"], form("instance-1").len().to_string());
    }
    let refused = before.ask("POST", "/v1/audio/transcriptions", &kind, Body::from(form("nobody"))).await;
    assert_eq!(
        (refused.status(), &document(refused).await["error"]["code"]),
        (StatusCode::NOT_FOUND, &"model_not_found".into())
    );
    let cut = Body::from(form("active").replace("--b0--", ""));
    let refused = before.ask("POST", "/v1/audio/transcriptions", &kind, cut).await;
    assert_eq!(document(refused).await["error"]["code"], "invalid_form");
    let small = Before::start(500).await;
    let refused = small.ask("POST", "/v1/audio/transcriptions", &kind, Body::from(form("active"))).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE, "within the budget of all bodies");
}

#[tokio::test]
async fn a_model_is_described_by_its_id_with_slashes_encoded_or_not() {
    let before = Before::start(1 << 20).await;
    for id in ["hf.co/someone/model:Q4", "hf.co%2Fsomeone%2Fmodel%3AQ4", "active"] {
        let answer = before.ask("GET", &format!("/v1/models/{id}"), &[], Body::empty()).await;
        assert_eq!(answer.status(), StatusCode::OK, "{id}");
    }
    for id in ["HF.co%2Fsomeone%2Fmodel:q4", "studio/hf.co/someone/model:Q4"] {
        let answer = before.ask("GET", &format!("/v1/models/{id}"), &[], Body::empty()).await;
        assert_eq!(document(answer).await["id"], MODEL, "another spelling of it: {id}");
        let body = Body::from(format!(r#"{{"model":"{}"}}"#, id.replace("%2F", "/")));
        let answer = before.ask("POST", "/v1/chat/completions", &[], body).await;
        assert_eq!(answer.status(), StatusCode::OK, "{id}");
    }
    for id in ["nobody", "..%2Fmodels", "hf.co%252Fsomeone%252Fmodel%253AQ4", "a%ff"] {
        let answer = before.ask("GET", &format!("/v1/models/{id}"), &[], Body::empty()).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{id}");
        assert_eq!(document(answer).await["error"]["code"], "model_not_found", "{id}");
    }
}

#[tokio::test]
async fn a_redirect_is_an_error_that_names_the_address_for_the_settings() {
    let before = Before::start(1 << 20).await;
    let answer = before.post("/v1/chat/completions", &[("x-please-redirect", "1")]).await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    let said = document(answer).await;
    assert_eq!(said["error"]["code"], "server_redirects");
    let words = said["error"]["message"].as_str().unwrap();
    assert!(words.contains("https://elsewhere.example/openai/v1 "), "{words}");
}

#[tokio::test]
async fn beyond_the_budget_of_bodies_a_request_is_asked_to_come_again() {
    let before = Before::start(40).await;
    assert_eq!(before.post("/v1/completions", &[]).await.status(), StatusCode::OK);
    let long = Body::from(format!(r#"{{"model":"active","x":"{}"}}"#, "y".repeat(40)));
    let answer = before.ask("POST", "/v1/completions", &[], long).await;
    assert_eq!(
        (answer.status(), &answer.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"5".parse().unwrap())
    );
    assert_eq!(document(answer).await["error"]["type"], "server_error");
    for _ in 0..9 {
        assert_eq!(before.post("/v1/completions", &[]).await.status(), StatusCode::OK, "given back");
    }
}

#[tokio::test]
async fn a_large_body_arrives_whole_and_with_its_length() {
    let before = Before::start(1 << 20).await;
    let body = format!(r#"{{"x":"{}","model":"active"}}"#, "y".repeat(500_000));
    let said = document(before.ask("POST", "/v1/completions", &[], Body::from(body.clone())).await).await;
    let wanted = body.replace("active", "instance-1");
    assert_eq!(said["length"], wanted.len().to_string());
    assert!(said["body"] == wanted, "the body has changed on its way");
}
