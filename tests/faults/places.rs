//! Ports, folders, files and disks that are not as they should be.

use crate::{
    answers::ask,
    scene::{LIMIT, NO_LLAMA, reason, until_state},
};
use pilothouse_tests::{
    program,
    sandbox::{Sandbox, Tools, command, free_port, or_skip, server, until},
};
use std::{
    fs::Permissions,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        process::CommandExt,
    },
    process::Stdio,
};

/// The user to whom nothing belongs.
const NOBODY: u32 = 65534;

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_a_stranger_holds_is_said_with_its_holder_and_taken_when_free() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, NO_LLAMA);
    let stranger = TcpListener::bind(("127.0.0.1", sandbox.ollama_port)).unwrap();
    let mut engine = sandbox.serve().await;
    let shown = until_state(&sandbox, &mut engine, "ollama", "not_ours").await;
    let who = format!("pid {}", std::process::id());
    assert!(reason(&shown).contains(&who), "{shown}");
    assert!(reason(&shown).contains(&sandbox.ollama_port.to_string()), "{shown}");
    assert!(shown["hint"].as_str().unwrap().contains("servers.ollama.address"), "{shown}");
    drop(stranger);
    let shown = until_state(&sandbox, &mut engine, "ollama", "ready").await;
    assert_eq!(shown["ownership"], "ours", "{shown}");
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_port_of_llama_server_that_is_held_is_said() {
    let Some(tools) = Tools::find() else { return };
    let port = free_port();
    let stranger = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let sandbox = Sandbox::new(&tools, &format!("[servers.llama-server]\nport = {port}\n"));
    let mut engine = sandbox.serve().await;
    let shown = until_state(&sandbox, &mut engine, "llama-server", "not_ours").await;
    assert!(shown["hint"].as_str().unwrap().contains("servers.llama-server.port"), "{shown}");
    drop(stranger);
    sandbox.until_ready(&mut engine, "llama-server").await;
}

/// What was chosen is not forgotten because its server could not start for a while.
#[tokio::test(flavor = "multi_thread")]
async fn an_active_model_whose_server_comes_late_is_active_again() {
    let Some(tools) = Tools::find() else { return };
    let port = free_port();
    let sandbox = Sandbox::new(&tools, &format!("[servers.llama-server]\nport = {port}\n"));
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;

    let stranger = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut again = sandbox.serve().await;
    until_state(&sandbox, &mut again, "llama-server", "not_ours").await;
    let status = sandbox.ask(&["status"]).unwrap();
    assert_eq!(status["active"]["server"], "llama-server", "it stays the choice: {status:#}");
    assert_eq!(ask(&sandbox).await.status(), 503);
    drop(stranger);
    until("an answer", LIMIT, || async { (ask(&sandbox).await.status() == 200).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_port_that_is_held_costs_the_gateway_alone() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let _stranger = TcpListener::bind(("127.0.0.1", sandbox.gateway_port)).unwrap();
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let status = sandbox.ask(&["status"]).unwrap();
    assert!(status["gateway"].is_null(), "{status:#}");
    let doctor = sandbox.run(&["doctor"]);
    assert!(doctor.stdout.contains(&sandbox.gateway_port.to_string()), "{doctor:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_the_logs_stops_no_server() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let logs = sandbox.home().join("logs");
    std::fs::create_dir_all(logs.join("servers")).unwrap();
    // Every write there fails with "no space left on device".
    for name in ["pilothouse.log", "servers/llama-server.log", "servers/ollama.log"] {
        symlink("/dev/full", logs.join(name)).unwrap();
    }
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    assert_eq!(ask(&sandbox).await.status(), 200);
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_cannot_be_opened_costs_the_history_alone() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    std::fs::create_dir_all(sandbox.database().join("not-a-file")).unwrap();
    let mut engine = sandbox.serve().await;
    sandbox.until_ready(&mut engine, "llama-server").await;
    assert_eq!(
        sandbox.switch(pilothouse_tests::sandbox::EMBEDDED_MODEL, "llama-server").code,
        Some(0),
        "switching needs no history"
    );
    assert_eq!(ask(&sandbox).await.status(), 200);
    let history = sandbox.run(&["history"]);
    assert_eq!(history.code, Some(1), "{history:?}");
    assert!(history.json["error"]["message"].is_string(), "{history:?}");
    let status = sandbox.ask(&["status"]).unwrap();
    let troubles = status["troubles"].as_array().unwrap();
    let trouble = troubles.iter().find(|trouble| trouble["code"] == "store_unavailable");
    let trouble = trouble.unwrap_or_else(|| panic!("no trouble in {status:#}"));
    assert!(trouble["message"].as_str().unwrap().contains("history"), "{trouble:#}");
    let file = sandbox.database().display().to_string();
    assert!(trouble["hint"].as_str().unwrap().contains(&file), "{trouble:#}");
    assert!(sandbox.database().join("not-a-file").exists(), "nothing was deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_history_is_set_aside_and_kept() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, NO_LLAMA);
    std::fs::create_dir_all(sandbox.database().parent().unwrap()).unwrap();
    let damaged = b"SQLite format 3\0 and then nothing that makes sense".repeat(100);
    std::fs::write(sandbox.database(), &damaged).unwrap();
    let mut engine = sandbox.serve().await;
    sandbox.until(&mut engine, "the engine", |_| Some(())).await;
    assert_eq!(sandbox.run(&["history"]).code, Some(0), "a new one took its place");
    let folder = sandbox.database().parent().unwrap().to_owned();
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let kept = files.filter(|file| std::fs::read(file).is_ok_and(|bytes| bytes == damaged)).count();
    assert_eq!(kept, 1, "the damaged file is kept as it was");
}

#[test]
fn a_home_that_is_no_folder_is_a_clear_error() {
    let Some(tools) = Tools::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("home");
    std::fs::write(&file, "not a folder").unwrap();
    let output = command(&tools.cli)
        .args(["serve", "--json"])
        .env("PILOTHOUSE_HOME", &file)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(said["error"]["message"].as_str().unwrap().contains("home"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "not a folder");
}

/// Root may use any folder: as root, the program is run as another user. Everybody else is locked out by the mode.
#[test]
fn a_home_that_may_not_be_used_is_a_clear_error() {
    let Some(tools) = Tools::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    std::fs::create_dir(&home).unwrap();
    let we_are_root = home.metadata().unwrap().uid() == 0;
    let closed = if we_are_root { 0o700 } else { 0o000 };
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&home, Permissions::from_mode(closed)).unwrap();
    // What lies in a private folder of root cannot be run by others: a copy can.
    let cli = folder.path().join("pilothouse");
    program::place(&tools.cli, &cli).unwrap();
    let mut serve = command(&cli);
    serve.current_dir(folder.path()).args(["serve", "--json"]);
    serve.env("PILOTHOUSE_HOME", &home).stdin(Stdio::null());
    if we_are_root {
        serve.uid(NOBODY).gid(NOBODY);
    }
    let ran = serve.output().map_err(|error| format!("{} as another user: {error}", cli.display()));
    std::fs::set_permissions(&home, Permissions::from_mode(0o700)).unwrap();
    let Some(output) = or_skip(ran) else { return };
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let error = &said["error"];
    assert_eq!(error["code"], "system", "{said}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(&home.display().to_string()), "{said}");
    assert!(message.to_lowercase().contains("permission"), "{said}");
    assert!(error["hint"].as_str().unwrap().contains("PILOTHOUSE_HOME"), "{said}");
    assert_eq!(std::fs::read_dir(&home).unwrap().count(), 0, "nothing was put there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_no_json_is_passed_over() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, NO_LLAMA);
    let run = sandbox.home().join("run");
    std::fs::create_dir_all(&run).unwrap();
    std::fs::write(run.join("server-ollama.json"), "{ half a rec").unwrap();
    let mut engine = sandbox.serve().await;
    sandbox.until_ready(&mut engine, "ollama").await;
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_file_that_cannot_be_written_is_named() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, NO_LLAMA);
    std::fs::create_dir_all(sandbox.home().join("run/ollama.output")).unwrap();
    let mut engine = sandbox.serve().await;
    let shown = until_state(&sandbox, &mut engine, "ollama", "failed").await;
    assert!(reason(&shown).contains("ollama.output"), "{shown}");
    std::fs::remove_dir(sandbox.home().join("run/ollama.output")).unwrap();
    assert_eq!(sandbox.run(&["servers", "start", "ollama"]).code, Some(0));
    let status = sandbox.ask(&["status"]).unwrap();
    assert_eq!(server(&status, "ollama").unwrap()["state"], "ready", "{status:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_models_that_is_missing_is_named_and_costs_its_models_alone() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "[servers.llama-server]\nmodels_dir = \"/nowhere/models\"\n");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    until("the embedded model alone", LIMIT, || async {
        (sandbox.ask(&["models"])?["models"].as_array()?.len() == 1).then_some(())
    })
    .await;
    let trouble = &sandbox.ask(&["status"]).unwrap()["troubles"][0];
    let (message, hint) = (trouble["message"].as_str().unwrap(), trouble["hint"].as_str().unwrap());
    assert!(
        message.contains("servers.llama-server.models_dir") && message.contains("/nowhere/models"),
        "{trouble}"
    );
    assert!(hint.contains("correct the path"), "what to do: {trouble}");
}
