//! LM Studio's home folder and what its files say. They are no stable interface: read with care, never written.

use crate::places::find_program;
use pilothouse_domain::{server::Backend, settings::LmStudioSettings};
use pilothouse_system::connect::client_for;
use pilothouse_system::process::listener;
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Fixed ports of the internal API server (lmstudio.js: lms-common/src/apiServerPorts.ts).
const INTERNAL_PORTS: [u16; 5] = [41343, 52993, 16141, 39414, 22931];
const STATUS_LIMIT: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Home(PathBuf);

/// `.internal/http-server-config.json`; missing until the server was started once.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ServerConfig {
    pub port: Option<u16>,
    pub network_interface: Option<String>,
    pub cors: bool,
}

#[derive(Debug, Deserialize)]
struct InternalServer {
    port: u16,
}

/// `settings.json`, as far as it is needed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AppSettings {
    downloads_folder: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Status {
    version: String,
    package: String,
}

impl Home {
    /// As the product's own command finds it: the pointer file, the older cache folder, the usual folder.
    pub fn find(settings: &LmStudioSettings, user_home: &Path) -> Self {
        if !settings.home.is_empty() {
            return Self(PathBuf::from(&settings.home));
        }
        let pointer = std::fs::read_to_string(user_home.join(".lmstudio-home-pointer")).ok();
        if let Some(pointed) =
            pointer.map(|text| PathBuf::from(text.trim())).filter(|path| path.is_absolute())
        {
            return Self(pointed);
        }
        let older = user_home.join(".cache/lm-studio");
        Self(if older.is_dir() { older } else { user_home.join(".lmstudio") })
    }

    /// The command-line program, by absolute path: programs with a window do not see the shell's PATH.
    pub fn lms(&self) -> Option<PathBuf> {
        find_program(&[self.0.join(if cfg!(windows) { "bin/lms.exe" } else { "bin/lms" })])
    }

    /// Where its HTTP server's log files stand, in one folder per month.
    pub fn server_logs(&self) -> PathBuf {
        self.0.join("server-logs")
    }

    pub fn config(&self) -> ServerConfig {
        self.read(".internal/http-server-config.json").unwrap_or_default()
    }

    /// Where the HTTP server answers, by its own configuration.
    pub fn address(&self) -> String {
        let config = self.config();
        let host = match config.network_interface.as_deref() {
            None | Some("" | "0.0.0.0" | "localhost") => "127.0.0.1".to_owned(),
            Some(host) => host.to_owned(),
        };
        format!("http://{host}:{}", config.port.unwrap_or(1234))
    }

    /// Where the models lie: the usual folder, or the one that was chosen in the app.
    pub fn models(&self) -> PathBuf {
        let chosen = self.read::<AppSettings>("settings.json").and_then(|settings| settings.downloads_folder);
        let chosen = chosen.map(PathBuf::from).filter(|path| path.is_absolute());
        chosen.unwrap_or_else(|| self.0.join("models"))
    }

    /// What runs, by the one question that never starts anything.
    pub async fn backend(&self) -> Option<Backend> {
        let (port, status) = self.internal().await?;
        // The app and the daemon answer alike; their processes have names of their own.
        let holder = listener(port).await;
        let named = holder.as_ref().is_some_and(|holder| holder.name.to_lowercase().contains("llmster"));
        let title = match status.package.as_str() {
            "bionic" => "Bionic",
            _ if named => "llmster",
            _ => "LM Studio",
        };
        let pid = holder.map(|holder| holder.pid);
        Some(Backend { title: title.into(), version: Some(status.version), pid })
    }

    /// Where `lms` would find what runs.
    pub async fn internal_port(&self) -> Option<u16> {
        self.internal().await.map(|(port, _)| port)
    }

    async fn internal(&self) -> Option<(u16, Status)> {
        // It is made at the product's first start: without it nothing of the product runs here.
        if !self.0.is_dir() {
            return None;
        }
        let noted = self.read::<InternalServer>(".internal/http-server.json").map(|server| server.port);
        for port in noted.into_iter().chain(INTERNAL_PORTS) {
            let url = format!("http://127.0.0.1:{port}/lms-status");
            let answer = client_for(&url).get(url).timeout(STATUS_LIMIT).send().await;
            let Ok(answer) = answer else { continue };
            let Ok(status) = answer.json::<Status>().await else { continue };
            return Some((port, status));
        }
        None
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        let text = std::fs::read(self.0.join(name)).ok()?;
        serde_json::from_slice(&text)
            .inspect_err(|error| tracing::debug!(%error, name, "not understood"))
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(user_home: &Path) -> Home {
        Home::find(&LmStudioSettings::default(), user_home)
    }

    #[test]
    fn the_home_is_found_as_lms_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(found(folder.path()).0, folder.path().join(".lmstudio"));
        std::fs::create_dir_all(folder.path().join(".cache/lm-studio")).unwrap();
        assert_eq!(found(folder.path()).0, folder.path().join(".cache/lm-studio"));
        std::fs::write(folder.path().join(".lmstudio-home-pointer"), "/somewhere/else\n").unwrap();
        assert_eq!(found(folder.path()).0, Path::new("/somewhere/else"));
    }

    #[test]
    fn the_models_lie_where_the_app_says() {
        let folder = tempfile::tempdir().unwrap();
        let home = found(folder.path());
        assert_eq!(home.models(), folder.path().join(".lmstudio/models"));
        std::fs::create_dir_all(folder.path().join(".lmstudio")).unwrap();
        let settings = folder.path().join(".lmstudio/settings.json");
        std::fs::write(&settings, r#"{"downloadsFolder":"/big/disk","enableLocalService":true}"#).unwrap();
        assert_eq!(home.models(), Path::new("/big/disk"));
        std::fs::write(&settings, r#"{"downloadsFolder":"../elsewhere"}"#).unwrap();
        assert_eq!(home.models(), folder.path().join(".lmstudio/models"));
    }

    #[test]
    fn the_address_comes_from_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let home = found(folder.path());
        assert_eq!(home.address(), "http://127.0.0.1:1234");
        let internal = folder.path().join(".lmstudio/.internal");
        std::fs::create_dir_all(&internal).unwrap();
        let config = internal.join("http-server-config.json");
        std::fs::write(&config, r#"{"port":4321,"networkInterface":"0.0.0.0","cors":true,"new":[1]}"#)
            .unwrap();
        assert_eq!(home.address(), "http://127.0.0.1:4321");
        std::fs::write(&config, "half a fi").unwrap();
        assert_eq!(home.address(), "http://127.0.0.1:1234");
    }
}
