//! The settings file: made on the first start, read with helpful errors, watched for changes, and changed only where a person asks for it
//! (`set`, `remotes`, `numbers`, all by `rewrite`).

mod folders;
mod in_force;
mod locate;
mod numbers;
mod remotes;
mod rewrite;
mod scenes;
mod set;
mod watch;

pub use folders::missing as missing_folders;
pub use in_force::InForce;
pub use numbers::NumberChange;
pub use set::digest_of;
pub use watch::{WatchGuard, watch};

use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    settings::Settings,
};
use rewrite::Past;
use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What a new file contains: every key with its default and what it means.
const DEFAULT_TEXT: &str = include_str!("default.toml");

/// Where the settings stand. A clone is the same file.
#[derive(Debug, Clone)]
pub struct SettingsFile {
    path: PathBuf,
    past: Arc<Past>,
}

/// What the first reading gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The file's settings, or the defaults when there is trouble.
    pub settings: Settings,
    /// Why the defaults are in force, or why there is no file.
    pub trouble: Option<ApiError>,
    /// The file was made just now.
    pub created: bool,
}

impl SettingsFile {
    /// Reads the file; makes it when there is none. A bad file stays as it is, and the defaults are in force.
    pub fn open(path: &Path) -> (Self, Loaded) {
        let file = Self::at(path);
        let loaded = match create(path) {
            Ok(true) => Loaded { settings: Settings::default(), trouble: None, created: true },
            Ok(false) => match file.read() {
                Ok(settings) => Loaded { settings, trouble: None, created: false },
                Err(error) => refused(error),
            },
            Err(error) => refused(
                ApiError::new(
                    ErrorCode::System,
                    format!("{} cannot be written: {error}. The defaults are in force.", path.display()),
                )
                .hint("Check the permissions of its folder and that the disk has room."),
            ),
        };
        (file, loaded)
    }

    /// Where a file is or may be; nothing is read or made.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), past: Arc::default() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file again. Errors: settings_invalid, with line and key.
    pub fn read(&self) -> Result<Settings, ApiError> {
        read(&self.path)
    }
}

/// Reads a settings file as it stands. Errors: settings_invalid, with line and key.
pub fn read(path: &Path) -> Result<Settings, ApiError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        ApiError::new(ErrorCode::SettingsInvalid, format!("{} cannot be read: {error}.", path.display()))
            .hint("The last good settings stay in force. Put the file back, or restart for a new one.")
    })?;
    parse(&text)
}

/// Reads settings from TOML text. Errors: settings_invalid, with line and key.
pub fn parse(text: &str) -> Result<Settings, ApiError> {
    let settings: Settings =
        toml_edit::de::from_str(text).map_err(|error| invalid(locate::parse_error(text, &error)))?;
    settings.check().map_err(|mistake| invalid(locate::range_error(text, &mistake)))?;
    Ok(settings)
}

fn invalid(message: String) -> ApiError {
    ApiError::new(ErrorCode::SettingsInvalid, message)
        .hint("Correct the file; it is read again when it is saved. Until then the last good settings stay in force.")
}

fn refused(error: ApiError) -> Loaded {
    Loaded { settings: Settings::default(), trouble: Some(error), created: false }
}

/// Whether a new file was made; an existing one is never touched.
fn create(path: &Path) -> std::io::Result<bool> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::File::create_new(path) {
        Ok(mut file) => file.write_all(DEFAULT_TEXT.as_bytes()).map(|()| true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_file_says_the_defaults_with_every_key() {
        assert_eq!(parse(DEFAULT_TEXT).unwrap(), Settings::default());
        let written: serde_json::Value = toml_edit::de::from_str(DEFAULT_TEXT).unwrap();
        let expected = serde_json::to_value(Settings::default()).unwrap();
        assert_eq!(written, expected, "a key is missing in default.toml");
    }

    #[test]
    fn a_first_start_makes_the_file_and_a_second_leaves_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config/settings.toml");
        let (_, first) = SettingsFile::open(&path);
        assert!(first.created && first.trouble.is_none());
        std::fs::write(&path, "[gateway]\nport = 1\n").unwrap();
        let (_, second) = SettingsFile::open(&path);
        assert_eq!((second.settings.gateway.port, second.created), (1, false));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "[gateway]\nport = 1\n");
    }

    #[test]
    fn a_bad_file_stays_and_the_defaults_are_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        std::fs::write(&path, "gateway = 5\n").unwrap();
        let (file, loaded) = SettingsFile::open(&path);
        assert_eq!(loaded.settings, Settings::default());
        assert_eq!(loaded.trouble.unwrap().code, ErrorCode::SettingsInvalid);
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "gateway = 5\n");
    }

    #[test]
    fn mistakes_are_named_with_line_and_key() {
        for (text, wanted) in [
            (
                "\n[servers.ollama]\nadress = \"x\"\n",
                "settings.toml line 3: servers.ollama.adress: unknown key, did you mean address?",
            ),
            ("[gatway]\n", "settings.toml line 1: gatway: unknown key, did you mean gateway?"),
            ("[web]\nzzzzzzz = 1\n", "settings.toml line 2: web.zzzzzzz: unknown key."),
            (
                "[gauges]\n# fast\ninterval_ms = 5\n",
                "settings.toml line 3: gauges.interval_ms: must be 200 to 60000.",
            ),
            ("[restart]\nmax_ms = 1\n", "settings.toml: restart.first_ms: must be 1 up to restart.max_ms."),
        ] {
            assert_eq!(parse(text).unwrap_err().message, wanted);
        }
        let wrong_type = parse("[gateway]\nport = \"x\"\n").unwrap_err().message;
        assert!(wrong_type.starts_with("settings.toml line 2: gateway.port: "), "{wrong_type}");
        let syntax = parse("[web]\nport = \n").unwrap_err().message;
        assert!(syntax.starts_with("settings.toml line 2: "), "{syntax}");
    }
}
