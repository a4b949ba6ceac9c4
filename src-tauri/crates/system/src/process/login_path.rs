//! The PATH of the user's login shell. A program that was started from a desktop, by systemd or by launchd does not have
//! it, and Homebrew, pip and others put their programs there.

use super::run_to_end;
use crate::process::ProcessSpec;
use std::{ffi::OsString, time::Duration};
use tokio::sync::OnceCell;

/// Shells with long start files take a second or two.
const LIMIT: Duration = Duration::from_secs(5);
/// Stands before and after what is wanted, because start files print too.
const MARK: &str = "--pilothouse-environment--";

static LOGIN_PATH: OnceCell<Option<OsString>> = OnceCell::const_new();

/// Asks the shell once and remembers its answer. `None`: we were started from a terminal and have it already, there is
/// no shell, or it said nothing in time.
pub async fn login_path() -> Option<OsString> {
    LOGIN_PATH.get_or_init(read).await.clone()
}

async fn read() -> Option<OsString> {
    let from_terminal = std::env::var_os("TERM").is_some_and(|term| !term.is_empty());
    let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty())?;
    if from_terminal || cfg!(windows) {
        return None;
    }
    let path = ask(shell.clone()).await;
    match &path {
        Some(_) => tracing::debug!(shell = %shell.display(), "the login shell's PATH is known"),
        None => tracing::info!(shell = %shell.display(), "the login shell did not tell its PATH"),
    }
    path
}

/// Login and interactive, because people set PATH in either start file. `env` prints it the same way for every shell,
/// also those whose own PATH is a list.
async fn ask(shell: OsString) -> Option<OsString> {
    let spec = ProcessSpec {
        program: shell.into(),
        args: ["-l", "-i", "-c", &format!("echo {MARK}; /usr/bin/env; echo {MARK}")]
            .map(OsString::from)
            .into(),
        // For start files that shall not start anything then.
        env: vec![("PILOTHOUSE_READS_ENVIRONMENT".into(), "1".into())],
        env_remove: vec![],
        cwd: None,
    };
    parse(&run_to_end(&spec, LIMIT).await.ok()?.stdout).map(OsString::from)
}

fn parse(output: &str) -> Option<&str> {
    let mut lines = output.lines().skip_while(|line| !line.ends_with(MARK)).skip(1);
    let path = lines.by_ref().take_while(|line| *line != MARK).find_map(|line| line.strip_prefix("PATH="));
    path.filter(|path| !path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_counts() {
        let output = format!("PATH=/motd\nhello{MARK}\nHOME=/h\nPATH=/opt/a:/b\n{MARK}\nPATH=/late\n");
        assert_eq!(parse(&output), Some("/opt/a:/b"));
        assert_eq!(parse("PATH=/a\n"), None);
        assert_eq!(parse(&format!("{MARK}\nPATH=\n{MARK}\n")), None);
        assert_eq!(parse(&format!("{MARK}\nA=1\n{MARK}\nPATH=/late\n")), None);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_real_shell_tells_it() {
        let path = ask("/bin/sh".into()).await.expect("sh knows -l, -i and -c");
        assert!(std::env::split_paths(&path).any(|folder| folder.ends_with("bin")), "{}", path.display());
    }
}
