//! One request: a lease on what it asks for, the passing on, and what is tried again while its client has heard nothing.

use super::{
    Shared,
    answer::Answer,
    body,
    cut::Cut,
    early::{self, HEADERS_LIMIT, Waiting},
    events::Events,
    headers,
    heard::Heard,
    refusal::{self, Refusal},
    splice::{self, Named},
    told,
    unpack::Coding,
    upstream::{self, Onward},
};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::Response,
};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use pilothouse_leases::{Asked, Lease, Refused, Target};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, timeout_at};

type Taking = BoxFuture<'static, Result<Lease, Refused>>;

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

/// A request that can be sent, as often as it takes.
struct Asking {
    shared: Shared,
    onward: Onward,
    body: Bytes,
    named: Named,
    asked: Asked,
    since: Instant,
    /// It has a lease and is on its way.
    sent: Arc<AtomicBool>,
}

/// How a request has fared so far.
#[derive(Default)]
struct Course {
    tries: u32,
    waited: Duration,
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
    let sent = Arc::default();
    Asking { shared, onward, body, named, asked, since: Instant::now(), sent }.answer().await
}

impl Asking {
    async fn answer(self) -> Result<Response, Refusal> {
        let events = Events::of(&self.onward.path()).filter(|_| self.named.streams);
        let mut course = Course::default();
        loop {
            let since = Instant::now();
            let lease = match events {
                None => self.take().await,
                Some(events) => {
                    let mut taking = self.take();
                    match timeout_at(self.since + HEADERS_LIMIT, &mut taking).await {
                        Ok(lease) => lease,
                        Err(_) => return Ok(self.early(taking, course, since, events)),
                    }
                }
            }?;
            course.waited += since.elapsed();
            if let Some(result) = self.pass(lease, &mut course).await {
                return result;
            }
        }
    }

    /// What it still has to wait for comes behind its headers.
    fn early(self, taking: Taking, mut course: Course, since: Instant, events: Events) -> Response {
        let name = self.named.model.clone();
        let waiting = Waiting {
            leases: self.shared.leases.clone(),
            asked: self.asked.clone(),
            sent: self.sent.clone(),
        };
        let work = async move {
            let mut next = (taking, since);
            loop {
                let (taking, since) = next;
                let lease = taking.await?;
                course.waited += since.elapsed();
                if let Some(result) = self.pass(lease, &mut course).await {
                    return result;
                }
                next = (self.take(), Instant::now());
            }
        };
        early::answer(work.boxed(), events, waiting, name.as_deref())
    }

    fn take(&self) -> Taking {
        let (leases, asked) = (self.shared.leases.clone(), self.asked.clone());
        async move { leases.take(asked).await }.boxed()
    }

    /// Sends it by a lease. `None`: its model was on its way out, and it can be sent again by another one.
    async fn pass(&self, lease: Lease, course: &mut Course) -> Option<Result<Response, Refusal>> {
        course.tries += 1;
        self.sent.store(true, Ordering::Relaxed);
        match send(self, lease, course.waited).await {
            Sent::Answer(response) => Some(Ok(response)),
            Sent::Again(_) if course.tries < TRIES => {
                self.sent.store(false, Ordering::Relaxed);
                None
            }
            Sent::Again(refusal) | Sent::Refused(refusal) => Some(Err(refusal)),
        }
    }
}

async fn send(asking: &Asking, lease: Lease, waited: Duration) -> Sent {
    let Asking { shared, onward, body, named, .. } = asking;
    let target = lease.target().clone();
    // How long an instance stays that Pilothouse keeps is not for its clients to say.
    let governed = named.governed().filter(|_| shared.leases.routes().keeps(&target));
    let mut heard = Heard::new(&shared.leases, &target.server);
    let cut = lease.cut().clone();
    let mut resent = 0;
    let answer = loop {
        let body = splice::rename(body, named, &target.instance, governed.is_some());
        let answer = tokio::select! {
            answer = onward.send(&shared.lines, &target, body) => answer,
            () = cut.cancelled() => return heard.calm(Sent::Again(leaving(&target))),
        };
        match answer {
            // Servers close connections without a word, llama-server after some requests: whoever sends at that moment is
            // not to blame, and its client has heard nothing.
            Err(error) if resent < RESENT && error.is_unheard() && !is_leaving(shared, &lease) => {
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
    let headers = response.headers_mut();
    *headers = headers::to_client(answer.headers());
    told::streams(headers);
    told::asked(headers, named.model.as_deref(), lease.role());
    told::answered(headers, &lease, waited, governed.as_deref().unwrap_or_default());
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

fn leaving(target: &Target) -> Refusal {
    let text = format!("{} is being taken out of memory. Try again in a moment.", target.model);
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "switching", text).retry_after(5)
}
