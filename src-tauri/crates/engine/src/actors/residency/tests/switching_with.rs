//! Switches that say with what the model shall be loaded.

use super::*;
use crate::actors::residency::{Aim, ModelWanted, Undone};
use pilothouse_domain::{
    anatomy::KvType,
    error::ApiError,
    model::{LoadSettings, ModelRef},
    residency::Kept,
    switch::SwitchReport,
};

fn context(tokens: u64) -> LoadSettings {
    LoadSettings::context(Some(tokens))
}

fn chosen(scene: &Scene, model: &str, with: LoadSettings) -> ModelWanted {
    ModelWanted { model: scene.role("active", model).model, with, bytes: None }
}

async fn load_with(scene: &Scene, model: &str, with: LoadSettings) -> Result<SwitchReport, ApiError> {
    scene.residency.switch_with(chosen(scene, model, with), false, false).await
}

fn names(report: &SwitchReport) -> Vec<&str> {
    report.steps.iter().map(|step| step.name.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_model_is_loaded_as_asked_and_active_and_the_one_before_leaves() {
    let (scene, one) = roomy().await;
    let report = load_with(&scene, "b", context(2048)).await.unwrap();
    assert_eq!(
        (report.outcome, names(&report)),
        (SwitchOutcome::Committed, vec!["load", "prove", "commit", "unload"])
    );
    assert_eq!(report.from, Some(ModelRef::new("one", "a")));
    assert!(report.load_ms > Some(0) && report.first_token_ms > Some(0) && report.journalled, "{report:?}");
    assert_eq!((scene.route(), scene.held()), ("b".into(), vec!["b".to_owned()]));
    assert_eq!(one.context_of("b"), Some(2048));
    assert_eq!(scene.journal.kept_active(), Some(active("one", "b")));
    let now = scene.now();
    assert!(now.switching.is_none() && now.arranging.is_none());
    assert_eq!(now.last_switch, Some(report.clone()), "views are told of it as of any switch");
    let rows = scene.journal.rows();
    assert_eq!(rows.last().map(|row| row.id), Some(report.switch_id), "and it stands among the switches");
    // The same again: nothing is done.
    let (loads, again) = (one.loads(), load_with(&scene, "b", context(2048)).await.unwrap());
    assert_eq!((again.reason.as_deref(), names(&again).len()), (Some("b is already active."), 0));
    assert_eq!(one.loads(), loads);
}

#[tokio::test(start_paused = true)]
async fn while_it_runs_it_is_shown_as_a_switch_and_joined_by_its_like() {
    let (scene, one) = roomy().await;
    let (residency, second) = (scene.residency.clone(), chosen(&scene, "b", context(2048)));
    let like = second.clone();
    let first = tokio::spawn(async move { residency.switch_with(like, false, false).await });
    scene.rest(2).await;
    let now = scene.now();
    let switching = now.switching.clone().unwrap();
    assert_eq!((switching.to.model.as_str(), now.arranging.is_none()), ("b", true));
    assert_eq!(scene.route(), "a", "with room the model before answers until the commit");
    let plain = scene.click(wanted("b"));
    let second = scene.residency.switch_with(second, false, false).await.unwrap();
    let first = first.await.unwrap().unwrap();
    assert_eq!((&first, &first), (&second, &plain.await.unwrap().unwrap()));
    assert_eq!(one.loads(), 2, "one load for all of them, after that of the model before");
}

#[tokio::test(start_paused = true)]
async fn the_active_model_with_other_settings_is_loaded_again_and_an_undo_brings_the_old_ones_back() {
    let (scene, one) = roomy().await;
    let usual = one.context_of("a");
    for tokens in [2048, 1024] {
        let before = one.context_of("a");
        let report = load_with(&scene, "a", context(tokens)).await.unwrap();
        assert_eq!(names(&report), ["unload", "load", "prove", "commit"], "{report:?}");
        assert_eq!((one.context_of("a"), scene.route()), (Some(tokens), "a".into()));
        if tokens == 1024 {
            let Undone::Switch(undone) = scene.residency.undo().await.unwrap() else { panic!("a switch") };
            assert_eq!((undone.outcome, undone.to.model.as_str()), (SwitchOutcome::Committed, "a"));
            assert_eq!((one.context_of("a"), before), (Some(2048), Some(2048)));
            assert_eq!(scene.residency.undo().await.unwrap_err().code, ErrorCode::NotFound, "once");
        }
    }
    // As its server loads it by itself.
    load_with(&scene, "a", LoadSettings::default()).await.unwrap();
    assert_eq!((one.context_of("a"), scene.now().restore_at), (usual, None));
}

#[tokio::test(start_paused = true)]
async fn an_undo_brings_back_the_model_before_as_it_was_loaded_also_of_a_switch_without_settings() {
    let (scene, one) = roomy().await;
    load_with(&scene, "a", context(2048)).await.unwrap();
    for plain in [true, false] {
        match plain {
            true => drop(scene.switch("b").await.unwrap()),
            false => drop(load_with(&scene, "b", context(512)).await.unwrap()),
        }
        assert_eq!(scene.held(), ["b"]);
        scene.residency.undo().await.unwrap();
        assert_eq!((scene.held(), scene.route()), (vec!["a".to_owned()], "a".into()));
        assert_eq!(one.context_of("a"), Some(2048), "plain: {plain}");
    }
    // One that left is loaded as usual when it comes by itself.
    load_with(&scene, "b", context(512)).await.unwrap();
    scene.switch("a").await.unwrap();
    assert_ne!(one.context_of("a"), Some(2048));
}

/// A benchmark that borrows a whole server takes out what is there.
#[tokio::test(start_paused = true)]
async fn a_server_that_was_lent_has_its_models_again_as_they_were_loaded() {
    // One of ours, which is told nothing with a load unless a role or a person said so.
    let one = server("one", &Memory::of(100)).ours().with_model("a", 10);
    let scene = Scene::start(std::slice::from_ref(&one), &FakeJournal::default()).await;
    scene.supervisors.get(&"one".into()).unwrap().ensure_ready().await.unwrap();
    scene.rest(6).await;
    scene.switch("a").await.unwrap();
    let usual = one.context_of("a");
    for (with, tokens) in [(context(2048), Some(2048)), (LoadSettings::default(), usual)] {
        load_with(&scene, "a", with).await.unwrap();
        let never = CancellationToken::new();
        let mut loan =
            scene.residency.borrow_server("one".into(), "A benchmark".into(), never).await.unwrap();
        loan.take_out("a").await.unwrap();
        loan.bring_back().await.unwrap();
        assert_eq!(one.context_of("a"), tokens, "in the middle of it");
        loan.take_out("a").await.unwrap();
        assert!(scene.held().is_empty());
        loan.give_back().await.unwrap();
        assert_eq!((one.context_of("a"), scene.route()), (tokens, "a".into()), "at its end");
    }
}

#[tokio::test(start_paused = true)]
async fn what_its_server_cannot_be_given_is_refused_before_anything_is_disturbed() {
    let (scene, one) = roomy().await;
    let before = (one.acts(), scene.journal.rows().len(), scene.journal.kept_now());
    let usual = LoadSettings::default();
    for with in
        [LoadSettings { parallel: Some(2), ..usual }, LoadSettings { kv_type: Some(KvType::Q8_0), ..usual }]
    {
        for (model, dry_run) in [("a", true), ("a", false), ("b", true), ("b", false)] {
            let refused = scene.residency.switch_with(chosen(&scene, model, with), false, dry_run).await;
            assert_eq!(refused.unwrap_err().code, ErrorCode::Unsupported, "{model}, dry run: {dry_run}");
        }
    }
    let now: (Vec<Act>, usize, Kept) = (one.acts(), scene.journal.rows().len(), scene.journal.kept_now());
    assert_eq!(now, before);
    assert!(scene.lease().await.is_ok());
    let planned = scene.residency.switch_with(chosen(&scene, "b", context(2048)), false, true).await.unwrap();
    assert_eq!((planned.dry_run, names(&planned)), (true, vec!["load", "prove", "commit", "unload"]));
    assert_eq!(one.acts(), now.0);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_has_loaded_otherwise_is_left_to_them() {
    let (scene, one) = roomy().await;
    one.load_by_owner("b", Expiry::Never);
    scene.rest(6).await;
    for dry_run in [true, false] {
        let refused = scene.residency.switch_with(chosen(&scene, "b", context(7)), false, dry_run).await;
        assert_eq!(refused.unwrap_err().code, ErrorCode::NotOurs);
    }
    assert_eq!((scene.held(), scene.route()), (vec!["a".to_owned(), "b".to_owned()], "a".into()));
}

#[tokio::test(start_paused = true)]
async fn a_load_that_fails_puts_back_what_was_there_as_it_was_loaded() {
    type Break = fn(&FakeServer);
    let breaks: [(&str, Break); 4] = [
        ("the load is refused", |one| one.faults(|f| f.next_loads = [failing()].into())),
        ("the load never ends", |one| one.faults(|f| f.next_loads = [Fault::Hang].into())),
        ("it gives no token", |one| one.faults(|f| f.generate = failing())),
        ("another model answers", |one| one.faults(|f| f.answers_as = Some("c".into()))),
    ];
    for (what, break_it) in breaks {
        for model in ["a", "b"] {
            let (scene, one) = roomy().await;
            scene.set(|settings| (settings.load_floor_s, settings.load_ceiling_s) = (10, 20));
            load_with(&scene, "a", context(2048)).await.unwrap();
            break_it(&one);
            let report = load_with(&scene, model, context(1024)).await.unwrap();
            assert_eq!(report.outcome, SwitchOutcome::RolledBack, "{what}, {model}: {report:?}");
            assert!(report.reason.is_some() && report.error.is_some(), "{report:?}");
            one.faults(|faults| *faults = Default::default());
            scene.rest(30).await;
            assert_eq!((scene.held(), scene.route()), (vec!["a".to_owned()], "a".into()), "{what}, {model}");
            assert_eq!(one.context_of("a"), Some(2048), "{what}, {model}");
            assert!(scene.now().switching.is_none());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_scene_the_role_that_leads_takes_it_over_and_the_others_stay() {
    let (scene, one) = roomy().await;
    scene.apply("S", &[("critical", "a"), ("small", "b")]).await.unwrap();
    load_with(&scene, "c", context(2048)).await.unwrap();
    assert_eq!(
        (scene.held(), scene.route(), scene.route_of("critical")),
        (vec!["b".into(), "c".into()], "c".into(), "c".into())
    );
    assert_eq!(scene.route_of("small"), "b");
    let with_of = |scene: &Scene, role: &str| {
        scene.now().roles.iter().find(|one| one.role == role).map(|one| one.held.with).unwrap()
    };
    assert_eq!(with_of(&scene, "critical"), context(2048));
    // The model of another role is in memory once: both have it so.
    load_with(&scene, "b", context(1024)).await.unwrap();
    assert_eq!((scene.held(), one.context_of("b")), (vec!["b".to_owned()], Some(1024)));
    assert_eq!((with_of(&scene, "critical"), with_of(&scene, "small")), (context(1024), context(1024)));
    assert_eq!((scene.route(), scene.route_of("small")), ("b".into(), "b".into()));
    scene.residency.undo().await.unwrap();
    assert_eq!(
        (scene.held(), scene.route(), scene.route_of("small")),
        (vec!["b".into(), "c".into()], "c".into(), "b".into())
    );
    assert_eq!(
        (with_of(&scene, "critical"), with_of(&scene, "small")),
        (context(2048), LoadSettings::default())
    );
    assert_eq!(one.context_of("c"), Some(2048));
    // “Restore” is still the arrangement before the scene.
    scene.residency.apply(Aim::Before, false, false).await.unwrap();
    assert_eq!((scene.held(), scene.route(), scene.roles().len()), (vec!["a".to_owned()], "a".into(), 0));
}

#[tokio::test(start_paused = true)]
async fn a_person_s_other_wish_takes_over_and_a_cancel_puts_back() {
    // At once nobody could tell which of the two was asked for first.
    for second in 1..9 {
        for other in [true, false] {
            let (scene, one) = roomy().await;
            load_with(&scene, "a", context(2048)).await.unwrap();
            let (residency, wanted) = (scene.residency.clone(), chosen(&scene, "a", context(1024)));
            let under_way = tokio::spawn(async move { residency.switch_with(wanted, false, false).await });
            scene.rest(second).await;
            match other {
                true => drop(scene.switch("b").await.unwrap()),
                false => drop(scene.residency.cancel().await),
            }
            let report = under_way.await.unwrap().unwrap();
            scene.rest(30).await;
            let done = report.outcome == SwitchOutcome::Committed;
            let told = format!("after {second} s, another: {other}: {report:?}");
            if other {
                assert_eq!((scene.held(), scene.route()), (vec!["b".to_owned()], "b".into()), "{told}");
            } else {
                let expected = if done { 1024 } else { 2048 };
                assert_eq!((scene.route(), one.context_of("a")), ("a".into(), Some(expected)), "{told}");
            }
        }
    }
}

/// Our own death at every half second of a load of the active model with other settings, and of another model.
#[test]
fn our_own_death_leaves_the_settings_before_or_those_after_and_a_start_brings_them_back() {
    for (model, tokens) in [("a", 1024), ("b", 512)] {
        let (mut before, mut after) = (0, 0);
        for half_second in 0..24 {
            let one = server("one", &Memory::of(100)).with_model("a", 10).with_model("b", 10).ours();
            let servers = [one.clone()];
            let journal = FakeJournal::default();
            life(async {
                let scene = Scene::start(&servers, &journal).await;
                scene.supervisors.get(&"one".into()).unwrap().ensure_ready().await.unwrap();
                scene.rest(6).await;
                load_with(&scene, "a", context(2048)).await.unwrap();
                let (residency, wanted) = (scene.residency.clone(), chosen(&scene, model, context(tokens)));
                drop(tokio::spawn(async move { residency.switch_with(wanted, false, false).await }));
                tokio::time::sleep(Duration::from_millis(half_second * 500)).await;
            });
            // Our servers end with us.
            ["a", "b"].iter().for_each(|name| one.drop_model(name));
            let (route, held) = life(async {
                let scene = Scene::start(&servers, &journal).await;
                scene.supervisors.get(&"one".into()).unwrap().ensure_ready().await.unwrap();
                scene.rest(120).await;
                (scene.route(), scene.held())
            });
            assert_eq!(held, std::slice::from_ref(&route), "{half_second} half seconds");
            match (route.as_str(), one.context_of(&route)) {
                ("a", Some(2048)) => before += 1,
                (other, Some(found)) if other == model && found == tokens => after += 1,
                other => panic!("{other:?} after {half_second} half seconds"),
            }
        }
        assert!(before > 3 && after > 3, "{before} {after}");
    }
}
