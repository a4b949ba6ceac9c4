//! Fetches the embedded default: a pinned llama-server and a small model, by hash, resumable.

mod download;
mod index;
mod parts;
mod source_build;
mod unpack;

pub use parts::Embedded;

use crate::api::Fetched;
use download::Download;
use parts::{MODEL, Part, SERVER_PREBUILT, SERVER_SOURCE};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    snapshot::SetupProgress,
};
use std::{path::Path, sync::Arc};
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
    std::fs::create_dir_all(embedded.dir()).map_err(|error| cannot_write(embedded.dir(), &error))?;
    let work = fetch_all(embedded, options, &progress);
    tokio::select! {
        result = work => result,
        () = cancel.cancelled() => Err(ApiError::cancelled("The fetch was cancelled; what came so far is kept.")),
    }
}

async fn fetch_all(
    embedded: &Embedded,
    options: &SetupOptions,
    progress: &SetupProgressSink,
) -> Result<SetupResult, ApiError> {
    let mut result = SetupResult::default();
    let server = match (options.from_source, prebuilt_suits()) {
        (true, _) => Some(&SERVER_SOURCE),
        (false, Ok(())) => Some(&SERVER_PREBUILT),
        (false, Err(_)) if cfg!(target_os = "macos") => None,
        (false, Err(reason)) => {
            tracing::info!(%reason, "building llama-server from source");
            Some(&SERVER_SOURCE)
        }
    };
    // A server that was built here serves as well as a prebuilt one.
    let present = embedded.installed(&SERVER_SOURCE).or_else(|| embedded.installed(&SERVER_PREBUILT));
    let wanted: Vec<&Part> = server.into_iter().chain([&MODEL]).collect();
    let missing = |part: &&Part| match part.is_server() {
        true if options.from_source => embedded.installed(part).is_none(),
        true => present.is_none(),
        false => embedded.installed(part).is_none(),
    };
    let total: u64 = wanted.iter().copied().filter(|part| missing(part)).map(|part| part.bytes).sum();
    let mut before = 0;
    for part in wanted {
        if !missing(&part) {
            let there = if part.is_server() { present.clone() } else { None };
            result.skipped.extend(there.or_else(|| embedded.installed(part)));
            continue;
        }
        let sink = |done: u64| {
            progress(SetupProgress {
                what: format!("Fetching {}", part.what),
                done_bytes: before + done,
                total_bytes: Some(total),
            });
        };
        let archive = Download::new(part, &embedded.downloads()).run(&sink).await?;
        before += part.bytes;
        install(embedded, part, &archive, progress).await?;
        let _ = std::fs::remove_file(&archive);
        result.fetched.extend(embedded.installed(part));
    }
    let _ = std::fs::remove_dir(embedded.downloads());
    if server.is_none() && embedded.server_program().is_none() && result.fetched.is_empty() {
        return Err(ApiError::new(
            ErrorCode::Unsupported,
            "There is no prebuilt llama-server for this system.",
        )
        .hint("Install it: brew install llama.cpp"));
    }
    Ok(result)
}

async fn install(
    embedded: &Embedded,
    part: &'static Part,
    archive: &Path,
    progress: &SetupProgressSink,
) -> Result<(), ApiError> {
    progress(SetupProgress { what: format!("Unpacking {}", part.what), done_bytes: 0, total_bytes: None });
    let (embedded, archive) = (embedded.clone(), archive.to_owned());
    match part.kind {
        parts::Kind::Source => source_build::build(&embedded, part, &archive, progress).await,
        _ => tokio::task::spawn_blocking(move || unpack::install_wheel(&embedded, part, &archive))
            .await
            .map_err(|_| ApiError::internal("Unpacking ended unexpectedly."))?,
    }
}

/// Whether the prebuilt server runs here. Errors: why not.
fn prebuilt_suits() -> Result<(), String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")) {
        return Err("there is a prebuilt llama-server for Linux on x86-64 only".into());
    }
    missing_cpu_feature().map_or(Ok(()), |feature| Err(format!("this processor has no {feature}")))
}

/// The first processor feature that the prebuilt server needs and that is not there.
pub fn missing_cpu_feature() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    for (name, there) in [
        ("AVX2", std::is_x86_feature_detected!("avx2")),
        ("FMA", std::is_x86_feature_detected!("fma")),
        ("F16C", std::is_x86_feature_detected!("f16c")),
        ("BMI2", std::is_x86_feature_detected!("bmi2")),
    ] {
        if !there {
            return Some(name);
        }
    }
    None
}

fn cannot_write(path: &Path, error: &std::io::Error) -> ApiError {
    ApiError::new(ErrorCode::System, format!("{} cannot be written: {error}.", path.display()))
        .hint("Check the free disk space and the folder's permissions, then run setup again.")
}
