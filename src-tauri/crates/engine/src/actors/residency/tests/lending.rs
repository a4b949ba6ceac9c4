//! A model lent for a measurement.

use super::*;
use crate::{fakes::Faults, ports::Journal};
use pilothouse_domain::model::ModelRef;

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

fn slow(seconds: u64) -> Fault {
    Fault::Slow(Duration::from_secs(seconds))
}

/// An engine that starts beside a server with these faults, which still holds "b" of the life before.
async fn clearing(memory: u64, faults: fn(&mut Faults)) -> (Scene, FakeServer) {
    let one = server("one", &Memory::of(memory)).with_model("b", 10).with_model("c", 10);
    one.load_by_owner("b", Expiry::Never);
    one.faults(faults);
    let journal = FakeJournal::default();
    let stray = ModelRef { server: ServerId::new("one"), model: "b".into() };
    journal.set_stray(&stray, true).await.unwrap();
    let scene = Scene::start(std::slice::from_ref(&one), &journal).await;
    assert_eq!(scene.held(), ["b"], "still on its way out");
    (scene, one)
}

#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_out_of_memory_has_left_before_anything_is_lent() {
    // How its server lets go of "b", how much memory there is, and what is borrowed meanwhile.
    type Row = (&'static str, fn(&mut Faults), u64, &'static [&'static str]);
    let table: [Row; 6] = [
        ("the very model", |faults| faults.unload = slow(20), 15, &["b"]),
        ("another in its place", |faults| faults.unload = slow(20), 15, &["c"]),
        ("another beside it", |faults| faults.unload = slow(20), 100, &["c"]),
        ("both", |faults| faults.unload = slow(20), 100, &["c", "b"]),
        ("a slow list", |faults| faults.list = slow(9), 15, &["b"]),
        ("it does not let go", |faults| faults.unload = Fault::Hang, 15, &["b"]),
    ];
    for (name, faults, memory, wanted) in table {
        let (scene, one) = clearing(memory, faults).await;
        let models = wanted.iter().map(|name| model("one", name)).collect();
        let borrowed = scene.residency.borrow(models, "A benchmark".into(), CancellationToken::new()).await;
        let borrowed = borrowed.unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut lent = wanted.to_vec();
        lent.sort_unstable();
        let unloads = one.unloads();
        scene.rest(100).await;
        assert_eq!(
            (scene.held(), one.unloads()),
            (lent.iter().map(|one| one.to_string()).collect(), unloads),
            "{name}"
        );
        one.faults(|faults| *faults = Faults::default());
        borrowed.give_back().await;
        scene.rest(60).await;
        assert!(scene.held().is_empty() && scene.journal.strays().await.unwrap().is_empty(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_loan_that_is_cancelled_while_something_leaves_is_over_and_a_switch_waits_for_it_too() {
    let (scene, _one) = clearing(15, |faults| faults.unload = slow(20)).await;
    let cancel = CancellationToken::new();
    let borrow = scene.residency.borrow(vec![model("one", "b")], "A benchmark".into(), cancel.clone());
    let cancelled = async {
        scene.rest(1).await;
        cancel.cancel();
    };
    let (refused, ()) = tokio::join!(borrow, cancelled);
    assert_eq!(refused.err().unwrap().code, ErrorCode::Cancelled);
    assert_eq!(scene.switch("b").await.unwrap().outcome, SwitchOutcome::Committed);
    scene.rest(60).await;
    assert_eq!((scene.held(), scene.route()), (vec!["b".to_owned()], "b".to_owned()));
}

/// Sides of a comparison get one context: that of what is in memory, else of the first that is loaded; where a server lets us, and
/// no more than the model has.
#[tokio::test(start_paused = true)]
async fn models_that_are_lent_together_get_one_context_as_far_as_it_goes() {
    // Whether the second server takes a context, its model's own end, whether its model is asked for first, and what it gets;
    // the fakes' default is 4096, and 2048 what is in memory.
    for (takes, most, first, held, wanted) in [
        (true, None, false, true, 2048),
        (true, None, true, true, 2048),
        (true, Some(1024), false, true, 1024),
        (true, Some(65_536), false, true, 2048),
        (false, None, false, true, 4096),
        (true, None, false, false, 4096),
    ] {
        let one = FakeServer::new("one").with_contexts().with_model("a", 10);
        let two = FakeServer::new("two").with_model("b", 10);
        let two = if takes { two.with_contexts() } else { two };
        let scene = Scene::start(&[one.clone(), two.clone()], &FakeJournal::default()).await;
        if held {
            one.hold_with_context("a", 2048);
            scene.rest(30).await;
        }
        let b = Model { context_max: most, ..model("two", "b") };
        let models = if first { vec![b, model("one", "a")] } else { vec![model("one", "a"), b] };
        let borrowed = scene.residency.borrow(models, "A benchmark".into(), CancellationToken::new()).await;
        let borrowed = borrowed.unwrap();
        let side = borrowed.sides.iter().find(|side| side.instance.model == "b").unwrap();
        assert_eq!(side.instance.context, Some(wanted), "{takes} {most:?} {first} {held}");
        borrowed.give_back().await;
    }
}
