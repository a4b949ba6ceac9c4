//! From a click to its outcome.

use super::*;

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
    assert_eq!(scene.journal.kept_active(), Some(active("one", "b")));
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
