//! Random sequences of routes, questions, wishes, refusals, departures and closings.

use super::{
    choose::{Choice, choose},
    tests::{ask, settle, target},
    *,
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::ModelRef,
    scene::Priority,
    server::ServerId,
};
use proptest::{
    prelude::*,
    sample::{Index, select, subsequence},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinHandle};

const MODELS: [&str; 3] = ["a", "b", "c"];
const NAMES: [&str; 8] = ["active", "low", "high", "alias", "a", "b", "c", "nothing"];
const TURN: Duration = Duration::from_secs(100);

#[derive(Debug, Clone)]
enum Act {
    Ask(&'static str),
    /// Somebody who waits leaves.
    Leave(Index),
    GiveBack(Index),
    Routes(Routes),
    Close(&'static str),
    Reopen(&'static str),
    Refuse(&'static str),
    Pass(u64),
}

fn route(slots: usize) -> impl Strategy<Value = ActiveRoute> {
    prop_oneof![
        1 => Just(ActiveRoute::None),
        1 => Just(ActiveRoute::Held),
        3 => select(&MODELS[..]).prop_map(move |name| ActiveRoute::Open(target(name, slots))),
        2 => select(&MODELS[..]).prop_map(|name| ActiveRoute::Away(ModelRef::new("s", name))),
        1 => Just(ActiveRoute::Down("s".into())),
        1 => Just(ActiveRoute::Refusing("it is damaged".into())),
    ]
}

/// Routes in which every instance has so many slots.
fn routes() -> impl Strategy<Value = Routes> {
    let parts = |slots: usize| {
        let to = select(vec!["active", "low", "a", "gone"]);
        let loaded = subsequence(MODELS.to_vec(), 0..=3);
        (Just(slots), route(slots), route(slots), route(slots), to, loaded, any::<bool>())
    };
    (0..3usize).prop_flat_map(parts).prop_map(|(slots, active, low, high, to, loaded, loads_on_request)| {
        let role = |route, priority| RoleRoute { route, priority };
        let roles = [("low", role(low, Priority::Background)), ("high", role(high, Priority::Critical))];
        Routes {
            active,
            roles: roles.map(|(name, role)| (name.to_owned(), role)).into(),
            aliases: [("alias".to_owned(), to.to_owned())].into(),
            loads_on_request,
            loaded: loaded.into_iter().map(|name| target(name, slots)).collect(),
            known: MODELS.map(|name| ModelRef::new("s", name)).into(),
            ..Routes::default()
        }
    })
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => select(&NAMES[..]).prop_map(Act::Ask),
        1 => any::<Index>().prop_map(Act::Leave),
        3 => any::<Index>().prop_map(Act::GiveBack),
        3 => routes().prop_map(Act::Routes),
        1 => select(&MODELS[..]).prop_map(Act::Close),
        1 => select(&MODELS[..]).prop_map(Act::Reopen),
        1 => select(&MODELS[..]).prop_map(Act::Refuse),
        1 => (1..60u64).prop_map(Act::Pass),
    ]
}

/// Everybody around the book, and what they know.
struct World {
    leases: Leases,
    wishes: mpsc::Receiver<Wish>,
    waiting: Vec<(Asked, JoinHandle<Result<Lease, Refused>>)>,
    held: Vec<Lease>,
    closed: BTreeSet<&'static str>,
    /// Wishes that were told and are not over.
    told: BTreeSet<ModelRef>,
    ended: usize,
    asked: usize,
}

impl World {
    fn new() -> Self {
        let leases = Leases::default();
        leases.set_limits(Limits { queue: 6, held: Duration::from_secs(30), turn: TURN });
        Self {
            wishes: leases.wishes(),
            leases,
            waiting: vec![],
            held: vec![],
            closed: BTreeSet::new(),
            told: BTreeSet::new(),
            ended: 0,
            asked: 0,
        }
    }

    async fn act(&mut self, act: Act) {
        let server = ServerId::new("s");
        match act {
            Act::Ask(name) => {
                let asked = Asked::new(Some(name));
                self.asked += 1;
                self.waiting.push((asked.clone(), ask(&self.leases, asked)));
            }
            Act::Leave(index) if !self.waiting.is_empty() => {
                let (_, one) = self.waiting.remove(index.index(self.waiting.len()));
                one.abort();
                self.ended += 1;
            }
            Act::GiveBack(index) if !self.held.is_empty() => {
                drop(self.held.remove(index.index(self.held.len())));
            }
            Act::Leave(_) | Act::GiveBack(_) => {}
            Act::Routes(routes) => self.leases.set_routes(Arc::new(routes)),
            Act::Close(name) => {
                self.closed.insert(name);
                self.leases.close(&server, name);
            }
            Act::Reopen(name) => {
                self.closed.remove(name);
                self.leases.reopen(&server, name);
            }
            Act::Refuse(name) => {
                let error = ApiError::new(ErrorCode::DoesNotFit, "It does not fit.");
                self.leases.refuse_wish(&ModelRef::new("s", name), error);
            }
            Act::Pass(seconds) => tokio::time::advance(Duration::from_secs(seconds)).await,
        }
        settle().await;
        self.collect().await;
        self.check();
    }

    async fn collect(&mut self) {
        let all = std::mem::take(&mut self.waiting);
        for (asked, one) in all {
            if !one.is_finished() {
                self.waiting.push((asked, one));
                continue;
            }
            self.ended += 1;
            let Ok(lease) = one.await.unwrap() else { continue };
            let target = lease.target();
            assert!(
                !self.closed.contains(target.instance.as_str()),
                "a lease on {target:?}, which is closed"
            );
            assert!(
                self.leases.count(&target.server, &target.instance) <= target.slots,
                "{target:?} is full"
            );
            assert!(self.leases.routes().has(target), "{target:?} is in no route");
            self.held.push(lease);
        }
        while let Ok(Wish { model }) = self.wishes.try_recv() {
            assert!(self.told.insert(model.clone()), "{model} is told twice");
        }
        self.told.retain(|model| self.leases.wished(model) > 0);
    }

    fn check(&self) {
        let routes = self.leases.routes();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for lease in &self.held {
            *counts.entry(lease.target().instance.as_str()).or_default() += 1;
        }
        for name in MODELS {
            let held = counts.get(name).copied().unwrap_or_default();
            assert_eq!(self.leases.count(&ServerId::new("s"), name), held, "leases on {name}");
        }
        for (asked, _) in &self.waiting {
            match choose(&routes, asked).choice {
                Choice::Wait => {}
                Choice::Wish(model) => {
                    assert!(self.told.contains(&model), "nobody knows that {model} is wished for")
                }
                Choice::Refuse(refused) => panic!("{asked:?} waits and is refused: {refused}"),
                Choice::Use(Target { instance, slots, .. }) => {
                    let held = counts.get(instance.as_str()).copied().unwrap_or_default();
                    let free = held < slots && !self.closed.contains(instance.as_str());
                    assert!(!free, "{asked:?} waits beside a free slot of {instance}");
                }
            }
        }
        assert_eq!(self.leases.waiting(), self.waiting.len());
        assert_eq!(self.ended + self.waiting.len(), self.asked, "each ends once");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_slots_are_kept_and_everybody_ends_once(acts in prop::collection::vec(act(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for act in acts {
                world.act(act).await;
            }
            world.act(Act::Pass(TURN.as_secs() + 1)).await;
            assert_eq!(world.waiting.len(), 0, "every wait is bounded");
        });
    }
}
