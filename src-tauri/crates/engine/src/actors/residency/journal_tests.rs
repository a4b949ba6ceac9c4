//! Switches beside a journal that cannot be written, or not in time.

use crate::fakes::{FakeJournal, FakeServer, Fault, Memory, Scene, active, wanted};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    switch::{SwitchOutcome, SwitchReport},
};
use std::time::Duration;
use tokio::time::Instant;

const LOAD: Duration = Duration::from_secs(4);

/// Two models on one server, `a` active; `room`: for how many.
async fn scene(room: u64) -> Scene {
    let one = FakeServer::new("one").in_memory(&Memory::of(room * 10 + 5));
    let one = one.with_pace(LOAD, Duration::from_millis(10)).with_model("a", 10).with_model("b", 10);
    let scene = Scene::start(std::slice::from_ref(&one), &FakeJournal::default()).await;
    scene.switch("a").await.unwrap();
    scene
}

/// As another program that holds the file: a second's wait, then a refusal.
fn locked() -> Fault {
    Fault::Fail(ApiError::new(ErrorCode::StoreUnavailable, "Another program holds the file.").retryable())
}

fn is_said(scene: &Scene) -> bool {
    scene.now().troubles.iter().any(|trouble| trouble.code == ErrorCode::NotJournalled)
}

/// A switch to `b`, and how much longer it took than one with a journal that works.
async fn switched(scene: &Scene, usual: Duration) -> (SwitchReport, Duration) {
    let began = Instant::now();
    let report = scene.switch("b").await.unwrap();
    (report, began.elapsed().saturating_sub(usual))
}

async fn usual(room: u64) -> Duration {
    let scene = scene(room).await;
    let began = Instant::now();
    assert!(scene.switch("b").await.unwrap().journalled);
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn without_a_journal_a_switch_goes_on_and_says_so() {
    let cases = [
        ("locked", locked(), false),
        ("its disk hangs", Fault::Hang, false),
        ("its disk is full", Fault::disk_is_full(), false),
        ("slower than the bound", Fault::Slow(Duration::from_secs(3)), false),
        ("slow", Fault::Slow(Duration::from_millis(50)), true),
        ("fine", Fault::None, true),
    ];
    for room in [1, 2] {
        let usual = usual(room).await;
        for (name, fault, journalled) in cases.clone() {
            let scene = scene(room).await;
            scene.journal.set_writing(fault);
            let (report, longer) = switched(&scene, usual).await;
            assert_eq!(report.outcome, SwitchOutcome::Committed, "{name}: {report:?}");
            assert_eq!(report.journalled, journalled, "{name}: {report:?}");
            assert!(longer < Duration::from_secs(3), "{name}: {longer:?} longer");
            assert_eq!((scene.route(), is_said(&scene)), ("b".into(), !journalled), "{name}");
            let said = report.reason.as_deref().unwrap_or_default().contains("Not journalled");
            assert_eq!(said, !journalled, "{name}: {report:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_active_is_written_once_the_journal_can_be_written_and_the_trouble_is_over() {
    let scene = scene(2).await;
    scene.journal.set_writing(locked());
    scene.switch("b").await.unwrap();
    scene.rest(60).await;
    assert!(is_said(&scene));
    assert_eq!(scene.journal.kept_active(), Some(active("one", "a")), "nothing could be written");
    scene.journal.set_writing(Fault::None);
    scene.rest(5).await;
    assert_eq!(scene.journal.kept_active(), Some(active("one", "b")));
    assert!(!is_said(&scene));
    let open = scene.journal.rows().iter().filter(|row| row.outcome.is_none() || row.clearing).count();
    assert_eq!(open, 0, "nothing is left that a start would take for cut off: {:?}", scene.journal.rows());
    assert!(scene.switch("a").await.unwrap().journalled);
}

#[tokio::test(start_paused = true)]
async fn a_lock_in_the_middle_of_a_switch_is_made_up_for_with_its_outcome() {
    let scene = scene(2).await;
    let click = scene.click(wanted("b"));
    scene.rest(1).await;
    scene.journal.set_writing(locked());
    let report = click.await.unwrap().unwrap();
    assert_eq!((report.outcome, report.journalled), (SwitchOutcome::Committed, false), "{report:?}");
    scene.journal.set_writing(Fault::None);
    scene.rest(5).await;
    let row = scene.journal.rows().pop().unwrap();
    assert_eq!((row.outcome, row.clearing), (Some(SwitchOutcome::Committed), false), "{row:?}");
    assert_eq!(scene.journal.kept_active(), Some(active("one", "b")));
}

/// There is nothing to write, so it is tried by itself.
#[tokio::test(start_paused = true)]
async fn the_trouble_ends_without_another_switch() {
    let scene = scene(2).await;
    scene.journal.set_writing(locked());
    let missing = Fault::Fail(ApiError::new(ErrorCode::LoadFailed, "It is damaged."));
    scene.servers[0].faults(|faults| faults.load = missing);
    let report = scene.switch("b").await.unwrap();
    assert_eq!((report.outcome, report.journalled), (SwitchOutcome::RolledBack, false), "{report:?}");
    assert!(is_said(&scene));
    scene.journal.set_writing(Fault::None);
    scene.rest(5).await;
    assert!(!is_said(&scene));
}

#[tokio::test(start_paused = true)]
async fn requests_never_wait_for_the_journal() {
    let scene = scene(2).await;
    scene.journal.set_writing(Fault::Hang);
    let click = scene.click(wanted("b"));
    for _ in 0..80 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let began = Instant::now();
        drop(scene.lease().await.unwrap());
        assert_eq!(began.elapsed(), Duration::ZERO, "it waited");
    }
    assert_eq!(click.await.unwrap().unwrap().outcome, SwitchOutcome::Committed);
    let began = Instant::now();
    scene.residency.shutdown().await;
    assert!(began.elapsed() < Duration::from_secs(2), "our own end waits for it");
}

/// The start reads, and what it wants to write is written later.
#[tokio::test(start_paused = true)]
async fn a_start_with_a_journal_that_cannot_be_written_knows_what_was_active() {
    let one = FakeServer::new("one").in_memory(&Memory::of(100)).with_pace(LOAD, Duration::from_millis(10));
    let one = one.with_model("a", 10).with_model("b", 10);
    let journal = FakeJournal::default().with_active(active("one", "a"));
    journal.set_writing(Fault::Hang);
    let scene = Scene::start(std::slice::from_ref(&one), &journal).await;
    scene.rest(20).await;
    assert_eq!((scene.active().as_deref(), scene.route()), (Some("a"), "a".into()));
}
