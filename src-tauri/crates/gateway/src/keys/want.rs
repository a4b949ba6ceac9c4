//! Who may come in with which key, or without one.

use super::{
    Held, KeyRing,
    shown::{Shown, shown},
};
use crate::{body, door::Caller, headers, path, refusal::Refusal};
use axum::{
    extract::{Extension, Request, State},
    http::{
        HeaderMap, Method, StatusCode, Uri,
        header::{AUTHORIZATION, WWW_AUTHENTICATE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use pilothouse_domain::client_key::Wants;

/// Lets in who shows a key that opens what is asked for, and without a key programs of this machine where the settings say so. Later
/// pieces find the key as an extension of the request.
pub(in crate::keys) async fn admitted(
    ring: &KeyRing,
    caller: Option<Caller>,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Option<Held>, Refusal> {
    // Behind a token of its own, which scrapers send as a key.
    if uri.path() == "/metrics" {
        return Ok(None);
    }
    let held = match shown(ring, headers) {
        Shown::Key(held) => held,
        Shown::Wrong => {
            ring.slow_down().await;
            return Err(wrong());
        }
        Shown::Nothing | Shown::Foreign if needs_none(ring, caller, headers) => return Ok(None),
        Shown::Foreign => {
            ring.slow_down().await;
            return Err(missing(headers));
        }
        Shown::Nothing => return Err(missing(headers)),
    };
    held.admit(if looks(method, uri) { Wants::Look } else { Wants::Answer })?;
    Ok(Some(held))
}

/// Whether it comes from this machine itself, by its socket, and programs of this machine need no key. What another program has
/// passed on comes from wherever that was asked: a header never makes a request one of this machine, but tells of some that are not.
fn needs_none(ring: &KeyRing, caller: Option<Caller>, headers: &HeaderMap) -> bool {
    !ring.is_required()
        && caller.is_some_and(Caller::is_of_this_machine)
        && headers::passed_on_by(headers).is_none()
}

/// What a key may do that may only look.
fn looks(method: &Method, uri: &Uri) -> bool {
    let below = path::below(uri.path());
    let lists = ["", "models", "health", "api/tags", "api/ps", "api/version"];
    let is_look = lists.contains(&below) || below.starts_with("models/");
    (is_look && matches!(*method, Method::GET | Method::HEAD))
        || (below == "api/show" && *method == Method::POST)
}

fn wrong() -> Refusal {
    let text = "This key is not known here: it was revoked, or a part of it is missing. “pilothouse keys client list” shows the keys \
                there are, and “pilothouse keys client add NAME” makes a new one.";
    unauthorized("invalid_api_key", text.into())
}

fn missing(headers: &HeaderMap) -> Refusal {
    let way = match headers::passed_on_by(headers) {
        Some(name) => format!(" The header {name} says that another program has passed this request on."),
        None => String::new(),
    };
    let sent = headers.contains_key(AUTHORIZATION) || headers.contains_key("x-api-key");
    let sent = if sent { " The one that was sent is none of its keys." } else { "" };
    let text = format!(
        "This address wants a key, as “Authorization: Bearer KEY” or “x-api-key: KEY”.{sent}{way} Make one on the page Connect of \
         Pilothouse, or by “pilothouse keys client add NAME”."
    );
    unauthorized("missing_api_key", text)
}

fn unauthorized(code: &'static str, text: String) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, code, text).lasting().with(WWW_AUTHENTICATE, "Bearer")
}

/// As a layer before all routes.
pub(crate) async fn want_key(
    State(ring): State<KeyRing>,
    caller: Option<Extension<Caller>>,
    request: Request,
    next: Next,
) -> Response {
    let (mut head, body) = request.into_parts();
    let caller = caller.map(|Extension(caller)| caller);
    match admitted(&ring, caller, &head.method, &head.uri, &head.headers).await {
        Ok(held) => {
            if let Some(held) = held {
                head.extensions.insert(held);
            }
            next.run(Request::from_parts(head, body)).await
        }
        Err(refusal) => {
            // A client that is still sending would not hear why.
            body::discard(body).await;
            refusal.into_response()
        }
    }
}
