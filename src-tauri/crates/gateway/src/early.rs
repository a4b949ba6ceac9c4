//! Streams that begin before their answer: whoever has asked for one and has to wait hears the headers soon, then a sign of life
//! now and then, then the answer, or why there is none as an event of its dialect.

use super::{headers::is_event_stream, refusal::Refusal, told, voice::Voice};
use axum::{
    body::{Body, BodyDataStream, Bytes, to_bytes},
    http::{HeaderValue, header},
    response::Response,
};
use futures_util::{FutureExt, Stream, StreamExt, future::BoxFuture};
use pilothouse_leases::{Asked, Leases};
use serde_json::Value;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Interval, MissedTickBehavior};

/// How long a request for a stream waits before its headers are sent. Until then it can still be refused with a status.
pub(super) const HEADERS_LIMIT: Duration = Duration::from_secs(2);
/// Between two signs of life. The most impatient programs give up after a minute without one.
const BEAT: Duration = Duration::from_secs(5);
/// What is read of a server's error.
const ERROR_LIMIT: usize = 64 << 10;

/// The rest of what becomes of a request.
pub(super) type Work = BoxFuture<'static, Result<Response, Refusal>>;

/// What a request waits for.
pub(super) struct Waiting {
    pub leases: Leases,
    pub asked: Asked,
    /// It has a lease and is on its way.
    pub sent: Arc<AtomicBool>,
}

impl Waiting {
    /// Behind “waiting for”.
    fn words(&self) -> String {
        match self.sent.load(Ordering::Relaxed) {
            true => "the first word".to_owned(),
            false => self.leases.waits_for(&self.asked).to_string(),
        }
    }
}

/// The headers now, and the rest as it comes.
pub(super) fn answer(work: Work, voice: Voice, waiting: Waiting, name: Option<&str>) -> Response {
    let role = waiting.leases.role_of(&waiting.asked);
    let said_by = voice.clone();
    let work = async move { as_stream(work.await, said_by).await }.boxed();
    let mut beats = tokio::time::interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let body = Early { stage: Stage::Working(work), beats, voice, waiting };
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    told::streams(headers);
    told::asked(headers, name, role.as_deref());
    response
}

/// The events of an answer; `Err`: the one that says why there are none.
async fn as_stream(answer: Result<Response, Refusal>, voice: Voice) -> Result<BodyDataStream, Bytes> {
    let answer = answer.map_err(|refusal| voice.error(&refusal))?;
    let status = answer.status();
    if status.is_success() && is_event_stream(answer.headers()) {
        // The headers are out: who answers is said in their place.
        let late = voice.late_headers(answer.headers());
        let pieces = answer.into_body().into_data_stream();
        let said = futures_util::stream::iter(late.map(Ok));
        return Ok(Body::from_stream(said.chain(pieces)).into_data_stream());
    }
    if status.is_success() {
        let text = "The server answered with a whole document where a stream was asked for.";
        return Err(voice.error(&Refusal::new(status, "no_stream", text)));
    }
    let said = to_bytes(answer.into_body(), ERROR_LIMIT).await.unwrap_or_default();
    let document: Option<Value> = serde_json::from_slice(&said).ok();
    let own = document.as_ref().and_then(|said| voice.own_error(said));
    let words = || {
        let message = document.as_ref().and_then(|said| said["error"]["message"].as_str());
        let text = message.map(str::to_owned).unwrap_or_else(|| String::from_utf8_lossy(&said).into_owned());
        if text.trim().is_empty() { format!("The server answered with status {status}.") } else { text }
    };
    Err(own.unwrap_or_else(|| voice.error(&Refusal::new(status, "server_error", words()))))
}

enum Stage {
    Working(BoxFuture<'static, Result<BodyDataStream, Bytes>>),
    Passing(BodyDataStream),
    Over,
}

struct Early {
    stage: Stage,
    /// The first one is due at once.
    beats: Interval,
    voice: Voice,
    waiting: Waiting,
}

impl Stream for Early {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match &mut self.stage {
                Stage::Over => return Poll::Ready(None),
                Stage::Passing(body) => match std::task::ready!(body.poll_next_unpin(context)) {
                    Some(piece) => return Poll::Ready(Some(piece)),
                    // The lease goes with the body.
                    None => self.stage = Stage::Over,
                },
                Stage::Working(work) => match work.poll_unpin(context) {
                    Poll::Ready(Ok(body)) => self.stage = Stage::Passing(body),
                    Poll::Ready(Err(event)) => {
                        self.stage = Stage::Over;
                        return Poll::Ready(Some(Ok(event)));
                    }
                    Poll::Pending if self.beats.poll_tick(context).is_ready() => {
                        let beat = self.voice.beat(&self.waiting.words());
                        return Poll::Ready(Some(Ok(beat)));
                    }
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }
}
