//! Random sequences of scenes, switches, wishes, pins and unloading, of failures, drift and deaths, against fake servers: what is held
//! afterwards is what was written down, what is pinned has not left, and nobody waits for ever.

use super::{Wanted, random_tests::number};
use crate::{
    fakes::{FakeJournal, FakeServer, Fault, Memory, Scene, wanted},
    hub::{Names, Report},
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{Expiry, ModelRef},
    settings::SwitchingSettings,
};
use pilothouse_leases::{ActiveRoute, Asked, Lease};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, FileFailurePersistence, RngAlgorithm, TestRng, TestRunner},
};
use std::{cell::RefCell, collections::BTreeSet, time::Duration};

const MODELS: [(&str, usize); 4] = [("a", 0), ("b", 0), ("c", 1), ("d", 1)];
/// Roles and the models that they stand for.
const SCENES: [&[(&str, &str)]; 5] = [
    &[],
    &[("critical", "a")],
    &[("critical", "a"), ("background", "c")],
    &[("critical", "b"), ("background", "c"), ("small", "d")],
    &[("active", "d"), ("other", "d"), ("small", "b")],
];

#[derive(Debug, Clone)]
enum Move {
    Apply(usize),
    Restore,
    Click(usize),
    Unload(usize),
    Deactivate,
    Undo,
    Pin(usize, bool),
    Cancel,
    /// A program asks by a name and keeps the answer going.
    Ask(&'static str),
    EndAnswers,
    LoadFails(usize),
    LoadHangs(usize),
    UnloadFails(usize),
    Mute(usize),
    Well(usize),
    OwnerLoads(usize),
    OwnerDrops(usize),
    Dies(usize),
    ComesBack(usize),
    Rest(u64),
    Quit,
    Death,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let (server, model) = (0..2usize, 0..MODELS.len());
    let names = ["active", "critical", "background", "small", "other", "a", "b", "c", "d"];
    let one = prop_oneof![
        6 => (0..SCENES.len()).prop_map(Move::Apply),
        1 => Just(Move::Restore),
        3 => model.clone().prop_map(Move::Click),
        2 => model.clone().prop_map(Move::Unload),
        1 => Just(Move::Deactivate),
        2 => Just(Move::Undo),
        2 => (model.clone(), any::<bool>()).prop_map(|(model, pinned)| Move::Pin(model, pinned)),
        1 => Just(Move::Cancel),
        5 => prop::sample::select(names.to_vec()).prop_map(Move::Ask),
        2 => Just(Move::EndAnswers),
        1 => server.clone().prop_map(Move::LoadFails),
        1 => server.clone().prop_map(Move::LoadHangs),
        1 => server.clone().prop_map(Move::UnloadFails),
        1 => server.clone().prop_map(Move::Mute),
        3 => server.clone().prop_map(Move::Well),
        1 => model.clone().prop_map(Move::OwnerLoads),
        1 => model.prop_map(Move::OwnerDrops),
        1 => server.clone().prop_map(Move::Dies),
        2 => server.prop_map(Move::ComesBack),
        8 => (0..12u64).prop_map(Move::Rest),
        1 => (40..200u64).prop_map(Move::Rest),
        1 => Just(Move::Quit),
        2 => Just(Move::Death),
    ];
    vec(one, 1..24)
}

struct World {
    servers: Vec<FakeServer>,
    journal: FakeJournal,
    /// What an owner has loaded, at any time.
    by_owner: RefCell<BTreeSet<&'static str>>,
    /// What left memory by other hands than ours, or may have.
    lost: RefCell<BTreeSet<&'static str>>,
}

impl World {
    fn new(room: bool) -> Self {
        let memory = Memory::of(if room { 100 } else { 25 });
        let server = |index: usize, name: &str| {
            let pace = (Duration::from_secs(3), Duration::from_millis(20));
            let mut server = FakeServer::new(name).in_memory(&memory).with_pace(pace.0, pace.1);
            for (model, _) in MODELS.iter().filter(|(_, at)| *at == index) {
                server = server.with_model(model, 10);
            }
            server
        };
        Self {
            servers: vec![server(0, "one"), server(1, "two")],
            journal: FakeJournal::default(),
            by_owner: RefCell::default(),
            lost: RefCell::default(),
        }
    }

    async fn engine(&self) -> Scene {
        let settings =
            SwitchingSettings { load_floor_s: 20, load_ceiling_s: 60, ..SwitchingSettings::default() };
        let scene = Scene::start_with(&self.servers, &self.journal, settings).await;
        scene.hub.report(Report::Names(Names { loads_on_request: true, ..Names::default() }));
        scene
    }

    fn reference(&self, model: usize) -> ModelRef {
        let (name, at) = MODELS[model];
        ModelRef::new(["one", "two"][at], name)
    }

    fn lose(&self, at: usize) {
        let names = MODELS.iter().filter(|(_, server)| *server == at).map(|(name, _)| *name);
        self.lost.borrow_mut().extend(names);
    }
}

/// Does one move; `false`: this life is over.
async fn act(world: &World, scene: &Scene, one: Move, answers: &mut Vec<Lease>) -> bool {
    let bad = || Fault::Fail(ApiError::new(ErrorCode::LoadFailed, "no"));
    let server = |at: usize| &world.servers[at];
    let residency = scene.residency.clone();
    match one {
        Move::Apply(at) => {
            let listed = scene.now();
            let known = |model: &str| listed.models.iter().any(|view| view.model.name == model);
            if SCENES[at].iter().all(|(_, model)| known(model)) {
                drop(scene.applying(&format!("S{at}"), SCENES[at]));
            }
        }
        Move::Restore => {
            drop(tokio::spawn(async move { residency.apply(super::Aim::Before, false, false).await }));
        }
        Move::Click(model) => drop(scene.click(Wanted { ..wanted(MODELS[model].0) })),
        Move::Unload(model) => {
            let model = world.reference(model);
            drop(tokio::spawn(async move { residency.unload(Some(model), false, false).await }));
        }
        Move::Deactivate => drop(tokio::spawn(async move { residency.unload(None, false, false).await })),
        Move::Undo => drop(tokio::spawn(async move { residency.undo().await })),
        Move::Pin(model, pinned) => drop(residency.pin(world.reference(model), pinned).await),
        Move::Cancel => drop(residency.cancel().await),
        Move::Ask(name) => {
            let asked = scene.leases.take(Asked::new(Some(name)));
            // Whoever waits longer leaves again.
            if let Ok(Ok(lease)) = tokio::time::timeout(Duration::from_secs(2), asked).await {
                answers.push(lease);
            }
        }
        Move::EndAnswers => answers.clear(),
        Move::LoadFails(at) => server(at).faults(|faults| faults.load = bad()),
        Move::LoadHangs(at) => server(at).faults(|faults| faults.load = Fault::Hang),
        Move::UnloadFails(at) => server(at).faults(|faults| faults.unload = bad()),
        Move::Mute(at) => server(at).faults(|faults| faults.generate = Fault::Hang),
        Move::Well(at) => server(at).faults(|faults| {
            let down = faults.down;
            *faults = Default::default();
            faults.down = down;
        }),
        Move::OwnerLoads(model) => {
            let (name, at) = MODELS[model];
            let (server, held) = (server(at), server(at).held());
            if !server.is_down() && server.has_room_for(name) && !held.contains(&name.to_owned()) {
                server.load_by_owner(name, Expiry::Never);
                world.by_owner.borrow_mut().insert(name);
            }
        }
        Move::OwnerDrops(model) => {
            let (name, at) = MODELS[model];
            server(at).drop_model(name);
            world.lost.borrow_mut().insert(name);
        }
        Move::Dies(at) => {
            server(at).die();
            world.lose(at);
        }
        Move::ComesBack(at) => server(at).come_back(),
        Move::Rest(seconds) => scene.rest(seconds).await,
        Move::Quit => {
            answers.clear();
            scene.residency.shutdown().await;
            return false;
        }
        Move::Death => return false,
    }
    true
}

/// Requests never go to a model that their name does not stand for.
fn routes_are_right(scene: &Scene) -> Result<(), TestCaseError> {
    let (routes, snapshot) = (scene.leases.routes(), scene.now());
    if let (ActiveRoute::Open(target), Some(active)) = (&routes.active, &snapshot.active) {
        prop_assert_eq!(&target.model, &active.model);
    }
    for view in &snapshot.roles {
        if let Some(ActiveRoute::Open(target)) = routes.roles.get(&view.role).map(|role| role.route.clone()) {
            prop_assert_eq!(&target.model, &view.held.model.model, "{}", view.role);
        }
    }
    prop_assert!(
        snapshot.switching.is_none() || snapshot.arranging.is_none(),
        "two transactions at once: {:?} {:?}",
        snapshot.switching,
        snapshot.arranging
    );
    Ok(())
}

async fn live(world: &World, moves: &mut std::vec::IntoIter<Move>) -> Result<bool, TestCaseError> {
    let scene = world.engine().await;
    let mut answers: Vec<Lease> = Vec::new();
    for one in moves.by_ref() {
        let pinned: Vec<String> = scene.now().pins.iter().map(|pin| pin.model.clone()).collect();
        // What a change under way has loaded is put back with it, pinned or not.
        let changing = scene.now().switching.is_some() || scene.now().arranging.is_some();
        let there = |model: &String| pinned.contains(model) && !changing;
        let held: Vec<String> = scene.held().into_iter().filter(there).collect();
        let told = format!("{one:?}");
        if !act(world, &scene, one, &mut answers).await {
            return Ok(true);
        }
        routes_are_right(&scene)?;
        // What is pinned leaves only by other hands, or when it is let go of; and what was on its way out when it was pinned.
        let still: Vec<String> = scene.now().pins.iter().map(|pin| pin.model.clone()).collect();
        for model in held.iter().filter(|model| still.contains(model)) {
            let lost = world.lost.borrow().contains(model.as_str());
            let leaving = told.starts_with("Rest") || told.starts_with("Ask");
            prop_assert!(
                lost || leaving || scene.held().contains(model),
                "{model} is pinned and left by {told}"
            );
        }
    }
    answers.clear();
    for server in &world.servers {
        server.faults(|faults| *faults = Default::default());
    }
    scene.rest(600).await;
    at_rest(world, &scene)?;
    Ok(false)
}

fn at_rest(world: &World, scene: &Scene) -> Result<(), TestCaseError> {
    let (snapshot, kept) = (scene.now(), world.journal.kept_now());
    routes_are_right(scene)?;
    prop_assert!(snapshot.switching.is_none() && snapshot.arranging.is_none());
    prop_assert_ne!(scene.route(), "held", "nobody waits for ever");
    prop_assert_eq!(
        world.journal.kept_active().map(|active| active.model),
        scene.active(),
        "what is active is written down"
    );
    let written: Vec<(String, ModelRef)> =
        kept.arrangement.roles.iter().map(|(role, held)| (role.clone(), held.model.clone())).collect();
    let shown: Vec<(String, ModelRef)> =
        snapshot.roles.iter().map(|view| (view.role.clone(), view.held.model.clone())).collect();
    prop_assert_eq!(written, shown, "the roles are written down");
    prop_assert_eq!(&kept.pins, &snapshot.pins);
    let mut wanted: BTreeSet<String> = scene.active().into_iter().collect();
    for view in &snapshot.roles {
        prop_assert!(!view.waits, "{} waits for ever", view.role);
        // The active model stays the choice where somebody else's server has let go of it.
        if view.held.instance.is_some() && !view.leads {
            prop_assert!(scene.held().contains(&view.held.model.model), "{view:?}");
        }
        wanted.insert(view.held.model.model.clone());
    }
    wanted.extend(snapshot.on_request.iter().map(|one| one.model.model.clone()));
    wanted.extend(snapshot.pins.iter().map(|pin| pin.model.clone()));
    let stray: Vec<String> = scene
        .held()
        .into_iter()
        .filter(|model| !wanted.contains(model) && !world.by_owner.borrow().contains(model.as_str()))
        .collect();
    prop_assert!(stray.is_empty(), "{stray:?} was left in memory beside {wanted:?}");
    Ok(())
}

fn run(room: bool, moves: Vec<Move>) -> Result<(), TestCaseError> {
    let world = World::new(room);
    let mut moves = moves.into_iter();
    loop {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let again = runtime.block_on(live(&world, &mut moves))?;
        drop(runtime);
        if !again {
            return Ok(());
        }
    }
}

/// `PILOTHOUSE_SEQUENCES` of them in both worlds together, the same each time unless `PILOTHOUSE_SEED` says otherwise.
fn run_many(room: bool) {
    let config = Config {
        cases: number("PILOTHOUSE_SEQUENCES", 500) / 2,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        max_shrink_iters: 2000,
        ..Config::default()
    };
    let mut seed = [u8::from(room); 32];
    seed[..4].copy_from_slice(&number("PILOTHOUSE_SEED", 16).to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    if let Err(error) = runner.run(&moves(), |moves| run(room, moves)) {
        panic!("{error}");
    }
}

#[test]
fn with_room_for_all_what_is_held_is_what_was_written_down() {
    run_many(true);
}

#[test]
fn with_room_for_two_what_is_held_is_what_was_written_down() {
    run_many(false);
}
