//! What hangs or is held by others below Pilothouse: a driver, the history's file.

use crate::{
    answers::ask,
    scene::{LIMIT, NO_LLAMA, simulated, without_ollama},
};
use pilothouse_tests::{
    sandbox::{EMBEDDED_MODEL, Group, Sandbox, Tools, command, until},
    sims::ollama::MODEL,
};
use serde_json::Value;
use sqlx::{ConnectOptions, query, sqlite::SqliteConnectOptions};
use std::{ffi::OsStr, path::PathBuf};

/// NVIDIA's library as far as it is asked, with a call that never comes back.
const HANGS: &str = "#include <unistd.h>\n\
    int nvmlInit_v2(void) { return 0; }\n\
    int nvmlShutdown(void) { return 0; }\n\
    int nvmlDeviceGetCount_v2(unsigned *count) { for (;;) pause(); }\n";
/// And one that hangs when the process that has loaded it exits.
const HANGS_AT_THE_EXIT: &str =
    "__attribute__((destructor)) static void at_the_exit(void) { for (;;) pause(); }\n";

/// Builds such a library; gives its folder.
fn driver(sandbox: &Sandbox, source: &str) -> PathBuf {
    let folder = sandbox.home().join("driver");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("nvml.c");
    std::fs::write(&file, source).unwrap();
    let library = folder.join("libnvidia-ml.so.1");
    let built = command("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&file).status().unwrap();
    assert!(built.success(), "the library was not built");
    folder
}

async fn serve_with(sandbox: &Sandbox, source: &str) -> Group {
    let folder = driver(sandbox, source);
    sandbox.serve_with(&[("LD_LIBRARY_PATH", OsStr::new(&folder))]).await
}

fn trouble<'a>(status: &'a Value, code: &str) -> Option<&'a Value> {
    status["troubles"].as_array()?.iter().find(|trouble| trouble["code"] == code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_never_answers_costs_its_own_readings_alone() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&without_ollama(tools), NO_LLAMA);
    let mut engine = serve_with(&sandbox, HANGS).await;
    let told =
        sandbox.until(&mut engine, "the trouble", |status| trouble(status, "source_silent").cloned()).await;
    assert!(told["message"].as_str().unwrap().contains("NVIDIA driver does not answer"), "{told:#}");
    let first = sandbox.ask(&["gauges"]).unwrap();
    assert!(first["memory_used_bytes"].is_u64() && first["stale_s"].is_null(), "{first:#}");
    assert!(first["self"]["memory_bytes"].is_u64(), "{first:#}");
    let absent = first["gpus_absent"].as_str().unwrap();
    assert!(absent.contains("the NVIDIA driver has not answered for"), "{first:#}");
    until("a later sample", LIMIT, || async {
        (sandbox.ask(&["gauges"])?["at"] != first["at"]).then_some(())
    })
    .await;
    // On a machine that is too busy for a sample by the second it says that first.
    let doctor = until("the driver in the words of doctor", LIMIT, || async {
        let doctor = sandbox.run(&["doctor"]);
        let checks = doctor.json["checks"].as_array()?;
        let gauges = checks.iter().find(|check| check["name"] == "gauges")?;
        let told = gauges["result"] == "fail" && gauges["detail"].as_str()?.contains("NVIDIA");
        told.then_some(doctor)
    })
    .await;
    assert_eq!(doctor.code, Some(1), "{doctor:?}");
    let machine = sandbox.run(&["machine"]);
    assert_eq!(machine.code, Some(0), "the hardware is told without it: {machine:?}");
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
}

/// The engine is stopped and its files are gone; what a library does then is cut off.
#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_hangs_at_the_exit_is_cut_off() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&without_ollama(tools), NO_LLAMA);
    let mut engine = serve_with(&sandbox, &format!("{HANGS}{HANGS_AT_THE_EXIT}")).await;
    until("a sample", LIMIT, || async { sandbox.ask(&["gauges"]) }).await;
    engine.terminate();
    let status = sandbox.assert_clean_end(&mut engine).await;
    assert_eq!(status.code(), Some(1), "{status:?}");
    let log = std::fs::read_to_string(sandbox.home().join("logs/pilothouse.log")).unwrap();
    assert!(log.contains("the process is cut off"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_another_program_holds_does_not_hold_up_a_switch() {
    let Some(tools) = Tools::find().as_ref().and_then(simulated) else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    sandbox.until_listed(MODEL).await;
    // The first switch starts the other server.
    for (model, server) in [(MODEL, "ollama"), (EMBEDDED_MODEL, "llama-server")] {
        let usual = sandbox.switch(model, server);
        assert_eq!((usual.code, &usual.json["journalled"]), (Some(0), &Value::Bool(true)), "{usual:?}");
    }

    let options = SqliteConnectOptions::new().filename(sandbox.database());
    let mut other = options.connect().await.unwrap();
    query("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
    let switched = sandbox.switch(MODEL, "ollama");
    assert_eq!(switched.code, Some(0), "{switched:?}");
    assert_eq!(switched.json["journalled"], false, "{switched:?}");
    assert!(switched.json["reason"].as_str().unwrap().contains("Not journalled"), "{switched:?}");
    // Ten writes of five seconds each were waited for; now it is one of a second, beside what loads take.
    let steps = switched.json["steps"].as_array().unwrap();
    let commit = steps.iter().find(|step| step["name"] == "commit").unwrap();
    assert!(commit["ms"].as_u64().unwrap() < 5000, "{switched:?}");
    assert_eq!(ask(&sandbox).await.status(), 200);
    let status = sandbox.ask(&["status"]).unwrap();
    assert!(trouble(&status, "not_journalled").is_some(), "{status:#}");

    query("ROLLBACK").execute(&mut other).await.unwrap();
    sandbox
        .until(&mut engine, "the end of the trouble", |status| {
            trouble(status, "not_journalled").is_none().then_some(())
        })
        .await;
    engine.kill_leader();
    let mut again = sandbox.serve().await;
    sandbox.until_active(&mut again, "ollama").await;
    again.terminate();
    sandbox.assert_clean_end(&mut again).await;
}
