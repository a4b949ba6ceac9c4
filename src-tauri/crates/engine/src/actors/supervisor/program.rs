//! What is known of a server's program.

use pilothouse_domain::server::Backend;
use std::{path::PathBuf, time::Duration};
use tokio::time::Instant;

/// How often one that is not there is looked for.
const LOCATE_EVERY: Duration = Duration::from_secs(60);

/// What is known stays known: whoever tells nothing takes nothing away.
pub(super) struct Program {
    path: Option<PathBuf>,
    version: Option<String>,
    backend: Option<Backend>,
    /// When it was looked for last.
    looked_for_at: Instant,
}

impl Program {
    pub fn unknown() -> Self {
        Self { path: None, version: None, backend: None, looked_for_at: Instant::now() }
    }

    /// Somebody looks for it now.
    pub fn is_looked_for(&mut self) {
        self.looked_for_at = Instant::now();
    }

    /// Whether it is time to look for one that was not there.
    pub fn is_to_be_looked_for(&self) -> bool {
        self.looked_for_at.elapsed() >= LOCATE_EVERY
    }

    /// It was looked for and found; a version that the server itself told counts more.
    pub fn located(&mut self, path: PathBuf, version: Option<String>) {
        self.path = Some(path);
        self.version = self.version.take().or(version);
    }

    pub fn started(&mut self, path: PathBuf) {
        self.path = Some(path);
    }

    /// The server told its version, or did not.
    pub fn told_version(&mut self, version: Option<String>) {
        self.version = version.or(self.version.take());
    }

    /// A probe told what computes, or did not.
    pub fn told_backend(&mut self, backend: Option<Backend>) {
        if let Some(backend) = backend {
            self.told_version(backend.version.clone());
            self.backend = Some(backend);
        }
    }

    /// None runs: this is what would. Whether it is another one than before.
    pub fn replace_backend(&mut self, backend: Option<Backend>) -> bool {
        let changed = self.backend != backend;
        self.backend = backend;
        changed
    }

    pub fn shown_path(&self) -> Option<String> {
        self.path.as_ref().map(|path| path.display().to_string())
    }

    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    pub fn backend(&self) -> Option<&Backend> {
        self.backend.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_looked_for_every_minute() {
        let mut program = Program::unknown();
        for (after_s, due) in [(59, false), (60, true), (600, true)] {
            program.is_looked_for();
            tokio::time::advance(Duration::from_secs(after_s)).await;
            assert_eq!(program.is_to_be_looked_for(), due, "{after_s} s");
        }
    }

    #[test]
    fn what_the_server_tells_of_its_version_counts_most_and_silence_changes_nothing() {
        type Act = fn(&mut Program);
        let found: Act = |program| program.located("p".into(), Some("1".into()));
        let told: Act = |program| program.told_version(Some("2".into()));
        let silent: Act = |program| program.told_version(None);
        let table: [(&[Act], Option<&str>); 5] = [
            (&[silent], None),
            (&[found], Some("1")),
            (&[found, told], Some("2")),
            (&[told, found], Some("2")),
            (&[found, silent], Some("1")),
        ];
        for (row, (acts, version)) in table.into_iter().enumerate() {
            let mut program = Program::unknown();
            for act in acts {
                act(&mut program);
            }
            assert_eq!(program.version(), version, "row {row}");
        }
    }
}
