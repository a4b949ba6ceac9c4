//! The plans load and copies.

use super::{
    BenchRequest, BencherHandle,
    tests::{Scripted, request, scene_beside, started},
};
use crate::{
    fakes::{Act, FakeServer, Fault, Memory, Scene},
    ports::Journal,
};
use pilothouse_domain::{
    bench::{BenchPlan, load::LoadFrom, plan::copies_to},
    error::{ApiError, ErrorCode},
    model::Expiry,
};
use std::time::Duration;

fn planned(model: &str, plan: &str) -> BenchRequest {
    BenchRequest { plan: BenchPlan::named(plan, None).unwrap(), ..request(model) }
}

fn copies(model: &str, up_to: u32) -> BenchRequest {
    let mut asked = planned(model, "copies");
    asked.plan.concurrency = copies_to(up_to);
    asked
}

async fn scene(neighbours: &Scripted) -> (Scene, FakeServer, BencherHandle) {
    scene_beside(neighbours).await
}

fn loaded(server: &FakeServer, model: &str) -> usize {
    server.acts().iter().filter(|act| **act == Act::Loaded(model.into())).count()
}

#[tokio::test(start_paused = true)]
async fn loads_are_measured_and_memory_is_as_before() {
    // Whether it is the active model, and whether its file can be dropped from the page cache.
    for (model, cache, kinds) in [
        ("b", None, vec![LoadFrom::PageCache]),
        ("a", None, vec![LoadFrom::PageCache]),
        ("b", Some(true), vec![LoadFrom::PageCache, LoadFrom::Disk]),
        ("a", Some(true), vec![LoadFrom::PageCache, LoadFrom::Disk]),
        ("b", Some(false), vec![LoadFrom::PageCache]),
    ] {
        let what = format!("{model} {cache:?}");
        let neighbours = Scripted::default();
        neighbours.cache(cache);
        let (scene, one, bencher) = scene(&neighbours).await;
        one.with_files();
        let run = bencher.bench(planned(model, "load")).await.unwrap().remove(0).run;
        let loads = run.loads.unwrap();
        assert_eq!(loads.kinds.iter().map(|kind| kind.from).collect::<Vec<_>>(), kinds, "{what}");
        assert_eq!(loads.disk_absent.is_some(), cache != Some(true), "{what}: {:?}", loads.disk_absent);
        for kind in &loads.kinds {
            assert_eq!(kind.loads, 5, "{what}");
            assert!(kind.load_s.is_some() && kind.ttft_cold_ms.is_some(), "{what}: {kind:?}");
            assert!(kind.ttft_warm_ms.is_some() && kind.bytes_s.is_some(), "{what}: {kind:?}");
        }
        assert_eq!(run.trials, loads.trials.len() as u32, "{what}: the warm ones count");
        assert!(loaded(&one, model) > 5, "{what}");
        assert_eq!((scene.held(), scene.route()), (vec!["a".to_owned()], "a".to_owned()), "{what}");
        assert!(scene.journal.strays().await.unwrap().is_empty(), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_that_fails_or_a_cancel_puts_the_active_model_back() {
    for (what, fails) in [("a load fails", true), ("cancelled", false)] {
        let (scene, one, bencher) = scene(&Scripted::default()).await;
        let running = tokio::spawn({
            let bencher = bencher.clone();
            async move { bencher.bench(planned("a", "load")).await }
        });
        while one.unloads() < 2 {
            scene.rest(1).await;
        }
        assert_eq!(scene.route(), "held", "{what}: requests wait");
        let code = match fails {
            true => {
                let fault = Fault::Fail(ApiError::new(ErrorCode::LoadFailed, "It is damaged."));
                one.faults(|faults| faults.next_loads.push_back(fault));
                ErrorCode::LoadFailed
            }
            false => {
                bencher.cancel().await.unwrap();
                ErrorCode::Cancelled
            }
        };
        assert_eq!(running.await.unwrap().unwrap_err().code, code, "{what}");
        assert_eq!((scene.held(), scene.route()), (vec!["a".to_owned()], "a".to_owned()), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_somebody_else_has_loaded_is_left_alone() {
    let one = FakeServer::new("one").with_model("a", 10).with_model("b", 10);
    one.load_by_owner("b", Expiry::Never);
    let (scene, bencher) = started(&one, &Scripted::default()).await;
    let refused = bencher.bench(planned("b", "load")).await.unwrap_err();
    assert_eq!((refused.code, one.unloads()), (ErrorCode::NotOurs, 0));
    assert_eq!(scene.held(), ["b"]);
    // Nobody has loaded this one.
    assert!(bencher.bench(planned("a", "load")).await.is_ok());
    assert_eq!(scene.held(), ["b"]);
}

/// Room for this many copies of `b`, which take 10 each, on a server that can hold them.
async fn roomy(copies: u64) -> (Scene, FakeServer, BencherHandle) {
    let one = FakeServer::new("one")
        .in_memory(&Memory::of(10 * copies))
        .with_copies()
        .with_pace(Duration::from_secs(2), Duration::from_millis(10))
        .with_model("b", 10);
    let (scene, bencher) = started(&one, &Scripted::default()).await;
    (scene, one, bencher)
}

#[tokio::test(start_paused = true)]
async fn copies_climb_until_one_does_not_fit_and_all_of_them_leave() {
    // Room, how many are wanted, the levels that are measured.
    for (room, up_to, levels, stopped) in [
        (8, 4, vec![1, 2, 4], None),
        (8, 1, vec![1], None),
        (3, 4, vec![1, 2], Some("4 copies do not fit")),
        (2, 3, vec![1, 2], Some("3 copies do not fit")),
        (1, 8, vec![1], Some("2 copies do not fit")),
    ] {
        let what = format!("{room} {up_to}");
        let (scene, one, bencher) = roomy(room).await;
        let run = bencher.bench(copies("b", up_to)).await.unwrap().remove(0).run;
        let found = run.copies.unwrap();
        assert_eq!(found.points.iter().map(|point| point.copies).collect::<Vec<_>>(), levels, "{what}");
        for point in &found.points {
            assert_eq!((point.requests, point.failed), (5 * point.copies, 0), "{what}");
        }
        match (found.stopped, stopped) {
            (None, None) => {}
            (Some(said), Some(wanted)) => assert!(said.starts_with(wanted), "{what}: {said}"),
            (said, wanted) => panic!("{what}: {said:?}, not {wanted:?}"),
        }
        let most = *levels.last().unwrap() as usize;
        assert!(loaded(&one, "b") + loaded(&one, "b:2") >= most.min(2), "{what}");
        assert!(scene.held().is_empty(), "{what}: {:?}", scene.held());
        assert!(scene.journal.strays().await.unwrap().is_empty(), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn copies_leave_also_after_a_cancel_a_failure_and_our_own_death_and_the_first_stays_with_its_owner() {
    let (scene, one, bencher) = roomy(8).await;
    one.load_by_owner("b", Expiry::Never);
    let begin = || {
        let bencher = bencher.clone();
        tokio::spawn(async move { bencher.bench(copies("b", 4)).await })
    };
    let until = async |copies: usize| {
        while scene.held().len() < copies {
            scene.rest(1).await;
        }
    };
    let running = begin();
    until(3).await;
    bencher.cancel().await.unwrap();
    assert_eq!(running.await.unwrap().unwrap_err().code, ErrorCode::Cancelled);
    // One was on its way: its server finishes that, and then it leaves too.
    scene.rest(60).await;
    assert_eq!(scene.held(), ["b"]);

    let running = begin();
    until(2).await;
    one.faults(|faults| {
        faults.next_loads.push_back(Fault::Fail(ApiError::new(ErrorCode::LoadFailed, "No.")))
    });
    assert_eq!(running.await.unwrap().unwrap_err().code, ErrorCode::LoadFailed);
    assert_eq!(scene.held(), ["b"]);

    // Our own death: the journal knows the copies by their own names.
    let _running = begin();
    until(2).await;
    let journal = scene.journal.clone();
    let next = Scene::start(&[one], &journal).await;
    next.rest(60).await;
    assert_eq!(next.held(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_of_one_copy_says_what_to_measure_instead() {
    let (_scene, one, bencher) = scene(&Scripted::default()).await;
    let refused = bencher.bench(copies("b", 4)).await.unwrap_err();
    assert_eq!((refused.code, loaded(&one, "b")), (ErrorCode::Unsupported, 0));
    assert!(refused.hint.is_some_and(|hint| hint.contains("pilothouse sweep")));
}
