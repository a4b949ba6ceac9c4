//! A server that goes on with a load when its asker has left (LM Studio), under paused time.

use crate::fakes::{FakeJournal, FakeServer, Memory, Scene, wanted};
use pilothouse_domain::{
    error::ErrorCode,
    model::{Expiry, Model, ModelPurpose},
    switch::SwitchOutcome,
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const LOAD: Duration = Duration::from_secs(20);

/// Room for all three models, `a` active.
async fn scene() -> (Scene, FakeServer) {
    let one = FakeServer::new("one")
        .in_memory(&Memory::of(100))
        .with_pace(LOAD, Duration::from_millis(10))
        .with_model("a", 10)
        .with_model("b", 10)
        .with_model("c", 10)
        .with_loads_that_go_on();
    let scene = Scene::start(std::slice::from_ref(&one), &FakeJournal::default()).await;
    scene.switch("a").await.unwrap();
    (scene, one)
}

fn model(name: &str) -> Model {
    Model {
        server: "one".into(),
        name: name.into(),
        title: name.into(),
        purpose: ModelPurpose::Llm,
        format: None,
        quantization: None,
        parameters: None,
        size_bytes: Some(10),
        context_max: None,
        damaged: None,
    }
}

async fn strays(scene: &Scene) -> Vec<String> {
    let strays = crate::ports::Journal::strays(&scene.journal).await.unwrap();
    strays.into_iter().map(|stray| stray.model).collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_cancelled_switch_was_loading_leaves_when_it_has_arrived() {
    let (scene, one) = scene().await;
    let switching = scene.click(wanted("b"));
    scene.rest(5).await;
    scene.residency.cancel().await.unwrap();
    assert_eq!(switching.await.unwrap().unwrap().outcome, SwitchOutcome::Cancelled);
    assert_eq!((scene.route(), scene.held()), ("a".into(), vec!["a".to_owned()]));
    assert_eq!(strays(&scene).await, ["b"], "known to the next start, should we die before it has arrived");
    scene.rest(60).await;
    assert_eq!((one.loads(), scene.held()), (2, vec!["a".to_owned()]));
    assert_eq!(strays(&scene).await, Vec::<String>::new());
    // What its owner loads later is the owner's.
    one.load_by_owner("b", Expiry::Never);
    scene.rest(600).await;
    assert_eq!(scene.held(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_switch_was_loading_that_another_took_over_leaves_too() {
    let (scene, _) = scene().await;
    let b = scene.click(wanted("b"));
    scene.rest(5).await;
    let c = scene.switch("c").await.unwrap();
    assert_eq!(b.await.unwrap().unwrap().outcome, SwitchOutcome::Cancelled);
    assert_eq!(c.outcome, SwitchOutcome::Committed);
    scene.rest(60).await;
    assert_eq!((scene.route(), scene.held()), ("c".into(), vec!["c".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_switch_back_to_what_is_still_being_loaded_joins_that_load() {
    let (scene, one) = scene().await;
    let first = scene.click(wanted("b"));
    scene.rest(5).await;
    scene.residency.cancel().await.unwrap();
    first.await.unwrap().unwrap();
    let again = scene.click(wanted("b"));
    scene.rest(5).await;
    scene.residency.cancel().await.unwrap();
    assert_eq!(again.await.unwrap().unwrap().outcome, SwitchOutcome::Cancelled, "its joiner can leave too");
    let third = scene.switch("b").await.unwrap();
    assert_eq!((third.outcome, one.loads()), (SwitchOutcome::Committed, 2), "a once, b once");
    scene.rest(60).await;
    assert_eq!((scene.route(), scene.held()), ("b".into(), vec!["b".to_owned()]));
    assert_eq!(strays(&scene).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_load_that_arrives_after_its_limit_leaves() {
    let (scene, one) = scene().await;
    scene.set(|settings| (settings.load_floor_s, settings.load_ceiling_s) = (1, 10));
    let report = scene.switch("b").await.unwrap();
    assert_eq!(report.error.unwrap().code, ErrorCode::TimedOut);
    scene.rest(60).await;
    assert_eq!((one.loads(), scene.held()), (2, vec!["a".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn what_a_cancelled_benchmark_was_loading_leaves_too() {
    let (scene, _) = scene().await;
    let cancel = CancellationToken::new();
    let (residency, stop) = (scene.residency.clone(), cancel.clone());
    let lending =
        tokio::spawn(async move { residency.borrow(vec![model("b")], "A benchmark".into(), stop).await });
    scene.rest(5).await;
    cancel.cancel();
    assert_eq!(lending.await.unwrap().err().unwrap().code, ErrorCode::Cancelled);
    scene.rest(60).await;
    assert_eq!(scene.held(), ["a"]);
}
