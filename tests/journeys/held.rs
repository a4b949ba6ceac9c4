//! What is held in memory, on real processes: loads that are timed, copies of one model, and how many requests at a time a model
//! answers.

use pilothouse_tests::{
    sandbox::{EMBEDDED_MODEL, Sandbox, Tools, until},
    sims::lmstudio::{LmStudioSim, Options},
};
use serde_json::Value;
use std::time::Duration;

/// A model of the simulator.
const MODEL: &str = "simulated/alpha-2b";
const LIMIT: Duration = Duration::from_secs(60);

fn settings(sandbox: &Sandbox) -> String {
    std::fs::read_to_string(sandbox.settings_file()).unwrap()
}

/// With how many requests at a time llama-server was told to load the model.
fn told(sandbox: &Sandbox) -> Option<String> {
    let preset = std::fs::read_to_string(sandbox.home().join("run/llama-server.ini")).ok();
    let preset = preset.unwrap_or_else(|| {
        let found = walk(sandbox.home()).into_iter().find(|path| path.ends_with("llama-server.ini"));
        std::fs::read_to_string(found.unwrap()).unwrap()
    });
    let section = preset.split(&format!("[{EMBEDDED_MODEL}]")).nth(1)?.split('[').next()?.to_owned();
    section.lines().find_map(|line| line.strip_prefix("parallel = ")).map(str::to_owned)
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path()),
            _ => vec![entry.path()],
        })
        .collect()
}

/// The real llama-server is started again with the setting, loads the model with it, and goes back.
#[tokio::test(flavor = "multi_thread")]
async fn requests_at_a_time_are_set_proved_and_taken_back_and_loads_are_timed() {
    let Some(tools) = Tools::find() else { return };
    let text = "# mine\n[servers.llama-server]\ncontext = 512 # short\n";
    let sandbox = Sandbox::new(&tools, text);
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let before = settings(&sandbox);

    let set = sandbox.run(&["parallel", EMBEDDED_MODEL, "--server", "llama-server", "--set", "2"]);
    assert_eq!(set.code, Some(0), "{set:?}");
    assert_eq!((&set.json["before"], &set.json["parallel"]), (&1.into(), &2.into()), "{set:?}");
    assert!(set.json["first_token_ms"].is_u64() && set.json["undo_s"] == 60, "{set:?}");
    assert!(settings(&sandbox).contains("context = 512 # short"), "{}", settings(&sandbox));
    assert!(settings(&sandbox).contains("parallel = 2"), "{}", settings(&sandbox));
    assert_eq!(told(&sandbox).as_deref(), Some("2"));
    let again = sandbox.run(&["parallel", EMBEDDED_MODEL, "--server", "llama-server", "--set", "2"]);
    assert_eq!((again.code, &again.json["changed"]), (Some(0), &false.into()), "{again:?}");
    // Nothing waits for a restart: it is in force.
    let status = sandbox.ask(&["status"]).unwrap();
    assert!(!status.to_string().contains("not yet in force"), "{status:#}");

    let undone = sandbox.run(&["parallel", "--undo"]);
    assert_eq!((undone.code, &undone.json["parallel"]), (Some(0), &1.into()), "{undone:?}");
    assert_eq!(settings(&sandbox), before, "to the very text of before");
    assert_eq!(told(&sandbox), None);
    let nothing = sandbox.run(&["parallel", "--undo"]);
    assert_eq!(nothing.code, Some(4), "{nothing:?}");

    let run = sandbox.run(&[
        "bench",
        EMBEDDED_MODEL,
        "--plan",
        "load",
        "--server",
        "llama-server",
        "--quiet-wait",
        "0",
    ]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let loads = &run.json["loads"];
    let kinds = loads["kinds"].as_array().unwrap();
    assert_eq!(kinds[0]["from"], "page_cache", "{loads:#}");
    for kind in kinds {
        assert!(kind["load_s"]["median"].as_f64() > Some(0.0), "{kind:#}");
        assert!(kind["ttft_cold_ms"]["median"].as_f64() > Some(0.0), "{kind:#}");
        assert!(kind["bytes_s"].as_f64() > Some(1e6), "{kind:#}");
    }
    // From disk, or why not (any more, where another program has taken the file in meanwhile): never nothing.
    assert!(kinds.len() == 2 || loads["disk_absent"].is_string(), "{loads:#}");
    assert_eq!(run.json["fingerprint"]["parallel"], "1", "{:#}", run.json["fingerprint"]);
    sandbox.until_active(&mut engine, "llama-server").await;
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}

/// LM Studio's simulator holds copies as the product does: `model:2` and so on.
#[tokio::test(flavor = "multi_thread")]
async fn copies_are_measured_together_and_all_of_them_leave_also_when_pilothouse_is_killed_simulated() {
    let Some(tools) = Tools::find() else { return };
    let tools = Tools { ollama: "/no/ollama".into(), ..tools };
    let folder = tempfile::tempdir().unwrap();
    let options =
        Options { load_seconds: 0.1, ttft_ms: 20, tokens_per_second: 500.0, ..Options::new(folder.path()) };
    let sim = LmStudioSim::start(options).await.unwrap();
    let (address, home) = (sim.base_url().unwrap(), folder.path().display().to_string());
    let text = format!(
        "[servers.llama-server]\nautostart = false\n\n[servers.lmstudio]\naddress = {address:?}\nhome = {home:?}\n"
    );
    let sandbox = Sandbox::new(&tools, &text);
    let mut engine = sandbox.serve().await;
    sandbox.until_ready(&mut engine, "lmstudio").await;
    sandbox.until_listed(MODEL).await;
    let held = || sim.look(|state| state.instances.len());
    let copies = ["bench", MODEL, "--plan", "copies", "--up-to", "3", "--quiet-wait", "0"];

    let run = sandbox.run(&copies);
    assert_eq!(run.code, Some(0), "{run:?}");
    let points = run.json["copies"]["points"].as_array().unwrap();
    let levels: Vec<&Value> = points.iter().map(|point| &point["copies"]).collect();
    assert_eq!(levels, [1, 2, 3], "{run:?}");
    for point in points {
        assert_eq!(point["failed"], 0, "{point:#}");
        assert!(point["out_tok_s"].as_f64() > Some(0.0) && point["ttft_ms"]["p95"].is_f64(), "{point:#}");
    }
    // Each copy of the simulator has a pace of its own.
    assert!(points[2]["out_tok_s"].as_f64() > points[0]["out_tok_s"].as_f64(), "{points:#?}");
    assert_eq!((&run.json["copies"]["stopped"], held()), (&Value::Null, 0));

    let loads = sandbox.run(&["bench", MODEL, "--plan", "load", "--quiet-wait", "0"]);
    assert_eq!(loads.code, Some(0), "{loads:?}");
    assert!(loads.json["loads"]["kinds"][0]["load_s"]["median"].as_f64() >= Some(0.1), "{loads:?}");
    assert_eq!(held(), 0);

    let mut bench = sandbox.begin(&copies);
    until("a second copy", LIMIT, || async { (held() >= 2).then_some(()) }).await;
    engine.kill_leader();
    bench.stop();
    let mut engine = sandbox.serve().await;
    until("all copies to leave", LIMIT, || async { (held() == 0).then_some(()) }).await;

    sandbox.until_listed(MODEL).await;
    let refused = sandbox.run(&["parallel", MODEL, "--server", "lmstudio", "--set", "6"]);
    assert_eq!(refused.json["error"]["code"], "unsupported", "{refused:?}");
    assert!(refused.json["error"]["hint"].as_str().unwrap().contains("--parallel 6"), "{refused:?}");
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
    sim.stop().await;
}
