//! The configuration files of the apps that are connected: looked at, changed when a person asks for it, and put back.
//!
//! What changes is `domain::connect`'s decision. Here is what files need: written whole or not at all, never over what somebody
//! else has written meanwhile, and the old bytes kept until they are put back.

mod kept;
mod places;
mod test;
#[cfg(test)]
mod tests;

pub use places::{Places, this_system};
pub use test::ask;

use kept::{Kept, Record};
use pilothouse_domain::{
    Timestamp,
    client_key::PREFIX,
    connect::{
        self, App, ConfigFile, FileChange, FileState, Wanted,
        edit::{self, MOST_BYTES, Refused},
        entries,
    },
    error::{ApiError, ErrorCode},
    server::KeyText,
};
use sha2::{Digest, Sha256};
use std::{
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Names the state of a file that is not there.
pub const ABSENT: &str = "absent";

/// One change at a time.
static TURN: Mutex<()> = Mutex::new(());

/// The apps' files of one person. All of its calls read or write files: they belong on a thread of their own.
#[derive(Debug, Clone)]
pub struct AppFiles {
    places: Places,
    /// What stood in them before.
    kept: Kept,
}

/// What a look at an app's file gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Looked {
    /// `None`: it has no file that is ever changed.
    pub path: Option<PathBuf>,
    /// `None`: there is no such file, or nothing is wanted of it.
    pub state: Option<FileState>,
    pub written_at: Option<Timestamp>,
    pub change: Option<FileChange>,
    pub refused: Option<ApiError>,
    /// The key that stands there and stays, because none was named.
    pub kept_key: Option<KeyText>,
    /// It holds a key, or shall, and other accounts may read it.
    pub open_to_others: bool,
}

impl AppFiles {
    /// `kept`: the folder for what stood in the files before.
    pub fn new(places: Places, kept: PathBuf) -> Self {
        Self { places, kept: Kept::new(kept) }
    }

    /// A path as people write it: the home folder is “~”.
    pub fn shown(&self, path: &Path) -> String {
        self.places.shown(path)
    }

    /// How an app's file stands, and what would change in it. `wanted`: `None` while there is no address to name.
    pub fn look(&self, app: &App, wanted: Option<&Wanted>) -> Looked {
        let nothing = Looked {
            path: None,
            state: None,
            written_at: None,
            change: None,
            refused: None,
            kept_key: None,
            open_to_others: false,
        };
        let Some(config) = &app.file else { return nothing };
        let path = self.places.path(config);
        let written_at =
            self.kept.record(app.id).filter(|record| self.can_undo(record)).map(|record| record.written_at);
        let mut looked = Looked { path: Some(path.clone()), written_at, ..nothing };
        let Some(wanted) = wanted else { return looked };
        match self.planned(app, config, &path, wanted) {
            Ok(plan) => {
                looked.state = Some(match (&plan.before, plan.is_idle()) {
                    (_, true) => FileState::SetUp,
                    (None, false) => FileState::NoFile,
                    (Some(_), false) => FileState::Differs,
                });
                looked.change = Some(plan.change(self, false));
                looked.open_to_others =
                    (plan.kept_key.is_some() || plan.holds_key) && is_open_to_others(&path);
                looked.kept_key = plan.kept_key;
            }
            Err(error) => {
                looked.state = Some(FileState::Refused);
                looked.refused = Some(error);
            }
        }
        looked
    }

    /// Writes an app's file, or says what would change. `seen`: the digest of what the difference was made from that a person has
    /// seen. Errors: unsupported (no such file, or it cannot be changed faithfully), busy (it has changed meanwhile), system.
    /// Nothing is written then.
    pub fn write(
        &self,
        app: &App,
        wanted: &Wanted,
        seen: Option<&str>,
        dry_run: bool,
    ) -> Result<FileChange, ApiError> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let config = file_of(app)?;
        let path = self.places.path(config);
        let plan = self.planned(app, config, &path, wanted)?;
        if seen.is_some_and(|seen| seen != plan.digest()) {
            return Err(changed_meanwhile(&self.shown(&path)));
        }
        if dry_run || plan.is_idle() {
            return Ok(plan.change(self, false));
        }
        let folders = make_folders(&path).map_err(|error| self.cannot_write(&path, &error))?;
        let digest = plan.digest();
        let after = digest_of(Some(plan.after.as_bytes()));
        self.kept.keep(
            app.id,
            &path,
            plan.before.as_deref().map(str::as_bytes),
            (&digest, &after),
            folders,
        )?;
        // An editor may have saved while we reckoned.
        if digest_of(self.bytes(&path)?.as_deref()) != digest {
            return Err(changed_meanwhile(&self.shown(&path)));
        }
        pilothouse_system::files::replace(&path, plan.after.as_bytes())
            .map_err(|error| self.cannot_write(&path, &error))?;
        Ok(plan.change(self, true))
    }

    /// Puts back, byte for byte, what stood in an app's file before Pilothouse wrote it. Errors: not_found (nothing was written),
    /// busy (somebody has changed it since), system.
    pub fn undo(&self, app: &App, dry_run: bool) -> Result<FileChange, ApiError> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing = || {
            let text = format!("Pilothouse has written nothing for {} that could be taken back.", app.title);
            ApiError::not_found(text)
        };
        let record = self.kept.record(app.id).ok_or_else(nothing)?;
        let path = record.path.clone();
        let now = self.bytes(&path)?;
        let digest = digest_of(now.as_deref());
        if digest == record.before {
            self.kept.forget(app.id);
            return Err(nothing());
        }
        if !record.ours.contains(&digest) {
            let text =
                format!("{} has changed since Pilothouse wrote it. Nothing was put back.", self.shown(&path));
            let kept = self.shown(&self.kept.bytes_file(app.id));
            return Err(ApiError::new(ErrorCode::Busy, text).hint(match record.existed {
                true => format!("What stood in it before is kept in {kept}."),
                false => "There was no such file before.".into(),
            }));
        }
        let before = if record.existed { Some(self.kept.bytes(app.id, &record)?) } else { None };
        let text =
            |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let shown = self.shown(&path);
        let diff = edit::difference(&shown, text(&now).as_deref(), text(&before).as_deref());
        let change = FileChange { path: shown, diff, digest, written: !dry_run };
        if dry_run {
            return Ok(change);
        }
        let done = match &before {
            Some(before) => pilothouse_system::files::replace(&path, before),
            None => remove(&path, &record.folders),
        };
        done.map_err(|error| self.cannot_write(&path, &error))?;
        self.kept.forget(app.id);
        Ok(change)
    }

    fn can_undo(&self, record: &Record) -> bool {
        self.bytes(&record.path).is_ok_and(|bytes| record.ours.contains(&digest_of(bytes.as_deref())))
    }

    fn planned(
        &self,
        app: &App,
        config: &ConfigFile,
        path: &Path,
        wanted: &Wanted,
    ) -> Result<Plan, ApiError> {
        let bytes = self.bytes(path)?;
        if bytes.is_none()
            && let Some(other) = config.supersedes.map(|name| path.with_file_name(name))
            && other.exists()
        {
            let text = format!(
                "{} still uses {}, which a new file would put out of force.",
                app.title,
                self.shown(&other)
            );
            return Err(ApiError::new(ErrorCode::Unsupported, text)
                .hint("Move to the new form in the app first, or add the lines that are shown by hand."));
        }
        let before = bytes
            .map(String::from_utf8)
            .transpose()
            .map_err(|_| self.refused(path, &Refused("is no text in UTF-8".into())))?;
        let edited = |wanted: &Wanted| {
            edit::edit(config.form, before.as_deref(), &entries(app, wanted))
                .map_err(|refused| self.refused(path, &refused))
        };
        let mut after = edited(wanted)?;
        let mut kept_key = None;
        // A key that somebody has put there is worth more than the placeholder: one of ours always, another one where the file says
        // all the rest, so that no other service's key is sent here by a file that is only now pointed here.
        if wanted.key.is_none()
            && let Some(key) = before.as_deref().and_then(|text| connect::kept_key(app, text))
        {
            let with_key = edited(&Wanted { key: Some(key.clone()), ..wanted.clone() })?;
            if key.0.starts_with(PREFIX) || before.as_deref() == Some(with_key.as_str()) {
                after = with_key;
                kept_key = Some(key);
            }
        }
        let holds_key = wanted.own_key().is_some_and(|key| after.contains(key));
        Ok(Plan { path: path.to_owned(), before, after, kept_key, holds_key })
    }

    /// `None`: there is no file. Errors: unsupported (something else, or too large), system.
    fn bytes(&self, path: &Path) -> Result<Option<Vec<u8>>, ApiError> {
        let unread = |error: std::io::Error| {
            let text = format!("{} cannot be read: {error}.", self.shown(path));
            ApiError::new(ErrorCode::System, text).hint("Check its permissions.")
        };
        match std::fs::metadata(path) {
            // A link that leads nowhere is somebody's, and nothing to write over.
            Err(error) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => return Ok(None),
            Err(error) => return Err(unread(error)),
            // A pipe would never end.
            Ok(meta) if !meta.is_file() => {
                return Err(self.refused(path, &Refused("is no plain file".into())));
            }
            Ok(_) => {}
        }
        let mut bytes = Vec::new();
        let most = MOST_BYTES as u64 + 1;
        let file = std::fs::File::open(path).map_err(unread)?;
        file.take(most).read_to_end(&mut bytes).map_err(unread)?;
        if bytes.len() as u64 == most {
            return Err(self.refused(path, &Refused("is larger than 1 MiB".into())));
        }
        Ok(Some(bytes))
    }

    fn refused(&self, path: &Path, refused: &Refused) -> ApiError {
        let text = format!("{} {refused}. Nothing was written.", self.shown(path));
        ApiError::new(ErrorCode::Unsupported, text)
            .hint("Correct the file, or add the lines that are shown by hand.")
    }

    fn cannot_write(&self, path: &Path, error: &std::io::Error) -> ApiError {
        let text = format!("{} cannot be written: {error}.", self.shown(path));
        ApiError::new(ErrorCode::System, text).hint("Check its permissions and the free disk space.")
    }
}

/// A file as it stands and as it shall stand.
struct Plan {
    path: PathBuf,
    before: Option<String>,
    after: String,
    /// Stands there and stays, because none was named.
    kept_key: Option<KeyText>,
    /// The key that was named is in it.
    holds_key: bool,
}

impl Plan {
    fn is_idle(&self) -> bool {
        self.before.as_deref() == Some(self.after.as_str())
    }

    fn digest(&self) -> String {
        digest_of(self.before.as_deref().map(str::as_bytes))
    }

    fn change(&self, files: &AppFiles, written: bool) -> FileChange {
        let path = files.shown(&self.path);
        let diff = edit::difference(&path, self.before.as_deref(), Some(&self.after));
        FileChange { path, diff, digest: self.digest(), written }
    }
}

fn file_of(app: &App) -> Result<&ConfigFile, ApiError> {
    app.file.as_ref().ok_or_else(|| {
        let text = format!(
            "{} has no file that Pilothouse could change without a risk for what else stands there.",
            app.title
        );
        ApiError::new(ErrorCode::Unsupported, text).hint("Copy the lines that are shown instead.")
    })
}

fn changed_meanwhile(path: &str) -> ApiError {
    let text = format!("{path} has changed since the difference was shown. Nothing was written.");
    ApiError::new(ErrorCode::Busy, text).hint("Look at the difference again.")
}

fn digest_of(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(
        || ABSENT.to_owned(),
        |bytes| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
    )
}

fn is_open_to_others(path: &Path) -> bool {
    #[cfg(unix)]
    let is_open = |about: &std::fs::Metadata| {
        std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o044 != 0
    };
    #[cfg(not(unix))]
    let is_open = |_: &std::fs::Metadata| false;
    std::fs::metadata(path).as_ref().is_ok_and(is_open)
}

/// The folders that had to be made for a file, the outermost first.
fn make_folders(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let Some(folder) = path.parent() else { return Ok(vec![]) };
    let mut missing: Vec<PathBuf> =
        folder.ancestors().take_while(|folder| !folder.exists()).map(Path::to_owned).collect();
    missing.reverse();
    std::fs::create_dir_all(folder)?;
    Ok(missing)
}

/// Takes a file away, and the folders that were made for it as long as nothing else is in them.
fn remove(path: &Path, folders: &[PathBuf]) -> std::io::Result<()> {
    std::fs::remove_file(path)?;
    for folder in folders.iter().rev() {
        if std::fs::remove_dir(folder).is_err() {
            break;
        }
    }
    Ok(())
}
