//! Does it fit? Asked of the real thing, and held against what it takes once it is loaded.

use crate::address::Client;
use pilothouse_domain::Timestamp;
use pilothouse_tests::sandbox::{EMBEDDED_MODEL, GGUF, LIMIT, OLLAMA_MODEL, Sandbox, Tools, until};
use serde_json::Value;
use std::{cell::Cell, path::Path, process::Stdio, time::Duration};
use tokio::process::{Child, Command};

fn part(report: &Value, what: &str) -> u64 {
    let parts = report["parts"].as_array().unwrap();
    parts.iter().find(|part| part["what"] == what).unwrap()["bytes"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_estimate_is_near_what_a_real_server_takes() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    sandbox.add_ollama_model(&mut engine).await;
    let report = sandbox.ask(&["fit", EMBEDDED_MODEL]).unwrap();
    assert_eq!(report["fits"], true, "{report:#}");
    // 30 layers with 3 heads of 64 for keys and values each, two bytes, 8192 tokens: the settings leave the context
    // open, and all of what it was trained for is comfortable here.
    assert_eq!(part(&report, "kv_cache"), 30 * 3 * 128 * 2 * 8192);
    let client = Client::new(&sandbox);
    let listed: serde_json::Value =
        client.http.get(client.url("/models")).send().await.unwrap().json().await.unwrap();
    let held = listed["data"].as_array().unwrap().iter().find(|one| one["id"] == EMBEDDED_MODEL);
    assert_eq!(held.map(|one| &one["context_length"]), Some(&8192.into()), "{listed:#}");
    let size = std::fs::metadata(sandbox.embedded.join(pilothouse_tests::sandbox::GGUF)).unwrap().len();
    assert!((size * 95 / 100..size).contains(&part(&report, "weights")), "of {size} bytes: {report:#}");
    // Without a run the machine's bandwidth decides whether there is a forecast; nothing is said to be measured.
    assert!(report["forecast_absent"].is_string() || report["forecast"]["measured"] == false, "{report:#}");

    let needed = report["needed_bytes"].as_u64().unwrap();
    assert_eq!(Client::new(&sandbox).chat("active").await.status, 200);
    let answered = Timestamp::now();
    let taken = until("a sample from after the answer", LIMIT, || async {
        let gauges = sandbox.ask(&["gauges"])?;
        let at: Timestamp = gauges["at"].as_str()?.parse().ok()?;
        // The memory of processes may be some seconds older than the sample it stands in.
        let servers = gauges["servers"].as_array()?;
        let server = servers.iter().find(|server| server["id"] == "llama-server")?;
        (at.duration_since(answered).as_secs() >= 4).then(|| server["memory_bytes"].as_u64())?
    })
    .await;
    // The router counts too, and pages of the file that an Ollama's copy shares do not.
    let ratio = needed as f64 / taken as f64;
    assert!((0.6..1.4).contains(&ratio), "{needed} reckoned, {taken} taken");

    let other = sandbox.ask(&["fit", OLLAMA_MODEL, "--context", "8192", "--parallel", "4"]).unwrap();
    assert_eq!(part(&other, "weights"), part(&report, "weights"), "the same weights in Ollama's store");
    assert_eq!(part(&other, "kv_cache"), 30 * 3 * 128 * 2 * 8192 * 4);

    // SmolLM2 was trained for 8192 tokens; "0.5b" is a size although nothing here has it.
    let beyond = sandbox.run(&["fit", EMBEDDED_MODEL, "--context", "8193"]);
    assert_eq!(beyond.code, Some(5), "{beyond:?}");
    assert_eq!(sandbox.run(&["fit", "0.5b"]).code, Some(0));

    let together = sandbox.ask(&["fit", "--together"]).unwrap();
    let set = &together["sets"][0];
    assert_eq!((together["complete"].as_bool(), set["models"].as_array().unwrap().len()), (Some(true), 2));
    let both = other["parts"].as_array().unwrap().len() + report["parts"].as_array().unwrap().len();
    assert!(both == 8 && set["needed_bytes"].as_u64().unwrap() > needed, "{together:#}");
}

/// Another process with the same weights in memory, as a second server would have them. It ends with its input.
#[expect(clippy::disallowed_methods, reason = "not a part of Pilothouse")]
fn map(weights: &Path) -> Child {
    let script = "import mmap, sys\n\
        with open(sys.argv[1], 'rb') as file:\n\
        \tpages = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)\n\
        sum(pages[at] for at in range(0, len(pages), 4096))\n\
        sys.stdin.read()";
    let mut python = Command::new("python3");
    python.arg("-c").arg(script).arg(weights).stdin(Stdio::piped()).stdout(Stdio::null());
    python.kill_on_drop(true).spawn().unwrap()
}

/// What the process of a server's only instance holds, with what it shares with others, once two looks in a row agree.
async fn held(sandbox: &Sandbox, server: &str) -> u64 {
    let last = Cell::new(0);
    until("the memory of an instance", LIMIT, || async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let gauges = sandbox.ask(&["gauges"])?;
        let usage = gauges["servers"].as_array()?.iter().find(|one| one["id"] == server)?;
        let [runner] = &usage["runners"].as_array()?[..] else { return None };
        let now = runner["memory_bytes"].as_u64()? + runner["shared_bytes"].as_u64()?;
        let settled = now > 0 && now.abs_diff(last.replace(now)) < now / 100;
        settled.then_some(now)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_loads_teach_what_a_model_takes() {
    let Some(tools) = Tools::find() else { return };
    let settings = "context = 1024\nparallel = 2\n";
    let sandbox = Sandbox::new(&tools, &format!("[servers.llama-server]\n{settings}"));
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    sandbox.add_ollama_model(&mut engine).await;
    // What it shares is no saving: it is not always shared.
    let _neighbour = map(&sandbox.embedded.join(GGUF));
    let client = Client::new(&sandbox);
    let both = [(EMBEDDED_MODEL, "llama-server"), (OLLAMA_MODEL, "ollama")];
    let needed = |model: &str, server: &str| {
        let report = sandbox.ask(&["fit", model, "--server", server]).unwrap();
        report["needed_bytes"].as_u64().unwrap()
    };
    let before: Vec<u64> = both.iter().map(|(model, server)| needed(model, server)).collect();
    let mut most = [0; 2];
    // To and fro: each switch is one more load. The first of llama-server was that of the start.
    for load in 0..3 {
        for (index, (model, server)) in both.iter().enumerate() {
            if load > 0 || index > 0 {
                assert_eq!(sandbox.switch(model, server).code, Some(0));
            }
            assert_eq!(client.read_a_lot().await, 200);
            most[index] = held(&sandbox, server).await.max(most[index]);
        }
    }
    assert_eq!(sandbox.switch(EMBEDDED_MODEL, "llama-server").code, Some(0));
    for (index, (model, server)) in both.iter().enumerate() {
        let near = |bytes: u64, within: f64| (bytes as f64 / most[index] as f64 - 1.0).abs() <= within;
        assert!(near(before[index], 0.3), "{server}: {} before, {} taken", before[index], most[index]);
        until("what three loads have taught", LIMIT, || async {
            let after = needed(model, server);
            println!("{server}: {} before, {} taken, {after} after", before[index], most[index]);
            near(after, 0.1).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_benchmark_takes_the_place_of_the_forecast_and_corrects_the_others() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    std::fs::copy(sandbox.embedded.join(GGUF), sandbox.home().join("data/models/twin.gguf")).unwrap();
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let bench = sandbox.run(&["bench", EMBEDDED_MODEL, "--trials", "5"]);
    assert_eq!(bench.code, Some(0), "{bench:?}");
    let run = bench.json["run_id"].as_i64();
    let history = sandbox.ask(&["history"]).unwrap();
    let kept = history["runs"].as_array().unwrap().iter().find(|one| one["run_id"].as_i64() == run);
    let decode = kept.unwrap()["decode_tok_s"]["median"].as_f64().unwrap();
    let forecast = |model: &str| sandbox.ask(&["fit", model]).unwrap()["forecast"].clone();
    let measured = forecast(EMBEDDED_MODEL);
    assert_eq!((&measured["measured"], measured["decode_tok_s"].as_f64()), (&true.into(), Some(decode)));
    assert!(measured["source"].as_str().unwrap().contains("one benchmark run here"), "{measured:#}");
    // The same build under another name was never run: it is reckoned by the one that was.
    let twin = forecast("twin");
    assert_eq!(twin["measured"], false, "{twin:#}");
    let ratio = twin["decode_tok_s"].as_f64().unwrap() / decode;
    assert!((0.999..1.001).contains(&ratio), "{twin:#}");
    assert!(twin["source"].as_str().unwrap().contains("another model was measured here"), "{twin:#}");
    // On a machine that scatters, the error of the one that was run is the greater, and counts for both.
    assert!(twin["error_percent"].as_f64() >= measured["error_percent"].as_f64(), "{twin:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_profile_of_the_mac_studio_all_sizes_are_judged_without_an_engine() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    for size in ["0.5b", "1.5b", "3b", "7b", "13b", "30b"] {
        let report = sandbox.ask(&["fit", "--machine", "m4-max-36", size]).unwrap();
        assert_eq!(report["fits"], true, "{size}: {report:#}");
        assert!(report["forecast"]["decode_tok_s"].as_f64().unwrap() > 1.0, "{report:#}");
        assert!(report["forecast"]["error_percent"].as_f64().unwrap() > 0.0, "{report:#}");
    }
    let table = sandbox.ask(&["fit", "--machine", "m4-max-36"]).unwrap();
    let rows = table["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["models"].as_str().unwrap()).collect();
    assert!(names.contains(&"0.5b") && names.contains(&"0.5b + 3.8b + 7b"), "{table:#}");
    let too_large: Vec<&Value> = rows.iter().filter(|row| row["fits"] == false).collect();
    assert!(too_large.len() == 1 && too_large[0]["models"] == "70b:q2_k", "{table:#}");
    assert!(rows.iter().all(|row| row["noted"]["memory_gb"].as_f64().unwrap() > 0.0), "{table:#}");
    let refused = sandbox.run(&["fit", "--machine", "m4-max-36", "70b:q2_k"]);
    assert_eq!((refused.code, &refused.json["fits"]), (Some(5), &false.into()), "{refused:?}");
    assert!(refused.json["reason"].as_str().unwrap().contains("does not fit"), "{refused:?}");
    let unknown = sandbox.run(&["fit", "--machine", "m4-max-36", "9000b"]);
    assert_eq!((unknown.code, &unknown.json["error"]["code"]), (Some(4), &"not_found".into()), "{unknown:?}");
    assert_eq!(sandbox.run(&["fit", "7b"]).code, Some(3), "this machine's memory is asked of the engine");
    assert_eq!(sandbox.run(&["fit", "--machine", "no-such", "7b"]).code, Some(4));
    assert_eq!(sandbox.run(&["fit", "--machine", "m4-max-36", "7b", "--kv", "q3"]).code, Some(2));
    let machine = sandbox.ask(&["machine"]).unwrap();
    assert!(machine["memory_bytes"].as_u64().unwrap() > 0 && machine["chip"].is_string(), "{machine:#}");
}
