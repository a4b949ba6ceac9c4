//! Every refusal is said in the words of the API that was asked for.

use super::{
    body,
    path::{self, Dialect},
    refusal::Refusal,
};
use axum::{body::Body, extract::Request, http::Method, middleware::Next, response::Response};

/// As a layer before all routes. A client of Anthropic's tells its version wherever it asks.
pub(super) async fn in_the_clients_words(request: Request, next: Next) -> Response {
    let below = path::below(request.uri().path());
    let tells_version = request.headers().contains_key("anthropic-version");
    let dialect = if tells_version { Dialect::Anthropic } else { path::dialect_of(below) };
    let is_read = request.method() == Method::POST && path::has_body(below);
    let request = if is_read {
        request
    } else {
        let (head, body) = request.into_parts();
        body::discard(body).await;
        Request::from_parts(head, Body::empty())
    };
    let response = next.run(request).await;
    match response.extensions().get::<Refusal>() {
        Some(refusal) if dialect != Dialect::OpenAi => refusal.said_in(dialect),
        _ => response,
    }
}
