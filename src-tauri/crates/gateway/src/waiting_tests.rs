//! What clients hear while what they ask for is not there yet.

use super::switch_tests::{Answers, Scene, server, text};
use axum::{
    body::Body,
    http::{Response, StatusCode},
};
use futures_util::StreamExt;
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::ModelRef,
};
use pilothouse_leases::{ActiveRoute, Routes, Target, Wish};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, task::JoinHandle};

fn model() -> ModelRef {
    ModelRef::new("s", "qwen2.5:3b")
}

/// A model on disk, and somebody who hears of wishes for it.
fn scene() -> (Arc<Scene>, mpsc::Receiver<Wish>) {
    let scene = Scene::with(Routes { loads_on_request: true, known: vec![model()], ..Routes::default() });
    let wishes = scene.leases.wishes();
    (Arc::new(scene), wishes)
}

fn ask(scene: &Arc<Scene>, path: &'static str, streams: bool) -> JoinHandle<Response<Body>> {
    let scene = scene.clone();
    let body = json!({ "model": "qwen2.5:3b", "stream": streams }).to_string();
    tokio::spawn(async move { scene.send("POST", path, &body).await })
}

/// It has come into memory. From here on there is a network between us and its server: the clock must run.
fn loaded(scene: &Scene, target: Target) {
    tokio::time::resume();
    scene.leases.set_routes(Arc::new(Routes {
        loaded: vec![target],
        known: vec![model()],
        ..Routes::default()
    }));
}

fn too_large() -> ApiError {
    ApiError::new(ErrorCode::DoesNotFit, "It needs 9 GB and 4 GB are free.").hint("Unload another model.")
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_waits_has_headers_soon_and_signs_of_life_until_it_begins() {
    let (scene, mut wishes) = scene();
    let target = server("qwen2.5:3b", Answers::Stream).await;
    let begun = tokio::time::Instant::now();
    let answer = ask(&scene, "/v1/chat/completions", true).await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 2, "by the paused clock");
    assert_eq!(wishes.recv().await, Some(Wish { model: model() }));
    assert_eq!(answer.status(), StatusCode::OK);
    let headers = answer.headers();
    assert!(headers["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    assert_eq!(headers["x-pilothouse-asked"], "qwen2.5:3b");
    assert_eq!(headers["cache-control"], "no-cache");
    let mut body = answer.into_body().into_data_stream();
    for _ in 0..20 {
        assert_eq!(body.next().await.unwrap().unwrap(), ": waiting for qwen2.5:3b to be loaded\n\n");
    }
    assert!(begun.elapsed() < Duration::from_secs(110) && begun.elapsed() > Duration::from_secs(60));
    loaded(&scene, target);
    let mut rest = Vec::new();
    while let Some(piece) = body.next().await {
        rest.extend_from_slice(&piece.unwrap());
    }
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.ends_with("data: {\"n\":1}\n\ndata: [DONE]\n\n"), "{rest}");
    assert_eq!(scene.leases.count(&model().server, "qwen2.5:3b"), 0, "its lease came back");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_is_refused_with_a_status_as_long_as_nothing_was_sent() {
    for streams in [true, false] {
        let (scene, mut wishes) = scene();
        let asking = ask(&scene, "/v1/chat/completions", streams);
        let wish = wishes.recv().await.unwrap();
        scene.leases.refuse_wish(&wish.model, too_large());
        let answer = asking.await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()["x-should-retry"], "false");
        assert!(answer.headers().get("retry-after").is_none());
        let said = text(answer).await.unwrap();
        assert!(
            said.contains("\"does_not_fit\"") && said.contains("4 GB are free. Unload another model."),
            "{said}"
        );
    }
    let (scene, mut wishes) = scene();
    let asking = ask(&scene, "/v1/completions", true);
    let wish = wishes.recv().await.unwrap();
    scene.leases.refuse_wish(&wish.model, ApiError::new(ErrorCode::Busy, "A benchmark runs."));
    let answer = asking.await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"10".parse().unwrap()));
    assert!(answer.headers().get("x-should-retry").is_none(), "it may pass");
}

#[tokio::test(start_paused = true)]
async fn what_fails_later_is_an_event_of_the_dialect() {
    for (path, beat, wanted) in [
        (
            "/v1/chat/completions",
            ": waiting for qwen2.5:3b to be loaded\n\n",
            "\ndata: {\"error\":{\"code\":\"does_not_fit\"",
        ),
        (
            "/v1/completions",
            ": waiting for qwen2.5:3b to be loaded\n\n",
            "\ndata: {\"error\":{\"code\":\"does_not_fit\"",
        ),
    ] {
        let (scene, _wishes) = scene();
        let answer = ask(&scene, path, true).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        scene.leases.refuse_wish(&model(), too_large());
        let said = text(answer).await.unwrap();
        let said = format!("\n{said}");
        assert!(said.contains(wanted) && said.contains("4 GB are free"), "{path}: {said}");
        assert!(said.ends_with("}\n\n") && said.matches("data: {\"error\"").count() <= 1, "{path}: {said}");
        // A sign of life may come before, and nothing else does.
        let rest = said.trim_start_matches('\n').replacen(beat, "", 1);
        assert!(rest.starts_with(wanted.trim_start()), "{path}: {rest}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_servers_own_error_after_the_headers_is_an_event_too() {
    for path in ["/v1/chat/completions", "/v1/completions"] {
        let (scene, _wishes) = scene();
        let target = server("qwen2.5:3b", Answers::ProxyError).await;
        let answer = ask(&scene, path, true).await.unwrap();
        loaded(&scene, target);
        let said = text(answer).await.unwrap();
        assert!(said.contains("data: {\"error\":{") && said.contains("proxy error"), "{said}");
        tokio::time::pause();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_stream_just_waits_and_is_told_for_how_long() {
    let (scene, _wishes) = scene();
    let target = server("qwen2.5:3b", Answers::Whole).await;
    let asking = ask(&scene, "/v1/chat/completions", false);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(!asking.is_finished());
    loaded(&scene, target);
    let answer = asking.await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let waited: u64 = answer.headers()["x-pilothouse-waited-ms"].to_str().unwrap().parse().unwrap();
    assert!((100_000..110_000).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn a_held_role_waits_with_signs_of_life_and_whoever_leaves_leaves_the_queue() {
    let scene = Arc::new(Scene::with(Routes { active: ActiveRoute::Held, ..Routes::default() }));
    let asking = tokio::spawn({
        let scene = scene.clone();
        async move { scene.send("POST", "/v1/chat/completions", "{\"stream\":true}").await }
    });
    let answer = asking.await.unwrap();
    assert_eq!(answer.headers()["x-pilothouse-role"], "active");
    let mut body = answer.into_body().into_data_stream();
    assert_eq!(body.next().await.unwrap().unwrap(), ": waiting for a switch to end\n\n");
    assert_eq!(scene.leases.waiting(), 1);
    drop(body);
    assert_eq!(scene.leases.waiting(), 0);
}
