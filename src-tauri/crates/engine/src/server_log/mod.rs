//! The output of one server: the last lines in memory, more of them in rotating files.

pub mod foreign;
mod search;
mod stamp;

use crate::api::{LogLine, LogMatch, LogSource};
use pilothouse_domain::{Timestamp, server::ServerId, server_words::last_complaint};
use pilothouse_system::{redact::redact, rotating_file::RotatingFile};
use std::{
    collections::VecDeque,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

const MAX_LINES: usize = 2000;
/// Longer lines are cut.
const MAX_LINE_BYTES: usize = 4096;
/// Text of all lines in memory.
const MAX_RING_BYTES: usize = 2 * 1024 * 1024;
const MAX_FILE_BYTES: u64 = 5 * 1024 * 1024;
const KEEP_FILES: u32 = 3;

/// Can be shared between threads; every line is redacted before it is kept.
#[derive(Debug)]
pub struct ServerLog {
    inner: Mutex<Kept>,
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct Kept {
    lines: VecDeque<LogLine>,
    bytes: usize,
    file: RotatingFile,
}

impl ServerLog {
    /// `dir` is the folder of all servers' logs; the file is `<dir>/<server>.log`. Nothing is written until the first
    /// line, and a disk that cannot be written only loses the file.
    pub fn new(dir: &Path, server: &ServerId) -> Self {
        let path = dir.join(format!("{}.log", file_name(server)));
        Self {
            inner: Mutex::new(Kept {
                lines: VecDeque::new(),
                bytes: 0,
                file: RotatingFile::new(path, MAX_FILE_BYTES, KEEP_FILES),
            }),
            newest: watch::Sender::new(0),
        }
    }

    /// Adds a line; returns its number, the first one is 1.
    pub fn push(&self, source: LogSource, line: &str) -> u64 {
        let (at, line) = (Timestamp::now(), clean(line));
        let written = search::written(at, source, &line);
        self.lock().file.append(written.as_bytes());
        self.keep(at, source, line)
    }

    /// Adds a line that stands in a file already, with its own time; returns its number.
    pub fn push_read(&self, at: Timestamp, source: LogSource, line: &str) -> u64 {
        self.keep(at, source, clean(line))
    }

    fn keep(&self, at: Timestamp, source: LogSource, line: String) -> u64 {
        let mut inner = self.lock();
        let number = inner.lines.back().map_or(1, |newest| newest.number + 1);
        inner.bytes += line.len();
        inner.lines.push_back(LogLine { number, at, source, line });
        while inner.lines.len() > MAX_LINES || inner.bytes > MAX_RING_BYTES {
            let Some(oldest) = inner.lines.pop_front() else {
                break;
            };
            inner.bytes -= oldest.line.len();
        }
        self.newest.send_replace(number);
        number
    }

    /// Oldest first. With a number: up to `limit` lines that follow it, so that a reader can go on from the last one
    /// it got. Without: the last `limit` lines.
    pub fn after(&self, number: Option<u64>, limit: usize) -> Vec<LogLine> {
        let Some(number) = number else {
            return self.last(limit);
        };
        let inner = self.lock();
        let newer = inner.lines.iter().filter(|line| line.number > number);
        newer.take(limit).cloned().collect()
    }

    /// The last `count` lines, oldest first.
    pub fn last(&self, count: usize) -> Vec<LogLine> {
        let inner = self.lock();
        let skipped = inner.lines.len().saturating_sub(count);
        inner.lines.iter().skip(skipped).cloned().collect()
    }

    /// The time of the newest line.
    pub fn newest_at(&self) -> Option<Timestamp> {
        self.lock().lines.back().map(|line| line.at)
    }

    /// The last `limit` lines that contain a text, oldest first; upper and lower case are the same. Older lines come from
    /// the files, which a disk that is full may have lost.
    pub fn search(&self, text: &str, limit: usize) -> Vec<LogMatch> {
        let (ring, path) = {
            let inner = self.lock();
            (inner.lines.clone(), inner.file.path().to_owned())
        };
        search::search(&path, KEEP_FILES, &ring, text, limit)
    }

    /// The number of the newest line; 0 before the first.
    pub fn newest(&self) -> u64 {
        *self.newest.borrow()
    }

    /// What the server complained of last in the lines that follow a number (see [`last_complaint`]). The reader of its output
    /// may be a moment behind: so long it is waited for a complaint.
    pub async fn complaint_after(&self, number: u64, wait: Duration) -> Option<String> {
        let mut newest = self.subscribe();
        let said = || {
            let lines = self.after(Some(number), MAX_LINES);
            let own = lines.iter().filter(|line| line.source == LogSource::Server);
            last_complaint(own.map(|line| line.line.as_str()))
        };
        let heard = async {
            loop {
                if said().is_some() || newest.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(wait, heard).await;
        said()
    }

    /// Follows the number of the newest line; 0 before the first.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Redacting comes before the cut, which could leave half a secret; what lies far behind it is not even read.
fn clean(line: &str) -> String {
    let line = line.trim_end_matches(['\r', '\n']);
    let line = &line[..line.floor_char_boundary(2 * MAX_LINE_BYTES)];
    cut(&redact(line)).into_owned()
}

/// A server's id comes from settings: it must not lead out of the folder.
fn file_name(server: &ServerId) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' }
    };
    server.as_str().chars().map(safe).collect()
}

fn cut(line: &str) -> std::borrow::Cow<'_, str> {
    if line.len() <= MAX_LINE_BYTES {
        return line.into();
    }
    let mark = "… [cut]";
    format!("{}{mark}", &line[..line.floor_char_boundary(MAX_LINE_BYTES - mark.len())]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (tempfile::TempDir, ServerLog) {
        let dir = tempfile::tempdir().unwrap();
        let log = ServerLog::new(dir.path(), &"ollama".into());
        (dir, log)
    }

    fn numbers(lines: &[LogLine]) -> Vec<u64> {
        lines.iter().map(|line| line.number).collect()
    }

    #[test]
    fn a_reader_goes_on_where_it_stopped() {
        let (dir, log) = log();
        let newest = log.subscribe();
        for number in 1..=5 {
            assert_eq!(log.push(LogSource::Server, &format!("line {number}\n")), number);
        }
        assert_eq!(*newest.borrow(), 5);
        assert_eq!(numbers(&log.after(None, 2)), [4, 5]);
        assert_eq!(numbers(&log.after(Some(1), 2)), [2, 3]);
        assert_eq!(numbers(&log.after(Some(3), 100)), [4, 5]);
        assert!(log.after(Some(5), 100).is_empty());
        let file = std::fs::read_to_string(dir.path().join("ollama.log")).unwrap();
        assert!(file.contains("server: line 5\n") && file.lines().count() == 5, "{file}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_complaint_is_heard_after_a_line_and_a_late_one_is_waited_for() {
        let (_dir, log) = log();
        log.push(LogSource::Server, "error: of before");
        let since = log.newest();
        let wait = Duration::from_millis(500);
        log.push(LogSource::Pilothouse, "error: of ours");
        assert_eq!(log.complaint_after(since, wait).await, None);
        log.push(LogSource::Server, "0.1 E main: exiting due to model loading error");
        let late = async {
            tokio::task::yield_now().await;
            log.push(LogSource::Server, "0.1 E x_y: error loading model: model is corrupted or incomplete");
        };
        let (vague, ()) = tokio::join!(log.complaint_after(since, wait), late);
        assert_eq!(vague.as_deref(), Some("exiting due to model loading error"));
        let now = log.complaint_after(since, wait).await;
        assert_eq!(now.as_deref(), Some("model is corrupted or incomplete"));
    }

    #[test]
    fn memory_stays_bounded() {
        let (_dir, log) = log();
        for _ in 0..MAX_LINES + 10 {
            log.push(LogSource::Server, "x");
        }
        assert_eq!(log.last(usize::MAX).len(), MAX_LINES);
        for _ in 0..=MAX_RING_BYTES / MAX_LINE_BYTES {
            log.push(LogSource::Server, &"ü".repeat(10_000));
        }
        let lines = log.last(usize::MAX);
        assert!(lines.iter().all(|line| line.line.len() <= MAX_LINE_BYTES));
        assert!(lines.iter().map(|line| line.line.len()).sum::<usize>() <= MAX_RING_BYTES);
        assert!(lines.last().unwrap().line.ends_with("… [cut]"));
    }

    #[test]
    fn keys_in_the_output_are_not_kept() {
        let (dir, log) = log();
        log.push(LogSource::Server, "got Authorization: Bearer 0123456789");
        assert!(!log.last(1)[0].line.contains("0123456789"));
        let file = std::fs::read_to_string(dir.path().join("ollama.log")).unwrap();
        assert!(!file.contains("0123456789"));
    }

    #[test]
    fn an_id_never_leads_out_of_the_folder() {
        assert_eq!(file_name(&"../../etc/x".into()), "______etc_x");
    }
}
