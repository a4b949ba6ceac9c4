use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
    time::Duration,
};
use tokio::task::JoinHandle;

/// How often the file is looked at.
const POLL: Duration = Duration::from_millis(200);
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
    pub fn follow(path: PathBuf, mut on_line: impl FnMut(&str) + Send + 'static) -> Self {
        Self(tokio::spawn(async move {
            let mut reader = Reader { path, position: 0, partial: Vec::new(), cut: false };
            loop {
                match reader.read_on() {
                    Ok(bytes) if !bytes.is_empty() => reader.lines(&bytes, &mut on_line),
                    _ => tokio::time::sleep(POLL).await,
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
    partial: Vec<u8>,
    /// The present line was too long; its rest is dropped.
    cut: bool,
}

impl Reader {
    fn read_on(&mut self) -> std::io::Result<Vec<u8>> {
        let length = std::fs::metadata(&self.path)?.len();
        if length < self.position {
            self.position = 0;
        }
        if length == self.position {
            if length >= EMPTY_AT {
                File::options().write(true).open(&self.path)?.set_len(0)?;
                self.position = 0;
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn lines_are_whole_bounded_and_survive_an_emptied_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        let mut file = File::options().create(true).append(true).open(&path).unwrap();
        let mut reader = Reader { path, position: 0, partial: Vec::new(), cut: false };
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
        file.set_len(0).unwrap();
        file.write_all(b"new\n").unwrap();
        assert_eq!(read(&mut reader).last().unwrap(), "new");
        file.write_all(&vec![b'x'; 3 * LINE_LIMIT]).unwrap();
        file.write_all(b"\nafter\n").unwrap();
        let lines = read(&mut reader);
        assert!(lines[lines.len() - 2].len() <= LINE_LIMIT + "…".len());
        assert_eq!(lines.last().unwrap(), "after");
    }
}
