//! The benchmark lab: two servers held against each other, a model against itself, more and more requests at a time, and what
//! becomes of the runs. Beside whatever else this machine does: nothing here rests on a speed, but on paces that are set.

use crate::address::Client;
use pilothouse_tests::{
    sandbox::{EMBEDDED_MODEL, Group, OLLAMA_MODEL, Sandbox, Tools, command},
    sims::lmstudio::{LmStudioSim, Options},
};
use serde_json::Value;
use std::{collections::BTreeSet, process::Stdio};

/// A model of the simulator.
const MODEL: &str = "simulated/alpha-2b";
/// A busy machine is not waited for: it only marks the runs.
const AT_ONCE: [&str; 2] = ["--quiet-wait", "0"];
const TIMED: [&str; 4] = ["decode_tok_s", "prefill_tok_s", "ttft_ms", "e2e_ms"];
const VERDICTS: [&str; 4] = ["a_faster", "b_faster", "no_difference", "not_comparable"];

fn bench(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    let answer = sandbox.run(&[arguments, &AT_ONCE].concat());
    assert_eq!(answer.code, Some(0), "{arguments:?}: {answer:?}");
    answer.json
}

/// The models in memory, as "server/name".
fn in_memory(sandbox: &Sandbox) -> BTreeSet<String> {
    let models = sandbox.ask(&["models"]).unwrap();
    let loaded = models["models"].as_array().unwrap().iter().filter(|model| model["loaded"] == true);
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    loaded.map(|model| format!("{}/{}", word(&model["server"]), word(&model["name"]))).collect()
}

fn metric<'a>(comparison: &'a Value, name: &str) -> &'a Value {
    let metrics = comparison["metrics"].as_array().unwrap();
    metrics.iter().find(|metric| metric["name"] == name).unwrap_or_else(|| panic!("{name}: {comparison:#}"))
}

/// Every metric has the words and the order of the contract.
fn assert_shape(comparison: &Value) {
    for name in TIMED.into_iter().chain(["memory_bytes"]) {
        let metric = metric(comparison, name);
        assert!(VERDICTS.contains(&metric["verdict"].as_str().unwrap()), "{metric:#}");
        let (ratio, of) = (&metric["ratio"], |end: &str| metric["ratio"][end].as_f64());
        assert!(!ratio.is_null() || metric["ratio_absent"].is_string(), "{metric:#}");
        if !ratio.is_null() {
            assert!(of("low") <= of("median") && of("median") <= of("high"), "{metric:#}");
            assert!((0.0..1.0).contains(&of("level").unwrap()), "{metric:#}");
        }
    }
    for side in ["a", "b"] {
        let run = &comparison[side];
        assert!(run["run_id"].is_i64() && run["fingerprint"].is_object(), "{run:#}");
        assert_eq!(run["state"], "done", "{run:#}");
    }
    assert!(comparison["unmatched"].is_array() && comparison["disturbed"].is_array(), "{comparison:#}");
    assert!(comparison["sentence"].as_str().is_some_and(|sentence| !sentence.is_empty()), "{comparison:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn llama_server_and_ollama_are_held_against_each_other_on_the_same_file() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    sandbox.add_ollama_model(&mut engine).await;
    let before = in_memory(&sandbox);
    assert_eq!(before, BTreeSet::from([format!("llama-server/{EMBEDDED_MODEL}")]));

    let (a, b) = (["bench", EMBEDDED_MODEL, "--assume-noise"], ["--against", OLLAMA_MODEL]);
    let (of_a, of_b) = (["--server", "llama-server"], ["--against-server", "ollama"]);
    let compared = bench(&sandbox, &[&a[..], &of_a, &b, &of_b, &["--blocks", "6"]].concat());
    assert_shape(&compared);
    assert_eq!(compared["paired"], true, "{compared:#}");
    for (side, server, model) in [("a", "llama-server", EMBEDDED_MODEL), ("b", "ollama", OLLAMA_MODEL)] {
        let run = &compared[side];
        assert_eq!((&run["server"], &run["model"]), (&server.into(), &model.into()), "{run:#}");
        assert!(run["trials"].as_u64().unwrap() >= 5, "{run:#}");
        assert!(run["peak_memory_bytes"].as_u64().is_some_and(|bytes| bytes > 50 << 20), "{run:#}");
    }
    let weights = &compared["a"]["fingerprint"]["weights_digest"];
    assert_eq!(weights, &compared["b"]["fingerprint"]["weights_digest"], "the same file: {compared:#}");
    assert_ne!(weights, "not reported");
    for one in compared["unmatched"].as_array().unwrap() {
        assert_ne!(one["what"], "weights", "the same file: {one:#}");
        assert!(one["meaning"].as_str().is_some_and(|meaning| !meaning.is_empty()), "{one:#}");
    }
    for name in TIMED {
        let metric = metric(&compared, name);
        assert!(metric["a"].as_f64() > Some(0.0) && metric["b"].as_f64() > Some(0.0), "{metric:#}");
    }

    assert_eq!(in_memory(&sandbox), before, "memory is as it was");
    let (a, b) = (compared["a"]["run_id"].as_i64().unwrap(), compared["b"]["run_id"].as_i64().unwrap());
    let history = sandbox.ask(&["history"]).unwrap();
    for (run, other) in [(a, b), (b, a)] {
        let kept = history["runs"].as_array().unwrap().iter().find(|one| one["run_id"] == run).unwrap();
        assert_eq!((&kept["against"], &kept["state"]), (&other.into(), &"done".into()), "{kept:#}");
    }
    let again = sandbox.ask(&["compare", &a.to_string(), &b.to_string()]).unwrap();
    for field in ["metrics", "unmatched", "disturbed", "paired", "sentence"] {
        assert_eq!(again[field], compared[field], "{field}");
    }
    for unknown in [["compare", "1", "9999"], ["compare", "9999", "1"]] {
        let refused = sandbox.run(&unknown);
        assert_eq!(
            (refused.code, &refused.json["error"]["code"]),
            (Some(4), &"not_found".into()),
            "{refused:?}"
        );
    }
    for unknown in [["history", "--server", "nobody"], ["history", "--model", "no-such-model"]] {
        let refused = sandbox.run(&unknown);
        assert_eq!(
            (refused.code, &refused.json["error"]["code"]),
            (Some(4), &"not_found".into()),
            "{refused:?}"
        );
    }
    let none = sandbox.ask(&["history", "--server", "llama-server", "--model", OLLAMA_MODEL]).unwrap();
    assert_eq!(none["runs"], Value::Array(vec![]), "both are known, their runs are none");
    assert_eq!(Client::new(&sandbox).chat("active").await.status, 200);
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}

/// A Pilothouse with two simulated servers of these paces, in tokens by the second: an LM Studio, and one of somebody else.
struct Paced {
    sandbox: Sandbox,
    engine: Group,
    lmstudio: LmStudioSim,
    studio: LmStudioSim,
    _folders: [tempfile::TempDir; 2],
}

impl Paced {
    async fn start(lmstudio: f64, studio: f64) -> Option<Self> {
        let tools = Tools { ollama: "/no/ollama".into(), ..Tools::find()? };
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let at = async |folder: &tempfile::TempDir, tokens_per_second: f64| {
            let options =
                Options { load_seconds: 0.1, ttft_ms: 20, tokens_per_second, ..Options::new(folder.path()) };
            LmStudioSim::start(options).await.unwrap()
        };
        let (lmstudio, studio) = (at(&folders[0], lmstudio).await, at(&folders[1], studio).await);
        let settings = format!(
            "[servers.llama-server]\nautostart = false\n\n[servers.lmstudio]\naddress = {:?}\nhome = {:?}\n\n\
             [servers.remote.studio]\naddress = \"{}/v1\"\n",
            lmstudio.base_url().unwrap(),
            folders[0].path().display().to_string(),
            studio.base_url().unwrap(),
        );
        let sandbox = Sandbox::new(&tools, &settings);
        let mut engine = sandbox.serve().await;
        for id in ["lmstudio", "studio"] {
            sandbox.until_ready(&mut engine, id).await;
            sandbox.until(&mut engine, "its models", |_| listed(&sandbox, id)).await;
        }
        Some(Self { sandbox, engine, lmstudio, studio, _folders: folders })
    }

    async fn end(mut self) {
        self.engine.terminate();
        self.sandbox.assert_clean_end(&mut self.engine).await;
        self.lmstudio.stop().await;
        self.studio.stop().await;
    }
}

fn listed(sandbox: &Sandbox, server: &str) -> Option<()> {
    let models = sandbox.ask(&["models"])?;
    let is = |model: &Value| model["server"] == server && model["name"] == MODEL;
    models["models"].as_array()?.iter().any(is).then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_active_model_against_itself_and_with_two_requests_at_a_time_loads_nothing_simulated() {
    let Some(paced) = Paced::start(500.0, 500.0).await else { return };
    let sandbox = &paced.sandbox;
    assert_eq!(sandbox.switch(MODEL, "lmstudio").code, Some(0));
    let held = || {
        paced.lmstudio.look(|state| {
            format!("{:?}", state.instances_of(MODEL).map(|one| one.id.clone()).collect::<Vec<_>>())
        })
    };
    let (models, before) = (in_memory(sandbox), held());
    let compared =
        bench(sandbox, &["bench", "--against", MODEL, "--against-server", "lmstudio", "--blocks", "6"]);
    assert_shape(&compared);
    for side in ["a", "b"] {
        let run = &compared[side];
        assert_eq!((&run["server"], &run["model"]), (&"lmstudio".into(), &MODEL.into()), "{run:#}");
    }
    for name in TIMED {
        let metric = metric(&compared, name);
        assert!(metric["n"].as_u64().unwrap() >= 6, "{metric:#}");
        assert_ne!(metric["verdict"], "not_comparable", "six pairs are enough: {metric:#}");
        assert_eq!(metric["ratio"]["level"], 0.95, "{metric:#}");
    }
    assert_eq!(compared["unmatched"], Value::Array(vec![]), "the same model on the same server");

    let sweep = bench(sandbox, &["sweep", "--up-to", "2", "--trials", "5"]);
    let points = sweep["points"].as_array().unwrap();
    let levels: Vec<u64> = points.iter().map(|point| point["concurrency"].as_u64().unwrap()).collect();
    assert_eq!(levels, [1, 2], "{sweep:#}");
    for (point, requests) in points.iter().zip([5, 8]) {
        assert_eq!((&point["requests"], &point["failed"]), (&requests.into(), &0.into()), "{point:#}");
        assert!(point["out_tok_s"].as_f64().is_some_and(|rate| rate > 0.0), "{point:#}");
        assert!(point["ttft_ms"]["median"].as_f64() <= point["ttft_ms"]["p95"].as_f64(), "{point:#}");
        assert!(point["goodput"].as_f64().is_some_and(|share| (0.0..=1.0).contains(&share)), "{point:#}");
    }
    // It answers as many at a time as it has slots, at the pace of one.
    let rate = |point: &Value| point["out_tok_s"].as_f64().unwrap();
    assert!(rate(&points[1]) > 1.2 * rate(&points[0]), "{sweep:#}");
    assert!(sweep["knee"]["concurrency"].is_u64() || sweep["knee_absent"].is_string(), "{sweep:#}");
    assert!(sweep["best"].is_u64() || sweep["best_absent"].is_string(), "{sweep:#}");
    assert_eq!((in_memory(sandbox), held()), (models, before), "nothing was loaded or unloaded");
    paced.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_difference_between_two_servers_is_found_simulated() {
    // 10 and 12.5 ms for a token.
    let Some(paced) = Paced::start(100.0, 80.0).await else { return };
    let compared = bench(
        &paced.sandbox,
        &[
            "bench",
            MODEL,
            "--server",
            "lmstudio",
            "--against",
            MODEL,
            "--against-server",
            "studio",
            "--blocks",
            "12",
        ],
    );
    assert_shape(&compared);
    // Nobody knew how much this machine scatters: the first side was compared with itself before.
    let history = paced.sandbox.ask(&["history"]).unwrap();
    let servers: Vec<&Value> = history["runs"].as_array().unwrap().iter().map(|run| &run["server"]).collect();
    assert_eq!(servers, ["studio", "lmstudio", "lmstudio", "lmstudio"], "{history:#}");
    let decode = metric(&compared, "decode_tok_s");
    assert_eq!(decode["verdict"], "a_faster", "{decode:#}");
    let ratio = |end: &str| decode["ratio"][end].as_f64().unwrap();
    // One interval of twenty misses by its nature: a hundredth is given to either side.
    assert!(ratio("low") * 0.99 <= 0.8 && 0.8 <= ratio("high") * 1.01, "80 by 100 tok/s: {decode:#}");
    assert!(decode["n"].as_u64().unwrap() >= 12, "{decode:#}");
    let whole = metric(&compared, "e2e_ms");
    assert_eq!(whole["verdict"], "a_faster", "{whole:#}");
    // Nobody tells what the other one's weights are.
    let unmatched = compared["unmatched"].as_array().unwrap();
    assert!(unmatched.iter().any(|one| one["what"] == "weights"), "{compared:#}");
    assert_eq!(paced.lmstudio.look(|state| state.instances_of(MODEL).count()), 0, "memory is as before");
    paced.end().await;
}

/// What a command prints for people.
fn text(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let mut command = command(&sandbox.cli);
    sandbox.surround(&mut command);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn run_ids(history: &Value) -> Vec<i64> {
    history["runs"].as_array().unwrap().iter().map(|run| run["run_id"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_reported_exported_and_taken_in_elsewhere_once_simulated() {
    let Some(paced) = Paced::start(2000.0, 1000.0).await else { return };
    let sandbox = &paced.sandbox;
    let alone = bench(sandbox, &["bench", MODEL, "--server", "lmstudio", "--trials", "5"]);
    bench(sandbox, &["sweep", MODEL, "--server", "lmstudio", "--up-to", "2", "--trials", "5"]);
    bench(
        sandbox,
        &[
            "bench",
            MODEL,
            "--server",
            "lmstudio",
            "--against",
            MODEL,
            "--against-server",
            "studio",
            "--blocks",
            "6",
            "--assume-noise",
        ],
    );
    let history = sandbox.ask(&["history"]).unwrap();
    assert_eq!(run_ids(&history).len(), 4, "{history:#}");

    let number = alone["run_id"].to_string();
    let reported = sandbox.ask(&["report", &number]).unwrap();
    assert_eq!(run_ids(&reported), [alone["run_id"].as_i64().unwrap()]);
    let table = text(sandbox, &["report"]);
    assert!(table.contains(MODEL) && table.lines().any(|line| line.starts_with('|')), "{table}");
    assert_eq!(sandbox.run(&["report", "9999"]).code, Some(4));
    let owner = sandbox.ask(&["report", "--owner"]).unwrap();
    assert!(owner["sizes"].is_array() && owner["servers"].is_array(), "{owner:#}");

    let page = sandbox.folder().join("report.html");
    let page_name = page.to_str().unwrap();
    let all: Vec<String> = run_ids(&history).iter().map(i64::to_string).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let written = sandbox.ask(&[&["report"], &all[..], &["--html", page_name]].concat()).unwrap();
    assert_eq!(written["runs"].as_array().unwrap().len(), 4, "{written:#}");
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.contains(MODEL) && html.contains("<svg"), "it has plots");
    let addresses = html.match_indices("http://").chain(html.match_indices("https://"));
    for (at, _) in addresses {
        assert!(
            html[at..].starts_with("http://www.w3.org/"),
            "{}",
            html[at..].chars().take(80).collect::<String>()
        );
    }
    assert_eq!(sandbox.run(&["report", "--html", page_name]).code, Some(2), "a file is not written over");

    let file = sandbox.folder().join("runs.jsonl");
    let file = file.to_str().unwrap();
    assert_eq!(sandbox.ask(&["export", file]).unwrap()["runs"], 4);
    let tools = Tools { ollama: "/no/ollama".into(), ..Tools::find().unwrap() };
    let elsewhere = Sandbox::new(&tools, "[servers.llama-server]\nautostart = false\n");
    let mut engine = elsewhere.serve().await;
    let taken = elsewhere.ask(&["import", file]).unwrap();
    assert_eq!((&taken["imported"], &taken["already_there"]), (&4.into(), &0.into()), "{taken:#}");
    let again = elsewhere.ask(&["import", file]).unwrap();
    assert_eq!((&again["imported"], &again["already_there"]), (&0.into(), &4.into()), "{again:#}");
    let there = elsewhere.ask(&["history"]).unwrap();
    assert_eq!(run_ids(&there).len(), 4, "{there:#}");
    for (taken, own) in there["runs"].as_array().unwrap().iter().zip(history["runs"].as_array().unwrap()) {
        for field in ["started_at", "model", "server", "plan", "state", "trials"] {
            assert_eq!(taken[field], own[field], "{field}: {taken:#}");
        }
        for field in ["decode_tok_s", "ttft_ms"] {
            let median = |run: &Value| run[field]["median"].as_f64().unwrap();
            assert!((median(taken) / median(own) - 1.0).abs() < 1e-9, "{field}: {taken:#} and {own:#}");
        }
    }
    // The runs know each other by their new numbers.
    let pair: Vec<i64> =
        there["runs"].as_array().unwrap().iter().filter_map(|run| run["against"].as_i64()).collect();
    assert!(pair.len() == 2 && pair.iter().all(|run| run_ids(&there).contains(run)), "{there:#}");
    // A server that is known by its runs alone is known.
    assert_eq!(elsewhere.run(&["history", "--server", "studio"]).code, Some(0));
    engine.terminate();
    elsewhere.assert_clean_end(&mut engine).await;
    paced.end().await;
}
