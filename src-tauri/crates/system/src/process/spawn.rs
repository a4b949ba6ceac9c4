//! The start of a process, and why one could not be started.

use super::ProcessSpec;
use pilothouse_domain::error::{ApiError, ErrorCode};
use std::{io, time::Duration};
use tokio::process::{Child, Command};

/// How long a program file that somebody holds open for writing is waited for, growing from one look to the next: a quarter
/// of a second in all.
const BUSY_MS: [u64; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// Starts the command of a spec. The system refuses a file that is open for writing anywhere, and a program that was just
/// unpacked, copied or updated is for a moment: each process that is started meanwhile holds the descriptor of its writer
/// until its own program runs (golang/go#22315).
/// Errors: not_found (no such program), system.
pub(super) fn spawn(spec: &ProcessSpec, command: &mut Command) -> Result<Child, ApiError> {
    unless_busy(|| command.spawn()).map_err(|error| spawn_error(spec, &error))
}

/// Tries again while the program is busy.
fn unless_busy<T>(mut start: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for wait in BUSY_MS.map(Duration::from_millis) {
        match start() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => std::thread::sleep(wait),
            ended => return ended,
        }
    }
    start()
}

/// Why a program could not be started.
fn spawn_error(spec: &ProcessSpec, error: &io::Error) -> ApiError {
    let program = spec.program.display();
    match error.kind() {
        // The same error means that what the file needs to be executed is missing.
        io::ErrorKind::NotFound if spec.program.is_file() => {
            ApiError::new(ErrorCode::System, format!("{program} is there and cannot be started: {error}."))
                .hint("The interpreter or loader that it names is missing: install it, or a fitting build.")
        }
        io::ErrorKind::NotFound => {
            ApiError::new(ErrorCode::NotFound, format!("There is no program {program}."))
                .hint("Install it, or correct its path in the settings file.")
        }
        io::ErrorKind::PermissionDenied => {
            ApiError::new(ErrorCode::System, format!("{program} may not be executed."))
                .hint(format!("Make it executable: chmod +x {program}"))
        }
        io::ErrorKind::ExecutableFileBusy => {
            ApiError::new(ErrorCode::System, format!("{program} is being written by another program."))
                .hint("Try again when its installation or update has ended.")
        }
        _ => ApiError::new(ErrorCode::System, format!("{program} could not be started: {error}.")),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::unless_busy;
    use crate::process::{ProcessSpec, run_to_end};
    use pilothouse_domain::error::ErrorCode;
    use std::{
        fs::{self, File, Permissions},
        io::Write,
        os::unix::fs::PermissionsExt,
        path::Path,
        time::Duration,
    };

    /// A program that somebody still holds open for writing.
    fn written(folder: &Path) -> std::io::Result<(ProcessSpec, File)> {
        let program = folder.join("tool");
        let mut file = File::create(&program)?;
        file.write_all(b"#!/bin/sh\necho said\n")?;
        fs::set_permissions(&program, Permissions::from_mode(0o755))?;
        Ok((ProcessSpec { program, args: vec![], env: vec![], env_remove: vec![], cwd: None }, file))
    }

    #[tokio::test]
    async fn a_program_is_started_when_its_writer_has_let_it_go() {
        let folder = tempfile::tempdir().unwrap();
        let (spec, file) = written(folder.path()).unwrap();
        let (mut file, mut refused) = (Some(file), 0);
        let mut command = crate::process::command(&spec);
        let mut child = unless_busy(|| {
            let started = command.spawn();
            refused += i32::from(started.is_err());
            drop(file.take_if(|_| refused == 3));
            started
        });
        assert_eq!(refused, 3, "{child:?}");
        assert!(child.as_mut().unwrap().wait().await.unwrap().success());
    }

    #[tokio::test]
    async fn a_program_that_goes_on_being_written_is_a_clear_error() {
        let folder = tempfile::tempdir().unwrap();
        let (spec, file) = written(folder.path()).unwrap();
        let error = run_to_end(&spec, Duration::from_secs(60)).await.unwrap_err();
        drop(file);
        assert_eq!(error.code, ErrorCode::System);
        assert!(error.message.contains("is being written by another program"), "{error:?}");
        assert!(error.hint.is_some(), "{error:?}");
    }
}
