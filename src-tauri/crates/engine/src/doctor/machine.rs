//! What can be looked at without an engine: folders, the embedded server, certificates, the service, the settings file.

use super::check;
use crate::{
    api::{Check, CheckResult},
    settings,
    setup::Embedded,
};
use pilothouse_domain::error::ApiError;
use pilothouse_system::{connect::has_roots, paths::Paths, service};
use std::path::Path;

/// What to do about a settings file that is not understood, while no engine runs.
const UNREAD: &str = "Correct the file before the next start; otherwise the defaults are in force.";

/// The program's file is another one since this engine was started: an upgrade.
pub(super) fn was_replaced() -> Option<Check> {
    let program = std::fs::read_link("/proc/self/exe").ok()?;
    program.to_str()?.ends_with(" (deleted)").then(|| {
        let detail = "its program was replaced since it was started; the old one still runs";
        check("Pilothouse", CheckResult::Warn, detail)
            .with("Start it again. As a service: systemctl --user restart pilothouse")
    })
}

/// What can be looked at without an engine.
pub fn examine_machine(paths: &Paths) -> Vec<Check> {
    let embedded = Embedded::new(paths.embedded.clone());
    let mut checks = vec![
        writable("settings folder", &paths.config),
        writable("data folder", &paths.data),
        writable("log folder", &paths.logs),
        match embedded.server_program() {
            Some(program) => check("embedded llama-server", CheckResult::Ok, program.display().to_string()),
            None => check("embedded llama-server", CheckResult::Warn, "not fetched yet")
                .with("Run: pilothouse setup"),
        },
        match embedded.has_model() {
            true => check("embedded model", CheckResult::Ok, embedded.models_dir().display().to_string()),
            false => {
                check("embedded model", CheckResult::Warn, "not fetched yet").with("Run: pilothouse setup")
            }
        },
    ];
    if !has_roots() {
        let detail = "this system knows no issuer of certificates, so nothing can be asked by https";
        checks.push(
            check("certificates", CheckResult::Warn, detail)
                .with("Install the package ca-certificates. Servers of this machine need none."),
        );
    }
    checks.push(service(paths));
    if cfg!(target_os = "linux") {
        checks.push(match std::env::var_os("DBUS_SESSION_BUS_ADDRESS") {
            Some(_) => check("desktop notifications", CheckResult::Ok, "a session bus is there"),
            None => {
                check("desktop notifications", CheckResult::Skipped, "no session bus (no desktop session)")
            }
        });
    }
    checks
}

/// The settings file, where no engine has read it: whether it can be, and whether the folders that it names are there. Blocking.
pub fn examine_settings(paths: &Paths) -> Vec<Check> {
    let file = paths.settings_file();
    let shown = file.display().to_string();
    if !file.exists() && !file.is_symlink() {
        return vec![check("settings file", CheckResult::Ok, format!("{shown} (made at the first start)"))];
    }
    let failed = |name: &str, error: ApiError| Check {
        name: name.into(),
        result: CheckResult::Fail,
        detail: error.message,
        hint: error.hint,
    };
    match settings::read(&file) {
        Ok(mut settings) => {
            paths.expand_settings(&mut settings);
            let mut checks = vec![check("settings file", CheckResult::Ok, shown)];
            checks.extend(settings::missing_folders(&settings).map(|error| failed("folders", error)));
            checks
        }
        Err(error) => vec![failed("settings file", ApiError { hint: Some(UNREAD.into()), ..error })],
    }
}

fn service(paths: &Paths) -> Check {
    let file = service::file(paths);
    match std::fs::read_to_string(&file).ok().map(|text| service::program(&text)) {
        None => check("service", CheckResult::Skipped, "not installed")
            .with("“pilothouse service install” starts Pilothouse at login, also without a desktop."),
        Some(Some(program)) if program.is_file() => {
            check("service", CheckResult::Ok, format!("installed, starts {}", program.display()))
        }
        Some(program) => {
            let what = program.map_or_else(|| "no program".into(), |program| program.display().to_string());
            check(
                "service",
                CheckResult::Fail,
                format!("{} starts {what}, which is not there", file.display()),
            )
            .with("Run: pilothouse service install")
        }
    }
}

fn writable(name: &str, folder: &Path) -> Check {
    let probe = folder.join(format!(".write-check-{}", std::process::id()));
    let shown = folder.display().to_string();
    if !folder.exists() {
        return check(name, CheckResult::Ok, format!("{shown} (made at the first start)"));
    }
    // A full disk still takes an empty file.
    let written = std::fs::write(&probe, [b'.'; 4096]);
    let _ = std::fs::remove_file(&probe);
    match written {
        Ok(()) => check(name, CheckResult::Ok, shown),
        Err(error) => check(name, CheckResult::Fail, format!("{shown} cannot be written: {error}"))
            .with("Check its permissions and the free disk space."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_tried_out_and_nothing_stays_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let fine = writable("data folder", folder.path());
        assert_eq!(fine.result, CheckResult::Ok, "{fine:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let failed = writable("data folder", &file);
        assert!(failed.result == CheckResult::Fail && failed.hint.is_some(), "{failed:?}");
    }

    #[test]
    fn the_settings_file_is_checked_without_an_engine() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().as_os_str().to_owned();
        let paths = Paths::resolve(&|name| (name == "PILOTHOUSE_HOME").then(|| home.clone())).unwrap();
        let told = || {
            let checks = examine_settings(&paths);
            checks.into_iter().map(|one| (one.name, one.result, one.detail)).collect::<Vec<_>>()
        };
        assert_eq!((told()[0].1, told().len()), (CheckResult::Ok, 1), "there is none yet");
        std::fs::create_dir_all(&paths.config).unwrap();
        for (text, name, result, words) in [
            ("", "settings file", CheckResult::Ok, "settings.toml"),
            ("[gateway]\nprot = 3\n", "settings file", CheckResult::Fail, "did you mean port?"),
            ("[gateway\n", "settings file", CheckResult::Fail, "line 1"),
            ("[gauges]\ninterval_ms = 1\n", "settings file", CheckResult::Fail, "200 to 60000"),
            ("[servers.llama-server]\nmodels_dir = \"/no/such\"\n", "folders", CheckResult::Fail, "/no/such"),
            ("[servers.llama-server]\nmodels_dir = \"~\"\n", "settings file", CheckResult::Ok, ""),
        ] {
            std::fs::write(paths.settings_file(), text).unwrap();
            let (named, found, detail) = told().pop().unwrap();
            assert_eq!((named.as_str(), found), (name, result), "{text}: {detail}");
            assert!(detail.contains(words), "{text}: {detail}");
        }
        std::fs::remove_file(paths.settings_file()).unwrap();
        std::fs::create_dir(paths.settings_file()).unwrap();
        assert_eq!(told()[0].1, CheckResult::Fail, "a folder in its place");
    }
}
