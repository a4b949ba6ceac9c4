//! “Load with …”: a switch that says with what the model is loaded, on real servers.

use crate::address::Client;
use pilothouse_tests::sandbox::{EMBEDDED_MODEL, OLLAMA_MODEL, Sandbox, Tools, server};
use serde_json::{Value, json};

/// The command lines of the servers and of the children that hold their models.
fn command_lines(sandbox: &Sandbox) -> Vec<Vec<String>> {
    let read = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = |line: String| line.split('\0').map(str::to_owned).collect();
    sandbox.running().into_iter().map(|(pid, _)| words(read(pid))).collect()
}

/// What llama-server itself says of the model: tokens per request, and requests at a time.
async fn told(sandbox: &Sandbox) -> (u64, u64) {
    let status = sandbox.ask(&["status"]).unwrap();
    let address = server(&status, "llama-server").unwrap()["endpoint"].as_str().unwrap().to_owned();
    let key_file = command_lines(sandbox).into_iter().find_map(|line| {
        let at = line.iter().position(|word| word == "--api-key-file")?;
        line.get(at + 1).cloned()
    });
    let key = std::fs::read_to_string(key_file.unwrap()).unwrap();
    let url = format!("{address}/props?model={EMBEDDED_MODEL}&autoload=false");
    let asked = Client::new(sandbox).http.get(url).bearer_auth(key.trim()).send().await.unwrap();
    let props: Value = asked.error_for_status().unwrap().json().await.unwrap();
    let tokens = props["default_generation_settings"]["n_ctx"].as_u64().unwrap();
    (tokens, props["total_slots"].as_u64().unwrap())
}

fn holds_q8(sandbox: &Sandbox) -> bool {
    command_lines(sandbox).iter().any(|line| line.iter().any(|word| word == "q8_0"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_loaded_as_asked_refused_where_it_cannot_be_and_put_back_by_undo_and_restart() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    sandbox.add_ollama_model(&mut engine).await;
    let client = Client::new(&sandbox);
    let usual = told(&sandbox).await;

    // What cannot be had is refused, rehearsed or not, and changes nothing.
    let before = sandbox.ask(&["status"]).unwrap();
    let nothing: &[&str] = &[];
    let ollama = [OLLAMA_MODEL, "--server", "ollama"];
    let beyond = [EMBEDDED_MODEL, "--context", "9000"];
    let too_much = [EMBEDDED_MODEL, "--context", "8192", "--parallel", "64", "--kv", "f32"];
    // 24 GB of cache: where there is room for that there is nothing to refuse.
    let fits = sandbox.run(&[&["fit"][..], &too_much[..]].concat()).json["fits"] == true;
    for (model, with, code, error) in [
        (&ollama[..], &["--context", "8192"][..], 5, "unsupported"),
        (&ollama[..], &["--parallel", "63"][..], 5, "unsupported"),
        (&ollama[..], &["--kv", "f32"][..], 5, "unsupported"),
        (&beyond[..], nothing, 5, "unsupported"),
        (&too_much[..], nothing, 5, "does_not_fit"),
        (&beyond[..1], &["--context", "0"][..], 2, "invalid_call"),
    ] {
        for dry_run in [&["--dry-run"][..], nothing] {
            if error == "does_not_fit" && fits {
                continue;
            }
            let line = [&["switch"][..], model, with, dry_run].concat();
            let refused = sandbox.run(&line);
            let said = &refused.json["error"];
            assert_eq!((refused.code, &said["code"]), (Some(code), &json!(error)), "{line:?}: {refused:?}");
            assert!(said["hint"].is_string(), "{said}");
        }
    }
    assert_eq!(sandbox.run(&["switch", EMBEDDED_MODEL, "--kv", "q3"]).code, Some(2));
    let now = sandbox.ask(&["status"]).unwrap();
    assert_eq!((&now["active"], &now["undo"]), (&before["active"], &before["undo"]));
    assert_eq!(told(&sandbox).await, usual);

    // The active model with other settings is loaded again, and an undo brings the old ones back.
    let asked = ["switch", EMBEDDED_MODEL, "--context", "2048", "--parallel", "2", "--kv", "q8_0"];
    let dry = sandbox.run(&[&asked[..], &["--dry-run"]].concat());
    assert_eq!((dry.code, told(&sandbox).await), (Some(0), usual), "{dry:?}");
    let switched = sandbox.run(&asked);
    assert_eq!((switched.code, &switched.json["outcome"]), (Some(0), &json!("committed")), "{switched:?}");
    assert!(switched.json["load_ms"].as_u64() > Some(0), "{switched:?}");
    assert_eq!((told(&sandbox).await, holds_q8(&sandbox)), ((2048, 2), true));
    assert_eq!(client.chat("active").await.model.as_deref(), Some(EMBEDDED_MODEL));
    let again = sandbox.run(&asked);
    assert_eq!((again.code, &again.json["steps"]), (Some(0), &json!([])), "{again:?}");
    let undone = sandbox.run(&["undo"]);
    assert_eq!((undone.code, &undone.json["to"]["model"]), (Some(0), &json!(EMBEDDED_MODEL)), "{undone:?}");
    assert_eq!((told(&sandbox).await, holds_q8(&sandbox)), (usual, false));

    // It comes back as it was loaded: after another model, and after a restart of Pilothouse.
    assert_eq!(sandbox.run(&["switch", EMBEDDED_MODEL, "--context", "1024"]).code, Some(0));
    assert_eq!(sandbox.switch(OLLAMA_MODEL, "ollama").code, Some(0));
    assert_eq!(sandbox.run(&["undo"]).code, Some(0));
    assert_eq!(told(&sandbox).await, (1024, usual.1));
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
    engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    assert_eq!(client.chat("active").await.status, 200);
    assert_eq!(told(&sandbox).await, (1024, usual.1));
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
}
