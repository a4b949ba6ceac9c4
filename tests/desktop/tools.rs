//! What a desktop test needs from outside, and how it waits.

use std::{future::Future, path::PathBuf, time::Duration};
use tokio::time::Instant;

/// Programs that make a desktop and look at it.
const PROGRAMS: [&str; 8] =
    ["Xvfb", "dbus-daemon", "openbox", "xfce4-panel", "dunst", "dunstctl", "xdotool", "import"];

/// The model file of the embedded default.
pub const GGUF: &str = "models/SmolLM2-135M-Instruct.Q4_1.gguf";

/// What the tests run and use.
pub struct Tools {
    /// The built tray app.
    pub tray: PathBuf,
    pub embedded: PathBuf,
    pub ollama: PathBuf,
    /// A Python that has the `openai` package.
    pub python: PathBuf,
}

impl Tools {
    /// `None`: something is missing; the test says what, counts as skipped and ends. With `PILOTHOUSE_TEST_STRICT=1` it
    /// fails instead.
    pub fn find() -> Option<Self> {
        match Self::look() {
            Ok(tools) => Some(tools),
            Err(missing) => {
                let strict = std::env::var_os("PILOTHOUSE_TEST_STRICT").is_some_and(|value| value == "1");
                assert!(!strict, "{missing}");
                println!("skipped: {missing}");
                None
            }
        }
    }

    fn look() -> Result<Self, String> {
        for program in PROGRAMS {
            on_path(program).ok_or(format!("{program} is not on the PATH"))?;
        }
        let named = |variable: &str| {
            std::env::var_os(variable)
                .map(PathBuf::from)
                .filter(|path| path.exists())
                .ok_or(format!("{variable} names nothing that exists"))
        };
        Ok(Self {
            tray: built_tray()?,
            embedded: named("PILOTHOUSE_EMBEDDED")?,
            ollama: named("PILOTHOUSE_TEST_OLLAMA")?,
            python: named("PILOTHOUSE_TEST_PYTHON")?,
        })
    }
}

/// `WebKitWebDriver`, which drives the panel window. `None`: as for [`Tools::find`].
pub fn web_driver() -> Option<PathBuf> {
    let found = on_path("WebKitWebDriver");
    if found.is_none() {
        let strict = std::env::var_os("PILOTHOUSE_TEST_STRICT").is_some_and(|value| value == "1");
        assert!(!strict, "WebKitWebDriver is not on the PATH");
        println!("skipped: WebKitWebDriver is not on the PATH");
    }
    found
}

/// The tray app that was built together with this test: `<target>/debug/pilothouse-tray`.
fn built_tray() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = own.parent().and_then(|deps| deps.parent()).ok_or("the test lies in no target folder")?;
    let tray = folder.join("pilothouse-tray");
    if tray.exists() { Ok(tray) } else { Err(format!("{} is not built", tray.display())) }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
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

/// A port of 127.0.0.1 that nobody holds now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
