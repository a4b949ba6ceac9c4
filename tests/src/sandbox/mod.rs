//! A Pilothouse of its own for one test: folders, free ports, settings, and the processes that come of it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot be set up has failed"
)]

mod group;
mod tools;

pub use group::{Group, command, limit_descriptors, marked, parent, signal};
pub use tools::{GGUF, Tools, built, found, free_port, is_root, named, or_skip, skip, until};

use serde_json::Value;
use std::{
    ffi::{OsStr, OsString},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};
use tokio::time::Instant;

/// For whatever a first load on a slow machine takes part in.
pub const LIMIT: Duration = Duration::from_secs(120);
/// Not one of Pilothouse's own variables: those are not handed on to servers.
const MARK: &str = "TEST_SANDBOX";
/// The name in Ollama of the embedded model.
pub const OLLAMA_MODEL: &str = "smollm2:135m";
/// The embedded model in llama-server.
pub const EMBEDDED_MODEL: &str = "SmolLM2-135M-Instruct.Q4_1";

/// Folders, ports and settings of one Pilothouse. All processes that were started in it are killed when it is dropped.
pub struct Sandbox {
    pub gateway_port: u16,
    pub ollama_port: u16,
    pub cli: PathBuf,
    pub embedded: PathBuf,
    home: PathBuf,
    /// Further variables of everything that is started here.
    variables: Vec<(String, OsString)>,
    is_at_home: bool,
    folder: tempfile::TempDir,
}

/// What a command of the command line gave.
#[derive(Debug)]
pub struct Answer {
    /// The exit code; `None`: ended by a signal.
    pub code: Option<i32>,
    /// The JSON on stdout; null when it is not one document.
    pub json: Value,
    pub stdout: String,
    pub stderr: String,
}

impl Sandbox {
    /// A sandbox with real servers. `settings` is put behind the usual ones.
    pub fn new(tools: &Tools, settings: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("sandbox-").tempdir().unwrap();
        let home = folder.path().join("pilothouse");
        let (gateway_port, ollama_port) = (free_port(), free_port());
        // A real LM Studio of this machine is left alone.
        let no_lmstudio = match settings.contains("[servers.lmstudio]") {
            true => "",
            false => "[servers.lmstudio]\nenabled = false\n\n",
        };
        let text = format!(
            "[gateway]\nport = {gateway_port}\nwait_s = 20\n\n[servers.ollama]\nprogram = {:?}\n\
             address = \"http://127.0.0.1:{ollama_port}\"\nmodels_dir = {:?}\n\n{no_lmstudio}{settings}",
            tools.ollama.display().to_string(),
            folder.path().join("ollama-models").display().to_string(),
        );
        for name in ["pilothouse/config", "pilothouse/data/models", "home", "tmp"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        fs::write(home.join("config/settings.toml"), text).unwrap();
        let (cli, embedded) = (tools.cli.clone(), tools.embedded.clone());
        let (variables, is_at_home) = (Vec::new(), false);
        Self { gateway_port, ollama_port, cli, embedded, home, variables, is_at_home, folder }
    }

    /// `PILOTHOUSE_HOME`.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Sets a variable for everything that is started from now on.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.variables.push((name.into(), value.into()));
    }

    /// From now on Pilothouse lives in the home of a person, as usual, and not in a portable one. The folders are the same.
    pub fn move_home(&mut self) {
        for (variable, own, below) in [
            ("XDG_CONFIG_HOME", "config", "pilothouse"),
            ("XDG_DATA_HOME", "data", "pilothouse"),
            ("XDG_CACHE_HOME", "cache", "pilothouse"),
            ("XDG_STATE_HOME", "logs", "pilothouse/logs"),
            ("XDG_RUNTIME_DIR", "run", "pilothouse"),
        ] {
            let (folder, target) = (self.folder.path().join("xdg").join(own), self.home.join(own));
            let link = folder.join(below);
            fs::create_dir_all(&target).unwrap();
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(&target, &link).unwrap();
            fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
            self.set(variable, folder);
        }
        self.is_at_home = true;
    }

    /// A folder for what else the test needs; gone at its end.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn settings_file(&self) -> PathBuf {
        self.home.join("config/settings.toml")
    }

    pub fn database(&self) -> PathBuf {
        self.home.join("data/history.sqlite3")
    }

    /// Gives a command the surroundings of the sandbox.
    pub fn surround(&self, command: &mut Command) {
        command
            .env("PILOTHOUSE_HOME", &self.home)
            .env("PILOTHOUSE_EMBEDDED", &self.embedded)
            .env("HOME", self.folder.path().join("home"))
            .env("TMPDIR", self.folder.path().join("tmp"))
            // A real Docker of this machine is left alone.
            .env("DOCKER_HOST", format!("unix://{}", self.folder.path().join("no-docker.sock").display()))
            .env(MARK, self.folder.path())
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        if self.is_at_home {
            command.env_remove("PILOTHOUSE_HOME");
        }
    }

    /// Starts `pilothouse serve` and waits until it answers.
    pub async fn serve(&self) -> Group {
        self.serve_with(&[]).await
    }

    /// As `serve`, with further variables.
    pub async fn serve_with(&self, variables: &[(&str, &OsStr)]) -> Group {
        let mut command = command(&self.cli);
        self.surround(&mut command);
        command.envs(variables.iter().copied());
        command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null());
        let mut engine = Group::spawn(&mut command);
        self.until(&mut engine, "an answer", |_| Some(())).await;
        engine
    }

    /// Runs a command of the command line to its end.
    pub fn run(&self, arguments: &[&str]) -> Answer {
        self.run_with(arguments, "")
    }

    /// As `run`, with something on stdin.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Answer {
        let mut command = command(&self.cli);
        self.surround(&mut command);
        command
            .args(arguments)
            .arg("--json")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Answer {
            code: output.status.code(),
            json,
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Starts a command of the command line without waiting for it.
    pub fn begin(&self, arguments: &[&str]) -> Group {
        let mut command = command(&self.cli);
        self.surround(&mut command);
        command
            .args(arguments)
            .arg("--json")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Group::spawn(&mut command)
    }

    /// The JSON of a command that does its work; otherwise nothing.
    pub fn ask(&self, arguments: &[&str]) -> Option<Value> {
        let answer = self.run(arguments);
        (answer.code == Some(0)).then_some(answer.json)
    }

    /// Waits until the status of a running engine has what is looked for.
    pub async fn until<T>(&self, engine: &mut Group, what: &str, found: impl Fn(&Value) -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        loop {
            let status = self.ask(&["status"]);
            if let Some(answer) = status.as_ref().and_then(&found) {
                return answer;
            }
            assert!(engine.ended().is_none(), "the engine ended while waited for: {what}");
            assert!(Instant::now() < deadline, "waited in vain for {what}; the status is {status:#?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until a server is ready; gives its pid.
    pub async fn until_ready(&self, engine: &mut Group, id: &str) -> Option<i32> {
        self.until(engine, &format!("{id} to be ready"), |status| {
            let server = server(status, id)?;
            (server["state"] == "ready").then(|| pid(server))
        })
        .await
    }

    /// Waits until a server holds the active model and no switch is under way.
    pub async fn until_active(&self, engine: &mut Group, id: &str) {
        self.until(engine, &format!("{id} to be active"), |status| {
            (status["active"]["server"] == id && status["switching"].is_null()).then_some(())
        })
        .await;
    }

    /// Gives Ollama the embedded model's file, and waits until the program lists it.
    pub async fn add_ollama_model(&self, engine: &mut Group) {
        self.until_ready(engine, "ollama").await;
        create_in_ollama(self.ollama_port, &self.embedded.join(GGUF));
        self.until_listed(OLLAMA_MODEL).await;
    }

    /// Waits until a model is in the list.
    pub async fn until_listed(&self, model: &str) {
        until(&format!("{model} in the list"), LIMIT, || async {
            let models = self.ask(&["models"])?;
            models["models"].as_array()?.iter().any(|one| one["name"] == model).then_some(())
        })
        .await;
    }

    /// Makes a model active by the command line.
    pub fn switch(&self, model: &str, server: &str) -> Answer {
        self.run(&["switch", model, "--server", server])
    }

    /// Everything that was started in this sandbox and still runs.
    pub fn running(&self) -> Vec<(i32, String)> {
        marked(MARK, &self.folder.path().display().to_string())
    }

    /// Waits for the end of the engine, and a moment for what it leaves behind to be gone as well; then nothing of it
    /// may be left: no process, no port, no file of a running engine, no temporary file.
    pub async fn assert_clean_end(&self, engine: &mut Group) -> ExitStatus {
        let limit = Duration::from_secs(20);
        let deadline = Instant::now() + limit;
        while engine.ended().is_none() || !self.running().is_empty() {
            assert!(Instant::now() < deadline, "still there after {limit:?}: {:?}", self.running());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for port in [self.gateway_port, self.ollama_port] {
            let bound = std::net::TcpListener::bind(("127.0.0.1", port));
            assert!(bound.is_ok(), "port {port} is held: {bound:?}");
        }
        assert_eq!(names_in(&self.home.join("run")), Vec::<String>::new(), "files of a running engine");
        assert_eq!(names_in(&self.folder.path().join("tmp")), Vec::<String>::new(), "temporary files");
        engine.ended().unwrap()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.home.join("logs/pilothouse.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            println!("the engine's log ends with:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
            // What its servers said of it: a load that failed has its reason there.
            for file in fs::read_dir(self.home.join("logs/servers")).into_iter().flatten().flatten() {
                let log = fs::read_to_string(file.path()).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let end = lines[lines.len().saturating_sub(15)..].join("\n");
                println!("{} ends with:\n{end}", file.file_name().display());
            }
        }
        for (pid, _) in self.running() {
            signal(pid, libc::SIGKILL);
        }
    }
}

/// Makes an Ollama model from a GGUF file.
pub fn create_in_ollama(port: u16, gguf: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/ollama-model.sh");
    let status =
        command(script).arg(format!("http://127.0.0.1:{port}")).arg(OLLAMA_MODEL).arg(gguf).status().unwrap();
    assert!(status.success(), "Ollama did not take the model");
}

/// A server in a status.
pub fn server<'a>(status: &'a Value, id: &str) -> Option<&'a Value> {
    status["servers"].as_array()?.iter().find(|server| server["id"] == id)
}

/// The process of a server in a status.
pub fn pid(server: &Value) -> Option<i32> {
    server["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok())
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    entries.into_iter().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}
