//! The note about our process that outlives us: at the next start the server is found again by it.

use pilothouse_domain::{
    Timestamp,
    endpoint::{Endpoint, Secret},
    server::ServerId,
};
use pilothouse_system::{files::write_private, process::Identity};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub identity: Identity,
    pub base_url: String,
    pub key: Option<String>,
    pub program: PathBuf,
    /// Files that go when the process goes.
    pub files: Vec<PathBuf>,
    /// When it was started; records of earlier versions tell it not, and count as old.
    #[serde(default)]
    pub at: Timestamp,
}

impl Record {
    fn path(run_dir: &Path, server: &ServerId) -> PathBuf {
        run_dir.join(format!("server-{server}.json"))
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint { base_url: self.base_url.clone(), key: self.key.clone().map(Secret::new) }
    }

    /// Unwritable is no reason not to run the server: it would only not be found after a crash of ours.
    pub fn write(&self, run_dir: &Path, server: &ServerId) {
        let written = serde_json::to_vec(self)
            .map_err(std::io::Error::other)
            .and_then(|json| write_private(&Self::path(run_dir, server), &json));
        if let Err(error) = written {
            tracing::warn!(%server, %error, "the record of the running server could not be written");
        }
    }

    pub fn read(run_dir: &Path, server: &ServerId) -> Option<Self> {
        let json = std::fs::read(Self::path(run_dir, server)).ok()?;
        serde_json::from_slice(&json).ok()
    }

    /// Removes the record and what was made for the server.
    pub fn remove(run_dir: &Path, server: &ServerId, files: &[PathBuf]) {
        remove_made(run_dir, files);
        remove_made(run_dir, &[Self::path(run_dir, server)]);
    }
}

/// Removes what was made for a server: files, and folders inside the run folder.
pub(super) fn remove_made(run_dir: &Path, files: &[PathBuf]) {
    for file in files {
        let _ = std::fs::remove_file(file);
        if file.starts_with(run_dir) && file != run_dir {
            let _ = std::fs::remove_dir_all(file);
        }
    }
}
