//! Scenes: several roles over two servers, all of them or none.

use super::*;
use crate::actors::residency::{Aim, Undone};
use pilothouse_domain::{
    notice::{Notice, NoticeAct},
    scene::SceneReport,
};

/// Two servers with room for everything, `a` active.
async fn two(room: u64) -> (Scene, FakeServer, FakeServer) {
    let memory = Memory::of(room);
    let one = server("one", &memory).with_model("a", 10).with_model("b", 10).with_model("c", 10);
    let two = server("two", &memory).with_model("d", 10).with_model("e", 10);
    let scene = Scene::start(&[one.clone(), two.clone()], &FakeJournal::default()).await;
    scene.switch("a").await.unwrap();
    (scene, one, two)
}

const HYBRID: [(&str, &str); 3] = [("critical", "b"), ("background", "d"), ("small", "e")];

fn committed(report: &Result<SceneReport, ApiError>) -> bool {
    matches!(report, Ok(report) if report.outcome == SwitchOutcome::Committed)
}

/// What is in memory, what is active, where requests for it go, and the roles.
type There = (Vec<String>, Option<String>, String, Vec<(String, Option<String>)>);

fn there(scene: &Scene) -> There {
    (scene.held(), scene.active(), scene.route(), scene.roles())
}

fn role(role: &str, instance: &str) -> (String, Option<String>) {
    (role.into(), Some(instance.into()))
}

#[tokio::test(start_paused = true)]
async fn a_scene_of_three_roles_over_two_servers_is_in_memory_and_active_follows_its_lead() {
    let (scene, one, two) = two(100).await;
    let report = scene.apply("Hybrid", &HYBRID).await.unwrap();
    assert_eq!(report.outcome, SwitchOutcome::Committed, "{report:?}");
    assert_eq!(scene.held(), ["b", "d", "e"]);
    assert_eq!((scene.active().as_deref(), scene.route()), (Some("b"), "b".into()));
    assert_eq!(scene.roles(), [role("background", "d"), role("critical", "b"), role("small", "e")]);
    assert_eq!(scene.route_of("background"), "d");
    assert_eq!(scene.journal.kept_active(), Some(active("one", "b")));
    assert!(report.evicted.iter().any(|model| model.model == "a"));
    // Each gave a real answer before it took up its role, and the model before left last.
    for (server, name) in [(&one, "b"), (&two, "d"), (&two, "e")] {
        assert!(server.acts().contains(&Act::Spoke(name.into())), "{name}");
    }
    assert_eq!(one.acts().last(), Some(&Act::Unloaded("a".into())));
    let told: Vec<Notice> = scene.now().notices.clone();
    assert!(told.iter().any(|notice| notice.title == "Hybrid is in force"), "{told:?}");
    // The same again: nothing has to be done.
    let (loads, unloads) = (one.loads() + two.loads(), one.unloads() + two.unloads());
    assert!(committed(&scene.apply("Hybrid", &HYBRID).await));
    assert_eq!((one.loads() + two.loads(), one.unloads() + two.unloads()), (loads, unloads));
}

#[tokio::test(start_paused = true)]
async fn with_room_the_model_before_answers_until_the_commit() {
    let (scene, ..) = two(100).await;
    let applying = scene.applying("Hybrid", &HYBRID);
    for _ in 0..11 {
        assert_eq!(scene.route(), "a");
        drop(scene.lease().await.unwrap());
        scene.rest(1).await;
    }
    assert!(committed(&applying.await.unwrap()));
    assert_eq!(scene.route(), "b");
}

#[tokio::test(start_paused = true)]
async fn without_room_what_leaves_anyway_goes_first() {
    let (scene, one, _) = two(30).await;
    let report = scene.apply("Hybrid", &HYBRID).await.unwrap();
    assert_eq!((report.outcome, report.error), (SwitchOutcome::Committed, None));
    assert_eq!(scene.held(), ["b", "d", "e"]);
    let acts = one.acts();
    let at = |act: Act| acts.iter().position(|one| *one == act);
    assert!(at(Act::Unloaded("a".into())).is_some());
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_what_was_there_is_there_again() {
    type Break = fn(&FakeServer, &FakeServer);
    let refused: Fault = failing();
    let breaks: [(&str, Break); 11] = [
        ("the first load is refused", |one, _| one.faults(|f| f.load = failing())),
        ("the second load is refused", |_, two| two.faults(|f| f.load = failing())),
        ("the third load is refused", |_, two| {
            two.faults(|f| f.next_loads = [Fault::None, failing()].into());
        }),
        ("a proof fails", |_, two| two.faults(|f| f.generate = failing())),
        ("the proof of the lead fails", |one, _| one.faults(|f| f.generate = failing())),
        ("a load never ends", |_, two| two.faults(|f| f.load = Fault::Hang)),
        ("a proof never ends", |_, two| two.faults(|f| f.generate = Fault::Hang)),
        ("another model answers", |_, two| two.faults(|f| f.answers_as = Some("e".into()))),
        ("another model answers for the lead", |one, _| one.faults(|f| f.answers_as = Some("c".into()))),
        ("a list cannot be had", |_, two| two.faults(|f| f.list = failing())),
        ("a server does not answer", |_, two| two.faults(|f| f.list = Fault::Hang)),
    ];
    assert!(matches!(refused, Fault::Fail(_)));
    for room in [100, 30] {
        for (what, break_it) in breaks {
            let (scene, one, two) = two(room).await;
            scene.set(|settings| (settings.load_floor_s, settings.load_ceiling_s) = (10, 20));
            let before = there(&scene);
            break_it(&one, &two);
            let report = scene.apply("Hybrid", &HYBRID).await;
            assert!(!committed(&report), "{what}, room {room}: {report:?}");
            for server in [&one, &two] {
                server.faults(|faults| *faults = Default::default());
            }
            scene.rest(45).await;
            assert_eq!(there(&scene), before, "{what}, room {room}: {report:?}");
            assert!(scene.now().arranging.is_none(), "{what}");
            drop(scene.lease().await.unwrap());
            // And it can be applied afterwards.
            assert!(committed(&scene.apply("Hybrid", &HYBRID).await), "{what}, room {room}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_dies_in_the_middle_puts_back_what_the_other_had() {
    let (scene, _, two) = two(100).await;
    let before = there(&scene);
    let applying = scene.applying("Hybrid", &HYBRID);
    scene.rest(6).await;
    two.die();
    let report = applying.await.unwrap();
    assert!(!committed(&report), "{report:?}");
    two.come_back();
    scene.rest(60).await;
    assert_eq!(there(&scene), before);
}

#[tokio::test(start_paused = true)]
async fn cancelled_at_every_second_it_is_put_back_or_done() {
    for room in [100, 30] {
        let mut cancelled = 0;
        for second in 0..16 {
            let (scene, ..) = two(room).await;
            let before = there(&scene);
            let applying = scene.applying("Hybrid", &HYBRID);
            scene.rest(second).await;
            let asked = scene.residency.cancel().await;
            let report = applying.await.unwrap();
            scene.rest(30).await;
            if committed(&report) {
                assert_eq!(scene.held(), ["b", "d", "e"], "{second}: {asked:?}");
            } else {
                cancelled += 1;
                assert_eq!(there(&scene), before, "cancelled after {second} s, room {room}: {report:?}");
            }
        }
        assert!(cancelled > 8, "{cancelled}");
    }
}

/// Our own death at every second: the next life has exactly one of the two sets.
#[test]
fn our_own_death_at_any_moment_leaves_the_set_before_or_the_one_after() {
    for room in [100, 30] {
        let (mut before_count, mut after_count) = (0, 0);
        for half_second in 0..36 {
            let memory = Memory::of(room);
            let one = server("one", &memory).with_model("a", 10).with_model("b", 10);
            let two = server("two", &memory).with_model("d", 10).with_model("e", 10);
            let journal = FakeJournal::default();
            let servers = [one, two];
            life(async {
                let scene = Scene::start(&servers, &journal).await;
                scene.switch("a").await.unwrap();
                let _applying = scene.applying("Hybrid", &HYBRID);
                tokio::time::sleep(Duration::from_millis(half_second * 500)).await;
            });
            let (active, held, roles, route) = life(async {
                let scene = Scene::start(&servers, &journal).await;
                scene.rest(120).await;
                (scene.active(), scene.held(), scene.roles(), scene.route())
            });
            match active.as_deref() {
                Some("a") => {
                    before_count += 1;
                    assert_eq!(held, ["a"], "died after {half_second} half seconds, room {room}");
                    assert!(roles.is_empty());
                }
                Some("b") => {
                    after_count += 1;
                    assert_eq!(held, ["b", "d", "e"], "died after {half_second} half seconds, room {room}");
                    assert_eq!(roles.len(), 3);
                }
                other => panic!("{other:?} is active after {half_second}"),
            }
            assert_eq!(Some(route), active);
        }
        assert!(before_count > 5 && after_count > 2, "{before_count} {after_count}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_scene_is_taken_back_within_a_minute_and_not_later() {
    let (scene, ..) = two(100).await;
    let before = there(&scene);
    scene.apply("Hybrid", &HYBRID).await.unwrap();
    let undo = scene.now().undo.clone().unwrap();
    assert_eq!((undo.done.as_str(), undo.back_to.as_deref()), ("Hybrid is in force", Some("a")));
    let undone = scene.residency.undo().await.unwrap();
    assert!(matches!(undone, Undone::Scene(report) if report.outcome == SwitchOutcome::Committed));
    assert_eq!(there(&scene), before);
    assert!(scene.now().undo.is_none(), "what takes back is not taken back itself");
    assert_eq!(scene.residency.undo().await.unwrap_err().code, ErrorCode::NotFound);
    // What was done is told with its way back, what took it back without one.
    scene.rest(1).await;
    let told: Vec<(String, Vec<NoticeAct>)> = scene
        .now()
        .notices
        .iter()
        .take(2)
        .map(|notice| (notice.title.clone(), notice.acts.clone()))
        .collect();
    let way_back = vec![NoticeAct::Undo { until: undo.until }];
    assert_eq!(told, [("a is active again".into(), vec![]), ("Hybrid is in force".into(), way_back)]);
    scene.apply("Hybrid", &HYBRID).await.unwrap();
    scene.rest(61).await;
    assert!(scene.now().undo.is_none());
    assert_eq!(scene.residency.undo().await.unwrap_err().code, ErrorCode::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_switch_is_taken_back_too_and_the_lead_follows_it() {
    let (scene, ..) = two(100).await;
    scene.apply("Hybrid", &HYBRID).await.unwrap();
    scene.switch("c").await.unwrap();
    assert_eq!(scene.held(), ["c", "d", "e"], "what others stand for stays");
    assert_eq!(scene.roles()[1], role("critical", "c"));
    assert!(matches!(scene.residency.undo().await.unwrap(), Undone::Switch(_)));
    assert_eq!((scene.held(), scene.route()), (vec!["b".into(), "d".into(), "e".into()], "b".into()));
    assert_eq!(scene.roles()[1], role("critical", "b"));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_another_role_stands_for_stays_when_active_moves_on() {
    let (scene, ..) = two(100).await;
    scene.apply("Pair", &[("critical", "b"), ("other", "b"), ("small", "e")]).await.unwrap();
    scene.switch("c").await.unwrap();
    assert_eq!(scene.held(), ["b", "c", "e"]);
    assert_eq!(scene.roles(), [role("critical", "c"), role("other", "b"), role("small", "e")]);
}

#[tokio::test(start_paused = true)]
async fn free_the_memory_and_restore_are_scenes_too() {
    let (scene, ..) = two(100).await;
    scene.apply("Hybrid", &HYBRID).await.unwrap();
    let before = there(&scene);
    let free = Aim::Roles { scene: Some("Free the memory".into()), roles: vec![] };
    scene.residency.apply(free, false, false).await.unwrap();
    assert_eq!((scene.held(), scene.active(), scene.route()), (vec![], None, "none".into()));
    assert!(scene.now().restore_at.is_some());
    scene.residency.apply(Aim::Before, false, false).await.unwrap();
    assert_eq!(there(&scene), before);
}

#[tokio::test(start_paused = true)]
async fn what_others_have_loaded_stays_and_a_dry_run_does_nothing() {
    let (scene, one, two) = two(100).await;
    one.load_by_owner("c", Expiry::Never);
    scene.rest(10).await;
    let (loads, unloads) = (one.loads() + two.loads(), one.unloads() + two.unloads());
    let aim = scene.aim("Hybrid", &HYBRID);
    let dry = scene.residency.apply(aim.clone(), false, true).await.unwrap();
    let names: Vec<&str> = dry.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["load", "prove", "load", "prove", "load", "prove", "commit", "unload"]);
    assert!(dry.dry_run && dry.evicted.len() == 1);
    let plan = scene.residency.plan(aim).await.unwrap();
    assert_eq!(plan.steps.len(), 8);
    assert_eq!((one.loads() + two.loads(), one.unloads() + two.unloads()), (loads, unloads));
    scene.apply("Hybrid", &HYBRID).await.unwrap();
    assert_eq!(scene.held(), ["b", "c", "d", "e"]);
}

/// The plan, the dry run and the real thing, in the same words, before anything is disturbed. `a` is in memory, and ours.
#[tokio::test(start_paused = true)]
async fn what_a_server_cannot_be_given_with_a_load_is_refused_alike_by_plan_dry_run_and_the_real_thing() {
    use pilothouse_domain::{anatomy::KvType, model::LoadSettings};
    let with = |context, parallel, kv_type| LoadSettings { context, parallel, kv_type };
    let kv = Some(KvType::Q8_0);
    type Case<'a> = (&'a [(&'a str, LoadSettings)], Option<&'a str>);
    let cases: [Case<'_>; 8] = [
        (&[("d", with(None, None, None))], None),
        (&[("d", with(Some(2048), None, None))], None),
        (&[("d", with(None, Some(2), None))], Some("number of requests at a time")),
        (&[("d", with(None, None, kv))], Some("KV type")),
        (&[("b", with(None, None, None)), ("d", with(None, None, kv))], Some("KV type")),
        // Of two the one whose server is looked at first, whatever their roles.
        (
            &[("d", with(None, None, kv)), ("b", with(None, Some(4), None))],
            Some("number of requests at a time"),
        ),
        // It would have to be loaded again for it.
        (&[("a", with(None, None, kv))], Some("KV type")),
        (
            &[("a", with(Some(4096), None, None)), ("e", with(None, Some(1), None))],
            Some("number of requests at a time"),
        ),
    ];
    for (roles, refused) in cases {
        let (scene, one, two) = two(100).await;
        let before = there(&scene);
        let wanted = roles.iter().enumerate().map(|(number, (model, with))| {
            let mut wanted = scene.role(&format!("role-{number}"), model);
            wanted.held.with = *with;
            wanted
        });
        let aim = Aim::Roles { scene: Some("S".into()), roles: wanted.collect() };
        let plan = scene.residency.plan(aim.clone()).await.unwrap();
        let dry = scene.residency.apply(aim.clone(), false, true).await;
        let calls = (one.loads() + two.loads(), one.unloads() + two.unloads());
        let real = scene.residency.apply(aim, false, false).await;
        let Some(words) = refused else {
            assert!(
                plan.refusal.is_none() && dry.is_ok() && committed(&real),
                "{roles:?}: {plan:?} {real:?}"
            );
            continue;
        };
        let error = real.unwrap_err();
        assert_eq!(
            (error.code, error.message.contains(words)),
            (ErrorCode::Unsupported, true),
            "{roles:?}: {error:?}"
        );
        assert_eq!((plan.refusal.as_ref(), dry.as_ref()), (Some(&error), Err(&error)), "{roles:?}");
        assert_eq!((plan.fits, plan.steps.len()), (Some(false), 0), "{roles:?}");
        assert_eq!(calls, (one.loads() + two.loads(), one.unloads() + two.unloads()), "{roles:?}");
        assert_eq!(there(&scene), before, "{roles:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn equal_scenes_join_and_an_unequal_wish_takes_over() {
    let (scene, one, two) = two(100).await;
    let (first, second) = (scene.applying("Hybrid", &HYBRID), scene.applying("Hybrid", &HYBRID));
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert!(committed(&first) && first == second);
    assert_eq!(one.loads() + two.loads(), 4, "a, and each once");
    let applying = scene.applying("One", &[("critical", "a")]);
    scene.rest(1).await;
    let switched = scene.switch("c").await.unwrap();
    assert_eq!(switched.outcome, SwitchOutcome::Committed);
    assert!(!committed(&applying.await.unwrap()));
    assert_eq!((scene.route(), scene.held()), ("c".into(), vec!["c".into(), "d".into(), "e".into()]));
    let switching = scene.click(wanted("a"));
    scene.rest(1).await;
    assert!(committed(&scene.apply("One", &[("critical", "b")]).await));
    assert_eq!(switching.await.unwrap().unwrap().outcome, SwitchOutcome::Cancelled);
    assert_eq!(scene.held(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn answers_under_way_end_before_their_model_leaves_or_are_cut_at_once_if_wished() {
    for (now, cut) in [(false, 0), (true, 1)] {
        let (scene, one, _) = two(100).await;
        let lease = scene.lease().await.unwrap();
        let (residency, aim) = (scene.residency.clone(), scene.aim("Hybrid", &HYBRID));
        let applying = tokio::spawn(async move { residency.apply(aim, now, false).await });
        scene.rest(20).await;
        assert_eq!(one.held().contains(&"a".to_owned()), !now, "{now}");
        drop(lease);
        let report = applying.await.unwrap().unwrap();
        assert_eq!((report.outcome, report.answers_cut), (SwitchOutcome::Committed, cut), "{report:?}");
    }
}

/// Everything that a failure has to leave as it was: models, servers, contexts, pins, roles with all their settings.
fn fields(scene: &Scene) -> String {
    let snapshot = scene.now();
    let mut instances: Vec<String> = snapshot
        .instances
        .iter()
        .map(|one| format!("{}/{} {} {:?} {:?}", one.server, one.model, one.id, one.context, one.expiry))
        .collect();
    instances.sort();
    let (roles, pins, active) = (&snapshot.roles, &snapshot.pins, &snapshot.active);
    format!("{instances:#?} {roles:#?} {pins:#?} {active:?} {}", scene.route())
}

/// Two roles with contexts, a pin, a priority and an idle limit of their own, with bounds that a test waits out.
async fn held_with_settings(room: u64) -> (Scene, FakeServer, FakeServer) {
    let (scene, one, two) = two(room).await;
    scene.set(|settings| (settings.load_floor_s, settings.load_ceiling_s) = (10, 20));
    let mut lead = scene.role("critical", "a");
    (lead.held.with.context, lead.held.pinned) = (Some(2048), true);
    lead.held.priority = pilothouse_domain::scene::Priority::Critical;
    let mut other = scene.role("background", "c");
    (other.held.with.context, other.held.idle_s) = (Some(1024), Some(9000));
    let before = Aim::Roles { scene: Some("Before".into()), roles: vec![lead, other] };
    let applied = scene.residency.apply(before, false, false).await;
    assert!(committed(&applied), "room {room}: {applied:?}");
    scene.residency.pin(pilothouse_domain::model::ModelRef::new("one", "c"), true).await.unwrap();
    scene.rest(10).await;
    (scene, one, two)
}

/// The same for a switch, to a model of the same server and to one of another.
#[tokio::test(start_paused = true)]
async fn whatever_fails_in_a_switch_everything_is_as_before_field_by_field() {
    type Break = fn(&FakeServer);
    let breaks: [(&str, Break); 6] = [
        ("the load is refused", |server| server.faults(|f| f.load = failing())),
        ("the load never ends", |server| server.faults(|f| f.load = Fault::Hang)),
        ("the proof fails", |server| server.faults(|f| f.generate = failing())),
        ("the proof never ends", |server| server.faults(|f| f.generate = Fault::Hang)),
        ("another model answers", |server| server.faults(|f| f.answers_as = Some(other_of(server).into()))),
        ("a list cannot be had", |server| server.faults(|f| f.list = failing())),
    ];
    for (room, to) in [(100, "b"), (100, "d"), (30, "b"), (30, "d")] {
        for (what, break_it) in breaks {
            let (scene, one, two) = held_with_settings(room).await;
            let before = fields(&scene);
            break_it(if to == "b" { &one } else { &two });
            let report = scene.switch(to).await;
            let told = format!("{what}, {to}, room {room}: {report:?}");
            assert!(!report.is_ok_and(|report| report.outcome == SwitchOutcome::Committed), "{told}");
            for server in [&one, &two] {
                server.faults(|faults| *faults = Default::default());
            }
            scene.rest(60).await;
            assert_eq!(fields(&scene), before, "{told}");
        }
    }
}

/// A model that it has and that nobody here switches to.
fn other_of(server: &FakeServer) -> &'static str {
    use pilothouse_servers::ServerAdapter;
    if server.id().as_str() == "one" { "c" } else { "e" }
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_models_contexts_pins_and_priorities_are_as_before_field_by_field() {
    type Break = fn(&FakeServer, &FakeServer);
    let breaks: [(&str, Break); 8] = [
        ("a load is refused", |_, two| two.faults(|f| f.load = failing())),
        ("the last load is refused", |_, two| two.faults(|f| f.next_loads = [Fault::None, failing()].into())),
        ("a proof fails", |_, two| two.faults(|f| f.generate = failing())),
        ("a proof never ends", |_, two| two.faults(|f| f.generate = Fault::Hang)),
        ("another model answers", |_, two| two.faults(|f| f.answers_as = Some("e".into()))),
        ("another model answers for the lead", |one, _| one.faults(|f| f.answers_as = Some("c".into()))),
        ("a load never ends", |_, two| two.faults(|f| f.load = Fault::Hang)),
        ("unloading is refused", |one, two| {
            one.faults(|f| f.unload = failing());
            two.faults(|f| (f.unload, f.load) = (failing(), failing()));
        }),
    ];
    for room in [100, 30] {
        for (what, break_it) in breaks {
            let (scene, one, two) = held_with_settings(room).await;
            let before = fields(&scene);
            assert!(before.contains("Some(2048)") && before.contains("Some(1024)"), "{before}");
            break_it(&one, &two);
            let report = scene.apply("Hybrid", &HYBRID).await;
            assert!(!committed(&report), "{what}, room {room}: {report:?}");
            for server in [&one, &two] {
                server.faults(|faults| *faults = Default::default());
            }
            scene.rest(60).await;
            assert_eq!(fields(&scene), before, "{what}, room {room}: {report:?}");
        }
    }
}
