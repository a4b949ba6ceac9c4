//! What a desktop test needs besides what every sandbox needs.

use pilothouse_tests::sandbox::{self, built, named, or_skip};
use std::path::PathBuf;

/// Programs that make a desktop and look at it.
const PROGRAMS: [&str; 10] = [
    "Xvfb",
    "dbus-daemon",
    "openbox",
    "xfce4-panel",
    "lxqt-panel",
    "trayer",
    "dunst",
    "dunstctl",
    "xdotool",
    "import",
];

pub struct Tools {
    pub sandbox: sandbox::Tools,
    /// The built tray app.
    pub tray: PathBuf,
    /// A Python that has the `openai` package.
    pub python: PathBuf,
    /// `WebKitWebDriver`, which drives the panel window.
    pub web_driver: PathBuf,
}

impl Tools {
    /// `None`: something is missing, as for [`sandbox::Tools::find`].
    pub fn find() -> Option<Self> {
        let sandbox = sandbox::Tools::find()?;
        or_skip(Self::look(sandbox))
    }

    fn look(sandbox: sandbox::Tools) -> Result<Self, String> {
        for program in PROGRAMS {
            on_path(program)?;
        }
        Ok(Self {
            sandbox,
            tray: built("pilothouse-tray")?,
            python: named("PILOTHOUSE_TEST_PYTHON")?,
            web_driver: on_path("WebKitWebDriver")?,
        })
    }
}

fn on_path(program: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .ok_or(format!("{program} is not on the PATH"))
}
