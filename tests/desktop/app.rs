//! The built tray app on a desktop of its own, with the real embedded server and a real Ollama.

use crate::{desktop::Desktop, tools::Tools};
use pilothouse_tests::sandbox::{Group, Sandbox, command};
use serde_json::Value;
use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{ChildStdout, Command, Stdio},
};

/// Starts the app.
pub fn start(desktop: &Desktop, sandbox: &Sandbox, tools: &Tools) -> Group {
    start_by(desktop, sandbox, desktop.command(&tools.tray))
}

/// As [`start`], by a program that will start the app with its own environment.
pub fn start_by(desktop: &Desktop, sandbox: &Sandbox, mut starter: Command) -> Group {
    let log = File::create(desktop.artefact("pilothouse-tray.log")).unwrap();
    sandbox.surround(&mut starter);
    Group::spawn(starter.stdout(log.try_clone().unwrap()).stderr(log))
}

/// The official Python client of OpenAI, which knows nothing but the gateway's address.
pub struct PythonClient {
    group: Group,
    answers: BufReader<ChildStdout>,
}

impl PythonClient {
    pub fn start(tools: &Tools, gateway_port: u16) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("desktop/stream.py");
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
