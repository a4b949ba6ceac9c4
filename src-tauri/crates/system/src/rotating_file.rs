//! A log file that starts anew when it is full. Trouble with the disk never reaches whoever writes.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

/// `name.log` is the newest file, `name.log.1` the one before it.
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    /// `None` until the first write, and after one that failed.
    open: Option<(File, u64)>,
    max_bytes: u64,
    /// Files in all, the newest included.
    keep: u32,
}

impl RotatingFile {
    pub fn new(path: PathBuf, max_bytes: u64, keep: u32) -> Self {
        Self { path, open: None, max_bytes, keep }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends; what the disk does not take is lost, and the next write tries again.
    pub fn append(&mut self, bytes: &[u8]) {
        if self.try_append(bytes).is_err() {
            self.open = None;
        }
    }

    fn try_append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let (mut file, mut size) = match self.open.take() {
            Some(open) => open,
            None => open_at_end(&self.path)?,
        };
        if size > 0 && size + bytes.len() as u64 > self.max_bytes {
            drop(file);
            self.rotate()?;
            (file, size) = open_at_end(&self.path)?;
        }
        file.write_all(bytes)?;
        self.open = Some((file, size + bytes.len() as u64));
        Ok(())
    }

    fn rotate(&self) -> std::io::Result<()> {
        for number in (1..self.keep.saturating_sub(1)).rev() {
            // A gap in the row is no error.
            let _ = std::fs::rename(numbered(&self.path, number), numbered(&self.path, number + 1));
        }
        if self.keep > 1 {
            std::fs::rename(&self.path, numbered(&self.path, 1))
        } else {
            std::fs::remove_file(&self.path)
        }
    }
}

fn open_at_end(path: &Path) -> std::io::Result<(File, u64)> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// The file `number` generations before the newest.
pub fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_in_so_many_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut file = RotatingFile::new(path.clone(), 10, 3);
        for number in 0..8 {
            file.append(format!("line{number}\n").as_bytes());
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line7\n");
        assert_eq!(std::fs::read_to_string(numbered(&path, 1)).unwrap(), "line6\n");
        assert_eq!(std::fs::read_to_string(numbered(&path, 2)).unwrap(), "line5\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_folder_that_cannot_be_written_stops_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("file");
        std::fs::write(&blocked, "").unwrap();
        let mut file = RotatingFile::new(blocked.join("a.log"), 10, 3);
        file.append(b"lost\n");
        std::fs::remove_file(&blocked).unwrap();
        file.append(b"kept\n");
        assert_eq!(std::fs::read_to_string(blocked.join("a.log")).unwrap(), "kept\n");
    }
}
