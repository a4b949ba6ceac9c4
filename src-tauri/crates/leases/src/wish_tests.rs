//! Models that are asked for and not in memory.

use super::{
    tests::{ask, settle, target},
    *,
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::ModelRef,
    scene::Priority,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;

fn model(name: &str) -> ModelRef {
    ModelRef::new("s", name)
}

fn named(name: &str) -> Asked {
    Asked::Named(name.into())
}

/// These are in memory, and `a`, `b` and `c` on disk.
fn routes(loaded: &[&str]) -> Routes {
    Routes {
        loads_on_request: true,
        loaded: loaded.iter().map(|name| target(name, 1)).collect(),
        known: ["a", "b", "c"].map(model).into(),
        ..Routes::default()
    }
}

fn heard(wishes: &mut mpsc::Receiver<Wish>) -> Vec<String> {
    std::iter::from_fn(|| wishes.try_recv().ok()).map(|wish| wish.model.model).collect()
}

fn too_large() -> ApiError {
    ApiError::new(ErrorCode::DoesNotFit, "a needs 9 GB and 4 GB are free.").hint("Unload b.")
}

#[tokio::test(start_paused = true)]
async fn a_wish_is_told_once_and_ends_by_a_route() {
    let leases = Leases::default();
    let mut wishes = leases.wishes();
    leases.set_routes(Arc::new(routes(&[])));
    let first = ask(&leases, named("a"));
    let second = ask(&leases, named("s/a"));
    let other = ask(&leases, named("b"));
    settle().await;
    assert_eq!(heard(&mut wishes), ["a", "b"]);
    assert_eq!((leases.wished(&model("a")), leases.wished(&model("b")), leases.waiting()), (2, 1, 3));
    assert_eq!(leases.waits_for(&named("a")).to_string(), "a to be loaded");
    leases.set_routes(Arc::new(routes(&["a"])));
    let lease = first.await.unwrap().unwrap();
    settle().await;
    assert_eq!((leases.wished(&model("a")), second.is_finished()), (0, false), "it waits for its turn");
    drop(lease);
    assert!(second.await.unwrap().is_ok());
    assert!(!other.is_finished());
    assert_eq!(heard(&mut wishes), [""; 0], "nothing is told twice");
}

#[tokio::test(start_paused = true)]
async fn a_refused_wish_refuses_all_who_wait_for_it_and_nobody_else() {
    let leases = Leases::default();
    let mut wishes = leases.wishes();
    leases.set_routes(Arc::new(routes(&[])));
    let waiting = [ask(&leases, named("a")), ask(&leases, named("s/a"))];
    let other = ask(&leases, named("b"));
    settle().await;
    leases.refuse_wish(&model("a"), too_large());
    for one in waiting {
        let refused = one.await.unwrap().unwrap_err();
        assert_eq!(refused, Refused::NotLoadable { model: model("a"), error: too_large() });
        assert_eq!(refused.to_string(), "a needs 9 GB and 4 GB are free. Unload b.");
    }
    assert!(!other.is_finished());
    assert_eq!(heard(&mut wishes), ["a", "b"]);
    // The next one who asks is a wish of its own.
    let _again = ask(&leases, named("a"));
    settle().await;
    assert_eq!(heard(&mut wishes), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_wish_is_told_again_once_all_have_left_and_another_one_comes() {
    let leases = Leases::default();
    let mut wishes = leases.wishes();
    leases.set_routes(Arc::new(routes(&[])));
    let (first, second) = (ask(&leases, named("a")), ask(&leases, named("a")));
    settle().await;
    first.abort();
    settle().await;
    let third = ask(&leases, named("a"));
    settle().await;
    assert_eq!((heard(&mut wishes), leases.wished(&model("a"))), (vec!["a".to_owned()], 2));
    second.abort();
    third.abort();
    settle().await;
    assert_eq!(leases.wished(&model("a")), 0);
    let _fourth = ask(&leases, named("a"));
    settle().await;
    assert_eq!(heard(&mut wishes), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_hears_is_refused() {
    let leases = Leases::default();
    leases.set_routes(Arc::new(routes(&[])));
    let asks = async |name: &str| leases.take(named(name)).await.unwrap_err();
    assert_eq!(asks("a").await, Refused::NotLoaded(model("a")), "no listener yet");
    let wishes = leases.wishes();
    leases.set_routes(Arc::new(Routes { loads_on_request: false, ..routes(&[]) }));
    assert_eq!(asks("a").await, Refused::NotLoaded(model("a")), "by the settings");
    assert!(asks("a").await.to_string().contains("memory.load_on_request"));
    // More models than can be told.
    let many: Vec<ModelRef> = (0..100).map(|n| model(&format!("m{n}"))).collect();
    leases.set_routes(Arc::new(Routes { known: many.clone(), ..routes(&[]) }));
    let waiting: Vec<_> = many.iter().map(|one| ask(&leases, named(&one.model))).collect();
    settle().await;
    let refused = waiting.iter().filter(|one| one.is_finished()).count();
    assert_eq!((refused, leases.waiting()), (36, 64));
    drop(wishes);
    leases.set_routes(Arc::new(routes(&[])));
    assert_eq!(asks("a").await, Refused::NotLoaded(model("a")), "it has gone");
}

#[tokio::test(start_paused = true)]
async fn a_role_that_is_away_is_wished_for_whatever_the_settings_say() {
    let leases = Leases::default();
    let mut wishes = leases.wishes();
    let with = |route: ActiveRoute| {
        let roles = [("low".to_owned(), RoleRoute { route: route.clone(), priority: Priority::Background })];
        Arc::new(Routes { active: route, roles: roles.into(), loads_on_request: false, ..routes(&[]) })
    };
    leases.set_routes(with(ActiveRoute::Away(model("a"))));
    let (by_role, active) = (ask(&leases, named("low")), ask(&leases, Asked::Active));
    settle().await;
    assert_eq!((heard(&mut wishes), leases.wished(&model("a"))), (vec!["a".to_owned()], 2));
    // While it is loaded the role is held: that is still the wait for the wish, also for those who come now.
    leases.set_limits(Limits { held: Duration::from_secs(30), ..Limits::default() });
    leases.set_routes(with(ActiveRoute::Held));
    let late = ask(&leases, named("low"));
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!((leases.wished(&model("a")), late.is_finished()), (3, false), "a load takes its time");
    assert_eq!(leases.waits_for(&named("low")), Waits::Load(model("a")));
    // It cannot be loaded, and which of the two is told first makes no difference.
    leases.set_routes(with(ActiveRoute::Away(model("a"))));
    settle().await;
    assert_eq!(heard(&mut wishes), [""; 0], "nobody has left");
    leases.refuse_wish(&model("a"), too_large());
    for one in [by_role, active, late] {
        assert!(matches!(one.await.unwrap().unwrap_err(), Refused::NotLoadable { .. }));
    }
    assert_eq!(leases.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_nobody_answers_ends_by_the_limit() {
    let leases = Leases::default();
    leases.set_limits(Limits { turn: Duration::from_secs(90), ..Limits::default() });
    let mut wishes = leases.wishes();
    leases.set_routes(Arc::new(routes(&[])));
    let waiting = ask(&leases, named("a"));
    tokio::time::sleep(Duration::from_secs(89)).await;
    assert!(!waiting.is_finished());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(waiting.await.unwrap().unwrap_err(), Refused::StillLoading(model("a"), 90));
    assert_eq!(heard(&mut wishes), ["a"]);
    assert_eq!(leases.wished(&model("a")), 0);
}

#[tokio::test(start_paused = true)]
async fn what_asks_for_a_model_on_its_way_out_waits_for_it_to_come_back() {
    let leases = Leases::default();
    let mut wishes = leases.wishes();
    leases.set_routes(Arc::new(routes(&["a"])));
    leases.close(&model("a").server, "a");
    let waiting = ask(&leases, named("a"));
    settle().await;
    assert!(!waiting.is_finished() && heard(&mut wishes).is_empty());
    leases.set_routes(Arc::new(routes(&[])));
    leases.reopen(&model("a").server, "a");
    assert_eq!(heard(&mut wishes), ["a"]);
    leases.set_routes(Arc::new(routes(&["a"])));
    assert!(waiting.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn another_listener_hears_what_is_still_wished_for() {
    let leases = Leases::default();
    let first = leases.wishes();
    leases.set_routes(Arc::new(routes(&[])));
    let _waiting = ask(&leases, named("a"));
    settle().await;
    drop(first);
    let mut second = leases.wishes();
    assert_eq!(heard(&mut second), ["a"]);
    leases.shutdown();
    assert_eq!(second.recv().await, None, "the engine ends");
}
