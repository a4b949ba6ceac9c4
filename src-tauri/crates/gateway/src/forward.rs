//! One request: a lease on what it asks for, the passing on, and what is tried again while its client has heard nothing.

use super::{
    Shared,
    answer::Answer,
    body,
    cut::Cut,
    headers,
    heard::Heard,
    refusal::{self, Refusal},
    splice::{self, Named},
    unpack::Coding,
    upstream::{self, Onward},
};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::Response,
};
use bytes::Bytes;
use futures_util::StreamExt;
use pilothouse_leases::{Asked, Lease, Target};
use pilothouse_system::connect::closed_unanswered;

const SERVER_HEADER: HeaderName = HeaderName::from_static("x-pilothouse-server");
const MODEL_HEADER: HeaderName = HeaderName::from_static("x-pilothouse-model");
/// A request may meet several models on their way out, when switch follows upon switch.
const TRIES: u32 = 6;
/// And several connections that its server has just closed.
const RESENT: u32 = 3;

/// What came of passing a request on.
enum Sent {
    Answer(Response),
    /// Its model is on its way out of memory, and the client has heard nothing: it can be sent again.
    Again(Refusal),
    Refused(Refusal),
}

pub(super) async fn forward(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    if method != Method::POST {
        return Err(refusal::wrong_method(&method, uri.path()));
    }
    let onward = Onward::new(&uri, &headers)?;
    let body = body::read(body, &shared.bodies).await?;
    let body = match Coding::of(&headers)? {
        Some(coding) => coding.unpacked(body, &shared.bodies).await?,
        None => body,
    };
    let named = splice::find(&headers, &body)?;
    let asked = Asked::new(named.model.as_deref());
    let mut tries = 0;
    loop {
        tries += 1;
        let lease = shared.leases.take(asked.clone()).await.map_err(Refusal::from)?;
        match send(&shared, lease, &onward, &body, &named).await {
            Sent::Answer(response) => return Ok(response),
            Sent::Again(_) if tries < TRIES => {}
            Sent::Again(refusal) | Sent::Refused(refusal) => return Err(refusal),
        }
    }
}

async fn send(shared: &Shared, lease: Lease, onward: &Onward, body: &Bytes, named: &Named) -> Sent {
    let target = lease.target().clone();
    let mut heard = Heard::new(&shared.leases, &target.server);
    let cut = lease.cut().clone();
    let mut resent = 0;
    let answer = loop {
        let request = onward.request(&target, splice::rename(body, named, &target.instance));
        let answer = tokio::select! {
            answer = request.send() => answer,
            () = cut.cancelled() => return heard.calm(Sent::Again(leaving(&target))),
        };
        match answer {
            // Servers close connections without a word, llama-server after some requests: whoever sends at that moment is
            // not to blame, and its client has heard nothing.
            Err(error) if resent < RESENT && closed_unanswered(&error) && !is_leaving(shared, &lease) => {
                resent += 1;
                tracing::debug!(%error, resent, "the connection was closed, sending again");
            }
            answer => break answer,
        }
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if is_leaving(shared, &lease) => {
            tracing::debug!(%error, "the model left before it answered");
            return heard.calm(Sent::Again(leaving(&target)));
        }
        Err(error) => {
            heard.failed = upstream::is_its_fault(&error);
            return Sent::Refused(upstream::unsent(&target, &error));
        }
    };
    let status = answer.status();
    if !status.is_success() && is_leaving(shared, &lease) {
        return heard.calm(Sent::Again(leaving(&target)));
    }
    heard.failed = status.is_server_error();
    let path = onward.path();
    tracing::debug!(server = %target.server, model = %target.model, %path, %status, "forwarded");
    if let Some(refusal) = upstream::redirected(&target, &answer) {
        return Sent::Refused(refusal);
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    copy_headers(answer.headers(), response.headers_mut(), &target);
    let cut = Cut::new(&path, response.headers(), status);
    let mut pieces = answer.bytes_stream();
    // Until the first piece is there the client has heard nothing, so that the request can still go elsewhere.
    let first = tokio::select! {
        first = pieces.next() => first,
        () = lease.cut().cancelled() => return heard.calm(Sent::Again(leaving(&target))),
    };
    match first {
        Some(Err(error)) if is_leaving(shared, &lease) => {
            tracing::debug!(%error, "the model left before its first word");
            heard.calm(Sent::Again(leaving(&target)))
        }
        Some(Err(error)) => {
            heard.failed = upstream::is_its_fault(&error);
            Sent::Refused(upstream::unsent(&target, &error))
        }
        first => {
            *response.body_mut() = Body::from_stream(Answer::new(first, pieces, lease, cut, heard));
            Sent::Answer(response)
        }
    }
}

/// What goes wrong now is no fault of the server: the model is being taken out of its memory, or requests go elsewhere already.
fn is_leaving(shared: &Shared, lease: &Lease) -> bool {
    lease.cut().is_cancelled() || !shared.leases.is_current(lease.target())
}

fn copy_headers(from: &HeaderMap, to: &mut HeaderMap, target: &Target) {
    *to = headers::to_client(from);
    let header =
        |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("not-printable"));
    to.insert(SERVER_HEADER, header(target.server.as_str()));
    to.insert(MODEL_HEADER, header(&target.model));
    let streams =
        to.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if streams {
        to.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        to.insert("x-accel-buffering", HeaderValue::from_static("no"));
        // The length is that of an answer which is not cut.
        to.remove(header::CONTENT_LENGTH);
    }
}

fn leaving(target: &Target) -> Refusal {
    let text = format!("{} is being taken out of memory. Try again in a moment.", target.model);
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "switching", text).retry_after(5)
}
