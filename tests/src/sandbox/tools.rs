//! What tests on real processes need from outside, and how they wait.

use std::{
    future::Future,
    net::TcpListener,
    path::PathBuf,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};
use tokio::time::Instant;

/// The model file of the embedded default.
pub const GGUF: &str = "models/SmolLM2-135M-Instruct.Q4_1.gguf";

/// What the tests run and use.
pub struct Tools {
    /// The built command-line program.
    pub cli: PathBuf,
    pub embedded: PathBuf,
    pub ollama: PathBuf,
}

impl Tools {
    /// `None`: something is missing; the test says what, counts as skipped and ends. With `PILOTHOUSE_TEST_STRICT=1` it
    /// fails instead.
    pub fn find() -> Option<Self> {
        or_skip(Self::look())
    }

    fn look() -> Result<Self, String> {
        Ok(Self {
            cli: built("pilothouse")?,
            embedded: named("PILOTHOUSE_EMBEDDED")?,
            ollama: named("PILOTHOUSE_TEST_OLLAMA")?,
        })
    }
}

/// Says what is missing; in a strict run it is a failure.
pub fn or_skip<T>(found: Result<T, String>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(missing) => {
            let strict = std::env::var_os("PILOTHOUSE_TEST_STRICT").is_some_and(|value| value == "1");
            assert!(!strict, "{missing}");
            println!("skipped: {missing}");
            None
        }
    }
}

/// Says what this person may not do here: the test counts as skipped, in a strict run too, as nobody can install rights.
pub fn skip<T>(reason: &str) -> Option<T> {
    println!("skipped: {reason}");
    None
}

#[expect(unsafe_code, reason = "the standard library does not say who we are")]
pub fn is_root() -> bool {
    // SAFETY: geteuid takes nothing, touches no memory of ours and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// The path that a variable names.
pub fn named(variable: &str) -> Result<PathBuf, String> {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.exists())
        .ok_or(format!("{variable} names nothing that exists"))
}

/// A program of this system, by its name.
pub fn found(program: &str) -> Result<PathBuf, String> {
    // Some live where only root looks.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin:/sbin";
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(program));
    places.find(|place| place.is_file()).ok_or(format!("{program} is not installed"))
}

/// A program that was built together with the running test: `<target>/debug/<name>`.
pub fn built(name: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = own.parent().and_then(|deps| deps.parent()).ok_or("the test lies in no target folder")?;
    let program = folder.join(name);
    if program.exists() { Ok(program) } else { Err(format!("{} is not built", program.display())) }
}

/// Asks until there is an answer, for at most `limit`.
pub async fn until<T, F>(what: &str, limit: Duration, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A port of 127.0.0.1 that nobody holds now, and that no other test of this program gets. It lies below those which the
/// system hands out by itself (from 32768 on Linux): one of these would be somebody else's before it is used.
pub fn free_port() -> u16 {
    const FIRST: u16 = 15_000;
    const LAST: u16 = 32_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Programs that run at the same time have numbers close to each other, and begin far apart (Knuth's multiplicative hash).
    let begin = (std::process::id().wrapping_mul(2_654_435_761) % u32::from(LAST - FIRST)) as u16;
    loop {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (begin + turn) % (LAST - FIRST);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
