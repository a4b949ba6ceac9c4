//! Where requests and answers end.

use super::Before;
use axum::body::{Body, Bytes};
use futures_util::StreamExt;
use pilothouse_domain::traffic::RequestState;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

#[tokio::test]
async fn the_body_of_what_is_refused_unread_does_not_stay_on_the_connection() {
    let before = Before::start(1 << 20).await;
    for (method, path, headers) in [
        ("POST", "/v1/responses/compact", [].as_slice()),
        ("POST", "/v1/nothing", &[]),
        ("POST", "/nothing", &[("anthropic-version", "2023-06-01")]),
        ("PUT", "/v1/chat/completions", &[]),
        ("DELETE", "/v1/models", &[]),
        ("POST", "/v1/models", &[]),
    ] {
        let read = Arc::new(AtomicUsize::new(0));
        let counts = read.clone();
        let pieces = futures_util::stream::iter(0..3).map(move |_| {
            counts.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from_static(b"{}"))
        });
        let answer = before.ask(method, path, headers, Body::from_stream(pieces)).await;
        assert!(answer.status().is_client_error(), "{method} {path}");
        assert_eq!(read.load(Ordering::Relaxed), 3, "{method} {path}");
    }
}

#[tokio::test]
async fn a_whole_answer_is_recorded_as_done_once_its_last_byte_is_handed_on() {
    let before = Before::start(1 << 20).await;
    for path in ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/rerank", "/v1/moderations"]
    {
        let answer = before.post(path, &[]).await;
        let mut left: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
        // As a connection writes an answer of known length: it never asks for what is behind its end.
        let mut pieces = answer.into_body().into_data_stream();
        while left > 0 {
            left -= pieces.next().await.unwrap().unwrap().len();
        }
        drop(pieces);
        let last = before.recorder.in_memory().into_iter().max_by_key(|record| record.id).unwrap();
        assert_eq!(last.state, RequestState::Done, "{path}");
    }
}
