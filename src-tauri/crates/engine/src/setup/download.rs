//! One file over HTTP: resumed where it stopped, checked against its hash, moved into place when it is right.

use super::{cannot_write, index, parts::Part};
use futures_util::StreamExt;
use pilothouse_domain::error::{ApiError, ErrorCode};
use pilothouse_system::connect::Made;
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

/// Hears the bytes of the file that are there.
type Sink<'a> = dyn Fn(u64) + Send + Sync + 'a;

pub(super) struct Download<'a> {
    part: &'a Part,
    folder: PathBuf,
}

impl<'a> Download<'a> {
    pub fn new(part: &'a Part, folder: &Path) -> Self {
        Self { part, folder: folder.to_owned() }
    }

    /// Fetches the file from the index at `base`; returns where it lies. `sink` hears the bytes that are there.
    /// Dropping the future ends the download; what came stays for the next try.
    pub async fn run(&self, base: &str, sink: &Sink<'_>) -> Result<PathBuf, ApiError> {
        let made = Made::with_roots(|| {
            Client::builder()
                .connect_timeout(CONNECT_LIMIT)
                .read_timeout(SILENCE)
                .user_agent(concat!("pilothouse/", env!("CARGO_PKG_VERSION")))
        });
        sink(0);
        let url = index::find(&made, base, self.part).await?;
        if made.rootless && url.scheme() == "https" {
            return Err(index::untrusted(url.host_str()));
        }
        self.from(&made.client, &url, sink).await
    }

    /// The same from a known address.
    async fn from(&self, client: &Client, url: &Url, sink: &Sink<'_>) -> Result<PathBuf, ApiError> {
        std::fs::create_dir_all(&self.folder).map_err(|error| cannot_write(&self.folder, &error))?;
        let name = format!("{}-{}", self.part.package, self.part.version);
        let (part_file, whole) = (self.folder.join(format!("{name}.part")), self.folder.join(&name));
        if whole.is_file() && hash_of(&whole).await.is_ok_and(|hash| hash == self.part.sha256) {
            return Ok(whole);
        }
        let mut tries = 0;
        loop {
            let before = length(&part_file);
            let error = match read_on(client, url, &part_file, self.part.bytes, sink).await {
                Ok(()) => break,
                Err(error) => error,
            };
            // A connection that brought something may break as often as it likes.
            tries = if length(&part_file) > before { 1 } else { tries + 1 };
            if !error.retry || tries >= TRIES {
                return Err(error);
            }
            tracing::info!(%error, tries, "the download broke off, going on");
            tokio::time::sleep(Duration::from_millis(500) * tries).await;
        }
        let hash = hash_of(&part_file).await.map_err(|error| cannot_write(&part_file, &error))?;
        if hash != self.part.sha256 {
            let _ = std::fs::remove_file(&part_file);
            return Err(wrong_content(self.part.what, &format!("SHA-256 {hash}")));
        }
        std::fs::rename(&part_file, &whole).map_err(|error| cannot_write(&whole, &error))?;
        Ok(whole)
    }
}

fn wrong_content(what: &str, found: &str) -> ApiError {
    let text = format!("{what} came with the wrong content ({found}); it was thrown away.");
    ApiError::new(ErrorCode::HashMismatch, text).hint(
        "Run setup again. If it stays like this, the package index or something before it changes files.",
    )
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

/// Appends what is missing. `expected`: the size of the whole file; more than that is never written.
async fn read_on(
    client: &Client,
    url: &Url,
    path: &Path,
    expected: u64,
    sink: &Sink<'_>,
) -> Result<(), ApiError> {
    let mut done = length(path);
    if done == expected {
        return Ok(());
    }
    let mut request = client.get(url.clone());
    if done > 0 {
        request = request.header(RANGE, format!("bytes={done}-"));
    }
    let answer = request.send().await.map_err(|error| index::failed(&error))?;
    if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        // More is there than the file has; the hash decides.
        return Ok(());
    }
    let answer = answer.error_for_status().map_err(|error| index::failed(&error))?;
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        done = 0;
    }
    let mut options = OpenOptions::new();
    options.create(true).write(true).append(done > 0).truncate(done == 0);
    let mut file: File = options.open(path).map_err(|error| cannot_write(path, &error))?;
    let mut body = answer.bytes_stream();
    let mut told = Instant::now();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| index::failed(&error))?;
        done += chunk.len() as u64;
        if done > expected {
            let _ = std::fs::remove_file(path);
            return Err(wrong_content("The file", &format!("more than the {expected} bytes that it has")));
        }
        file.write_all(&chunk).map_err(|error| cannot_write(path, &error))?;
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            sink(done);
        }
    }
    sink(done);
    Ok(())
}

/// Reads the whole file, so on a thread that may wait.
async fn hash_of(path: &Path) -> std::io::Result<String> {
    let path = path.to_owned();
    let work = move || {
        let mut file = File::open(path)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
                read => hash.update(&buffer[..read]),
            }
        }
    };
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
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

    #[tokio::test]
    async fn a_rest_of_an_earlier_try_is_taken_over() {
        let (folder, server) = (tempfile::tempdir().unwrap(), Server::default());
        server.requests.store(9, Ordering::SeqCst);
        std::fs::write(folder.path().join("a-1.part"), &CONTENT[..30]).unwrap();
        let url = serve(server.clone()).await;
        let part = part(RIGHT);
        let path = Download::new(&part, folder.path()).from(&Client::new(), &url, &|_| {}).await.unwrap();
        assert_eq!(std::fs::read(path).unwrap(), CONTENT);
        assert_eq!(*server.ranges.lock().unwrap(), [Some("bytes=30-".to_owned())]);
    }

    #[tokio::test]
    async fn a_file_that_does_not_end_is_not_written_to_the_disk() {
        let (folder, server) = (tempfile::tempdir().unwrap(), Server::default());
        server.requests.store(9, Ordering::SeqCst);
        let url = serve(server).await;
        let part = Part { bytes: 20, ..part(RIGHT) };
        let error =
            Download::new(&part, folder.path()).from(&Client::new(), &url, &|_| {}).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::HashMismatch);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn no_such_file_is_not_tried_again_and_no_network_is_said() {
        let (folder, server) = (tempfile::tempdir().unwrap(), Server::default());
        let url = serve(server.clone()).await;
        let part = part(RIGHT);
        let download = Download::new(&part, folder.path());
        let elsewhere = url.join("/nothing").unwrap();
        let error = download.from(&Client::new(), &elsewhere, &|_| {}).await.unwrap_err();
        assert_eq!((error.code, error.retry), (ErrorCode::DownloadFailed, false));
        assert!(error.message.contains("404"), "{}", error.message);
        // A port that was free a moment ago: nobody listens there.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed: Url = format!("http://{}/file", listener.local_addr().unwrap()).parse().unwrap();
        drop(listener);
        let path = folder.path().join("x");
        let error = read_on(&Client::new(), &closed, &path, 36, &|_| {}).await.unwrap_err();
        assert_eq!((error.code, error.retry), (ErrorCode::DownloadFailed, true));
        assert!(error.message.contains("cannot be reached"), "{}", error.message);
        assert!(error.hint.unwrap().contains("goes on where it stopped"));
    }
}
