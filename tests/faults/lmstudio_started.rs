//! LM Studio, simulated, where it is installed and does not run: what Pilothouse starts.

use crate::{
    lmstudio::backend,
    scene::{NO_LLAMA, until_state, without_ollama},
};
use pilothouse_tests::{
    sandbox::{Sandbox, Tools, free_port},
    sims::lmstudio::{home, lms},
};
use serde_json::{Value, json};
use std::{
    net::TcpStream,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// A Pilothouse beside an LM Studio that is installed and does not run. What runs at the end goes with the sandbox.
struct Installed {
    sandbox: Sandbox,
    folder: tempfile::TempDir,
    port: u16,
}

impl Installed {
    /// With `lms`, and without a program that it could start. `more`: further settings of LM Studio.
    fn new(more: &str) -> Option<Self> {
        let tools = Tools::find().map(without_ollama)?;
        let folder = tempfile::tempdir().unwrap();
        let (fake, program) = (env!("CARGO_BIN_EXE_fake-lms"), env!("CARGO_BIN_EXE_sim-lmstudio"));
        home::install(folder.path(), Path::new(fake), Path::new(program), &[]).unwrap();
        std::fs::remove_file(home::llmster_location_file(folder.path())).unwrap();
        let port = free_port();
        let settings = format!(
            "{NO_LLAMA}[servers.lmstudio]\naddress = \"http://127.0.0.1:{port}\"\nhome = {:?}\n{more}",
            folder.path().display().to_string()
        );
        Some(Self { sandbox: Sandbox::new(&tools, &settings), folder, port })
    }

    /// Adds the desktop app.
    fn add_app(&self, version: &str) {
        self.add("lm-studio", version, home::app_location_file);
    }

    /// Adds the program without a window.
    fn add_llmster(&self, version: &str) {
        self.add("llmster", version, home::llmster_location_file);
    }

    /// `name`: that of its process. `location`: where `lms` looks for it.
    fn add(&self, name: &str, version: &str, location: fn(&Path) -> PathBuf) {
        let folder = self.folder.path().display().to_string();
        let program = self.folder.path().join(name);
        symlink(env!("CARGO_BIN_EXE_sim-lmstudio"), &program).unwrap();
        let argv = ["--home", folder.as_str(), "--version", version, "--server-off"];
        let place = json!({ "path": program, "argv": argv, "cwd": folder });
        std::fs::write(location(self.folder.path()), place.to_string()).unwrap();
    }

    /// Those of its programs that run.
    fn running(&self) -> Vec<(i32, String)> {
        let all = self.sandbox.running().into_iter();
        all.filter(|(_, name)| ["lm-studio", "llmster"].contains(&name.as_str())).collect()
    }

    /// Somebody else runs `lms`.
    async fn lms(&self, arguments: &[&str]) -> u8 {
        let program = self.folder.path().join("bin/lms").display().to_string();
        lms::run(std::iter::once(program).chain(arguments.iter().map(ToString::to_string))).await
    }

    fn is_on(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.port)).is_ok()
    }
}

/// Whether the app was started without its window.
fn is_service(backend: &Value) -> bool {
    let line = std::fs::read(format!("/proc/{}/cmdline", backend["pid"])).unwrap();
    String::from_utf8_lossy(&line).split('\0').any(|word| word == "--run-as-service")
}

/// Without llmster, `lms` runs the app as a service.
#[tokio::test(flavor = "multi_thread")]
async fn an_lmstudio_that_is_only_an_app_is_started_as_a_service_simulated() {
    let Some(installed) = Installed::new("") else { return };
    installed.add_app("0.4.20");
    let sandbox = &installed.sandbox;
    let mut engine = sandbox.serve().await;
    let off = until_state(sandbox, &mut engine, "lmstudio", "stopped").await;
    assert!(off["backend"].is_null() && installed.running().is_empty(), "nobody wakes it up: {off:#}");
    let started = sandbox.run(&["servers", "start", "lmstudio"]);
    assert_eq!(started.code, Some(0), "{started:?}");
    let on = until_state(sandbox, &mut engine, "lmstudio", "ready").await;
    assert_eq!(on["ownership"], "adopted", "its service is never ours: {on:#}");
    let app = backend(sandbox, &mut engine).await;
    assert_eq!((&app["title"], &app["version"]), (&"LM Studio".into(), &"0.4.20".into()), "{app:#}");
    assert!(is_service(&app), "{app:#}");

    let stopped = sandbox.run(&["servers", "stop", "lmstudio"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    let off = until_state(sandbox, &mut engine, "lmstudio", "stopped").await;
    assert_eq!(off["backend"], app, "the app goes on: {off:#}");
    assert!(is_service(&app) && !installed.is_on(), "the app goes on: {off:#}");
}

/// `lms` takes llmster then, and what runs is used.
#[tokio::test(flavor = "multi_thread")]
async fn of_lmstudios_app_and_llmster_the_latter_is_started_and_only_once_simulated() {
    let Some(installed) = Installed::new("") else { return };
    installed.add_app("0.4.20");
    installed.add_llmster("0.4.21");
    let sandbox = &installed.sandbox;
    let mut engine = sandbox.serve().await;
    let mut programs = Vec::new();
    for _ in 0..2 {
        let started = sandbox.run(&["servers", "start", "lmstudio"]);
        assert_eq!(started.code, Some(0), "{started:?}");
        until_state(sandbox, &mut engine, "lmstudio", "ready").await;
        let llmster = backend(sandbox, &mut engine).await;
        assert_eq!(
            (&llmster["title"], &llmster["version"]),
            (&"llmster".into(), &"0.4.21".into()),
            "{llmster:#}"
        );
        assert!(!is_service(&llmster), "{llmster:#}");
        programs.push(installed.running());
        let stopped = sandbox.run(&["servers", "stop", "lmstudio"]);
        assert_eq!(stopped.code, Some(0), "{stopped:?}");
        until_state(sandbox, &mut engine, "lmstudio", "stopped").await;
    }
    assert_eq!(programs[0].len(), 1, "{programs:?}");
    assert_eq!(programs[0], programs[1], "the one that ran already was used");
}

/// As after a boot, when nobody is there to click: with nothing of it running, and with its server switched off.
#[tokio::test(flavor = "multi_thread")]
async fn an_lmstudio_that_starts_with_us_is_switched_on_when_it_is_off_simulated() {
    let Some(installed) = Installed::new("autostart = true\n") else { return };
    installed.add_llmster("0.4.21");
    let sandbox = &installed.sandbox;
    let mut engine = sandbox.serve().await;
    let on = until_state(sandbox, &mut engine, "lmstudio", "ready").await;
    assert_eq!(on["ownership"], "adopted", "{on:#}");
    let llmster = backend(sandbox, &mut engine).await;
    assert_eq!(llmster["title"], "llmster", "{llmster:#}");

    engine.stop();
    assert!(installed.is_on(), "it goes on without us");
    assert_eq!(installed.lms(&["server", "stop"]).await, 0);
    assert!(!installed.is_on(), "it was switched off");
    let mut again = sandbox.serve().await;
    let on = until_state(sandbox, &mut again, "lmstudio", "ready").await;
    assert_eq!(on["ownership"], "adopted", "{on:#}");
    assert_eq!(backend(sandbox, &mut again).await, llmster, "the program that ran already");
    assert_eq!(installed.running().len(), 1);
}
