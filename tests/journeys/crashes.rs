//! Servers that die.

use crate::address::Client;
use pilothouse_tests::{
    program,
    sandbox::{
        EMBEDDED_MODEL, GGUF, Group, OLLAMA_MODEL, Sandbox, Tools, command, create_in_ollama, parent, pid,
        server, signal, until,
    },
};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// Kills a server, and waits until another process of it serves the same active model and a notice says so.
async fn kill_and_see_it_back(sandbox: &Sandbox, engine: &mut Group, id: &str, title: &str) {
    let before = sandbox.until_ready(engine, id).await.unwrap();
    let runners: Vec<i32> =
        sandbox.running().into_iter().map(|(pid, _)| pid).filter(|one| descends(*one, before)).collect();
    assert!(!runners.is_empty(), "the model lives in a process of its own");
    signal(before, libc::SIGKILL);
    let after = sandbox
        .until(engine, "another process", |status| {
            let server = server(status, id)?;
            let now = pid(server).filter(|now| *now != before)?;
            (server["state"] == "ready" && status["active"]["server"] == id && status["switching"].is_null())
                .then_some(now)
        })
        .await;
    assert_ne!(after, before);
    let left: Vec<i32> = runners.into_iter().filter(|pid| alive(*pid)).collect();
    assert!(left.is_empty(), "runners of the dead server: {left:?}");
    sandbox
        .until(engine, "a notice", |status| {
            let notices = status["notices"].as_array()?;
            notices.iter().any(|notice| notice["title"] == format!("{title} is back")).then_some(())
        })
        .await;
    let client = Client::new(sandbox);
    let answer = until("an answer after the crash", LIMIT, || async {
        Some(client.chat("active").await).filter(|answer| answer.status == 200)
    })
    .await;
    assert_eq!(answer.server.as_deref(), Some(id), "{answer:?}");
}

fn descends(pid: i32, ancestor: i32) -> bool {
    let mut at = pid;
    while let Some(parent) = parent(at) {
        if parent == ancestor {
            return true;
        }
        at = parent;
    }
    false
}

fn alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_llama_server_is_back_with_its_model() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    kill_and_see_it_back(&sandbox, &mut engine, "llama-server", "llama-server").await;
    let status = sandbox.ask(&["status"]).unwrap();
    assert_eq!(status["active"]["model"], EMBEDDED_MODEL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_ollama_of_ours_is_back_with_its_model_and_without_the_old_runner() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.add_ollama_model(&mut engine).await;
    assert_eq!(sandbox.switch(OLLAMA_MODEL, "ollama").code, Some(0));
    kill_and_see_it_back(&sandbox, &mut engine, "ollama", "Ollama").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_at_once_again_and_again_is_given_up_with_a_reason() {
    let Some(tools) = Tools::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("llama-server");
    let script =
        "[ \"$1\" = --help ] && { echo --models-dir; exit 0; }\necho no memory for anything >&2\nexit 7";
    program::script(&program, script).unwrap();
    let settings = format!(
        "[servers.llama-server]\nprogram = {:?}\n\n[restart]\nfirst_ms = 50\nmax_ms = 200\nmax_crashes = 3\n",
        program.display().to_string()
    );
    let sandbox = Sandbox::new(&tools, &settings);
    let mut engine = sandbox.serve().await;
    let reason = sandbox
        .until(&mut engine, "it to be given up", |status| {
            let server = server(status, "llama-server")?;
            (server["state"] == "gave_up").then(|| server["reason"].as_str().unwrap_or_default().to_owned())
        })
        .await;
    assert!(reason.contains('7'), "the reason names how it ended: {reason}");
    let status = sandbox.ask(&["status"]).unwrap();
    let notices = status["notices"].as_array().unwrap();
    assert!(
        notices.iter().any(|notice| notice["title"].as_str().unwrap().contains("not restarting")),
        "{status:#}"
    );
    let log = sandbox.run(&["logs", "llama-server"]).stdout;
    assert!(log.contains("no memory for anything"), "its last words are kept: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ollama_of_somebody_else_is_used_and_outlives_us() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let folder = tempfile::tempdir().unwrap();
    let mut theirs = command(&tools.ollama);
    theirs
        .arg("serve")
        .env("HOME", folder.path())
        .env("OLLAMA_MODELS", folder.path().join("models"))
        .env("OLLAMA_HOST", format!("127.0.0.1:{}", sandbox.ollama_port))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut theirs = Group::spawn(&mut theirs);
    create_in_ollama(sandbox.ollama_port, &sandbox.embedded.join(GGUF));
    let mut engine = sandbox.serve().await;
    sandbox.until_ready(&mut engine, "ollama").await;
    let status = sandbox.ask(&["status"]).unwrap();
    assert_eq!(server(&status, "ollama").unwrap()["ownership"], "adopted", "{status:#}");
    sandbox.until_listed(OLLAMA_MODEL).await;
    assert_eq!(sandbox.switch(OLLAMA_MODEL, "ollama").code, Some(0));
    assert_eq!(Client::new(&sandbox).chat("active").await.server.as_deref(), Some("ollama"));
    engine.terminate();
    until("the end of the engine", LIMIT, || {
        let ended = engine.ended();
        async move { ended }
    })
    .await;
    assert!(theirs.ended().is_none(), "it is not ours to stop");
    let address = format!("http://127.0.0.1:{}/api/version", sandbox.ollama_port);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    assert!(http.get(address).send().await.unwrap().status().is_success());
}
