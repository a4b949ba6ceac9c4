//! Pilothouse itself is killed, and started twice.

use crate::address::Client;
use pilothouse_tests::{
    sandbox::{Sandbox, Tools, pid, server},
    sims::lmstudio::{FailLoad, Faults, LmStudioSim, Options},
};
use sqlx::{Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_switch_it_finds_its_servers_and_puts_the_model_back() {
    const MODEL: &str = "simulated/alpha-2b";
    let Some(tools) = Tools::find() else { return };
    // A load that never ends, so that the switch is under way for certain. It is the only part that is simulated.
    let folder = tempfile::tempdir().unwrap();
    let hangs = Faults { fail_load: Some(FailLoad::Hang), ..Faults::default() };
    let options = Options { load_seconds: 0.1, faults: hangs, ..Options::new(folder.path()) };
    let theirs = LmStudioSim::start(options).await.unwrap();
    let settings = format!(
        "[servers.lmstudio]\naddress = {:?}\nhome = {:?}\n",
        theirs.base_url().unwrap(),
        folder.path().display().to_string()
    );
    let sandbox = Sandbox::new(&tools, &settings);
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    sandbox.until_listed(MODEL).await;
    let pids = [
        sandbox.until_ready(&mut engine, "llama-server").await.unwrap(),
        sandbox.until_ready(&mut engine, "ollama").await.unwrap(),
    ];
    let mut client = sandbox.begin(&["switch", MODEL, "--server", "lmstudio"]);
    sandbox
        .until(&mut engine, "the load that hangs", |status| {
            let switching = &status["switching"];
            (switching["to"]["server"] == "lmstudio" && switching["phase"] == "loading").then_some(())
        })
        .await;
    engine.kill_leader();
    client.stop();

    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let status = sandbox.ask(&["status"]).unwrap();
    for (id, before) in ["llama-server", "ollama"].into_iter().zip(pids) {
        let server = server(&status, id).unwrap();
        assert_eq!((pid(server), &server["ownership"]), (Some(before), &"ours".into()), "{server:#}");
    }
    let notices = status["notices"].as_array().unwrap();
    assert!(notices.iter().any(|notice| notice["title"] == "A switch was cut off"), "{status:#}");
    let answer = Client::new(&sandbox).chat("active").await;
    assert_eq!((answer.status.as_u16(), answer.server.as_deref()), (200, Some("llama-server")), "{answer:?}");
    assert_eq!(intact(&sandbox).await, ("ok".to_owned(), 0), "the database, and switches without an outcome");
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
    theirs.stop().await;
}

/// SQLite's own check, and the number of switches that still seem to be under way.
async fn intact(sandbox: &Sandbox) -> (String, i64) {
    let options = SqliteConnectOptions::new().filename(sandbox.database()).read_only(true);
    let mut database = SqliteConnection::connect_with(&options).await.unwrap();
    let check = sqlx::query("PRAGMA integrity_check").fetch_one(&mut database).await.unwrap().get(0);
    let open = sqlx::query("SELECT count(*) FROM switch WHERE outcome IS NULL")
        .fetch_one(&mut database)
        .await
        .unwrap()
        .get(0);
    (check, open)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_one_on_the_same_data_names_the_first() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    let second = sandbox.run(&["serve"]);
    assert_eq!(second.code, Some(1), "{second:?}");
    let error = &second.json["error"];
    assert_eq!(error["code"], "already_running", "{second:?}");
    assert!(error["message"].as_str().unwrap().contains(&engine.pid().to_string()), "{second:?}");
    assert!(sandbox.ask(&["status"]).is_some(), "the first goes on");
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
    let none = sandbox.run(&["models"]);
    assert_eq!(none.code, Some(3), "no engine runs: {none:?}");
    assert!(none.json["error"]["hint"].is_string(), "{none:?}");
}
