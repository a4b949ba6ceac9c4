//! One request: a lease on what it asks for, the passing on, and what is tried again while its client has heard nothing.

use super::{
    Shared,
    answer::Answer,
    cut::Cut,
    early::{self, HEADERS_LIMIT, Waiting},
    headers,
    heard::Heard,
    keys::Held,
    overlong,
    path::{self, Dialect},
    pieces::Pieces,
    record::Record,
    refusal::{self, Refusal},
    retold,
    sent::{Sent, first, is_leaving, leaving},
    splice,
    teller::Teller,
    told, translated, unpack,
    upstream::{self, Onward},
    voice::Voice,
    wording::Wording,
};
use axum::{
    body::Body,
    extract::{Extension, State},
    http::{HeaderMap, Method, StatusCode, Uri, header::CONTENT_LENGTH},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use pilothouse_dialects::{Question, chat::Speaks};
use pilothouse_domain::model::ModelRef;
use pilothouse_leases::{Asked, Lease, Refused};
use pilothouse_records::Asker;
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

/// Who asks, and with how much.
pub(super) struct By {
    /// The key that was shown.
    pub key: Option<Held>,
    pub record: Record,
    /// Of the body.
    pub bytes: usize,
}

/// A request that can be sent, as often as it takes.
pub(super) struct Asking {
    pub shared: Shared,
    /// The one that it shows.
    key: Option<Held>,
    onward: Onward,
    wording: Wording,
    asked: Asked,
    since: Instant,
    /// It has a lease and is on its way.
    sent: Arc<AtomicBool>,
    pub record: Record,
}

/// How a request has fared so far.
#[derive(Default)]
struct Course {
    tries: u32,
    waited: Duration,
}

pub(super) async fn forward(
    State(shared): State<Shared>,
    asker: Option<Extension<Asker>>,
    key: Option<Extension<Held>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    // So Claude Code opens its connection before it has anything to ask (headroom issue 2032).
    if method == Method::HEAD && matches!(uri.path(), "/" | "/api/hello") {
        return Ok(StatusCode::OK.into_response());
    }
    if path::dialect_of(path::below(uri.path())) == Dialect::Ollama {
        return Err(refusal::unknown_path(method.as_str(), uri.path()));
    }
    if method != Method::POST {
        return Err(refusal::wrong_method(&method, uri.path()));
    }
    let onward = Onward::new(&uri, &headers)?;
    let asker = asker.map(|Extension(asker)| asker).unwrap_or_default();
    let key = key.map(|Extension(key)| key);
    let record = Record::begin(&shared.recorder, onward.api_path(), &headers, key.as_ref(), asker);
    let answer = match read(shared, key, onward, &headers, body, record.clone()).await {
        Ok(asking) => asking.answer().await,
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = &answer {
        record.failed(refusal);
    }
    answer
}

/// What is asked, once its body is here. Its key's limits count from then on, so that a slow upload takes nobody's place.
async fn read(
    shared: Shared,
    key: Option<Held>,
    onward: Onward,
    headers: &HeaderMap,
    body: Body,
    record: Record,
) -> Result<Asking, Refusal> {
    let body = unpack::read(headers, body, &shared.bodies).await?;
    let bytes = body.len();
    let (onward, wording) = match translated::read(onward.api_path(), &body, &shared.kept, &shared.masking)? {
        Some(question) => {
            let teller = Teller::new(question.answer(translated::telling()), shared.kept.clone());
            (onward.translated(), Wording::told(question, teller, None))
        }
        None => (onward, Wording::Own { named: splice::find(headers, &body)?, body }),
    };
    let asked = Asked::new(wording.model());
    Asking::new(shared, By { key, record, bytes }, onward, wording, asked)
}

impl Asking {
    fn new(shared: Shared, by: By, onward: Onward, wording: Wording, asked: Asked) -> Result<Self, Refusal> {
        let By { key, record, bytes } = by;
        record.asks(wording.model(), wording.streams(), wording.most_output());
        if let Some(key) = &key {
            // What is not known yet is looked at when it is: with the lease.
            if let Some(model) = shared.leases.model_of(&asked) {
                key.admit_model(wording.model(), Some(&model))?;
            }
            record.counts(key.enter(bytes)?);
        }
        Ok(Self { shared, key, onward, wording, asked, since: Instant::now(), sent: Arc::default(), record })
    }

    /// A question of a dialect that has paths of its own. `governed`: what it says that is not for clients to say, by name.
    pub fn question(
        shared: Shared,
        by: By,
        headers: &HeaderMap,
        question: Arc<dyn Question>,
        governed: Option<String>,
        asked: Asked,
    ) -> Result<Self, Refusal> {
        let teller = Teller::new(question.answer(translated::telling()), shared.kept.clone());
        let onward = Onward::chat(headers).translated();
        let wording = Wording::told(question, teller, governed);
        Self::new(shared, by, onward, wording, asked)
    }

    /// Embeddings, in OpenAI's words.
    pub fn embeddings(
        shared: Shared,
        by: By,
        headers: &HeaderMap,
        body: Bytes,
        asked: Asked,
    ) -> Result<Self, Refusal> {
        let onward = Onward::embeddings(headers);
        let named = splice::find(onward.headers(), &body)?;
        Self::new(shared, by, onward, Wording::Own { body, named }, asked)
    }

    pub async fn answer(self) -> Result<Response, Refusal> {
        let voice = self.wording.voice(&self.onward.path());
        let mut course = Course::default();
        loop {
            let since = Instant::now();
            let mut taking = self.take();
            let at_once = (&mut taking).now_or_never();
            let lease = match (at_once, &voice) {
                (Some(lease), _) => lease,
                (None, None) => {
                    self.record.waits(&self.shared.leases.waits_for(&self.asked));
                    taking.await
                }
                (None, Some(voice)) => {
                    self.record.waits(&self.shared.leases.waits_for(&self.asked));
                    match timeout_at(self.since + HEADERS_LIMIT, &mut taking).await {
                        Ok(lease) => lease,
                        Err(_) => return Ok(self.early(taking, course, since, voice.clone())),
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
    fn early(self, taking: Taking, mut course: Course, since: Instant, voice: Voice) -> Response {
        let name = self.wording.model().map(str::to_owned);
        let waiting = Waiting {
            leases: self.shared.leases.clone(),
            asked: self.asked.clone(),
            sent: self.sent.clone(),
        };
        let record = self.record.clone();
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
        let work = async move { work.await.inspect_err(|refusal| record.failed(refusal)) };
        early::answer(work.boxed(), voice, waiting, name.as_deref())
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
    let Asking { shared, onward, wording, .. } = asking;
    let target = lease.target().clone();
    // What it asked for may mean another model since it began to wait.
    let model = ModelRef::new(target.server.clone(), target.model.clone());
    if let Some(Err(refusal)) = asking.key.as_ref().map(|key| key.admit_model(wording.model(), Some(&model)))
    {
        return Sent::Refused(refusal);
    }
    // How long an instance stays that Pilothouse keeps is not for its clients to say.
    let governed = match wording {
        Wording::Own { named, .. } => named.governed().filter(|_| shared.leases.routes().keeps(&target)),
        Wording::Chat { governed, .. } => governed.clone(),
    };
    let overlong = |body: &[u8]| overlong::refused(&shared.leases.routes(), &target, body);
    let (path, body) = match wording {
        Wording::Own { body, named } => {
            if let Some(refusal) = overlong(body) {
                return Sent::Refused(refusal);
            }
            (None, splice::rename(body, named, &target.instance, governed.is_some()))
        }
        Wording::Chat { question, late_system, .. } => {
            let speaks = Speaks::of(shared.leases.routes().kind(&target.server));
            let speaks = Speaks { late_system: late_system.load(Ordering::Relaxed), ..speaks };
            match question.chat(&target.instance, speaks) {
                Ok(body) => match overlong(&body) {
                    Some(refusal) => return Sent::Refused(refusal),
                    None => (Some(question.path()), Pieces::new(vec![body.into()])),
                },
                Err(refused) => return Sent::Refused(refused.into()),
            }
        }
    };
    asking.record.leased(&shared.leases, &lease, waited, governed.as_deref());
    let mut heard = Heard::new(&shared.leases, &target.server);
    let cut = lease.cut().clone();
    let mut resent = 0;
    let answer = loop {
        let answer = tokio::select! {
            answer = onward.send(&shared.lines, &target, path, body.clone()) => answer,
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
    asking.record.answers(status);
    let mut headers = HeaderMap::new();
    asking.record.tell(&mut headers);
    told::asked(&mut headers, wording.model(), lease.role());
    told::answered(&mut headers, &lease, waited, governed.as_deref().unwrap_or_default());
    match wording {
        Wording::Own { .. } => handed_on(asking, answer, headers, &path, lease, heard).await,
        Wording::Chat { question, teller, late_system, .. } => {
            match retold::answer(shared, &asking.record, answer, headers, (&**question, teller), lease, heard)
                .await
            {
                Sent::Refused(why)
                    if retold::refuses_late_system(&why) && late_system.swap(false, Ordering::Relaxed) =>
                {
                    Sent::Again(why)
                }
                sent => sent,
            }
        }
    }
}

/// The server's answer in its own words.
async fn handed_on(
    asking: &Asking,
    answer: reqwest::Response,
    told: HeaderMap,
    path: &str,
    lease: Lease,
    mut heard: Heard,
) -> Sent {
    let status = answer.status();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    *headers = headers::to_client(answer.headers());
    told::streams(headers);
    headers.extend(told);
    let cut = Cut::new(path, response.headers(), status);
    let mut pieces = answer.bytes_stream();
    match first(&asking.shared, &mut pieces, &lease, &mut heard).await {
        Ok(first) => {
            let record = asking.record.clone();
            let length = response.headers().get(CONTENT_LENGTH);
            let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
            let answer = Answer::new(first, length, pieces, lease, cut, heard, record);
            *response.body_mut() = Body::from_stream(answer);
            Sent::Answer(response)
        }
        Err(unbegun) => unbegun.into(),
    }
}
