//! What a start does with a long history, with damage inside it, and with a file that another program holds.

use super::{
    lists::{COUNTED, NEWEST_RUNS},
    loads::NEWEST_LOADS,
    open::CLOSE_CUT_OFF_RUNS,
    requests::NEWEST_REQUEST,
    switches::CUT_OFF,
    tests::{folder, new_run, open},
    *,
};
use crate::ports::Journal;
use pilothouse_domain::{Timestamp, bench::RunState, model::ModelRef, switch::Active};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection, query, sqlite::SqliteConnectOptions,
};
use std::path::Path;

async fn beside(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).disable_statement_logging().connect().await.unwrap()
}

/// Runs, switches and loads; without their trials and minutes, which no start reads.
async fn fill(path: &Path, rows: i64) {
    let mut connection = beside(path).await;
    let series = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)";
    for insert in [
        "INSERT INTO run (started_ms, state, plan, server, model, fingerprint, metrics_version, plan_name) \
         SELECT i, 'done', '{}', 'ollama', 'm' || (i % 50), '{}', 1, 'quick' FROM n",
        "INSERT INTO switch (started_ms, to_server, to_model, phase, outcome) \
         SELECT i, 'ollama', 'm', 'committing', 'committed' FROM n",
        "INSERT INTO load (at_ms, server, model, context, parallel, kv, on_gpu, peak_bytes) \
         SELECT i, 'ollama', 'm' || i, 4096, 1, 'f16', 0, i FROM n",
        "INSERT INTO request (at_ms, client, dialect, state, counted, streamed) \
         SELECT i, 'c', 'chat', 'done', 1, 1 FROM n",
    ] {
        let sql = AssertSqlSafe(format!("{series} {insert}"));
        query(sql).bind(rows).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}

/// How many thousands of steps SQLite takes for a statement of a start.
async fn steps(path: &Path, sql: &'static str, bound: &[i64]) -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let mut connection = beside(path).await;
    let counter = std::sync::Arc::new(AtomicUsize::new(0));
    let count = counter.clone();
    connection.lock_handle().await.unwrap().set_progress_handler(10, move || {
        count.fetch_add(1, Ordering::Relaxed);
        true
    });
    let mut statement = query(sql);
    // The filters of a list of runs are not set at a start.
    for _ in 0..sql.matches("?1").count().min(1) * 4 {
        statement = statement.bind(None::<String>);
    }
    for value in bound {
        statement = statement.bind(value);
    }
    statement.fetch_all(&mut connection).await.unwrap();
    connection.lock_handle().await.unwrap().remove_progress_handler();
    counter.load(Ordering::Relaxed)
}

#[tokio::test]
async fn nothing_that_a_start_asks_grows_with_the_history() {
    let statements: [(&'static str, &[i64]); 7] = [
        (NEWEST_REQUEST, &[]),
        (CLOSE_CUT_OFF_RUNS, &[]),
        (CUT_OFF, &[]),
        (COUNTED, &[]),
        (NEWEST_RUNS, &[1, 0]),
        (NEWEST_LOADS, &[100]),
        ("SELECT 1 FROM switch LIMIT 1", &[]),
    ];
    let (_small, small) = folder();
    let (_large, large) = folder();
    for (path, rows) in [(&small, 200), (&large, 20_000)] {
        open(path).await.close().await;
        fill(path, rows).await;
    }
    for (sql, bound) in statements {
        let (few, many) = (steps(&small, sql, bound).await, steps(&large, sql, bound).await);
        assert!(many <= few * 2 + 20, "{few} then {many} tens of steps: {sql}");
    }
}

#[tokio::test]
async fn the_few_rows_that_count_are_found_among_many() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let first = store.begin_run(&new_run("ollama", "a")).await.unwrap();
    store.begin(None, &ModelRef::new("ollama", "b"), Timestamp::now()).await.unwrap();
    store.close().await;
    fill(&path, 3000).await;
    let store = open(&path).await;
    assert_eq!(store.run(first).await.unwrap().run.state, RunState::CutOff);
    assert_eq!(store.cut_off().await.unwrap().len(), 1);
    assert_eq!(store.loads().await.unwrap().len(), usize::try_from(loads::REMEMBERED).unwrap());
}

/// Looking for it in the whole file is what a start has no time for.
#[tokio::test]
async fn damage_inside_a_long_history_is_found_later_and_set_aside_by_the_next_start() {
    let (folder, path) = folder();
    open(&path).await.close().await;
    fill(&path, 20_000).await;
    // Pages of tables in the middle of the file.
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4 * 4096].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();

    let opened = Store::open(&path).await.unwrap();
    assert_eq!(opened.trouble, None, "a start does not read it all");
    let found = opened.store.look_for_damage().await.unwrap_err();
    assert_eq!(found.code, ErrorCode::StoreUnavailable);
    assert!(found.message.contains("damaged") && found.hint.is_some(), "{found:?}");
    opened.store.close().await;

    let again = Store::open(&path).await.unwrap();
    assert!(again.trouble.unwrap().message.contains("was damaged"), "set aside");
    again.store.look_for_damage().await.unwrap();
    again.store.begin_run(&new_run("ollama", "a")).await.unwrap();
    again.store.close().await;
    assert_eq!(Store::open(&path).await.unwrap().trouble, None, "the suspicion is over with the file");
    let aside = std::fs::read_dir(folder.path()).unwrap();
    let names: Vec<_> = aside.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names.iter().filter(|name| name.contains(".damaged-")).count(), 1, "{names:?}");
}

#[tokio::test]
async fn there_is_one_writer_and_readers_cannot_write() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    assert_eq!(store.writer.options().get_max_connections(), 1);
    let refused = query("DELETE FROM run").execute(&store.readers).await.unwrap_err();
    assert!(refused.to_string().contains("readonly"), "{refused}");
    // A writer at work keeps nobody from reading.
    let working = store.writer.begin_with("BEGIN IMMEDIATE").await.unwrap();
    assert_eq!(store.active().await.unwrap(), None);
    assert!(store.runs(&RunFilter::default()).await.unwrap().runs.is_empty());
    let turned_away = store.set_active(None).await.unwrap_err();
    assert!(turned_away.retry, "its turn did not come in time: {turned_away:?}");
    working.rollback().await.unwrap();
    store.set_active(None).await.unwrap();
}

#[tokio::test]
async fn a_file_that_another_program_holds_is_read_and_writes_fail_soon() {
    let (_folder, path) = folder();
    let active = Active { server: "ollama".into(), model: "a".into(), instance: "a".into() };
    let store = open(&path).await;
    store.set_active(Some(&active)).await.unwrap();
    store.close().await;
    let mut other = beside(&path).await;
    query("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();

    // Nothing to migrate: it opens all the same.
    let store = open(&path).await;
    assert_eq!(store.active().await.unwrap(), Some(active));
    assert!(store.cut_off().await.unwrap().is_empty());
    let to = ModelRef::new("ollama", "b");
    for error in [
        store.begin(None, &to, Timestamp::now()).await.unwrap_err(),
        store.set_active(None).await.unwrap_err(),
        store.set_stray(&to, true).await.unwrap_err(),
        store.try_to_write().await.unwrap_err(),
    ] {
        assert_eq!((error.code, error.retry), (ErrorCode::StoreUnavailable, true), "{error:?}");
        assert!(error.message.contains("another program"), "{error:?}");
    }
    query("ROLLBACK").execute(&mut other).await.unwrap();
    store.try_to_write().await.unwrap();
    assert!(!store.has_switches().await.unwrap(), "what was refused did not come later after all");
}

#[tokio::test]
async fn minutes_are_forgotten_however_many_they_are() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1700) \
               INSERT INTO gauge_minute (at_ms, count, covered_ms, after_gap) SELECT i * 60000, 1, 60000, 0 FROM n";
    query(sql).execute(&store.writer).await.unwrap();
    store.forget_minutes(1600 * 60_000).await.unwrap();
    let left: i64 =
        query("SELECT count(*) FROM gauge_minute").fetch_one(&store.readers).await.unwrap().get(0);
    assert_eq!(left, 101);
}
