use super::*;
use crate::{
    report::{exchange, seeds},
    store::{
        NewRun,
        tests::{folder, new_run, open},
    },
};
use pilothouse_domain::{
    bench::{Run, RunDetail, RunState},
    settings::HistorySettings,
};

/// Writes a run as a measurement does.
async fn measured(store: &Store, detail: &RunDetail) -> i64 {
    let run = &detail.run;
    let new = NewRun {
        started_at: run.started_at,
        plan: run.plan.clone(),
        server: run.server.clone(),
        model: run.model.clone(),
        server_version: run.server_version.clone(),
        fingerprint: run.fingerprint.clone(),
        against: None,
    };
    let id = store.begin_run(&new).await.unwrap();
    for trial in &detail.trials {
        store.add_trial(id, trial).await.unwrap();
    }
    let ended = RunDetail { run: Run { run_id: id, against: None, ..run.clone() }, ..detail.clone() };
    store.end_run(&ended).await.unwrap();
    id
}

async fn file(store: &Store) -> String {
    let mut text = exchange::head("0.1.0");
    for id in store.run_ids(0, 100).await.unwrap() {
        text.push_str(&exchange::line(&store.exchanged(id).await.unwrap()).unwrap());
    }
    text
}

async fn import(store: &Store, text: &str) -> (u32, u32) {
    let done = store.import_runs(&exchange::read(text).unwrap()).await.unwrap();
    (done.imported, done.already_there)
}

#[tokio::test]
async fn what_was_exported_imported_and_exported_again_is_the_same() {
    let (_here, path) = folder();
    let here = open(&path).await;
    let mut two_cards = RunDetail { cards: Some(seeds::cards()), ..seeds::detail(1, "ollama", "m", 49.7) };
    two_cards.trials[3].gaps_us = Some(vec![20_000, 0, 1_000_000]);
    for detail in [two_cards, seeds::bare(2, "x", "y"), seeds::sweep(3, "a", "b")] {
        measured(&here, &detail).await;
    }
    let [mut a, b] = seeds::pair(4, "m", (50.0, 58.2));
    a.run.run_id = measured(&here, &a).await;
    a.run.against = Some(measured(&here, &b).await);
    here.end_run(&RunDetail { trace: None, ..a.clone() }).await.unwrap();
    let text = file(&here).await;
    assert_eq!(text.lines().count(), 6);
    let gaps = here.run(1).await.unwrap().trials[3].gaps_us.clone();
    assert_eq!(gaps, Some(vec![20_000, 0, 1_000_000]));
    let (_there, path) = folder();
    let there = open(&path).await;
    assert_eq!(import(&there, &text).await, (5, 0));
    assert_eq!(file(&there).await, text);
    let whole = there.run(4).await.unwrap();
    assert_eq!((whole.run.against, whole.trials[2].block), (Some(5), Some(1)), "sides stay together");
    assert!(there.run(1).await.unwrap().cards.is_some());
    assert!(there.run(3).await.unwrap().run.sweep.is_some(), "what was summed up stays");
    assert_eq!(import(&there, &text).await, (0, 5), "twice imported is once there");
    assert_eq!(import(&here, &text).await, (0, 5), "its own runs are known again");
    assert_eq!(file(&there).await, text);
}

#[tokio::test]
async fn the_same_run_on_another_machine_is_another_run() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let here = seeds::detail(1, "ollama", "m", 50.0);
    measured(&store, &here).await;
    let mut there = here.clone();
    there.run.run_id = 2;
    there.run.fingerprint.insert("chip".into(), "Apple M1".into());
    let mut updated = here.clone();
    updated.run.run_id = 3;
    updated.run.fingerprint.insert("kernel".into(), "99".into());
    let runs = [here, there, updated].map(|detail| Exchanged::new(detail, 2, None));
    let done = store.import_runs(&runs).await.unwrap();
    assert_eq!(done, Imported { imported: 1, already_there: 2 });
    assert_eq!(store.newest_of_each(10).await.unwrap().len(), 2, "each machine has its newest");
}

#[tokio::test]
async fn of_a_file_with_a_fault_nothing_is_kept() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let mut twice = seeds::detail(2, "ollama", "m", 50.0);
    // The reader refuses it; the database does so too, in the middle of the transaction.
    twice.trials.push(twice.trials[5].clone());
    let runs = [seeds::detail(1, "ollama", "m", 50.0), twice].map(|detail| Exchanged::new(detail, 2, None));
    assert!(store.import_runs(&runs).await.is_err());
    assert_eq!(store.size(&HistorySettings::default()).await.unwrap().runs, 0);
    assert_eq!(store.import_runs(&runs[..1]).await.unwrap().imported, 1, "the writer goes on");
}

#[tokio::test]
async fn the_newest_done_run_of_each_kind_is_found() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let mut ids = Vec::new();
    for (minutes, server, model, plan, state) in [
        (1, "ollama", "a", "quick", RunState::Done),
        (9, "ollama", "a", "quick", RunState::Done),
        (5, "ollama", "a", "quick", RunState::Done),
        (6, "ollama", "a", "ab", RunState::Done),
        (7, "lmstudio", "a", "quick", RunState::Done),
        (8, "lmstudio", "a", "quick", RunState::Cancelled),
    ] {
        let mut detail = seeds::detail(minutes, server, model, 50.0);
        detail.run.plan.name = plan.into();
        detail.run.state = state;
        ids.push(measured(&store, &detail).await);
    }
    let fresh = new_run("ollama", "nothing");
    let empty = NewRun { started_at: seeds::at(99), ..fresh };
    let id = store.begin_run(&empty).await.unwrap();
    let mut run = Run::begun(id, empty.started_at, empty.plan, empty.server, empty.model);
    run.state = RunState::Done;
    store.end_run(&RunDetail { run, trials: vec![], trace: None, cards: None }).await.unwrap();
    assert_eq!(store.newest_of_each(10).await.unwrap(), [ids[1], ids[4], ids[3]]);
    assert_eq!(store.newest_of_each(1).await.unwrap(), [ids[1]]);
}

#[tokio::test]
async fn runs_are_deleted_with_all_that_is_theirs_or_not_at_all() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let mut ids = Vec::new();
    for number in 1..=3 {
        ids.push(measured(&store, &seeds::detail(number, "ollama", "m", 50.0)).await);
    }
    let under_way = store.begin_run(&new_run("ollama", "m")).await.unwrap();
    for (runs, code) in [(vec![ids[0], 99], ErrorCode::NotFound), (vec![ids[0], under_way], ErrorCode::Busy)]
    {
        assert_eq!(store.delete_runs(&runs).await.unwrap_err().code, code);
    }
    let before = store.size(&HistorySettings::default()).await.unwrap();
    assert_eq!((before.runs, before.trials, before.samples), (4, 36, 264), "nothing was deleted");
    assert_eq!(store.delete_runs(&[ids[0], ids[1], ids[0]]).await.unwrap(), 2);
    let after = store.size(&HistorySettings::default()).await.unwrap();
    assert_eq!((after.runs, after.trials, after.samples), (2, 12, 88));
    assert_eq!(store.run(ids[0]).await.unwrap_err().code, ErrorCode::NotFound);
}

#[tokio::test]
async fn sizes_are_told_by_table() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    measured(&store, &seeds::detail(1, "ollama", "m", 50.0)).await;
    let size = store.size(&HistorySettings::default()).await.unwrap();
    let of = |name: &str| size.tables.iter().find(|table| table.name == name).map_or(0, |table| table.bytes);
    assert!(of("run_gauge") >= 4096 && of("trial") >= 4096 && of("run") >= 2 * 4096, "{size:?}");
    let sum: u64 = size.tables.iter().map(|table| table.bytes).sum();
    assert!(sum + size.free_bytes <= size.file_bytes && sum * 2 > size.file_bytes, "{size:?}");
}

/// The transaction holds up other writes, so how long it takes matters: 1,000 runs of 12 requests and 88 samples.
#[tokio::test]
async fn many_runs_are_taken_in_at_once() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let one = |number: i64| Exchanged::new(seeds::detail(number, "ollama", "m", 50.0), 2, None);
    let mut runs = vec![one(1); 1000];
    for (run, number) in runs.iter_mut().zip(1..) {
        let by = seeds::at(number);
        let shift = by.as_millisecond() - run.run.started_at.as_millisecond();
        run.run.started_at = by;
        run.trace.iter_mut().flat_map(|trace| &mut trace.at_ms).for_each(|at| *at += shift);
    }
    let begun = std::time::Instant::now();
    assert_eq!(store.import_runs(&runs).await.unwrap().imported, 1000);
    println!("1,000 runs were imported in {} ms", begun.elapsed().as_millis());
    assert_eq!(store.size(&HistorySettings::default()).await.unwrap().trials, 12_000);
}
