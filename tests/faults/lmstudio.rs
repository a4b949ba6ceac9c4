//! LM Studio, simulated: it cannot be installed by a test run.

use crate::{
    answers::ask,
    scene::{LIMIT, NO_LLAMA, reason, until_state},
};
use pilothouse_tests::{
    sandbox::{EMBEDDED_MODEL, Group, Sandbox, Tools, free_port, until},
    sims::lmstudio::{FailLoad, Faults, LmStudioSim, Options, Profile, TOKEN},
};

const MODEL: &str = "simulated/alpha-2b";

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
            let server = pilothouse_tests::sandbox::server(status, "lmstudio")?;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_switched_off_in_the_app_is_gone_and_found_again_simulated() {
    let Some(mut scene) = Scene::start(|options| options, NO_LLAMA).await else { return };
    until_state(&scene.sandbox, &mut scene.engine, "lmstudio", "ready").await;
    let port = scene.theirs.public_port;
    scene.theirs.stop().await;
    let shown = scene
        .sandbox
        .until(&mut scene.engine, "it to be gone", |status| {
            let server = pilothouse_tests::sandbox::server(status, "lmstudio")?;
            (server["state"] != "ready" && server["ownership"].is_null()).then(|| server.clone())
        })
        .await;
    assert!(["stopped", "not_installed"].contains(&shown["state"].as_str().unwrap()), "{shown}");
    let folder = tempfile::tempdir().unwrap();
    let again = LmStudioSim::start(Options { port: port.unwrap_or_default(), ..Options::new(folder.path()) })
        .await
        .unwrap();
    until_state(&scene.sandbox, &mut scene.engine, "lmstudio", "ready").await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_runs_with_its_server_off_is_told_apart_simulated() {
    let off = |options: Options| Options { server_off: true, port: free_port(), ..options };
    let Some(mut scene) = Scene::start(off, NO_LLAMA).await else { return };
    let shown = scene
        .sandbox
        .until(&mut scene.engine, "the program behind it", |status| {
            let server = pilothouse_tests::sandbox::server(status, "lmstudio")?;
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
