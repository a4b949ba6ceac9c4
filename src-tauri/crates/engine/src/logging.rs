//! Pilothouse's own log: rotating files, redacted, and the standard error when asked for.

use pilothouse_system::{paths::Paths, redact::redact, rotating_file::RotatingFile};
use std::{
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

const MAX_BYTES: u64 = 5 * 1024 * 1024;
const KEEP: u32 = 5;
/// What is logged when `PILOTHOUSE_LOG` says nothing or nonsense.
const DEFAULT_FILTER: &str = "warn,pilothouse=info,pilothouse_engine=info,pilothouse_domain=info";

/// Starts the log: `<logs>/pilothouse.log`, filtered by `PILOTHOUSE_LOG` (`debug`, `pilothouse_engine=trace`, …).
/// Never fails: without a disk that can be written, lines are lost and everything else goes on. `false`: this process had a log already (tests).
pub fn init(paths: &Paths, to_stderr: bool) -> bool {
    let wish = std::env::var("PILOTHOUSE_LOG").ok();
    let filter = wish.as_deref().filter(|w| !w.trim().is_empty()).map(EnvFilter::try_new);
    let (filter, mistake) = match filter {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new(DEFAULT_FILTER), Some(error)),
        None => (EnvFilter::new(DEFAULT_FILTER), None),
    };
    let file = RotatingFile::new(paths.logs.join("pilothouse.log"), MAX_BYTES, KEEP);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(LogWriter::new(file, to_stderr))
        .finish();
    let is_first = tracing::subscriber::set_global_default(subscriber).is_ok();
    if let Some(error) = mistake {
        tracing::warn!("PILOTHOUSE_LOG is ignored: {error}");
    }
    is_first
}

/// Takes whole events, redacts them and passes them on.
#[derive(Debug, Clone)]
struct LogWriter {
    file: Arc<Mutex<RotatingFile>>,
    to_stderr: bool,
}

impl LogWriter {
    fn new(file: RotatingFile, to_stderr: bool) -> Self {
        Self { file: Arc::new(Mutex::new(file)), to_stderr }
    }
}

impl Write for LogWriter {
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let text = redact(&text);
        self.file.lock().unwrap_or_else(PoisonError::into_inner).append(text.as_bytes());
        if self.to_stderr {
            // A closed standard error must stop nobody.
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::endpoint::Secret;

    #[test]
    fn events_reach_the_file_without_their_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pilothouse.log");
        let writer = LogWriter::new(RotatingFile::new(path.clone(), MAX_BYTES, KEEP), false);
        pilothouse_system::redact::register(&Secret::new("logged-secret-1"));
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(key = "logged-secret-1", "asked with Bearer abcdefgh");
        });
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains("asked with Bearer [redacted]"), "{text}");
        assert!(!text.contains("logged-secret-1"), "{text}");
    }
}
