//! Fetches the embedded default: a pinned llama-server and a small model, by hash, resumable.

mod download;
mod index;
mod parts;
mod source_build;
#[cfg(test)]
mod tests;
mod unpack;

pub use parts::Embedded;

use crate::api::Fetched;
use download::Download;
use parts::{MODEL, Part, SERVER_PREBUILT, SERVER_SOURCE};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    snapshot::SetupProgress,
};
use pilothouse_servers::places::find_program;
use pilothouse_system::hardware::missing_cpu_feature;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

/// What to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetupOptions {
    /// Build llama-server here instead of taking the prebuilt one.
    pub from_source: bool,
}

/// What was fetched and what was there already.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SetupResult {
    pub fetched: Vec<Fetched>,
    pub skipped: Vec<Fetched>,
}

/// Hears how far a fetch is.
pub type SetupProgressSink = Arc<dyn Fn(SetupProgress) + Send + Sync>;

/// Fetches what is missing. Everything that was downloaded stays for the next try.
/// Errors: download_failed, hash_mismatch, system (disk, permissions, no compiler), unsupported, cancelled.
pub async fn fetch(
    embedded: &Embedded,
    options: &SetupOptions,
    progress: SetupProgressSink,
    cancel: CancellationToken,
) -> Result<SetupResult, ApiError> {
    let fetch = Fetch { embedded, from_source: options.from_source, base: index::base(), progress, cancel };
    fetch.run(&Wanted::here(options)).await
}

/// What this machine needs.
struct Wanted {
    /// `None`: there is no server to fetch for this system.
    server: Option<&'static Part>,
    model: &'static Part,
}

impl Wanted {
    fn here(options: &SetupOptions) -> Self {
        let server = match (options.from_source, prebuilt_suits()) {
            (true, _) => Some(&SERVER_SOURCE),
            (false, Ok(())) => Some(&SERVER_PREBUILT),
            (false, Err(_)) if cfg!(target_os = "macos") => None,
            (false, Err(reason)) => {
                tracing::info!(%reason, "building llama-server from source");
                Some(&SERVER_SOURCE)
            }
        };
        Self { server, model: &MODEL }
    }
}

/// One fetch under way.
struct Fetch<'a> {
    embedded: &'a Embedded,
    from_source: bool,
    /// Address of the package index.
    base: String,
    progress: SetupProgressSink,
    cancel: CancellationToken,
}

impl Fetch<'_> {
    async fn run(&self, wanted: &Wanted) -> Result<SetupResult, ApiError> {
        let dir = self.embedded.dir();
        std::fs::create_dir_all(dir).map_err(|error| cannot_write(dir, &error))?;
        let mut result = SetupResult::default();
        let mut missing = Vec::new();
        for part in wanted.server.into_iter().chain([wanted.model]) {
            match self.present(part) {
                Some(there) => result.skipped.push(there),
                None => missing.push(part),
            }
        }
        let total = missing.iter().map(|part| part.bytes).sum();
        let mut before = 0;
        for part in missing {
            let downloads = self.embedded.downloads();
            let sink = |done: u64| self.tell(format!("Fetching {}", part.what), before + done, Some(total));
            let download = Download::new(part, &downloads);
            let archive = tokio::select! {
                archive = download.run(&self.base, &sink) => archive?,
                () = self.cancel.cancelled() => return Err(cancelled()),
            };
            before += part.bytes;
            self.tell(format!("Unpacking {}", part.what), before, Some(total));
            self.install(part, &archive).await?;
            let _ = std::fs::remove_file(&archive);
            result.fetched.extend(self.embedded.installed(part));
        }
        let _ = std::fs::remove_dir(self.embedded.downloads());
        let program = PathBuf::from("llama-server");
        if wanted.server.is_none() && self.embedded.server_program().or(find_program(&[program])).is_none() {
            let text = "The model is here, but there is no prebuilt llama-server for this system.";
            let hint = "Install it: brew install llama.cpp";
            return Err(ApiError::new(ErrorCode::Unsupported, text).hint(hint));
        }
        Ok(result)
    }

    /// A part that is in place. A server that was built here serves as well as a prebuilt one.
    fn present(&self, part: &'static Part) -> Option<Fetched> {
        let built =
            || (part.is_server() && !self.from_source).then(|| self.embedded.installed(&SERVER_SOURCE));
        self.embedded.installed(part).or_else(|| built().flatten())
    }

    /// Returns only when nothing is written any more, also when it was cancelled: the next fetch may follow at once.
    async fn install(&self, part: &'static Part, archive: &Path) -> Result<(), ApiError> {
        let result = match part.kind {
            parts::Kind::Source => {
                source_build::build(self.embedded, part, archive, &self.progress, &self.cancel).await
            }
            _ => {
                let (embedded, archive, cancel) =
                    (self.embedded.clone(), archive.to_owned(), self.cancel.clone());
                tokio::task::spawn_blocking(move || unpack::install_wheel(&embedded, part, &archive, &cancel))
                    .await
                    .map_err(|_| ApiError::internal("Unpacking ended unexpectedly."))?
            }
        };
        result.map_err(|error| if self.cancel.is_cancelled() { cancelled() } else { error })
    }

    fn tell(&self, what: String, done_bytes: u64, total_bytes: Option<u64>) {
        (self.progress)(SetupProgress { what, done_bytes, total_bytes });
    }
}

fn cancelled() -> ApiError {
    ApiError::cancelled("The fetch was cancelled; what came so far is kept.")
        .hint("Run setup again; it goes on where it stopped.")
}

/// Whether the prebuilt server runs here. Errors: why not.
fn prebuilt_suits() -> Result<(), String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")) {
        return Err("there is a prebuilt llama-server for Linux on x86-64 only".into());
    }
    if !glibc().as_deref().is_some_and(|version| at_least(version, NEEDED_GLIBC)) {
        let found = glibc().unwrap_or_else(|| "an unknown one".into());
        return Err(format!("the prebuilt llama-server needs glibc 2.35, here is {found}"));
    }
    missing_cpu_feature().map_or(Ok(()), |feature| Err(format!("this processor has no {feature}")))
}

/// What the prebuilt server was linked against.
const NEEDED_GLIBC: (u32, u32) = (2, 35);

/// The version of the C library of this machine ("2.36").
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "gnu_get_libc_version has no safe wrapper in std")]
fn glibc() -> Option<String> {
    // SAFETY: the function gives a static string that ends with a zero.
    let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    version.to_str().ok().map(str::to_owned)
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn glibc() -> Option<String> {
    None
}

fn at_least(version: &str, needed: (u32, u32)) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) >= needed,
        _ => false,
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> ApiError {
    ApiError::new(ErrorCode::System, format!("{} cannot be written: {error}.", path.display())).hint(
        "Check the free disk space and the folder's permissions, then run setup again; it goes on where it stopped.",
    )
}
