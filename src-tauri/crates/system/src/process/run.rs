use super::spawn::spawn;
use crate::process::{Exit, ProcessSpec};
use pilothouse_domain::error::{ApiError, ErrorCode};
use std::{process::Stdio, time::Duration};
use tokio::io::AsyncReadExt;

/// The most that is kept of one output of a command; the rest is read and dropped.
const OUTPUT_LIMIT: u64 = 8 << 20;

/// How long output is still read after the command itself has ended.
const PIPES_LIMIT: Duration = Duration::from_millis(500);

/// How long a command may go on when what it was to do is done.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// A command that ran to its end.
#[derive(Debug, Clone)]
pub struct Finished {
    pub exit: Exit,
    pub stdout: String,
    pub stderr: String,
}

/// Starts a program of the person's own that goes on without us, whatever becomes of us: a browser. What it prints goes nowhere.
/// Must be called within a runtime. Errors: not_found (no such program), system.
pub fn let_go(spec: &ProcessSpec) -> Result<(), ApiError> {
    let mut command = super::command(spec);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    spawn(spec, &mut command).map(drop)
}

/// Kills a whole process group when it goes out of scope, unless the command has ended by itself.
struct GroupGuard(Option<u32>);

impl Drop for GroupGuard {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            super::signal_group(group, super::Signal::Kill);
        }
    }
}

/// Runs a command to its end and collects its output. A command that exceeds `limit`, or whose future is dropped, is
/// killed with its whole group.
/// Errors: not_found (no such program), system, timed_out.
pub async fn run_to_end(spec: &ProcessSpec, limit: Duration) -> Result<Finished, ApiError> {
    let mut command = super::command(spec);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = spawn(spec, &mut command)?;
    let mut guard = GroupGuard(child.id());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = {
            let read = async { tokio::join!(collect(stdout, &mut out), collect(stderr, &mut err)) };
            tokio::pin!(read);
            tokio::select! {
                _ = &mut read => child.wait().await,
                status = child.wait() => {
                    // A grandchild that goes on with the pipes would hold us up for as long as it lives.
                    let _ = tokio::time::timeout(PIPES_LIMIT, read).await;
                    status
                }
            }
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        status.map(|status| Finished { exit: super::exit_of(status), stdout: text(out), stderr: text(err) })
    };
    match tokio::time::timeout(limit, work).await {
        Ok(Ok(finished)) => {
            guard.0 = None;
            Ok(finished)
        }
        Ok(Err(error)) => Err(ApiError::new(
            ErrorCode::System,
            format!("{} could not be waited for: {error}.", spec.program.display()),
        )),
        Err(_) => Err(ApiError::new(
            ErrorCode::TimedOut,
            format!("{} did not end within {} s.", spec.program.display(), limit.as_secs()),
        )),
    }
}

/// As `run_to_end`, for a thread that may wait and serves no tasks.
/// Errors: as `run_to_end`.
pub fn run_blocking(spec: &ProcessSpec, limit: Duration) -> Result<Finished, ApiError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        ApiError::new(
            ErrorCode::System,
            format!("{} could not be waited for: {error}.", spec.program.display()),
        )
    })?;
    runtime.block_on(run_to_end(spec, limit))
}

/// Runs a command whose work can be seen from outside: when `seen` is ready the command has a moment to end by itself,
/// and is killed with its whole group when it goes on. `None`: it went on.
/// Errors: as `run_to_end`.
pub async fn run_until<T>(
    spec: &ProcessSpec,
    limit: Duration,
    seen: impl Future<Output = T>,
) -> Result<Option<Finished>, ApiError> {
    let running = run_to_end(spec, limit);
    tokio::pin!(running);
    tokio::select! {
        finished = &mut running => finished.map(Some),
        _ = seen => tokio::time::timeout(AFTERWARDS, running).await.ok().transpose(),
    }
}

async fn collect(stream: Option<impl tokio::io::AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(stream) = stream else {
        return;
    };
    let mut limited = stream.take(OUTPUT_LIMIT);
    if limited.read_to_end(kept).await.is_ok() {
        let mut rest = limited.into_inner();
        let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::process::Identity;

    /// A shell with a child of its own, as cmake has compilers; the child's pid goes to a file.
    fn shell(file: &std::path::Path) -> ProcessSpec {
        let script = format!("sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait", file.display());
        let args = vec!["-c".into(), script.into()];
        ProcessSpec { program: "/bin/sh".into(), args, env: vec![], env_remove: vec![], cwd: None }
    }

    async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(std::time::Instant::now() < deadline, "it did not happen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_program_that_is_missing_is_told_from_one_that_lacks_its_interpreter() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tool");
        std::fs::write(&file, "#!/no/such/interpreter\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let cases = [(folder.path().join("none"), ErrorCode::NotFound), (file, ErrorCode::System)];
        for (program, code) in cases {
            let spec = ProcessSpec { program, args: vec![], env: vec![], env_remove: vec![], cwd: None };
            let error = run_to_end(&spec, Duration::from_secs(60)).await.unwrap_err();
            assert_eq!(error.code, code, "{error:?}");
            assert!(error.hint.is_some(), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_grandchild_with_the_pipes_does_not_hold_a_command_up() {
        let script = "echo said; sleep 600 & exit 3";
        let args = vec!["-c".into(), script.into()];
        let spec =
            ProcessSpec { program: "/bin/sh".into(), args, env: vec![], env_remove: vec![], cwd: None };
        let finished = run_to_end(&spec, Duration::from_secs(60)).await.unwrap();
        assert_eq!((finished.exit.code, finished.stdout.as_str()), (Some(3), "said\n"));
    }

    #[test]
    fn a_thread_without_tasks_waits_for_a_command_and_not_for_ever() {
        let sh = |script: &str| ProcessSpec {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: vec![],
            env_remove: vec![],
            cwd: None,
        };
        let finished = run_blocking(&sh("echo said"), Duration::from_secs(60)).unwrap();
        assert_eq!((finished.exit.code, finished.stdout.as_str()), (Some(0), "said\n"));
        let error = run_blocking(&sh("sleep 600"), Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.code, ErrorCode::TimedOut);
    }

    #[tokio::test]
    async fn a_command_that_goes_on_after_its_work_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let seen = async {
            loop {
                match std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<u32>().ok()) {
                    Some(pid) => return pid,
                    None => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        let ended = run_until(&shell(&file), Duration::from_secs(600), seen).await.unwrap();
        assert!(ended.is_none(), "it went on: {ended:?}");
        let pid = std::fs::read_to_string(&file).unwrap().trim().parse::<u32>().unwrap();
        until(|| Identity::of(pid).is_none_or(|child| !child.is_alive()).then_some(())).await;
    }

    #[tokio::test]
    async fn a_dropped_command_ends_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let running = tokio::spawn({
            let spec = shell(&file);
            async move { run_to_end(&spec, Duration::from_secs(600)).await }
        });
        let pid = until(|| std::fs::read_to_string(&file).ok()?.trim().parse::<u32>().ok()).await;
        let child = Identity::of(pid).unwrap();
        assert!(child.is_alive());
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        until(|| (!child.is_alive()).then_some(())).await;
    }
}
