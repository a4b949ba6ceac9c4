//! One running engine per data directory, and where the others find it.

use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
};
use pilothouse_system::paths::Paths;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

/// What the command line and a second start must know of the running engine.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineRecord {
    pub pid: u32,
    /// Base address of the web UI and of the calls.
    pub web_url: String,
    /// The token for that door.
    pub token: String,
    /// `None` when the gateway is off or has no port.
    pub gateway_url: Option<String>,
    pub version: String,
    pub started_at: Timestamp,
}

impl fmt::Debug for EngineRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineRecord")
            .field("pid", &self.pid)
            .field("web_url", &self.web_url)
            .finish_non_exhaustive()
    }
}

impl EngineRecord {
    /// The record of the engine that runs on this data directory. `None` when none runs, or when it has not told its
    /// addresses yet. A record that a killed engine left behind does not count.
    pub fn read(paths: &Paths) -> Option<Self> {
        let record = read_record(paths)?;
        let lock = File::open(lock_file(paths)).ok()?;
        match lock.try_lock_shared() {
            // Nobody holds it: its engine is gone. The lock is given back as `lock` goes.
            Ok(()) => None,
            Err(TryLockError::WouldBlock) => (lock_owner(lock) == Some(record.pid)).then_some(record),
            Err(TryLockError::Error(_)) => None,
        }
    }
}

/// Held as long as the engine runs. The operating system gives it back even when the engine is killed.
#[derive(Debug)]
pub struct EngineLock {
    file: File,
    record: PathBuf,
}

/// A reader of the record holds the lock for an instant (see [`EngineRecord::read`]); only a lock that stays held
/// belongs to an engine.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

impl EngineLock {
    /// Takes the lock; may block for 100 ms. Errors: already_running with pid and address of the other engine, system.
    pub fn acquire(paths: &Paths) -> Result<Self, ApiError> {
        let path = lock_file(paths);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| system(&path, &error))?;
        for attempt in 1..=TRIES {
            match file.try_lock() {
                Ok(()) => return Self::claimed(file, paths).map_err(|error| system(&path, &error)),
                Err(TryLockError::Error(error)) => return Err(system(&path, &error)),
                Err(TryLockError::WouldBlock) if attempt < TRIES => std::thread::sleep(BETWEEN_TRIES),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        Err(already_running(paths, lock_owner(file)))
    }

    fn claimed(mut file: File, paths: &Paths) -> std::io::Result<Self> {
        file.set_len(0)?;
        write!(file, "{}", std::process::id())?;
        let record = record_file(paths);
        // What a killed engine left behind would lead clients to a wrong address.
        match std::fs::remove_file(&record) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(Self { file, record }),
        }
    }

    /// Tells others where this engine answers; may be called again when an address changes. The file is readable by
    /// its owner only. Errors: system.
    pub fn publish(&self, record: &EngineRecord) -> Result<(), ApiError> {
        let text = serde_json::to_vec_pretty(record).map_err(|e| ApiError::internal(e.to_string()))?;
        let fresh = self.record.with_extension("json.new");
        let write = || -> std::io::Result<()> {
            // A left-over file could have wider permissions than the ones that are set at creation.
            let _ = std::fs::remove_file(&fresh);
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            options.open(&fresh)?.write_all(&text)?;
            std::fs::rename(&fresh, &self.record)
        };
        write().map_err(|error| system(&self.record, &error))
    }

    /// Gives the lock back and removes the record; the same as dropping it.
    pub fn close(self) {}
}

impl Drop for EngineLock {
    fn drop(&mut self) {
        // Record first: nobody shall find an address while another engine may start.
        let _ = std::fs::remove_file(&self.record);
        let _ = self.file.unlock();
    }
}

fn lock_file(paths: &Paths) -> PathBuf {
    paths.data.join("engine.lock")
}

fn record_file(paths: &Paths) -> PathBuf {
    paths.run.join("engine.json")
}

fn read_record(paths: &Paths) -> Option<EngineRecord> {
    serde_json::from_slice(&std::fs::read(record_file(paths)).ok()?).ok()
}

fn lock_owner(file: File) -> Option<u32> {
    let mut pid = String::new();
    file.take(20).read_to_string(&mut pid).ok()?;
    pid.trim().parse().ok()
}

fn already_running(paths: &Paths, pid: Option<u32>) -> ApiError {
    let who = pid.map(|pid| format!(" as process {pid}")).unwrap_or_default();
    let at = read_record(paths)
        .filter(|record| Some(record.pid) == pid)
        .map(|record| format!(" at {}", record.web_url))
        .unwrap_or_default();
    ApiError::new(ErrorCode::AlreadyRunning, format!("Pilothouse already runs{who}{at}."))
        .hint("Use the one that runs, or quit it first. A second one needs its own PILOTHOUSE_HOME.")
}

fn system(path: &Path, error: &std::io::Error) -> ApiError {
    ApiError::new(ErrorCode::System, format!("{} cannot be used: {error}.", path.display()))
        .hint("Check the permissions of its folder and that the disk has room.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(home: &Path) -> Paths {
        let home = home.as_os_str().to_owned();
        let paths = Paths::resolve(&|name| (name == "PILOTHOUSE_HOME").then(|| home.clone())).unwrap();
        paths.create_all().unwrap();
        paths
    }

    fn record() -> EngineRecord {
        EngineRecord {
            pid: std::process::id(),
            web_url: "http://127.0.0.1:4711".into(),
            token: "a-secret-token".into(),
            gateway_url: None,
            version: "0.1.0".into(),
            started_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_second_engine_learns_who_runs() {
        let home = tempfile::tempdir().unwrap();
        let paths = paths(home.path());
        let lock = EngineLock::acquire(&paths).unwrap();
        assert_eq!(EngineRecord::read(&paths), None, "no address told yet");
        lock.publish(&record()).unwrap();
        assert_eq!(EngineRecord::read(&paths), Some(record()));
        let error = EngineLock::acquire(&paths).unwrap_err();
        assert_eq!(error.code, ErrorCode::AlreadyRunning);
        assert!(error.message.contains(&std::process::id().to_string()), "{error}");
        assert!(error.message.contains("http://127.0.0.1:4711"), "{error}");
        lock.close();
        assert!(!record_file(&paths).exists());
        EngineLock::acquire(&paths).unwrap();
    }

    #[test]
    fn what_a_killed_engine_left_behind_does_not_count() {
        let home = tempfile::tempdir().unwrap();
        let paths = paths(home.path());
        std::fs::write(lock_file(&paths), std::process::id().to_string()).unwrap();
        std::fs::write(record_file(&paths), serde_json::to_vec(&record()).unwrap()).unwrap();
        assert_eq!(EngineRecord::read(&paths), None);
        let _lock = EngineLock::acquire(&paths).unwrap();
        assert!(!record_file(&paths).exists());
    }

    #[cfg(unix)]
    #[test]
    fn the_token_is_for_the_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let paths = paths(home.path());
        let lock = EngineLock::acquire(&paths).unwrap();
        lock.publish(&record()).unwrap();
        let mode = std::fs::metadata(record_file(&paths)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{:?}", record()).contains("a-secret-token"));
    }
}
