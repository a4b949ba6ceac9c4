//! Request bodies: read whole, each within its limit and all together within a budget of memory.
//!
//! A body is needed whole, because a request may be sent again as long as its client has not seen a byte. Its bytes
//! count from when they arrive until the last one who holds them lets go.

use super::refusal::Refusal;
use axum::{
    body::{Body, Bytes, HttpBody},
    http::StatusCode,
};
use bytes::BytesMut;
use futures_util::{Stream, StreamExt};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Semaphore, time::timeout};

/// The largest request body: prompts with images fit, floods do not.
pub(super) const BODY_LIMIT: usize = 64 << 20;
/// What all bodies together may take: four of the largest.
pub(super) const BUDGET: usize = 256 << 20;
/// A client that sends nothing for so long has stopped.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// The largest body at a fifth of a megabyte per second: nobody on this machine is slower.
const WHOLE_LIMIT: Duration = Duration::from_secs(320);
/// How long the rest of a refused body is still read: a client that is cut off while it sends seldom reads why.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// Bodies that are unpacked at a time, a processor for each.
const UNPACKING: usize = 2;
/// Bodies are read and answered in seconds to minutes.
const RETRY_AFTER_S: u32 = 5;

/// Memory for the bodies of all requests. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    taken: Arc<AtomicUsize>,
    limit: usize,
    /// Turns of those that unpack a compressed body.
    pub unpacking: Arc<Semaphore>,
}

impl Budget {
    pub fn new(limit: usize) -> Self {
        Self { taken: Arc::default(), limit, unpacking: Arc::new(Semaphore::new(UNPACKING)) }
    }

    pub fn share(&self) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }
}

/// What one body has of the budget; given back when dropped.
pub(super) struct Share {
    budget: Budget,
    bytes: usize,
}

impl Share {
    /// Takes more; `false`, and nothing taken, when there is not so much left.
    pub fn take(&mut self, bytes: usize) -> bool {
        let fits = |taken: usize| taken.checked_add(bytes).filter(|sum| *sum <= self.budget.limit);
        let took = self.budget.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok();
        self.bytes += if took { bytes } else { 0 };
        took
    }

    /// Why nothing more was taken.
    pub fn used_up(&self) -> Refusal {
        used_up(&self.budget)
    }

    /// The bytes that it was taken for; it is given back with the last clone or slice of them.
    pub fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held { bytes, _share: self })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// A body with its share: whoever holds a slice of it holds both.
struct Held {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads a request's body. The bytes count in the budget for as long as any clone or slice of them lives.
/// Refusals: body_too_large (413), busy (503 with Retry-After: the budget is used up), body_timeout (408), and
/// body_broken (400: the client broke off).
pub(super) async fn read(body: Body, budget: &Budget) -> Result<Bytes, Refusal> {
    // What a client says of its length is only a hint here: memory is taken as bytes arrive.
    let announced = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    let mut stream = body.into_data_stream();
    let why = if announced.is_some_and(|bytes| bytes > BODY_LIMIT) {
        too_large("")
    } else {
        match timeout(WHOLE_LIMIT, collect(&mut stream, announced.unwrap_or(0), budget)).await {
            Ok(Ok(bytes)) => return Ok(bytes),
            Ok(Err(refusal)) => refusal,
            Err(_) => return Err(too_slow()),
        }
    };
    if matches!(why.status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::SERVICE_UNAVAILABLE) {
        let _ = timeout(DRAIN_LIMIT, drain(&mut stream)).await;
    }
    Err(why)
}

async fn collect<E: std::fmt::Display>(
    stream: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    announced: usize,
    budget: &Budget,
) -> Result<Bytes, Refusal> {
    let mut share = budget.share();
    // Pages that nothing is written to take no memory, and a body of known length is never moved.
    let mut whole = BytesMut::with_capacity(announced);
    loop {
        let Ok(next) = timeout(SILENCE_LIMIT, stream.next()).await else {
            return Err(too_slow());
        };
        let chunk = match next {
            None => break,
            Some(Ok(chunk)) => chunk,
            Some(Err(error)) => {
                let text = format!("The request's body broke off: {error}.");
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "body_broken", text));
            }
        };
        if whole.len() + chunk.len() > BODY_LIMIT {
            return Err(too_large(""));
        }
        if !share.take(chunk.len()) {
            return Err(share.used_up());
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(share.hold(whole.freeze()))
}

/// Reads on without keeping anything, up to the length of the largest body.
/// Reads to its end, within limits, what nobody wants: a connection with the rest of a body on it cannot be used again, and its client
/// learns that only when its next request fails.
pub(super) async fn discard(body: Body) {
    if !body.is_end_stream() {
        let _ = timeout(DRAIN_LIMIT, drain(&mut body.into_data_stream())).await;
    }
}

async fn drain<E>(stream: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin)) {
    let mut dropped = 0;
    while let Some(Ok(chunk)) = stream.next().await {
        dropped += chunk.len();
        if dropped > BODY_LIMIT {
            return;
        }
    }
}

/// `how`: a word before "body", with a space behind it.
pub(super) fn too_large(how: &str) -> Refusal {
    let text = format!("The request's {how}body is larger than {} MB.", BODY_LIMIT >> 20);
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", text)
}

fn used_up(budget: &Budget) -> Refusal {
    let text = format!(
        "The bodies of the requests under way take {} MB, which is all they may. Try again in a moment.",
        budget.limit >> 20
    );
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", text).retry_after(RETRY_AFTER_S)
}

fn too_slow() -> Refusal {
    let text = "The request's body did not arrive in time.";
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use std::convert::Infallible;

    fn taken(budget: &Budget) -> usize {
        budget.taken.load(Ordering::Acquire)
    }

    /// A body of unknown length, as with chunked encoding.
    fn chunked(sizes: impl IntoIterator<Item = usize, IntoIter: Send + 'static>) -> Body {
        let chunks = sizes.into_iter().map(|size| Ok::<_, Infallible>(Bytes::from(vec![b'x'; size])));
        Body::from_stream(stream::iter(chunks))
    }

    #[tokio::test]
    async fn bytes_count_until_the_last_holder_lets_go() {
        let budget = Budget::new(100);
        let first = read(chunked([30, 30]), &budget).await.unwrap();
        assert_eq!((first.len(), taken(&budget)), (60, 60));
        let slice = first.slice(1..2);
        drop(first);
        assert_eq!(taken(&budget), 60, "a slice holds the whole");
        let second = read(Body::from("x".repeat(40)), &budget).await.unwrap();
        assert_eq!(taken(&budget), 100);
        drop((slice, second));
        assert_eq!(taken(&budget), 0);
    }

    #[tokio::test]
    async fn beyond_the_budget_is_503_with_a_time_and_what_was_taken_is_given_back() {
        let budget = Budget::new(100);
        let held = read(chunked([60]), &budget).await.unwrap();
        for body in [chunked([30, 30]), Body::from("x".repeat(41))] {
            let refusal = read(body, &budget).await.unwrap_err();
            assert_eq!(
                (refusal.status.as_u16(), &*refusal.code, refusal.retry_after_s),
                (503, "busy", Some(5))
            );
            assert_eq!(taken(&budget), 60);
        }
        drop(held);
        assert!(read(chunked([60]), &budget).await.is_ok());
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_413_and_never_kept() {
        let budget = Budget::new(usize::MAX);
        let refusal = read(chunked(std::iter::repeat_n(1 << 20, 70)), &budget).await.unwrap_err();
        assert_eq!((refusal.status.as_u16(), taken(&budget)), (413, 0));
        let refusal = read(chunked(std::iter::repeat(1 << 20)), &budget).await.unwrap_err();
        assert_eq!((refusal.status.as_u16(), taken(&budget)), (413, 0), "an endless one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_without_progress_ends_with_408() {
        let budget = Budget::new(100);
        let begun = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"{"))]);
        let refusal = read(Body::from_stream(begun.chain(stream::pending())), &budget).await.unwrap_err();
        assert_eq!((refusal.status.as_u16(), taken(&budget)), (408, 0));
        let drops = stream::unfold((), |()| async {
            tokio::time::sleep(SILENCE_LIMIT - Duration::from_secs(1)).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b"x")), ()))
        });
        let refusal = read(Body::from_stream(drops), &budget).await.unwrap_err();
        assert_eq!((refusal.status.as_u16(), taken(&budget)), (408, 0), "a drop every 29 s");
    }

    #[tokio::test]
    async fn a_client_that_breaks_off_leaves_nothing() {
        let budget = Budget::new(100);
        let broken = stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("reset"))]);
        let refusal = read(Body::from_stream(broken), &budget).await.unwrap_err();
        assert_eq!((refusal.status.as_u16(), &*refusal.code, taken(&budget)), (400, "body_broken", 0));
    }

    #[tokio::test]
    async fn many_at_once_never_take_more_than_the_budget() {
        let budget = Budget::new(1000);
        let all = (0..50).map(|_| {
            let budget = budget.clone();
            tokio::spawn(async move { read(chunked([10; 10]), &budget).await.map(|bytes| bytes.len()) })
        });
        for one in futures_util::future::join_all(all).await {
            let fine = one.unwrap().map_or_else(|refusal| refusal.code == "busy", |bytes| bytes == 100);
            assert!(fine);
        }
        assert_eq!(taken(&budget), 0);
    }
}
