//! One connection of a door, from its first byte to its end.

use super::{
    caller::Caller,
    seats::{RequestGuard, Seat},
};
use axum::{Router, body::Body, extract::Request};
use bytes::Bytes;
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use pilothouse_records::Asker;
use std::{
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::sleep_until,
};
use tokio_util::sync::CancellationToken;

/// Whose connection it is.
pub(super) struct Who {
    /// By the socket; each request has it as an extension.
    pub caller: Caller,
    pub seat: Arc<Seat>,
    /// The program, where that is looked for; an extension too.
    pub asker: Option<Asker>,
}

/// Serves a connection until its client leaves, it has been idle for too long, or its seat is needed. `end`: after the
/// answer under way; `cut`: at once.
pub(super) async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    Who { caller, seat, asker }: Who,
    end: CancellationToken,
    cut: CancellationToken,
) {
    let requests = seat.clone();
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(caller);
        let guard = requests.request();
        if let Some(asker) = &asker {
            request.extensions_mut().insert(asker.clone());
        }
        let answer = router.call(request.map(Body::new));
        async move { answer.await.map(|answer| answer.map(|body| Counted { body, _guard: guard })) }
    });
    let io = TokioIo::new(Watched { io, seat: seat.clone(), blocked: false });
    let mut connection = pin!(http1::Builder::new().serve_connection(io, service));
    let mut ending = false;
    while let Ok(due) = seat.due() {
        // Biased: what has arrived is seen before anybody is sent away for having sent nothing.
        tokio::select! {
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::trace!(%error, "a connection ended");
                }
                break;
            }
            () = cut.cancelled() => break,
            () = end.cancelled(), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
            () = seat.asked_to_go() => {
                if seat.may_go() {
                    break;
                }
            }
            () = sleep_until(due) => {}
        }
    }
}

/// An answer's body; its request is under way for as long as it lives.
struct Counted {
    body: Body,
    _guard: RequestGuard,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Tells the seat of bytes that come, and of a client that does not take what is written.
struct Watched<T> {
    io: T,
    seat: Arc<Seat>,
    /// As the seat knows it.
    blocked: bool,
}

impl<T> Watched<T> {
    fn wrote(&mut self, written: &Poll<io::Result<usize>>) {
        if written.is_pending() != self.blocked {
            self.blocked = written.is_pending();
            self.seat.blocked(self.blocked);
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.seat.heard();
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::seats::{HEAD_LIMIT, IDLE_LIMIT, Seats};
    use axum::routing::get;
    use futures_util::{FutureExt, StreamExt, stream};
    use std::{convert::Infallible, time::Duration};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
        task::JoinHandle,
        time::Instant,
    };

    fn nobody(seat: Arc<Seat>) -> Who {
        Who { caller: caller(), seat, asker: None }
    }

    /// A router with a short answer and with one that takes an hour.
    fn router() -> Router {
        let pieces = || {
            stream::iter([0, 3600]).then(|seconds| async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Ok::<_, Infallible>("piece")
            })
        };
        Router::new()
            .route("/", get(|| async { "well" }))
            .route("/hour", get(move || async move { Body::from_stream(pieces()) }))
    }

    fn caller() -> Caller {
        Caller::of("127.0.0.1:1".parse().unwrap(), None)
    }

    struct Client {
        io: DuplexStream,
        serving: JoinHandle<()>,
        end: CancellationToken,
    }

    impl Client {
        async fn connect(seats: &Arc<Seats>) -> Self {
            let (io, far) = tokio::io::duplex(1 << 16);
            let seat = seats.take().await;
            let end = CancellationToken::new();
            let serving =
                tokio::spawn(serve(far, router(), nobody(seat), end.clone(), CancellationToken::new()));
            Self { io, serving, end }
        }

        async fn send(&mut self, text: &str) {
            self.io.write_all(text.as_bytes()).await.unwrap();
        }

        /// Reads until these words have come.
        async fn until(&mut self, words: &str) {
            let mut text = String::new();
            while !text.contains(words) {
                let mut bytes = [0; 1024];
                let read = self.io.read(&mut bytes).await.unwrap();
                assert_ne!(read, 0, "the end after {text:?}");
                text.push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
        }
    }

    const ASK: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    const ASK_HOUR: &str = "GET /hour HTTP/1.1\r\nhost: a\r\n\r\n";

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_used_again_and_closed_once_idle() {
        let seats = Seats::new(1);
        let mut client = Client::connect(&seats).await;
        for _ in 0..3 {
            client.send(ASK).await;
            client.until("well").await;
            tokio::time::sleep(IDLE_LIMIT - Duration::from_secs(1)).await;
        }
        client.send(ASK).await;
        client.until("well").await;
        let idle_since = Instant::now();
        client.serving.await.unwrap();
        assert_eq!(idle_since.elapsed().as_secs(), IDLE_LIMIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_never_ends_is_closed() {
        let seats = Seats::new(1);
        let mut client = Client::connect(&seats).await;
        let began = Instant::now();
        let dripping = async {
            for byte in ASK.chars().cycle().filter(|c| *c != '\r' && *c != '\n') {
                client.io.write_all(&[byte as u8]).await.unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = dripping => {}
            result = client.serving => result.unwrap(),
        }
        assert!(began.elapsed() <= 2 * HEAD_LIMIT, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_under_way_is_neither_idle_nor_asked_to_go() {
        let seats = Seats::new(1);
        let mut client = Client::connect(&seats).await;
        client.send(ASK_HOUR).await;
        client.until("piece").await;
        let mut newcomer = Box::pin(seats.take());
        assert!(newcomer.as_mut().now_or_never().is_none());
        client.end.cancel();
        client.until("0\r\n\r\n").await;
        client.serving.await.unwrap();
        newcomer.await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_one_makes_room_at_once() {
        let seats = Seats::new(1);
        let mut client = Client::connect(&seats).await;
        client.send(ASK).await;
        client.until("well").await;
        let before = Instant::now();
        seats.take().await;
        assert!(before.elapsed() < Duration::from_secs(1));
        client.serving.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_its_answer_keeps_it() {
        let seats = Seats::new(1);
        let (mut io, far) = tokio::io::duplex(64);
        let long = Router::new().route("/", get(|| async { "x".repeat(100_000) }));
        let token = CancellationToken::new();
        tokio::spawn(serve(far, long, nobody(seats.take().await), token.clone(), token));
        io.write_all(ASK.as_bytes()).await.unwrap();
        tokio::time::sleep(10 * IDLE_LIMIT).await;
        let mut text = String::new();
        while text.matches('x').count() < 100_000 {
            let mut bytes = [0; 4096];
            let read = io.read(&mut bytes).await.unwrap();
            assert_ne!(read, 0, "cut after {}", text.len());
            text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_closes_idle_ones_and_a_cut_all() {
        let seats = Seats::new(2);
        let mut idle = Client::connect(&seats).await;
        idle.send(ASK).await;
        idle.until("well").await;
        idle.end.cancel();
        idle.serving.await.unwrap();
        let (_io, far) = tokio::io::duplex(64);
        let (end, cut) = (CancellationToken::new(), CancellationToken::new());
        let serving = tokio::spawn(serve(far, router(), nobody(seats.take().await), end, cut.clone()));
        cut.cancel();
        serving.await.unwrap();
    }
}
