//! A server that is taken out of the settings, under paused time.

use crate::fakes::{FakeJournal, FakeServer, Fault, Memory, Scene, active, wanted};
use pilothouse_domain::server::ServerId;
use std::{collections::BTreeSet, time::Duration};

const LOAD: Duration = Duration::from_secs(4);

/// `a` and `b` at home, and `far` active on a server of somebody else.
async fn scene() -> Scene {
    let memory = Memory::of(100);
    let home = FakeServer::new("home").in_memory(&memory).with_model("a", 10).with_model("b", 10);
    let home = home.with_pace(LOAD, Duration::from_millis(10));
    let studio = FakeServer::new("studio").remote().with_model("far", 10);
    studio.load_by_owner("far", pilothouse_domain::model::Expiry::Never);
    let scene = Scene::start(&[home, studio], &FakeJournal::default()).await;
    scene.switch("far").await.unwrap();
    assert_eq!((scene.route(), scene.journal.kept_active()), ("far".into(), Some(active("studio", "far"))));
    scene
}

fn only(ids: &[&str]) -> BTreeSet<ServerId> {
    ids.iter().map(|id| ServerId::new(*id)).collect()
}

fn said(scene: &Scene) -> bool {
    scene.now().notices.iter().any(|notice| notice.body.contains("studio is not in the settings any more"))
}

#[tokio::test(start_paused = true)]
async fn what_was_active_on_it_is_not_active_any_more_and_that_is_said() {
    let scene = scene().await;
    scene.residency.servers_are(only(&["home", "studio", "another"])).await;
    scene.rest(1).await;
    assert_eq!((scene.active().as_deref(), said(&scene)), (Some("far"), false));
    scene.residency.servers_are(only(&["home"])).await;
    scene.rest(1).await;
    assert_eq!((scene.active(), scene.route(), scene.journal.kept_active()), (None, "none".into(), None));
    assert!(said(&scene) && scene.now().active_absent.is_none());
    // The next switch begins without a previous model.
    assert_eq!(scene.switch("a").await.unwrap().from, None);
    scene.residency.servers_are(only(&["home"])).await;
    scene.rest(1).await;
    assert_eq!(scene.active().as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_switch_away_from_it_goes_on_and_one_that_is_taken_back_ends_without_a_model() {
    for (cancelled, wanted_active) in [(false, Some("b")), (true, None)] {
        let scene = scene().await;
        let switching = scene.click(wanted("b"));
        scene.rest(1).await;
        scene.residency.servers_are(only(&["home"])).await;
        if cancelled {
            scene.residency.cancel().await.unwrap();
        }
        switching.await.unwrap().unwrap();
        scene.rest(1).await;
        assert_eq!(scene.active().as_deref(), wanted_active);
        let kept = scene.journal.kept_active().map(|kept| kept.model);
        assert_eq!((kept.as_deref(), said(&scene)), (wanted_active, cancelled));
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_forgotten_too_when_it_was_removed_while_we_were_away_or_cannot_answer() {
    let home = FakeServer::new("home").with_model("a", 10);
    let journal = FakeJournal::default().with_active(active("studio", "far"));
    let scene = Scene::start(std::slice::from_ref(&home), &journal).await;
    assert_eq!(
        scene.active().as_deref(),
        Some("far"),
        "the settings may be damaged; nobody said that it is gone"
    );
    scene.residency.servers_are(only(&["home"])).await;
    scene.rest(1).await;
    assert_eq!((scene.active(), journal.kept_active()), (None, None));

    home.faults(|faults| faults.load = Fault::Hang);
    let journal = FakeJournal::default().with_active(active("home", "a"));
    let scene = Scene::start(&[home], &journal).await;
    scene.residency.servers_are(only(&["another"])).await;
    scene.residency.cancel().await.unwrap();
    scene.rest(1).await;
    assert_eq!((scene.active(), journal.kept_active()), (None, None), "in the middle of its way back");
}
