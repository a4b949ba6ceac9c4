use super::*;
use pilothouse_domain::{
    error::ErrorCode,
    fit::ModelNeed,
    lifecycle::ServerState,
    model::{Expiry, ModelPurpose},
    server::{Abilities, Ownership, ServerKind},
    switch::Active,
};
use pilothouse_leases::{ActiveRoute, Asked};

fn view(id: &str, ownership: Ownership) -> ServerView {
    ServerView {
        id: id.into(),
        kind: ServerKind::LlamaServer,
        title: id.into(),
        ownership: Some(ownership),
        state: ServerState::Ready,
        reason: None,
        hint: None,
        endpoint: None,
        version: None,
        pid: None,
        keeper: None,
        program: None,
        backend: None,
        restarts: 0,
        abilities: Abilities::default(),
        since: Timestamp::UNIX_EPOCH,
        standing: Default::default(),
    }
}

fn endpoint(port: u16) -> Endpoint {
    Endpoint { base_url: format!("http://127.0.0.1:{port}/v1"), key: None }
}

fn instance(server: &str, id: &str, port: Option<u16>, slots: Option<u32>) -> Instance {
    Instance {
        id: id.into(),
        server: server.into(),
        model: id.into(),
        memory_bytes: None,
        gpu_memory_bytes: None,
        context: None,
        expiry: Expiry::Never,
        pid: None,
        port,
        slots,
        orphaned_answers: None,
    }
}

fn active(server: &str, model: &str) -> Option<Active> {
    Some(Active { server: server.into(), model: model.into(), instance: model.into() })
}

/// A hub with one server and one instance.
fn hub(port: Option<u16>, slots: Option<u32>) -> (Hub, Leases) {
    let leases = Leases::default();
    let hub = Hub::new(EngineView::default(), leases.clone());
    hub.report(Report::Server { view: view("s", Ownership::Ours), openai: Some(endpoint(1)) });
    let instances = vec![instance("s", "a", port, slots)];
    hub.report(Report::Instances { server: "s".into(), instances });
    (hub, leases)
}

fn report(hub: &Hub, standing: Standing) {
    hub.report(Report::Active { active: active("s", "a"), standing });
}

#[test]
fn routes_are_in_force_when_the_report_returns() {
    let (hub, leases) = hub(None, None);
    assert_eq!(leases.routes().active, ActiveRoute::None);
    report(&hub, Standing::Held);
    assert_eq!(leases.routes().active, ActiveRoute::Held);
    report(&hub, Standing::Open);
    assert!(matches!(&leases.routes().active, ActiveRoute::Open(target) if target.model == "a"));
    report(&hub, Standing::Refusing("it is damaged".into()));
    assert_eq!(leases.routes().active, ActiveRoute::Refusing("it is damaged".into()));
    assert_eq!(hub.now().active_absent.as_deref(), Some("it is damaged"));
    report(&hub, Standing::Open);
    hub.report(Report::Server { view: view("s", Ownership::Ours), openai: None });
    assert_eq!(leases.routes().active, ActiveRoute::Down("s".into()));
    assert_eq!(hub.now().active_absent, None);
}

#[tokio::test]
async fn an_instance_answers_at_its_own_port_with_its_own_slots() {
    let (hub, leases) = hub(Some(7), Some(3));
    report(&hub, Standing::Open);
    for asked in [Asked::Active, Asked::Named("a".into())] {
        let lease = leases.take(asked).await.unwrap();
        assert_eq!(
            (lease.target().openai.base_url.as_str(), lease.target().slots),
            ("http://127.0.0.1:7/v1", 3)
        );
    }
}

#[test]
fn a_slot_with_an_answer_that_nobody_waits_for_is_busy_until_it_is_free() {
    let (hub, leases) = hub(Some(7), Some(2));
    for (orphaned, free) in [(None, 2), (Some(0), 2), (Some(1), 1), (Some(2), 0), (Some(9), 0), (Some(0), 2)]
    {
        let instances = vec![Instance { orphaned_answers: orphaned, ..instance("s", "a", Some(7), Some(2)) }];
        hub.report(Report::Instances { server: "s".into(), instances });
        assert_eq!(leases.routes().loaded[0].slots, free, "{orphaned:?}");
    }
}

#[test]
fn a_server_that_does_not_tell_its_slots_gets_few_here_and_many_elsewhere() {
    let slots = |leases: &Leases| leases.routes().loaded[0].slots;
    let (here, leases) = hub(None, None);
    assert_eq!(slots(&leases), 4);
    here.report(Report::Server { view: view("s", Ownership::Remote), openai: Some(endpoint(1)) });
    assert_eq!(slots(&leases), 64);
}

#[test]
fn what_changes_nothing_gets_no_revision() {
    let (hub, _) = hub(None, None);
    report(&hub, Standing::Held);
    let before = hub.now().revision;
    report(&hub, Standing::Held);
    hub.report(Report::Switching(None));
    hub.report(Report::TroubleOver(ErrorCode::System));
    assert_eq!(hub.now().revision, before);
    hub.report(Report::ServerGone("s".into()));
    assert!(hub.now().revision > before && hub.now().instances.is_empty() && hub.now().servers.is_empty());
}

#[test]
fn a_model_whose_files_turned_out_to_be_damaged_is_only_listed() {
    let (hub, leases) = hub(None, None);
    let model = Model {
        server: "s".into(),
        name: "b".into(),
        title: "B".into(),
        purpose: ModelPurpose::Llm,
        format: None,
        quantization: None,
        parameters: None,
        size_bytes: Some(9),
        context_max: None,
        damaged: None,
    };
    hub.report(Report::Models { server: "s".into(), models: vec![model] });
    let need = |need| hub.report(Report::Needs(BTreeMap::from([("s/b".to_owned(), need)])));
    let seen = || (hub.now().models[0].model.purpose, leases.routes().known.len());
    let cut = "it is cut off, 3 bytes of 9".to_owned();
    need(Err(NoNeed { why: cut.clone(), damaged: false }));
    assert_eq!(seen(), (ModelPurpose::Llm, 1), "not understood is not damaged");
    need(Err(NoNeed { why: cut.clone(), damaged: true }));
    assert_eq!(seen(), (ModelPurpose::Other, 0));
    let view = hub.now().models[0].clone();
    assert_eq!((view.model.damaged, view.fits), (Some(cut), None));
    need(Ok(ModelNeed { bytes: 9, place: pilothouse_domain::estimate::Place::Gpu, context: None }));
    assert_eq!(seen(), (ModelPurpose::Llm, 1), "somebody has mended it");
}

#[test]
fn whoever_has_reported_is_shown_and_no_older_snapshot_takes_its_place() {
    let (hub, _) = hub(None, None);
    let seen = hub.snapshots();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let hub = hub.clone();
            scope.spawn(move || {
                for round in 0..200 {
                    let before = hub.now().revision;
                    let gateway = Ok(format!("{thread}.{round}"));
                    hub.report(Report::Doors {
                        gateway,
                        ollama: Err(String::new()),
                        bridges: vec![],
                        ollama_bridges: vec![],
                        web: None,
                    });
                    assert!(hub.now().revision > before, "its report is not out");
                }
            });
        }
        scope.spawn(|| {
            let mut last = 0;
            for _ in 0..2000 {
                let revision = seen.borrow().revision;
                assert!(revision >= last, "{revision} after {last}");
                last = revision;
            }
        });
    });
    let shown = hub.now();
    let state = hub.state.lock().unwrap();
    assert_eq!(
        (shown.revision, &shown.engine.gateway),
        (state.snapshot.revision, &state.snapshot.engine.gateway)
    );
}

#[test]
fn a_page_is_told_what_changed_and_of_another_engine_everything() {
    let (hub, _) = hub(None, None);
    let known = hub.now().revision;
    assert_eq!(hub.since(known).1.map(|parts| parts.len()), Some(0));
    report(&hub, Standing::Refusing("it is damaged".into()));
    let (snapshot, parts) = hub.since(known);
    let names: Vec<String> = parts.unwrap().keys().cloned().collect();
    assert!(names.contains(&"active_absent".into()) && !names.contains(&"servers".into()), "{names:?}");
    assert_eq!(snapshot.revision, hub.now().revision);
    for foreign in [0, known - 10_000_000, snapshot.revision + 1, u64::MAX] {
        assert_eq!(hub.since(foreign).1, None, "{foreign}");
    }
    // What is known of one engine is never of a later one: they count from their begins.
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap();
    assert!(Hub::new(EngineView::default(), Leases::default()).now().revision >= now);
}
