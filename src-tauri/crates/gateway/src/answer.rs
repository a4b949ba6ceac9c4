//! The body of an answer on its way to the client.

use super::{
    cut::{Cut, Why},
    heard::Heard,
    record::{self, Record},
    tally::Tally,
};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream::BoxStream};
use pilothouse_leases::Lease;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

/// What has arrived is written together, up to about so much.
const TOGETHER: usize = 16 << 10;
/// How long the end of a half event is waited for, when an answer is cut.
const EVENT_END: Duration = Duration::from_millis(500);

type Pieces = BoxStream<'static, reqwest::Result<Bytes>>;

/// Hands on piece by piece what the server sends. Its lease lives in it: the answer counts as under way until its last byte,
/// or until the client leaves.
pub(super) struct Answer {
    /// What was read already and comes next: a piece, or the end.
    ahead: Option<Option<reqwest::Result<Bytes>>>,
    pieces: Option<Pieces>,
    /// Bytes still to come, where the server has said how many there are. Whoever writes them out asks for no more after the last
    /// one, and drops this without having seen the end.
    left: Option<u64>,
    cut: Cut,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Runs once it shall be cut and stands in the middle of an event.
    patience: Option<Pin<Box<Sleep>>>,
    heard: Heard,
    tally: Tally,
    record: Record,
    _lease: Lease,
}

impl Answer {
    pub fn new(
        first: Option<reqwest::Result<Bytes>>,
        length: Option<u64>,
        pieces: impl Stream<Item = reqwest::Result<Bytes>> + Send + 'static,
        lease: Lease,
        cut: Cut,
        heard: Heard,
        record: Record,
    ) -> Self {
        let cancelled = Box::pin(lease.cut().clone().cancelled_owned());
        let pieces = Some(Box::pin(pieces) as Pieces);
        let tally = Tally::default();
        let mut answer = Self {
            ahead: Some(first),
            pieces,
            left: length,
            cut,
            cancelled,
            patience: None,
            heard,
            tally,
            record,
            _lease: lease,
        };
        if length == Some(0) {
            answer.ended();
        }
        answer
    }

    /// All of it has been handed on.
    fn ended(&mut self) {
        self.pieces = None;
        let (usage, finish) = self.tally.end(self.cut.is_stream());
        self.record.done(usage, finish.as_ref().map(record::word));
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<reqwest::Result<Bytes>>> {
        match (self.ahead.take(), &mut self.pieces) {
            (Some(next), _) => Poll::Ready(next),
            (None, Some(pieces)) => pieces.as_mut().poll_next(context),
            (None, None) => Poll::Ready(None),
        }
    }

    /// A piece with those that have arrived behind it. One that comes alone is not copied.
    fn gathered(&mut self, piece: Bytes, context: &mut Context<'_>) -> Bytes {
        let mut whole: Option<BytesMut> = None;
        while whole.as_ref().map_or(piece.len(), BytesMut::len) < TOGETHER {
            match self.poll_piece(context) {
                Poll::Ready(Some(Ok(next))) => {
                    let whole = whole.get_or_insert_with(|| {
                        let mut whole = BytesMut::with_capacity(2 * (piece.len() + next.len()));
                        whole.extend_from_slice(&piece);
                        whole
                    });
                    whole.extend_from_slice(&next);
                }
                Poll::Ready(other) => {
                    self.ahead = Some(other);
                    break;
                }
                Poll::Pending => break,
            }
        }
        whole.map_or(piece, BytesMut::freeze)
    }

    /// Whether it shall be cut now: wanted, and at the end of an event or out of patience for it.
    fn shall_be_cut(&mut self, context: &mut Context<'_>) -> bool {
        if self.patience.is_none() && self.cancelled.as_mut().poll(context).is_pending() {
            return false;
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(EVENT_END)));
        patience.as_mut().poll(context).is_ready() || self.cut.at_event_end()
    }

    /// Ends it early: with an event that says so where there are events, else by breaking it off.
    fn end(&mut self, why: Why) -> Poll<Option<io::Result<Bytes>>> {
        // Dropping it takes the request back from the server.
        self.pieces = None;
        self.heard.excused |= why == Why::Switched;
        self.heard.failed |= why == Why::Broken;
        self.record.failed(&why.refusal());
        Poll::Ready(Some(match self.cut.last_event(why) {
            Some(event) => Ok(event),
            None => Err(io::Error::other("the answer was cut")),
        }))
    }
}

impl Stream for Answer {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.pieces.is_none() {
            return Poll::Ready(None);
        }
        if this.ahead.is_none() && this.shall_be_cut(context) {
            return this.end(Why::Switched);
        }
        match this.poll_piece(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(piece))) => {
                let piece = this.gathered(piece, context);
                this.heard.last = Instant::now();
                this.cut.passed(&piece);
                let events = this.tally.passed(&piece);
                if events > 0 {
                    this.record.passed(events);
                }
                this.left = this.left.map(|left| left.saturating_sub(piece.len() as u64));
                if this.left == Some(0) {
                    this.ended();
                }
                Poll::Ready(Some(Ok(piece)))
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "an answer broke off");
                let cut = this.cancelled.as_mut().poll(context).is_ready();
                this.end(if cut { Why::Switched } else { Why::Broken })
            }
            Poll::Ready(None) if this.cut.is_unfinished() => this.end(Why::Broken),
            Poll::Ready(None) => {
                this.ended();
                Poll::Ready(None)
            }
        }
    }
}
