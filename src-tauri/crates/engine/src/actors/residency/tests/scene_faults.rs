//! What may go wrong around a scene: the journal, loads that go on, answers that do not end, our own death between two scenes.

use super::*;
use crate::actors::residency::Aim;

const ONE: [(&str, &str); 2] = [("critical", "a"), ("background", "d")];
const TWO: [(&str, &str); 2] = [("critical", "b"), ("background", "e")];

fn servers(room: u64) -> [FakeServer; 2] {
    let memory = Memory::of(room);
    let one = server("one", &memory).with_model("a", 10).with_model("b", 10);
    let two = server("two", &memory).with_model("d", 10).with_model("e", 10);
    [one, two]
}

async fn in_one(servers: &[FakeServer], journal: &FakeJournal) -> Scene {
    let scene = Scene::start(servers, journal).await;
    scene.apply("One", &ONE).await.unwrap();
    scene
}

#[tokio::test(start_paused = true)]
async fn without_a_journal_a_scene_goes_on_says_so_and_is_written_later() {
    let locked = ApiError::new(ErrorCode::StoreUnavailable, "Another program holds the file.").retryable();
    let slow = Fault::Slow(Duration::from_secs(30));
    for fault in [Fault::Fail(locked), Fault::disk_is_full(), Fault::Hang, slow] {
        let journal = FakeJournal::default();
        let scene = in_one(&servers(100), &journal).await;
        journal.set_writing(fault.clone());
        let report = scene.apply("Two", &TWO).await.unwrap();
        assert_eq!(
            (report.outcome, report.journalled),
            (SwitchOutcome::Committed, false),
            "{fault:?}: {report:?}"
        );
        assert!(report.reason.unwrap().contains("Not journalled"));
        assert_eq!((scene.held(), scene.route()), (vec!["b".to_owned(), "e".to_owned()], "b".into()));
        if fault == Fault::Hang {
            // What hangs never comes back in this life.
            continue;
        }
        journal.set_writing(Fault::None);
        scene.rest(90).await;
        assert_eq!(journal.kept_active(), Some(active("one", "b")), "{fault:?}");
        let written: Vec<String> =
            journal.kept_now().arrangement.roles.into_values().map(|held| held.model.model).collect();
        assert_eq!(written, ["e", "b"], "{fault:?}");
    }
}

/// At each second of a switch and of a scene: the change goes on and says so, and what is held is written once there is room.
#[tokio::test(start_paused = true)]
async fn a_disk_that_fills_up_under_the_journal_holds_nothing_up_and_is_made_up_for() {
    for (room, is_scene) in [(100, false), (100, true), (25, false), (25, true)] {
        let mut unjournalled = 0;
        for second in 0..14 {
            let journal = FakeJournal::default();
            let scene = in_one(&servers(room), &journal).await;
            let change = {
                let (residency, aim) = (scene.residency.clone(), scene.aim("Two", &TWO));
                tokio::spawn(async move {
                    match is_scene {
                        true => residency
                            .apply(aim, false, false)
                            .await
                            .map(|done| (done.outcome, done.journalled)),
                        false => {
                            residency.switch(wanted("b")).await.map(|done| (done.outcome, done.journalled))
                        }
                    }
                })
            };
            scene.rest(second).await;
            journal.set_writing(Fault::disk_is_full());
            let told = format!("full after {second} s, room {room}, scene {is_scene}");
            let (outcome, journalled) = change.await.unwrap().unwrap();
            assert_eq!(outcome, SwitchOutcome::Committed, "{told}");
            unjournalled += u32::from(!journalled);
            scene.rest(10).await;
            let expected = if is_scene { ["b", "e"] } else { ["b", "d"] };
            assert_eq!(
                (scene.held(), scene.route()),
                (expected.map(str::to_owned).to_vec(), "b".into()),
                "{told}"
            );
            assert_eq!(scene.route_of("background"), expected[1], "{told}");
            journal.set_writing(Fault::None);
            scene.rest(90).await;
            let kept = journal.kept_now().arrangement;
            assert_eq!(journal.kept_active(), Some(active("one", "b")), "{told}");
            let written: Vec<String> = kept.roles.into_values().map(|held| held.model.model).collect();
            assert_eq!(written, [expected[1], expected[0]], "{told}");
            let open = journal.rows().iter().filter(|row| row.outcome.is_none() || row.clearing).count();
            assert_eq!(open, 0, "{told}");
        }
        assert!(unjournalled > 2, "room {room}, scene {is_scene}: {unjournalled}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_that_its_server_goes_on_with_after_a_cancelled_scene_leaves_when_it_has_arrived() {
    let [one, two] = servers(100);
    let servers = [one, two.with_loads_that_go_on()];
    let scene = in_one(&servers, &FakeJournal::default()).await;
    let applying = scene.applying("Two", &TWO);
    scene.rest(6).await;
    scene.residency.cancel().await.unwrap();
    let report = applying.await.unwrap().unwrap();
    assert_eq!(report.outcome, SwitchOutcome::Cancelled, "{report:?}");
    scene.rest(60).await;
    assert_eq!((scene.held(), scene.route()), (vec!["a".to_owned(), "d".to_owned()], "a".into()));
    assert_eq!(scene.route_of("background"), "d");
}

#[tokio::test(start_paused = true)]
async fn requests_that_were_refused_wait_for_a_scene_that_brings_a_model_for_them() {
    let servers = servers(100);
    let scene = in_one(&servers, &FakeJournal::default()).await;
    servers[0].faults(|faults| faults.load = failing());
    servers[0].drop_model("a");
    scene.rest(10).await;
    assert!(scene.residency.available().await.is_err());
    assert!(scene.route().starts_with("refusing"), "{}", scene.route());
    servers[0].faults(|faults| faults.load = Fault::None);
    // What comes for them does not answer at first.
    for fails in [true, false] {
        servers[0].faults(|faults| faults.generate = if fails { failing() } else { Fault::None });
        let applying = scene.applying("Two", &TWO);
        scene.rest(1).await;
        assert_eq!(scene.route(), "held", "{fails}");
        let outcome = applying.await.unwrap().unwrap().outcome;
        match fails {
            true => {
                assert_eq!(outcome, SwitchOutcome::RolledBack);
                assert!(scene.route().starts_with("refusing"), "{}", scene.route());
            }
            false => assert_eq!((outcome, scene.route()), (SwitchOutcome::Committed, "b".into())),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn answers_of_what_leaves_are_cut_after_the_limit_and_counted() {
    let scene = in_one(&servers(100), &FakeJournal::default()).await;
    scene.set(|settings| settings.drain_s = 5);
    let lease = scene.lease().await.unwrap();
    let applying = scene.applying("Two", &TWO);
    lease.cut().cancelled().await;
    drop(lease);
    let report = applying.await.unwrap().unwrap();
    assert_eq!((report.outcome, report.answers_cut), (SwitchOutcome::Committed, 1), "{report:?}");
    assert!(report.reason.unwrap().contains("cut"));
    assert_eq!(scene.held(), ["b", "e"]);
}

#[tokio::test(start_paused = true)]
async fn an_unload_that_is_refused_after_the_commit_is_said_and_done_later() {
    let servers = servers(100);
    let scene = in_one(&servers, &FakeJournal::default()).await;
    servers[1].faults(|faults| faults.unload = failing());
    let report = scene.apply("Two", &TWO).await.unwrap();
    assert_eq!(report.outcome, SwitchOutcome::Committed);
    assert!(report.reason.unwrap().contains("d is still in memory"));
    assert_eq!(scene.held(), ["b", "d", "e"]);
    servers[1].faults(|faults| faults.unload = Fault::None);
    scene.rest(60).await;
    assert_eq!(scene.held(), ["b", "e"]);
}

/// From one scene to another, without room for both: whatever was taken out before the commit is back, on somebody else's servers too.
#[test]
fn our_own_death_between_two_scenes_leaves_one_of_them_whole() {
    for room in [100, 25] {
        let (mut before, mut after) = (0, 0);
        for half_second in 0..44 {
            let (servers, journal) = (servers(room), FakeJournal::default());
            life(async {
                let scene = in_one(&servers, &journal).await;
                let _applying = scene.applying("Two", &TWO);
                tokio::time::sleep(Duration::from_millis(half_second * 500)).await;
            });
            let (held, route, background) = life(async {
                let scene = Scene::start(&servers, &journal).await;
                scene.rest(150).await;
                (scene.held(), scene.route(), scene.route_of("background"))
            });
            let told = format!("died after {half_second} half seconds, room {room}");
            match route.as_str() {
                "a" => {
                    before += 1;
                    assert_eq!(
                        (held, background),
                        (vec!["a".to_owned(), "d".to_owned()], "d".into()),
                        "{told}"
                    );
                }
                "b" => {
                    after += 1;
                    assert_eq!(
                        (held, background),
                        (vec!["b".to_owned(), "e".to_owned()], "e".into()),
                        "{told}"
                    );
                }
                other => panic!("{other}, {told}"),
            }
        }
        assert!(before > 5 && after > 2, "{before} {after}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_a_switch_left_to_another_role_comes_back_with_what_it_was_loaded_with() {
    let servers = servers(100);
    let scene = Scene::start(&servers, &FakeJournal::default()).await;
    let with = |context: u64| {
        let mut roles = vec![scene.role("critical", "a"), scene.role("other", "a")];
        roles.iter_mut().for_each(|wanted| wanted.held.with.context = Some(context));
        roles
    };
    let aim = |scene: &str, roles| Aim::Roles { scene: Some(scene.into()), roles };
    scene.residency.apply(aim("Pair", with(2048)), false, false).await.unwrap();
    scene.switch("b").await.unwrap();
    servers[1].faults(|faults| faults.load = failing());
    let mut roles = with(1024);
    roles.push(scene.role("small", "d"));
    let report = scene.residency.apply(aim("Other", roles), false, false).await.unwrap();
    assert_eq!(report.outcome, SwitchOutcome::RolledBack, "{report:?}");
    scene.rest(10).await;
    let contexts: Vec<Option<u64>> =
        scene.now().instances.iter().filter(|one| one.model == "a").map(|one| one.context).collect();
    assert_eq!((contexts, scene.route()), (vec![Some(2048)], "b".into()));
}
