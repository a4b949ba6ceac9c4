//! The log of a server that somebody else started: read where its owner keeps it, never changed, never copied to disk.

use super::{ServerLog, stamp::stamp};
use crate::api::LogSource;
use jiff::tz::TimeZone;
use pilothouse_domain::Timestamp;
use pilothouse_servers::ForeignLog;
use pilothouse_system::process::OutputTail;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// What is shown of a line that may go on with a prompt.
const HEAD: usize = 300;

/// Reads what was written lately, each line at its own time, and follows what comes. `None`: only the owner's own command
/// shows it. The log is followed until the tail is dropped.
pub fn follow(place: &ForeignLog, log: &Arc<ServerLog>) -> Option<OutputTail> {
    let (find, heads_only): (Box<dyn Fn() -> Option<PathBuf> + Send>, bool) = match place.clone() {
        ForeignLog::File(path) => (Box::new(move || Some(path.clone())), false),
        ForeignLog::NewestHeads(folder) => (Box::new(move || newest(&folder)), true),
        ForeignLog::Command(_) => return None,
    };
    let log = log.clone();
    let zone = TimeZone::system();
    // Lines without a stamp belong to the one before them.
    let mut at: Option<Timestamp> = None;
    Some(OutputTail::follow_foreign(find, move |line, live| {
        let stamped = stamp(line, &zone);
        if heads_only && stamped.is_none() {
            return;
        }
        // Request lines of Ollama count whole seconds only: never behind the line before them.
        at = stamped.max(at);
        let line = match heads_only {
            true => &line[..line.floor_char_boundary(HEAD)],
            false => line,
        };
        // What was written before must not stand behind what is known already.
        let in_order = |at: &Timestamp| log.newest_at().is_none_or(|newest| *at >= newest);
        let shown_at = if live { Some(Timestamp::now()) } else { at.filter(in_order) };
        if let Some(at) = shown_at {
            log.push_read(at, LogSource::Server, line);
        }
    }))
}

/// The newest file in the folders of a folder: `server-logs/2026-09/2026-09-29.1.log`. Names begin with the date.
fn newest(folder: &Path) -> Option<PathBuf> {
    let last = |folder: &Path, wanted: fn(&Path) -> bool| {
        let entries = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
        entries.filter(|path| wanted(path)).max_by_key(|path| {
            // Within a day the files are counted: .10 comes after .9.
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut parts = name.splitn(3, '.').map(str::to_owned);
            (parts.next(), parts.next().and_then(|number| number.parse::<u32>().ok()))
        })
    };
    last(&last(folder, Path::is_dir)?, |path| path.extension().is_some_and(|it| it == "log"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::server::ServerId;

    fn texts(log: &ServerLog) -> Vec<String> {
        log.last(usize::MAX).into_iter().map(|line| line.line).collect()
    }

    #[tokio::test]
    async fn the_past_has_its_own_times_and_is_not_copied() {
        let folder = tempfile::tempdir().unwrap();
        let theirs = folder.path().join("server.log");
        let text = "no stamp yet\ntime=2026-01-01T00:00:00Z level=INFO msg=one\n  more of it\n";
        std::fs::write(&theirs, text).unwrap();
        let log = Arc::new(ServerLog::new(&folder.path().join("ours"), &ServerId::new("ollama")));
        let tail = follow(&ForeignLog::File(theirs.clone()), &log).unwrap();
        let lines = log.last(10);
        assert_eq!(texts(&log), ["time=2026-01-01T00:00:00Z level=INFO msg=one", "  more of it"]);
        assert!(lines.iter().all(|line| line.at == "2026-01-01T00:00:00Z".parse().unwrap()));
        assert!(!folder.path().join("ours/ollama.log").exists());
        drop(tail);
        // Found again: what is known already does not come twice.
        log.push(LogSource::Pilothouse, "is gone");
        let _tail = follow(&ForeignLog::File(theirs), &log).unwrap();
        assert_eq!(log.last(10).len(), 3);
    }

    #[tokio::test]
    async fn of_a_log_with_prompts_only_the_heads_are_shown_from_the_newest_file() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("2026-08/2026-08-31.9.log", "[2026-08-31 01:00:00][INFO] old\n"),
            ("2026-09/2026-09-01.9.log", "[2026-09-01 01:00:00][INFO] nine\n"),
            ("2026-09/2026-09-01.10.log", "[2026-09-01 02:00:00][INFO] Received\n{\"prompt\": \"secret\"}\n"),
        ] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let log = Arc::new(ServerLog::new(&folder.path().join("ours"), &ServerId::new("lmstudio")));
        let _tail = follow(&ForeignLog::NewestHeads(folder.path().into()), &log).unwrap();
        assert_eq!(texts(&log), ["[2026-09-01 02:00:00][INFO] Received"]);
    }

    #[test]
    fn no_folder_is_no_log() {
        assert_eq!(newest(Path::new("/nonexistent")), None);
    }
}
