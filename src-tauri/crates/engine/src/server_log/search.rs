//! Looks for a text in what is in memory and in the files before that.

use crate::api::{LogLine, LogMatch, LogSource};
use pilothouse_domain::Timestamp;
use pilothouse_system::rotating_file::numbered;
use std::{
    collections::{HashSet, VecDeque},
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

/// A line as it stands in the file: `<time> <who>: <text>`.
pub(super) fn written(at: Timestamp, source: LogSource, line: &str) -> String {
    let who = match source {
        LogSource::Server => "server",
        LogSource::Pilothouse => "pilothouse",
    };
    format!("{at} {who}: {line}\n")
}

/// The reverse; `None`: not one of our lines, or a torn one.
fn read(line: &str) -> Option<LogMatch> {
    let (at, rest) = line.split_once(' ')?;
    let (who, text) = rest.split_once(": ")?;
    let source = match who {
        "server" => LogSource::Server,
        "pilothouse" => LogSource::Pilothouse,
        _ => return None,
    };
    Some(LogMatch { at: at.parse().ok()?, source, line: text.trim_end().to_owned() })
}

/// `files`: how many there may be, the newest at `path`.
pub(super) fn search(
    path: &Path,
    files: u32,
    ring: &VecDeque<LogLine>,
    text: &str,
    limit: usize,
) -> Vec<LogMatch> {
    let text = text.to_lowercase();
    let mut hits: VecDeque<LogMatch> = VecDeque::new();
    let mut keep = |hit: LogMatch| {
        if hit.line.to_lowercase().contains(&text) {
            hits.push_back(hit);
            if hits.len() > limit {
                hits.pop_front();
            }
        }
    };
    // Lines of the ring stand in the files too, unless they were only read or the disk was full.
    let in_ring: HashSet<(Timestamp, &str)> = ring.iter().map(|line| (line.at, line.line.as_str())).collect();
    for number in (0..files).rev() {
        let path = if number == 0 { path.to_owned() } else { numbered(path, number) };
        let Ok(file) = File::open(path) else { continue };
        // A file is ours, its lines are short; what is no text is skipped.
        for line in BufReader::new(file).split(b'\n').map_while(Result::ok) {
            if let Some(hit) = read(&String::from_utf8_lossy(&line))
                && !in_ring.contains(&(hit.at, hit.line.as_str()))
            {
                keep(hit);
            }
        }
    }
    for line in ring {
        keep(LogMatch { at: line.at, source: line.source, line: line.line.clone() });
    }
    let mut hits: Vec<LogMatch> = hits.into();
    hits.sort_by_key(|hit| hit.at);
    hits
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};

    #[test]
    fn lines_of_earlier_starts_and_of_now_are_found_once() {
        let dir = tempfile::tempdir().unwrap();
        let id = ServerId::new("ollama");
        let before = ServerLog::new(dir.path(), &id);
        before.push(LogSource::Server, "Error: first");
        before.push(LogSource::Server, "all is well");
        drop(before);
        std::fs::write(
            dir.path().join("ollama.log.1"),
            "torn error\n2026-01-01T00:00:00Z server: an ERROR: old\n",
        )
        .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let now = ServerLog::new(dir.path(), &id);
        now.push(LogSource::Pilothouse, "error of now");
        let texts = |limit| now.search("error", limit).into_iter().map(|hit| hit.line).collect::<Vec<_>>();
        assert_eq!(texts(10), ["an ERROR: old", "Error: first", "error of now"]);
        assert_eq!(texts(2), ["Error: first", "error of now"]);
        assert!(now.search("nothing like it", 10).is_empty());
    }
}
