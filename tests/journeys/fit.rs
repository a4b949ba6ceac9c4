//! Does it fit? Asked of the real thing, and held against what it takes once it is loaded.

use crate::address::Client;
use pilothouse_domain::Timestamp;
use pilothouse_tests::sandbox::{EMBEDDED_MODEL, LIMIT, OLLAMA_MODEL, Sandbox, Tools, until};
use serde_json::Value;

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
    // 30 layers with 3 heads of 64 for keys and values each, two bytes, 4096 tokens (the settings' context).
    assert_eq!(part(&report, "kv_cache"), 30 * 3 * 128 * 2 * 4096);
    let size = std::fs::metadata(sandbox.embedded.join(pilothouse_tests::sandbox::GGUF)).unwrap().len();
    assert!((size * 95 / 100..size).contains(&part(&report, "weights")), "of {size} bytes: {report:#}");
    assert!(report["forecast_absent"].is_string(), "no bandwidth is known here: {report:#}");

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

    let together = sandbox.ask(&["fit", "--together"]).unwrap();
    let set = &together["sets"][0];
    assert_eq!((together["complete"].as_bool(), set["models"].as_array().unwrap().len()), (Some(true), 2));
    let both = other["parts"].as_array().unwrap().len() + report["parts"].as_array().unwrap().len();
    assert!(both == 8 && set["needed_bytes"].as_u64().unwrap() > needed, "{together:#}");
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
