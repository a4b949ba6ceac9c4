//! What the history says of the last switch: by it alone it is decided what must be in memory at the next start.

use pilothouse_tests::sandbox::Sandbox;
use serde_json::Value;
use sqlx::{Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions, sqlite::SqliteRow};
use std::path::Path;

/// One row of the journal. Models are `<server>/<name>`.
#[derive(Debug, Clone)]
pub struct Switch {
    pub id: i64,
    pub from: Option<String>,
    pub to: String,
    pub phase: String,
    /// `None`: it was under way.
    pub outcome: Option<String>,
}

/// The last switch, and which model is active by the history.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    pub last: Option<Switch>,
    pub active: Option<String>,
    /// What is held beside it, as it was written down.
    pub kept: Value,
}

impl Journal {
    /// What a dead engine left. Its files are read as copies: to look must change nothing.
    pub async fn left_by_the_dead(sandbox: &Sandbox) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("history.sqlite3");
        for part in ["", "-wal", "-shm"] {
            let with = |path: &Path| format!("{}{part}", path.display());
            // The latter two are there only after a death without a goodbye.
            let _ = std::fs::copy(with(&sandbox.database()), with(&copy));
        }
        Self::read(&SqliteConnectOptions::new().filename(&copy)).await
    }

    /// What a running engine has written.
    pub async fn of_the_living(sandbox: &Sandbox) -> Self {
        Self::read(&SqliteConnectOptions::new().filename(sandbox.database()).read_only(true)).await
    }

    async fn read(options: &SqliteConnectOptions) -> Self {
        let mut database = SqliteConnection::connect_with(options).await.unwrap();
        let last = sqlx::query("SELECT * FROM switch ORDER BY id DESC LIMIT 1");
        let active = sqlx::query("SELECT server, model FROM active");
        let last = last.fetch_optional(&mut database).await.unwrap().map(|row| Switch {
            id: row.get("id"),
            from: model(&row, "from_server", "from_model"),
            to: model(&row, "to_server", "to_model").unwrap(),
            phase: row.get("phase"),
            outcome: row.get("outcome"),
        });
        let active = active.fetch_optional(&mut database).await.unwrap();
        let active = active.and_then(|row| model(&row, "server", "model"));
        let kept = sqlx::query("SELECT document FROM held").fetch_optional(&mut database).await.unwrap();
        let kept = kept.map(|row| serde_json::from_str(row.get("document")).unwrap()).unwrap_or_default();
        database.close().await.unwrap();
        Self { last, active, kept }
    }

    /// The number of the last switch; 0 when there was none.
    pub fn last_id(&self) -> i64 {
        self.last.as_ref().map_or(0, |last| last.id)
    }

    /// The model of a role, as it was written down last.
    pub fn role(&self, role: &str) -> Option<&str> {
        self.kept["arrangement"]["roles"][role]["model"]["model"].as_str()
    }

    /// The switch after this number, if it was begun.
    pub fn after(&self, id: i64) -> Option<&Switch> {
        self.last.as_ref().filter(|last| last.id > id)
    }
}

impl Switch {
    /// The model that may be active after it, whatever happened to its engine.
    pub fn allows(&self) -> Option<&String> {
        match self.outcome.as_deref() {
            Some("committed") => Some(&self.to),
            _ => self.from.as_ref(),
        }
    }
}

fn model(row: &SqliteRow, server: &str, model: &str) -> Option<String> {
    let server: String = row.get::<Option<String>, _>(server)?;
    Some(format!("{server}/{}", row.get::<String, _>(model)))
}
