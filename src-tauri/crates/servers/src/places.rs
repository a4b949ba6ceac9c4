//! Where programs are looked for, and who holds a port that a server wants.

use crate::Installation;
use pilothouse_domain::error::{ApiError, ErrorCode};
use pilothouse_system::process::{Holder, login_path};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// Why a server's program cannot be used: `named` is the program of the settings, empty when it was looked for.
pub fn not_installed(title: &str, id: &str, named: &str, otherwise: &str) -> Installation {
    if named.is_empty() {
        let reason = format!("{title} is not on this machine.");
        return Installation::NotInstalled { reason, hint: otherwise.into() };
    }
    let reason = match std::fs::metadata(named) {
        Err(_) => format!("There is no program {named}."),
        Ok(meta) if meta.is_dir() => format!("{named} is a folder, not a program."),
        Ok(_) => format!("{named} may not be executed."),
    };
    let hint = format!("Correct servers.{id}.program in the settings file, or leave it empty.");
    Installation::NotInstalled { reason, hint }
}

/// The error for a port that a server wants and somebody else holds; names the process as far as it can be seen.
pub async fn port_taken(title: &str, setting: &str, port: u16) -> ApiError {
    let by = match Holder::at(port, |_, _| false).await {
        Ok(holder) => holder.to_string(),
        Err(Some(user)) => format!("a process of {user}"),
        Err(None) => "another program".to_owned(),
    };
    held_by(title, setting, port, &by)
}

/// As [`port_taken`], with a holder that is known already.
pub fn held(title: &str, setting: &str, port: u16, holder: Option<&Holder>) -> ApiError {
    held_by(title, setting, port, &holder.map_or_else(|| "another program".to_owned(), Holder::to_string))
}

fn held_by(title: &str, setting: &str, port: u16, by: &str) -> ApiError {
    ApiError::new(ErrorCode::PortTaken, format!("Port {port}, which {title} wants, is held by {by}."))
        .hint(format!("End that program, or set another {setting} in the settings file."))
}

/// The first of the candidates that is a program; a bare name is looked for on the PATH.
pub fn find_program(candidates: &[PathBuf]) -> Option<PathBuf> {
    candidates.iter().find_map(|candidate| match is_bare(candidate) {
        true => on_path(candidate, &std::env::var_os("PATH")?),
        false => is_program(candidate).then(|| candidate.clone()),
    })
}

/// As [`find_program`]; then on the PATH of the user's login shell, which a program started from a desktop does not have.
pub async fn find_program_of_user(candidates: &[PathBuf]) -> Option<PathBuf> {
    if let Some(found) = find_program(candidates) {
        return Some(found);
    }
    let bare: Vec<&PathBuf> = candidates.iter().filter(|candidate| is_bare(candidate)).collect();
    if bare.is_empty() {
        return None;
    }
    let path = login_path().await?;
    bare.into_iter().find_map(|name| on_path(name, &path))
}

fn is_bare(candidate: &Path) -> bool {
    candidate.components().count() == 1
}

fn on_path(name: &Path, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).map(|folder| folder.join(name)).find(|file| is_program(file))
}

fn is_program(path: &Path) -> bool {
    let Ok(meta) = std::fs::metadata(path) else {
        return false;
    };
    #[cfg(unix)]
    let executable = std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o111 != 0;
    #[cfg(not(unix))]
    let executable = true;
    meta.is_file() && executable
}
