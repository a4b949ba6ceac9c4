//! What is active stays so, whatever happens to its server and to us.

use super::*;

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
    assert_eq!(journal.kept_active(), Some(active("one", "a")));
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
    assert_eq!(journal.kept_active(), Some(active("one", "a")));
    // A failed switch to another model changes nothing of that.
    assert_eq!(scene.switch("b").await.unwrap().outcome, SwitchOutcome::RolledBack);
    assert_eq!((scene.active().as_deref(), journal.kept_active()), (Some("a"), Some(active("one", "a"))));
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
    assert_eq!(scene.journal.kept_active(), Some(active("one", "a")));
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
    assert_eq!((scene.route(), scene.journal.kept_active()), ("b".into(), Some(active("one", "b"))));
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
    assert_eq!(scene.journal.kept_active(), Some(active("one", "a")));
    one.faults(|faults| *faults = Default::default());
    let scene = Scene::start(&[one], &scene.journal).await;
    assert_eq!((scene.route(), scene.held()), ("a".into(), vec!["a".to_owned()]));
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
