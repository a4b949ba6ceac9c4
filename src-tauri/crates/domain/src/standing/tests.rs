use super::*;
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
    tray::{TrayIcon, fixtures, tray_model},
};
use std::collections::BTreeMap;

/// Model 0 of Ollama is active and in memory; Model 1 is not.
fn snapshot() -> Snapshot {
    fixtures::snapshot(2)
}

fn filled(change: impl Fn(&mut Snapshot), circumstances: &Circumstances) -> Snapshot {
    let mut snapshot = snapshot();
    change(&mut snapshot);
    fill(&mut snapshot, circumstances);
    snapshot
}

fn ollama(state: ServerState) -> impl Fn(&mut Snapshot) {
    move |snapshot| {
        snapshot.servers[1].state = state;
        snapshot.servers[1].reason = Some("Because.".into());
        if !state.is_up() {
            snapshot.instances.clear();
            snapshot.models[2].loaded = false;
        }
    }
}

fn switching(to: &str, phase: SwitchPhase) -> Option<Switching> {
    Some(Switching {
        switch_id: 1,
        from: None,
        to: ModelRef::new("ollama", to),
        phase,
        progress: None,
        eta_s: Some(4.2),
        started_at: Timestamp::UNIX_EPOCH,
    })
}

type Change = Box<dyn Fn(&mut Snapshot)>;

/// What everybody says of the active model: head, its row, the tray's icon.
#[test]
fn the_active_model_is_good_only_where_it_answers() {
    use {Holds as H, RowAct as A, ServerState as S, Tone as T, TrayIcon as I};
    let calm = || Circumstances::default();
    let held = || Circumstances { held: true, ..Circumstances::default() };
    let busy = |answering| Circumstances { answering, ..Circumstances::default() };
    let to = |model: &'static str, phase| -> Change {
        Box::new(move |s: &mut Snapshot| s.switching = switching(model, phase))
    };
    let state = |state| -> Change { Box::new(ollama(state)) };
    let same = || -> Change { Box::new(|_| {}) };
    #[rustfmt::skip]
    let table: Vec<(Change, Circumstances, H, T, &str, A, I)> = vec![
        (same(), calm(), H::Ready, T::Good, "Ready", A::None, I::Idle),
        (same(), busy(1), H::Answering, T::Busy, "Answering", A::None, I::Idle),
        (same(), busy(2), H::Answering, T::Busy, "Answering 2", A::None, I::Idle),
        (state(S::Stopped), calm(), H::Stopped, T::Idle, "Stopped", A::StartAndLoad, I::Down),
        (state(S::Failed), calm(), H::Stopped, T::Broken, "Failed", A::StartAndLoad, I::Attention),
        (state(S::GaveUp), calm(), H::Stopped, T::Broken, "Gave up restarting", A::StartAndLoad, I::Attention),
        (state(S::NotInstalled), calm(), H::Stopped, T::Idle, "Not installed", A::None, I::Down),
        (state(S::Starting), calm(), H::Starting, T::Busy, "Starting", A::None, I::Busy),
        (state(S::Stopping), calm(), H::Stopped, T::Busy, "Stopping", A::None, I::Down),
        (state(S::Degraded), calm(), H::Disturbed, T::Attention, "Ready with trouble", A::None, I::Attention),
        (state(S::NotOurs), calm(), H::Stopped, T::Attention, "Address held by another program", A::StartAndLoad, I::Attention),
        (Box::new(|s| { ollama(S::Failed)(s); s.servers[1].ownership = Some(Ownership::Remote) }), calm(),
            H::Stopped, T::Broken, "Not reached", A::None, I::Attention),
        (Box::new(|s| s.active_absent = Some("It is damaged.".into())), calm(),
            H::CannotAnswer, T::Attention, "Cannot answer", A::Load, I::Attention),
        (Box::new(|s| s.instances.clear()), calm(), H::NotLoaded, T::Idle, "Not loaded", A::Load, I::Idle),
        (Box::new(|s| { s.servers.remove(1); }), calm(), H::CannotAnswer, T::Broken, "Cannot answer", A::None, I::Attention),
        (Box::new(|s| s.bench = Some(BenchProgress::of(1, "ollama".into(), "model-0"))), calm(),
            H::Measuring, T::Busy, "Measuring", A::None, I::Busy),
        (Box::new(|s| s.bench = Some(BenchProgress::of(1, "ollama".into(), "model-1"))), calm(),
            H::Ready, T::Good, "Ready", A::None, I::Busy),
        (same(), held(), H::Waiting, T::Waiting, "Waiting", A::None, I::Idle),
        (to("model-1", SwitchPhase::Loading), calm(), H::Ready, T::Good, "Ready", A::None, I::Busy),
        (to("model-1", SwitchPhase::Loading), busy(2), H::Answering, T::Busy, "Answering 2", A::None, I::Busy),
        (to("model-1", SwitchPhase::Loading), held(), H::Waiting, T::Waiting, "Waiting", A::None, I::Busy),
        (to("model-1", SwitchPhase::PuttingBack), held(), H::PuttingBack, T::Busy, "Putting back", A::None, I::Busy),
        (to("model-0", SwitchPhase::Loading), held(), H::Loading, T::Busy, "Loading", A::Cancel, I::Busy),
        (Box::new(|s| { ollama(S::Stopped)(s); s.switching = switching("model-0", SwitchPhase::Preparing) }), held(),
            H::Starting, T::Busy, "Starting its server", A::Cancel, I::Busy),
        (Box::new(|s| s.active = None), calm(), H::NoModel, T::Idle, "No active model", A::None, I::Idle),
    ];
    for (change, circumstances, holds, tone, word, act, icon) in table {
        let snapshot = filled(change, &circumstances);
        let head = &snapshot.standing;
        assert_eq!((head.holds, head.tone, head.word.as_str(), head.act), (holds, tone, word, act), "{word}");
        assert_eq!(tray_model(&snapshot, None).icon, icon, "{word}");
        if snapshot.active.is_none() {
            continue;
        }
        let row = &snapshot.models[2].standing;
        let green = [Holds::Ready, Holds::Answering, Holds::Measuring].contains(&holds);
        assert_eq!(row.tone == Tone::Good, green, "no green dot where nothing answers: {word}");
        assert_eq!(row.act, act, "{word}");
    }
}

#[test]
fn a_stopped_server_is_said_alike_by_head_row_and_tray_and_its_click_starts_it() {
    let snapshot = filled(ollama(ServerState::Stopped), &Circumstances::default());
    let row = &snapshot.models[2].standing;
    assert_eq!((row.tone, row.word.as_str(), row.act), (Tone::Idle, "stopped", RowAct::StartAndLoad));
    assert_eq!(row.act.words(), "Start and load");
    assert_eq!(snapshot.servers[1].standing, ServerStanding { tone: Tone::Idle, word: "Stopped".into() });
    let tray = tray_model(&snapshot, None);
    assert_eq!(tray.title, "Model 0 · Ollama, stopped");
    assert!(tray.items.iter().any(|item| item.text == "Model 0  (stopped)"), "{:?}", tray.items);
    let everything = serde_json::to_value(&snapshot).unwrap();
    let green = |value: &serde_json::Value| value["standing"]["tone"] == "good";
    assert!(!green(&everything) && !everything["models"].as_array().unwrap().iter().any(green));
}

#[test]
fn each_row_says_what_holds_and_what_its_click_does() {
    use {Holds as H, RowAct as A, ServerState as S, Tone as T};
    let llama = |state| -> Change { Box::new(move |s: &mut Snapshot| s.servers[0].state = state) };
    let row = |change: fn(&mut Snapshot)| -> Change { Box::new(change) };
    #[rustfmt::skip]
    let table: Vec<(Change, usize, H, T, &str, A)> = vec![
        (row(|_| {}), 2, H::Ready, T::Good, "active", A::None),
        (row(|_| {}), 3, H::OnDisk, T::Idle, "on disk", A::Switch),
        (row(|s| s.models[3].loaded = true), 3, H::Loaded, T::Idle, "loaded", A::Switch),
        (row(|s| s.models[3].fits = Some(false)), 3, H::DoesNotFit, T::Attention, "does not fit", A::Switch),
        (row(|s| s.models[3].model = s.models[3].model.clone().damaged("it is cut off")), 3, H::Damaged, T::Broken, "damaged", A::None),
        (row(|s| s.models[3].model.purpose = ModelPurpose::Embedding), 3, H::Other, T::Idle, "on disk", A::None),
        (row(|s| s.switching = switching("model-1", SwitchPhase::Loading)), 3, H::Loading, T::Busy, "loading", A::Cancel),
        (row(|s| s.switching = switching("model-1", SwitchPhase::PuttingBack)), 3, H::PuttingBack, T::Busy, "putting back", A::Cancel),
        (row(|s| s.switching = switching("model-1", SwitchPhase::Loading)), 0, H::OnDisk, T::Idle, "on disk", A::Switch),
        (row(|s| s.servers[0].ownership = Some(Ownership::Remote)), 0, H::Remote, T::Idle, "", A::Switch),
        (llama(S::Stopped), 0, H::OnDisk, T::Idle, "on disk", A::StartAndLoad),
        (llama(S::GaveUp), 0, H::OnDisk, T::Idle, "on disk", A::StartAndLoad),
        (llama(S::NotInstalled), 0, H::OnDisk, T::Idle, "not installed", A::Switch),
        (llama(S::Degraded), 0, H::OnDisk, T::Idle, "on disk", A::Switch),
    ];
    for (change, index, holds, tone, word, act) in table {
        let snapshot = filled(change, &Circumstances::default());
        let row = &snapshot.models[index].standing;
        assert_eq!((row.holds, row.tone, row.word.as_str(), row.act), (holds, tone, word, act), "{word}");
    }
}

#[test]
fn a_switch_that_was_put_back_stands_in_its_row() {
    let put_back = |snapshot: &mut Snapshot| {
        let error = ApiError::new(ErrorCode::LoadFailed, "Ollama could not load it.");
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
    };
    let snapshot = filled(put_back, &Circumstances::default());
    let row = &snapshot.models[3].standing;
    assert_eq!((row.holds, row.tone, row.act), (Holds::Failed, Tone::Attention, RowAct::Switch));
    assert_eq!(row.reason.as_deref(), Some("Ollama could not load it."));
    assert_eq!(snapshot.models[2].standing.holds, Holds::Ready);
}

#[test]
fn a_question_says_what_it_waits_for() {
    let loads = BTreeMap::from([("ollama/model-0".to_owned(), 4.2)]);
    let known = || Circumstances { load_s: Some(&loads), ..Circumstances::default() };
    let first = |change: &dyn Fn(&mut Snapshot), circumstances: &Circumstances| {
        filled(change, circumstances).standing.first
    };
    let stopped = ollama(ServerState::Stopped);
    for (change, circumstances, wanted) in [
        (
            &stopped as &dyn Fn(&mut Snapshot),
            known(),
            "Starts Ollama and loads Model 0 first; the load takes about 4 s.",
        ),
        (&stopped, Circumstances::default(), "Starts Ollama and loads Model 0 first."),
        (&|s: &mut Snapshot| s.instances.clear(), known(), "Loads Model 0 first; the load takes about 4 s."),
        (
            &|s: &mut Snapshot| s.switching = switching("model-1", SwitchPhase::Loading),
            known(),
            "Waits for the switch to Model 1, about 4 s.",
        ),
        (
            &|s: &mut Snapshot| s.switching = switching("model-0", SwitchPhase::Loading),
            known(),
            "Waits until Model 0 is loaded, about 4 s.",
        ),
    ] {
        assert_eq!(first(change, &circumstances).as_deref(), Some(wanted));
    }
    assert_eq!(first(&|_| {}, &known()), None, "it answers at once");
    assert_eq!(first(&|s| s.active = None, &known()), None, "nothing can be asked");
    let remote = |s: &mut Snapshot| {
        s.servers[1].ownership = Some(Ownership::Remote);
        s.instances.clear();
    };
    assert_eq!(first(&remote, &known()), None, "what it has in memory is its own matter");
}

#[test]
fn times_to_come_are_rough() {
    for (seconds, wanted) in
        [(0.2, "about 1 s"), (4.4, "about 4 s"), (89.0, "about 89 s"), (150.0, "about 2 min")]
    {
        assert_eq!(circumstances::about(seconds), wanted);
    }
}
