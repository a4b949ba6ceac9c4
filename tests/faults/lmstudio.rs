//! LM Studio, simulated: it cannot be installed by a test run.

use crate::{
    answers::ask,
    scene::{LIMIT, NO_LLAMA, reason, until_state},
};
use pilothouse_tests::{
    sandbox::{EMBEDDED_MODEL, Group, Sandbox, Tools, free_port, server, signal, until},
    sims::lmstudio::{FailLoad, Faults, LmStudioSim, LmsQuirks, Options, Profile, TOKEN, home, lms},
};
use serde_json::Value;
use std::{path::Path, time::Duration};

const MODEL: &str = "simulated/alpha-2b";
/// Longer than the time between two looks at a server that does not run.
const LOOKED_AGAIN: Duration = Duration::from_secs(6);

struct Scene {
    sandbox: Sandbox,
    engine: Group,
    theirs: LmStudioSim,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn start(options: impl FnOnce(Options) -> Options, more: &str) -> Option<Self> {
        let tools = Tools::find()?;
        let folder = tempfile::tempdir().unwrap();
        let quick = Options { load_seconds: 0.1, ttft_ms: 5, ..Options::new(folder.path()) };
        let theirs = LmStudioSim::start(options(quick)).await.unwrap();
        let settings = format!(
            "{more}[servers.lmstudio]\naddress = {:?}\nhome = {:?}\n",
            theirs.base_url().unwrap_or_else(|| "http://127.0.0.1:1".into()),
            folder.path().display().to_string()
        );
        let sandbox = Sandbox::new(&tools, &settings);
        let engine = sandbox.serve().await;
        Some(Self { sandbox, engine, theirs, _folder: folder })
    }

    async fn switch_fails(&mut self, fault: FailLoad, words: &str) {
        self.theirs.set_faults(Faults { fail_load: Some(fault), ..Faults::default() });
        self.sandbox.until_active(&mut self.engine, "llama-server").await;
        self.sandbox.until_listed(MODEL).await;
        let failed = self.sandbox.switch(MODEL, "lmstudio");
        assert!(matches!(failed.code, Some(1 | 5)), "{failed:?}");
        let said = format!("{}{}", failed.stdout, failed.stderr);
        assert!(said.contains(words), "{words:?} in {said}");
        self.sandbox.until_active(&mut self.engine, "llama-server").await;
        assert_eq!(self.sandbox.ask(&["status"]).unwrap()["active"]["model"], EMBEDDED_MODEL);
    }
}

/// The program behind the server, once it is known.
pub(crate) async fn backend(sandbox: &Sandbox, engine: &mut Group) -> Value {
    sandbox
        .until(engine, "the program behind it", |status| {
            let backend = &server(status, "lmstudio")?["backend"];
            backend["pid"].is_u64().then(|| backend.clone())
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_the_guardrail_is_put_back_with_its_reason_simulated() {
    let Some(mut scene) = Scene::start(|options| options, "").await else { return };
    scene.switch_fails(FailLoad::Guardrail, "resources").await;
    scene.theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_under_http_200_is_a_refusal_simulated() {
    let Some(mut scene) = Scene::start(|options| options, "").await else { return };
    scene.switch_fails(FailLoad::Guardrail200, "resources").await;
    scene.theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_dies_while_it_loads_is_put_back_simulated() {
    let Some(mut scene) = Scene::start(|options| options, "").await else { return };
    scene.switch_fails(FailLoad::Sigabrt, "").await;
    scene.theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_token_is_said_and_not_taken_for_silence_simulated() {
    let only = |options: Options| Options { profile: Profile::Auth, ..options };
    let Some(mut scene) = Scene::start(only, NO_LLAMA).await else { return };
    let shown = scene
        .sandbox
        .until(&mut scene.engine, "LM Studio to be seen", |status| {
            let server = server(status, "lmstudio")?;
            (server["state"] == "ready" || server["state"] == "degraded").then(|| server.clone())
        })
        .await;
    assert_eq!(shown["ownership"], "adopted", "{shown} {}", reason(&shown));
    let failed = scene.sandbox.switch(MODEL, "lmstudio");
    assert!(matches!(failed.code, Some(1 | 4 | 5)), "{failed:?}");
    let troubled = until_state(&scene.sandbox, &mut scene.engine, "lmstudio", "degraded").await;
    assert!(reason(&troubled).contains("wants a key"), "{troubled:#}");
    scene.sandbox.run_with(&["keys", "set", "lmstudio"], TOKEN);
    until_state(&scene.sandbox, &mut scene.engine, "lmstudio", "ready").await;
    scene.sandbox.until_listed(MODEL).await;
    assert_eq!(scene.sandbox.switch(MODEL, "lmstudio").code, Some(0), "with its token it is used");
    scene.theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_another_program_has_loaded_are_ended_by_one_command_simulated() {
    let Some(scene) = Scene::start(|options| options, NO_LLAMA).await else { return };
    let sandbox = &scene.sandbox;
    sandbox.until_listed(MODEL).await;
    assert_eq!(sandbox.switch(MODEL, "lmstudio").code, Some(0));
    let none = sandbox.run(&["unload", MODEL, "--copies"]);
    assert_eq!(none.code, Some(4), "the only one is no copy: {none:?}");
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let load = format!("{}/api/v1/models/load", scene.theirs.base_url().unwrap());
    for _ in 0..2 {
        let loaded = http.post(&load).json(&serde_json::json!({ "model": MODEL })).send().await.unwrap();
        assert!(loaded.status().is_success(), "{loaded:?}");
    }
    let list = format!("{}/api/v1/models", scene.theirs.base_url().unwrap());
    let there = async || -> Vec<String> {
        let models: Value = http.get(&list).send().await.unwrap().json().await.unwrap();
        let models = models["models"].as_array().unwrap().iter();
        let loaded = models.flat_map(|model| model["loaded_instances"].as_array().into_iter().flatten());
        loaded.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(there().await.len(), 3, "twins");
    until("both copies to be known", LIMIT, || async {
        let dry = sandbox.ask(&["unload", MODEL, "--copies", "--dry-run"])?;
        (dry["unloaded"].as_array()?.len() == 2).then_some(())
    })
    .await;
    assert_eq!(there().await.len(), 3, "a dry run takes nothing");
    let ended = sandbox.run(&["unload", MODEL, "--copies"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(there().await, [MODEL], "the one that answers stays");
    assert_eq!(sandbox.ask(&["status"]).unwrap()["active"]["model"], MODEL);
    scene.engine.terminate();
    scene.theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unload_that_does_nothing_is_found_out_simulated() {
    let Some(mut scene) = Scene::start(|options| options, "").await else { return };
    scene.sandbox.until_active(&mut scene.engine, "llama-server").await;
    scene.sandbox.until_listed(MODEL).await;
    assert_eq!(scene.sandbox.switch(MODEL, "lmstudio").code, Some(0));
    scene.theirs.set_faults(Faults { unload_noop: true, ..Faults::default() });
    let back = scene.sandbox.switch(EMBEDDED_MODEL, "llama-server");
    assert_eq!(back.code, Some(0), "the switch itself is done: {back:?}");
    assert!(back.json["reason"].as_str().unwrap_or_default().contains("still in memory"), "{back:?}");
    scene.theirs.stop().await;
}

/// It is listed only when it is there, long after the switch was cancelled.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_lmstudio_goes_on_with_after_a_cancelled_switch_is_taken_out_simulated() {
    let slow = |options: Options| Options { load_seconds: 8.0, ..options };
    let Some(mut scene) = Scene::start(slow, "").await else { return };
    scene.sandbox.until_active(&mut scene.engine, "llama-server").await;
    scene.sandbox.until_listed(MODEL).await;
    let mut switching = scene.sandbox.begin(&["switch", MODEL, "--server", "lmstudio"]);
    scene
        .sandbox
        .until(&mut scene.engine, "the load", |status| {
            (status["switching"]["phase"] == "loading").then_some(())
        })
        .await;
    let held = || scene.theirs.look(|state| state.instances_of(MODEL).count());
    until("LM Studio to have begun", LIMIT, || async { (held() == 1).then_some(()) }).await;
    signal(switching.pid(), libc::SIGINT);
    until("the end of the switch", LIMIT, || std::future::ready(switching.ended())).await;
    assert_eq!(held(), 1, "LM Studio goes on");
    until("it to be taken out", LIMIT, || async { (held() == 0).then_some(()) }).await;
    let status = scene.sandbox.ask(&["status"]).unwrap();
    assert_eq!(status["active"]["model"], EMBEDDED_MODEL, "{status:#}");
    scene.theirs.stop().await;
}

/// The program goes on without its server: both are shown, each as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_switched_off_in_the_app_is_gone_and_found_again_simulated() {
    let at_home = |options: Options| Options { port: free_port(), ..options };
    let Some(mut scene) = Scene::start(at_home, NO_LLAMA).await else { return };
    until_state(&scene.sandbox, &mut scene.engine, "lmstudio", "ready").await;
    let program = backend(&scene.sandbox, &mut scene.engine).await;
    assert_eq!(program["pid"], std::process::id(), "the simulator runs in this process: {program:#}");
    let port = scene.theirs.stop_server().await.unwrap();
    let gone = until_state(&scene.sandbox, &mut scene.engine, "lmstudio", "stopped").await;
    assert!(reason(&gone).contains("somebody else"), "{gone:#}");
    assert!(gone["ownership"].is_null(), "{gone:#}");
    assert_eq!(gone["backend"], program, "the program runs: {gone:#}");
    tokio::time::sleep(LOOKED_AGAIN).await;
    let still = scene
        .sandbox
        .until(&mut scene.engine, "the program without its server", |status| {
            let server = server(status, "lmstudio")?;
            assert_eq!(server["state"], "stopped", "nobody switches it on: {server:#}");
            (server["backend"]["pid"] == program["pid"]).then(|| server.clone())
        })
        .await;
    assert_eq!(still["backend"], program, "{still:#}");
    assert_eq!(scene.theirs.start_server(port).await.unwrap(), port);
    let back = until_state(&scene.sandbox, &mut scene.engine, "lmstudio", "ready").await;
    assert_eq!((&back["ownership"], &back["reason"]), (&"adopted".into(), &Value::Null), "{back:#}");
    assert_eq!(backend(&scene.sandbox, &mut scene.engine).await, program);
    scene.theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_runs_with_its_server_off_is_told_apart_simulated() {
    let off = |options: Options| Options { server_off: true, port: free_port(), ..options };
    let Some(mut scene) = Scene::start(off, NO_LLAMA).await else { return };
    let shown = scene
        .sandbox
        .until(&mut scene.engine, "the program behind it", |status| {
            let server = server(status, "lmstudio")?;
            (!server["backend"].is_null()).then(|| server.clone())
        })
        .await;
    assert!(["stopped", "not_installed"].contains(&shown["state"].as_str().unwrap()), "{shown:#}");
    assert_eq!(shown["backend"]["version"], "0.4.25", "{shown:#}");
    assert_eq!(shown["backend"]["pid"], std::process::id(), "the simulator runs in this process: {shown:#}");
    scene.theirs.stop().await;
}

/// Its log holds what people ask; of a record only the line with the time is shown.
#[tokio::test(flavor = "multi_thread")]
async fn of_lmstudios_log_the_heads_are_shown_and_no_prompts_simulated() {
    let Some(mut scene) = Scene::start(|options| options, NO_LLAMA).await else { return };
    until_state(&scene.sandbox, &mut scene.engine, "lmstudio", "ready").await;
    scene.sandbox.until_listed(MODEL).await;
    assert_eq!(scene.sandbox.switch(MODEL, "lmstudio").code, Some(0));
    assert_eq!(ask(&scene.sandbox).await.status(), 200);
    until("the request in its log", LIMIT, || async {
        let log = scene.sandbox.run(&["logs", "lmstudio"]).stdout;
        log.contains("Received a request").then_some(())
    })
    .await;
    let log = scene.sandbox.run(&["logs", "lmstudio", "-n", "2000"]).stdout;
    assert!(log.contains("The server listens on port"), "what it wrote before we came: {log}");
    assert!(log.contains("server-logs"), "where the whole of it stands: {log}");
    assert!(!log.contains("max_tokens") && !log.contains("Hello"), "a prompt: {log}");
    scene.theirs.stop().await;
}

/// Keys, kinds, formats and events that nobody has heard of yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_later_lmstudio_with_unknown_keys_and_kinds_is_used_all_the_same_simulated() {
    let strange = |options| Options { faults: Faults { strange: true, ..Faults::default() }, ..options };
    let Some(mut scene) = Scene::start(strange, NO_LLAMA).await else { return };
    until_state(&scene.sandbox, &mut scene.engine, "lmstudio", "ready").await;
    scene.sandbox.until_listed(MODEL).await;
    assert_eq!(scene.sandbox.switch(MODEL, "lmstudio").code, Some(0));
    assert_eq!(ask(&scene.sandbox).await.status(), 200);
    let run = scene.sandbox.run(&["bench"]);
    assert_eq!(run.code, Some(0), "the native stream has an unknown event: {run:?}");
    let models = scene.sandbox.ask(&["models"]).unwrap();
    let unknown =
        models["models"].as_array().unwrap().iter().find(|one| one["title"] == "simulated/hologram");
    assert_eq!(unknown.expect("it is listed")["purpose"], "other", "{models:#}");
    let refused = scene.sandbox.switch("simulated/hologram", "lmstudio");
    assert_ne!(refused.code, Some(0), "no model to talk to: {refused:?}");
    until_state(&scene.sandbox, &mut scene.engine, "lmstudio", "ready").await;
    assert_eq!(scene.sandbox.ask(&["status"]).unwrap()["active"]["model"], MODEL);
    scene.theirs.stop().await;
}

/// The stream of the switch's proof breaks off before its first token.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_lmstudio_that_breaks_off_is_no_proof_simulated() {
    let Some(mut scene) = Scene::start(|options| options, "").await else { return };
    scene.sandbox.until_active(&mut scene.engine, "llama-server").await;
    scene.sandbox.until_listed(MODEL).await;
    scene.theirs.set_faults(Faults { cut_stream_after: Some(0), ..Faults::default() });
    let failed = scene.sandbox.switch(MODEL, "lmstudio");
    assert!(matches!(failed.code, Some(1 | 5)), "{failed:?}");
    scene.sandbox.until_active(&mut scene.engine, "llama-server").await;
    assert_eq!(scene.sandbox.ask(&["status"]).unwrap()["active"]["model"], EMBEDDED_MODEL);
    scene.theirs.set_faults(Faults::default());
    assert_eq!(scene.sandbox.switch(MODEL, "lmstudio").code, Some(0), "and it can be tried again");
    scene.theirs.stop().await;
}

/// The file that names its internal port is of a life that ended badly; then the program comes back on another port.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_names_a_dead_port_is_no_program_and_a_new_port_is_found_simulated() {
    let off = |options: Options| Options { server_off: true, port: free_port(), ..options };
    let Some(mut scene) = Scene::start(off, NO_LLAMA).await else { return };
    let seen = |status: &Value| Some(server(status, "lmstudio")?["backend"]["version"].clone());
    let with = |version: &'static str| move |status: &Value| seen(status).filter(|v| v == version);
    scene.sandbox.until(&mut scene.engine, "the program", with("0.4.25")).await;
    let folder = scene.theirs.home.clone();
    let old = std::fs::read_to_string(home::internal_server_file(&folder)).unwrap();
    scene.theirs.stop().await;
    // A crash leaves the file behind.
    std::fs::write(home::internal_server_file(&folder), &old).unwrap();
    let gone = |status: &Value| seen(status).filter(Value::is_null);
    scene.sandbox.until(&mut scene.engine, "the program to be gone", gone).await;
    let options = Options { version: Some("0.4.26".into()), server_off: true, ..Options::new(&folder) };
    let again = LmStudioSim::start(options).await.unwrap();
    let new = std::fs::read_to_string(home::internal_server_file(&folder)).unwrap();
    assert_ne!(old, new, "it has another port");
    scene.sandbox.until(&mut scene.engine, "the program at its new port", with("0.4.26")).await;
    again.stop().await;
}

/// How many commands of LM Studio were ended because their work was done, by Pilothouse's own log.
fn cut_short(sandbox: &Sandbox) -> usize {
    let log = std::fs::read_to_string(sandbox.home().join("logs/pilothouse.log")).unwrap();
    log.matches("it answers; its command was ended").count()
}

/// `lms server start` writes a line of advertising, raises a false alarm, or never ends; its server runs all the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_lms_that_lies_or_never_ends_starts_lmstudio_all_the_same_simulated() {
    let Some(tools) = Tools::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (fake, daemon) = (env!("CARGO_BIN_EXE_fake-lms"), env!("CARGO_BIN_EXE_sim-lmstudio"));
    let address = format!("http://127.0.0.1:{}", free_port());
    home::install(folder.path(), Path::new(fake), Path::new(daemon), &["--server-off"]).unwrap();
    let settings = format!(
        "{NO_LLAMA}[servers.lmstudio]\naddress = {address:?}\nhome = {:?}\n",
        folder.path().display().to_string()
    );
    let sandbox = Sandbox::new(&tools, &settings);
    let mut engine = sandbox.serve().await;
    let lies = [
        LmsQuirks { banner: true, false_alarm: true, lingers: false },
        LmsQuirks { banner: true, false_alarm: false, lingers: true },
    ];
    for quirks in lies {
        home::write_lms_quirks(folder.path(), quirks).unwrap();
        let before = cut_short(&sandbox);
        let started = sandbox.run(&["servers", "start", "lmstudio"]);
        assert_eq!(started.code, Some(0), "{quirks:?}: {started:?}");
        // A command that goes on is ended as soon as its server answers, and nobody waits for its bound.
        assert!(cut_short(&sandbox) > before || !quirks.lingers, "it was waited for: {started:?}");
        until_state(&sandbox, &mut engine, "lmstudio", "ready").await;
        // It stops in the same way, though its command goes on.
        home::write_lms_quirks(folder.path(), LmsQuirks { lingers: false, ..quirks }).unwrap();
        let stopped = sandbox.run(&["servers", "stop", "lmstudio"]);
        assert_eq!(stopped.code, Some(0), "{quirks:?}: {stopped:?}");
        until_state(&sandbox, &mut engine, "lmstudio", "stopped").await;
    }
    home::write_lms_quirks(folder.path(), LmsQuirks::default()).unwrap();
    let program = folder.path().join("bin/lms").display().to_string();
    assert_eq!(lms::run([program, "daemon".into(), "down".into()]).await, 0);
    until("the end of the simulator", LIMIT, || async {
        (!home::internal_server_file(folder.path()).exists()).then_some(())
    })
    .await;
}

/// A record of its log can be as long as a prompt with a book in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_huge_line_in_lmstudios_log_is_cut_short_simulated() {
    let Some(mut scene) = Scene::start(|options| options, NO_LLAMA).await else { return };
    until_state(&scene.sandbox, &mut scene.engine, "lmstudio", "ready").await;
    home::log(&scene.theirs.home, &format!("A record of a megabyte: {}", "x".repeat(1 << 20)));
    home::log(&scene.theirs.home, "The record after it");
    let log = until("the record after it", LIMIT, || async {
        let log = scene.sandbox.run(&["logs", "lmstudio", "-n", "2000"]).stdout;
        log.contains("The record after it").then_some(log)
    })
    .await;
    let longest = log.lines().map(str::len).max().unwrap_or_default();
    assert!(log.contains("A record of a megabyte"), "its head is shown");
    assert!(longest < 32 << 10, "{longest} bytes in a line");
    scene.theirs.stop().await;
}
