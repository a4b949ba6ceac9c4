use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    path::PathBuf,
    time::Duration,
};
use tokio::{task::JoinHandle, time::Instant};

/// How often the file is looked at.
const POLL: Duration = Duration::from_millis(200);
/// The same when it has been silent for [`LONG_SILENT`].
const POLL_SILENT: Duration = Duration::from_millis(500);
const LONG_SILENT: Duration = Duration::from_secs(10);
/// How often a file of somebody else is looked at.
const POLL_FOREIGN: Duration = Duration::from_secs(1);
/// The longest line that is passed on; the rest of it is dropped.
const LINE_LIMIT: usize = 4096;
/// When everything up to here has been read, the file is emptied. The writer appends, so it goes on at the start.
const EMPTY_AT: u64 = 4 << 20;
/// The most that is read in one look, so that a flood cannot fill our memory.
const CHUNK: usize = 256 << 10;

/// Follows a server's output file and hands on whole lines until it is dropped.
#[derive(Debug)]
pub struct OutputTail(JoinHandle<()>);

impl OutputTail {
    /// A file of our own children: read from its beginning, and emptied when it has grown large.
    pub fn follow(path: PathBuf, mut on_line: impl FnMut(&str) + Send + 'static) -> Self {
        Self(tokio::spawn(async move {
            let mut reader = Reader::at_start(path);
            let mut last_line = Instant::now();
            loop {
                match reader.read_on() {
                    Ok(bytes) if !bytes.is_empty() => {
                        last_line = Instant::now();
                        reader.lines(&bytes, &mut on_line);
                    }
                    Ok(_) if reader.position >= EMPTY_AT => reader.empty(),
                    _ if last_line.elapsed() < LONG_SILENT => tokio::time::sleep(POLL).await,
                    _ => tokio::time::sleep(POLL_SILENT).await,
                }
            }
        }))
    }

    /// A file of somebody else, which is never changed. Its last lines are handed on at once (`live` is false), the rest
    /// as it is written. `find` names the file, again and again: owners begin new ones.
    pub fn follow_foreign(
        find: impl Fn() -> Option<PathBuf> + Send + 'static,
        mut on_line: impl FnMut(&str, bool) + Send + 'static,
    ) -> Self {
        let mut reader = find().map(Reader::near_end);
        if let Some(reader) = &mut reader
            && let Ok(bytes) = reader.read_on()
        {
            reader.lines(&bytes, &mut |line: &str| on_line(line, false));
        }
        Self(tokio::spawn(async move {
            loop {
                tokio::time::sleep(POLL_FOREIGN).await;
                let path = find();
                if path.is_some() && path.as_ref() != reader.as_ref().map(|reader| &reader.path) {
                    reader = path.map(Reader::at_start);
                }
                while let Some(reader) = &mut reader
                    && let Ok(bytes) = reader.read_on()
                    && !bytes.is_empty()
                {
                    reader.lines(&bytes, &mut |line: &str| on_line(line, true));
                    tokio::task::yield_now().await;
                }
            }
        }))
    }
}

impl Drop for OutputTail {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Reader {
    path: PathBuf,
    position: u64,
    /// Which file was read last: a path may come to mean another one.
    file: Option<u64>,
    partial: Vec<u8>,
    /// The present line was too long; its rest is dropped.
    cut: bool,
}

impl Reader {
    fn at_start(path: PathBuf) -> Self {
        Self { path, position: 0, file: None, partial: Vec::new(), cut: false }
    }

    /// Begins some whole lines before the end.
    fn near_end(path: PathBuf) -> Self {
        let length = std::fs::metadata(&path).map_or(0, |meta| meta.len());
        let near = length.saturating_sub(CHUNK as u64);
        let rest_of_line = |file: File| -> std::io::Result<u64> {
            let mut file = BufReader::new(file);
            file.seek(SeekFrom::Start(near))?;
            Ok(file.take(CHUNK as u64).read_until(b'\n', &mut Vec::new())? as u64)
        };
        let skipped = if near > 0 { File::open(&path).and_then(rest_of_line).unwrap_or(0) } else { 0 };
        Self { position: near + skipped, ..Self::at_start(path) }
    }

    fn empty(&mut self) {
        if File::options().write(true).open(&self.path).and_then(|file| file.set_len(0)).is_ok() {
            self.position = 0;
        }
    }

    fn read_on(&mut self) -> std::io::Result<Vec<u8>> {
        let meta = std::fs::metadata(&self.path)?;
        let (length, file) = (meta.len(), identity(&meta));
        if length < self.position || (self.file.is_some() && self.file != file) {
            self.position = 0;
        }
        self.file = file;
        if length == self.position {
            return Ok(Vec::new());
        }
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.position))?;
        let mut bytes = Vec::new();
        file.take(CHUNK as u64).read_to_end(&mut bytes)?;
        self.position += bytes.len() as u64;
        Ok(bytes)
    }

    fn lines(&mut self, bytes: &[u8], on_line: &mut impl FnMut(&str)) {
        for &byte in bytes {
            if byte == b'\n' {
                let line = String::from_utf8_lossy(&self.partial);
                let line = line.trim_end();
                if !line.is_empty() {
                    on_line(line);
                }
                self.partial.clear();
                self.cut = false;
            } else if self.partial.len() < LINE_LIMIT {
                self.partial.push(byte);
            } else if !self.cut {
                self.cut = true;
                self.partial.extend_from_slice("…".as_bytes());
            }
        }
    }
}

/// The file into which a process writes what goes wrong, when that is one. `None`: a terminal, a pipe, or not ours to see.
pub fn output_file(pid: u32) -> Option<PathBuf> {
    let target = |stream: u32| std::fs::read_link(format!("/proc/{pid}/fd/{stream}")).ok();
    let file = target(2).or_else(|| target(1))?;
    (file.is_absolute() && file.is_file() && !file.starts_with("/proc")).then_some(file)
}

/// Tells a file from the one that took its path.
fn identity(meta: &std::fs::Metadata) -> Option<u64> {
    #[cfg(unix)]
    return Some(std::os::unix::fs::MetadataExt::ino(meta));
    #[cfg(not(unix))]
    {
        let _ = meta;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn lines_are_whole_bounded_and_survive_an_emptied_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        let mut file = File::options().create(true).append(true).open(&path).unwrap();
        let mut reader = Reader::at_start(path);
        let mut seen = Vec::new();
        let mut read = |reader: &mut Reader| {
            let bytes = reader.read_on().unwrap();
            reader.lines(&bytes, &mut |line: &str| seen.push(line.to_owned()));
            seen.clone()
        };
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(read(&mut reader), ["one"]);
        file.write_all(b"o\n\xff\n").unwrap();
        assert_eq!(read(&mut reader), ["one", "two", "\u{fffd}"]);
        reader.empty();
        file.write_all(b"new\n").unwrap();
        assert_eq!(read(&mut reader).last().unwrap(), "new");
        file.write_all(&vec![b'x'; 3 * LINE_LIMIT]).unwrap();
        file.write_all(b"\nafter\n").unwrap();
        let lines = read(&mut reader);
        assert!(lines[lines.len() - 2].len() <= LINE_LIMIT + "…".len());
        assert_eq!(lines.last().unwrap(), "after");
    }

    #[test]
    fn a_long_file_is_begun_with_a_whole_line_and_a_new_one_at_its_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.log");
        let text: String = (0..40_000).map(|number| format!("line {number}\n")).collect();
        std::fs::write(&path, &text).unwrap();
        let mut reader = Reader::near_end(path.clone());
        let mut seen: Vec<String> = Vec::new();
        let bytes = reader.read_on().unwrap();
        reader.lines(&bytes, &mut |line: &str| seen.push(line.to_owned()));
        assert!(bytes.len() <= CHUNK && seen.len() > 1000, "{}", seen.len());
        assert_eq!(seen.last().unwrap(), "line 39999");
        assert!(text.contains(&format!("\n{}\n", seen[0])), "{}", seen[0]);
        // Rotated: the same path, another and longer file.
        let fresh = folder.path().join("fresh");
        std::fs::write(&fresh, format!("fresh\n{text}")).unwrap();
        std::fs::rename(fresh, path).unwrap();
        let bytes = reader.read_on().unwrap();
        assert!(bytes.starts_with(b"fresh\n") || cfg!(not(unix)));
    }
}
