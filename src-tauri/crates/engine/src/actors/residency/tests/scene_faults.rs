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
    for fault in [failing(), Fault::Hang, Fault::Slow(Duration::from_secs(30))] {
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
