//! The first start, the main job, and a restart of everything.

use crate::address::Client;
use pilothouse_tests::sandbox::{EMBEDDED_MODEL, GGUF, OLLAMA_MODEL, Sandbox, Tools};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_answers_without_being_told_anything() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let answer = Client::new(&sandbox).chat("active").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.server.as_deref(), Some("llama-server"));
    assert_eq!(answer.model.as_deref(), Some(EMBEDDED_MODEL));
    assert!(!answer.text().is_empty(), "{answer:?}");
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_passes_over_a_damaged_model() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    // A real header, and only a part of what it announces.
    let whole = std::fs::read(sandbox.embedded.join(GGUF)).unwrap();
    std::fs::write(sandbox.home().join("data/models/damaged.gguf"), &whole[..whole.len() / 3]).unwrap();
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let status = sandbox.ask(&["status"]).unwrap();
    assert_eq!(status["active"]["model"], EMBEDDED_MODEL, "{status:#}");
    let notices = status["notices"].as_array().unwrap();
    let named = |notice: &serde_json::Value| notice.to_string().contains("damaged");
    assert!(!notices.iter().any(named), "it was never tried: {notices:?}");
    let models = sandbox.ask(&["models"]).unwrap();
    let listed =
        models["models"].as_array().unwrap().iter().find(|model| model["name"] == "damaged").unwrap();
    let why = listed["damaged"].as_str().unwrap_or_default();
    assert!(why.contains(&format!("{} bytes of {}", whole.len() / 3, whole.len())), "{listed:#}");
    let refused = sandbox.run(&["switch", "damaged"]);
    assert_eq!(refused.code, Some(5), "{refused:?}");
    let asked = sandbox.run(&["fit", "damaged"]);
    assert_eq!(asked.code, Some(5), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_follow_the_switch_and_all_of_it_outlives_a_restart() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.add_ollama_model(&mut engine).await;
    let client = Client::new(&sandbox);
    let switched = sandbox.switch(OLLAMA_MODEL, "ollama");
    assert_eq!(switched.code, Some(0), "{switched:?}");
    assert_eq!(switched.json["outcome"], "committed", "{switched:?}");
    assert!(switched.json["first_token_ms"].as_u64().is_some_and(|ms| ms > 0), "{switched:?}");
    let answer = client.chat("active").await;
    assert_eq!((answer.status.as_u16(), answer.server.as_deref()), (200, Some("ollama")), "{answer:?}");

    let bench = sandbox.run(&["bench", "--trials", "5"]);
    assert_eq!(bench.code, Some(0), "{bench:?}");
    let run = bench.json["run_id"].as_i64();
    assert!(run.is_some(), "{bench:?}");
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());

    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "ollama").await;
    let answer = client.chat("active").await;
    assert_eq!((answer.status.as_u16(), answer.server.as_deref()), (200, Some("ollama")), "{answer:?}");
    let history = sandbox.ask(&["history"]).unwrap();
    let runs = history["runs"].as_array().unwrap();
    let kept = runs.iter().find(|one| one["run_id"].as_i64() == run).unwrap_or_else(|| panic!("{history:#}"));
    assert_eq!((&kept["server"], &kept["state"]), (&"ollama".into(), &"done".into()), "{kept:#}");
    assert!(kept["decode_tok_s"]["median"].as_f64().is_some_and(|rate| rate > 0.0), "{kept:#}");
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
}
