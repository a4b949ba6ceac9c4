use super::Wanted;
use crate::fakes::{Act, FakeJournal, FakeServer, Fault, Memory, Scene, active, wanted};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{Expiry, Model},
    server::ServerId,
    switch::SwitchOutcome,
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const LOAD: Duration = Duration::from_secs(4);

fn server(id: &str, memory: &Memory) -> FakeServer {
    FakeServer::new(id).in_memory(memory).with_pace(LOAD, Duration::from_millis(10))
}

/// Two models on one server, `a` active, room for both.
async fn roomy() -> (Scene, FakeServer) {
    let one = server("one", &Memory::of(100)).with_model("a", 10).with_model("b", 10).with_model("c", 10);
    let scene = Scene::start(std::slice::from_ref(&one), &FakeJournal::default()).await;
    scene.switch("a").await.unwrap();
    (scene, one)
}

/// The same without room for two: the server refuses the second load, so that the first model must leave for it.
async fn tight() -> (Scene, FakeServer) {
    let one = server("one", &Memory::of(15)).with_model("a", 10).with_model("b", 10);
    let scene = Scene::start(std::slice::from_ref(&one), &FakeJournal::default()).await;
    scene.switch("a").await.unwrap();
    (scene, one)
}

fn failing() -> Fault {
    Fault::Fail(ApiError::new(ErrorCode::LoadFailed, "It is damaged."))
}

#[tokio::test(start_paused = true)]
async fn a_switch_loads_proves_commits_and_unloads() {
    let (scene, one) = roomy().await;
    let report = scene.switch("b").await.unwrap();
    assert_eq!(report.outcome, SwitchOutcome::Committed);
    let steps: Vec<&str> = report.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(steps, ["ensure_server", "load", "prove", "commit", "unload_previous"]);
    assert_eq!((scene.route(), scene.held()), ("b".into(), vec!["b".to_owned()]));
    let acts = one.acts();
    let at = |act: Act| acts.iter().position(|one| *one == act).unwrap();
    assert!(at(Act::Loaded("b".into())) < at(Act::Spoke("b".into())));
    assert!(at(Act::Spoke("b".into())) < at(Act::Unloaded("a".into())));
    assert_eq!(scene.journal.kept(), Some(active("one", "b")));
}

// 1: resolved before it disturbs anything.

#[tokio::test(start_paused = true)]
async fn typos_dry_runs_and_second_clicks_disturb_nothing() {
    let (scene, one) = roomy().await;
    let (loads, unloads) = (one.loads(), one.unloads());
    let switching = scene.click(wanted("b"));
    scene.rest(1).await;
    assert_eq!(scene.switch("nonsense").await.unwrap_err().code, ErrorCode::NotFound);
    let dry = Wanted { dry_run: true, ..wanted("c") };
    let dry = scene.residency.switch(dry).await.unwrap();
    assert!(dry.dry_run && dry.steps.iter().any(|step| step.name == "load"), "{dry:?}");
    let joined = scene.click(wanted("b"));
    let (first, second) = (switching.await.unwrap().unwrap(), joined.await.unwrap().unwrap());
    assert_eq!(
        (first.outcome, &first),
        (SwitchOutcome::Committed, &second),
        "equal requests share one outcome"
    );
    assert_eq!((one.loads() - loads, one.unloads() - unloads), (1, 1));
    let again = scene.switch("b").await.unwrap();
    assert_eq!(again.outcome, SwitchOutcome::Committed);
    assert_eq!(again.reason.as_deref(), Some("b is already active."));
    assert_eq!((one.loads() - loads, one.unloads() - unloads), (1, 1), "nothing was done for it");
    assert_eq!(scene.journal.rows().len(), 2, "a and b");
}

#[tokio::test(start_paused = true)]
async fn an_unequal_request_takes_over_and_of_many_the_last_counts() {
    let (scene, _) = roomy().await;
    let b = scene.click(wanted("b"));
    scene.rest(1).await;
    let back = scene.click(wanted("a"));
    scene.rest(0).await;
    let c = scene.click(wanted("c"));
    assert_eq!(b.await.unwrap().unwrap().outcome, SwitchOutcome::Cancelled);
    assert_eq!(back.await.unwrap().unwrap_err().code, ErrorCode::Cancelled);
    assert_eq!(c.await.unwrap().unwrap().outcome, SwitchOutcome::Committed);
    assert_eq!((scene.route(), scene.held()), ("c".into(), vec!["c".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_click_on_the_active_model_takes_a_switch_back() {
    let (scene, one) = roomy().await;
    let b = scene.click(wanted("b"));
    scene.rest(1).await;
    let back = scene.switch("a").await.unwrap();
    assert_eq!(back.reason.as_deref(), Some("a is already active."));
    assert_eq!(b.await.unwrap().unwrap().outcome, SwitchOutcome::Cancelled);
    assert_eq!((scene.route(), scene.held()), ("a".into(), vec!["a".to_owned()]));
    assert_eq!(one.loads(), 2, "a once, b once");
}

// 2: what was active is never forgotten by accident.

#[tokio::test(start_paused = true)]
async fn what_is_being_restored_outlives_failed_and_dry_requests_and_a_quit() {
    let one = server("one", &Memory::of(100)).with_model("a", 10).with_model("b", 10);
    one.faults(|faults| faults.load = Fault::Slow(Duration::from_secs(60)));
    let journal = FakeJournal::default().with_active(active("one", "a"));
    let scene = Scene::start(std::slice::from_ref(&one), &journal).await;
    assert_eq!(scene.route(), "held", "it is on its way");
    assert!(scene.switch("nonsense").await.is_err());
    scene.residency.switch(Wanted { dry_run: true, ..wanted("b") }).await.unwrap();
    assert_eq!((scene.active().as_deref(), scene.route().as_str()), (Some("a"), "held"));
    scene.residency.shutdown().await;
    assert_eq!(journal.kept(), Some(active("one", "a")));
    one.faults(|faults| faults.load = Fault::None);
    let scene = Scene::start(&[one], &journal).await;
    assert_eq!((scene.route(), scene.held()), ("a".into(), vec!["a".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_restoration_that_is_in_vain_leaves_the_choice_and_says_why() {
    let one = server("one", &Memory::of(100)).with_model("a", 10).with_model("b", 10);
    one.faults(|faults| faults.load = failing());
    let journal = FakeJournal::default().with_active(active("one", "a"));
    let scene = Scene::start(std::slice::from_ref(&one), &journal).await;
    assert_eq!(scene.active().as_deref(), Some("a"));
    assert!(scene.route().contains("It is damaged."), "{}", scene.route());
    assert!(scene.now().active_absent.as_ref().unwrap().contains("It is damaged."));
    assert_eq!(journal.kept(), Some(active("one", "a")));
    // A failed switch to another model changes nothing of that.
    assert_eq!(scene.switch("b").await.unwrap().outcome, SwitchOutcome::RolledBack);
    assert_eq!((scene.active().as_deref(), journal.kept()), (Some("a"), Some(active("one", "a"))));
    // Its owner loads it: requests go there again.
    one.load_by_owner("a", Expiry::Never);
    scene.rest(10).await;
    assert_eq!((scene.route(), scene.now().active_absent.clone()), ("a".into(), None));
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_fails_while_the_server_of_the_active_model_is_away_keeps_the_choice() {
    let memory = Memory::of(100);
    let one = server("one", &memory).with_model("a", 10);
    let two = server("two", &memory).with_model("b", 10);
    let scene = Scene::start(&[one.clone(), two.clone()], &FakeJournal::default()).await;
    scene.switch("a").await.unwrap();
    one.die();
    scene.rest(10).await;
    two.faults(|faults| faults.load = failing());
    assert_eq!(scene.switch("b").await.unwrap().outcome, SwitchOutcome::RolledBack);
    assert_eq!((scene.active().as_deref(), scene.route().as_str()), (Some("a"), "one down"));
    assert_eq!(scene.journal.kept(), Some(active("one", "a")));
    one.come_back();
    scene.rest(30).await;
    assert_eq!(scene.active().as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn silence_of_a_working_server_throws_nothing_away() {
    let (scene, one) = roomy().await;
    one.faults(|faults| {
        faults.health = Fault::Hang;
        faults.list = Fault::Hang;
        faults.unload = Fault::Hang;
        faults.load = Fault::Hang;
    });
    let switching = scene.click(wanted("b"));
    scene.rest(900).await;
    one.faults(|faults| *faults = Default::default());
    let report = switching.await.unwrap().unwrap();
    assert_ne!(report.outcome, SwitchOutcome::Committed);
    scene.rest(10).await;
    assert_eq!((scene.active().as_deref(), scene.route().as_str()), (Some("a"), "a"));
    assert_eq!(scene.held(), ["a"]);
}

// 3: the commit is durable.

#[tokio::test(start_paused = true)]
async fn a_quit_while_the_previous_model_drains_leaves_the_new_one_active() {
    let (scene, one) = roomy().await;
    let streaming = scene.lease().await.unwrap();
    let switching = scene.click(wanted("b"));
    scene.rest(10).await;
    assert_eq!(
        scene.now().switching.as_ref().unwrap().phase,
        pilothouse_domain::switch::SwitchPhase::Draining
    );
    assert_eq!((scene.route(), scene.journal.kept()), ("b".into(), Some(active("one", "b"))));
    let journal = scene.journal.clone();
    scene.residency.shutdown().await;
    drop((streaming, switching));
    let scene = Scene::start(&[one], &journal).await;
    assert_eq!((scene.route(), scene.held()), ("b".into(), vec!["b".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_death_before_the_commit_brings_back_the_old_set_and_one_after_it_keeps_the_new_one() {
    for (seconds, expected) in [(2, "a"), (10, "b")] {
        let one = server("one", &Memory::of(100)).with_model("a", 10).with_model("b", 10);
        let journal = FakeJournal::default().with_active(active("one", "a"));
        one.load_by_owner("a", Expiry::Never);
        // The engine lives in a runtime of its own, and dies with it.
        let dying = {
            let (one, journal) = (one.clone(), journal.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .start_paused(true)
                    .build()
                    .unwrap();
                runtime.block_on(async move {
                    let scene = Scene::start(&[one], &journal).await;
                    let lease = scene.lease().await.unwrap();
                    drop(scene.click(wanted("b")));
                    scene.rest(seconds).await;
                    drop(lease);
                });
                runtime.shutdown_background();
            })
        };
        dying.join().unwrap();
        assert_eq!(journal.rows().last().unwrap().outcome.is_some(), expected == "b", "after {seconds} s");
        let scene = Scene::start(&[one], &journal).await;
        assert_eq!(
            (scene.route(), scene.held()),
            (expected.into(), vec![expected.to_owned()]),
            "after {seconds} s"
        );
        assert!(scene.now().notices.iter().any(|notice| notice.body.contains("stays active")));
    }
}

// 4: everything is bounded.

#[tokio::test(start_paused = true)]
async fn a_load_that_hangs_ends_by_its_limit() {
    let (scene, one) = roomy().await;
    one.faults(|faults| faults.load = Fault::Hang);
    let report = scene.switch("b").await.unwrap();
    assert_eq!(report.error.unwrap().code, ErrorCode::TimedOut);
    assert_eq!(scene.route(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_hangs_refuses_with_the_reason_and_holds_nobody_for_ever() {
    let (scene, one) = tight().await;
    one.faults(|faults| {
        let full = Fault::Fail(ApiError::new(ErrorCode::DoesNotFit, "There is no memory."));
        faults.next_loads.extend([full.clone(), full]);
        faults.load = Fault::Hang;
    });
    let report = scene.switch("b").await.unwrap();
    assert_eq!(report.outcome, SwitchOutcome::RolledBack);
    assert!(scene.route().starts_with("refusing: a could not be put back either"), "{}", scene.route());
    assert_eq!(scene.active().as_deref(), Some("a"), "it stays the choice");
    one.faults(|faults| *faults = Default::default());
    let again = scene.switch("a").await.unwrap();
    assert_eq!(
        (again.outcome, scene.route()),
        (SwitchOutcome::Committed, "a".into()),
        "a click brings it back"
    );
}

#[tokio::test(start_paused = true)]
async fn our_own_end_cuts_the_way_back_short() {
    let (scene, one) = tight().await;
    one.faults(|faults| {
        let full = Fault::Fail(ApiError::new(ErrorCode::DoesNotFit, "There is no memory."));
        faults.next_loads.extend([full.clone(), full]);
        faults.load = Fault::Hang;
    });
    let _switching = scene.click(wanted("b"));
    scene.rest(30).await;
    let begun = tokio::time::Instant::now();
    scene.residency.shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(3), "by the paused clock");
    assert_eq!(scene.journal.kept(), Some(active("one", "a")));
    one.faults(|faults| *faults = Default::default());
    let scene = Scene::start(&[one], &scene.journal).await;
    assert_eq!((scene.route(), scene.held()), ("a".into(), vec!["a".to_owned()]));
}

// 5: a drain ends.

#[tokio::test(start_paused = true)]
async fn a_drain_cuts_after_its_limit_counts_and_tells() {
    let (scene, _) = roomy().await;
    scene.set(|settings| settings.drain_s = 7);
    let leases = [scene.lease().await.unwrap(), scene.lease().await.unwrap()];
    let holding = tokio::spawn(async move {
        for lease in &leases {
            lease.cut().cancelled().await;
        }
    });
    let report = scene.switch("b").await.unwrap();
    assert!(holding.is_finished() || holding.await.is_ok());
    assert_eq!((report.outcome, report.answers_cut), (SwitchOutcome::Committed, 2));
    assert_eq!(report.reason.as_deref(), Some("2 answers were cut after 7 s."));
    assert_eq!(scene.held(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn now_cuts_at_once_also_when_it_comes_later() {
    for late in [false, true] {
        let (scene, _) = roomy().await;
        let lease = scene.lease().await.unwrap();
        let holding = tokio::spawn(async move { lease.cut().cancelled().await });
        let begun = tokio::time::Instant::now();
        let first = late.then(|| scene.click(wanted("b")));
        scene.rest(if late { 8 } else { 0 }).await;
        let report = scene.residency.switch(Wanted { now: true, ..wanted("b") }).await.unwrap();
        drop(first);
        holding.await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(20), "late {late}: {:?}", begun.elapsed());
        assert_eq!((report.outcome, report.answers_cut), (SwitchOutcome::Committed, 1), "{report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_before_the_commit_cuts_nobody() {
    let (scene, _) = tight().await;
    let lease = scene.lease().await.unwrap();
    let switching = scene.click(wanted("b"));
    scene.rest(10).await;
    assert_eq!(scene.route(), "held");
    scene.residency.cancel().await.unwrap();
    assert_eq!(switching.await.unwrap().unwrap().outcome, SwitchOutcome::Cancelled);
    assert!(!lease.cut().is_cancelled());
    assert_eq!(scene.route(), "a");
    assert!(scene.lease().await.is_ok(), "it gives leases again");
}

// 6: with room for both, requests go to the old model until the commit.

#[tokio::test(start_paused = true)]
async fn requests_are_answered_all_through_a_switch_with_room_and_wait_in_one_without() {
    let (scene, _) = roomy().await;
    let switching = scene.click(wanted("b"));
    scene.rest(2).await;
    assert_eq!(scene.lease().await.unwrap().target().model, "a");
    switching.await.unwrap().unwrap();
    assert_eq!(scene.lease().await.unwrap().target().model, "b");

    let (scene, _) = tight().await;
    let switching = scene.click(wanted("b"));
    // By then the load was refused, and the first model has left for the second try.
    scene.rest(5).await;
    assert_eq!(scene.route(), "held");
    assert_eq!(scene.lease().await.unwrap().target().model, "b", "it waited");
    assert_eq!(switching.await.unwrap().unwrap().outcome, SwitchOutcome::Committed);
}

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
        scene.residency.borrow(model("one", name), "A benchmark of it".into(), cancel)
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
    let failed = scene.residency.borrow(model("one", "b"), "A benchmark".into(), never.clone()).await;
    assert_eq!(failed.err().unwrap().code, ErrorCode::LoadFailed);
    assert_eq!(
        scene.switch("a").await.unwrap().outcome,
        SwitchOutcome::Committed,
        "nothing is lent any more"
    );
    let cancel = CancellationToken::new();
    let (handle, stop) = (scene.residency.clone(), cancel.clone());
    let lending =
        tokio::spawn(async move { handle.borrow(model("one", "b"), "A benchmark".into(), stop).await });
    scene.rest(1).await;
    cancel.cancel();
    assert_eq!(lending.await.unwrap().err().unwrap().code, ErrorCode::Cancelled);

    let _borrowed = scene.residency.borrow(model("one", "b"), "A benchmark".into(), never).await.unwrap();
    // Our own death: what was borrowed is known to the next start.
    let journal = scene.journal.clone();
    let next = Scene::start(&[one], &journal).await;
    assert_eq!(next.held(), ["a"]);
}

// 9: whoever tries the model waits for it.

#[tokio::test(start_paused = true)]
async fn who_asks_for_the_active_model_waits_for_a_switch_and_brings_it_back() {
    let (scene, one) = roomy().await;
    let switching = scene.click(wanted("b"));
    scene.rest(1).await;
    scene.residency.available().await.unwrap();
    assert_eq!(scene.route(), "b");
    switching.await.unwrap().unwrap();
    // Its owner takes it out of memory: an adopted server's own matter, until somebody asks.
    one.drop_model("b");
    scene.rest(10).await;
    assert!(scene.held().is_empty());
    scene.residency.available().await.unwrap();
    assert_eq!((scene.held(), scene.route()), (vec!["b".to_owned()], "b".into()));
    one.drop_model("b");
    scene.rest(10).await;
    one.faults(|faults| faults.load = failing());
    assert_eq!(scene.residency.available().await.unwrap_err().code, ErrorCode::LoadFailed);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_was_there_before_a_failed_switch_stays_there() {
    let (scene, one) = roomy().await;
    one.load_by_owner("b", Expiry::Never);
    scene.rest(5).await;
    one.faults(|faults| faults.generate = Fault::Fail(ApiError::new(ErrorCode::ServerError, "no token")));
    assert_eq!(scene.switch("b").await.unwrap().outcome, SwitchOutcome::RolledBack);
    assert_eq!(scene.held(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_taken_out_leaves_when_its_server_answers_again() {
    let (scene, one) = roomy().await;
    one.faults(|faults| faults.unload = Fault::Fail(ApiError::new(ErrorCode::TimedOut, "It holds it.")));
    let report = scene.switch("b").await.unwrap();
    assert_eq!(report.outcome, SwitchOutcome::Committed);
    assert!(report.reason.unwrap().contains("a is still in memory"));
    one.faults(|faults| faults.unload = Fault::None);
    scene.rest(60).await;
    assert_eq!((scene.route(), scene.held()), ("b".into(), vec!["b".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_restoration_that_failed_for_a_moment_is_tried_again_and_one_that_keeps_failing_is_not_for_ever() {
    let one = server("one", &Memory::of(100)).with_model("a", 10);
    one.faults(|faults| faults.next_loads.push_back(failing()));
    let journal = FakeJournal::default().with_active(active("one", "a"));
    let scene = Scene::start(std::slice::from_ref(&one), &journal).await;
    scene.rest(20).await;
    assert_eq!((scene.route(), one.loads()), ("a".into(), 2));
    one.drop_model("a");
    one.faults(|faults| faults.load = failing());
    scene.rest(10).await;
    assert!(scene.residency.available().await.is_err());
    scene.rest(3600).await;
    assert_eq!(one.loads(), 2 + 4, "once asked for, and three tries more");
    assert!(scene.route().starts_with("refusing"));
}

/// A load goes on after the death of whoever asked for it, and is listed nowhere meanwhile.
#[tokio::test(start_paused = true)]
async fn what_is_still_being_loaded_for_a_dead_engine_is_taken_out_too() {
    let one = server("one", &Memory::of(100)).with_model("a", 10).with_model("b", 10);
    one.load_by_owner("a", Expiry::Never);
    let journal = FakeJournal::default().with_active(active("one", "a"));
    let b = active("one", "b").reference();
    crate::ports::Journal::set_stray(&journal, &b, true).await.unwrap();
    let scene = Scene::start(std::slice::from_ref(&one), &journal).await;
    scene.rest(20).await;
    assert_eq!(one.unloads(), 1, "it was asked to leave although nobody lists it");
    assert!(crate::ports::Journal::strays(&journal).await.unwrap().is_empty());
}
