//! What stood in the apps' files before Pilothouse wrote them: for each app a record, and the old bytes beside it.

use super::digest_of;
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
};
use pilothouse_system::files::write_private;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// So many texts of our own are remembered of one file.
const REMEMBERED: usize = 16;

/// The folder of the records. Apps are named by their ids, which are plain.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    folder: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub path: PathBuf,
    /// There was a file before.
    pub existed: bool,
    /// The digest of what stood there.
    pub before: String,
    /// The digests of what Pilothouse has written since: only from these it goes back.
    pub ours: Vec<String>,
    /// Folders that were made for it, the outermost first.
    pub folders: Vec<PathBuf>,
    pub written_at: Timestamp,
}

impl Kept {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub fn bytes_file(&self, app: &str) -> PathBuf {
        self.folder.join(format!("{app}.before"))
    }

    fn record_file(&self, app: &str) -> PathBuf {
        self.folder.join(format!("{app}.json"))
    }

    /// `None`: nothing was written, or nothing is known of it any more.
    pub fn record(&self, app: &str) -> Option<Record> {
        serde_json::from_slice(&std::fs::read(self.record_file(app)).ok()?).ok()
    }

    /// Keeps what stands in a file that is about to be written. What is ours already is not kept: the way back leads to before our
    /// first change. Errors: system.
    pub fn keep(
        &self,
        app: &str,
        path: &Path,
        bytes: Option<&[u8]>,
        (before, after): (&str, &str),
        folders: Vec<PathBuf>,
    ) -> Result<(), ApiError> {
        let written_at = Timestamp::now();
        let goes_on = self
            .record(app)
            .filter(|record| record.path == path && record.ours.iter().any(|own| own == before));
        let mut record = match goes_on {
            Some(record) => Record { written_at, ..record },
            None => {
                let record = Record {
                    path: path.to_owned(),
                    existed: bytes.is_some(),
                    before: before.to_owned(),
                    ours: vec![],
                    folders,
                    written_at,
                };
                // The old record must not speak of new bytes.
                self.forget(app);
                std::fs::create_dir_all(&self.folder).map_err(|error| self.cannot(&error))?;
                write_private(&self.bytes_file(app), bytes.unwrap_or_default())
                    .map_err(|error| self.cannot(&error))?;
                record
            }
        };
        if record.ours.len() == REMEMBERED {
            record.ours.remove(0);
        }
        record.ours.push(after.to_owned());
        let text = serde_json::to_vec(&record).map_err(|error| ApiError::internal(error.to_string()))?;
        write_private(&self.record_file(app), &text).map_err(|error| self.cannot(&error))
    }

    /// The bytes of before. Errors: system (they are gone, or other ones).
    pub fn bytes(&self, app: &str, record: &Record) -> Result<Vec<u8>, ApiError> {
        let bytes = std::fs::read(self.bytes_file(app)).map_err(|error| self.cannot(&error))?;
        match digest_of(Some(&bytes)) == record.before {
            true => Ok(bytes),
            false => {
                Err(ApiError::new(ErrorCode::System, "What stood in the file before was not kept whole.")
                    .hint("Correct the file by hand."))
            }
        }
    }

    pub fn forget(&self, app: &str) {
        for file in [self.record_file(app), self.bytes_file(app)] {
            if let Err(error) = std::fs::remove_file(&file)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(%error, file = %file.display(), "stays although it is not needed any more");
            }
        }
    }

    fn cannot(&self, error: &std::io::Error) -> ApiError {
        let text =
            format!("What stood in the file before cannot be kept in {}: {error}.", self.folder.display());
        ApiError::new(ErrorCode::System, text).hint("Check its permissions and the free disk space.")
    }
}
