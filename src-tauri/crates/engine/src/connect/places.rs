//! Where the apps' files lie on this machine.

use pilothouse_domain::connect::{App, Base, ConfigFile, System, apps};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The folders of one person, and the variables by which programs look elsewhere.
#[derive(Debug, Clone)]
pub struct Places {
    home: PathBuf,
    config: PathBuf,
    system: System,
    moved: BTreeMap<&'static str, PathBuf>,
}

/// The system that this is built for; others keep their files as Linux does.
pub fn this_system() -> System {
    if cfg!(target_os = "macos") { System::Macos } else { System::Linux }
}

impl Places {
    /// By the environment that `variable` reads. What is not absolute is ignored.
    pub fn resolve(home: PathBuf, system: System, variable: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let names = apps().iter().filter_map(|app: &App| Some(app.file.as_ref()?.variable?.name));
        let moved = names.filter_map(|name| Some((name, set(name)?))).collect();
        let config = set("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        Self { home, config, system, moved }
    }

    /// The file of an app: the first of its names that is there, else the one that would be made.
    pub fn path(&self, config: &ConfigFile) -> PathBuf {
        let (base, below) = config.folder(self.system);
        let mut folder = match base {
            Base::Home => self.home.clone(),
            Base::Config => self.config.clone(),
        };
        if !below.is_empty() {
            folder.push(below);
        }
        if let Some(variable) = &config.variable
            && let Some(moved) = self.moved.get(variable.name)
        {
            if variable.is_file {
                return moved.clone();
            }
            folder.clone_from(moved);
        }
        let names = config.names.iter().map(|name| folder.join(name));
        let there = names.clone().find(|path| path.exists() || path.is_symlink());
        there.or_else(|| names.clone().next_back()).unwrap_or(folder)
    }

    pub fn shown(&self, path: &Path) -> String {
        match path.strip_prefix(&self.home) {
            Ok(below) => format!("~/{}", below.display()),
            Err(_) => path.display().to_string(),
        }
    }
}
