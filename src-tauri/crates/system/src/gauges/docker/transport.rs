//! How the engine's socket is asked: one connection per question, and never more than a bounded answer.

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker, errors::Error};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};

/// Longest answer. A list of hundreds of containers with all their labels is far below it.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// A connection is gone after this, whatever the other side does with it.
const MAX_LIFE: Duration = Duration::from_secs(30);

/// A client for the engine behind a socket. Asks nothing yet.
pub(super) fn client(socket: &Path) -> Result<Docker, Error> {
    let socket = socket.to_owned();
    let transport = move |request| ask(socket.clone(), request);
    // The name of the host goes into a header that the engine does not look at.
    Docker::connect_with_custom_transport(
        transport,
        Some("http://docker"),
        MAX_LIFE.as_secs(),
        API_DEFAULT_VERSION,
    )
}

async fn ask(
    socket: PathBuf,
    mut request: BollardRequest,
) -> Result<hyper::Response<hyper::body::Incoming>, Error> {
    let stream = UnixStream::connect(socket).await?;
    let bounded = Bounded { stream, left: MAX_BYTES };
    let (mut sender, connection) = http1::handshake(TokioIo::new(bounded)).await?;
    tokio::spawn(async move { drop(tokio::time::timeout(MAX_LIFE, connection).await) });
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).parse();
    *request.uri_mut() = path?;
    request.headers_mut().insert(hyper::header::HOST, hyper::header::HeaderValue::from_static("docker"));
    Ok(sender.send_request(request).await?)
}

/// A socket of which only so many bytes can be read.
struct Bounded {
    stream: UnixStream,
    left: usize,
}

/// Whether an answer was cut off for its length.
pub(super) fn is_too_long(error: &(dyn std::error::Error + 'static)) -> bool {
    let is = |error: &(dyn std::error::Error + 'static)| {
        error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::FileTooLarge)
    };
    std::iter::successors(Some(error), |error| error.source()).any(is)
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
        }
        let before = buffer.filled().len();
        let answer = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.left = self.left.saturating_sub(buffer.filled().len() - before);
        answer
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
