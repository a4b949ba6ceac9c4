use super::*;
use crate::sims::lmstudio::catalogue::built_in;

const ALPHA: &str = "simulated/alpha-2b";
const BETA: &str = "beta-7b-simulated";

fn state() -> State {
    State::new(built_in(), true)
}

fn loaded(state: &mut State, ask: &LoadAsk) -> String {
    let ticket = state.begin_load(ask).unwrap();
    assert!(state.finish_load(&ticket, 1000));
    ticket.id
}

fn rest(key: &str) -> LoadAsk {
    LoadAsk::new(key, Origin::Rest)
}

#[test]
fn a_second_load_makes_a_twin_and_a_freed_number_is_used_again() {
    let mut state = state();
    assert_eq!(loaded(&mut state, &rest(ALPHA)), ALPHA);
    assert_eq!(loaded(&mut state, &rest(ALPHA)), format!("{ALPHA}:2"));
    assert_eq!(loaded(&mut state, &rest(ALPHA)), format!("{ALPHA}:3"));
    assert!(state.unload(&format!("{ALPHA}:2")));
    assert_eq!(loaded(&mut state, &rest(ALPHA)), format!("{ALPHA}:2"));
}

#[test]
fn only_ids_of_loaded_instances_can_be_unloaded() {
    let mut state = state();
    let named = LoadAsk { identifier: Some("mine".into()), ..rest(ALPHA) };
    loaded(&mut state, &named);
    assert!(!state.unload(ALPHA), "a key is no id");
    assert_eq!(state.begin_load(&named).unwrap_err(), LoadRefusal::IdentifierTaken);
    let under_way = state.begin_load(&rest(BETA)).unwrap();
    assert!(!state.unload(BETA), "it is still loading");
    state.give_up_load(&under_way);
    assert!(!state.finish_load(&under_way, 1), "it was given up");
    assert!(state.unload("mine"));
    assert!(state.instances.is_empty());
}

#[test]
fn only_a_loaded_llm_stands_beside_a_load() {
    let mut state = state();
    loaded(&mut state, &rest("text-embedding-simulated-v1"));
    let ticket = state.begin_load(&rest(BETA)).unwrap();
    assert!(!state.has_llm_beside(&ticket), "itself, and an embedding model");
    let other = state.begin_load(&rest(ALPHA)).unwrap();
    assert!(!state.has_llm_beside(&ticket), "it is still loading");
    state.finish_load(&other, 1);
    assert!(state.has_llm_beside(&ticket));
    state.unload(ALPHA);
    assert!(!state.has_llm_beside(&ticket));
}

#[test]
fn a_request_finds_its_instance() {
    let mut state = state();
    assert_eq!(state.target(None), Target::NothingLoaded);
    assert_eq!(state.target(Some(ALPHA)), Target::OnDisk(ALPHA.into()));
    assert_eq!(state.target(Some("no-such-model")), Target::NotDownloaded);
    let ticket = state.begin_load(&rest(ALPHA)).unwrap();
    assert_eq!(state.target(Some(ALPHA)), Target::Loading(ALPHA.into()));
    state.finish_load(&ticket, 1);
    assert_eq!(state.target(None), Target::Loaded(ALPHA.into()));
    loaded(&mut state, &LoadAsk { identifier: Some("mine".into()), ..rest(BETA) });
    assert_eq!(state.target(Some(BETA)), Target::Loaded("mine".into()), "a key finds its instance");
    assert_eq!(state.target(None), Target::SeveralLoaded);
}

#[test]
fn without_jit_an_unloaded_model_is_refused() {
    let state = State::new(built_in(), false);
    assert_eq!(state.target(Some(ALPHA)), Target::NothingLoaded);
}

#[test]
fn jit_evicts_jit_and_spares_the_rest() {
    let mut state = state();
    loaded(&mut state, &LoadAsk::new(ALPHA, Origin::Jit));
    loaded(&mut state, &LoadAsk::new(ALPHA, Origin::Cli));
    state.evict_for_jit();
    let left: Vec<&str> = state.instances.iter().map(|instance| instance.id.as_str()).collect();
    assert_eq!(left, [format!("{ALPHA}:2")]);
}

#[test]
fn requests_beyond_the_slots_wait_their_turn() {
    let mut state = state();
    loaded(&mut state, &LoadAsk { parallel: Some(1), ..rest(ALPHA) });
    let first = state.enter(ALPHA, 1).unwrap();
    let second = state.enter(ALPHA, 2).unwrap();
    assert_eq!((state.admitted(first), state.admitted(second)), (Some(true), Some(false)));
    assert!(state.set_work(first, Work::Generating));
    let instance = state.instance(ALPHA).unwrap();
    assert_eq!((instance.status(), instance.queued()), ("generating", 2));
    state.leave(first, 3);
    assert_eq!(state.admitted(second), Some(true));
    state.unload(ALPHA);
    assert_eq!(state.admitted(second), None, "its instance is gone");
}

#[test]
fn the_ttl_counts_idle_time_only() {
    let mut state = state();
    loaded(&mut state, &LoadAsk { ttl_ms: Some(500), ..rest(ALPHA) });
    loaded(&mut state, &rest(BETA));
    let ticket = state.enter(ALPHA, 1200).unwrap();
    assert!(state.expire(9000).is_empty(), "busy");
    state.leave(ticket, 9000);
    assert!(state.expire(9499).is_empty());
    assert_eq!(state.expire(9500), [ALPHA]);
    assert!(state.instance(BETA).is_some(), "no TTL, no expiry");
}
