//! Small files that only the user may read, written so that a reader never sees half of one.

use std::{
    fs::{File, OpenOptions, Permissions},
    io::Write,
    path::Path,
};

/// Writes a file of mode 0600 under a temporary name and renames it into place.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    write_with(path, bytes, None)
}

/// Writes another content into a person's file, whole or not at all: behind a link the file that the person keeps elsewhere, with
/// the rights that it has. One that is not there yet is for its owner only. Errors: a link that leads nowhere, and what the
/// system says.
pub fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let place = match path.canonicalize() {
        Ok(place) => place,
        Err(error) if path.is_symlink() => return Err(error),
        Err(_) => path.to_owned(),
    };
    let rights = std::fs::metadata(&place).ok().map(|meta| meta.permissions());
    write_with(&place, bytes, rights)
}

fn write_with(path: &Path, bytes: &[u8], rights: Option<Permissions>) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = path.with_file_name(name);
    let written = create_private(&fresh).and_then(|mut file| {
        file.write_all(bytes)?;
        // Whoever could read it goes on doing so.
        if let Some(Err(error)) = rights.map(|rights| file.set_permissions(rights)) {
            tracing::warn!(%error, path = %path.display(), "the file is for its owner only now");
        }
        file.sync_all()?;
        std::fs::rename(&fresh, path)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&fresh);
    }
    written
}

fn create_private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
