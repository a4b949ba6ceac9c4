use super::*;
use pilothouse_domain::{endpoint::Endpoint, server::ServerId};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) fn target(name: &str, slots: usize) -> Target {
    let openai = Endpoint { base_url: "http://127.0.0.1:1/v1".into(), key: None };
    Target { server: ServerId::new("s"), model: name.into(), instance: name.into(), openai, slots }
}

pub(crate) fn open(target: &Target) -> Arc<Routes> {
    let active = ActiveRoute::Open(target.clone());
    Arc::new(Routes { active, loaded: vec![target.clone()], known: vec![], ..Routes::default() })
}

pub(crate) fn held() -> Arc<Routes> {
    Arc::new(Routes { active: ActiveRoute::Held, ..Routes::default() })
}

pub(crate) fn ask(leases: &Leases, asked: Asked) -> JoinHandle<Result<Lease, Refused>> {
    let leases = leases.clone();
    tokio::spawn(async move { leases.take(asked).await })
}

pub(crate) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn never_more_than_the_slots_and_then_in_the_order_of_coming() {
    let leases = Leases::default();
    leases.set_routes(open(&target("a", 2)));
    let first = leases.take(Asked::Active).await.unwrap();
    let _second = leases.take(Asked::Active).await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(ask(&leases, Asked::Active));
        settle().await;
    }
    assert_eq!((leases.count(&ServerId::new("s"), "a"), leases.waiting()), (2, 3));
    drop(first);
    let third = waiting.remove(0).await.unwrap().unwrap();
    assert_eq!((leases.count(&ServerId::new("s"), "a"), leases.waiting()), (2, 2));
    assert!(waiting.iter().all(|one| !one.is_finished()), "the next ones still wait");
    // Whoever leaves the queue takes no turn.
    waiting.remove(0).abort();
    settle().await;
    drop(third);
    assert!(waiting.remove(0).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_the_role_moves_to_the_new_model_and_its_own_name_stays() {
    let leases = Leases::default();
    let (a, b) = (target("a", 1), target("b", 8));
    leases.set_routes(open(&a));
    let busy = leases.take(Asked::Active).await.unwrap();
    let by_role = ask(&leases, Asked::Active);
    let by_name = ask(&leases, Asked::Named("a".into()));
    settle().await;
    let both = Routes {
        active: ActiveRoute::Open(b.clone()),
        loaded: vec![a.clone(), b],
        known: vec![],
        ..Routes::default()
    };
    leases.set_routes(Arc::new(both));
    assert_eq!(by_role.await.unwrap().unwrap().target().model, "b");
    settle().await;
    assert!(!by_name.is_finished(), "it asked for a");
    leases.close(&a.server, "a");
    assert_eq!(by_name.await.unwrap().unwrap_err(), Refused::Leaving("a".into()));
    assert!(!leases.is_current(busy.target()), "it is on its way out");
}

#[tokio::test(start_paused = true)]
async fn a_held_role_waits_for_the_limit_and_not_longer() {
    let leases = Leases::default();
    leases.set_limits(Limits { held: Duration::from_secs(30), ..Limits::default() });
    leases.set_routes(held());
    let early = ask(&leases, Asked::Active);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let late = ask(&leases, Asked::Active);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(early.await.unwrap().unwrap_err(), Refused::Switching(30));
    assert!(!late.is_finished(), "each has its own time");
    leases.set_routes(open(&target("a", 1)));
    assert!(late.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_turn_is_no_wait_for_a_switch_and_has_its_own_bound() {
    let leases = Leases::default();
    let turn = Duration::from_secs(300);
    leases.set_limits(Limits { held: Duration::from_secs(30), turn, queue: 2 });
    leases.set_routes(open(&target("a", 1)));
    let _busy = leases.take(Asked::Active).await.unwrap();
    let waiting = ask(&leases, Asked::Active);
    let named = ask(&leases, Asked::Named("a".into()));
    settle().await;
    assert_eq!(leases.take(Asked::Active).await.unwrap_err(), Refused::QueueFull(2));
    tokio::time::sleep(Duration::from_secs(290)).await;
    assert!(!waiting.is_finished() && !named.is_finished());
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(waiting.await.unwrap().unwrap_err(), Refused::NoTurn(300));
    assert_eq!(named.await.unwrap().unwrap_err(), Refused::NoTurn(300));
    assert_eq!(leases.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_begins_while_somebody_waits_for_a_turn_has_its_own_limit() {
    let leases = Leases::default();
    leases.set_limits(Limits { held: Duration::from_secs(30), ..Limits::default() });
    leases.set_routes(open(&target("a", 1)));
    let busy = leases.take(Asked::Active).await.unwrap();
    let waiting = ask(&leases, Asked::Active);
    tokio::time::sleep(Duration::from_secs(100)).await;
    leases.set_routes(held());
    drop(busy);
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert!(!waiting.is_finished());
    tokio::time::sleep(Duration::from_secs(36)).await;
    assert_eq!(waiting.await.unwrap().unwrap_err(), Refused::Switching(30));
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_the_last_answer_and_cuts_after_its_limit() {
    let leases = Leases::default();
    let (a, b) = (target("a", 4), target("b", 4));
    let never = CancellationToken::new();
    let limit = Duration::from_secs(5);
    assert_eq!(leases.drain(&a.server, "a", limit, &never).await, 0, "nothing is under way");
    let first = leases.enter(&a);
    let second = leases.enter(&a);
    let _other = leases.enter(&b);
    let draining = tokio::spawn({
        let leases = leases.clone();
        async move { leases.drain(&ServerId::new("s"), "a", limit, &CancellationToken::new()).await }
    });
    settle().await;
    drop(first);
    settle().await;
    assert!(!draining.is_finished());
    tokio::time::sleep(Duration::from_secs(6)).await;
    second.cut().cancelled().await;
    drop(second);
    assert_eq!(draining.await.unwrap(), 1);
    assert_eq!(leases.count(&b.server, "b"), 1, "others are left alone");
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_is_hurried_cuts_at_once_and_never_hangs_on_a_deaf_holder() {
    let leases = Leases::default();
    let a = target("a", 4);
    let _deaf = leases.enter(&a);
    let now = CancellationToken::new();
    now.cancel();
    let begun = tokio::time::Instant::now();
    assert_eq!(leases.drain(&a.server, "a", Duration::from_secs(3600), &now).await, 1);
    assert!(begun.elapsed() < Duration::from_secs(5), "by the paused clock");
}

#[tokio::test(start_paused = true)]
async fn refusals_say_what_is_wrong() {
    let leases = Leases::default();
    assert_eq!(leases.take(Asked::Active).await.unwrap_err(), Refused::NoActiveModel);
    let known = vec![pilothouse_domain::model::ModelRef { server: "s".into(), model: "c".into() }];
    let routes = Routes {
        active: ActiveRoute::Refusing("it is gone".into()),
        loaded: vec![target("a", 1)],
        known,
        ..Routes::default()
    };
    leases.set_routes(Arc::new(routes));
    assert_eq!(
        leases.take(Asked::Active).await.unwrap_err(),
        Refused::Cannot { role: "active".into(), why: "it is gone".into() }
    );
    let named = async |name: &str| leases.take(Asked::Named(name.into())).await;
    assert_eq!(named("s/a").await.unwrap().target().model, "a");
    assert_eq!(named("x").await.unwrap_err(), Refused::Unknown("x".into()));
    assert!(matches!(named("s/c").await.unwrap_err(), Refused::NotLoaded(model) if model.model == "c"));
    leases.shutdown();
    assert_eq!(named("a").await.unwrap_err(), Refused::ShuttingDown);
}

#[tokio::test(start_paused = true)]
async fn without_a_free_slot_everybody_waits_and_is_served_once_there_is_one() {
    let leases = Leases::default();
    leases.set_routes(open(&target("a", 0)));
    let waiting = ask(&leases, Asked::Active);
    settle().await;
    assert!(!waiting.is_finished() && leases.waiting() == 1, "its only slot gives an answer of nobody");
    leases.set_routes(open(&target("a", 1)));
    assert!(waiting.await.unwrap().is_ok());
}
