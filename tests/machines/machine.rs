//! A Debian that boots. Its files are a copy of the one in the test cache; it ends with the test.

use pilothouse_tests::{
    program,
    sandbox::{Answer, Group, Tools, command, found, is_root, named, or_skip, signal, skip, until},
};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// A boot takes some seconds, on a busy machine many.
pub const LIMIT: Duration = Duration::from_secs(120);
/// The user of all that is tried, and its number: the first that a fresh Debian gives.
pub const USER: &str = "ada";
pub const USER_ID: u32 = 1000;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub struct Machine {
    pub tools: Tools,
    folder: tempfile::TempDir,
    running: Option<Group>,
}

impl Machine {
    /// A machine with the built program, not yet running. `None`: what it takes is not here.
    pub fn new() -> Option<Self> {
        let tools = Tools::find()?;
        if !is_root() {
            return skip("another machine can be booted by root alone");
        }
        // A mirror of Debian that cannot be reached is no fault of the program.
        let Ok(debian) = named("PILOTHOUSE_TEST_DEBIAN") else {
            return skip("the minimal Debian could not be built");
        };
        or_skip(found("systemd-nspawn"))?;
        let folder = tempfile::Builder::new().prefix("machine-").tempdir().unwrap();
        let machine = Self { tools, folder, running: None };
        let copied = command("cp").arg("-a").arg(debian).arg(machine.root()).status().unwrap();
        assert!(copied.success(), "the files could not be copied");
        assert!(!machine.root().join("etc/ssl/certs").exists(), "it has certificates");
        machine.install(&machine.tools.cli, "pilothouse");
        Some(machine)
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Puts a program into its place, as a package manager does: another file under the same name.
    pub fn install(&self, program: &Path, name: &str) {
        let place = self.root().join("usr/local/bin").join(name);
        let fresh = place.with_extension("new");
        program::place(program, &fresh).unwrap();
        std::fs::rename(&fresh, &place).unwrap();
    }

    pub async fn boot(&mut self) {
        remove_control_groups();
        let mut nspawn = command("systemd-nspawn");
        nspawn.arg("--directory").arg(self.root());
        nspawn.args(["--boot", "--private-network", "--register=no", "--keep-unit", "--console=pipe"]);
        nspawn.arg(format!("--machine=pilothouse-{}", std::process::id()));
        let log = std::fs::File::create(self.folder.path().join("console")).unwrap();
        nspawn.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.running = Some(Group::spawn(&mut nspawn));
        until("the end of the boot", LIMIT, || async {
            self.leader()?;
            let state = self.run("systemctl", &["is-system-running"]);
            matches!(state.stdout.trim(), "running" | "degraded").then_some(())
        })
        .await;
    }

    /// Its first process, as this machine sees it.
    fn leader(&self) -> Option<i32> {
        let pid = self.running.as_ref()?.pid();
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
        let mut children =
            threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
        children.find_map(|list| list.split_whitespace().next()?.parse().ok())
    }

    /// Switches it off as a person does.
    pub async fn halt(&mut self) {
        self.run("systemctl", &["poweroff", "--no-block"]);
        let running = self.running.as_mut().unwrap();
        let deadline = tokio::time::Instant::now() + LIMIT;
        while running.ended().is_none() {
            assert!(tokio::time::Instant::now() < deadline, "it does not switch off");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.running = None;
    }

    /// Switches it off, and sees to it that nothing of it is left here.
    pub async fn end(mut self) {
        self.halt().await;
        remove_control_groups();
        assert_eq!(self.left(), Vec::<i32>::new(), "processes of the machine");
    }

    /// Processes whose files are the machine's.
    fn left(&self) -> Vec<i32> {
        let root = self.root();
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| std::fs::read_link(format!("/proc/{pid}/root")).is_ok_and(|at| at == root))
            .collect()
    }

    /// Runs a program there, as root.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Answer {
        answer(self.inside().arg(program).args(arguments))
    }

    /// Runs a program there as the user, in a session that knows its manager.
    pub fn as_user(&self, program: &str, arguments: &[&str]) -> Answer {
        let runtime = format!("XDG_RUNTIME_DIR=/run/user/{USER_ID}");
        self.as_user_with(&[&runtime], program, arguments)
    }

    pub fn as_user_with(&self, variables: &[&str], program: &str, arguments: &[&str]) -> Answer {
        let mut command = self.inside();
        command.args(["runuser", "-u", USER, "--", "env"]).arg(format!("HOME=/home/{USER}")).args(variables);
        answer(command.arg(program).args(arguments))
    }

    /// The program's command line there, with JSON.
    pub fn pilothouse(&self, arguments: &[&str]) -> Answer {
        self.as_user("pilothouse", &[arguments, &["--json"]].concat())
    }

    /// Waits until the status there has what is looked for.
    pub async fn until<T>(&self, what: &str, found: impl Fn(&serde_json::Value) -> Option<T>) -> T {
        until(what, LIMIT, || async {
            let status = self.pilothouse(&["status"]);
            (status.code == Some(0)).then(|| found(&status.json)).flatten()
        })
        .await
    }

    /// A user of its own, whose manager runs without a login.
    pub async fn add_user(&self) {
        let made = self.run("useradd", &["--create-home", "--shell", "/bin/bash", USER]);
        assert_eq!(made.code, Some(0), "{made:?}");
        assert_eq!(self.run("loginctl", &["enable-linger", USER]).code, Some(0));
        self.until_user_manager().await;
    }

    pub async fn until_user_manager(&self) {
        until("the user's manager", LIMIT, || async {
            let state = self.as_user("systemctl", &["--user", "is-system-running"]);
            matches!(state.stdout.trim(), "running" | "degraded").then_some(())
        })
        .await;
    }

    fn inside(&self) -> Command {
        let leader = self.leader().unwrap_or_default().to_string();
        let mut command = command("nsenter");
        command.args(["--target", &leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"]);
        command.args(["env", "--ignore-environment"]).arg(format!("PATH={PATH}"));
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let console = std::fs::read_to_string(self.folder.path().join("console")).unwrap_or_default();
            let lines: Vec<&str> = console.lines().collect();
            println!("the console ends with:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
            let journal = self.run("journalctl", &["--no-pager", "--lines=60"]);
            println!("the journal ends with:\n{}", journal.stdout);
        }
        // With its first process all others of the machine end.
        let leader = self.leader();
        if let Some(running) = &mut self.running {
            leader.into_iter().for_each(|leader| signal(leader, libc::SIGKILL));
            running.stop();
        }
    }
}

/// Takes away the empty groups that a machine leaves behind. In one hierarchy alone they would hinder the next one.
fn remove_control_groups() {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    for (hierarchy, prefix) in [("", "0::/"), ("unified", "0::/"), ("systemd", "name=systemd:/")] {
        let place =
            own.lines().find_map(|line| line.split_once(prefix).map(|(_, place)| place)).unwrap_or_default();
        let folder = Path::new("/sys/fs/cgroup").join(hierarchy).join(place);
        for name in ["payload", "supervisor"] {
            remove_empty(&folder.join(name));
        }
    }
}

/// Only what holds no process can be removed.
fn remove_empty(group: &Path) {
    let below = std::fs::read_dir(group).into_iter().flatten().flatten();
    below.filter(|entry| entry.path().is_dir()).for_each(|entry| remove_empty(&entry.path()));
    let _ = std::fs::remove_dir(group);
}

fn answer(command: &mut Command) -> Answer {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Answer {
        code: output.status.code(),
        json: serde_json::from_slice(&output.stdout).unwrap_or_default(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// A unit of the system.
pub fn write_unit(machine: &Machine, name: impl AsRef<OsStr>, text: &str) {
    let file = machine.root().join("etc/systemd/system").join(name.as_ref());
    std::fs::write(file, text).unwrap();
    assert_eq!(machine.run("systemctl", &["daemon-reload"]).code, Some(0));
}
