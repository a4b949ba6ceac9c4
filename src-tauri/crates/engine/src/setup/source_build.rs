//! Builds llama-server here, for processors that the prebuilt one does not suit.

use super::{
    SetupProgressSink, cancelled, cannot_write,
    parts::{Embedded, Part},
    unpack::{Stoppable, put_server_in_place},
};
use flate2::read::GzDecoder;
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    snapshot::SetupProgress,
};
use pilothouse_system::process::{ProcessSpec, run_to_end};
use std::{
    ffi::OsString,
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// 8.5 minutes on two cores; slow machines get much longer.
const BUILD_LIMIT: Duration = Duration::from_secs(3 * 3600);

/// The settings under which the server was tried. GGML_NATIVE fits it to this very processor.
const CONFIGURE: [&str; 8] = [
    "-G",
    "Ninja",
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DGGML_NATIVE=ON",
];

pub(super) async fn build(
    embedded: &Embedded,
    part: &'static Part,
    archive: &Path,
    progress: &SetupProgressSink,
    cancel: &CancellationToken,
) -> Result<(), ApiError> {
    let work = embedded.dir().join("build");
    let (from, to, stop) = (archive.to_owned(), work.clone(), cancel.clone());
    let source = tokio::task::spawn_blocking(move || unpack(&from, &to, &stop))
        .await
        .map_err(|_| ApiError::internal("Unpacking ended unexpectedly."))??;
    let objects = work.join("objects");
    let tell = |what: &str| {
        progress(SetupProgress { what: what.into(), done_bytes: 0, total_bytes: None });
    };
    tell("Preparing the build of llama-server");
    let mut configure: Vec<OsString> =
        vec!["-S".into(), source.clone().into(), "-B".into(), objects.clone().into()];
    configure.extend(CONFIGURE.map(OsString::from));
    cmake(configure, cancel).await?;
    tell("Building llama-server (about ten minutes)");
    let targets = ["--target", "llama-server"].map(OsString::from);
    let mut build: Vec<OsString> = vec!["--build".into(), objects.clone().into()];
    build.extend(targets);
    cmake(build, cancel).await?;
    let fresh = embedded.dir().join("llama-server.new");
    let _ = std::fs::remove_dir_all(&fresh);
    let copy = |from: PathBuf, folder: &str, name: &str| {
        let to = fresh.join(folder);
        std::fs::create_dir_all(&to)
            .and_then(|()| std::fs::copy(&from, to.join(name)))
            .map_err(|error| cannot_write(&to, &error))
    };
    copy(objects.join("bin").join("llama-server"), "bin", "llama-server")?;
    copy(source.join("LICENSE"), "licenses", "LLAMA_CPP_LICENSE.txt")?;
    put_server_in_place(embedded, part, &fresh)?;
    let _ = std::fs::remove_dir_all(&work);
    Ok(())
}

/// Runs cmake; cancelling ends it with the compilers that it started.
async fn cmake(args: Vec<OsString>, cancel: &CancellationToken) -> Result<(), ApiError> {
    let spec = ProcessSpec { program: "cmake".into(), args, env: vec![], env_remove: vec![], cwd: None };
    let hint = if cfg!(target_os = "macos") {
        "A build needs cmake, ninja and a C++ compiler: xcode-select --install; brew install cmake ninja"
    } else {
        "A build needs cmake, ninja and a C++ compiler: apt install cmake ninja-build g++"
    };
    let finished = tokio::select! {
        finished = run_to_end(&spec, BUILD_LIMIT) => finished,
        () = cancel.cancelled() => return Err(cancelled()),
    };
    let finished = finished.map_err(|error| match error.code {
        ErrorCode::NotFound => {
            ApiError::new(ErrorCode::System, "There is no cmake on this machine.").hint(hint)
        }
        _ => error,
    })?;
    if finished.exit.code == Some(0) {
        return Ok(());
    }
    let last: Vec<&str> = finished.stderr.lines().chain(finished.stdout.lines()).rev().take(5).collect();
    tracing::error!(stdout = %finished.stdout, stderr = %finished.stderr, "the build failed");
    Err(ApiError::new(ErrorCode::System, format!("llama-server could not be built: {}", last.join(" | ")))
        .hint(hint))
}

/// Unpacks the source archive and finds the folder `llama.cpp` in it.
fn unpack(archive: &Path, work: &Path, cancel: &CancellationToken) -> Result<PathBuf, ApiError> {
    let _ = std::fs::remove_dir_all(work);
    let unpacked = File::open(archive)
        .and_then(|file| tar::Archive::new(GzDecoder::new(Stoppable { inner: file, cancel })).unpack(work));
    unpacked.map_err(|error| cannot_write(work, &error))?;
    let folders = std::fs::read_dir(work).map_err(|error| cannot_write(work, &error))?;
    let source = folders.flatten().map(|folder| folder.path().join("llama.cpp")).find(|path| path.is_dir());
    source.ok_or_else(|| ApiError::new(ErrorCode::HashMismatch, "The source archive holds no llama.cpp."))
}
