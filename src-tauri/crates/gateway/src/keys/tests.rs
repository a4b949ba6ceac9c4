//! Who comes in with which key, and what each opens.

mod crowds;

use super::*;
use crate::{
    Shared, body,
    door::{Caller, Guard},
    router,
};
use axum::{
    Router,
    body::Body,
    http::{Request, Response, header},
    response::IntoResponse,
};
use pilothouse_domain::{client_key::KeyScope, endpoint::Endpoint, server::ServerId};
use pilothouse_leases::{ActiveRoute, Leases, Routes, Target};
use pilothouse_records::{Ended, Recorder};
use serde_json::Value;
use tokio::net::TcpListener;
use tower::ServiceExt;

const HERE: &str = "127.0.0.1:5000";
const ELSEWHERE: &str = "192.168.1.31:5000";
const DOCUMENT: &str = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#;

fn key(name: &str) -> ClientKey {
    ClientKey {
        name: name.into(),
        scope: KeyScope::Inference,
        models: vec![],
        at_once: None,
        tokens_per_minute: None,
        made_at: Timestamp::UNIX_EPOCH,
        last_used_at: None,
    }
}

fn secret(name: &str) -> String {
    format!("ph_of-{name}")
}

fn ring(keys: &[ClientKey]) -> KeyRing {
    let ring = KeyRing::default();
    ring.set_keys(keys.iter().map(|key| (hash_of(&secret(&key.name)), key.clone())));
    ring
}

/// A server that answers with a document, each answer after it was let go.
struct Server {
    leases: Leases,
    go: Arc<Semaphore>,
}

impl Server {
    async fn start(models: &[&str]) -> Self {
        let go = Arc::new(Semaphore::new(0));
        let gate = go.clone();
        let answer = move || {
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
        let target = |model: &&str| Target {
            server: ServerId::new("s"),
            model: (*model).into(),
            instance: (*model).into(),
            openai: Endpoint { base_url: base_url.clone(), key: None },
            slots: 64,
        };
        let loaded: Vec<Target> = models.iter().map(target).collect();
        let routes = Routes {
            active: ActiveRoute::Open(loaded[0].clone()),
            known: loaded.iter().map(|one| ModelRef::new(one.server.clone(), one.model.clone())).collect(),
            aliases: [("gpt-4o".to_owned(), "active".to_owned())].into(),
            loaded,
            ..Routes::default()
        };
        let leases = Leases::default();
        leases.set_routes(Arc::new(routes));
        Self { leases, go }
    }

    /// That answers at once.
    async fn quick(models: &[&str]) -> Self {
        let server = Self::start(models).await;
        server.go.add_permits(100_000);
        server
    }

    fn router(&self, keys: &KeyRing) -> (Router, Recorder, Ended) {
        let (recorder, ended) = Recorder::new(0);
        let shared = Shared {
            leases: self.leases.clone(),
            bodies: body::Budget::new(1 << 24),
            lines: Default::default(),
            kept: Default::default(),
            masking: Default::default(),
            recorder: recorder.clone(),
            metrics: None,
            keys: keys.clone(),
        };
        (router(shared, Guard::new(), Router::new()), recorder, ended)
    }
}

async fn ask(
    router: &Router,
    from: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response<Body> {
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost:1234");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let caller = Caller::of(from.parse().unwrap(), Some("127.0.0.1:11480".parse().unwrap()));
    let request = request.extension(caller).body(Body::from(body.to_owned())).unwrap();
    router.clone().oneshot(request).await.unwrap()
}

async fn said(response: Response<Body>) -> Value {
    serde_json::from_slice(&whole(response).await).unwrap_or_default()
}

/// Reads it to its end.
async fn whole(
    response: Response<
        impl hyper::body::Body<Data = bytes::Bytes, Error: Into<axum::BoxError>> + Send + 'static,
    >,
) -> bytes::Bytes {
    axum::body::to_bytes(Body::new(response.into_body()), 1 << 20).await.unwrap()
}

const CHAT: &str = r#"{"model":"active","messages":[{"role":"user","content":"a"}]}"#;
const MESSAGES: &str = r#"{"model":"active","max_tokens":9,"messages":[{"role":"user","content":"a"}]}"#;
const RESPONSES: &str = r#"{"model":"active","input":"a"}"#;

#[tokio::test]
async fn who_may_come_in_with_what() {
    let server = Server::quick(&["m"]).await;
    let ring = ring(&[key("laptop")]);
    // So that nobody has to wait.
    let _full = ring.0.slowed.0.try_acquire_many(SLOWED as u32).unwrap();
    let (router, ..) = server.router(&ring);
    let good = secret("laptop");
    let bearer = format!("Bearer {good}");
    let (lower, padded) = (format!("bearer {good}"), format!("Bearer  {good} "));
    for (required, from, headers, wanted) in [
        (false, HERE, vec![], 200),
        (false, HERE, vec![("authorization", "Bearer pilothouse")], 200),
        (false, HERE, vec![("authorization", "Bearer sk-of-somebody-else")], 200),
        (false, HERE, vec![("authorization", "Bearer ")], 200),
        (false, HERE, vec![("authorization", "Basic YTpi")], 200),
        (false, HERE, vec![("x-api-key", "lm-studio")], 200),
        (false, HERE, vec![("authorization", "Bearer ph_of-nobody")], 401),
        (false, HERE, vec![("x-api-key", "ph_of-nobody")], 401),
        (false, HERE, vec![("x-api-key", "ph_")], 401),
        (false, "[::1]:5000", vec![], 200),
        (false, "[::ffff:127.0.0.1]:5000", vec![], 200),
        (false, "127.0.0.2:5000", vec![], 200),
        (false, ELSEWHERE, vec![], 401),
        (false, ELSEWHERE, vec![("authorization", "Bearer pilothouse")], 401),
        // No header makes anybody one of this machine; some tell of somebody elsewhere.
        (false, ELSEWHERE, vec![("x-forwarded-for", "127.0.0.1")], 401),
        (false, HERE, vec![("x-forwarded-for", "10.0.0.9")], 401),
        (false, HERE, vec![("forwarded", "for=127.0.0.1")], 401),
        (false, HERE, vec![("via", "1.1 proxy")], 401),
        (false, HERE, vec![("tailscale-user-login", "a@b.example")], 401),
        (false, HERE, vec![("x-forwarded-for", "10.0.0.9"), ("authorization", bearer.as_str())], 200),
        (true, HERE, vec![], 401),
        (true, HERE, vec![("authorization", "Bearer pilothouse")], 401),
        (true, HERE, vec![("authorization", bearer.as_str())], 200),
        (true, HERE, vec![("authorization", lower.as_str())], 200),
        (true, HERE, vec![("authorization", padded.as_str())], 200),
        (true, ELSEWHERE, vec![("x-api-key", good.as_str())], 200),
        // A key for elsewhere beside the right one does no harm, in whatever order.
        (true, ELSEWHERE, vec![("authorization", "Bearer sk-1"), ("x-api-key", good.as_str())], 200),
        (true, ELSEWHERE, vec![("authorization", bearer.as_str()), ("x-api-key", "ph_old")], 200),
        (true, ELSEWHERE, vec![("authorization", "Bearer ph_old"), ("x-api-key", good.as_str())], 200),
        // The key itself is wanted, not a part of it and not another case.
        (true, HERE, vec![("x-api-key", &good[..good.len() - 1])], 401),
        (true, HERE, vec![("x-api-key", "PH_OF-LAPTOP")], 401),
        (true, HERE, vec![("authorization", good.as_str())], 401),
    ] {
        ring.set_required(required);
        let answer = ask(&router, from, "POST", "/v1/chat/completions", &headers, CHAT).await;
        assert_eq!(answer.status(), wanted, "{required} {from} {headers:?}");
        let answer = ask(&router, from, "GET", "/v1/models", &headers, "").await;
        assert_eq!(answer.status(), wanted, "GET {required} {from} {headers:?}");
    }
}

#[tokio::test]
async fn a_refusal_is_in_the_words_of_the_api_that_was_asked_for() {
    let server = Server::start(&["m"]).await;
    let limited = ClientKey { at_once: Some(1), ..key("limited") };
    let ring = ring(&[limited, ClientKey { scope: KeyScope::Read, ..key("reads") }]);
    ring.set_required(true);
    let _full = ring.0.slowed.0.try_acquire_many(SLOWED as u32).unwrap();
    let (router, _, mut ended) = server.router(&ring);
    let (limited, reads) = (secret("limited"), secret("reads"));
    let held = {
        let (router, limited) = (router.clone(), limited.clone());
        tokio::spawn(async move {
            ask(&router, HERE, "POST", "/v1/chat/completions", &[("x-api-key", &limited)], CHAT).await
        })
    };
    while ring.uses()[&hash_of(&limited)].under_way == 0 {
        tokio::task::yield_now().await;
    }
    for (path, body, kind_at) in [
        ("/v1/chat/completions", CHAT, "/error/code"),
        ("/v1/responses", RESPONSES, "/error/code"),
        ("/v1/messages", MESSAGES, "/error/type"),
    ] {
        let anthropic = path == "/v1/messages";
        for (headers, status, openai, anthropics, retry) in [
            (vec![], 401, "missing_api_key", "authentication_error", "false"),
            (vec![("x-api-key", "ph_x")], 401, "invalid_api_key", "authentication_error", "false"),
            (vec![("x-api-key", reads.as_str())], 403, "scope_missing", "permission_error", "false"),
            (vec![("x-api-key", limited.as_str())], 429, "rate_limit_exceeded", "rate_limit_error", "true"),
        ] {
            let answer = ask(&router, HERE, "POST", path, &headers, body).await;
            assert_eq!(answer.status(), status, "{path} {headers:?}");
            let told = answer.headers().clone();
            assert_eq!(told["x-should-retry"], retry, "{path} {headers:?}");
            assert_eq!(told.contains_key("retry-after"), status == 429, "{path} {headers:?}");
            assert_eq!(told.contains_key("www-authenticate"), status == 401, "{path} {headers:?}");
            let said = said(answer).await;
            let wanted = if anthropic { anthropics } else { openai };
            assert_eq!(said.pointer(kind_at).and_then(Value::as_str), Some(wanted), "{path} {said}");
            assert_eq!(said["type"] == "error", anthropic, "{said}");
            let text = said.pointer("/error/message").and_then(Value::as_str).unwrap();
            assert!(!text.contains("ph_"), "no key is repeated: {text}");
        }
    }
    server.go.add_permits(100);
    assert_eq!(held.await.unwrap().status(), 200);
    let mut names = vec![];
    while let Ok(record) = ended.try_recv() {
        names.push((record.client.key.clone().unwrap(), record.status));
    }
    // Of wrong keys nothing is recorded, so that nobody can fill the list with them.
    let refused = ("limited".to_owned(), Some(429));
    assert_eq!(names.iter().filter(|one| **one == refused).count(), 3, "{names:?}");
    assert!(names.iter().all(|(name, _)| name == "limited"), "{names:?}");
}

#[tokio::test]
async fn a_key_sees_and_uses_only_its_models() {
    let server = Server::quick(&["qwen2.5", "gemma"]).await;
    let of = |name: &str, models: &[&str]| ClientKey {
        models: models.iter().map(|one| (*one).to_owned()).collect(),
        ..key(name)
    };
    let ring =
        ring(&[of("qwens", &["qwen*"]), of("alias", &["gpt-*"]), of("there", &["s/gemma"]), key("all")]);
    let (router, ..) = server.router(&ring);
    for (name, listed, used, refused) in [
        (
            "qwens",
            vec!["active", "gpt-4o", "qwen2.5"],
            vec!["active", "gpt-4o", "qwen2.5", "s/qwen2.5"],
            vec!["gemma", "s/gemma"],
        ),
        ("alias", vec!["gpt-4o"], vec!["gpt-4o"], vec!["active", "qwen2.5", "gemma"]),
        ("there", vec!["gemma"], vec!["gemma", "s/gemma"], vec!["active", "qwen2.5"]),
        ("all", vec!["active", "gpt-4o", "qwen2.5", "gemma"], vec!["active", "gemma"], vec![]),
    ] {
        let secret = secret(name);
        let shown = [("x-api-key", secret.as_str())];
        let list = said(ask(&router, ELSEWHERE, "GET", "/v1/models", &shown, "").await).await;
        let ids: Vec<&str> =
            list["data"].as_array().unwrap().iter().filter_map(|one| one["id"].as_str()).collect();
        assert_eq!(ids, listed, "{name}");
        for (models, status, looks) in [(used, 200, 200), (refused, 403, 404)] {
            for model in models {
                let body = CHAT.replace("active", model);
                for path in ["/v1/chat/completions", "/v1/embeddings"] {
                    let answer = ask(&router, ELSEWHERE, "POST", path, &shown, &body).await;
                    assert_eq!(answer.status(), status, "{name} {model} {path}");
                    if status == 403 {
                        assert_eq!(answer.headers()["x-should-retry"], "false");
                        assert_eq!(
                            said(answer).await["error"]["code"],
                            "model_not_allowed",
                            "{name} {model}"
                        );
                    }
                }
                let count = MESSAGES.replace("active", model);
                let answer =
                    ask(&router, ELSEWHERE, "POST", "/v1/messages/count_tokens", &shown, &count).await;
                assert_eq!(answer.status(), status, "{name} {model} count");
                let answer = ask(&router, ELSEWHERE, "GET", &format!("/v1/models/{model}"), &shown, "").await;
                assert_eq!(answer.status(), looks, "{name} {model} one");
            }
        }
    }
    // No name at all is the active model.
    for (name, status) in [("qwens", 200), ("there", 403)] {
        let secret = secret(name);
        let answer =
            ask(&router, HERE, "POST", "/v1/embeddings", &[("x-api-key", &secret)], r#"{"input":"a"}"#).await;
        assert_eq!(answer.status(), status, "{name}");
    }
}

#[tokio::test]
async fn one_that_waits_for_a_switch_does_not_get_a_model_that_its_key_may_not_use() {
    let server = Server::quick(&["qwen2.5", "gemma"]).await;
    let ring = ring(&[ClientKey { models: vec!["qwen*".into()], ..key("qwens") }]);
    let (router, ..) = server.router(&ring);
    let open = (*server.leases.routes()).clone();
    server.leases.set_routes(Arc::new(Routes { active: ActiveRoute::Held, ..open.clone() }));
    let secret = secret("qwens");
    let shown = [("x-api-key", secret.as_str())];
    let asked = ask(&router, HERE, "POST", "/v1/embeddings", &shown, r#"{"model":"active","input":"a"}"#);
    let switched = async {
        while server.leases.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        let gemma = ActiveRoute::Open(open.loaded[1].clone());
        server.leases.set_routes(Arc::new(Routes { active: gemma, ..open.clone() }));
    };
    let (answer, ()) = tokio::join!(asked, switched);
    assert_eq!(answer.status(), 403);
}

#[tokio::test]
async fn reading_keys_look_and_do_nothing_else() {
    let server = Server::quick(&["m"]).await;
    let ring = ring(&[ClientKey { scope: KeyScope::Read, ..key("reads") }]);
    let (router, ..) = server.router(&ring);
    let secret = secret("reads");
    for (method, path, status) in [
        ("GET", "/v1/models", 200),
        ("HEAD", "/v1/models", 200),
        ("GET", "/models/m", 200),
        ("GET", "/health", 200),
        ("GET", "/v1/responses/resp_1", 403),
        ("DELETE", "/v1/responses/resp_1", 403),
        ("GET", "/v1/responses/resp_1/input_items", 403),
        ("POST", "/v1/models", 403),
        ("GET", "/v1/modelsx", 403),
    ]
    .into_iter()
    .map(|(method, path, status)| (method, path.to_owned(), status))
    .chain(crate::path::PATHS.iter().map(|path| ("POST", format!("/v1/{}", path.text()), 403)))
    {
        let answer = ask(&router, HERE, method, &path, &[("x-api-key", &secret)], CHAT).await;
        assert_eq!(answer.status(), status, "{method} {path}");
    }
}
