//! Damage inside the file. Looking through all of it takes longer the more it holds, so a start does that only when something
//! has found damage before; else it is looked for beside everything that runs.

use super::{Store, unavailable};
use pilothouse_domain::error::ApiError;
use sqlx::{SqliteConnection, query_scalar};
use std::path::{Path, PathBuf};

/// SQLite's codes of a file that is not a database, or no longer one.
const CODES: [u32; 2] = [11, 26];

pub(super) fn is_damage(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| CODES.contains(&(code & 0xff)))
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Stands beside the file while it is suspected.
fn mark(path: &Path) -> PathBuf {
    with_suffix(path, ".suspect")
}

/// The next start shall look through the whole file.
pub(super) fn remember(path: &Path) {
    if let Err(error) = std::fs::write(mark(path), "Damage was found in the file beside this one.\n") {
        tracing::warn!(%error, "that the history is damaged was not written down");
    }
}

pub(super) fn is_suspected(path: &Path) -> bool {
    mark(path).exists()
}

pub(super) fn forget(path: &Path) {
    let _ = std::fs::remove_file(mark(path));
}

/// Looks through the whole file. `Some`: what is wrong with it.
pub(super) async fn find(connection: &mut SqliteConnection) -> Result<Option<String>, sqlx::Error> {
    let told: String = query_scalar("PRAGMA quick_check(1)").fetch_one(connection).await?;
    Ok((told != "ok").then_some(told))
}

impl Store {
    /// Looks through the whole file, which takes a while. Errors: what is wrong; the next start sets the file aside.
    pub async fn look_for_damage(&self) -> Result<(), ApiError> {
        let found = async { find(&mut *self.readers.acquire().await?).await };
        let why = match found.await {
            Ok(None) => return Ok(()),
            Ok(Some(why)) => why,
            Err(error) if is_damage(&error) => error.to_string(),
            // Whoever reads or writes hears of that.
            Err(_) => return Ok(()),
        };
        remember(&self.path);
        let error = unavailable(&self.path, format!("The history file is damaged ({why})."));
        Err(error.hint("The next start of Pilothouse sets it aside and begins a new history."))
    }
}
