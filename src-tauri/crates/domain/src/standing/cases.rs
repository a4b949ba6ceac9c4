//! Cases of what holds, as data. The UI's simulated engine says standings of its own, and its tests play these cases: the two
//! cannot come apart unseen.

use super::{Circumstances, fill};
use crate::{
    Timestamp,
    bench::BenchProgress,
    error::{ApiError, ErrorCode},
    lifecycle::ServerState,
    model::{ModelPurpose, ModelRef},
    notice::{Happening, draft},
    server::Ownership,
    snapshot::Snapshot,
    switch::{SwitchOutcome, SwitchPhase, SwitchReport, Switching},
    tray::fixtures,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

type Change = Box<dyn Fn(&mut Snapshot)>;

struct Case {
    name: String,
    change: Change,
    answering: u32,
    waiting: u32,
    held: bool,
    /// The last loads of the active model are known.
    loads_known: bool,
}

fn case(name: impl Into<String>, change: impl Fn(&mut Snapshot) + 'static) -> Case {
    Case {
        name: name.into(),
        change: Box::new(change),
        answering: 0,
        waiting: 0,
        held: false,
        loads_known: false,
    }
}

fn down(snapshot: &mut Snapshot, state: ServerState) {
    snapshot.servers[1].state = state;
    snapshot.servers[1].reason = Some("Because.".into());
    if !state.is_up() {
        snapshot.instances.clear();
        snapshot.models[2].loaded = false;
    }
}

fn switching(to: &str, phase: SwitchPhase, eta_s: Option<f64>) -> Option<Switching> {
    Some(Switching {
        switch_id: 1,
        from: None,
        to: ModelRef::new("ollama", to),
        phase,
        progress: None,
        eta_s,
        started_at: Timestamp::UNIX_EPOCH,
    })
}

/// A switch to Model 1 of Ollama was put back for this, and that was told.
fn put_back(snapshot: &mut Snapshot, code: ErrorCode) {
    let error = ApiError::new(code, "Ollama could not load it.");
    let to = ModelRef::new("ollama", "model-1");
    snapshot.last_switch = Some(SwitchReport {
        switch_id: 1,
        from: None,
        to: to.clone(),
        outcome: SwitchOutcome::RolledBack,
        dry_run: false,
        took_ms: 1,
        load_ms: None,
        first_token_ms: None,
        steps: vec![],
        answers_cut: 0,
        journalled: true,
        reason: None,
        error: Some(error.clone()),
    });
    let told = draft(&Happening::PutBack { to, title: "Model 1".into(), kept: None, error, own: true });
    snapshot.notices.push(told.numbered(1, Timestamp::UNIX_EPOCH));
}

fn of_servers() -> Vec<Case> {
    use ServerState as S;
    let states = [
        S::NotInstalled,
        S::Stopped,
        S::Starting,
        S::Ready,
        S::Degraded,
        S::Stopping,
        S::Failed,
        S::GaveUp,
        S::NotOurs,
    ];
    let mut cases = Vec::new();
    for state in states {
        cases.push(case(format!("the active server is {state:?}"), move |s| down(s, state)));
        cases.push(case(format!("the other server is {state:?}"), move |s| s.servers[0].state = state));
        cases.push(case(format!("a remote active server is {state:?}"), move |s| {
            down(s, state);
            s.servers[1].ownership = Some(Ownership::Remote);
        }));
        let known = case(format!("load times are known, {state:?}"), move |s| down(s, state));
        cases.push(Case { loads_known: true, ..known });
    }
    cases.push(case("it cannot be started from here", |s| {
        down(s, S::Stopped);
        s.servers[1].abilities.start = false;
    }));
    cases.push(case("the active server is not in the settings any more", |s| drop(s.servers.remove(1))));
    cases.push(case("the other server is on another machine", |s| {
        s.servers[0].ownership = Some(Ownership::Remote);
    }));
    cases.push(case("the other server is remote with a process here", |s| {
        s.servers[0].ownership = Some(Ownership::Remote);
        s.servers[0].pid = Some(7);
    }));
    cases
}

fn of_the_active_model() -> Vec<Case> {
    let mut cases = vec![
        case("nothing is active", |s| s.active = None),
        case("it is out of memory", |s| s.instances.clear()),
        Case { loads_known: true, ..case("out of memory, its load is known", |s| s.instances.clear()) },
        case("another copy of it is in memory", |s| s.instances[0].id = "model-0:2".into()),
        case("it cannot answer", |s| s.active_absent = Some("It is damaged.".into())),
        case("it is measured", |s| s.bench = Some(BenchProgress::of(1, "ollama".into(), "model-0"))),
        case("another is measured", |s| s.bench = Some(BenchProgress::of(1, "ollama".into(), "model-1"))),
        Case { held: true, ..case("requests are held for a measurement", |_| {}) },
        Case { waiting: 3, ..case("requests wait", |_| {}) },
    ];
    for answering in [1, 2, 12] {
        cases.push(Case { answering, ..case(format!("{answering} answers are under way"), |_| {}) });
    }
    cases
}

fn of_switches() -> Vec<Case> {
    use SwitchPhase as P;
    let phases =
        [P::Preparing, P::Draining, P::Unloading, P::Loading, P::Proving, P::Committing, P::PuttingBack];
    let mut cases = Vec::new();
    for phase in phases {
        for to in ["model-0", "model-1"] {
            for held in [false, true] {
                let name = format!("{phase:?} {to}{}", if held { ", held" } else { "" });
                let change = move |s: &mut Snapshot| s.switching = switching(to, phase, None);
                cases.push(Case { held, ..case(name, change) });
            }
        }
    }
    cases.push(case("its server is started first", |s| {
        down(s, ServerState::Stopped);
        s.switching = switching("model-0", P::Preparing, Some(4.2));
    }));
    for eta in [0.2, 4.4, 89.0, 150.0] {
        let change = move |s: &mut Snapshot| s.switching = switching("model-1", P::Loading, Some(eta));
        cases.push(case(format!("{eta} s are left"), change));
    }
    cases.push(case("a first switch", |s| {
        s.active = None;
        s.instances.clear();
        s.switching = switching("model-1", P::Loading, Some(4.2));
    }));
    cases
}

fn of_rows() -> Vec<Case> {
    use ErrorCode as E;
    let mut cases = vec![
        case("one more is in memory", |s| s.models[3].loaded = true),
        case("one does not fit", |s| s.models[3].fits = Some(false)),
        case("one is damaged", |s| s.models[3].model = s.models[3].model.clone().damaged("it is cut off")),
        case("one only embeds", |s| s.models[3].model.purpose = ModelPurpose::Embedding),
        case("one that only embeds is in memory", |s| {
            s.models[3].model.purpose = ModelPurpose::Embedding;
            s.models[3].loaded = true;
        }),
        case("the warning was taken off the list", |s| {
            put_back(s, E::LoadFailed);
            s.notices.clear();
        }),
        case("what was put back is in memory after all", |s| {
            put_back(s, E::LoadFailed);
            s.models[3].loaded = true;
        }),
        case("what was put back went well since", |s| {
            put_back(s, E::LoadFailed);
            if let Some(last) = &mut s.last_switch {
                last.outcome = SwitchOutcome::Committed;
            }
        }),
    ];
    for code in [E::LoadFailed, E::ProofFailed, E::TimedOut, E::ServerCrashed, E::NotInstalled, E::PortTaken]
    {
        cases.push(case(format!("put back: {code:?}"), move |s| put_back(s, code)));
        cases.push(case(format!("put back, its server is down since: {code:?}"), move |s| {
            put_back(s, code);
            down(s, ServerState::Stopped);
        }));
    }
    for (free, room) in [(4_u64, "still short"), (5, "there is room since")] {
        cases.push(case(format!("put back, as it does not fit; {room}"), move |s| {
            put_back(s, E::DoesNotFit);
            s.models[3].needed_bytes = Some(5);
            s.ledger = serde_json::from_value(json!({
                "at": "1970-01-01T00:00:00Z", "pools": [], "in_use_bytes": 0, "reserve_bytes": 0,
                "ceiling": { "bytes": 1, "source": "", "on_gpu": false },
                "headroom_bytes": free, "unknown": [],
            }))
            .ok();
        }));
    }
    cases
}

/// Only what is different: of an object its parts, of a list that is as long as before its entries by their place.
fn difference(from: &Value, to: &Value) -> Value {
    let parts: Map<String, Value> = match (from, to) {
        (Value::Object(from), Value::Object(to)) => to
            .iter()
            .filter(|(name, part)| from.get(*name) != Some(*part))
            .map(|(name, part)| (name.clone(), difference(from.get(name).unwrap_or(&Value::Null), part)))
            .collect(),
        (Value::Array(from), Value::Array(to)) if from.len() == to.len() => to
            .iter()
            .zip(from)
            .enumerate()
            .filter(|(_, (to, from))| to != from)
            .map(|(place, (to, from))| (place.to_string(), difference(from, to)))
            .collect(),
        _ => return to.clone(),
    };
    Value::Object(parts)
}

/// The UI's tests read this file, as its code reads the generated types.
#[test]
fn export_bindings_standing_cases() {
    let loads = BTreeMap::from([("ollama/model-0".to_owned(), 4.2)]);
    let all = [of_servers(), of_the_active_model(), of_switches(), of_rows()];
    let base = serde_json::to_value(fixtures::snapshot(2)).unwrap();
    let mut words = std::collections::BTreeSet::new();
    let cases: Vec<Value> = all
        .into_iter()
        .flatten()
        .map(|Case { name, change, answering, waiting, held, loads_known }| {
            let mut snapshot = fixtures::snapshot(2);
            change(&mut snapshot);
            let changed = difference(&base, &serde_json::to_value(&snapshot).unwrap());
            fill(
                &mut snapshot,
                &Circumstances { answering, waiting, held, load_s: loads_known.then_some(&loads) },
            );
            words.insert(snapshot.standing.word.clone());
            json!({
                "name": name,
                "changed": changed,
                "circumstances": {
                    "answering": answering,
                    "waiting": waiting,
                    "held": held,
                    "load_s": if loads_known { json!(loads) } else { json!({}) },
                },
                "head": snapshot.standing,
                "models": snapshot.models.iter().map(|view| &view.standing).collect::<Vec<_>>(),
                "servers": snapshot.servers.iter().map(|view| &view.standing).collect::<Vec<_>>(),
            })
        })
        .collect();
    assert!(words.len() > 15, "cases that all say the same hold nothing together: {words:?}");
    let folder = std::env::var_os("TS_RS_EXPORT_DIR").unwrap_or_else(|| "bindings".into());
    let folder = std::path::PathBuf::from(folder);
    std::fs::create_dir_all(&folder).unwrap();
    // One case a line: a change is seen as what it is.
    let lines: Vec<String> = cases.iter().map(|case| format!("    {case}")).collect();
    let text = format!("{{\n  \"snapshot\": {base},\n  \"cases\": [\n{}\n  ]\n}}\n", lines.join(",\n"));
    std::fs::write(folder.join("standing-cases.json"), text).unwrap();
}
