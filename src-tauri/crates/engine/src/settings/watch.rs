//! Reads the settings again when the file changes.

use super::parse;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    settings::Settings,
};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};
use tokio::sync::mpsc::Sender;

/// Editors write in several steps; what follows within this time belongs together.
const SETTLED_AFTER: Duration = Duration::from_millis(200);

/// Ends the watch when dropped.
#[derive(Debug)]
pub struct WatchGuard {
    _watcher: RecommendedWatcher,
}

/// From now on sends the settings whenever the file's text changes, or the error that keeps the last good ones in
/// force. The folder is watched rather than the file, because many editors replace it. A file that is gone is waited
/// for. Errors: system, when the operating system gives no watch.
pub fn watch(path: &Path, sender: Sender<Result<Settings, ApiError>>) -> Result<WatchGuard, ApiError> {
    let failed = |error: &dyn std::fmt::Display| {
        ApiError::new(ErrorCode::System, format!("Changes of {} are not noticed: {error}.", path.display()))
            .hint("Restart Pilothouse after a change of the settings.")
    };
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().map(OsStr::to_owned)) else {
        return Err(failed(&"it is not a file in a folder"));
    };
    let (changed, changes) = channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // An error means that events were lost, so the file is looked at. Reading it makes access events of our own.
        let concerns = event.map_or(true, |event| {
            !matches!(event.kind, EventKind::Access(_))
                && (event.need_rescan()
                    || event.paths.iter().any(|p| p.file_name() == Some(name.as_os_str())))
        });
        if concerns {
            // The reader is gone only when the guard is going.
            let _ = changed.send(());
        }
    })
    .map_err(|error| failed(&error))?;
    watcher.watch(folder, RecursiveMode::NonRecursive).map_err(|error| failed(&error))?;
    let known = std::fs::read_to_string(path).ok();
    let path = path.to_owned();
    std::thread::Builder::new()
        .name("settings".into())
        .spawn(move || follow(path, known, changes, sender))
        .map_err(|error| failed(&error))?;
    Ok(WatchGuard { _watcher: watcher })
}

/// Ends when the watcher or the receiver of the settings is gone.
fn follow(
    path: PathBuf,
    mut known: Option<String>,
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
}
