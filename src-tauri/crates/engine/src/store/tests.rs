use super::{open::MIGRATIONS, *};
use crate::ports::Journal;
use pilothouse_domain::{
    Timestamp,
    bench::{BenchPlan, Fingerprint, Run, RunDetail, RunState, Trial, TrialPhase},
    error::ApiError,
    model::ModelRef,
    residency::CutOffSwitch,
    switch::{Active, StepTiming, SwitchOutcome, SwitchPhase, SwitchReport},
};
use std::path::Path;

pub(super) async fn open(path: &Path) -> Store {
    let opened = Store::open(path).await.unwrap();
    assert_eq!(opened.trouble, None);
    opened.store
}

pub(super) fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.sqlite3");
    (folder, path)
}

pub(super) fn new_run(server: &str, model: &str) -> NewRun {
    NewRun {
        started_at: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
        plan: BenchPlan::named("quick", None).unwrap(),
        server: server.into(),
        model: model.into(),
        server_version: Some("b1".into()),
        fingerprint: Fingerprint::from([("cpu".into(), "x".into())]),
        against: None,
    }
}

/// Ends a run with what its trials say.
async fn end(
    store: &Store,
    id: i64,
    state: RunState,
    note: Option<&str>,
    peak: Option<u64>,
) -> Result<(), ApiError> {
    let mut detail = store.run(id).await?;
    detail.run.sum_up(&detail.trials);
    (detail.run.state, detail.run.peak_memory_bytes) = (state, peak);
    detail.run.note = note.map(Into::into);
    store.end_run(&detail).await
}

fn trial(seq: u32, phase: TrialPhase, decode: f64, flaw: Option<&str>) -> Trial {
    Trial {
        seq,
        phase,
        ttft_ms: Some(12.5),
        decode_tok_s: Some(decode),
        total_ms: 900.0,
        output_tokens: Some(64),
        prompt_tokens: Some(70),
        finish: Some("length".into()),
        flaw: flaw.map(Into::into),
        ..Trial::default()
    }
}

fn active(model: &str) -> Active {
    Active { server: "ollama".into(), model: model.into(), instance: format!("{model}:1") }
}

fn report(switch_id: i64, load_ms: Option<u64>) -> SwitchReport {
    SwitchReport {
        switch_id,
        from: Some(active("a").reference()),
        to: ModelRef::new("ollama", "b"),
        outcome: SwitchOutcome::Committed,
        dry_run: false,
        took_ms: 1234,
        load_ms,
        first_token_ms: None,
        steps: vec![StepTiming { name: "load".into(), ms: 7 }],
        answers_cut: 2,
        journalled: true,
        reason: None,
        error: None,
    }
}

#[tokio::test]
async fn a_run_is_summarised_over_the_trials_that_count() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let id = store.begin_run(&new_run("ollama", "Gemma3")).await.unwrap();
    let trials = [
        trial(0, TrialPhase::Warmup, 1.0, None),
        trial(0, TrialPhase::Measured, 10.0, None),
        trial(1, TrialPhase::Measured, 30.0, None),
        trial(2, TrialPhase::Measured, 999.0, Some("short answer")),
        trial(3, TrialPhase::Measured, 20.0, None),
    ];
    for trial in &trials {
        store.add_trial(id, trial).await.unwrap();
    }
    end(&store, id, RunState::Done, Some("fine"), Some(42)).await.unwrap();
    let detail = store.run(id).await.unwrap();
    assert_eq!(detail.trials, trials);
    let run = &detail.run;
    let decode = run.decode_tok_s.as_ref().unwrap();
    assert_eq!((decode.median, decode.n, decode.source.as_str()), (20.0, 3, "client"));
    assert_eq!(run.prefill_tok_s, None, "absent is not zero");
    assert_eq!((run.trials, run.warmups, run.peak_memory_bytes), (3, 1, Some(42)));
    assert_eq!((run.state, run.note.as_deref()), (RunState::Done, Some("fine")));
    assert_eq!(run.started_at, new_run("", "").started_at);
    assert_eq!(run.fingerprint, new_run("", "").fingerprint);
    assert_eq!(store.runs(&RunFilter::default()).await.unwrap().runs, std::slice::from_ref(run));
}

#[tokio::test]
async fn the_newest_done_runs_of_each_model_of_a_server_are_told() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    for (server, model, state) in [
        ("ollama", "a", RunState::Done),
        ("ollama", "a", RunState::Done),
        ("lmstudio", "a", RunState::Done),
        ("ollama", "b", RunState::Done),
        ("ollama", "a", RunState::Cancelled),
        ("ollama", "a", RunState::Done),
    ] {
        let id = store.begin_run(&new_run(server, model)).await.unwrap();
        store.add_trial(id, &trial(0, TrialPhase::Measured, id as f64, None)).await.unwrap();
        end(&store, id, state, None, None).await.unwrap();
    }
    let runs = store.newest_runs(&"ollama".into(), 2).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.run_id).collect::<Vec<_>>(), [6, 4, 2]);
    assert_eq!(runs[0].decode_tok_s.as_ref().unwrap().median, 6.0);
}

#[tokio::test]
async fn runs_are_filtered_and_newest_first() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    for (server, model) in [("ollama", "Gemma3"), ("lmstudio", "gemma-2"), ("ollama", "100%_odd")] {
        store.begin_run(&new_run(server, model)).await.unwrap();
    }
    let ids = async |filter: RunFilter| -> Vec<i64> {
        let page = store.runs(&filter).await.unwrap();
        page.runs.iter().map(|run| run.run_id).collect()
    };
    let model = |model: &str| RunFilter { model: Some(model.into()), ..RunFilter::default() };
    assert_eq!(ids(model("GEMMA")).await, [2, 1]);
    assert_eq!(ids(model("%")).await, [3], "no wildcards");
    let ollama = RunFilter { server: Some("ollama".into()), limit: 1, ..RunFilter::default() };
    assert_eq!(ids(ollama).await, [3]);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    assert_eq!(store.run(7).await.unwrap_err().code, ErrorCode::NotFound);
    let run = Run::begun(7, Timestamp::UNIX_EPOCH, BenchPlan::named("quick", None).unwrap(), "a".into(), "m");
    let ended = store.end_run(&RunDetail { run, trials: vec![], trace: None, cards: None }).await;
    assert_eq!(ended.unwrap_err().code, ErrorCode::NotFound);
    let orphan = store.add_trial(7, &trial(0, TrialPhase::Measured, 1.0, None)).await;
    let error = orphan.unwrap_err();
    assert_eq!(error.code, ErrorCode::StoreUnavailable, "foreign keys are on");
    assert!(error.hint.is_some());
}

/// As on a full disk: the file may not grow any more.
#[tokio::test]
async fn without_room_on_the_disk_the_journal_says_so_at_once_and_goes_on_once_there_is_some() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let pages = |most: u32| {
        let store = store.clone();
        async move {
            sqlx::query(sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {most}")))
                .execute(&store.writer)
                .await
                .unwrap()
        }
    };
    pages(1).await;
    let to = ModelRef::new("ollama", "b".repeat(100));
    let mut begun = 0;
    let refused = loop {
        match store.begin(Some(&active("a")), &to, Timestamp::now()).await {
            Ok(_) => begun += 1,
            Err(error) => break error,
        }
        assert!(begun < 10_000, "it never is full");
    };
    assert_eq!((refused.code, refused.retry), (ErrorCode::StoreUnavailable, false));
    assert!(
        refused.message.contains("full") && refused.hint.unwrap().contains("room"),
        "{}",
        refused.message
    );
    assert_eq!(store.cut_off().await.unwrap().len(), begun, "what was written before is there");
    pages(u32::MAX).await;
    store.begin(Some(&active("a")), &to, Timestamp::now()).await.unwrap();
    assert_eq!(store.cut_off().await.unwrap().len(), begun + 1);
}

#[tokio::test]
async fn a_switch_is_journalled_until_its_outcome() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let to = ModelRef::new("ollama", "b");
    let now = Timestamp::now();
    let first = store.begin(Some(&active("a")), &to, now).await.unwrap();
    store.mark(first, SwitchPhase::Loading, Some(false)).await.unwrap();
    let cut_off = CutOffSwitch {
        id: first,
        from: Some(active("a")),
        to: to.clone(),
        committed: false,
        to_was_loaded: Some(false),
    };
    assert_eq!(store.cut_off().await.unwrap(), [cut_off]);
    assert!(store.switches(10).await.unwrap().is_empty());
    let failed = SwitchReport {
        outcome: SwitchOutcome::RolledBack,
        error: Some(ApiError::new(ErrorCode::LoadFailed, "It did not load.").hint("Try.")),
        reason: Some("because".into()),
        ..report(first, Some(5))
    };
    store.end(&failed).await.unwrap();
    assert!(store.cut_off().await.unwrap().is_empty());
    assert_eq!(store.switches(10).await.unwrap(), [failed]);
    let begun = store.past_switches(10).await.unwrap()[0].started_at;
    assert_eq!(begun.as_millisecond(), now.as_millisecond());

    store.begin(None, &to, now).await.unwrap();
    store.close_cut_off("Pilothouse ended while it was under way.").await.unwrap();
    let closed = &store.switches(1).await.unwrap()[0];
    assert_eq!((closed.outcome, &closed.from), (SwitchOutcome::RolledBack, &None));
    assert!(closed.reason.as_ref().unwrap().contains("ended"));
}

#[tokio::test]
async fn a_commit_writes_outcome_and_active_model_together_and_what_is_left_to_do() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    store.set_active(Some(&active("a"))).await.unwrap();
    let id = store.begin(Some(&active("a")), &active("b").reference(), Timestamp::now()).await.unwrap();
    store.commit(id, &active("b"), true).await.unwrap();
    assert_eq!(store.active().await.unwrap(), Some(active("b")));
    let left = store.cut_off().await.unwrap();
    assert!(left.len() == 1 && left[0].committed, "the previous model may still be in memory: {left:?}");
    let ended = SwitchReport { outcome: SwitchOutcome::RolledBack, ..report(id, Some(5)) };
    store.end(&ended).await.unwrap();
    assert!(store.cut_off().await.unwrap().is_empty());
    let kept = store.switches(1).await.unwrap().remove(0);
    assert_eq!(kept.outcome, SwitchOutcome::Committed, "nothing later takes a commit back");
}

#[tokio::test]
async fn a_stray_is_remembered_until_it_has_left() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let model = ModelRef::new("ollama", "b");
    store.set_stray(&model, true).await.unwrap();
    store.set_stray(&model, true).await.unwrap();
    assert_eq!(store.strays().await.unwrap(), std::slice::from_ref(&model));
    store.set_stray(&model, false).await.unwrap();
    assert!(store.strays().await.unwrap().is_empty());
}

#[tokio::test]
async fn load_times_are_the_last_five_committed_ones() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let to = ModelRef::new("ollama", "b");
    for load_ms in [Some(1), Some(2), None, Some(3), Some(4), Some(5), Some(6)] {
        let id = store.begin(None, &to, Timestamp::now()).await.unwrap();
        store.end(&report(id, load_ms)).await.unwrap();
    }
    let id = store.begin(None, &to, Timestamp::now()).await.unwrap();
    let cancelled = SwitchReport { outcome: SwitchOutcome::Cancelled, ..report(id, Some(99)) };
    store.end(&cancelled).await.unwrap();
    assert_eq!(store.load_times(&to).await.unwrap(), [6, 5, 4, 3, 2]);
    assert!(store.load_times(&ModelRef::new("lmstudio", "b")).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_active_model_outlives_the_engine() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    assert_eq!(store.active().await.unwrap(), None);
    store.set_active(Some(&active("a"))).await.unwrap();
    store.set_active(Some(&active("b"))).await.unwrap();
    store.close().await;
    assert_eq!(store.active().await.unwrap_err().code, ErrorCode::StoreUnavailable);
    let store = open(&path).await;
    assert_eq!(store.active().await.unwrap(), Some(active("b")));
    store.set_active(None).await.unwrap();
    assert_eq!(store.active().await.unwrap(), None);
}

/// The files as a killed engine leaves them: copied while it still has them open, write-ahead log and all.
#[tokio::test]
async fn what_was_written_survives_a_killed_engine() {
    let (folder, path) = folder();
    let store = open(&path).await;
    let run = store.begin_run(&new_run("ollama", "a")).await.unwrap();
    let measured = trial(0, TrialPhase::Measured, 10.0, None);
    store.add_trial(run, &measured).await.unwrap();
    let switch = store.begin(None, &ModelRef::new("ollama", "b"), Timestamp::now()).await.unwrap();
    let after = folder.path().join("after");
    std::fs::create_dir(&after).unwrap();
    for name in ["history.sqlite3", "history.sqlite3-wal"] {
        std::fs::copy(folder.path().join(name), after.join(name)).unwrap();
    }
    let wal = std::fs::metadata(after.join("history.sqlite3-wal")).unwrap();
    assert!(wal.len() > 0, "the test needs a log that was not written back");

    let again = open(&after.join("history.sqlite3")).await;
    let detail = again.run(run).await.unwrap();
    assert_eq!(detail.run.state, RunState::CutOff);
    assert!(detail.run.note.is_some());
    assert_eq!(detail.trials, [measured]);
    assert_eq!(again.cut_off().await.unwrap()[0].id, switch);
}

#[tokio::test]
async fn a_damaged_file_is_set_aside() {
    let (folder, path) = folder();
    std::fs::write(&path, "this is no database, but it is long enough to look at".repeat(100)).unwrap();
    let opened = Store::open(&path).await.unwrap();
    let trouble = opened.trouble.unwrap();
    assert_eq!(trouble.code, ErrorCode::StoreUnavailable);
    opened.store.begin_run(&new_run("ollama", "a")).await.unwrap();
    let aside = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|name| name.starts_with("history.sqlite3.damaged-"))
        .unwrap();
    assert!(trouble.hint.unwrap().contains(&aside));
    assert!(std::fs::read_to_string(folder.path().join(aside)).unwrap().starts_with("this is no"));
}

/// Our migrations and one more.
fn with(more: &'static str) -> Vec<&'static str> {
    let mut migrations = MIGRATIONS.to_vec();
    migrations.push(more);
    migrations
}

#[tokio::test]
async fn a_newer_file_is_left_alone_and_an_older_one_is_copied_first() {
    let (folder, path) = folder();
    let store = open(&path).await;
    store.set_active(Some(&active("a"))).await.unwrap();
    store.close().await;

    let more = with("CREATE TABLE later (id INTEGER PRIMARY KEY) STRICT;");
    let store = Store::open_with(&path, &more).await.unwrap().store;
    assert_eq!(store.active().await.unwrap(), Some(active("a")));
    store.close().await;
    let name = format!("history.sqlite3.version-{}", MIGRATIONS.len());
    let copy = open(&folder.path().join(name)).await;
    assert_eq!(copy.active().await.unwrap(), Some(active("a")));

    let error = Store::open(&path).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::StoreUnavailable);
    assert!(error.message.contains("newer"), "{error}");
    Store::open_with(&path, &more).await.unwrap();
}

/// A run with three trials as programs of that time wrote them, raw because nobody writes them so any more.
const OLD_RUN: &str = r#"
INSERT INTO run (started_ms, ended_ms, state, plan, server, model, server_version, note, peak_memory_bytes, fingerprint,
    metrics_version) VALUES (1700000000123, 1700000009000, 'done',
    '{"name":"quick","prompt_words":64,"max_tokens":64,"trials":5}', 'ollama', 'a', 'b1', NULL, 42, '{"cpu":"x"}', 1);
INSERT INTO trial (run, seq, phase, ttft_ms, decode_tok_s, total_ms) VALUES (1, 0, 'warmup', 99, 1, 900),
    (1, 1, 'measured', 10, 20, 900), (1, 2, 'measured', 12, 30, 900);
"#;

#[tokio::test]
async fn a_file_of_every_earlier_version_is_brought_up_to_date_and_kept() {
    for version in 1..MIGRATIONS.len() {
        let (folder, path) = folder();
        let store = Store::open_with(&path, &MIGRATIONS[..version]).await.unwrap().store;
        sqlx::raw_sql(OLD_RUN).execute(&store.writer).await.unwrap();
        store.close().await;

        let store = open(&path).await;
        let detail = store.run(1).await.unwrap();
        let run = &detail.run;
        assert_eq!((run.peak_memory_bytes, detail.trace, detail.cards), (Some(42), None, None), "{version}");
        assert_eq!((run.trials, run.warmups, run.plan.concurrency.as_slice()), (2, 1, &[1][..]), "{version}");
        assert_eq!(run.decode_tok_s.as_ref().map(|decode| decode.median), Some(25.0), "{version}");
        let page = store.runs(&RunFilter::default()).await.unwrap();
        assert_eq!((page.runs.as_slice(), page.total), (std::slice::from_ref(run), 1), "{version}");
        assert!(store.minutes(0, i64::MAX, 60_000).await.unwrap().is_empty());
        assert!(folder.path().join(format!("history.sqlite3.version-{version}")).exists(), "{version}");
        // It is written on as any other.
        let new = store.begin_run(&new_run("ollama", "b")).await.unwrap();
        end(&store, new, RunState::Done, None, None).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_run_says_is_kept_with_it_and_not_reckoned_again() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let first = store.begin_run(&new_run("ollama", "a")).await.unwrap();
    let second = store.begin_run(&NewRun { against: Some(first), ..new_run("ollama", "b") }).await.unwrap();
    assert_eq!(store.run(first).await.unwrap().run.against, Some(second), "each knows the other");
    let mut detail = store.run(second).await.unwrap();
    let told = Trial {
        block: Some(3),
        concurrency: Some(4),
        begun_ms: Some(1.5),
        late_ms: Some(0.5),
        turn: Some(2),
        prefix: Some(pilothouse_domain::bench::PrefixUse::Kept),
        ..trial(0, TrialPhase::Measured, 10.0, None)
    };
    store.add_trial(second, &told).await.unwrap();
    detail.trials = vec![told];
    detail.run.sum_up(&[trial(0, TrialPhase::Measured, 77.0, None)]);
    detail.run.energy_j_per_token = Some(0.5);
    detail.run.peak_gpu_memory_bytes = Some(9);
    detail.run.disturbed = vec![pilothouse_domain::bench::Disturbance {
        what: pilothouse_domain::bench::quiet::DisturbedBy::Processor,
        name: "make".into(),
        pid: Some(7),
        percent: Some(99.0),
        seconds: 2.0,
    }];
    detail.cards = Some(pilothouse_domain::bench::RunTrace {
        at_ms: vec![1.0],
        instance_memory_bytes: vec![None],
        cards: vec![],
        by_minute: None,
    });
    store.end_run(&detail).await.unwrap();
    assert_eq!(store.run(second).await.unwrap(), detail);
    assert_eq!(detail.run.against, Some(first));
    let newest = RunFilter { limit: 1, ..RunFilter::default() };
    assert_eq!(store.runs(&newest).await.unwrap().runs, [detail.run]);
    // What another version has kept is as good as nothing: the trials say it again.
    for summary in ["{}", "{\"trials\": 1, \"colour\": \"red\"}", "[]", "7", "{\"trials\": \"many\"}"] {
        let change = sqlx::query("UPDATE run SET summary = ? WHERE id = ?").bind(summary).bind(second);
        change.execute(&store.writer).await.unwrap();
        assert!(store.runs(&newest).await.is_ok() && store.run(second).await.is_ok(), "{summary}");
    }
    let change = sqlx::query("UPDATE run SET metrics_version = 99, summary = '{\"trials\": 5}' WHERE id = ?");
    change.bind(second).execute(&store.writer).await.unwrap();
    assert_eq!(store.run(second).await.unwrap().run.trials, 0, "its one trial was not alone");
}
