//! What clients hear while models change behind the gateway, against fake servers that answer as they are told.

use super::{Shared, body, router};
use crate::door::{Caller, Guard};
use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode, header},
    response::IntoResponse,
};
use bytes::Bytes;
use pilothouse_domain::{endpoint::Endpoint, server::ServerId};
use pilothouse_leases::{ActiveRoute, Leases, Routes, Target};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

/// How a fake server answers.
#[derive(Clone, Copy)]
pub(super) enum Answers {
    Whole,
    /// One event, then nothing until it is dropped.
    OneEvent,
    /// Two events, and a clean end without the closing mark.
    NoMark,
    /// Events and the closing mark.
    Stream,
    /// Never a byte.
    Never,
    /// The error of llama-server's router when a child has gone.
    ProxyError,
    /// The body of the request, whatever it is.
    Echo,
}

fn stream(pieces: &'static [&'static str], stays_open: bool) -> Response<Body> {
    let (sender, receiver) = mpsc::channel::<Result<Bytes, Infallible>>(8);
    tokio::spawn(async move {
        for piece in pieces {
            let _ = sender.send(Ok(Bytes::from_static(piece.as_bytes()))).await;
        }
        if stays_open {
            sender.closed().await;
        }
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(ReceiverStream::new(receiver)))
        .into_response()
}

pub(super) async fn server(name: &str, answers: Answers) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let answer = move |body: Bytes| async move {
        match answers {
            Answers::Echo => body.into_response(),
            Answers::Whole => "{\"choices\":[]}".into_response(),
            Answers::OneEvent => stream(&["data: {\"n\":1}\n\n"], true),
            Answers::NoMark => stream(&["data: {\"n\":1}\n\n", "data: {\"n\":2}\n\n"], false),
            Answers::Stream => stream(&["data: {\"n\":1}\n\n", "data: [DONE]\n\n"], false),
            Answers::Never => std::future::pending().await,
            Answers::ProxyError => (StatusCode::INTERNAL_SERVER_ERROR, "proxy error").into_response(),
        }
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
    let openai = Endpoint { base_url, key: None };
    Target { server: ServerId::new("s"), model: name.into(), instance: name.into(), openai, slots: 4 }
}

/// A page of elsewhere that may ask.
pub(super) const PAGE: &str = "app://obsidian.md";

pub(super) struct Scene {
    pub leases: Leases,
    gateway: Router,
}

impl Scene {
    pub fn new(active: &Target) -> Self {
        let scene = Self::with(Routes::default());
        scene.activate(active);
        scene
    }

    pub fn with(routes: Routes) -> Self {
        Self::also(routes, Router::new())
    }

    /// With further paths.
    pub fn also(routes: Routes, more: Router<Shared>) -> Self {
        let leases = Leases::default();
        leases.set_routes(Arc::new(routes));
        let shared = Shared {
            leases: leases.clone(),
            bodies: body::Budget::new(1 << 20),
            lines: Default::default(),
            kept: Default::default(),
            masking: Default::default(),
            recorder: pilothouse_records::Recorder::new(0).0,
            metrics: None,
            keys: Default::default(),
        };
        let guard = Guard::with_hosts(&[], "gateway.hosts").with_origins(&[PAGE.to_owned()]);
        let here = Caller::of("127.0.0.1:1".parse().unwrap(), None);
        Self { leases, gateway: router(shared, guard, more).layer(axum::Extension(here)) }
    }

    pub fn activate(&self, target: &Target) {
        let routes = Routes {
            active: ActiveRoute::Open(target.clone()),
            loaded: vec![target.clone()],
            known: vec![],
            ..Routes::default()
        };
        self.leases.set_routes(Arc::new(routes));
    }

    async fn ask(&self, path: &str) -> Response<Body> {
        self.send("POST", path, "{\"model\":\"active\"}").await
    }

    pub async fn send(&self, method: &str, path: &str, body: &str) -> Response<Body> {
        let request = Request::builder().method(method).uri(path).header("host", "localhost:1234");
        let request = request.body(Body::from(body.to_owned())).unwrap();
        self.request(request).await
    }

    pub async fn request(&self, request: Request<Body>) -> Response<Body> {
        self.gateway.clone().oneshot(request).await.unwrap()
    }

    /// What residency does when a model leaves: close, drain by cutting at once.
    pub async fn cut(&self, target: &Target) -> u32 {
        let now = CancellationToken::new();
        now.cancel();
        self.leases.close(&target.server, &target.instance);
        self.leases.drain(&target.server, &target.instance, Duration::from_secs(60), &now).await
    }
}

use tower::ServiceExt;

fn model(response: &Response<Body>) -> &str {
    response.headers()["x-pilothouse-model"].to_str().unwrap()
}

pub(super) async fn text(response: Response<Body>) -> Result<String, axum::Error> {
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await?;
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_stream_that_is_cut_ends_with_an_error_of_its_dialect_and_is_counted() {
    for (path, wanted) in [
        ("/v1/chat/completions", "\"code\":\"switched\""),
        ("/v1/completions", "\"code\":\"switched\""),
        ("/v1/audio/speech", "event: error\ndata: {\"code\":\"switched\""),
    ] {
        let a = server("a", Answers::OneEvent).await;
        let scene = Scene::new(&a);
        let response = scene.ask(path).await;
        assert_eq!((response.status(), model(&response)), (StatusCode::OK, "a"));
        let reading = tokio::spawn(text(response));
        assert_eq!(scene.cut(&a).await, 1, "{path}");
        let said = reading.await.unwrap().unwrap();
        assert!(said.starts_with("data: {\"n\":1}\n\n") && said.contains(wanted), "{path}: {said}");
        assert_eq!(scene.leases.count(&a.server, "a"), 0, "its lease came back");
    }
}

#[tokio::test]
async fn what_has_not_given_a_byte_is_sent_to_the_new_model() {
    for answers in [Answers::Never, Answers::ProxyError] {
        let (a, b) = (server("a", answers).await, server("b", Answers::Whole).await);
        let scene = Scene::new(&a);
        // The old model is on its way out when the request meets it.
        let gateway = scene.gateway.clone();
        let request =
            Request::builder().method("POST").uri("/v1/completions").header("host", "localhost:1234");
        let request = request.body(Body::from("{\"model\":\"active\"}")).unwrap();
        let asking = tokio::spawn(async move { gateway.oneshot(request).await.unwrap() });
        if matches!(answers, Answers::Never) {
            while scene.leases.count(&a.server, "a") == 0 {
                tokio::task::yield_now().await;
            }
            scene.activate(&b);
            scene.cut(&a).await;
        } else {
            scene.activate(&b);
        }
        let response = asking.await.unwrap();
        assert_eq!((response.status(), model(&response)), (StatusCode::OK, "b"));
    }
}

#[tokio::test]
async fn an_error_of_a_server_that_stays_is_passed_on() {
    let a = server("a", Answers::ProxyError).await;
    let response = Scene::new(&a).ask("/v1/completions").await;
    assert_eq!((response.status(), model(&response)), (StatusCode::INTERNAL_SERVER_ERROR, "a"));
}

#[tokio::test]
async fn a_stream_without_its_closing_mark_is_no_finished_answer() {
    let a = server("a", Answers::NoMark).await;
    let said = text(Scene::new(&a).ask("/v1/chat/completions").await).await.unwrap();
    assert!(said.contains("\"n\":2") && said.contains("server_broke_off"), "{said}");
    let b = server("b", Answers::Stream).await;
    let said = text(Scene::new(&b).ask("/v1/chat/completions").await).await.unwrap();
    assert_eq!(said, "data: {\"n\":1}\n\ndata: [DONE]\n\n");
    let c = server("c", Answers::NoMark).await;
    let said = text(Scene::new(&c).ask("/v1/audio/speech").await).await.unwrap();
    assert!(!said.contains("error"), "a stream without such a mark: {said}");
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_turn_to_the_next() {
    let a = Target { slots: 1, ..server("a", Answers::OneEvent).await };
    let scene = Scene::new(&a);
    let first = scene.ask("/v1/completions").await;
    let gateway = scene.gateway.clone();
    let request = Request::builder().method("POST").uri("/v1/completions").header("host", "localhost:1234");
    let request = request.body(Body::from("{}")).unwrap();
    let second = tokio::spawn(async move { gateway.oneshot(request).await.unwrap() });
    while scene.leases.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    drop(first);
    assert_eq!(second.await.unwrap().status(), StatusCode::OK);
}

/// Servers close a connection that they said they would keep, at the moment in which the next request comes.
#[tokio::test]
async fn a_request_that_meets_a_closed_connection_is_sent_again() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).await;
            let _ = connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
            // The next one on this connection is read and never answered.
            tokio::spawn(async move { drop(connection.read(&mut [0; 4096]).await) });
        }
    });
    let openai = Endpoint { base_url, key: None };
    let a = Target { server: ServerId::new("s"), model: "a".into(), instance: "a".into(), openai, slots: 1 };
    let scene = Scene::new(&a);
    for n in 0..6 {
        let response = scene.ask("/v1/completions").await;
        assert_eq!(response.status(), StatusCode::OK, "request {n}");
        text(response).await.unwrap();
    }
}

/// Tokens come faster than they can be written one by one: what has arrived goes on together, and nothing is waited for.
#[tokio::test]
async fn what_has_arrived_is_handed_on_together_and_what_has_not_is_not_waited_for() {
    use futures_util::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (say, mut pieces) = mpsc::channel::<String>(1);
    tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let _ = connection.read(&mut [0; 4096]).await;
        while let Some(piece) = pieces.recv().await {
            connection.write_all(piece.as_bytes()).await.unwrap();
        }
    });
    let openai = Endpoint { base_url, key: None };
    let a = Target { server: ServerId::new("s"), model: "a".into(), instance: "a".into(), openai, slots: 1 };
    let chunk = |n: usize| format!("f\r\ndata: {{\"n\":{n}}}\n\n\r\n");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    say.send(format!("{head}{}", (0..9).map(chunk).collect::<String>())).await.unwrap();
    let mut body = Scene::new(&a).ask("/v1/chat/completions").await.into_body().into_data_stream();
    let events =
        |from: usize, to: usize| (from..to).map(|n| format!("data: {{\"n\":{n}}}\n\n")).collect::<String>();
    assert_eq!(body.next().await.unwrap().unwrap(), events(0, 9));
    say.send(chunk(9)).await.unwrap();
    assert_eq!(body.next().await.unwrap().unwrap(), events(9, 10));
    // The last one and the end that is none come together.
    say.send(format!("{}0\r\n\r\n", (5..7).map(chunk).collect::<String>())).await.unwrap();
    assert_eq!(body.next().await.unwrap().unwrap(), events(5, 7));
    assert!(String::from_utf8_lossy(&body.next().await.unwrap().unwrap()).contains("server_broke_off"));
    assert!(body.next().await.is_none());
}
