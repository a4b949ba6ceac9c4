//! Reads the settings again when the file changes.

use super::parse;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    settings::Settings,
};
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    time::Duration,
};
use tokio::sync::mpsc::Sender;

/// Editors write in several steps; what follows within this time belongs together.
const SETTLED_AFTER: Duration = Duration::from_millis(200);

/// More links than the system itself follows (ELOOP).
const MAX_LINKS: usize = 40;

/// Ends the watch when dropped.
#[derive(Debug)]
pub struct WatchGuard {
    _places: Arc<Mutex<Places>>,
}

/// The folders in which a change concerns the settings: that of the file, and that of each file behind it when it is a link.
#[derive(Debug)]
struct Places {
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
}

/// From now on sends the settings whenever the file's text changes, or the error that keeps the last good ones in
/// force. Folders are watched rather than the file, because many editors replace it, and links are followed. A file that is
/// gone is waited for. Errors: system, when the operating system gives no watch.
pub fn watch(path: &Path, sender: Sender<Result<Settings, ApiError>>) -> Result<WatchGuard, ApiError> {
    let failed = |error: &dyn std::fmt::Display| {
        ApiError::new(ErrorCode::System, format!("Changes of {} are not noticed: {error}.", path.display()))
            .hint("Restart Pilothouse after a change of the settings.")
    };
    if path.parent().is_none() || path.file_name().is_none() {
        return Err(failed(&"it is not a file in a folder"));
    }
    let (changed, changes) = channel();
    let names: Arc<Mutex<BTreeSet<OsString>>> = Arc::default();
    let concerning = names.clone();
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // An error means that events were lost, so the file is looked at. Reading it makes access events of our own.
        let concerns = event.map_or(true, |event| {
            let names = concerning.lock().unwrap_or_else(PoisonError::into_inner);
            let named = |path: &PathBuf| path.file_name().is_some_and(|name| names.contains(name));
            !matches!(event.kind, EventKind::Access(_))
                && (event.need_rescan() || event.paths.iter().any(named))
        });
        if concerns {
            // The reader is gone only when the guard is going.
            let _ = changed.send(());
        }
    })
    .map_err(|error| failed(&error))?;
    let mut places = Places { watcher, watched: BTreeSet::new() };
    places.look(path, &names).map_err(|error| failed(&error))?;
    let places = Arc::new(Mutex::new(places));
    let known = std::fs::read_to_string(path).ok();
    let (path, weak) = (path.to_owned(), Arc::downgrade(&places));
    let look = move |path: &Path| {
        let Some(places) = weak.upgrade() else { return };
        if let Err(error) = places.lock().unwrap_or_else(PoisonError::into_inner).look(path, &names) {
            tracing::warn!(%error, "where the settings lie is not watched any more");
        }
    };
    std::thread::Builder::new()
        .name("settings".into())
        .spawn(move || follow(path, known, look, changes, sender))
        .map_err(|error| failed(&error))?;
    Ok(WatchGuard { _places: places })
}

impl Places {
    /// Watches where the file lies now, and no other place any more. Errors: the file's own folder cannot be watched.
    fn look(&mut self, path: &Path, names: &Mutex<BTreeSet<OsString>>) -> notify::Result<()> {
        let files = links(path);
        let folders: BTreeSet<PathBuf> =
            files.iter().filter_map(|file| file.parent()).map(Into::into).collect();
        for gone in self.watched.difference(&folders) {
            // It may be gone in every sense.
            let _ = self.watcher.unwatch(gone);
        }
        self.watched.retain(|folder| folders.contains(folder));
        *names.lock().unwrap_or_else(PoisonError::into_inner) =
            files.iter().filter_map(|file| file.file_name()).map(OsStr::to_owned).collect();
        for folder in folders {
            if self.watched.contains(&folder) {
                continue;
            }
            match self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.watched.insert(folder)),
                Err(error) if path.parent() == Some(&folder) => return Err(error),
                // A link may lead nowhere yet.
                Err(error) => tracing::debug!(%error, folder = %folder.display(), "not watched"),
            }
        }
        Ok(())
    }
}

/// The file, and what each link leads to.
fn links(path: &Path) -> Vec<PathBuf> {
    let mut files = vec![path.to_owned()];
    while files.len() < MAX_LINKS
        && let Some(last) = files.last()
        && let Ok(target) = std::fs::read_link(last)
        && let Some(folder) = last.parent()
    {
        let next = folder.join(target);
        files.push(next);
    }
    files
}

/// Ends when the watcher or the receiver of the settings is gone.
fn follow(
    path: PathBuf,
    mut known: Option<String>,
    look: impl Fn(&Path),
    changes: Receiver<()>,
    sender: Sender<Result<Settings, ApiError>>,
) {
    while changes.recv().is_ok() {
        loop {
            match changes.recv_timeout(SETTLED_AFTER) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        // Before it is read: what changes after that is noticed.
        look(&path);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                known = None;
                let error = super::invalid(format!("{} cannot be read: {error}.", path.display()));
                if sender.blocking_send(Err(error)).is_err() {
                    return;
                }
                continue;
            }
        };
        if known.as_ref() == Some(&text) {
            continue;
        }
        let settings = parse(&text);
        known = Some(text);
        if sender.blocking_send(settings).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    async fn next(receiver: &mut mpsc::Receiver<Result<Settings, ApiError>>) -> Result<Settings, ApiError> {
        tokio::time::timeout(Duration::from_secs(20), receiver.recv())
            .await
            .expect("a change is noticed")
            .expect("the watch goes on")
    }

    #[tokio::test]
    async fn saved_replaced_and_bad_files_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        std::fs::write(&path, "").unwrap();
        let (sender, mut receiver) = mpsc::channel(4);
        let guard = watch(&path, sender).unwrap();

        std::fs::write(&path, "[gateway]\nport = 1\n").unwrap();
        assert_eq!(next(&mut receiver).await.unwrap().gateway.port, 1);

        let fresh = folder.path().join("settings.toml~");
        std::fs::write(&fresh, "[gateway]\nport = 2\n").unwrap();
        std::fs::rename(&fresh, &path).unwrap();
        assert_eq!(next(&mut receiver).await.unwrap().gateway.port, 2);

        std::fs::write(&path, "[gateway]\nprot = 3\n").unwrap();
        assert!(next(&mut receiver).await.unwrap_err().message.contains("gateway.prot"));

        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "[gateway]\nport = 4\n").unwrap();
        assert_eq!(next(&mut receiver).await.unwrap().gateway.port, 4);

        drop(guard);
        assert_eq!(receiver.recv().await.map(|s| s.is_ok()), None, "the watch ended");
    }

    /// The file of many people stands in a folder of theirs, with a link where Pilothouse looks.
    #[cfg(unix)]
    #[tokio::test]
    async fn edits_behind_links_are_noticed() {
        use std::os::unix::fs::symlink;
        // What is linked: the file, a link to a link, the folder, a relative link, and a folder on the way.
        for kind in ["file", "twice", "folder", "relative", "on the way"] {
            let root = tempfile::tempdir().unwrap();
            let (own, theirs) = (root.path().join("config"), root.path().join("dotfiles/pilothouse"));
            std::fs::create_dir_all(&theirs).unwrap();
            let real = theirs.join("mine.toml");
            std::fs::write(&real, "").unwrap();
            let path = match kind {
                "folder" | "on the way" => {
                    std::fs::rename(&real, theirs.join("settings.toml")).unwrap();
                    let from = if kind == "folder" { theirs.clone() } else { root.path().join("dotfiles") };
                    symlink(from, &own).unwrap();
                    if kind == "folder" {
                        own.join("settings.toml")
                    } else {
                        own.join("pilothouse/settings.toml")
                    }
                }
                _ => {
                    std::fs::create_dir_all(&own).unwrap();
                    let path = own.join("settings.toml");
                    match kind {
                        "twice" => {
                            symlink(&real, root.path().join("between")).unwrap();
                            symlink(root.path().join("between"), &path).unwrap();
                        }
                        "relative" => symlink("../dotfiles/pilothouse/mine.toml", &path).unwrap(),
                        _ => symlink(&real, &path).unwrap(),
                    }
                    path
                }
            };
            let real = path.canonicalize().unwrap();
            let (sender, mut receiver) = mpsc::channel(4);
            let _guard = watch(&path, sender).unwrap();
            std::fs::write(&real, "[gateway]\nport = 1\n").unwrap();
            assert_eq!(next(&mut receiver).await.unwrap().gateway.port, 1, "{kind}: saved");
            let fresh = real.with_extension("new");
            std::fs::write(&fresh, "[gateway]\nport = 2\n").unwrap();
            std::fs::rename(&fresh, &real).unwrap();
            assert_eq!(next(&mut receiver).await.unwrap().gateway.port, 2, "{kind}: replaced");
        }
    }

    /// As some managers of dotfiles do it: another file, and the link put on it.
    #[cfg(unix)]
    #[tokio::test]
    async fn a_link_that_leads_elsewhere_is_followed() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().unwrap();
        let (own, one, two) = (root.path().join("own"), root.path().join("one"), root.path().join("two"));
        for (folder, port) in [(&own, 0), (&one, 1), (&two, 2)] {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join("s.toml"), format!("[gateway]\nport = {port}\n")).unwrap();
        }
        let path = own.join("settings.toml");
        symlink(one.join("s.toml"), &path).unwrap();
        let (sender, mut receiver) = mpsc::channel(4);
        let _guard = watch(&path, sender).unwrap();
        std::fs::remove_file(&path).unwrap();
        symlink(two.join("s.toml"), &path).unwrap();
        assert_eq!(next(&mut receiver).await.unwrap().gateway.port, 2);
        std::fs::write(two.join("s.toml"), "[gateway]\nport = 3\n").unwrap();
        assert_eq!(next(&mut receiver).await.unwrap().gateway.port, 3, "saved behind the new link");
    }
}
