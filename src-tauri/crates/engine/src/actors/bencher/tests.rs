use super::{BenchRequest, BencherHandle, Surroundings};
use crate::fakes::{FakeJournal, FakeServer, Fault, Memory, Scene, Shape, wanted};
use pilothouse_domain::{
    bench::BenchPlan,
    error::{ApiError, ErrorCode},
};
use pilothouse_system::gauges::GaugePast;
use std::time::Duration;

/// `a` is active; `b` fits beside it, `huge` never does.
async fn scene() -> (Scene, FakeServer, BencherHandle) {
    let one = FakeServer::new("one")
        .in_memory(&Memory::of(100))
        .with_pace(Duration::from_secs(2), Duration::from_millis(10))
        .with_model("a", 10)
        .with_model("b", 10)
        .with_model("huge", 1000);
    let scene = Scene::start(std::slice::from_ref(&one), &FakeJournal::default()).await;
    scene.switch("a").await.unwrap();
    let bencher = BencherHandle::start(Surroundings {
        hub: scene.hub.clone(),
        leases: scene.leases.clone(),
        notifier: scene.notifier.clone(),
        store: None,
        residency: scene.residency.clone(),
        past: GaugePast::default(),
    });
    (scene, one, bencher)
}

fn request(model: &str) -> BenchRequest {
    let plan = BenchPlan::named("quick", Some(5)).unwrap();
    BenchRequest { model: Some(model.into()), server: None, plan }
}

#[tokio::test(start_paused = true)]
async fn a_run_leaves_memory_as_it_was_and_answers_of_others_go_on() {
    let (scene, _, bencher) = scene().await;
    let running = tokio::spawn({
        let bencher = bencher.clone();
        async move { bencher.bench(request("b")).await }
    });
    scene.rest(4).await;
    assert_eq!(scene.held(), ["a", "b"]);
    assert_eq!(scene.lease().await.unwrap().target().model, "a", "the gateway goes on");
    let refused = scene.switch("b").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Busy);
    assert_eq!(bencher.bench(request("a")).await.unwrap_err().code, ErrorCode::Busy, "one at a time");
    let run = running.await.unwrap().unwrap().run;
    assert_eq!((run.model.as_str(), run.trials), ("b", 5));
    assert_eq!(scene.held(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_is_refused_beside_a_switch_and_without_room() {
    let (scene, _, bencher) = scene().await;
    let switching = scene.click(wanted("b"));
    scene.rest(1).await;
    assert_eq!(bencher.bench(request("a")).await.unwrap_err().code, ErrorCode::Busy);
    switching.await.unwrap().unwrap();
    assert_eq!(bencher.bench(request("huge")).await.unwrap_err().code, ErrorCode::DoesNotFit);
    assert_eq!(scene.held(), ["b"]);
    assert_eq!(bencher.bench(request("nonsense")).await.unwrap_err().code, ErrorCode::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_hangs_ends_by_its_limit_and_memory_is_as_before() {
    let (scene, one, bencher) = scene().await;
    one.faults(|faults| faults.generate = Fault::Hang);
    let failed = bencher.bench(request("b")).await.unwrap_err();
    assert_eq!(failed.code, ErrorCode::TimedOut);
    assert!(failed.hint.is_some_and(|hint| hint.contains("pilothouse logs one")));
    assert_eq!(scene.held(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_or_failed_run_gives_back_what_it_borrowed() {
    let (scene, one, bencher) = scene().await;
    let running = tokio::spawn({
        let bencher = bencher.clone();
        async move { bencher.bench(request("b")).await }
    });
    scene.rest(1).await;
    bencher.cancel().await.unwrap();
    assert_eq!(running.await.unwrap().unwrap_err().code, ErrorCode::Cancelled, "while it was being loaded");
    scene.rest(5).await;
    assert_eq!(scene.held(), ["a"]);
    one.faults(|faults| faults.generate = Fault::Fail(ApiError::new(ErrorCode::ServerError, "no")));
    assert_eq!(bencher.bench(request("b")).await.unwrap_err().code, ErrorCode::ServerError);
    one.faults(|faults| *faults = Default::default());
    assert_eq!(scene.switch("b").await.unwrap().answers_cut, 0, "nothing is lent any more");
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_another_shape_is_measured_as_far_as_it_goes_and_nobody_else_is_blamed() {
    let (scene, one, bencher) = scene().await;
    for (shape, counts, has_rate, note) in [
        (Shape::Stream, true, true, None),
        (Shape::Batches(4), true, true, None),
        (Shape::Batches(40), true, true, None),
        (Shape::Uncounted, true, false, Some("does not tell how many tokens")),
        (Shape::Whole, false, false, Some("No trial counts: the whole answer came at once")),
    ] {
        one.faults(|faults| faults.shape = shape);
        let detail = bencher.bench(request("a")).await.unwrap();
        let run = detail.run;
        assert_eq!(run.trials, if counts { 5 } else { 0 }, "{shape:?}");
        assert_eq!((run.ttft_ms.is_some(), run.decode_tok_s.is_some()), (counts, has_rate), "{shape:?}");
        let said = run.note.unwrap_or_default();
        assert!(note.is_none_or(|note| said.contains(note)), "{shape:?}: {said}");
        assert!(note.is_none() || run.warmups < 12, "{shape:?}: it is warm without rates");
        let flaws = detail.trials.iter().filter(|trial| trial.flaw.is_some()).count();
        assert_eq!(flaws > 0, !counts, "{shape:?}");
    }
    assert_eq!(scene.held(), ["a"]);
}
