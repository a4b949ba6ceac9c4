//! An answer that comes in chat's words and is told in the client's dialect, as a stream or whole.

use super::{
    Shared,
    cut::Why,
    headers,
    heard::Heard,
    record::{self, Record},
    refusal::Refusal,
    sent::{Sent, first},
    teller::Teller,
    told,
};
use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::Response,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream::BoxStream};
use pilothouse_dialects::{
    Question, Refused,
    chat::{Chunk, Reader, Usage, told_error},
};
use pilothouse_leases::Lease;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::WaitForCancellationFutureOwned;

/// Between two signs of life while the server says nothing.
const BEAT: Duration = Duration::from_secs(10);
/// What is read of a server's error.
const ERROR_LIMIT: usize = 64 << 10;

/// The server's answer, piece by piece.
pub(super) type Pieces = BoxStream<'static, reqwest::Result<Bytes>>;

/// Tells piece by piece what the server says. Its lease lives in it: the answer counts as under way until its last byte, or until
/// the client leaves.
pub(super) struct Retold {
    /// `None`: nothing follows.
    pieces: Option<Pieces>,
    reader: Reader,
    teller: Teller,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    beats: Interval,
    heard: Heard,
    record: Record,
    figures: Figures,
    _lease: Lease,
}

/// What an answer says of itself at its end.
#[derive(Default)]
struct Figures {
    usage: Option<Usage>,
    finish: Option<String>,
}

impl Figures {
    fn note(&mut self, chunks: &[Chunk]) {
        for chunk in chunks {
            if let Some(newer) = &chunk.usage {
                self.usage.get_or_insert_default().update(newer);
            }
            if let Some(finish) = &chunk.finish {
                self.finish = Some(record::word(finish));
            }
        }
    }
}

impl Retold {
    pub fn new(
        pieces: Pieces,
        is_stream: bool,
        teller: Teller,
        lease: Lease,
        heard: Heard,
        record: Record,
    ) -> Self {
        let cancelled = Box::pin(lease.cut().clone().cancelled_owned());
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first one would be due at once.
        beats.reset();
        let reader = Reader::new(is_stream);
        let figures = Figures::default();
        Self { pieces: Some(pieces), reader, teller, cancelled, beats, heard, record, figures, _lease: lease }
    }

    /// What this piece, or the end (`None`), makes the client hear. Empty: nothing yet.
    fn hear(&mut self, piece: Option<reqwest::Result<Bytes>>) -> Bytes {
        let is_end = piece.is_none();
        let read = match piece {
            Some(Ok(bytes)) => self.reader.take(&bytes),
            Some(Err(error)) => {
                tracing::debug!(%error, "an answer broke off");
                Err((&Why::Broken.refusal()).into())
            }
            None => self.reader.finish(),
        };
        if let Ok(chunks) = &read {
            self.record.told(chunks);
            self.figures.note(chunks);
        }
        match read {
            Ok(chunks) if !is_end => {
                let said = self.teller.take(&chunks);
                match self.reader.failure() {
                    Some(why) => [said, self.fail(why.into())].concat().into(),
                    None => said,
                }
            }
            Ok(chunks) => {
                self.pieces = None;
                let last = self.teller.take(&chunks);
                let end = if self.reader.is_finished() {
                    let Figures { usage, finish } = std::mem::take(&mut self.figures);
                    self.record.done(usage, finish);
                    self.teller.end()
                } else {
                    self.heard.failed = true;
                    self.record.failed(&Why::Broken.refusal());
                    self.teller.fail(&Why::Broken.refusal())
                };
                [last, end].concat().into()
            }
            Err(refused) => self.fail(refused.into()),
        }
    }

    /// Ends it early. Dropping the pieces takes the request back from the server.
    fn fail(&mut self, why: Refusal) -> Bytes {
        self.pieces = None;
        self.heard.failed |= why.status.is_server_error();
        self.record.failed(&why);
        self.teller.fail(&why)
    }
}

impl Stream for Retold {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(pieces) = &mut this.pieces else { return Poll::Ready(None) };
            if this.cancelled.as_mut().poll(context).is_ready() {
                this.heard.excused = true;
                return Poll::Ready(Some(Ok(this.fail(Why::Switched.refusal()))));
            }
            let said = match pieces.as_mut().poll_next(context) {
                Poll::Ready(piece) => {
                    this.heard.last = Instant::now();
                    this.beats.reset();
                    this.hear(piece)
                }
                Poll::Pending => {
                    std::task::ready!(this.beats.poll_tick(context));
                    this.teller.beat()
                }
            };
            if !said.is_empty() {
                return Poll::Ready(Some(Ok(said)));
            }
        }
    }
}

/// A server's answer as its client asked for it: as events while they come, or whole.
pub(super) async fn answer(
    shared: &Shared,
    record: &Record,
    answer: reqwest::Response,
    told: HeaderMap,
    (question, teller): (&dyn Question, &Teller),
    lease: Lease,
    mut heard: Heard,
) -> Sent {
    let (status, is_stream) = (answer.status(), headers::is_event_stream(answer.headers()));
    let retry_after = answer.headers().get(RETRY_AFTER).cloned();
    let mut pieces: Pieces = answer.bytes_stream().boxed();
    if !status.is_success() {
        let refusal = refused(status, pieces).await;
        let seconds = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        return Sent::Refused(match seconds {
            Some(seconds) => refusal.retry_after(seconds),
            None => refusal,
        });
    }
    let first = match first(shared, &mut pieces, &lease, &mut heard).await {
        Ok(first) => first,
        Err(unbegun) => return unbegun.into(),
    };
    let pieces = futures_util::stream::iter(first).chain(pieces).boxed();
    let mut response = Response::new(Body::empty());
    if question.streams() {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(question.content_type()));
        told::streams(response.headers_mut());
        *response.body_mut() =
            Body::from_stream(Retold::new(pieces, is_stream, teller.clone(), lease, heard, record.clone()));
    } else {
        let whole = tokio::select! {
            whole = whole(pieces, is_stream, teller, record) => whole,
            () = lease.cut().cancelled() => return heard.calm(Sent::Refused(Why::Switched.refusal())),
        };
        match whole {
            Ok(document) => *response.body_mut() = Body::from(document),
            Err(refusal) => {
                heard.failed = refusal.status.is_server_error();
                return Sent::Refused(refusal);
            }
        }
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response.headers_mut().extend(told);
    Sent::Answer(response)
}

/// The whole answer as a document of the client's dialect. Refusals: what the server says instead, or that it broke off.
async fn whole(
    mut pieces: Pieces,
    is_stream: bool,
    teller: &Teller,
    record: &Record,
) -> Result<Bytes, Refusal> {
    let (mut reader, mut figures) = (Reader::new(is_stream), Figures::default());
    let mut note = |chunks: &[Chunk]| {
        teller.note(chunks);
        record.told(chunks);
        figures.note(chunks);
    };
    while let Some(piece) = pieces.next().await {
        let bytes = piece.map_err(|error| {
            tracing::debug!(%error, "an answer broke off");
            Why::Broken.refusal()
        })?;
        note(&read(reader.take(&bytes))?);
        if let Some(why) = reader.failure() {
            return Err(why.into());
        }
    }
    note(&read(reader.finish())?);
    if !reader.is_finished() {
        return Err(Why::Broken.refusal());
    }
    let document = teller.whole()?;
    record.done(figures.usage, figures.finish);
    Ok(document)
}

fn read(chunks: Result<Vec<Chunk>, Refused>) -> Result<Vec<Chunk>, Refusal> {
    chunks.map_err(Refusal::from)
}

/// Templates of some models take a message of the system only at the begin, and say so (`raise_exception` in them).
pub(super) fn refuses_late_system(why: &Refusal) -> bool {
    let words = why.message.to_ascii_lowercase();
    let of_template = ["template", "jinja", "raise_exception", "conversation roles"];
    words.contains("system message must be")
        || (words.contains("system") && of_template.iter().any(|word| words.contains(word)))
        || words.contains("conversation roles must alternate")
}

/// What a server says instead of an answer, with its own status.
pub(super) async fn refused(status: StatusCode, mut pieces: Pieces) -> Refusal {
    let mut said = Vec::new();
    while let Some(Ok(bytes)) = pieces.next().await {
        said.extend_from_slice(&bytes);
        if said.len() > ERROR_LIMIT {
            said.truncate(ERROR_LIMIT);
            break;
        }
    }
    let told = serde_json::from_slice(&said).ok().and_then(|document| told_error(&document));
    let words = String::from_utf8_lossy(&said);
    let refused = told.unwrap_or_else(|| {
        let words = words.trim();
        let text = if words.is_empty() {
            format!("The server answered with status {status}.")
        } else {
            words.into()
        };
        Refused::new(status.as_u16(), "server_error", text)
    });
    Refusal::from(refused.with_status(status.as_u16()))
}
