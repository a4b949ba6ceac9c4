//! What of a file the system has in its page cache, and letting go of it: of the file alone, and without privileges. Linux only; elsewhere
//! it is not told.

use std::path::Path;

/// Share of a file that is in the page cache, 0–1, from a sample of its pages. `None`: not told here (another system, a file system
/// that cannot say it, a file that may not be read). Brings next to nothing in by looking. Blocking.
#[cfg(target_os = "linux")]
pub fn cached_share(file: &Path) -> Option<f64> {
    linux::cached_share(file).ok().flatten()
}

/// As on Linux.
#[cfg(not(target_os = "linux"))]
pub fn cached_share(_file: &Path) -> Option<f64> {
    None
}

/// Asks the system to let go of a file in its page cache. Pages that another program has mapped stay; `cached_share` says what did.
/// Errors: as the system says, and unsupported elsewhere. Blocking.
#[cfg(target_os = "linux")]
pub fn drop_from_cache(file: &Path) -> std::io::Result<()> {
    linux::drop_from_cache(file)
}

/// As on Linux.
#[cfg(not(target_os = "linux"))]
pub fn drop_from_cache(_file: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
mod linux {
    use rustix::{
        fs::{Advice, fadvise},
        io::{Errno, ReadWriteFlags, preadv2},
    };
    use std::{
        fs::File,
        io::{self, IoSliceMut},
        path::Path,
    };

    /// Pages that are looked at.
    const SAMPLES: u64 = 128;

    /// Reads a byte here and there, but only where that needs no disk (preadv2(2), RWF_NOWAIT).
    pub fn cached_share(path: &Path) -> io::Result<Option<f64>> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        if bytes == 0 {
            return Ok(None);
        }
        // Without it each look would bring its neighbours in.
        fadvise(&file, 0, None, Advice::Random)?;
        let (mut there, mut looked) = (0_u32, 0_u32);
        for sample in 0..SAMPLES.min(bytes) {
            let at = bytes / SAMPLES.min(bytes) * sample;
            let mut byte = [0_u8; 1];
            match preadv2(&file, &mut [IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT) {
                Ok(_) => there += 1,
                Err(Errno::AGAIN) => {}
                Err(Errno::INTR) => continue,
                // A file system that cannot say it.
                Err(_) => return Ok(None),
            }
            looked += 1;
        }
        Ok((looked > 0).then(|| f64::from(there) / f64::from(looked)))
    }

    pub fn drop_from_cache(path: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        // What is not written yet could not be let go.
        file.sync_data()?;
        Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_read_is_there_and_one_that_was_dropped_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        std::fs::write(&path, vec![7_u8; 8 << 20]).unwrap();
        let Some(read) = cached_share(&path) else {
            eprintln!("skipped: this file system does not say what is in the page cache");
            return;
        };
        assert!(read > 0.9, "{read}");
        drop_from_cache(&path).unwrap();
        let dropped = cached_share(&path).unwrap();
        // On a file system in memory nothing can be dropped.
        if dropped < 0.9 {
            assert!(dropped < 0.1, "{dropped}");
            std::fs::read(&path).unwrap();
            assert!(cached_share(&path).unwrap() > 0.9);
        }
    }

    #[test]
    fn what_cannot_be_read_or_is_empty_is_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty");
        std::fs::write(&empty, "").unwrap();
        assert_eq!(cached_share(&empty), None);
        assert_eq!(cached_share(&folder.path().join("none")), None);
        assert_eq!(cached_share(folder.path()), None);
        assert!(drop_from_cache(&folder.path().join("none")).is_err());
    }
}
