//! Where Pilothouse keeps its files.

use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    settings::Settings,
};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The folders of one installation. Two engines with the same `data` never run at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The home folder of the person.
    pub user_home: PathBuf,
    /// `settings.toml`.
    pub config: PathBuf,
    /// `history.sqlite3`, `engine.lock`, models.
    pub data: PathBuf,
    /// Downloads under way and whatever else can be made again.
    pub cache: PathBuf,
    pub logs: PathBuf,
    /// What lives only as long as an engine: `engine.json`, key files, sockets.
    pub run: PathBuf,
    /// The embedded server and its model.
    pub embedded: PathBuf,
    /// Everything lies under one folder of its own (`PILOTHOUSE_HOME`) and nothing goes elsewhere.
    pub portable: bool,
}

impl Paths {
    /// The folders as the environment of this process has them. Errors: system, when there is no home folder.
    pub fn from_env() -> Result<Self, ApiError> {
        Self::resolve(&|name| std::env::var_os(name))
    }

    /// The folders for a given environment. Empty and relative values are ignored, as the XDG rules say; only
    /// `PILOTHOUSE_HOME` and `PILOTHOUSE_EMBEDDED` may be relative to the working directory.
    pub fn resolve(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, ApiError> {
        let set = |name: &str| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let own_home = set("PILOTHOUSE_HOME").map(absolute).transpose()?;
        let user_home =
            set("HOME").filter(|p| p.is_absolute()).or_else(|| own_home.clone()).ok_or_else(|| {
                ApiError::new(ErrorCode::System, "The home folder is not known.")
                    .hint("Set HOME, or PILOTHOUSE_HOME to a folder that Pilothouse may use.")
            })?;
        let mut paths = match own_home {
            Some(home) => Self::under(user_home, &home),
            None if cfg!(target_os = "macos") => Self::macos(user_home),
            None => Self::xdg(user_home, &|name| set(name).filter(|p| p.is_absolute())),
        };
        if let Some(embedded) = set("PILOTHOUSE_EMBEDDED") {
            paths.embedded = absolute(embedded)?;
        }
        Ok(paths)
    }

    fn under(user_home: PathBuf, home: &Path) -> Self {
        Self {
            user_home,
            config: home.join("config"),
            data: home.join("data"),
            cache: home.join("cache"),
            logs: home.join("logs"),
            run: home.join("run"),
            embedded: home.join("data/embedded"),
            portable: true,
        }
    }

    fn macos(user_home: PathBuf) -> Self {
        let library = user_home.join("Library");
        let support = library.join("Application Support/Pilothouse");
        Self {
            config: support.clone(),
            cache: library.join("Caches/Pilothouse"),
            logs: library.join("Logs/Pilothouse"),
            run: support.join("run"),
            embedded: support.join("embedded"),
            data: support,
            user_home,
            portable: false,
        }
    }

    fn xdg(user_home: PathBuf, set: &dyn Fn(&str) -> Option<PathBuf>) -> Self {
        let base = |name: &str, default: &str| {
            set(name).unwrap_or_else(|| user_home.join(default)).join("pilothouse")
        };
        let data = base("XDG_DATA_HOME", ".local/share");
        Self {
            config: base("XDG_CONFIG_HOME", ".config"),
            cache: base("XDG_CACHE_HOME", ".cache"),
            logs: base("XDG_STATE_HOME", ".local/state").join("logs"),
            run: set("XDG_RUNTIME_DIR").map_or_else(|| data.join("run"), |dir| dir.join("pilothouse")),
            embedded: data.join("embedded"),
            data,
            user_home,
            portable: false,
        }
    }

    /// Makes all paths of the settings such as the system reads.
    pub fn expand_settings(&self, settings: &mut Settings) {
        let servers = &mut settings.servers;
        for path in [
            &mut servers.llama_server.program,
            &mut servers.llama_server.models_dir,
            &mut servers.ollama.program,
            &mut servers.ollama.models_dir,
            &mut servers.lmstudio.home,
        ] {
            *path = self.expand(path);
        }
    }

    /// A path as people write it in the settings: `~`, `$HOME` and `${HOME}` at its beginning are the home folder. Other
    /// variables and other people's homes stay as they are written.
    pub fn expand(&self, written: &str) -> String {
        let home = self.user_home.display();
        for mark in ["~", "$HOME", "${HOME}"] {
            match written.strip_prefix(mark) {
                Some("") => return home.to_string(),
                Some(rest) if rest.starts_with('/') => {
                    return format!("{}{rest}", home.to_string().trim_end_matches('/'));
                }
                _ => {}
            }
        }
        written.to_owned()
    }

    pub fn settings_file(&self) -> PathBuf {
        self.config.join("settings.toml")
    }

    pub fn history_file(&self) -> PathBuf {
        self.data.join("history.sqlite3")
    }

    /// Folder of the servers' output.
    pub fn server_logs(&self) -> PathBuf {
        self.logs.join("servers")
    }

    /// Makes every folder but `embedded`, whose absence says that nothing was fetched. Data and runtime folder are
    /// for their owner only. Errors: system.
    pub fn create_all(&self) -> Result<(), ApiError> {
        for folder in [&self.config, &self.cache, &self.logs, &self.data, &self.run] {
            std::fs::create_dir_all(folder).map_err(|error| cannot_make(folder, &error))?;
        }
        for folder in [&self.data, &self.run] {
            make_private(folder).map_err(|error| cannot_make(folder, &error))?;
        }
        Ok(())
    }
}

fn absolute(path: PathBuf) -> Result<PathBuf, ApiError> {
    std::path::absolute(&path).map_err(|error| cannot_make(&path, &error))
}

fn cannot_make(folder: &Path, error: &std::io::Error) -> ApiError {
    ApiError::new(ErrorCode::System, format!("The folder {} cannot be used: {error}.", folder.display()))
        .hint("Check its permissions and that the disk has room, or set PILOTHOUSE_HOME to another folder.")
}

#[cfg(unix)]
fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn make_private(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(variables: &[(&str, &str)]) -> Result<Paths, ApiError> {
        Paths::resolve(&|name| {
            let hit = variables.iter().find(|(key, _)| *key == name);
            hit.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn one_folder_can_hold_everything() {
        let paths = resolve(&[("HOME", "/home/a"), ("PILOTHOUSE_HOME", "/srv/p")]).unwrap();
        assert_eq!(paths.settings_file(), Path::new("/srv/p/config/settings.toml"));
        assert_eq!(paths.run, Path::new("/srv/p/run"));
        assert_eq!(paths.embedded, Path::new("/srv/p/data/embedded"));
        assert_eq!(paths.user_home, Path::new("/home/a"));
        assert!(paths.portable);
    }

    #[test]
    fn the_home_folder_is_written_in_three_ways() {
        let paths = resolve(&[("HOME", "/home/a")]).unwrap();
        for (written, wanted) in [
            ("~", "/home/a"),
            ("~/models", "/home/a/models"),
            ("$HOME/models", "/home/a/models"),
            ("${HOME}/my models", "/home/a/my models"),
            ("$HOME", "/home/a"),
            ("/srv/~/models", "/srv/~/models"),
            ("~bob/models", "~bob/models"),
            ("$HOMES/models", "$HOMES/models"),
            ("$MODELS", "$MODELS"),
            ("models/$HOME", "models/$HOME"),
            ("ollama", "ollama"),
            ("", ""),
        ] {
            assert_eq!(paths.expand(written), wanted, "{written}");
        }
        let at_root = resolve(&[("HOME", "/")]).unwrap();
        assert_eq!(at_root.expand("~/models"), "/models");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_follows_the_xdg_rules() {
        let paths =
            resolve(&[("HOME", "/home/a"), ("XDG_CACHE_HOME", "relative"), ("XDG_DATA_HOME", "")]).unwrap();
        assert_eq!(paths.config, Path::new("/home/a/.config/pilothouse"));
        assert_eq!(paths.data, Path::new("/home/a/.local/share/pilothouse"));
        assert_eq!(paths.cache, Path::new("/home/a/.cache/pilothouse"));
        assert_eq!(paths.logs, Path::new("/home/a/.local/state/pilothouse/logs"));
        assert_eq!(paths.run, Path::new("/home/a/.local/share/pilothouse/run"));
        let paths = resolve(&[("HOME", "/home/a"), ("XDG_RUNTIME_DIR", "/run/user/1")]).unwrap();
        assert_eq!(paths.run, Path::new("/run/user/1/pilothouse"));
    }

    #[test]
    fn the_embedded_folder_can_lie_elsewhere() {
        let paths = resolve(&[("HOME", "/home/a"), ("PILOTHOUSE_EMBEDDED", "/opt/e")]).unwrap();
        assert_eq!(paths.embedded, Path::new("/opt/e"));
    }

    #[test]
    fn without_a_home_there_is_a_hint() {
        let error = resolve(&[]).unwrap_err();
        assert_eq!(error.code, ErrorCode::System);
        assert!(error.hint.unwrap().contains("PILOTHOUSE_HOME"));
    }

    #[cfg(unix)]
    #[test]
    fn data_and_run_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let paths = resolve(&[("PILOTHOUSE_HOME", folder.path().to_str().unwrap())]).unwrap();
        paths.create_all().unwrap();
        paths.create_all().unwrap();
        for private in [&paths.data, &paths.run] {
            assert_eq!(std::fs::metadata(private).unwrap().permissions().mode() & 0o777, 0o700);
        }
        assert!(!paths.embedded.exists());
    }
}
