//! The built tray app on a desktop of its own, with the real embedded server and a real Ollama.

use crate::{
    desktop::Desktop,
    group::{Group, command, marked},
    tools::{GGUF, Tools, free_port, until},
};
use serde_json::Value;
use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

/// A model's first load on a slow machine takes a while.
const LIMIT: Duration = Duration::from_secs(120);
const MARK: &str = "PILOTHOUSE_DESKTOP_TEST";
/// The name in Ollama of the embedded model.
pub const OLLAMA_MODEL: &str = "smollm2:135m";

/// The running app.
pub struct App {
    pub gateway_port: u16,
    pub ollama_port: u16,
    home: PathBuf,
    mark: String,
    group: Group,
    cli: PathBuf,
}

impl App {
    /// Writes the settings and starts the app.
    pub fn start(desktop: &Desktop, tools: &Tools) -> Self {
        Self::start_by(desktop, tools, desktop.command(&tools.tray))
    }

    /// As [`Self::start`], by a program that will start the app with its own environment.
    pub fn start_by(desktop: &Desktop, tools: &Tools, mut starter: Command) -> Self {
        let home =
            desktop.artefact("../..").join("homes").join(format!("{}-{}", std::process::id(), free_port()));
        let (gateway_port, ollama_port) = (free_port(), free_port());
        let settings = format!(
            "[gateway]\nport = {gateway_port}\n\n[servers.ollama]\nprogram = {:?}\naddress = \"http://127.0.0.1:{ollama_port}\"\nmodels_dir = {:?}\n\n[servers.lmstudio]\nenabled = false\n",
            tools.ollama.display().to_string(),
            home.join("ollama-models").display().to_string(),
        );
        std::fs::create_dir_all(home.join("config")).unwrap();
        std::fs::write(home.join("config/settings.toml"), settings).unwrap();
        let log = File::create(desktop.artefact("pilothouse-tray.log")).unwrap();
        let mark = home.display().to_string();
        starter
            .env("PILOTHOUSE_HOME", &home)
            .env("PILOTHOUSE_EMBEDDED", &tools.embedded)
            .env(MARK, &mark)
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let cli = tools.tray.with_file_name("pilothouse");
        Self { gateway_port, ollama_port, home, mark, group: Group::spawn(&mut starter), cli }
    }

    /// What a command of the command line answers, or `None` when it fails.
    pub fn ask(&self, arguments: &[&str]) -> Option<Value> {
        let output = command(&self.cli)
            .args(arguments)
            .arg("--json")
            .env("PILOTHOUSE_HOME", &self.home)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// Waits until the status has what is looked for.
    pub async fn until<T>(&mut self, what: &str, found: impl Fn(&Value) -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + LIMIT;
        loop {
            let status = self.ask(&["status"]);
            if let Some(answer) = status.as_ref().and_then(&found) {
                return answer;
            }
            assert!(self.group.ended().is_none(), "the app ended while waited for: {what}");
            assert!(
                tokio::time::Instant::now() < deadline,
                "waited in vain for {what}; the status is {status:#?}"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Gives Ollama the embedded model's file, and waits until the program lists it.
    pub async fn add_ollama_model(&mut self, tools: &Tools) {
        self.until("both servers", |status| {
            let ready = |id: &str| {
                let servers = status["servers"].as_array()?;
                servers.iter().any(|server| server["id"] == id && server["state"] == "ready").then_some(())
            };
            ready("llama-server").and(ready("ollama"))
        })
        .await;
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/ollama-model.sh");
        let status = command(script)
            .arg(format!("http://127.0.0.1:{}", self.ollama_port))
            .arg(OLLAMA_MODEL)
            .arg(tools.embedded.join(GGUF))
            .status()
            .unwrap();
        assert!(status.success(), "Ollama did not take the model");
        let this = &*self;
        until("the model in the list", LIMIT, || async {
            let models = this.ask(&["models"])?;
            models["models"].as_array()?.iter().any(|one| one["name"] == OLLAMA_MODEL).then_some(())
        })
        .await;
    }

    pub fn database(&self) -> PathBuf {
        self.home.join("data/history.sqlite3")
    }

    /// The person's files of this run.
    pub fn home(&self) -> &std::path::Path {
        &self.home
    }

    /// Waits for the end of the app; gives its exit status and everything that it left running. The window's own
    /// processes end a moment after it.
    pub async fn ended(&mut self) -> (std::process::ExitStatus, Vec<(i32, String)>) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        let status = loop {
            if let Some(status) = self.group.ended() {
                break status;
            }
            assert!(tokio::time::Instant::now() < deadline, "the app does not end");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let mut left = marked(MARK, &self.mark);
        while !left.is_empty() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
            left = marked(MARK, &self.mark);
        }
        (status, left)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.group.stop();
        for (pid, _) in marked(MARK, &self.mark) {
            crate::group::signal(pid, libc::SIGKILL);
        }
        drop(std::fs::remove_dir_all(&self.home));
    }
}

/// The official Python client of OpenAI, which knows nothing but the gateway's address.
pub struct PythonClient {
    group: Group,
    answers: BufReader<std::process::ChildStdout>,
}

impl PythonClient {
    pub fn start(tools: &Tools, gateway_port: u16) -> Self {
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("desktop/stream.py");
        let mut command = command(&tools.python);
        command
            .arg(script)
            .arg(format!("http://127.0.0.1:{gateway_port}/v1"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut group = Group::spawn(&mut command);
        let answers = BufReader::new(group.child().stdout.take().unwrap());
        Self { group, answers }
    }

    /// Streams one answer; tells the server, the model, the number of chunks and the text.
    pub fn ask(&mut self, question: &str) -> Value {
        let input = self.group.child().stdin.as_mut().unwrap();
        writeln!(input, "{question}").unwrap();
        input.flush().unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the client failed; its error stands above");
        serde_json::from_str(&line).unwrap()
    }
}
