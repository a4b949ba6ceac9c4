//! A model lent for a measurement.

use super::*;

// 7: a benchmark borrows.

fn model(server: &str, name: &str) -> Model {
    let server = ServerId::new(server);
    Model {
        server,
        name: name.into(),
        title: name.into(),
        purpose: pilothouse_domain::model::ModelPurpose::Llm,
        format: None,
        quantization: None,
        parameters: None,
        size_bytes: Some(10),
        context_max: None,
        damaged: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_loan_excludes_switches_and_leaves_memory_as_it_was() {
    let (scene, one) = roomy().await;
    let go_on = CancellationToken::new();
    let lend = |name: &str| {
        let cancel = go_on.clone();
        scene.residency.borrow(vec![model("one", name)], "A benchmark of it".into(), cancel)
    };
    let borrowed = lend("b").await.unwrap();
    assert_eq!(scene.held(), ["a", "b"]);
    assert!(scene.leases.busy(&ServerId::new("one")), "no token of health beside it");
    let refused = scene.switch("c").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Busy);
    assert!(refused.message.contains("A benchmark of it"), "{refused}");
    assert_eq!(lend("c").await.err().unwrap().code, ErrorCode::Busy);
    assert_eq!(scene.switch("a").await.unwrap().reason.as_deref(), Some("a is already active."));
    borrowed.give_back().await;
    assert_eq!(scene.held(), ["a"], "as before");
    assert!(!scene.leases.busy(&ServerId::new("one")));
    // One that was in memory stays there, and whoever drops a loan gives it back too.
    drop(lend("a").await.unwrap());
    scene.rest(1).await;
    assert_eq!(scene.held(), ["a"]);
    let switching = scene.click(wanted("b"));
    scene.rest(1).await;
    assert_eq!(lend("c").await.err().unwrap().code, ErrorCode::Busy, "beside a switch");
    switching.await.unwrap().unwrap();
    assert_eq!(one.unloads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_loan_that_fails_or_dies_with_us_leaves_nothing() {
    let (scene, one) = roomy().await;
    one.faults(|faults| faults.next_loads.push_back(failing()));
    let never = CancellationToken::new();
    let failed = scene.residency.borrow(vec![model("one", "b")], "A benchmark".into(), never.clone()).await;
    assert_eq!(failed.err().unwrap().code, ErrorCode::LoadFailed);
    assert_eq!(
        scene.switch("a").await.unwrap().outcome,
        SwitchOutcome::Committed,
        "nothing is lent any more"
    );
    let cancel = CancellationToken::new();
    let (handle, stop) = (scene.residency.clone(), cancel.clone());
    let lending =
        tokio::spawn(async move { handle.borrow(vec![model("one", "b")], "A benchmark".into(), stop).await });
    scene.rest(1).await;
    cancel.cancel();
    assert_eq!(lending.await.unwrap().err().unwrap().code, ErrorCode::Cancelled);

    let _borrowed =
        scene.residency.borrow(vec![model("one", "b")], "A benchmark".into(), never).await.unwrap();
    // Our own death: what was borrowed is known to the next start.
    let journal = scene.journal.clone();
    let next = Scene::start(&[one], &journal).await;
    assert_eq!(next.held(), ["a"]);
}
