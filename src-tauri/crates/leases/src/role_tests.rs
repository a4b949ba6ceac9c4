//! Roles, whose turn it is, and when a model was last used.

use super::{
    tests::{ask, settle, target},
    *,
};
use pilothouse_domain::{
    scene::Priority::{self, Background, Critical, Normal},
    server::ServerId,
};
use std::{sync::Arc, time::Duration};

fn role(route: ActiveRoute, priority: Priority) -> RoleRoute {
    RoleRoute { route, priority }
}

/// Routes with these roles; every open target is loaded.
fn with_roles<const N: usize>(roles: [(&str, RoleRoute); N]) -> Routes {
    let roles = roles.map(|(name, role)| (name.to_owned(), role)).into();
    let routes = Routes { roles, ..Routes::default() };
    let loaded = routes.roles.values().filter_map(|role| match &role.route {
        ActiveRoute::Open(target) => Some(target.clone()),
        _ => None,
    });
    Routes { loaded: loaded.collect(), ..routes }
}

fn named(name: &str) -> Asked {
    Asked::Named(name.into())
}

#[tokio::test(start_paused = true)]
async fn a_role_waits_while_it_is_held_and_moves_like_active() {
    let leases = Leases::default();
    let (a, b) = (target("a", 1), target("b", 1));
    leases.set_routes(Arc::new(with_roles([("small", role(ActiveRoute::Held, Normal))])));
    let mut waiting = Vec::new();
    for asked in [named("small"), Asked::Role("small".into())] {
        waiting.push((ask(&leases, asked.clone()), asked));
    }
    settle().await;
    assert_eq!((leases.waiting(), leases.waits_for(&named("small"))), (2, Waits::Switch));
    leases.set_routes(Arc::new(with_roles([("small", role(ActiveRoute::Open(a.clone()), Normal))])));
    let first = waiting.remove(0).0.await.unwrap().unwrap();
    assert_eq!((first.target().model.as_str(), first.role()), ("a", Some("small")));
    // The other one waits for its turn, which comes at the new model. An instance on its way out refuses nobody of a role.
    leases.close(&a.server, "a");
    settle().await;
    assert_eq!(leases.waiting(), 1);
    leases.set_routes(Arc::new(with_roles([("small", role(ActiveRoute::Open(b), Normal))])));
    assert_eq!(waiting.remove(0).0.await.unwrap().unwrap().target().model, "b");
}

#[tokio::test(start_paused = true)]
async fn each_role_is_held_for_the_limit_by_itself() {
    let leases = Leases::default();
    leases.set_limits(Limits { held: Duration::from_secs(30), ..Limits::default() });
    let (held, open) = (|| role(ActiveRoute::Held, Normal), role(ActiveRoute::Open(target("a", 1)), Normal));
    leases.set_routes(Arc::new(with_roles([("one", held()), ("two", open)])));
    let first = ask(&leases, named("one"));
    tokio::time::sleep(Duration::from_secs(20)).await;
    leases.set_routes(Arc::new(with_roles([("one", held()), ("two", held())])));
    let second = ask(&leases, named("two"));
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(first.await.unwrap().unwrap_err(), Refused::Switching(30));
    assert!(!second.is_finished());
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(second.await.unwrap().unwrap_err(), Refused::Switching(30));
}

/// Models in the order in which their only slot was given to those who wait.
async fn served(
    leases: &Leases,
    waiting: Vec<(&'static str, tokio::task::JoinHandle<Result<Lease, Refused>>)>,
) -> Vec<&'static str> {
    let (mut waiting, mut order) = (waiting, Vec::new());
    while !waiting.is_empty() {
        settle().await;
        let ready = waiting.iter().position(|(_, one)| one.is_finished()).expect("somebody has the turn");
        assert_eq!(waiting.iter().filter(|(_, one)| one.is_finished()).count(), 1);
        let (name, one) = waiting.remove(ready);
        order.push(name);
        drop(one.await.unwrap().unwrap());
    }
    assert_eq!(leases.waiting(), 0);
    order
}

fn one_model_of_three_roles() -> Routes {
    let open = || ActiveRoute::Open(target("a", 1));
    let routes = with_roles([
        ("low", role(open(), Background)),
        ("mid", role(open(), Normal)),
        ("high", role(open(), Critical)),
    ]);
    let aliases = [("gpt".to_owned(), "high".to_owned())].into();
    Routes { active: open(), active_priority: Background, aliases, ..routes }
}

#[tokio::test(start_paused = true)]
async fn turns_go_by_priority_and_then_by_coming() {
    let leases = Leases::default();
    leases.set_routes(Arc::new(one_model_of_three_roles()));
    let busy = leases.take(named("a")).await.unwrap();
    let mut waiting = Vec::new();
    for name in ["low", "active", "mid", "a", "high", "low", "gpt", "mid"] {
        waiting.push((name, ask(&leases, Asked::new(Some(name)))));
        settle().await;
    }
    drop(busy);
    assert_eq!(served(&leases, waiting).await, ["high", "gpt", "mid", "a", "mid", "low", "active", "low"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_starves_behind_critical_ones_that_keep_coming() {
    let leases = Leases::default();
    leases.set_limits(Limits { turn: Duration::from_secs(100), ..Limits::default() });
    leases.set_routes(Arc::new(one_model_of_three_roles()));
    let busy = leases.take(named("high")).await.unwrap();
    let mut waiting = vec![("low", ask(&leases, named("low"))), ("mid", ask(&leases, named("mid")))];
    settle().await;
    tokio::time::sleep(Duration::from_secs(51)).await;
    waiting.push(("high", ask(&leases, named("high"))));
    waiting.push(("low", ask(&leases, named("low"))));
    settle().await;
    drop(busy);
    assert_eq!(served(&leases, waiting).await, ["low", "mid", "high", "low"]);
}

#[tokio::test(start_paused = true)]
async fn the_last_use_is_the_end_of_an_answer_that_somebody_asked_for() {
    let leases = Leases::default();
    let (a, b) = (target("a", 2), target("b", 2));
    let routes = |targets: &[&Target]| {
        Arc::new(Routes { loaded: targets.iter().map(|one| (*one).clone()).collect(), ..Routes::default() })
    };
    leases.set_routes(routes(&[&a, &b]));
    let server = ServerId::new("s");
    let used = |instance: &str| leases.last_used(&server, instance);
    drop(leases.enter(&a));
    assert_eq!(used("a"), None, "a question of our own");
    let begun = tokio::time::Instant::now();
    let lease = leases.take(named("a")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(used("a"), None, "it is still under way");
    drop(lease);
    assert_eq!(used("a"), Some(begun + Duration::from_secs(7)));
    tokio::time::sleep(Duration::from_secs(5)).await;
    drop(leases.try_enter(&b).unwrap());
    drop(leases.enter(&a));
    assert_eq!(
        (used("a"), used("b")),
        (Some(begun + Duration::from_secs(7)), Some(begun + Duration::from_secs(12)))
    );
    // Nothing is kept of what is gone, also when it ends later.
    let late = leases.take(named("a")).await.unwrap();
    leases.set_routes(routes(&[&b]));
    drop(late);
    leases.set_routes(routes(&[&a, &b]));
    assert_eq!(used("a"), None);
    assert!(used("b").is_some());
}
