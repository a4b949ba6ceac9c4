//! Single models beside the active one: taken out, pinned, lost and brought back.

use super::*;
use crate::actors::residency::Undone;
use crate::hub::{Names, Report};
use pilothouse_domain::model::ModelRef;
use pilothouse_leases::{Asked, Lease, Refused};

fn of(name: &str) -> ModelRef {
    ModelRef::new("one", name)
}

/// Its server runs.
async fn up(scene: &Scene) {
    scene.supervisors.get(&"one".into()).unwrap().ensure_ready().await.unwrap();
    scene.rest(6).await;
}

#[tokio::test(start_paused = true)]
async fn the_active_model_is_deactivated_and_comes_back_by_undo() {
    let (scene, _) = roomy().await;
    let dry = scene.residency.unload(None, false, true).await.unwrap();
    assert_eq!((dry.deactivated, scene.held()), (Some(active("one", "a")), vec!["a".to_owned()]));
    let gone = scene.residency.unload(None, false, false).await.unwrap();
    assert_eq!(gone.deactivated, Some(active("one", "a")));
    assert_eq!((scene.held(), scene.route(), scene.journal.kept_active()), (vec![], "none".into(), None));
    scene.rest(61).await;
    assert_eq!(scene.residency.undo().await.unwrap_err().code, ErrorCode::NotFound, "a minute has passed");
    scene.switch("a").await.unwrap();
    scene.residency.unload(Some(of("a")), false, false).await.unwrap();
    assert!(matches!(scene.residency.undo().await.unwrap(), Undone::Switch(_)));
    assert_eq!((scene.held(), scene.route()), (vec!["a".to_owned()], "a".into()));
    let none = scene.residency.unload(None, false, false).await;
    assert!(none.is_ok());
    let again = scene.residency.unload(None, false, false).await.unwrap_err();
    assert_eq!(again.code, ErrorCode::NoActiveModel);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_leave_stays_as_it_was() {
    let (scene, one) = roomy().await;
    for fault in [failing(), Fault::Hang] {
        one.faults(|faults| faults.unload = fault.clone());
        let error = scene.residency.unload(None, false, false).await.unwrap_err();
        assert!(matches!(error.code, ErrorCode::LoadFailed | ErrorCode::TimedOut), "{error:?}");
        one.faults(|faults| faults.unload = Fault::None);
        scene.rest(30).await;
        assert_eq!((scene.held(), scene.route()), (vec!["a".to_owned()], "a".into()), "{fault:?}");
        drop(scene.lease().await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_in_memory_or_pinned_is_refused_by_name() {
    let (scene, _) = roomy().await;
    let code = |error: ApiError| error.code;
    assert_eq!(
        scene.residency.unload(Some(of("b")), false, false).await.map_err(code),
        Err(ErrorCode::NotFound)
    );
    scene.residency.pin(of("a"), true).await.unwrap();
    assert_eq!(scene.now().pins, [of("a")]);
    let refused = scene.residency.unload(Some(of("a")), false, false).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Pinned);
    assert!(refused.hint.unwrap().contains("unpin a"));
    scene.switch("b").await.unwrap();
    assert_eq!(scene.held(), ["a", "b"], "a pinned model leaves for no other");
    scene.residency.pin(of("a"), false).await.unwrap();
    scene.residency.unload(Some(of("a")), false, false).await.unwrap();
    assert_eq!((scene.held(), scene.route()), (vec!["b".to_owned()], "b".into()));
}

#[tokio::test(start_paused = true)]
async fn a_pinned_active_model_that_is_deactivated_stays_in_memory() {
    let (scene, _) = roomy().await;
    scene.residency.pin(of("a"), true).await.unwrap();
    scene.residency.unload(None, false, false).await.unwrap();
    assert_eq!((scene.held(), scene.active()), (vec!["a".to_owned()], None));
}

#[test]
fn pins_and_roles_outlive_us() {
    let one = server("one", &Memory::of(100)).with_model("a", 10).with_model("b", 10).ours();
    let journal = FakeJournal::default();
    life(async {
        let scene = Scene::start(std::slice::from_ref(&one), &journal).await;
        up(&scene).await;
        scene.apply("S", &[("critical", "a"), ("small", "b")]).await.unwrap();
        scene.residency.pin(of("b"), true).await.unwrap();
        scene.rest(1).await;
    });
    for name in ["a", "b"] {
        one.drop_model(name);
    }
    let (held, pins, route) = life(async {
        let scene = Scene::start(std::slice::from_ref(&one), &journal).await;
        up(&scene).await;
        scene.rest(60).await;
        (scene.held(), scene.now().pins.clone(), scene.route_of("small"))
    });
    assert_eq!((held, pins), (vec!["a".into(), "b".into()], vec![of("b")]));
    assert_eq!(route, "b");
}

#[tokio::test(start_paused = true)]
async fn a_role_that_its_server_has_lost_comes_back_where_the_server_is_ours() {
    for ours in [true, false] {
        let one = server("one", &Memory::of(100)).with_model("a", 10).with_model("b", 10);
        let one = if ours { one.ours() } else { one };
        let scene = Scene::start(std::slice::from_ref(&one), &FakeJournal::default()).await;
        up(&scene).await;
        scene.apply("S", &[("critical", "a"), ("small", "b")]).await.unwrap();
        one.drop_model("b");
        scene.rest(40).await;
        let expected = if ours { ("b".to_owned(), 2) } else { ("away: b".to_owned(), 1) };
        assert_eq!((scene.route_of("small"), scene.held().len()), expected, "ours: {ours}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_role_leaves_after_its_time_and_not_while_it_answers() {
    let (scene, one) = roomy().await;
    let mut small = scene.role("small", "b");
    small.held.idle_s = Some(60);
    let roles = vec![scene.role("critical", "a"), small];
    let aim = crate::actors::residency::Aim::Roles { scene: Some("S".into()), roles };
    scene.residency.apply(aim, false, false).await.unwrap();
    scene.rest(40).await;
    assert_eq!(scene.held(), ["a", "b"]);
    scene.rest(40).await;
    assert_eq!((scene.held(), scene.route_of("small")), (vec!["a".into()], "away: b".into()));
    assert_eq!(one.held(), ["a"]);
    scene.rest(300).await;
    assert_eq!(scene.held(), ["a"], "the active model has no such time");
}

/// A program asks for a model by its name.
fn asks(scene: &Scene, model: &str) -> tokio::task::JoinHandle<Result<Lease, Refused>> {
    let (leases, model) = (scene.leases.clone(), model.to_owned());
    tokio::spawn(async move { leases.take(Asked::new(Some(&model))).await })
}

/// The same, where the settings allow it.
fn on_request(scene: &Scene) {
    scene.hub.report(Report::Names(Names { loads_on_request: true, ..Names::default() }));
}

#[tokio::test(start_paused = true)]
async fn what_a_program_asks_for_is_loaded_once_for_all_who_wait_and_leaves_when_idle() {
    let (scene, one) = roomy().await;
    on_request(&scene);
    scene.set_memory(|memory| memory.idle_s = 60);
    let loads = one.loads();
    let waiting: Vec<_> = (0..20).map(|_| asks(&scene, "b")).collect();
    let mut leases = vec![];
    for waiter in waiting {
        leases.push(waiter.await.unwrap().unwrap());
        leases.pop();
    }
    scene.rest(1).await;
    assert_eq!((one.loads() - loads, scene.held()), (1, vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!((scene.active().as_deref(), scene.now().on_request.len()), (Some("a"), 1));
    // While it answers it does not grow old.
    let lease = asks(&scene, "b").await.unwrap().unwrap();
    scene.rest(200).await;
    assert_eq!(scene.held(), ["a", "b"]);
    drop(lease);
    scene.rest(40).await;
    assert_eq!(scene.held(), ["a", "b"], "not before its time");
    scene.rest(40).await;
    assert_eq!((scene.held(), scene.now().on_request.len()), (vec!["a".to_owned()], 0));
    assert!(scene.now().undo.as_ref().is_none_or(|undo| undo.done.contains("a is active")));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_loaded_is_refused_with_the_reason_and_nothing_hangs() {
    let (scene, one) = roomy().await;
    on_request(&scene);
    one.faults(|faults| faults.load = failing());
    let refused = asks(&scene, "b").await.unwrap().unwrap_err();
    assert!(refused.to_string().contains("It is damaged"), "{refused}");
    assert_eq!((scene.held(), scene.route()), (vec!["a".to_owned()], "a".into()));
    one.faults(|faults| faults.load = Fault::Hang);
    scene.set(|settings| (settings.load_floor_s, settings.load_ceiling_s) = (10, 20));
    let refused = asks(&scene, "c").await.unwrap().unwrap_err();
    assert!(!refused.to_string().is_empty());
    one.faults(|faults| faults.load = Fault::None);
    scene.rest(60).await;
    assert!(asks(&scene, "c").await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_wish_waits_for_a_switch_and_is_not_lost_by_one() {
    let (scene, _) = roomy().await;
    on_request(&scene);
    let switching = scene.click(wanted("b"));
    scene.rest(1).await;
    let wish = asks(&scene, "c");
    assert_eq!(switching.await.unwrap().unwrap().outcome, SwitchOutcome::Committed);
    assert_eq!(wish.await.unwrap().unwrap().target().model, "c");
    // A switch comes between: a person goes first, the wish is heard afterwards.
    let wish = asks(&scene, "a");
    scene.rest(1).await;
    assert_eq!(scene.switch("c").await.unwrap().outcome, SwitchOutcome::Committed);
    assert_eq!(wish.await.unwrap().unwrap().target().model, "a");
}

#[tokio::test(start_paused = true)]
async fn a_role_that_left_because_nobody_asked_comes_back_for_whoever_does() {
    let (scene, _) = roomy().await;
    let mut small = scene.role("small", "b");
    small.held.idle_s = Some(30);
    let roles = vec![scene.role("critical", "a"), small];
    let aim = crate::actors::residency::Aim::Roles { scene: Some("S".into()), roles };
    scene.residency.apply(aim, false, false).await.unwrap();
    scene.rest(60).await;
    assert_eq!(scene.route_of("small"), "away: b");
    // Also where the settings forbid loads on request: it is the scene's.
    let lease = asks(&scene, "small").await.unwrap().unwrap();
    assert_eq!((lease.target().model.as_str(), scene.route_of("small")), ("b", "b".into()));
    assert!(scene.now().on_request.is_empty(), "it is the role's, not the request's");
}

#[tokio::test(start_paused = true)]
async fn a_measurement_lets_no_load_on_request_in() {
    let (scene, _) = roomy().await;
    on_request(&scene);
    let model = scene.now().models[0].model.clone();
    let loan =
        scene.residency.borrow(vec![model], "A benchmark".into(), CancellationToken::new()).await.unwrap();
    let refused = asks(&scene, "b").await.unwrap().unwrap_err();
    assert!(refused.to_string().contains("A benchmark"), "{refused}");
    loan.give_back().await;
    assert!(asks(&scene, "b").await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn when_memory_runs_short_idle_models_on_request_leave_then_background_roles_and_nobody_else() {
    let (scene, _) = roomy().await;
    on_request(&scene);
    let mut background = scene.role("background", "b");
    background.held.priority = pilothouse_domain::scene::Priority::Background;
    let roles = vec![scene.role("critical", "a"), background];
    let aim = crate::actors::residency::Aim::Roles { scene: Some("S".into()), roles };
    scene.residency.apply(aim, false, false).await.unwrap();
    drop(asks(&scene, "c").await.unwrap().unwrap());
    scene.rest(60).await;
    assert_eq!(scene.held(), ["a", "b", "c"]);
    let pressure = |level: &str| {
        let gauges = serde_json::json!({
            "at": "2026-11-29T00:00:00Z", "interval_ms": 1000, "cpu_cores": 2, "memory_pressure": level,
            "gpus": [], "servers": [], "orphans": [], "self": {},
        });
        scene.hub.report(Report::Gauges(serde_json::from_value(gauges).unwrap()));
    };
    pressure("warning");
    scene.rest(15).await;
    assert_eq!(scene.held(), ["a", "b"], "what was loaded on request first");
    scene.rest(40).await;
    assert_eq!((scene.held(), scene.route_of("background")), (vec!["a".to_owned()], "away: b".into()));
    scene.rest(100).await;
    assert_eq!(scene.held(), ["a"], "what is critical stays");
    let told = scene.now().notices.iter().filter(|notice| notice.title.ends_with("left memory")).count();
    assert_eq!(told, 1, "once for the incident");
    pressure("normal");
    assert!(asks(&scene, "background").await.unwrap().is_ok(), "and it comes back for whoever asks");
}

/// As LM Studio does it when somebody loads a model that is there.
#[tokio::test(start_paused = true)]
async fn a_copy_that_somebody_else_has_loaded_leaves_alone_and_the_one_that_answers_stays() {
    use pilothouse_servers::{LoadRequest, ServerClient};
    let one = server("one", &Memory::of(100)).with_model("a", 10).with_model("b", 10).with_copies();
    let scene = Scene::start(std::slice::from_ref(&one), &FakeJournal::default()).await;
    scene.switch("a").await.unwrap();
    one.load_copy(&LoadRequest::usual("a")).await.unwrap();
    scene.rest(10).await;
    assert_eq!(scene.held(), ["a", "a:2"]);
    let (active, roles) = (scene.now().active.clone(), scene.roles());
    let unload = |instance: &str| scene.residency.unload_copy("one".into(), instance.to_owned());
    for (instance, code) in
        [("a", ErrorCode::InvalidCall), ("a:3", ErrorCode::NotFound), ("b", ErrorCode::NotFound)]
    {
        assert_eq!(unload(instance).await.unwrap_err().code, code, "{instance}");
    }
    one.faults(|faults| faults.unload = failing());
    unload("a:2").await.unwrap_err();
    one.faults(|faults| faults.unload = Fault::None);
    assert_eq!((scene.held(), scene.route()), (vec!["a".to_owned(), "a:2".to_owned()], "a".into()));
    assert_eq!((scene.now().active.clone(), scene.roles()), (active.clone(), roles.clone()));
    let switching = scene.click(wanted("b"));
    scene.rest(1).await;
    assert_eq!(unload("a:2").await.unwrap_err().code, ErrorCode::Busy);
    scene.residency.cancel().await.unwrap();
    let _ = switching.await;
    // Requests go on meanwhile, and are not cut.
    let lease = scene.lease().await.unwrap();
    let unloaded = unload("a:2").await.unwrap();
    assert!(!lease.cut().is_cancelled());
    assert_eq!((unloaded.unloaded.len(), unloaded.answers_cut, unloaded.deactivated), (1, 0, None));
    assert_eq!((scene.held(), scene.route()), (vec!["a".to_owned()], "a".into()));
    assert_eq!((scene.now().active.clone(), scene.roles()), (active, roles));
    assert!(scene.now().undo.as_ref().is_none_or(|undo| undo.done != "No model is active"));
    assert_eq!(unload("a").await.unwrap_err().code, ErrorCode::InvalidCall, "it is the only one now");
}

#[tokio::test(start_paused = true)]
async fn models_that_were_active_are_remembered_over_our_end_whether_by_a_switch_or_a_scene() {
    let memory = Memory::of(100);
    let one = server("one", &memory).with_model("a", 10).with_model("b", 10).with_model("c", 10);
    let journal = FakeJournal::default();
    let names = |scene: &Scene| -> Vec<String> {
        scene.now().recent.iter().map(|model| model.model.clone()).collect()
    };
    let scene = Scene::start(std::slice::from_ref(&one), &journal).await;
    assert_eq!(names(&scene), Vec::<String>::new());
    scene.switch("a").await.unwrap();
    scene.switch("b").await.unwrap();
    assert_eq!(names(&scene), ["b", "a"]);
    // What fails was never active.
    one.faults(|faults| faults.load = failing());
    scene.switch("c").await.unwrap();
    assert_eq!(names(&scene), ["b", "a"]);
    one.faults(|faults| faults.load = Fault::None);
    scene.apply("Solo", &[("critical", "c")]).await.unwrap();
    assert_eq!(names(&scene), ["c", "b", "a"]);
    scene.residency.unload(None, false, false).await.unwrap();
    assert_eq!(names(&scene), ["c", "b", "a"], "none is active, and they are offered all the same");
    scene.rest(5).await;
    scene.residency.shutdown().await;
    let scene = Scene::start(&[one], &journal).await;
    assert_eq!(names(&scene), ["c", "b", "a"]);
    scene.switch("a").await.unwrap();
    assert_eq!(names(&scene), ["a", "c", "b"]);
}
