//! One file over HTTP: resumed where it stopped, checked against its hash, moved into place when it is right.

use super::{cannot_write, index, parts::Part};
use futures_util::StreamExt;
use pilothouse_domain::error::{ApiError, ErrorCode};
use reqwest::{Client, StatusCode, Url, header::RANGE};
use sha2::{Digest, Sha256};
use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// A connection that brings nothing for so long is given up; the next try goes on where it stopped.
const SILENCE: Duration = Duration::from_secs(60);
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// How often a connection that breaks is tried again.
const TRIES: u32 = 4;
const TELL_EVERY: Duration = Duration::from_millis(200);

pub(super) struct Download<'a> {
    part: &'a Part,
    folder: PathBuf,
}

impl<'a> Download<'a> {
    pub fn new(part: &'a Part, folder: &Path) -> Self {
        Self { part, folder: folder.to_owned() }
    }

    /// Fetches the file; returns where it lies. `sink` hears the bytes that are there.
    pub async fn run(&self, sink: &(dyn Fn(u64) + Send + Sync)) -> Result<PathBuf, ApiError> {
        let client = Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(SILENCE)
            .user_agent(concat!("pilothouse/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ApiError::internal(format!("No HTTP client: {error}.")))?;
        sink(0);
        let url = index::find(&client, &index::base(), self.part).await?;
        self.from(&client, &url, sink).await
    }

    /// The same from a known address.
    async fn from(
        &self,
        client: &Client,
        url: &Url,
        sink: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<PathBuf, ApiError> {
        std::fs::create_dir_all(&self.folder).map_err(|error| cannot_write(&self.folder, &error))?;
        let name = format!("{}-{}", self.part.package, self.part.version);
        let (part_file, whole) = (self.folder.join(format!("{name}.part")), self.folder.join(&name));
        if whole.is_file() && hash_of(&whole).ok().as_deref() == Some(self.part.sha256) {
            return Ok(whole);
        }
        let mut tries = 0;
        loop {
            tries += 1;
            match read_on(client, url, &part_file, sink).await {
                Ok(()) => break,
                Err(error) if error.retry && tries < TRIES => {
                    tracing::info!(%error, tries, "the download broke off, going on");
                    tokio::time::sleep(Duration::from_millis(500) * tries).await;
                }
                Err(error) => return Err(error),
            }
        }
        let hash = hash_of(&part_file).map_err(|error| cannot_write(&part_file, &error))?;
        if hash != self.part.sha256 {
            let _ = std::fs::remove_file(&part_file);
            let text = format!(
                "{} came with the wrong content (SHA-256 {hash}); it was thrown away.",
                self.part.what
            );
            return Err(ApiError::new(ErrorCode::HashMismatch, text)
                .hint("Run setup again. If it stays like this, the package index or something before it changes files."));
        }
        std::fs::rename(&part_file, &whole).map_err(|error| cannot_write(&whole, &error))?;
        Ok(whole)
    }
}

async fn read_on(
    client: &Client,
    url: &Url,
    path: &Path,
    sink: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), ApiError> {
    let mut done = std::fs::metadata(path).map_or(0, |meta| meta.len());
    let mut request = client.get(url.clone());
    if done > 0 {
        request = request.header(RANGE, format!("bytes={done}-"));
    }
    let answer = request.send().await.map_err(|error| failed(&error))?;
    if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        // All of it is there already; the hash decides.
        return Ok(());
    }
    let answer = answer.error_for_status().map_err(|error| failed(&error))?;
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        done = 0;
    }
    let mut options = OpenOptions::new();
    options.create(true).write(true).append(done > 0).truncate(done == 0);
    let mut file: File = options.open(path).map_err(|error| cannot_write(path, &error))?;
    let mut body = answer.bytes_stream();
    let mut told = Instant::now();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| failed(&error))?;
        file.write_all(&chunk).map_err(|error| cannot_write(path, &error))?;
        done += chunk.len() as u64;
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            sink(done);
        }
    }
    sink(done);
    Ok(())
}

fn hash_of(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => hash.update(&buffer[..read]),
        }
    }
}

pub(super) fn failed(error: &reqwest::Error) -> ApiError {
    let status = error.status();
    let text = match status {
        Some(status) => format!("The package index answered {status}."),
        None if error.is_connect() => "The package index cannot be reached.".to_owned(),
        None => "The download broke off.".to_owned(),
    };
    tracing::warn!(%error, "download");
    let failure = ApiError::new(ErrorCode::DownloadFailed, text)
        .hint("Check the network, then run setup again; it goes on where it stopped.");
    if status.is_some_and(|status| status.is_client_error()) { failure } else { failure.retryable() }
}

#[cfg(test)]
mod tests {
    use super::super::parts::Kind;
    use super::*;
    use axum::{Router, body::Body, extract::State, http::HeaderMap, response::Response, routing::get};
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    };

    const CONTENT: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

    #[derive(Clone, Default)]
    struct Server {
        requests: Arc<AtomicU32>,
        ranges: Arc<Mutex<Vec<Option<String>>>>,
        ignores_range: bool,
    }

    /// Breaks off after ten bytes, except at the third request.
    async fn file(State(server): State<Server>, headers: HeaderMap) -> Response {
        let request = server.requests.fetch_add(1, Ordering::SeqCst);
        let range = headers.get("range").map(|value| value.to_str().unwrap().to_owned());
        server.ranges.lock().unwrap().push(range.clone());
        let from = match (&range, server.ignores_range) {
            (Some(range), false) => range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap(),
            _ => 0,
        };
        let rest = &CONTENT[from..];
        let sent = if request < 2 { &rest[..10] } else { rest };
        let pieces = [Ok(sent.to_vec()), Err(std::io::Error::other("cut"))].into_iter();
        let pieces = pieces.take(if request < 2 { 2 } else { 1 });
        // The connection is cut only after the first piece is on its way.
        let pieces = futures_util::stream::iter(pieces).then(async |piece: Result<_, _>| {
            if piece.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            piece
        });
        Response::builder()
            .status(if from > 0 { 206 } else { 200 })
            .header("content-length", rest.len())
            .body(Body::from_stream(pieces))
            .unwrap()
    }

    async fn serve(server: Server) -> Url {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/file", get(file)).with_state(server);
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}/file").parse().unwrap()
    }

    fn part(sha256: &'static str) -> Part {
        Part { what: "a file", package: "a", version: "1", sha256, bytes: 36, kind: Kind::Source }
    }

    const RIGHT: &str = "74e7e5bb9d22d6db26bf76946d40fff3ea9f0346b884fd0694920fccfad15e33";

    #[tokio::test]
    async fn a_download_that_breaks_off_goes_on_where_it_stopped() {
        let (folder, server) = (tempfile::tempdir().unwrap(), Server::default());
        let url = serve(server.clone()).await;
        let part = part(RIGHT);
        let path = Download::new(&part, folder.path()).from(&Client::new(), &url, &|_| {}).await.unwrap();
        assert_eq!(std::fs::read(path).unwrap(), CONTENT);
        let ranges = server.ranges.lock().unwrap().clone();
        assert_eq!(ranges, [None, Some("bytes=10-".into()), Some("bytes=20-".into())]);
    }

    #[tokio::test]
    async fn a_server_without_ranges_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let url = serve(Server { ignores_range: true, ..Server::default() }).await;
        let part = part(RIGHT);
        let path = Download::new(&part, folder.path()).from(&Client::new(), &url, &|_| {}).await.unwrap();
        assert_eq!(std::fs::read(path).unwrap(), CONTENT);
    }

    #[tokio::test]
    async fn a_wrong_file_is_thrown_away_and_said() {
        let folder = tempfile::tempdir().unwrap();
        let url = serve(Server::default()).await;
        let part = part("00");
        let error =
            Download::new(&part, folder.path()).from(&Client::new(), &url, &|_| {}).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::HashMismatch);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
