//! Opening the file: pragmas, migrations, and what to do with a damaged, newer or older one.

use super::{
    Store, WRITE_LIMIT,
    damage::{self, with_suffix},
    unavailable,
};
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
};
use sqlx::{
    ConnectOptions, Connection, SqliteConnection, query, query_scalar, raw_sql,
    sqlite::{
        SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
    },
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Forward only; the file's `user_version` is the number of those that were applied.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/0001_spine.sql"),
    include_str!("../../migrations/0002_gauges.sql"),
    include_str!("../../migrations/0003_loads.sql"),
    include_str!("../../migrations/0004_residency.sql"),
    include_str!("../../migrations/0005_start.sql"),
    include_str!("../../migrations/0006_lab.sql"),
    include_str!("../../migrations/0007_plans.sql"),
    include_str!("../../migrations/0008_history.sql"),
    include_str!("../../migrations/0009_noise.sql"),
    include_str!("../../migrations/0010_events.sql"),
    include_str!("../../migrations/0011_held.sql"),
    include_str!("../../migrations/0012_requests.sql"),
    include_str!("../../migrations/0013_client_keys.sql"),
];

/// Readers at the same time.
const READERS: u32 = 3;
/// Longest wait for one of them: each may read a history of years.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// An open history.
#[derive(Debug)]
pub struct Opened {
    pub store: Store,
    /// What was wrong with the file, although a history is open now: a damaged one was set aside.
    pub trouble: Option<ApiError>,
}

/// Why a file could not be opened.
enum Failure {
    Damaged(String),
    Other(ApiError),
}

impl Store {
    /// Opens the history, makes it if there is none, and brings an older one up to date (a copy is kept beside it).
    /// A damaged file is set aside under `<name>.damaged-<ms>` and a new one is begun. Runs that a dead engine left
    /// `running` become `cut_off`. Call it only while holding the engine's lock.
    /// Errors: store_unavailable (also for a file of a newer Pilothouse, which stays as it is).
    pub async fn open(path: &Path) -> Result<Opened, ApiError> {
        Self::open_with(path, MIGRATIONS).await
    }

    pub(super) async fn open_with(path: &Path, migrations: &[&'static str]) -> Result<Opened, ApiError> {
        let (store, trouble) = match try_open(path, migrations).await {
            Ok(store) => (store, None),
            Err(Failure::Other(error)) => return Err(error),
            Err(Failure::Damaged(why)) => {
                let aside = set_aside(path)?;
                let store = match try_open(path, migrations).await {
                    Ok(store) => store,
                    Err(Failure::Other(error)) => return Err(error),
                    Err(Failure::Damaged(why)) => return Err(unavailable(path, why)),
                };
                (store, Some(was_damaged(&why, &aside)))
            }
        };
        if let Err(error) = store.close_cut_off_runs().await {
            // Another program holds the file. They are shown as running until the next start.
            tracing::warn!(%error, "runs that were cut off stay open");
        }
        Ok(Opened { store, trouble })
    }

    async fn close_cut_off_runs(&self) -> Result<(), ApiError> {
        query(CLOSE_CUT_OFF_RUNS)
            .execute(&self.writer)
            .await
            .map_err(|error| self.cannot("write", &error))?;
        Ok(())
    }
}

/// Found by an index that holds runs under way only.
pub(super) const CLOSE_CUT_OFF_RUNS: &str = "UPDATE run SET state = 'cut_off', \
     note = coalesce(note, 'Pilothouse ended before the run did.') WHERE state = 'running'";

async fn try_open(path: &Path, migrations: &[&'static str]) -> Result<Store, Failure> {
    let shared = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(WRITE_LIMIT)
        .foreign_keys(true)
        .disable_statement_logging();
    let writing = shared
        .clone()
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal);
    let failed = |error: sqlx::Error| failure(path, &error);
    let preparing = match std::fs::metadata(path) {
        // Already to say so is a write, which must not wait for another program that holds the file.
        Ok(file) if file.len() > 0 => writing.clone(),
        // Only then what is deleted can make the file smaller without writing all of it anew.
        _ => writing.clone().auto_vacuum(SqliteAutoVacuum::Incremental),
    };
    let mut connection = SqliteConnection::connect_with(&preparing).await.map_err(failed)?;
    let prepared = prepare(&mut connection, path, migrations).await;
    let closed = connection.close().await.map_err(failed);
    prepared.and(closed)?;
    let one = SqlitePoolOptions::new().max_connections(1).acquire_timeout(WRITE_LIMIT);
    let writer = one.connect_with(writing).await.map_err(failed)?;
    let several = SqlitePoolOptions::new().max_connections(READERS).acquire_timeout(READ_LIMIT);
    let readers = several.connect_with(shared.read_only(true)).await.map_err(failed)?;
    Ok(Store { writer, readers, path: path.to_owned() })
}

async fn prepare(
    connection: &mut SqliteConnection,
    path: &Path,
    migrations: &[&'static str],
) -> Result<(), Failure> {
    let failed = |error: sqlx::Error| failure(path, &error);
    if damage::is_suspected(path) {
        if let Some(why) = damage::find(connection).await.map_err(failed)? {
            return Err(Failure::Damaged(why));
        }
        damage::forget(path);
    }
    let version: i64 =
        query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await.map_err(failed)?;
    let applied = usize::try_from(version).unwrap_or(usize::MAX);
    if applied > migrations.len() {
        return Err(Failure::Other(newer(path)));
    }
    if applied > 0 && applied < migrations.len() {
        copy(connection, path, version).await?;
    }
    for (index, migration) in migrations.iter().enumerate().skip(applied) {
        migrate(connection, index + 1, migration).await.map_err(failed)?;
    }
    if applied > 0 && applied < migrations.len() {
        rewrite(connection).await;
    }
    Ok(())
}

/// How free pages are given back is settled when a file is made, so one of before is written anew, once. Without room for that it
/// stays as it is, and only grows no further for a while.
async fn rewrite(connection: &mut SqliteConnection) {
    let rewritten = async {
        let mode: i64 = query_scalar("PRAGMA auto_vacuum").fetch_one(&mut *connection).await?;
        // 2: incremental.
        if mode != 2 {
            raw_sql("PRAGMA auto_vacuum = INCREMENTAL; VACUUM").execute(&mut *connection).await?;
        }
        Ok::<(), sqlx::Error>(())
    };
    if let Err(error) = rewritten.await {
        tracing::warn!(%error, "the history file keeps the room of what is deleted");
    }
}

/// All of a migration or nothing of it, and its number with it.
async fn migrate(
    connection: &mut SqliteConnection,
    number: usize,
    migration: &'static str,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    raw_sql(migration).execute(&mut *transaction).await?;
    // A pragma takes no parameters; the number is ours.
    let sql = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {number}"));
    raw_sql(sql).execute(&mut *transaction).await?;
    transaction.commit().await
}

/// Keeps the file as it was before a migration, as `<name>.version-<n>`.
async fn copy(connection: &mut SqliteConnection, path: &Path, version: i64) -> Result<(), Failure> {
    let target = with_suffix(path, &format!(".version-{version}"));
    match std::fs::remove_file(&target) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            let message = format!("The older copy {} cannot be replaced: {error}.", target.display());
            return Err(Failure::Other(unavailable(path, message)));
        }
        _ => {}
    }
    // Unlike a plain copy it holds what is still in the write-ahead log.
    query("VACUUM INTO ?")
        .bind(target.to_string_lossy().into_owned())
        .execute(connection)
        .await
        .map_err(|error| failure(path, &error))?;
    Ok(())
}

fn failure(path: &Path, error: &sqlx::Error) -> Failure {
    match damage::is_damage(error) {
        true => Failure::Damaged(error.to_string()),
        false => Failure::Other(unavailable(path, format!("Pilothouse cannot open its history: {error}."))),
    }
}

fn set_aside(path: &Path) -> Result<PathBuf, ApiError> {
    let aside = with_suffix(path, &format!(".damaged-{}", Timestamp::now().as_millisecond()));
    std::fs::rename(path, &aside).map_err(|error| {
        unavailable(path, format!("The history file is damaged and cannot be set aside: {error}."))
    })?;
    for part in ["-wal", "-shm"] {
        // Most often they are not there. What stays would be applied to the new file, so it must go along.
        let from = with_suffix(path, part);
        match std::fs::rename(&from, with_suffix(&aside, part)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let message = format!("{} cannot be set aside: {error}.", from.display());
                return Err(unavailable(path, message));
            }
            _ => {}
        }
    }
    damage::forget(path);
    Ok(aside)
}

fn was_damaged(why: &str, aside: &Path) -> ApiError {
    ApiError::new(
        ErrorCode::StoreUnavailable,
        format!("The history file was damaged ({why}), so a new history was begun."),
    )
    .hint(format!("The old one is kept as {}.", aside.display()))
}

fn newer(path: &Path) -> ApiError {
    ApiError::new(
        ErrorCode::StoreUnavailable,
        "The history file was written by a newer Pilothouse and is left as it is.",
    )
    .hint(format!("Update Pilothouse, or move {} away to begin a new history.", path.display()))
}
