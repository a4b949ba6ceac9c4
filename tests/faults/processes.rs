//! Programs that start badly, end badly, or do not end.

use crate::scene::{
    LIMIT, NO_LLAMA, QUICK, environment, llama_script, program_setting, reason, script, simulated,
    until_notice, until_state,
};
use pilothouse_tests::{
    sandbox::{EMBEDDED_MODEL, Group, OLLAMA_MODEL, Sandbox, Tools, command, pid, server, signal, until},
    sims::ollama::{Fault, OllamaSim},
};
use std::{
    process::Stdio,
    time::{Duration, Instant},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_exits_0_at_once_is_given_up_too() {
    let Some(tools) = Tools::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let settings = format!("{}{QUICK}", llama_script(folder.path(), "exit 0"));
    let sandbox = Sandbox::new(&tools, &settings);
    let mut engine = sandbox.serve().await;
    let server = until_state(&sandbox, &mut engine, "llama-server", "gave_up").await;
    assert!(reason(&server).contains("code 0"), "{server}");
    assert!(reason(&server).contains("3 times"), "{server}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_the_settings_that_is_missing_is_named() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, &program_setting("/nowhere/llama-server".as_ref()));
    let mut engine = sandbox.serve().await;
    let server = until_state(&sandbox, &mut engine, "llama-server", "not_installed").await;
    assert!(reason(&server).contains("/nowhere/llama-server"), "{server}");
    assert!(server["hint"].as_str().unwrap().contains("servers.llama-server.program"), "{server}");
    let start = sandbox.run(&["servers", "start", "llama-server"]);
    assert_eq!(start.json["error"]["code"], "not_installed", "{start:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_without_the_right_to_be_executed_is_named() {
    let Some(tools) = Tools::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("llama-server");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    let sandbox = Sandbox::new(&tools, &program_setting(&program));
    let mut engine = sandbox.serve().await;
    let server = until_state(&sandbox, &mut engine, "llama-server", "not_installed").await;
    assert!(reason(&server).contains("may not be executed"), "{server}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_for_a_newer_processor_is_explained() {
    let Some(tools) = Tools::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = script(folder.path(), "kill -ILL $$");
    let sandbox = Sandbox::new(&tools, &program_setting(&program));
    let mut engine = sandbox.serve().await;
    let server = until_state(&sandbox, &mut engine, "llama-server", "failed").await;
    assert!(reason(&server).contains("newer processor"), "{server}");
    assert!(server["hint"].as_str().unwrap().contains("--from-source"), "{server}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_too_old_is_refused_before_it_serves() {
    let Some(tools) = Tools::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = script(folder.path(), "echo usage: llama-server --model FILE");
    let sandbox = Sandbox::new(&tools, &program_setting(&program));
    let mut engine = sandbox.serve().await;
    let server = until_state(&sandbox, &mut engine, "llama-server", "failed").await;
    assert!(reason(&server).contains("too old"), "{server}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_out_of_memory_leaves_its_last_words() {
    let Some(tools) = Tools::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let words = "E ggml_aligned_malloc: insufficient memory (attempted to allocate 98304.00 MB)";
    let settings = llama_script(folder.path(), &format!("echo '{words}' >&2\nkill -ABRT $$"));
    let sandbox = Sandbox::new(&tools, &format!("{settings}{QUICK}"));
    let mut engine = sandbox.serve().await;
    let server = until_state(&sandbox, &mut engine, "llama-server", "gave_up").await;
    assert!(reason(&server).contains("signal 6"), "{server}");
    let log = sandbox.run(&["logs", "llama-server"]).stdout;
    assert!(log.contains("insufficient memory"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ignores_sigterm_is_killed_within_the_bound() {
    let Some(tools) = Tools::find() else { return };
    let Some(tools) = simulated(&tools) else { return };
    let settings = format!("{NO_LLAMA}{}", environment(&[("SIM_IGNORE_TERM", "true")]));
    let sandbox = Sandbox::new(&tools, &settings);
    let mut engine = sandbox.serve().await;
    sandbox.until_ready(&mut engine, "ollama").await;
    let stopped = sandbox.run(&["servers", "stop", "ollama"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert_eq!(stopped.json["servers"][0]["state"], "stopped", "{stopped:?}");
    assert_eq!(sandbox.run(&["servers", "start", "ollama"]).code, Some(0));
    engine.terminate();
    assert!(
        sandbox.assert_clean_end(&mut engine).await.success(),
        "the end of Pilothouse is bounded as well"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grandchild_with_the_output_does_not_outlive_its_server() {
    let Some(tools) = Tools::find() else { return };
    let Some(tools) = simulated(&tools) else { return };
    let settings = format!("{NO_LLAMA}{}", environment(&[("SIM_GRANDCHILD", "true")]));
    let sandbox = Sandbox::new(&tools, &settings);
    let mut engine = sandbox.serve().await;
    let first = sandbox.until_ready(&mut engine, "ollama").await.unwrap();
    let sleepers = || -> Vec<i32> {
        sandbox.running().into_iter().filter(|(_, line)| line.contains("sleep")).map(|(pid, _)| pid).collect()
    };
    let before = sleepers();
    assert_eq!(before.len(), 1, "{before:?}");
    signal(first, libc::SIGKILL);
    sandbox
        .until(&mut engine, "another process", |status| {
            let server = server(status, "ollama")?;
            (server["state"] == "ready" && pid(server)? != first).then_some(())
        })
        .await;
    let after = sleepers();
    assert!(!after.contains(&before[0]) && after.len() == 1, "{before:?} {after:?}");
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_while_it_looks_for_gpus_is_no_hang() {
    let Some(tools) = Tools::find() else { return };
    let Some(tools) = simulated(&tools) else { return };
    // Longer than the time after which a server that has been ready would be ended.
    let settings = format!("{NO_LLAMA}{QUICK}{}", environment(&[("SIM_SILENT_S", "8")]));
    let sandbox = Sandbox::new(&tools, &settings);
    let mut engine = sandbox.serve().await;
    let starting = sandbox
        .until(&mut engine, "the silent process", |status| {
            let server = server(status, "ollama")?;
            pid(server).filter(|_| server["state"] == "starting")
        })
        .await;
    let ready = until_state(&sandbox, &mut engine, "ollama", "ready").await;
    assert_eq!((pid(&ready), ready["restarts"].as_u64()), (Some(starting), Some(0)), "{ready}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_output_stays_bounded_and_slows_nobody_down() {
    let Some(tools) = Tools::find() else { return };
    let Some(tools) = simulated(&tools) else { return };
    let settings = format!("{NO_LLAMA}{}", environment(&[("SIM_LINES", "60000")]));
    let sandbox = Sandbox::new(&tools, &settings);
    let mut engine = sandbox.serve().await;
    sandbox.until_ready(&mut engine, "ollama").await;
    // The last line comes after the flood.
    until("the end of the flood in the log", LIMIT, || async {
        sandbox.run(&["logs", "ollama"]).stdout.contains("Listening on").then_some(())
    })
    .await;
    assert!(sandbox.ask(&["status"]).is_some());
    let kept = size_of(&sandbox.home().join("logs")) + size_of(&sandbox.home().join("run"));
    assert!(kept < 60 << 20, "{kept} bytes are kept of a flood of 60 MB and more");
}

fn size_of(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    let size = |entry: std::fs::DirEntry| match entry.file_type().unwrap().is_dir() {
        true => size_of(&entry.path()),
        false => entry.metadata().map(|meta| meta.len()).unwrap_or_default(),
    };
    entries.into_iter().map(|entry| size(entry.unwrap())).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rival_that_takes_the_address_is_adopted_and_not_fought() {
    let Some(tools) = Tools::find() else { return };
    let settings = format!("{NO_LLAMA}[restart]\nfirst_ms = 5000\n\n");
    let sandbox = Sandbox::new(&tools, &settings);
    let mut engine = sandbox.serve().await;
    let ours = sandbox.until_ready(&mut engine, "ollama").await.unwrap();
    // As the desktop app does it: it ends every other `ollama serve` and starts its own.
    signal(ours, libc::SIGTERM);
    let folder = tempfile::tempdir().unwrap();
    let address = ("127.0.0.1", sandbox.ollama_port);
    until("the port to be free", LIMIT, || async { std::net::TcpListener::bind(address).ok().map(drop) })
        .await;
    let mut rival = Group::spawn(
        command(&tools.ollama)
            .arg("serve")
            .env("HOME", folder.path())
            .env("OLLAMA_HOST", format!("127.0.0.1:{}", sandbox.ollama_port))
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    let adopted = sandbox
        .until(&mut engine, "the rival to be adopted", |status| {
            let server = server(status, "ollama")?;
            (server["ownership"] == "adopted" && server["state"] == "ready").then(|| server.clone())
        })
        .await;
    assert_eq!(pid(&adopted), Some(rival.pid()), "{adopted}");
    engine.terminate();
    until("the end of Pilothouse", LIMIT, || {
        let ended = engine.ended();
        async move { ended }
    })
    .await;
    assert!(rival.ended().is_none(), "it is not ours to end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pid_that_was_handed_out_again_is_not_taken_for_our_server() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, NO_LLAMA);
    let innocent = Group::spawn(command("sleep").arg("1000"));
    let record = serde_json::json!({
        "identity": { "pid": innocent.pid(), "started": 1 },
        "base_url": format!("http://127.0.0.1:{}", sandbox.ollama_port),
        "key": null, "program": "/usr/bin/ollama", "files": [],
    });
    let run = sandbox.home().join("run");
    std::fs::create_dir_all(&run).unwrap();
    std::fs::write(run.join("server-ollama.json"), record.to_string()).unwrap();
    let mut engine = sandbox.serve().await;
    let ours = sandbox.until_ready(&mut engine, "ollama").await.unwrap();
    assert_ne!(ours, innocent.pid());
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
    let mut innocent = innocent;
    assert!(innocent.ended().is_none(), "a process of somebody else was ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_kill_while_a_server_starts_leaves_one_server_not_two() {
    let Some(tools) = Tools::find() else { return };
    let Some(tools) = simulated(&tools) else { return };
    let settings = format!("{NO_LLAMA}{}", environment(&[("SIM_SILENT_S", "4")]));
    let sandbox = Sandbox::new(&tools, &settings);
    let mut engine = sandbox.serve().await;
    until_state(&sandbox, &mut engine, "ollama", "starting").await;
    until("the process of the server", LIMIT, || async {
        sandbox.home().join("run/server-ollama.json").exists().then_some(())
    })
    .await;
    let status = sandbox.ask(&["status"]).unwrap();
    let before = pid(server(&status, "ollama").unwrap());
    assert!(before.is_some(), "{status:#}");
    engine.kill_leader();
    let mut again = sandbox.serve().await;
    // It is silent as an Ollama that looks for GPUs: that is no reason to begin anew.
    assert_eq!(sandbox.until_ready(&mut again, "ollama").await, before, "the same process");
    let servers: Vec<_> =
        sandbox.running().into_iter().filter(|(_, line)| line.contains("sim-ollama")).collect();
    assert_eq!(servers.len(), 1, "{servers:?}");
    again.terminate();
    sandbox.assert_clean_end(&mut again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_kill_while_all_is_well_finds_the_same_server_and_model() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let before = sandbox.until_ready(&mut engine, "llama-server").await;
    engine.kill_leader();
    let mut again = sandbox.serve().await;
    sandbox.until_active(&mut again, "llama-server").await;
    assert_eq!(sandbox.until_ready(&mut again, "llama-server").await, before, "the same process");
    let status = sandbox.ask(&["status"]).unwrap();
    assert_eq!(status["active"]["model"], EMBEDDED_MODEL);
    assert_eq!(server(&status, "llama-server").unwrap()["ownership"], "ours", "{status:#}");
    again.terminate();
    sandbox.assert_clean_end(&mut again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_kill_during_a_benchmark_leaves_it_marked_as_cut_off() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let mut bench = sandbox.begin(&["bench", "--trials", "50"]);
    until("a run in the history", LIMIT, || async {
        let history = sandbox.ask(&["history"])?;
        (!history["runs"].as_array()?.is_empty()).then_some(())
    })
    .await;
    engine.kill_leader();
    bench.stop();
    let mut again = sandbox.serve().await;
    sandbox.until_active(&mut again, "llama-server").await;
    let history = sandbox.ask(&["history"]).unwrap();
    assert_eq!(history["runs"][0]["state"], "cut_off", "{history:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_sleeps_wakes_up_to_the_same_servers() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, QUICK);
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let before = sandbox.until_ready(&mut engine, "llama-server").await;
    // Everything stands still for longer than any limit of `QUICK`, then all of it goes on, Pilothouse first.
    let everybody: Vec<i32> = sandbox.running().into_iter().map(|(pid, _)| pid).collect();
    let stop = |number| everybody.iter().for_each(|pid| signal(*pid, number));
    stop(libc::SIGSTOP);
    let asleep = Instant::now();
    until("the night to be over", LIMIT, || async {
        (asleep.elapsed() > Duration::from_secs(6)).then_some(())
    })
    .await;
    signal(engine.pid(), libc::SIGCONT);
    stop(libc::SIGCONT);
    assert_eq!(sandbox.run(&["switch", EMBEDDED_MODEL, "--server", "llama-server"]).code, Some(0));
    assert_eq!(sandbox.until_ready(&mut engine, "llama-server").await, before, "nobody was ended for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_upgraded_in_place_shows_its_new_version() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, NO_LLAMA);
    let theirs = OllamaSim::start(sandbox.ollama_port, Fault::None).await.unwrap();
    let mut engine = sandbox.serve().await;
    let version = |wanted: &'static str| {
        move |status: &serde_json::Value| (server(status, "ollama")?["version"] == wanted).then_some(())
    };
    sandbox.until(&mut engine, "the old version", version("0.32.0-simulated")).await;
    theirs.set_version("0.33.2-simulated");
    sandbox.until(&mut engine, "the new version", version("0.33.2-simulated")).await;
    theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_file_that_is_deleted_under_its_server_is_named_when_it_is_missed() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let file = sandbox.home().join("data/models/copy.gguf");
    std::fs::copy(sandbox.embedded.join(pilothouse_tests::sandbox::GGUF), &file).unwrap();
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    sandbox.until_listed("copy").await;
    assert_eq!(sandbox.switch("copy", "llama-server").code, Some(0));
    std::fs::remove_file(&file).unwrap();
    let answer = crate::answers::ask(&sandbox).await;
    assert_eq!(answer.status(), 200, "what is in memory goes on answering");
    assert_eq!(sandbox.switch(EMBEDDED_MODEL, "llama-server").code, Some(0));
    let gone = sandbox.switch("copy", "llama-server");
    assert!(matches!(gone.code, Some(1 | 4)), "{gone:?}");
    assert_eq!(sandbox.ask(&["status"]).unwrap()["active"]["model"], EMBEDDED_MODEL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_ollama_that_was_killed_thrice_comes_back_each_time() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, &format!("{NO_LLAMA}[restart]\nfirst_ms = 100\n\n"));
    let mut engine = sandbox.serve().await;
    sandbox.add_ollama_model(&mut engine).await;
    assert_eq!(sandbox.switch(OLLAMA_MODEL, "ollama").code, Some(0));
    for n in 1..=3_u64 {
        let before = sandbox.until_ready(&mut engine, "ollama").await.unwrap();
        signal(before, libc::SIGKILL);
        sandbox
            .until(&mut engine, "the next process", |status| {
                let server = server(status, "ollama")?;
                (server["restarts"] == n && server["state"] == "ready" && pid(server)? != before)
                    .then_some(())
            })
            .await;
    }
    sandbox.until_active(&mut engine, "ollama").await;
    until_notice(&sandbox, &mut engine, "Ollama is back").await;
    assert_eq!(crate::answers::ask(&sandbox).await.status(), 200);
}
