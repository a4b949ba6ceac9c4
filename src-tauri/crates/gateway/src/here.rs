//! Connections to servers of this machine, each driven by the task that passes its answer on.
//!
//! The usual client has a task of its own for each connection, so that every piece of an answer is handed from one thread to
//! another and written by itself. Here the connection is read where its answer is written: what has arrived goes on together.

mod bell;
#[cfg(test)]
mod tests;

use super::pieces::Pieces;
use axum::http::{HeaderValue, Request, Response, header};
use bell::Bell;
use bytes::Bytes;
use futures_util::FutureExt;
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1::{self, Connection, SendRequest},
};
use hyper_util::rt::TokioIo;
use pilothouse_system::connect::closed_unanswered;
use std::{
    collections::HashMap,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    runtime::Handle,
    time::{Instant, sleep, timeout},
};
use url::{Host, Url};

/// A server on this machine accepts a connection at once.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// All of these servers close a silent connection after five seconds; a request must not run into that.
const IDLE_LIMIT: Duration = Duration::from_secs(2);
/// Connections to one server that are kept while nobody uses them.
const KEPT: usize = 64;

type Driver = Connection<TokioIo<TcpStream>, Pieces>;

/// A connection and the right to ask by it. Whoever holds it must drive it.
struct Line {
    sender: SendRequest<Pieces>,
    /// `None`: it has ended.
    driver: Option<Driver>,
    bell: Bell,
}

/// Lets a connection go on.
fn drive(driver: &mut Option<Driver>, context: &mut Context<'_>) {
    let Some(one) = driver else { return };
    if let Poll::Ready(result) = one.poll_unpin(context) {
        if let Err(error) = result {
            tracing::trace!(%error, "a connection to a server ended");
        }
        *driver = None;
    }
}

impl Line {
    async fn connect(to: SocketAddr) -> Result<Self, Failure> {
        let stream = match timeout(CONNECT_LIMIT, TcpStream::connect(to)).await {
            Ok(stream) => stream.map_err(Failure::Unconnected)?,
            Err(_) => return Err(Failure::Unconnected(io::ErrorKind::TimedOut.into())),
        };
        // Requests are written whole; one that waited for its last packet would only be late.
        stream.set_nodelay(true).map_err(Failure::Unconnected)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, driver: Some(driver), bell: Bell::new() })
    }

    /// Whether another request can be sent by it, as far as can be known.
    fn is_free(&mut self, context: &Context<'_>) -> bool {
        let Self { driver, bell, .. } = self;
        let _ = bell.poll(context, |context| {
            drive(driver, context);
            Poll::<()>::Pending
        });
        self.driver.is_some() && self.sender.is_ready()
    }

    async fn ask(&mut self, request: Request<Pieces>) -> Result<Response<Incoming>, Failure> {
        let Self { sender, driver, bell } = self;
        let mut answer = pin!(sender.send_request(request));
        let asked = poll_fn(|context| {
            bell.poll(context, |context| {
                drive(driver, context);
                answer.poll_unpin(context)
            })
        });
        asked.await.map_err(Failure::from)
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    Unconnected(io::Error),
    Unanswered(hyper::Error),
    /// By the client for all other places.
    Far(reqwest::Error),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unconnected(_) => f.write_str("no connection to the server"),
            Self::Unanswered(_) => f.write_str("no answer of the server"),
            Self::Far(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unconnected(error) => Some(error),
            Self::Unanswered(error) => Some(error),
            Self::Far(error) => Some(error),
        }
    }
}

impl Failure {
    /// Whether the server cannot have said anything: the connection was closed before, which servers do without a word, or none
    /// came about, as when a crowd comes at once and there is no more room for whom nobody has greeted yet.
    pub fn is_unheard(&self) -> bool {
        match self {
            Self::Unanswered(error) if error.is_canceled() => true,
            Self::Unconnected(error) if error.kind() == io::ErrorKind::TimedOut => true,
            failure => closed_unanswered(failure),
        }
    }
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        Self::Unanswered(error)
    }
}

/// Connections that nobody uses, by their server, each with since when. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<Kept>>);

type Kept = HashMap<SocketAddr, Vec<(Line, Instant)>>;

impl Lines {
    /// The place that an address names, if connections to it are ours: without TLS, by the number of a loopback address. A name
    /// may mean several places, and the usual client knows how to try them.
    pub fn place(url: &Url) -> Option<SocketAddr> {
        let address = match url.host()? {
            Host::Ipv4(address) => IpAddr::V4(address),
            Host::Ipv6(address) => IpAddr::V6(address),
            Host::Domain(_) => return None,
        };
        let port = url.port_or_known_default()?;
        (url.scheme() == "http" && address.is_loopback()).then_some(SocketAddr::new(address, port))
    }

    /// Sends a request and waits for the head of its answer. Whoever drops this future, or the answer before its end, ends the
    /// connection, and with it the request at the server.
    pub async fn send(
        &self,
        to: SocketAddr,
        mut request: Request<Pieces>,
    ) -> Result<Response<Answered>, Failure> {
        let host = HeaderValue::from_str(&to.to_string()).unwrap_or(HeaderValue::from_static("localhost"));
        request.headers_mut().insert(header::HOST, host);
        request.headers_mut().entry(header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        let mut line = match self.free(to).await {
            Some(line) => line,
            None => Line::connect(to).await?,
        };
        let answer = line.ask(request).await?;
        let home = Arc::downgrade(&self.0);
        Ok(answer.map(|body| Answered { body, line: Some(line), to, home }))
    }

    async fn free(&self, to: SocketAddr) -> Option<Line> {
        loop {
            let (mut line, since) = self.kept().get_mut(&to)?.pop()?;
            let is_free = poll_fn(|context| Poll::Ready(line.is_free(context))).await;
            if is_free && since.elapsed() < IDLE_LIMIT {
                return Some(line);
            }
        }
    }

    fn keep(&self, to: SocketAddr, line: Line) {
        // None: everything ends, and this too.
        let Ok(runtime) = Handle::try_current() else { return };
        let mut kept = self.kept();
        if kept.is_empty() {
            runtime.spawn(forget_old(Arc::downgrade(&self.0)));
        }
        line.bell.forget();
        let lines = kept.entry(to).or_default();
        if lines.len() < KEPT {
            lines.push((line, Instant::now()));
        }
    }

    #[cfg(test)]
    fn unused(&self, to: SocketAddr) -> usize {
        self.kept().get(&to).map_or(0, Vec::len)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes what nobody has used for a while, until nothing is left.
async fn forget_old(lines: Weak<Mutex<Kept>>) {
    loop {
        sleep(IDLE_LIMIT).await;
        let Some(lines) = lines.upgrade().map(Lines) else { return };
        let mut kept = lines.kept();
        for lines in kept.values_mut() {
            lines.retain(|(_, since)| since.elapsed() < IDLE_LIMIT);
        }
        kept.retain(|_, lines| !lines.is_empty());
        if kept.is_empty() {
            return;
        }
    }
}

/// The body of an answer with the connection that it comes by, which is kept for the next request once all of it has been read.
pub(super) struct Answered {
    body: Incoming,
    line: Option<Line>,
    to: SocketAddr,
    home: Weak<Mutex<Kept>>,
}

impl Body for Answered {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(Line { driver, bell, .. }) = &mut this.line else { return Poll::Ready(None) };
        bell.poll(context, |context| {
            if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
                return Poll::Ready(frame);
            }
            drive(driver, context);
            Pin::new(&mut this.body).poll_frame(context)
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        let (Some(mut line), Some(home)) = (self.line.take(), self.home.upgrade()) else { return };
        // Nobody waits here; whoever takes it next drives it on. In the middle of an answer it is not free, and closed.
        if line.is_free(&Context::from_waker(Waker::noop())) {
            Lines(home).keep(self.to, line);
        }
    }
}
