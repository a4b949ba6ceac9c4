//! `pilothouse serve` as a service of the user's own session manager, for a machine without a desktop: a systemd user unit,
//! or a launch agent.

use crate::{
    paths::Paths,
    process::{ProcessSpec, run_to_end},
};
use pilothouse_domain::error::{ApiError, ErrorCode};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

const UNIT: &str = "pilothouse.service";
const LABEL: &str = "app.pilothouse.serve";
const LIMIT: Duration = Duration::from_secs(30);

/// A service file that was written or taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub file: PathBuf,
    /// What a person may want to do beyond.
    pub hint: Option<String>,
}

/// Writes the service file for `program`, and starts the service now and at every login. A home that was set by
/// `PILOTHOUSE_HOME` goes with it. Errors: system (nothing stays behind).
pub async fn install(paths: &Paths, program: &Path) -> Result<Service, ApiError> {
    let file = file(paths);
    let text = if cfg!(target_os = "macos") { agent(paths, program) } else { unit(paths, program) };
    let unwritten = |error: std::io::Error| {
        ApiError::new(ErrorCode::System, format!("{} could not be written: {error}.", file.display()))
    };
    let before = std::fs::read(&file).ok();
    // One that runs goes on with what it was started with, unless it is told.
    let is_changed = before.as_ref().is_some_and(|before| before != text.as_bytes());
    std::fs::create_dir_all(file.parent().unwrap_or(&file)).map_err(unwritten)?;
    std::fs::write(&file, text).map_err(unwritten)?;
    if let Err(error) = run_all(&commands(&file, Some(is_changed))).await {
        match before {
            Some(before) => drop(std::fs::write(&file, before)),
            None => drop(std::fs::remove_file(&file)),
        }
        return Err(error);
    }
    let hint = cfg!(target_os = "linux").then(|| {
        "It starts when you log in. To start it with the machine: “sudo loginctl enable-linger $USER”."
            .to_owned()
    });
    Ok(Service { file, hint })
}

/// Stops the service and takes its file away. Errors: not_found (none is installed), system.
pub async fn remove(paths: &Paths) -> Result<Service, ApiError> {
    let file = file(paths);
    if !file.exists() {
        return Err(ApiError::not_found(format!("No service is installed: there is no {}.", file.display())));
    }
    // Its manager may be gone; the file goes all the same.
    let stopped = run_all(&commands(&file, None)).await;
    std::fs::remove_file(&file).map_err(|error| {
        ApiError::new(ErrorCode::System, format!("{} could not be removed: {error}.", file.display()))
    })?;
    Ok(Service { file, hint: stopped.err().map(|error| format!("It could not be stopped: {error}")) })
}

/// The service file of this user.
pub fn file(paths: &Paths) -> PathBuf {
    if cfg!(target_os = "macos") {
        return paths.user_home.join("Library/LaunchAgents").join(format!("{LABEL}.plist"));
    }
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    config.unwrap_or_else(|| paths.user_home.join(".config")).join("systemd/user").join(UNIT)
}

/// The program that a service file starts, as [`install`] wrote it.
pub fn program(text: &str) -> Option<PathBuf> {
    let between = |text: &str, begin: &str, end: &str| {
        let (_, rest) = text.split_once(begin)?;
        Some(rest.split_once(end)?.0.to_owned())
    };
    if let Some(quoted) = between(text, "ExecStart=\"", "\" serve") {
        let plain = quoted.replace("$$", "$").replace("%%", "%").replace("\\\"", "\"").replace("\\\\", "\\");
        return Some(plain.into());
    }
    let escaped = between(text, "<key>ProgramArguments</key>", "</array>")?;
    let escaped = between(&escaped, "<string>", "</string>")?;
    Some(escaped.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").into())
}

/// What installs the file, with whether it replaces another; `None`: what takes it away.
fn commands(file: &Path, install: Option<bool>) -> Vec<(&'static str, Vec<String>)> {
    let texts = |args: &[&str]| args.iter().map(ToString::to_string).collect::<Vec<_>>();
    if cfg!(target_os = "macos") {
        #[cfg(unix)]
        let user = user_id();
        #[cfg(not(unix))]
        let user = 0;
        let domain = format!("gui/{user}");
        return match install {
            Some(_) => vec![("/bin/launchctl", texts(&["bootstrap", &domain, &file.display().to_string()]))],
            None => vec![("/bin/launchctl", texts(&["bootout", &format!("{domain}/{LABEL}")]))],
        };
    }
    match install {
        Some(is_changed) => vec![
            ("systemctl", texts(&["--user", "daemon-reload"])),
            ("systemctl", texts(&["--user", "enable", UNIT])),
            ("systemctl", texts(&["--user", if is_changed { "restart" } else { "start" }, UNIT])),
        ],
        None => vec![("systemctl", texts(&["--user", "disable", "--now", UNIT]))],
    }
}

#[cfg(unix)]
fn user_id() -> u32 {
    rustix::process::getuid().as_raw()
}

async fn run_all(commands: &[(&'static str, Vec<String>)]) -> Result<(), ApiError> {
    for (program, args) in commands {
        let spec = ProcessSpec {
            program: program.into(),
            args: args.iter().map(Into::into).collect(),
            env: vec![],
            env_remove: vec![],
            cwd: None,
        };
        let finished = run_to_end(&spec, LIMIT).await.map_err(|error| {
            ApiError::new(ErrorCode::System, format!("{program} could not be run: {}", error.message))
                .hint("A service needs systemd or launchd. “pilothouse serve” runs without them.")
        })?;
        if finished.exit.code != Some(0) {
            let said = finished.stderr.trim().lines().last().unwrap_or_default().to_owned();
            let text = format!("“{program} {}” failed ({}): {said}", args.join(" "), finished.exit);
            return Err(ApiError::new(ErrorCode::System, text).hint(
                "Log in as this user on the machine itself, or set XDG_RUNTIME_DIR, so that its service manager can be reached.",
            ));
        }
    }
    Ok(())
}

/// Whether what this process writes to its standard error goes to systemd's journal.
#[cfg(target_os = "linux")]
pub fn writes_to_journal() -> bool {
    use std::os::unix::fs::MetadataExt;
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    // The variable is inherited by those who write elsewhere, too.
    std::fs::metadata("/proc/self/fd/2").is_ok_and(|file| stream == format!("{}:{}", file.dev(), file.ino()))
}

#[cfg(not(target_os = "linux"))]
pub fn writes_to_journal() -> bool {
    false
}

/// The address with its token stands on standard output, which goes nowhere: a journal is read by more people than its
/// owner. Standard error would go the same way, were it not named.
fn unit(paths: &Paths, program: &Path) -> String {
    let home =
        portable_home(paths).map(|home| format!("Environment=\"PILOTHOUSE_HOME={}\"\n", quoted(&home)));
    format!(
        "[Unit]\nDescription=Pilothouse: one active model for this machine\n\n[Service]\nExecStart=\"{}\" serve\n{}\
         StandardOutput=null\nStandardError=journal\nRestart=on-failure\nRestartSec=5\n# Pilothouse stops its servers itself.\nKillMode=mixed\n\
         TimeoutStopSec=20\n\n[Install]\nWantedBy=default.target\n",
        quoted(&program.display().to_string()).replace('$', "$$"),
        home.unwrap_or_default()
    )
}

/// Systemd reads `%` as a specifier, and quotes and backslashes as its own (systemd.syntax(7)).
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%")
}

fn agent(paths: &Paths, program: &Path) -> String {
    let xml = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let home = portable_home(paths).map(|home| {
        format!(
            "  <key>EnvironmentVariables</key>\n  <dict><key>PILOTHOUSE_HOME</key><string>{}</string></dict>\n",
            xml(&home)
        )
    });
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n<dict>\n  <key>Label</key><string>{LABEL}</string>\n  <key>ProgramArguments</key>\n  \
         <array><string>{}</string><string>serve</string></array>\n{}  <key>RunAtLoad</key><true/>\n  \
         <key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>\n  \
         <key>StandardOutPath</key><string>/dev/null</string>\n</dict>\n</plist>\n",
        xml(&program.display().to_string()),
        home.unwrap_or_default()
    )
}

/// The folder of `PILOTHOUSE_HOME`.
fn portable_home(paths: &Paths) -> Option<String> {
    let home = paths.portable.then(|| paths.config.parent()).flatten()?;
    Some(home.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn paths(home: Option<&str>) -> Paths {
        Paths::resolve(&|name| match name {
            "HOME" => Some(OsString::from("/home/a")),
            "PILOTHOUSE_HOME" => home.map(OsString::from),
            _ => None,
        })
        .unwrap()
    }

    #[test]
    fn the_unit_starts_the_program_and_keeps_the_token_out_of_the_journal() {
        let text = unit(&paths(None), Path::new("/opt/50% off/pilothouse"));
        assert!(text.contains("ExecStart=\"/opt/50%% off/pilothouse\" serve\n"), "{text}");
        assert_eq!(program(&text).unwrap(), Path::new("/opt/50% off/pilothouse"));
        assert!(
            text.contains("StandardOutput=null\nStandardError=journal\n")
                && !text.contains("PILOTHOUSE_HOME"),
            "{text}"
        );
        let text = unit(&paths(Some("/srv/p")), Path::new("/opt/pilothouse"));
        assert!(text.contains("Environment=\"PILOTHOUSE_HOME=/srv/p\"\n"), "{text}");
    }

    #[test]
    fn the_agent_is_a_property_list() {
        let text = agent(&paths(Some("/srv/a&b")), Path::new("/Applications/P & Q.app/pilothouse"));
        assert_eq!(program(&text).unwrap(), Path::new("/Applications/P & Q.app/pilothouse"));
        assert!(text.contains("<string>/srv/a&amp;b</string>"), "{text}");
        assert_eq!(text.matches("<dict>").count(), text.matches("</dict>").count());
    }
}
