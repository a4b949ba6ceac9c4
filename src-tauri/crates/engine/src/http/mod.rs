//! The loopback door for the web UI and the command line.
//!
//! `POST /api/call` takes a `Call`, `GET /api/changes` waits for a newer snapshot, `GET /metrics` speaks Prometheus,
//! `POST /api/session` gives a browser the cookie by which it is known again; all four want the token or that cookie.
//! Everything else is the web UI, which holds no secrets.

mod api;
mod files;
mod metrics;
mod session;

pub use session::{Cookie, Remembered};

use pilothouse_gateway::door::{ConnectionLimits, Guard, Listener};

use crate::api::CallHandler;
use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};
use pilothouse_domain::{endpoint::Secret, error::ApiError};
use std::{net::SocketAddr, sync::Arc};
use tower_http::{CompressionLevel, compression::CompressionLayer};

const BODY_LIMIT: usize = 1 << 20;

/// What a request handler needs.
#[derive(Clone)]
struct Shared {
    handler: Arc<dyn CallHandler>,
    token: Secret,
    cookie: Cookie,
}

/// The running door.
pub struct Door(Listener);

impl Door {
    /// Binds `port` of both loopbacks (0: the system chooses). Errors: port_taken.
    pub async fn start(
        port: u16,
        token: Secret,
        cookie: Cookie,
        handler: Arc<dyn CallHandler>,
    ) -> Result<Self, ApiError> {
        let bound = Listener::bind(port, "web.port").await?;
        let router = router(Shared { handler, token, cookie }, Guard::new());
        Ok(Self(bound.serve(router, ConnectionLimits::own().web)))
    }

    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Ends the listener within two seconds.
    pub async fn stop(self) {
        self.0.stop().await;
    }
}

fn router(shared: Shared, guard: Guard) -> Router {
    let secured = Router::new()
        .route("/api/call", post(api::call))
        .route("/api/changes", get(api::changes))
        .route("/api/session", post(api::remember))
        .route("/metrics", get(metrics::metrics))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        // Before anything of a body is read.
        .layer(middleware::from_fn_with_state(shared.clone(), api::want_token))
        .with_state(shared);
    secured
        .fallback_service(get(files::serve))
        // Built files and snapshots shrink to a quarter, in a fraction of the time that a page takes to read them.
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
        .layer(middleware::from_fn_with_state(guard, api::refuse_strangers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Call, CallResult, Reply};
    use async_trait::async_trait;
    use axum::{
        body::Body,
        http::{Request, StatusCode, header},
        response::Response,
    };
    use futures_util::stream;
    use pilothouse_domain::snapshot::Snapshot;
    use std::{convert::Infallible, fmt};
    use tokio::sync::watch;
    use tower::ServiceExt;

    struct Handler;

    #[async_trait]
    impl CallHandler for Handler {
        async fn call(&self, _: Call) -> CallResult {
            Ok(Reply::Done)
        }

        fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
            unreachable!("nobody asks for it here")
        }

        fn metrics(&self) -> Result<String, fmt::Error> {
            Ok("# EOF\n".into())
        }
    }

    async fn answer(method: &str, path: &str, token: Option<&str>, body: Body) -> Response {
        let cookie = Cookie::of("pilothouse-1", "known");
        let shared = Shared { handler: Arc::new(Handler), token: Secret::new("right"), cookie };
        let router = router(shared, Guard::new());
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost:1234");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        router.oneshot(request.body(body).unwrap()).await.unwrap()
    }

    /// From a page of this door, with a cookie.
    async fn answer_page(method: &str, path: &str, cookie: &str, origin: Option<&str>) -> Response {
        let own = Cookie::of("pilothouse-1", "known");
        let shared = Shared { handler: Arc::new(Handler), token: Secret::new("right"), cookie: own };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost:1234")
            // Of an earlier start.
            .header(header::AUTHORIZATION, "Bearer old")
            .header(header::COOKIE, format!("pilothouse-1={cookie}"));
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        let body = Body::from(r#"{"call":"refresh"}"#);
        router(shared, Guard::new()).oneshot(request.body(body).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn the_cookie_is_given_for_the_token_and_then_does_for_pages_of_this_door_alone() {
        let given = answer("POST", "/api/session", Some("right"), Body::empty()).await;
        assert_eq!(given.status(), StatusCode::NO_CONTENT);
        let cookie = given.headers()[header::SET_COOKIE].to_str().unwrap();
        for part in ["pilothouse-1=known;", "Path=/", "HttpOnly", "SameSite=Strict"] {
            assert!(cookie.contains(part), "{part}: {cookie}");
        }
        assert_eq!(given.headers()[header::CACHE_CONTROL], "no-store");
        let own = Some("http://localhost:1234");
        for (path, cookie, origin, wanted) in [
            ("/api/call", "known", own, StatusCode::OK),
            ("/api/session", "known", own, StatusCode::NO_CONTENT),
            ("/api/call", "wrong", own, StatusCode::UNAUTHORIZED),
            ("/api/call", "", own, StatusCode::UNAUTHORIZED),
            ("/api/call", "known", None, StatusCode::UNAUTHORIZED),
            ("/api/call", "known", Some("http://localhost:99"), StatusCode::FORBIDDEN),
            ("/api/call", "known", Some("https://evil.example"), StatusCode::FORBIDDEN),
            ("/api/session", "wrong", own, StatusCode::UNAUTHORIZED),
        ] {
            let answer = answer_page("POST", path, cookie, origin).await;
            assert_eq!(answer.status(), wanted, "{path} {cookie} {origin:?}");
            let sets = answer.headers().contains_key(header::SET_COOKIE);
            assert_eq!(sets, wanted == StatusCode::NO_CONTENT, "{path} {cookie} {origin:?}");
        }
    }

    /// A body that must not be looked at.
    fn untouched() -> Body {
        Body::from_stream(stream::poll_fn(|_| -> std::task::Poll<Option<Result<&str, Infallible>>> {
            panic!("somebody read it")
        }))
    }

    #[tokio::test]
    async fn without_the_token_no_body_is_read() {
        for (token, path) in [(None, "/api/call"), (Some("wrong"), "/api/call"), (Some(""), "/api/call")] {
            assert_eq!(answer("POST", path, token, untouched()).await.status(), StatusCode::UNAUTHORIZED);
        }
        for path in ["/api/changes", "/metrics"] {
            assert_eq!(answer("GET", path, None, untouched()).await.status(), StatusCode::UNAUTHORIZED);
        }
    }

    #[tokio::test]
    async fn a_call_without_end_is_cut_off() {
        let endless = stream::repeat_with(|| Ok::<_, Infallible>(vec![b' '; 1 << 16]));
        let refused = answer("POST", "/api/call", Some("right"), Body::from_stream(endless)).await;
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn pages_are_only_read_and_none_lies_outside() {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT"] {
            let refused = answer(method, "/index.html", None, untouched()).await;
            assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
        }
        for path in [
            "/../Cargo.toml",
            "//etc/passwd",
            "/assets/../../package.json",
            "/%2e%2e/package.json",
            "/api/no",
        ] {
            assert_eq!(
                answer("GET", path, None, Body::empty()).await.status(),
                StatusCode::NOT_FOUND,
                "{path}"
            );
        }
    }
}
